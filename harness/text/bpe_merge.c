/*
 * bpe_merge.c: which pairs of tokens are merged, one after the other. See bpe_train.h.
 *
 * Each pair knows how often it comes and in which words; a heap gives the most frequent one. A pair
 * comes up when the younger of its tokens is made, and never after: from then on it only becomes
 * rarer. So it goes into the heap once, and a count that is out of date is found out on top.
 *
 * For the same reason no two merges make the same token: inside of equal bytes that no merge has
 * crossed the edges of, all merges so far were the same.
 *
 * Invariant: between two merges the count of a pair that is not merged is that of its places in the
 * words.
 */
#include "text/bpe_train_impl.h"

struct pair {
    uint64_t key; /* left << 32 | right */
    int64_t count;
    uint32_t *words; /* in which it came up; some of them may have lost it */
    uint32_t nwords, cap;
};

struct heap_entry {
    int64_t count;
    uint32_t pair;
};

struct merger {
    struct train_words *words;
    struct train_model *model;
    struct pair *pairs;
    size_t npairs, pairs_cap;
    uint32_t *slots; /* the pair's number plus one; 0: free. At least half of them are */
    size_t mask;
    struct heap_entry *heap;
    size_t nheap, heap_cap;
};

/* ---- pairs ---- */

static size_t slot_of(uint64_t key, size_t mask)
{
    return (size_t)((key * 0x9e3779b97f4a7c15u) >> 32) & mask;
}

static void grow_slots(struct merger *g)
{
    size_t slots = g->mask ? 2 * (g->mask + 1) : 4096;
    free(g->slots);
    g->slots = xcalloc(slots, sizeof(*g->slots));
    g->mask = slots - 1;
    for (size_t p = 0; p < g->npairs; p++) {
        size_t i = slot_of(g->pairs[p].key, g->mask);
        while (g->slots[i])
            i = (i + 1) & g->mask;
        g->slots[i] = (uint32_t)p + 1;
    }
}

/* The pair, which is put in where it is new. Good until the next one is. */
static struct pair *pair_of(struct merger *g, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)left << 32 | (uint32_t)right;
    if (2 * (g->npairs + 1) > g->mask)
        grow_slots(g);
    size_t i = slot_of(key, g->mask);
    for (; g->slots[i]; i = (i + 1) & g->mask)
        if (g->pairs[g->slots[i] - 1].key == key)
            return &g->pairs[g->slots[i] - 1];
    ARRAY_GROW(g->pairs, g->pairs_cap, g->npairs + 1);
    g->pairs[g->npairs] = (struct pair){ .key = key };
    g->slots[i] = (uint32_t)g->npairs + 1;
    return &g->pairs[g->npairs++];
}

/* The pair came up in the word, which is in the texts `count` times. */
static void pair_add(struct merger *g, int32_t left, int32_t right, uint32_t word, int64_t count)
{
    struct pair *p = pair_of(g, left, right);
    p->count += count;
    if (p->nwords && p->words[p->nwords - 1] == word)
        return;
    ARRAY_GROW(p->words, p->cap, p->nwords + 1);
    p->words[p->nwords++] = word;
}

/* ---- the heap ---- */

/* Does `a` come before `b`? */
static bool before(const struct merger *g, const struct heap_entry *a, const struct heap_entry *b)
{
    return a->count != b->count ? a->count > b->count
                                : g->pairs[a->pair].key < g->pairs[b->pair].key;
}

static void heap_push(struct merger *g, struct heap_entry e)
{
    ARRAY_GROW(g->heap, g->heap_cap, g->nheap + 1);
    size_t i = g->nheap++;
    for (; i > 0 && before(g, &e, &g->heap[(i - 1) / 2]); i = (i - 1) / 2)
        g->heap[i] = g->heap[(i - 1) / 2];
    g->heap[i] = e;
}

/* Puts `e` into the place of the first entry. */
static void heap_replace(struct merger *g, struct heap_entry e)
{
    size_t i = 0, child;
    while ((child = 2 * i + 1) < g->nheap) {
        if (child + 1 < g->nheap && before(g, &g->heap[child + 1], &g->heap[child]))
            child++;
        if (!before(g, &g->heap[child], &e))
            break;
        g->heap[i] = g->heap[child];
        i = child;
    }
    g->heap[i] = e;
}

static void heap_drop(struct merger *g)
{
    struct heap_entry last = g->heap[--g->nheap];
    if (g->nheap)
        heap_replace(g, last);
}

/* The pairs from number `first` on are new: they go into the heap. */
static void push_pairs(struct merger *g, size_t first)
{
    for (size_t i = first; i < g->npairs; i++)
        if (g->pairs[i].count > 0)
            heap_push(g, (struct heap_entry){ g->pairs[i].count, (uint32_t)i });
}

/* Takes the pair that is merged next out of the heap; false where none comes `least` times. */
static bool next_pair(struct merger *g, int64_t least, uint32_t *out)
{
    while (g->nheap) {
        struct heap_entry top = g->heap[0];
        int64_t count = g->pairs[top.pair].count;
        if (count != top.count) {
            heap_replace(g, (struct heap_entry){ count, top.pair });
            continue;
        }
        heap_drop(g);
        *out = top.pair;
        return count >= least;
    }
    return false;
}

/* ---- merging ---- */

static void merge_in_word(struct merger *g, uint32_t number, int32_t left, int32_t right,
                          int32_t id)
{
    struct train_word *w = &g->words->v[number];
    int32_t *s = g->words->symbols + w->at;
    uint32_t n = 0;
    for (uint32_t i = 0; i < w->len;) {
        if (s[i] != left || i + 1 == w->len || s[i + 1] != right) {
            s[n++] = s[i++];
            continue;
        }
        i += 2;
        if (n > 0) {
            pair_of(g, s[n - 1], left)->count -= w->count;
            pair_add(g, s[n - 1], id, number, w->count);
        }
        s[n++] = id;
        if (i < w->len) {
            pair_of(g, right, s[i])->count -= w->count;
            pair_add(g, id, s[i], number, w->count);
        }
    }
    w->len = n;
}

/* The token that two tokens make, end to end. */
static int32_t add_token(struct train_model *m, int32_t left, int32_t right)
{
    struct train_token a = m->tokens[left], b = m->tokens[right];
    size_t at = m->bytes.len;
    buf_grow(&m->bytes, a.len + b.len); // so that the bytes stay where they are
    buf_add(&m->bytes, m->bytes.s + a.at, a.len);
    buf_add(&m->bytes, m->bytes.s + b.at, b.len);
    ARRAY_GROW(m->tokens, m->tokens_cap, m->ntokens + 1);
    m->tokens[m->ntokens] = (struct train_token){ at, a.len + b.len };
    return (int32_t)m->ntokens++;
}

static void merge_pair(struct merger *g, uint32_t number)
{
    struct pair p = g->pairs[number];
    struct train_model *m = g->model;
    int32_t left = (int32_t)(p.key >> 32), right = (int32_t)(p.key & UINT32_MAX);
    int32_t id = add_token(m, left, right);
    size_t known = g->npairs;
    ARRAY_GROW(m->merges, m->merges_cap, m->nmerges + 1);
    m->merges[m->nmerges++] = (struct train_merge){ left, right };
    for (uint32_t i = 0; i < p.nwords; i++)
        merge_in_word(g, p.words[i], left, right, id);
    free(p.words);
    g->pairs[number].words = NULL;
    push_pairs(g, known);
}

void bpe_merge_words(const struct bpe_training *t, struct train_words *words, struct train_model *m)
{
    struct merger g = { .words = words, .model = m };
    uint32_t next;
    for (size_t w = 0; w < words->len; w++) {
        const int32_t *s = words->symbols + words->v[w].at;
        for (uint32_t i = 0; i + 1 < words->v[w].len; i++)
            pair_add(&g, s[i], s[i + 1], (uint32_t)w, words->v[w].count);
    }
    push_pairs(&g, 0);
    while (m->ntokens < (size_t)t->size && next_pair(&g, t->min_frequency, &next))
        merge_pair(&g, next);
    for (size_t p = 0; p < g.npairs; p++)
        free(g.pairs[p].words);
    free(g.pairs);
    free(g.slots);
    free(g.heap);
}
