/*
 * route.c: see route.h.
 */
#include "route.h"

bool routing_wants_logits(const struct batch *b)
{
    for (int i = 0; i < b->npools; i++)
        if (b->pools[i].router->logits)
            return true;
    return false;
}

/* A pool whose router goes on from `state`, or is new. scores: [T, N], the pool's */
static void route_pool(struct routing *r, const struct pool *pool, int layer,
                       struct router_state *state, const float *scores, int T)
{
    const struct router *router = pool->router;
    struct router_args args = r->args ? r->args[layer] : pool->args;
    if (args.cutoffs)
        args.cutoffs += (size_t)layer * (size_t)args.N;
    struct router_state *own = !r->state && router->open ? router->open(&args) : NULL;
    bool prompt = !r->state && router->scope(&args) == SCOPE_PROMPT && pool->prompt < T;
    int first = prompt ? pool->prompt : T;
    state = r->state ? state : own;
    router->select(&args, state, scores, first, &r->selection);
    if (prompt)
        router->select(&args, state, scores + (size_t)first * (size_t)args.N, T - first,
                       &r->selection);
    if (own)
        router->close(own);
}

/* Counts what a layer's selection used, by token and by expert. */
static void count(struct routing *r, int layer, const float *scores)
{
    struct scored *out = r->out;
    size_t N = (size_t)out->experts, pair = 0;
    for (int i = 0; i < out->nsequences; i++) {
        size_t load = ((size_t)i * (size_t)out->layers + (size_t)layer) * N;
        for (int t = out->start[i]; t < out->start[i + 1]; t++) {
            int n = r->selection.count[t];
            const int32_t *e = r->selection.expert + pair;
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

int route_layer(struct routing *r, int layer, const float *scores, const float *logits,
                struct buf *err)
{
    const struct scored *out = r->out;
    int sequence = 0;
    selection_reset(&r->selection);
    for (int i = 0; i < r->batch->npools; i++) {
        const struct pool *pool = &r->batch->pools[i];
        int from = out->start[sequence], to = out->start[sequence + pool->sequences];
        size_t tokens = r->selection.tokens;
        route_pool(r, pool, layer, r->state ? r->state[i][layer] : NULL,
                   (pool->router->logits ? logits : scores) + (size_t)from * (size_t)out->experts,
                   to - from);
        if (r->selection.error)
            return fail(err, "layer %d: %s", layer, r->selection.error);
        if (r->selection.tokens != tokens + (size_t)(to - from))
            BUG("%s selected for %zu of %d tokens", pool->router->name,
                r->selection.tokens - tokens, to - from);
        sequence += pool->sequences;
    }
    count(r, layer, scores);
    return 0;
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
    selection_release(&r->selection);
}
