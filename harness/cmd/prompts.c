/*
 * prompts.c: see prompts.h.
 */
#include "cmd/prompts.h"
#include "json.h"
#include "recipe/data_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define STDIN_MAX ((size_t)1 << 30)

/* The new prompt takes `where`. */
static struct prompt *add(struct prompts *p, char *where)
{
    ARRAY_GROW(p->v, p->cap, p->len + 1);
    struct prompt *new = &p->v[p->len++];
    *new = (struct prompt){ .where = where };
    buf_init(&new->text);
    return new;
}

static int read_stdin(struct buf *out, struct buf *err)
{
    char chunk[65536];
    size_t n;
    while ((n = fread(chunk, 1, sizeof(chunk), stdin)) > 0) {
        buf_add(out, chunk, n);
        if (out->len > STDIN_MAX)
            return fail(err, "stdin: larger than the %zu bytes that are accepted", STDIN_MAX);
    }
    return ferror(stdin) ? fail(err, "stdin: %s", strerror(errno)) : 0;
}

int prompts_take(struct prompts *p, char *const *words, int n, struct buf *err)
{
    bool stdin_read = false;
    for (int i = 0; i < n; i++) {
        if (strcmp(words[i], "-") != 0) {
            buf_adds(&add(p, xasprintf("prompt %d", i + 1))->text, words[i]);
            continue;
        }
        if (stdin_read)
            return fail(err, "'-', which is stdin, stands twice");
        stdin_read = true;
        if (read_stdin(&add(p, xstrdup("stdin"))->text, err))
            return -1;
    }
    return 0;
}

static int read_line(void *ud, json_t *object, const char *where, struct buf *err)
{
    struct json_in in = { object, where, err };
    const char *text;
    if (json_need_string(&in, "prompt", &text))
        return -1;
    buf_adds(&add(ud, xstrdup(where))->text, text);
    return 0;
}

int prompts_read(struct prompts *p, const char *path, struct buf *err)
{
    static const struct eval_rows all;
    struct data_file file;
    int rc = data_file_read(&file, path, NULL, err);
    if (rc == 0 && file.text.len == 0)
        rc = fail(err, "%s: an empty file; lines {\"prompt\": \"...\"} are needed", path);
    if (rc == 0)
        rc = data_file_each(&file, &all, 0, read_line, p, err);
    data_file_release(&file);
    return rc;
}

static int encode(struct prompt *p, struct tokenizer *t, int context, struct buf *err)
{
    if (tokenizer_encode(t, p->text.s, p->text.len, &p->ids, err))
        return fail(err, "%s: %s", p->where, err->s);
    if (p->ids.len == 0)
        return fail(err, "%s: has no token; a text goes on from one at least", p->where);
    if (p->ids.len >= (size_t)context)
        return fail(err,
                    "%s: its %zu tokens leave no room for a new one in the model's context of %d",
                    p->where, p->ids.len, context);
    return 0;
}

int prompts_encode(struct prompts *p, struct tokenizer *t, int context, struct buf *err)
{
    for (size_t i = 0; i < p->len; i++) {
        if (encode(&p->v[i], t, context, err))
            return -1;
        int tokens = (int)p->v[i].ids.len;
        p->longest = tokens > p->longest ? tokens : p->longest;
    }
    return 0;
}

void prompts_release(struct prompts *p)
{
    for (size_t i = 0; i < p->len; i++) {
        buf_release(&p->v[i].text);
        free(p->v[i].where);
        free(p->v[i].ids.v);
    }
    free(p->v);
    *p = (struct prompts){ 0 };
}
