/*
 * model.c: see model.h. Drives a forward pass layer by layer, with the router between the scores
 * and the experts.
 */
#include "model_impl.h"
#include "route.h"
#include "trainer.h"

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
    struct routing routing;
};

/* The selection as the tensors token [P] and expert [P]. */
static void selected(struct pass *p, struct tensor **token, struct tensor **expert)
{
    int64_t pairs = (int64_t)p->routing.selection.pairs;
    int64_t *t = xmalloc((size_t)pairs * sizeof(*t)), *e = xmalloc((size_t)pairs * sizeof(*e));
    routing_pairs(&p->routing, t, e);
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

/* The router's part of a layer, from what attend() gave. */
static void route(struct pass *p, int i, struct tensor *scores, struct tensor *logits)
{
    struct buf err = BUF_INIT;
    const float *s = tensor_values(p->scope, scores);
    const float *l = routing_wants_logits(p->batch) ? tensor_values(p->scope, logits) : NULL;
    if (scope_error(p->scope))
        return;
    if (!all_finite(s, (size_t)p->out->tokens * (size_t)p->out->experts))
        scope_fail(p->scope, "layer %d: a score of the router is NaN or infinite", i);
    else if (route_layer(&p->routing, i, s, l, &err))
        scope_fail(p->scope, "%s", err.s);
    buf_release(&err);
}

/* x [T, d] through one layer. */
static struct tensor *layer(struct pass *p, int i, struct tensor *x)
{
    struct module *module = p->m->layers[i];
    struct tensor *out[4], *token, *expert;
    struct tensor *keys = p->past ? p->past->keys[i] : p->no_cache;
    struct tensor *values = p->past ? p->past->values[i] : p->no_cache;
    struct tensor *to[] = { x, p->start, p->behind, p->slot, keys, values };
    module_call(p->scope, module, "attend", to, 6, out, 4);
    route(p, i, out[2], out[3]);
    if (scope_error(p->scope))
        return NULL;
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
    p.routing = (struct routing){ .batch = batch,
                                  .state = past ? past->state : NULL,
                                  .normalise = m->config.norm_topk_prob,
                                  .out = out };
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
    routing_release(&p.routing);
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
