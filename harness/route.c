/*
 * route.c: see route.h.
 */
#include "route.h"

#include <pthread.h>

bool routing_wants_logits(const struct batch *b)
{
    for (int i = 0; i < b->npools; i++)
        if (b->pools[i].router->logits)
            return true;
    return false;
}

/* A pool whose router goes on from `state`, or is new. scores: [T, N], the pool's */
static void route_pool(const struct routing *r, const struct pool *pool, int layer,
                       struct router_state *state, const float *scores, int T, struct selection *to)
{
    const struct router *router = pool->router;
    const struct router_args args = router_args_at(r->args ? &r->args[layer] : &pool->args, layer);
    struct router_state *own = !r->state && router->open ? router->open(&args) : NULL;
    bool prompt = !r->state && router->scope(&args) == SCOPE_PROMPT && pool->prompt < T;
    int first = prompt ? pool->prompt : T;
    state = r->state ? state : own;
    router->select(&args, state, scores, first, to);
    if (prompt)
        router->select(&args, state, scores + (size_t)first * (size_t)args.N, T - first, to);
    if (own)
        router->close(own);
}

/* Counts what the selection of some sequences used in a layer, by token and by expert. */
static void count(const struct routing *r, const struct selection *s, int layer, int from, int to,
                  const float *scores)
{
    struct scored *out = r->out;
    size_t N = (size_t)out->experts, pair = 0;
    for (int i = from; i < to; i++) {
        size_t load = ((size_t)i * (size_t)out->layers + (size_t)layer) * N;
        for (int t = out->start[i]; t < out->start[i + 1]; t++) {
            int n = s->count[t - out->start[from]];
            const int32_t *e = s->expert + pair;
            const float *row = scores + (size_t)t * N;
            double sum = 0;
            for (int j = 0; j < n; j++)
                sum += (double)row[e[j]];
            for (int j = 0; j < n; j++) {
                out->load_tokens[load + (size_t)e[j]]++;
                out->load_weight[load + (size_t)e[j]] +=
                    r->normalise ? (double)row[e[j]] / sum : (double)row[e[j]];
            }
            out->used[(size_t)layer * (size_t)out->tokens + (size_t)t] = (uint16_t)n;
            pair += (size_t)n;
        }
    }
}

/* How many of a token's experts, ascending, are among another's? */
static int64_t common(const int32_t *a, int na, const int32_t *b, int nb)
{
    int64_t n = 0;
    for (int i = 0, j = 0; i < na && j < nb;) {
        n += a[i] == b[j];
        int step = a[i] <= b[j];
        j += b[j] <= a[i];
        i += step;
    }
    return n;
}

/* What another router selects of one sequence [T, N], against the router's `count` and `experts`. */
static void compare(const struct router_use *other, const float *scores, int T,
                    const int32_t *count, const int32_t *experts, int64_t to[3])
{
    struct router_state *state = other->router->open ? other->router->open(&other->args) : NULL;
    struct selection s = { 0 };
    other->router->select(&other->args, state, scores, T, &s);
    const int32_t *theirs = s.expert;
    for (int t = 0; t < T; t++) {
        to[0] += common(experts, count[t], theirs, s.count[t]);
        to[1] += count[t];
        to[2] += s.count[t];
        experts += count[t];
        theirs += s.count[t];
    }
    if (state)
        other->router->close(state);
    selection_release(&s);
}

/* A pool's sequences from `first` on, which took what `s` has from `token` and `pair` on. scores: of
 * all tokens */
static void compare_pool(const struct routing *r, int pool, int layer, int first,
                         const float *scores, const struct selection *s, size_t token, size_t pair)
{
    struct scored *out = r->out;
    const int n = out->wanted->nothers;
    for (int q = first; q < first + r->batch->pools[pool].sequences; q++) {
        int T = out->start[q + 1] - out->start[q];
        for (int i = 0; i < n; i++) {
            const struct router_use *use = &out->wanted->others[pool][i];
            const struct router_use here = { use->router, router_args_at(&use->args, layer) };
            compare(&here, scores + (size_t)out->start[q] * (size_t)out->experts, T,
                    s->count + token, s->expert + pair,
                    out->overlap + 3 * (((size_t)q * (size_t)n + (size_t)i) * (size_t)out->layers +
                                        (size_t)layer));
        }
        for (int t = 0; t < T; t++)
            pair += (size_t)s->count[token++];
    }
}

/* Neighbouring pools of a layer, and what was selected for their tokens. */
struct share {
    pthread_t thread;
    bool started;
    struct routing *r;
    int layer, from, to; /* pools */
    int sequence;        /* the first pool's first */
    const float *scores, *logits;
    struct selection *selection;
};

static void *route_share(void *arg)
{
    const struct share *h = arg;
    const struct routing *r = h->r;
    const struct scored *out = r->out;
    int sequence = h->sequence;
    for (int i = h->from; i < h->to; i++) {
        const struct pool *pool = &r->batch->pools[i];
        int from = out->start[sequence], to = out->start[sequence + pool->sequences];
        size_t tokens = h->selection->tokens, pairs = h->selection->pairs;
        route_pool(r, pool, h->layer, r->state ? r->state[i][h->layer] : NULL,
                   (pool->router->logits ? h->logits : h->scores) +
                       (size_t)from * (size_t)out->experts,
                   to - from, h->selection);
        if (h->selection->error)
            return NULL;
        if (h->selection->tokens != tokens + (size_t)(to - from))
            BUG("%s selected for %zu of %d tokens", pool->router->name,
                h->selection->tokens - tokens, to - from);
        if (out->overlap)
            compare_pool(r, i, h->layer, sequence, h->scores, h->selection, tokens, pairs);
        sequence += pool->sequences;
    }
    count(r, h->selection, h->layer, h->sequence, sequence, h->scores);
    return NULL;
}

static int threads_of(const struct routing *r)
{
    int n = r->threads < r->batch->npools ? r->threads : r->batch->npools;
    return n > 1 ? n : 1;
}

/* Puts the tokens of `from` behind those of `to`. */
static void append(struct selection *to, const struct selection *from)
{
    const int32_t *expert = from->expert;
    for (size_t i = 0; i < from->tokens; expert += from->count[i++])
        selection_add(to, expert, from->count[i]);
    if (from->error)
        selection_fail(to, "%s", from->error);
}

/* Deals the pools out by their tokens: each share gets those that end in its part of them. */
static void deal(struct share *shares, int n, const struct share *all)
{
    const struct routing *r = all->r;
    const int *start = r->out->start;
    int pool = 0, sequence = 0;
    for (int i = 0; i < n; i++) {
        int64_t end = (int64_t)r->out->tokens * (i + 1) / n;
        shares[i] = *all;
        shares[i].from = pool;
        shares[i].sequence = sequence;
        while (pool < all->to && start[sequence + r->batch->pools[pool].sequences] <= end)
            sequence += r->batch->pools[pool++].sequences;
        shares[i].to = pool;
    }
}

static void route_shares(const struct share *all, int n)
{
    struct share *shares = xcalloc((size_t)n, sizeof(*shares));
    struct selection *own = xcalloc((size_t)n, sizeof(*own));
    deal(shares, n, all);
    for (int i = 0; i < n; i++) {
        shares[i].selection = &own[i];
        shares[i].started = pthread_create(&shares[i].thread, NULL, route_share, &shares[i]) == 0;
        if (!shares[i].started)
            route_share(&shares[i]);
    }
    for (int i = 0; i < n; i++) {
        if (shares[i].started)
            pthread_join(shares[i].thread, NULL);
        append(all->selection, &own[i]);
        selection_release(&own[i]);
    }
    free(own);
    free(shares);
}

int route_layer(struct routing *r, int layer, const float *scores, const float *logits,
                struct buf *err)
{
    struct share all = { .r = r,
                         .layer = layer,
                         .to = r->batch->npools,
                         .scores = scores,
                         .logits = logits,
                         .selection = &r->selection };
    int threads = threads_of(r);
    selection_reset(&r->selection);
    if (threads > 1)
        route_shares(&all, threads);
    else
        route_share(&all);
    if (r->selection.error)
        return fail(err, "layer %d: %s", layer, r->selection.error);
    if (r->out->load_entropy) {
        if (!r->kept)
            r->kept = xcalloc((size_t)r->out->layers, sizeof(*r->kept));
        append(&r->kept[layer], &r->selection);
    }
    return 0;
}

void routing_count_entropy(struct routing *r)
{
    struct scored *out = r->out;
    for (int l = 0; l < out->layers && r->kept; l++) {
        const int32_t *e = r->kept[l].expert;
        for (int q = 0; q < out->nsequences; q++) {
            double *to = out->load_entropy +
                         ((size_t)q * (size_t)out->layers + (size_t)l) * (size_t)out->experts;
            for (int t = out->start[q]; t < out->start[q + 1]; t++)
                for (int j = 0; j < r->kept[l].count[t]; j++)
                    to[*e++] += (double)out->entropy[t];
        }
    }
}

void routing_pairs(const struct routing *r, int64_t *token, int64_t *expert)
{
    size_t n = 0;
    for (size_t i = 0; i < r->selection.tokens; i++)
        for (int j = 0; j < r->selection.count[i]; j++)
            token[n++] = (int64_t)i;
    for (size_t i = 0; i < n; i++)
        expert[i] = r->selection.expert[i];
}

void routing_release(struct routing *r)
{
    for (int l = 0; r->kept && l < r->out->layers; l++)
        selection_release(&r->kept[l]);
    free(r->kept);
    selection_release(&r->selection);
}
