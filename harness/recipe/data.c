/*
 * data.c: see data.h.
 */
#include "recipe/data.h"
#include "recipe/eval.h"
#include "json.h"

#include <limits.h>
#include <string.h>

#define DATA_MAX ((size_t)2 << 30)

/* The texts of one line: the whole text, or prompt and target. */
struct texts {
    struct buf prompt; /* empty for whole texts */
    struct buf target; /* or the whole text */
};

static void texts_release(struct texts *t)
{
    buf_release(&t->prompt);
    buf_release(&t->target);
}

struct fill {
    const struct json_in *in;
    struct buf *out;
};

static int fill_part(void *ud, bool field, const char *s, size_t len, struct buf *err)
{
    struct fill *f = ud;
    if (!field) {
        buf_add(f->out, s, len);
        return 0;
    }
    (void)err; // the getters write to the same one
    const char *value;
    char *key = xstrndup(s, len);
    int rc = json_need_string(f->in, key, &value);
    free(key);
    if (rc == 0)
        buf_adds(f->out, value);
    return rc;
}

static int fill_template(const char *template, const struct json_in *in, struct buf *out)
{
    struct fill f = { in, out };
    return template_walk(template, fill_part, &f, in->err);
}

/* Reads line `number` (from 1) of the task's file. */
static int texts_read(const struct task *task, const char *line, size_t len, size_t number,
                      struct texts *out, struct buf *err)
{
    if (len == 0)
        return fail(err, "%s:%zu: an empty line; each line is a JSON object", task->file, number);
    size_t valid = utf8_valid(line, len);
    if (valid != len)
        return fail(err, "%s:%zu: byte %zu of the line is not UTF-8", task->file, number,
                    valid + 1);
    json_t *root = json_parse(line, len, task->file, number, err);
    if (!root)
        return -1;
    char *where = xasprintf("%s:%zu", task->file, number);
    struct json_in in = { root, where, err };
    const char *text;
    int rc;
    if (task->text) {
        rc = json_need_string(&in, task->text, &text);
        if (rc == 0)
            buf_adds(&out->target, text);
        if (rc == 0 && !*text)
            rc = fail(err, "%s: '%s' is an empty text; a loss needs at least two tokens", where,
                      task->text);
    } else {
        rc = fill_template(task->prompt, &in, &out->prompt);
        if (rc == 0)
            rc = fill_template(task->target, &in, &out->target);
        if (rc == 0 && (!out->prompt.len || !out->target.len))
            rc = fail(err, "%s: the %s is an empty text", where,
                      out->prompt.len ? "answer to be scored" : "prompt");
    }
    free(where);
    json_decref(root);
    return rc;
}

/* Calls `use` for the lines of the task's file, `task->limit` of them at most. */
static int each_line(const struct task *task, const struct buf *file,
                     int (*use)(void *ud, const char *line, size_t len, size_t number,
                                struct buf *err),
                     void *ud, struct buf *err)
{
    size_t number = 0;
    if (file->len >= 3 && memcmp(file->s, "\xef\xbb\xbf", 3) == 0)
        return fail(err, "%s:1: begins with a byte order mark; JSON has none", task->file);
    for (size_t at = 0; at < file->len;) {
        const char *line = file->s + at, *end = memchr(line, '\n', file->len - at);
        size_t len = end ? (size_t)(end - line) : file->len - at;
        at += len + 1;
        if (len > 0 && line[len - 1] == '\r')
            len--;
        if (++number > INT_MAX)
            return fail(err, "%s: more than %d lines", task->file, INT_MAX);
        if (use(ud, line, len, number, err) != 0)
            return -1;
        if (task->limit && number == (size_t)task->limit)
            return 0;
    }
    if (number == 0)
        return fail(err, "%s: an empty file; each line is a document", task->file);
    return 0;
}

struct check {
    struct task *task;
    int documents;
};

static int check_line(void *ud, const char *line, size_t len, size_t number, struct buf *err)
{
    struct check *c = ud;
    struct texts texts = { BUF_INIT, BUF_INIT };
    c->documents++;
    int rc = texts_read(c->task, line, len, number, &texts, err);
    texts_release(&texts);
    return rc;
}

static void hash_file(const struct buf *file, char hex[33])
{
    struct hash *h = hash_new();
    hash_add(h, file->s, file->len);
    hash_hex(h, hex);
    hash_free(h);
}

int data_check(struct task *task, struct buf *err)
{
    struct buf file = BUF_INIT;
    struct check c = { task, 0 };
    int rc = read_file(task->file, DATA_MAX, &file, err);
    if (rc == 0)
        rc = each_line(task, &file, check_line, &c, err);
    if (rc == 0) {
        hash_file(&file, task->data_hash);
        task->documents = c.documents;
    }
    buf_release(&file);
    return rc;
}

struct reading {
    const struct task *task;
    struct tokenizer *tokenizer;
    size_t context;
    struct documents *out;
};

/* Makes a sequence fit: 0 where it does, is cut, or -1. `prompt`: tokens before the target. */
static int fit(const struct reading *r, struct document *d, size_t prompt, size_t number,
               struct buf *err)
{
    if (d->ids.len <= r->context)
        return 0;
    if (!r->task->truncate)
        return fail(err,
                    "%s:%zu: %zu tokens are more than the model's %zu; the recipe may say truncate "
                    "= true",
                    r->task->file, number, d->ids.len, r->context);
    size_t extra = d->ids.len - r->context;
    if (!r->task->text) {
        if (extra >= prompt)
            return fail(err,
                        "%s:%zu: the answer alone has %zu tokens, and the model takes %zu with at "
                        "least one of the prompt",
                        r->task->file, number, d->ids.len - prompt, r->context);
        memmove(d->ids.v, d->ids.v + extra, r->context * sizeof(*d->ids.v));
        d->prompt_tokens = (int)(prompt - extra);
    }
    d->ids.len = r->context;
    d->truncated = true;
    r->out->truncated++;
    return 0;
}

static int encode_texts(const struct reading *r, const struct texts *texts, struct document *d,
                        size_t *prompt, size_t number, struct buf *err)
{
    const struct buf *both[] = { &texts->prompt, &texts->target };
    for (int i = 0; i < 2; i++) {
        *prompt = d->ids.len; // after the loop: what came before the target
        if (both[i]->len &&
            tokenizer_encode(r->tokenizer, both[i]->s, both[i]->len, &d->ids, err) != 0)
            return fail(err, "%s:%zu: %s", r->task->file, number, err->s);
    }
    if (d->ids.len > INT_MAX)
        return fail(err, "%s:%zu: more than %d tokens", r->task->file, number, INT_MAX);
    return 0;
}

static int read_line(void *ud, const char *line, size_t len, size_t number, struct buf *err)
{
    struct reading *r = ud;
    ARRAY_GROW(r->out->v, r->out->cap, r->out->len + 1);
    struct document *d = &r->out->v[r->out->len++];
    *d = (struct document){ 0 };
    struct texts texts = { BUF_INIT, BUF_INIT };
    size_t prompt = 0;
    int rc = texts_read(r->task, line, len, number, &texts, err);
    if (rc == 0)
        rc = encode_texts(r, &texts, d, &prompt, number, err);
    texts_release(&texts);
    if (rc != 0)
        return -1;
    if (d->ids.len < 2)
        return fail(err, "%s:%zu: a text of %zu token; a loss needs at least two", r->task->file,
                    number, d->ids.len);
    if (!r->task->text && (prompt == 0 || prompt == d->ids.len))
        return fail(err, "%s:%zu: the %s has no token", r->task->file, number,
                    prompt ? "answer to be scored" : "prompt");
    d->prompt_tokens = prompt ? (int)prompt : 1;
    return fit(r, d, prompt, number, err);
}

int documents_read(const struct task *task, struct tokenizer *tokenizer, int context,
                   struct documents *out, struct buf *err)
{
    *out = (struct documents){ 0 };
    if (context < 2)
        return fail(err, "a model with %d positions; a loss needs at least two", context);
    struct buf file = BUF_INIT;
    struct reading r = { task, tokenizer, (size_t)context, out };
    int rc = read_file(task->file, DATA_MAX, &file, err);
    char hash[33];
    hash_file(&file, hash);
    if (rc == 0 && *task->data_hash && strcmp(hash, task->data_hash) != 0)
        rc = fail(err, "%s: was changed while the sweep was being prepared", task->file);
    if (rc == 0)
        rc = each_line(task, &file, read_line, &r, err);
    buf_release(&file);
    return rc;
}

void documents_release(struct documents *d)
{
    for (size_t i = 0; i < d->len; i++)
        free(d->v[i].ids.v);
    free(d->v);
    *d = (struct documents){ 0 };
}
