/*
 * bpe.c: see bpe.h. Merges go by ids: a heap holds the pairs that can merge, lowest rank first and
 * leftmost first among equals.
 */
#include "text/bpe_impl.h"

#include <string.h>

enum {
    CACHED_LEN = 64,      /* bytes; longer pre-tokens hardly come again */
    CACHED_MAX = 1 << 16, /* pre-tokens */
};

struct bpe *bpe_new(const char *path, const json_t *model, struct buf *err)
{
    struct bpe *b = xcalloc(1, sizeof(*b));
    buf_init(&b->bytes);
    memset(b->byte_id, -1, sizeof(b->byte_id));
    memo_init(&b->cache, CACHED_MAX);
    if (bpe_load(b, path, model, err) != 0) {
        bpe_free(b);
        return NULL;
    }
    return b;
}

void bpe_free(struct bpe *b)
{
    if (!b)
        return;
    free(b->tokens);
    buf_release(&b->bytes);
    free(b->pairs);
    free(b->merged);
    memo_release(&b->whole);
    memo_release(&b->chars);
    free(b->joins);
    memo_release(&b->cache);
    free(b->symbols);
    free(b->heap);
    free(b);
}

/* The slot of the pair, or the free slot where it would go. */
struct bpe_pair *bpe_pair(const struct bpe *b, int32_t left, int32_t right)
{
    uint64_t key = bpe_pair_key(left, right);
    uint64_t hash = key * 0x9e3779b97f4a7c15u;
    for (size_t i = (hash >> 32) & b->pair_mask;; i = (i + 1) & b->pair_mask) {
        struct bpe_pair *p = &b->pairs[i];
        if (p->rank < 0 || p->key == key)
            return p;
    }
}

int bpe_size(const struct bpe *b)
{
    return b->size;
}

bool bpe_falls_back(const struct bpe *b)
{
    return b->falls_back;
}

const char *bpe_token(const struct bpe *b, int32_t id, size_t *len)
{
    if (id < 0 || id >= b->size || !b->tokens[id].known)
        return NULL;
    *len = b->tokens[id].len;
    return b->bytes.s + b->tokens[id].at;
}

static void heap_push(struct bpe *b, uint64_t entry)
{
    ARRAY_GROW(b->heap, b->heap_cap, b->heap_len + 1);
    size_t i = b->heap_len++;
    for (; i > 0 && b->heap[(i - 1) / 2] > entry; i = (i - 1) / 2)
        b->heap[i] = b->heap[(i - 1) / 2];
    b->heap[i] = entry;
}

static uint64_t heap_pop(struct bpe *b)
{
    uint64_t top = b->heap[0], last = b->heap[--b->heap_len];
    size_t i = 0, child;
    while ((child = 2 * i + 1) < b->heap_len) {
        if (child + 1 < b->heap_len && b->heap[child + 1] < b->heap[child])
            child++;
        if (b->heap[child] >= last)
            break;
        b->heap[i] = b->heap[child];
        i = child;
    }
    b->heap[i] = last;
    return top;
}

/* The rank of the merge of a symbol with the one behind it; -1 where there is none. */
static int32_t rank_at(const struct bpe *b, int32_t at)
{
    const struct bpe_symbol *s = &b->symbols[at];
    return s->id < 0 || s->next < 0 ? -1 : bpe_pair(b, s->id, b->symbols[s->next].id)->rank;
}

static void offer(struct bpe *b, int32_t at)
{
    int32_t rank = at < 0 ? -1 : rank_at(b, at);
    if (rank >= 0)
        heap_push(b, (uint64_t)rank << 32 | (uint32_t)at);
}

static int add_bytes(struct bpe *b, const char *s, size_t len, int32_t *n, struct buf *err)
{
    for (size_t i = 0; i < len; i++) {
        int32_t id = b->byte_id[(unsigned char)s[i]];
        if (id < 0)
            return fail(err, "the vocabulary has no token for the byte 0x%02x",
                        (unsigned)(unsigned char)s[i]);
        b->symbols[(*n)++].id = id;
    }
    return 0;
}

/* What merging begins with: the symbols of bytes, or of characters where they have a token. */
static int add_symbols(struct bpe *b, const char *s, size_t len, int32_t *n, struct buf *err)
{
    if (!b->falls_back)
        return add_bytes(b, s, len, n, err);
    for (size_t at = 0, size; at < len; at += size) {
        size_t one;
        size = bpe_char_len(s + at);
        const int32_t *id = memo_find(&b->chars, s + at, size, &one);
        if (id)
            b->symbols[(*n)++].id = *id;
        else if (add_bytes(b, s + at, size, n, err) != 0)
            return -1;
    }
    return 0;
}

static void merge_symbols(struct bpe *b, int32_t n)
{
    b->heap_len = 0;
    for (int32_t i = 0; i < n; i++)
        offer(b, i);
    while (b->heap_len) {
        uint64_t top = heap_pop(b);
        int32_t at = (int32_t)(top & UINT32_MAX), rank = (int32_t)(top >> 32);
        // Since the entry was made, one of the two may have become part of another token.
        if (rank_at(b, at) != rank)
            continue;
        struct bpe_symbol *left = &b->symbols[at], *right = &b->symbols[left->next];
        left->id = b->merged[rank];
        left->next = right->next;
        right->id = -1;
        if (left->next >= 0)
            b->symbols[left->next].prev = at;
        offer(b, left->prev);
        offer(b, at);
    }
}

static int merge(struct bpe *b, const char *s, size_t len, struct ids *out, struct buf *err)
{
    if (len > INT32_MAX)
        return fail(err, "a piece of %zu bytes without a break is too long", len);
    ARRAY_GROW(b->symbols, b->symbols_cap, len);
    int32_t n = 0;
    if (add_symbols(b, s, len, &n, err) != 0)
        return -1;
    for (int32_t i = 0; i < n; i++) {
        b->symbols[i].prev = i - 1;
        b->symbols[i].next = i + 1 < n ? i + 1 : -1;
    }
    merge_symbols(b, n);
    for (int32_t i = 0; i >= 0; i = b->symbols[i].next)
        ids_push(out, b->symbols[i].id);
    return 0;
}

static void push_all(struct ids *out, const int32_t *ids, size_t n)
{
    ARRAY_GROW(out->v, out->cap, out->len + n);
    memcpy(out->v + out->len, ids, n * sizeof(*ids));
    out->len += n;
}

static int encode_part(struct bpe *b, const char *s, size_t len, struct ids *out, struct buf *err)
{
    size_t n, before = out->len;
    const int32_t *known = len <= CACHED_LEN ? memo_find(&b->cache, s, len, &n) : NULL;
    if (known) {
        push_all(out, known, n);
        return 0;
    }
    if (merge(b, s, len, out, err) != 0)
        return -1;
    if (len <= CACHED_LEN)
        memo_add(&b->cache, s, len, out->v + before, out->len - before);
    return 0;
}

int bpe_encode(struct bpe *b, const char *s, size_t len, struct ids *out, struct buf *err)
{
    if (len == 0)
        return 0;
    size_t n;
    const int32_t *whole = b->whole_first ? memo_find(&b->whole, s, len, &n) : NULL;
    if (whole) {
        push_all(out, whole, n);
        return 0;
    }
    if (!b->falls_back)
        return encode_part(b, s, len, out, err);
    for (size_t at = 0; at < len; at += n) {
        n = bpe_cut(b, s + at, len - at);
        if (encode_part(b, s + at, n, out, err) != 0)
            return -1;
    }
    return 0;
}
