/*
 * expert_cache.c: see expert_cache.h. One kind of heap serves both, since the smallest of some
 * scores is the largest of the negated ones, and negating a float is exact.
 */
#include "routers/expert_cache.h"

static void heap_push(struct heap *h, float x)
{
    ARRAY_GROW(h->v, h->cap, h->len + 1);
    size_t i = h->len++;
    for (; i > 0 && h->v[(i - 1) / 2] < x; i = (i - 1) / 2)
        h->v[i] = h->v[(i - 1) / 2];
    h->v[i] = x;
}

/* Takes the top away and puts x in. */
static float heap_replace(struct heap *h, float x)
{
    float top = h->v[0];
    size_t i = 0, n = h->len;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && h->v[child + 1] > h->v[child])
            child++;
        if (h->v[child] <= x)
            break;
        h->v[i] = h->v[child];
        i = child;
    }
    h->v[i] = x;
    return top;
}

static float heap_pop(struct heap *h)
{
    float last = h->v[--h->len];
    return h->len ? heap_replace(h, last) : last;
}

void expert_cache_clear(struct expert_cache *c)
{
    c->top.len = c->rest.len = 0;
}

void expert_cache_release(struct expert_cache *c)
{
    free(c->top.v);
    free(c->rest.v);
    *c = (struct expert_cache){ 0 };
}

size_t expert_cache_bytes(const struct expert_cache *c)
{
    return (c->top.cap + c->rest.cap) * sizeof(*c->top.v);
}

float expert_cache_add(struct expert_cache *c, const float *row, int N, int K)
{
    size_t want = c->top.len + (size_t)K;
    for (int e = 0; e < N; e++) {
        if (c->top.len > 0 && row[e] > -c->top.v[0])
            heap_push(&c->top, -row[e]);
        else
            heap_push(&c->rest, row[e]);
    }
    while (c->top.len > want)
        heap_push(&c->rest, -heap_pop(&c->top));
    while (c->top.len < want)
        heap_push(&c->top, -heap_pop(&c->rest));
    return -c->top.v[0];
}
