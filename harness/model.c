/*
 * model.c: see model.h. Drives a forward pass layer by layer, with the router between the scores
 * and the experts.
 */
#include "model_impl.h"

#include <math.h>
#include <string.h>

/* One forward pass under way. */
struct pass {
    struct model *m;
    const struct batch *batch;
    const struct past *past;
    struct scored *out;
    struct scope *scope;
    struct tensor *start, *behind, *slot, *no_cache;
    struct selection selection;
};

/* A pool whose router goes on from `state`, or is new. scores: [T, N], the pool's */
static void route_pool(struct pass *p, const struct pool *pool, struct router_state *state,
                       const float *scores, int T)
{
    const struct router *r = pool->router;
    struct router_state *own = !p->past && r->open ? r->open(&pool->args) : NULL;
    bool prompt = !p->past && r->scope(&pool->args) == SCOPE_PROMPT && pool->prompt < T;
    int first = prompt ? pool->prompt : T;
    state = p->past ? state : own;
    r->select(&pool->args, state, scores, first, &p->selection);
    if (prompt)
        r->select(&pool->args, state, scores + (size_t)first * (size_t)p->out->experts, T - first,
                  &p->selection);
    if (own)
        r->close(own);
}

/* Every pool's router on its rows of the scores. scores: [tokens, N] */
static void route(struct pass *p, int layer, const float *scores)
{
    const struct scored *out = p->out;
    int sequence = 0;
    selection_reset(&p->selection);
    for (int i = 0; i < p->batch->npools; i++) {
        const struct pool *pool = &p->batch->pools[i];
        int from = out->start[sequence], to = out->start[sequence + pool->sequences];
        route_pool(p, pool, p->past ? p->past->state[i][layer] : NULL,
                   scores + (size_t)from * (size_t)out->experts, to - from);
        sequence += pool->sequences;
    }
    if (p->selection.tokens != (size_t)out->tokens)
        BUG("the routers selected for %zu of %d tokens", p->selection.tokens, out->tokens);
}

/* Counts what a layer's selection used, by token and by expert. */
static void count(struct pass *p, int layer, const float *scores)
{
    struct scored *out = p->out;
    size_t N = (size_t)out->experts, pair = 0;
    for (int i = 0; i < out->nsequences; i++) {
        size_t load = ((size_t)i * (size_t)out->layers + (size_t)layer) * N;
        for (int t = out->start[i]; t < out->start[i + 1]; t++) {
            int n = p->selection.count[t];
            const int32_t *e = p->selection.expert + pair;
            const float *row = scores + (size_t)t * N;
            double sum = 0;
            for (int j = 0; j < n; j++)
                sum += (double)row[e[j]];
            for (int j = 0; j < n; j++) {
                out->load_tokens[load + (size_t)e[j]]++;
                out->load_weight[load + (size_t)e[j]] +=
                    p->m->config.norm_topk_prob ? (double)row[e[j]] / sum : (double)row[e[j]];
            }
            out->used[(size_t)layer * (size_t)out->tokens + (size_t)t] = (uint16_t)n;
            pair += (size_t)n;
        }
    }
}

/* The selection as the tensors token [P] and expert [P]. */
static void selected(struct pass *p, struct tensor **token, struct tensor **expert)
{
    int64_t pairs = (int64_t)p->selection.pairs, n = 0;
    int64_t *t = xmalloc((size_t)pairs * sizeof(*t)), *e = xmalloc((size_t)pairs * sizeof(*e));
    for (size_t i = 0; i < p->selection.tokens; i++)
        for (int j = 0; j < p->selection.count[i]; j++)
            t[n++] = (int64_t)i;
    for (int64_t i = 0; i < pairs; i++)
        e[i] = p->selection.expert[i];
    *token = tensor_ints(p->scope, t, 1, &pairs, p->m->device);
    *expert = tensor_ints(p->scope, e, 1, &pairs, p->m->device);
    free(t);
    free(e);
}

static bool all_finite(const float *v, size_t n)
{
    float zero = 0;
    for (size_t i = 0; i < n; i++)
        zero += v[i] * 0.0f;
    return zero == 0;
}

/* x [T, d] through one layer. */
static struct tensor *layer(struct pass *p, int i, struct tensor *x)
{
    struct module *module = p->m->layers[i];
    struct tensor *out[3], *token, *expert;
    struct tensor *keys = p->past ? p->past->keys[i] : p->no_cache;
    struct tensor *values = p->past ? p->past->values[i] : p->no_cache;
    struct tensor *to[] = { x, p->start, p->behind, p->slot, keys, values };
    module_call(p->scope, module, "attend", to, 6, out, 3);
    const float *scores = tensor_values(p->scope, out[2]);
    if (scope_error(p->scope))
        return NULL;
    if (!all_finite(scores, (size_t)p->out->tokens * (size_t)p->out->experts)) {
        scope_fail(p->scope, "layer %d: a score of the router is NaN or infinite", i);
        return NULL;
    }
    route(p, i, scores);
    count(p, i, scores);
    selected(p, &token, &expert);
    struct tensor *in[] = { out[0], out[1], out[2], token, expert };
    module_call(p->scope, module, "experts", in, 5, &x, 1);
    return x;
}

/*
 * Token ids [T] and the token each is to predict [T], negative at a sequence's end; and where the
 * sequences are, in this batch and in the cache.
 */
static void inputs(struct pass *p, struct tensor **ids, struct tensor **target)
{
    const struct batch *b = p->batch;
    const struct device host = { DEVICE_CPU, 0 };
    int64_t tokens = p->out->tokens, S = b->nsequences, none[3] = { 0 };
    int64_t *v = xcalloc((size_t)(2 * tokens + S + 1), sizeof(*v)), *next = v + tokens;
    int64_t *start = next + tokens, *zeros = xcalloc((size_t)S, sizeof(*zeros));
    for (int i = 0; i < S; i++) {
        const struct sequence *q = &b->sequences[i];
        for (int t = 0, at = p->out->start[i]; t < q->tokens; t++, at++) {
            v[at] = q->ids[t];
            next[at] = t + 1 < q->tokens ? q->ids[t + 1] : -1;
        }
        start[i + 1] = p->out->start[i + 1];
    }
    *ids = tensor_ints(p->scope, v, 1, &tokens, p->m->device);
    *target = tensor_ints(p->scope, next, 1, &tokens, p->m->device);
    p->start = tensor_ints(p->scope, start, 1, (int64_t[]){ S + 1 }, host);
    p->behind = tensor_ints(p->scope, p->past ? p->past->tokens : zeros, 1, &S, host);
    p->slot = tensor_ints(p->scope, p->past ? p->past->slot : zeros, 1, &S, host);
    p->no_cache = p->past ? NULL : tensor_empty(p->scope, p->m->dtype, 3, none, p->m->device);
    free(zeros);
    free(v);
}

/* Losses move one to the right: that of a token is computed where it is predicted. */
static void outputs(struct pass *p, struct tensor *const *result)
{
    struct scored *out = p->out;
    const float *nll = tensor_values(p->scope, result[0]);
    const float *entropy = tensor_values(p->scope, result[1]);
    if (scope_error(p->scope))
        return;
    memcpy(out->entropy, entropy, (size_t)out->tokens * sizeof(*entropy));
    for (int i = 0; i < out->nsequences; i++)
        for (int t = out->start[i]; t < out->start[i + 1]; t++)
            out->nll[t] = t == out->start[i] ? NAN : nll[t - 1];
    if (!all_finite(entropy, (size_t)out->tokens))
        scope_fail(p->scope, "the entropy of a prediction is NaN or infinite");
}

static int check_batch(const struct model_config *c, const struct batch *b, const struct past *past,
                       struct buf *err)
{
    int pooled = 0;
    for (int i = 0; i < b->npools; i++)
        pooled += b->pools[i].sequences;
    if (pooled != b->nsequences)
        BUG("%d of %d sequences are in a pool", pooled, b->nsequences);
    for (int i = 0; i < b->nsequences; i++) {
        const struct sequence *q = &b->sequences[i];
        int64_t before = past ? past->tokens[i] : 0;
        if (q->tokens < 1 || before + q->tokens > c->context)
            return fail(err, "a sequence of %lld tokens; the model takes 1 to %d",
                        (long long)before + q->tokens, c->context);
        for (int t = 0; t < q->tokens; t++)
            if (q->ids[t] < 0 || q->ids[t] >= c->vocab)
                return fail(err, "token id %d lies outside the model's vocabulary of %d", q->ids[t],
                            c->vocab);
    }
    return 0;
}

/* Goes on in a new scope, with x alone: what the last step made is let go. */
static struct tensor *step(struct pass *p, struct tensor *x)
{
    if (scope_error(p->scope))
        return NULL;
    struct scope *last = p->scope;
    p->scope = scope_new(false);
    x = tensor_share(p->scope, x);
    scope_free(last);
    return x;
}

int model_forward(struct model *m, const struct batch *batch, const struct past *past,
                  const int64_t *keep, int nkeep, struct scope *scope, const float **logits,
                  struct scored *out, struct buf *err)
{
    if (check_batch(&m->config, batch, past, err))
        return -1;
    struct pass p = { .m = m, .batch = batch, .past = past, .out = out, .scope = scope };
    struct tensor *ids, *target, *x, *result[3];
    scored_alloc(out, batch, m->config.layers, m->config.experts);
    inputs(&p, &ids, &target);
    struct tensor *kept = tensor_ints(scope, keep, 1, (int64_t[]){ nkeep }, (struct device){ 0 });
    p.scope = scope_new(false);
    module_call(p.scope, m->ends, "embed", &ids, 1, &x, 1);
    for (int i = 0; i < m->config.layers; i++) {
        x = step(&p, x);
        x = layer(&p, i, x);
    }
    x = step(&p, x);
    module_call(p.scope, m->ends, "score", (struct tensor *[]){ x, target, kept }, 3, result, 3);
    outputs(&p, result);
    int rc = scope_error(p.scope) ? fail(err, "%s", scope_error(p.scope)) : 0;
    if (rc == 0 && logits)
        *logits = tensor_values(scope, tensor_share(scope, result[2]));
    selection_release(&p.selection);
    scope_free(p.scope);
    return rc;
}

static int model_score(struct model *m, const struct batch *batch, struct scored *out,
                       struct buf *err)
{
    struct scope *scope = scope_new(false);
    int rc = model_forward(m, batch, NULL, NULL, 0, scope, NULL, out, err);
    scope_free(scope);
    return rc;
}

const struct engine seqtopk_engine = {
    .info = torch_describe,
    .device_parse = device_parse,
    .device_check = device_check,
    .open = model_open,
    .close = model_close,
    .score = model_score,
    .decoder_open = decoder_open,
    .decoder_close = decoder_close,
    .decoder_begin = decoder_begin,
    .decode = decoder_step,
};
