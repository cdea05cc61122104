/*
 * held_out.c: see held_out.h.
 */
#include "train/held_out.h"

#include <jansson.h>
#include <string.h>
#include <sys/stat.h>

/* The first 64 bits of the hash of all of the text. */
static uint64_t hash_of(const struct lesson_text *text)
{
    char hex[33];
    struct hash *h = hash_new();
    hash_adds(h, text->prompt->s);
    hash_adds(h, text->completion->s);
    hash_hex(h, hex);
    hash_free(h);
    hex[16] = '\0';
    return strtoull(hex, NULL, 16);
}

void held_out_add(struct held_out *h, const struct lesson_text *text, int source)
{
    ARRAY_GROW(h->v, h->cap, h->len + 1);
    h->v[h->len++] = (struct held_document){ hash_of(text), source, false };
}

/* What the choice of a source's documents hangs on. */
struct choice {
    size_t documents, held;
    uint64_t smallest;
};

void held_out_choose(struct held_out *h, double share, size_t nsources)
{
    if (share <= 0)
        return;
    struct choice *by_source = xcalloc(nsources, sizeof(*by_source));
    for (size_t i = 0; i < h->len; i++) {
        struct held_document *d = &h->v[i];
        struct choice *c = &by_source[d->source];
        // 53 bits are a double, exactly
        d->held = (double)(d->hash >> 11) * 0x1p-53 < share;
        if (c->documents++ == 0 || d->hash < c->smallest)
            c->smallest = d->hash;
        c->held += d->held;
    }
    for (size_t i = 0; i < h->len; i++) {
        const struct choice *c = &by_source[h->v[i].source];
        if (c->held == 0 && c->documents >= HELD_OUT_FROM && h->v[i].hash == c->smallest)
            h->v[i].held = true;
    }
    free(by_source);
}

void held_out_release(struct held_out *h)
{
    free(h->v);
    *h = (struct held_out){ 0 };
}

/* ---- as a file ---- */

struct writing {
    const struct lesson_data *data;
    struct held_out documents;
    size_t at, written;
    struct buf text;
};

static int source_of(const struct lesson_data *d, const char *name)
{
    for (size_t i = 0; i < d->nsources; i++)
        if (strcmp(d->sources[i].name, name) == 0)
            return (int)i;
    BUG("a source '%s' that lesson_data_check() did not see", name);
}

static int look(void *ud, const struct lesson_text *text, struct buf *err)
{
    struct writing *w = ud;
    (void)err;
    held_out_add(&w->documents, text, source_of(w->data, text->source));
    return 0;
}

static int write_one(void *ud, const struct lesson_text *text, struct buf *err)
{
    struct writing *w = ud;
    if (!w->documents.v[w->at++].held)
        return 0;
    json_t *line = json_pack("{s:s, s:s}", "source", text->source, "text", text->completion->s);
    char *said = line ? json_dumps(line, JSON_COMPACT) : NULL;
    int rc = said ? 0 : fail(err, "%s: cannot be written as JSON", text->where);
    if (said)
        buf_addf(&w->text, "%s\n", said);
    w->written += said != NULL;
    free(said);
    json_decref(line);
    return rc;
}

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* What is at `path` makes room for the new file: not so what it is made of, nor a device. */
static int check_path(const struct lesson_data *d, const char *path, struct buf *err)
{
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return fail(err, "%s is no file that can be written over; name another", path);
    bool ours = same_file(path, d->at.path);
    for (size_t i = 0; i < d->paths.len; i++)
        ours = ours || same_file(path, d->paths.v[i]);
    return ours ? fail(err,
                       "%s is the recipe, or what it trains on, and would be written over; name "
                       "another file",
                       path)
                : 0;
}

int held_out_write(const struct lesson_data *d, const char *path, size_t *n, struct buf *err)
{
    struct writing w = { .data = d, .text = BUF_INIT };
    if (!lesson_data_is_text(d))
        return fail(err, "only of whole texts can those that are held out be written");
    if (check_path(d, path, err))
        return -1;
    int rc = lesson_data_each(d, look, &w, err);
    held_out_choose(&w.documents, d->held_out, d->nsources);
    if (rc == 0)
        rc = lesson_data_each(d, write_one, &w, err);
    if (rc == 0 && w.written == 0)
        rc = fail(err, "no document is held out; the recipe's data say no held_out");
    if (rc == 0)
        rc = write_file(path, w.text.s, w.text.len, err);
    *n = w.written;
    held_out_release(&w.documents);
    buf_release(&w.text);
    return rc;
}
