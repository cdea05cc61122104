/*
 * added_tokens.c: see added_tokens.h. The tokens are sorted by first byte, then longest first, so
 * that the first one that fits at a place is the longest there.
 */
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "json.h"
#include "text/unicode.h"

#include <string.h>

struct added_tokens {
    struct added_token *v;
    size_t n;
    size_t first[257]; /* v[first[c]] up to v[first[c + 1]] begin with byte c */
    bool used[2];      /* whether any token is raw [0], normalised [1] */
};

static int parse(struct added_token *t, const char *path, const json_t *node,
                 added_normalize_fn *normalize, void *ctx, struct buf *err)
{
    if (!json_is_object(node))
        return fail(err, "%s: an added token is not an object", path);
    struct json_in in = { node, path, err };
    const char *content, *pattern;
    int id;
    if (json_need_string(&in, "content", &content) != 0 ||
        json_need_int(&in, "id", 0, TOKEN_ID_MAX, &id) != 0 ||
        json_need_bool(&in, "single_word", &t->single_word) != 0 ||
        json_need_bool(&in, "lstrip", &t->lstrip) != 0 ||
        json_need_bool(&in, "rstrip", &t->rstrip) != 0 ||
        json_need_bool(&in, "normalized", &t->normalized) != 0 ||
        json_opt_bool(&in, "special", &t->special) != 0)
        return -1;
    if (*content == '\0')
        return fail(err, "%s: the added token with id %d is empty", path, id);
    size_t pattern_len;
    struct buf room = BUF_INIT;
    t->id = id;
    t->len = pattern_len = strlen(content);
    pattern = content;
    if (t->normalized && normalize(ctx, content, t->len, &room, &pattern, &pattern_len, err) != 0) {
        buf_release(&room);
        return -1;
    }
    t->content = xstrdup(content);
    t->pattern = xstrndup(pattern, pattern_len);
    t->pattern_len = pattern_len;
    buf_release(&room);
    return 0;
}

/*
 * The library gives a token the id that the vocabulary has for it, else the next free one, whatever
 * the file says. `largest` is the largest id of the added tokens so far, or -1.
 */
static int check_id(struct added_token *t, const char *path, const json_t *vocab, int64_t largest,
                    struct buf *err)
{
    int64_t size = (int64_t)json_object_size(vocab);
    const json_t *known = json_object_get(vocab, t->content);
    t->in_vocab = known != NULL;
    int64_t id = known ? json_integer_value(known) : largest >= size ? largest + 1 : size;
    if (t->id != id)
        return fail(err, "%s: added token '%s' has id %d, but its place in the file gives it %lld",
                    path, t->content, t->id, (long long)id);
    return 0;
}

static int by_first_byte(const void *a, const void *b)
{
    const struct added_token *x = a, *y = b;
    unsigned char c = (unsigned char)x->pattern[0], d = (unsigned char)y->pattern[0];
    if (c != d)
        return c < d ? -1 : 1;
    if (x->pattern_len != y->pattern_len)
        return x->pattern_len > y->pattern_len ? -1 : 1;
    int order = memcmp(x->pattern, y->pattern, x->pattern_len);
    return order ? order : x->normalized - y->normalized;
}

static int sort(struct added_tokens *a, const char *path, struct buf *err)
{
    if (a->n)
        qsort(a->v, a->n, sizeof(*a->v), by_first_byte);
    for (size_t i = 0; i < a->n; i++) {
        if (i > 0 && by_first_byte(&a->v[i - 1], &a->v[i]) == 0)
            return fail(err, "%s: added token '%s' is there twice", path, a->v[i].content);
        a->first[(unsigned char)a->v[i].pattern[0] + 1]++;
        a->used[a->v[i].normalized] = true;
    }
    for (size_t c = 0; c < 256; c++)
        a->first[c + 1] += a->first[c];
    return 0;
}

struct added_tokens *added_tokens_new(const char *path, const json_t *list, const json_t *vocab,
                                      added_normalize_fn *normalize, void *ctx, struct buf *err)
{
    struct added_tokens *a = xcalloc(1, sizeof(*a));
    int rc = 0;
    size_t n = json_array_size(list);
    a->v = xcalloc(n, sizeof(*a->v));
    int64_t largest = -1;
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct added_token *t = &a->v[i];
        rc = parse(t, path, json_array_get(list, i), normalize, ctx, err);
        if (rc == 0) {
            a->n++;
            rc = check_id(t, path, vocab, largest, err);
            largest = t->id > largest ? t->id : largest;
        }
    }
    if (rc == 0)
        rc = sort(a, path, err);
    if (rc != 0) {
        added_tokens_free(a);
        return NULL;
    }
    return a;
}

void added_tokens_free(struct added_tokens *a)
{
    if (!a)
        return;
    for (size_t i = 0; i < a->n; i++) {
        free(a->v[i].content);
        free(a->v[i].pattern);
    }
    free(a->v);
    free(a);
}

size_t added_tokens_count(const struct added_tokens *a)
{
    return a->n;
}

const struct added_token *added_tokens_get(const struct added_tokens *a, size_t i)
{
    return &a->v[i];
}

/* The longest token that stands at the start of `s`, or NULL. */
static const struct added_token *token_at(const struct added_tokens *a, bool normalized,
                                          const char *s, size_t len)
{
    unsigned char c = (unsigned char)s[0];
    for (size_t i = a->first[c]; i < a->first[c + 1]; i++) {
        const struct added_token *t = &a->v[i];
        if (t->normalized == normalized && t->pattern_len <= len &&
            memcmp(t->pattern, s, t->pattern_len) == 0)
            return t;
    }
    return NULL;
}

bool added_tokens_next(const struct added_tokens *a, bool normalized, const char *s, size_t len,
                       struct added_match *m)
{
    if (!a->used[normalized])
        return false;
    for (size_t at = m->resume; at < len; at++) {
        const struct added_token *t = token_at(a, normalized, s + at, len - at);
        if (!t)
            continue;
        size_t stop = at + t->pattern_len;
        if (t->single_word &&
            (unicode_ends_with_word(s, at) || unicode_starts_with_word(s + stop, len - stop))) {
            // As in the library, nothing shorter is tried within what was found.
            at = stop - 1;
            continue;
        }
        *m = (struct added_match){ .start = at, .stop = stop, .resume = stop, .id = t->id };
        if (t->lstrip)
            m->start -= unicode_spaces_at_end(s, at);
        if (t->rstrip)
            m->stop += unicode_spaces_at_start(s + stop, len - stop);
        return true;
    }
    return false;
}
