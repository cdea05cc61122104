/*
 * predictions.c: see predictions.h.
 */
#include "cmd/predictions.h"
#include "json.h"
#include "recipe/data_file.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

struct reading {
    struct predictions *to;
    const char *task;
};

static int read_line(void *ud, json_t *object, const char *where, struct buf *err)
{
    struct reading *r = ud;
    struct json_in in = { object, where, err };
    const char *text;
    int doc;
    if (json_need_int(&in, "doc", 0, INT_MAX, &doc) || json_need_string(&in, "text", &text))
        return -1;
    if ((size_t)doc >= r->to->documents)
        return fail(err, "%s: there is no document %d; %s has %zu, from 0 to %zu", where, doc,
                    r->task, r->to->documents, r->to->documents - 1);
    struct prediction *p = &r->to->v[doc];
    if (p->text)
        return fail(err, "%s: document %d has a text already, from line %s", where, doc,
                    strrchr(p->where, ':') + 1);
    *p = (struct prediction){ xstrdup(text), xstrdup(where) };
    return 0;
}

int predictions_read(struct predictions *p, const char *path, const char *task, size_t documents,
                     struct buf *err)
{
    static const struct eval_rows all;
    struct data_file file;
    struct reading r = { p, task };
    *p = (struct predictions){ xcalloc(documents, sizeof(*p->v)), documents };
    int rc = data_file_read(&file, path, NULL, err);
    if (rc == 0 && file.text.len == 0)
        rc = fail(err, "%s: an empty file; lines {\"doc\": 0, \"text\": \"...\"} are needed", path);
    if (rc == 0)
        rc = data_file_each(&file, &all, 0, read_line, &r, err);
    data_file_release(&file);
    return rc;
}

void predictions_release(struct predictions *p)
{
    for (size_t i = 0; i < p->documents; i++) {
        free(p->v[i].text);
        free(p->v[i].where);
    }
    free(p->v);
    *p = (struct predictions){ 0 };
}

size_t predictions_count(const struct predictions *p, size_t documents)
{
    size_t n = 0;
    for (size_t i = 0; i < documents; i++)
        n += p->v[i].text != NULL;
    return n;
}

void predictions_hash(const struct predictions *p, size_t documents, struct hash *h)
{
    for (size_t i = 0; i < documents; i++) {
        char doc[32];
        if (!p->v[i].text)
            continue;
        snprintf(doc, sizeof(doc), "document %zu", i);
        hash_adds(h, doc);
        hash_adds(h, p->v[i].text);
    }
}
