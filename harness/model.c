/*
 * model.c: see model.h. Drives a forward pass layer by layer, with the router between the scores
 * and the experts.
 */
#include "model_impl.h"
#include "trainer.h"

#include <math.h>
#include <string.h>

/* The selection as tensors on the host. */
static void list_pairs(struct pass *p, struct selected *out)
{
    int64_t pairs = (int64_t)p->routing.selection.pairs;
    int64_t *t = xmalloc((size_t)pairs * sizeof(*t)), *e = xmalloc((size_t)pairs * sizeof(*e));
    routing_pairs(&p->routing, t, e);
    out->token = tensor_ints(p->scope, t, 1, &pairs, (struct device){ DEVICE_CPU, 0 });
    out->expert = tensor_ints(p->scope, e, 1, &pairs, (struct device){ DEVICE_CPU, 0 });
    free(t);
    free(e);
}

static bool all_finite(const float *v, size_t n)
{
    // Several sums, so that none waits for the last addition.
    float zero[8] = { 0 }, sum = 0;
    for (size_t i = 0; i < n; i++)
        zero[i % 8] += v[i] * 0.0f;
    for (int i = 0; i < 8; i++)
        sum += zero[i];
    return sum == 0;
}

void pass_attend(struct pass *p, int i, struct tensor *x, struct layer_scores *s)
{
    struct tensor *out[4];
    struct tensor *keys = p->past ? p->past->keys[i] : p->no_cache;
    struct tensor *values = p->past ? p->past->values[i] : p->no_cache;
    struct tensor *in[] = { x, p->start, p->behind, p->slot, keys, values };
    module_call(p->scope, p->m->layers[i], "attend", in, 6, out, 4);
    *s = (struct layer_scores){ .x = out[0], .h = out[1], .scores = out[2], .logits = out[3] };
}

void pass_route(struct pass *p, int i, struct layer_scores *s, struct selected *to)
{
    const struct scored *out = p->routing.out;
    struct buf err = BUF_INIT;
    *to = (struct selected){ 0 };
    if (p->gpu) {
        pass_gpu_route(p, i, s, to);
        return;
    }
    s->scores_host = tensor_values(p->scope, s->scores);
    s->logits_host = routing_wants_logits(p->batch) ? tensor_values(p->scope, s->logits) : NULL;
    if (scope_error(p->scope))
        return;
    if (!all_finite(s->scores_host, (size_t)out->tokens * (size_t)out->experts))
        scope_fail(p->scope, "layer %d: a score of the router is NaN or infinite", i);
    else if (route_layer(&p->routing, i, s->scores_host, s->logits_host, &err))
        scope_fail(p->scope, "%s", err.s);
    else
        list_pairs(p, to);
    buf_release(&err);
}

struct tensor *pass_experts(struct pass *p, int i, const struct layer_scores *s,
                            const struct selected *selected)
{
    struct tensor *in[] = { s->x, s->h, s->scores, selected->token, selected->expert }, *x;
    module_call(p->scope, p->m->layers[i], "experts", in, 5, &x, 1);
    return x;
}

struct tensor *pass_layer(struct pass *p, int i, struct tensor *x, struct layer_scores *s)
{
    struct selected selected;
    pass_attend(p, i, x, s);
    pass_route(p, i, s, &selected);
    return scope_error(p->scope) ? NULL : pass_experts(p, i, s, &selected);
}

struct tensor *pass_inputs(struct pass *p)
{
    const struct batch *b = p->batch;
    const struct scored *out = p->routing.out;
    const struct device host = { DEVICE_CPU, 0 };
    int64_t tokens = out->tokens, S = b->nsequences, none[3] = { 0 };
    int64_t *v = xcalloc((size_t)(tokens + S + 1), sizeof(*v)), *start = v + tokens;
    int64_t *zeros = xcalloc((size_t)S, sizeof(*zeros));
    for (int i = 0; i < S; i++) {
        for (int t = 0; t < b->sequences[i].tokens; t++)
            v[out->start[i] + t] = b->sequences[i].ids[t];
        start[i + 1] = out->start[i + 1];
    }
    struct tensor *ids = tensor_ints(p->scope, v, 1, &tokens, p->m->device);
    p->start = tensor_ints(p->scope, start, 1, (int64_t[]){ S + 1 }, host);
    p->behind = tensor_ints(p->scope, p->past ? p->past->tokens : zeros, 1, &S, host);
    p->slot = tensor_ints(p->scope, p->past ? p->past->slot : zeros, 1, &S, host);
    p->no_cache = p->past ? NULL : tensor_empty(p->scope, p->m->dtype, 3, none, p->m->device);
    free(zeros);
    free(v);
    if (!scope_error(p->scope))
        pass_gpu_begin(p);
    return ids;
}

/* The token that each is to predict [T], negative at a sequence's end. */
static struct tensor *targets(struct pass *p)
{
    const struct batch *b = p->batch;
    int64_t tokens = p->routing.out->tokens, at = 0;
    int64_t *v = xcalloc((size_t)tokens, sizeof(*v));
    for (int i = 0; i < b->nsequences; i++)
        for (int t = 0; t < b->sequences[i].tokens; t++)
            v[at++] = t + 1 < b->sequences[i].tokens ? b->sequences[i].ids[t + 1] : -1;
    struct tensor *target = tensor_ints(p->scope, v, 1, &tokens, p->m->device);
    free(v);
    return target;
}

/* Losses move one to the right: that of a token is computed where it is predicted. */
static void outputs(struct pass *p, struct tensor *const *result)
{
    struct scored *out = p->routing.out;
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
    routing_count_entropy(&p->routing);
}

int pass_check(const struct model *m, const struct batch *b, const struct past *past,
               struct buf *err)
{
    const struct model_config *c = &m->config;
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

void pass_begin(struct pass *p, struct model *m, const struct batch *batch, const struct past *past,
                struct scope *scope, struct scored *out)
{
    scored_alloc(out, batch, m->config.layers, m->config.experts);
    *p = (struct pass){ .m = m, .batch = batch, .past = past, .scope = scope };
    p->routing = (struct routing){ .batch = batch,
                                   .state = past ? past->state : NULL,
                                   .normalise = m->config.norm_topk_prob,
                                   // The cores of a GPU's host have nothing else to do.
                                   .threads = m->device.kind == DEVICE_CPU ? 1 : 8,
                                   .out = out };
}

void pass_end(struct pass *p)
{
    pass_gpu_free(p);
    routing_release(&p->routing);
}

/* Shows a layer's scores to who asked for them, and has not got them by the kernels. */
static void show(struct pass *p, int i, const struct layer_scores *s)
{
    struct buf err = BUF_INIT;
    if (p->past && p->past->seen && !p->gpu && !scope_error(p->scope) &&
        p->past->seen(p->past->context, i, s, &err))
        scope_fail(p->scope, "%s", err.s);
    buf_release(&err);
}

int model_forward(struct model *m, const struct batch *batch, const struct past *past,
                  const int64_t *keep, int nkeep, struct scope *scope, const float **logits,
                  struct scored *out, struct buf *err)
{
    if (pass_check(m, batch, past, err))
        return -1;
    struct pass p;
    struct layer_scores scores;
    pass_begin(&p, m, batch, past, scope, out);
    struct tensor *ids = pass_inputs(&p), *target = targets(&p), *x, *result[3];
    struct tensor *kept = tensor_ints(scope, keep, 1, (int64_t[]){ nkeep }, (struct device){ 0 });
    p.scope = scope_new(false);
    module_call(p.scope, m->ends, "embed", &ids, 1, &x, 1);
    for (int i = 0; i < m->config.layers; i++) {
        x = step(&p, x);
        x = pass_layer(&p, i, x, &scores);
        show(&p, i, &scores);
    }
    x = step(&p, x);
    module_call(p.scope, m->ends, "score", (struct tensor *[]){ x, target, kept }, 3, result, 3);
    outputs(&p, result);
    pass_gpu_end(&p);
    int rc = scope_error(p.scope) ? fail(err, "%s", scope_error(p.scope)) : 0;
    if (rc == 0 && logits)
        *logits = tensor_values(scope, tensor_share(scope, result[2]));
    pass_end(&p);
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
    .device_memory = device_memory,
    .device_peak = device_peak,
    .open = model_open,
    .close = model_close,
    .score = model_score,
    .decoder_open = decoder_open,
    .decoder_close = decoder_close,
    .decoder_begin = decoder_begin,
    .decode = decoder_step,
    .decoder_bytes = decoder_bytes,
    .trainer = &trainer_functions,
};
