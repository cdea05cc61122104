/*
 * run_tokenizer.c: see run_tokenizer.h.
 */
#include "run_tokenizer.h"

#include "text/bpe_train.h"
#include "weights.h"

#include <string.h>
#include <unistd.h>

enum { TOKENIZER_FILE_MAX = 256 * 1000 * 1000 };

/* ---- where it is ---- */

/* NAME, or NAME/tokenizer.json where it is a folder, beside `from`; NULL: neither is a file. */
static char *file_at(const char *folder, size_t len, const char *name)
{
    char *inside = xasprintf("%.*s%s/tokenizer.json", (int)len, folder, name);
    if (access(inside, F_OK) == 0)
        return inside;
    free(inside);
    char *path = xasprintf("%.*s%s", (int)len, folder, name);
    char *as_folder = xasprintf("%.*s%s/.", (int)len, folder, name);
    bool is_file = access(path, F_OK) == 0 && access(as_folder, F_OK) != 0;
    free(as_folder);
    if (is_file)
        return path;
    free(path);
    return NULL;
}

/* Beside the recipe, in the current folder, or a model's. */
static char *find_file(const struct recipe_pretrain *p)
{
    const char *slash = strrchr(p->at.path, '/');
    char *found = NULL;
    struct buf dir = BUF_INIT, none = BUF_INIT;
    if (slash && p->tokenizer[0] != '/')
        found = file_at(p->at.path, (size_t)(slash + 1 - p->at.path), p->tokenizer);
    if (!found)
        found = file_at("", 0, p->tokenizer);
    if (!found && model_find(p->tokenizer, &dir, &none) == 0)
        found = file_at("", 0, dir.s);
    buf_release(&dir);
    buf_release(&none);
    return found;
}

static int hash_file(const char *path, char hash[33], struct buf *err)
{
    struct buf text = BUF_INIT;
    struct hash *h = hash_new();
    int rc = read_file(path, TOKENIZER_FILE_MAX, &text, err);
    hash_add(h, text.s, text.len);
    hash_hex(h, hash);
    hash_free(h);
    buf_release(&text);
    return rc;
}

static const struct lesson_data *texts_of(const struct recipe_pretrain *p)
{
    return p->tokenizer_data_said ? &p->tokenizer_data : &p->train.data;
}

int pretrain_tokenizer_find(const struct recipe_pretrain *p, const char *root, char **path,
                            char hash[33], struct buf *err)
{
    if (p->tokenizer) {
        *path = find_file(p);
        if (*path)
            return hash_file(*path, hash, err);
        return place_fail(&p->at, "tokenizer", err,
                          "%s: no tokenizer.json there, and no model of that name", p->tokenizer);
    }
    if (!bpe_train_special(p->end_text))
        return place_fail(&p->at, "end_text", err,
                          "\"%.80s\" is no special token of a tokenizer that is trained; allowed "
                          "is \"<|endoftext|>\"",
                          p->end_text);
    struct hash *h = hash_new();
    struct buf text = BUF_INIT;
    buf_addf(&text, "seqtopk tokenizer\nvocab %d\nfrequency %d\n", p->vocab, BPE_FREQUENCY);
    hash_adds(h, text.s);
    lesson_data_hash(h, texts_of(p));
    hash_hex(h, hash);
    hash_free(h);
    buf_release(&text);
    *path = xasprintf("%s/tokenizer-%s.json", root, hash);
    return 0;
}

/* ---- making it ---- */

/* Texts as they were read, one behind the other. */
struct texts {
    struct buf all;
    size_t *end; /* of each */
    size_t len, cap, at;
};

static int keep_text(void *ud, const struct lesson_text *t, struct buf *err)
{
    (void)err;
    struct texts *texts = ud;
    buf_add(&texts->all, t->prompt->s, t->prompt->len);
    buf_add(&texts->all, t->completion->s, t->completion->len);
    ARRAY_GROW(texts->end, texts->cap, texts->len + 1);
    texts->end[texts->len++] = texts->all.len;
    return 0;
}

static int next_text(void *ctx, const char **text, size_t *len, struct buf *err)
{
    (void)err;
    struct texts *t = ctx;
    if (t->at == t->len)
        return 0;
    size_t from = t->at ? t->end[t->at - 1] : 0;
    *text = t->all.s + from;
    *len = t->end[t->at++] - from;
    return 1;
}

static int make_tokenizer(const struct recipe_pretrain *p, const char *path, struct buf *err)
{
    const struct bpe_training how = { .size = p->vocab, .min_frequency = BPE_FREQUENCY };
    struct texts texts = { .all = BUF_INIT };
    struct buf json = BUF_INIT;
    char *folder = xstrndup(path, (size_t)(strrchr(path, '/') - path));
    int rc = lesson_data_each(texts_of(p), keep_text, &texts, err);
    if (rc == 0)
        rc = bpe_train(&how, next_text, &texts, &json, NULL, err);
    if (rc == 0)
        rc = make_dirs(folder, err) || write_file(path, json.s, json.len, err) ? -1 : 0;
    free(folder);
    free(texts.end);
    buf_release(&texts.all);
    buf_release(&json);
    return rc;
}

struct tokenizer *pretrain_tokenizer_open(const struct recipe_pretrain *p, const char *path,
                                          struct buf *err)
{
    if (!p->tokenizer && access(path, F_OK) != 0 && make_tokenizer(p, path, err) != 0)
        return NULL;
    return tokenizer_open(path, err);
}

int pretrain_end_token(const struct recipe_pretrain *p, struct tokenizer *t, const char *path,
                       int32_t *out, struct buf *err)
{
    struct ids ids = { 0 };
    int rc = tokenizer_encode(t, p->end_text, strlen(p->end_text), &ids, err);
    if (rc == 0 && (ids.len != 1 || !tokenizer_special(t, ids.v[0])))
        rc = place_fail(&p->at, "end_text", err,
                        "\"%.80s\" is no special token of %s; allowed is one that it has",
                        p->end_text, path);
    if (rc == 0)
        *out = ids.v[0];
    free(ids.v);
    return rc;
}
