/*
 * model.c: see model.h. Builds the decoder's modules from checked weights, and drives a forward
 * pass layer by layer with the router between scores and experts.
 */
#include "model.h"

#include "models/source.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct model {
    struct model_config config; /* borrowed strings are not used after opening */
    struct device device;
    enum dtype dtype;
    struct scope *scope; /* owns the modules */
    struct module *ends, **layers;
};

/* What a model is being built from and where a failure is said. */
struct builder {
    struct model *m;
    struct buf *err;
    bool failed;
};

static void build_failed(struct builder *b, const struct st_tensor *t)
{
    const char *why = scope_error(b->m->scope);
    b->failed = true;
    if (why)
        fail(b->err, "%s: tensor %s: %s", t->file, t->name, why);
    else
        fail(b->err, "%s: tensor %s has a value that is NaN or infinite", t->file, t->name);
}

/* One parameter of `module` from `n` tensors of the files, one behind the other. */
static void build(struct builder *b, struct module *module, const char *name, int ndim,
                  const int64_t *shape, const struct st_tensor *const *parts, int n)
{
    struct scope *s = b->m->scope;
    if (b->failed)
        return;
    struct tensor *t = tensor_empty(s, b->m->dtype, ndim, shape, b->m->device);
    int64_t offset = 0;
    for (int i = 0; i < n && !b->failed; i++) {
        int64_t count = (int64_t)(parts[i]->bytes / dtype_size(parts[i]->dtype));
        if (!tensor_fill(s, t, offset, parts[i]->data, parts[i]->dtype, count))
            build_failed(b, parts[i]);
        offset += count;
    }
    module_set_tensor(s, module, name, t);
}

static void build_one(struct builder *b, struct module *module, const char *name,
                      const struct st_tensor *t)
{
    build(b, module, name, t->ndim, t->shape, &t, 1);
}

/* Angles of the rotary positions, as float32 throughout: [context, head_dim / 2] each. */
static void build_rope(struct model *m, struct tensor **cos_out, struct tensor **sin_out)
{
    int half = m->config.head_dim / 2;
    int64_t shape[2] = { m->config.context, half };
    size_t n = (size_t)m->config.context * (size_t)half;
    float *c = xmalloc(n * sizeof(*c)), *s = xmalloc(n * sizeof(*s));
    for (int i = 0; i < half; i++) {
        float power = (float)(2 * i) / (float)m->config.head_dim;
        float frequency = 1.0f / powf((float)m->config.rope_theta, power);
        for (int p = 0; p < m->config.context; p++) {
            c[(size_t)p * (size_t)half + (size_t)i] = cosf((float)p * frequency);
            s[(size_t)p * (size_t)half + (size_t)i] = sinf((float)p * frequency);
        }
    }
    *cos_out = tensor_floats(m->scope, c, 2, shape, m->device);
    *sin_out = tensor_floats(m->scope, s, 2, shape, m->device);
    free(c);
    free(s);
}

static void build_attention(struct builder *b, struct module *module, const struct layer_weights *w)
{
    const struct model_config *c = &b->m->config;
    int64_t q_size = (int64_t)c->heads * c->head_dim, kv_size = (int64_t)c->kv_heads * c->head_dim;
    int64_t rows[2] = { q_size + 2 * kv_size, c->hidden };
    build_one(b, module, "attn_norm", w->attn_norm);
    build(b, module, "w_qkv", 2, rows, (const struct st_tensor *const[]){ w->q, w->k, w->v }, 3);
    if (w->q_bias)
        build(b, module, "b_qkv", 1, rows,
              (const struct st_tensor *const[]){ w->q_bias, w->k_bias, w->v_bias }, 3);
    else // where the family has a bias and the model does without
        module_set_float(b->m->scope, module, "b_qkv", 0);
    if (w->q_norm) {
        build_one(b, module, "q_norm", w->q_norm);
        build_one(b, module, "k_norm", w->k_norm);
    }
    build_one(b, module, "o", w->o);
    module_set_int(b->m->scope, module, "q_size", q_size);
    module_set_int(b->m->scope, module, "kv_size", kv_size);
    module_set_float(b->m->scope, module, "clip", c->clip_qkv);
    module_set_float(b->m->scope, module, "eps", c->rms_eps);
}

static void build_experts(struct builder *b, struct module *module, const struct layer_weights *w)
{
    const struct model_config *c = &b->m->config;
    int64_t gate_up[3] = { c->experts, 2 * (int64_t)c->expert_ffn, c->hidden };
    int64_t down[3] = { c->experts, c->hidden, c->expert_ffn };
    const struct st_tensor **parts = xcalloc(2 * (size_t)c->experts, sizeof(*parts));
    for (int e = 0; e < c->experts; e++) {
        parts[2 * (size_t)e] = w->gate[e];
        parts[2 * (size_t)e + 1] = w->up[e];
    }
    build_one(b, module, "ffn_norm", w->ffn_norm);
    build_one(b, module, "router", w->router);
    build(b, module, "gate_up", 3, gate_up, parts, 2 * c->experts);
    build(b, module, "down", 3, down, w->down, c->experts);
    free(parts);
    if (w->shared_gate) {
        int64_t shape[2] = { 2 * (int64_t)c->shared_ffn, c->hidden };
        build(b, module, "shared_gate_up", 2, shape,
              (const struct st_tensor *const[]){ w->shared_gate, w->shared_up }, 2);
        build_one(b, module, "shared_down", w->shared_down);
        build_one(b, module, "shared_expert_gate", w->shared_expert_gate);
    }
    module_set_int(b->m->scope, module, "normalise", c->norm_topk_prob);
}

static void build_layers(struct builder *b, const struct weights *w)
{
    struct model *m = b->m;
    struct tensor *cos_table, *sin_table;
    build_rope(m, &cos_table, &sin_table);
    const char *family = m->config.family == FAMILY_QWEN2_MOE ? source_qwen2_moe : source_olmoe;
    for (int i = 0; i < m->config.layers; i++) {
        char name[32];
        snprintf(name, sizeof(name), "layer%d", i);
        struct module *module = m->layers[i] = module_new(m->scope, "layer");
        build_attention(b, module, &w->layer[i]);
        build_experts(b, module, &w->layer[i]);
        module_set_tensor(m->scope, module, "cos", cos_table);
        module_set_tensor(m->scope, module, "sin", sin_table);
        if (b->failed)
            return;
        module_define(m->scope, module, family);
        module_define(m->scope, module, source_decoder);
        if (scope_error(m->scope))
            return;
        module_set_child(m->scope, m->ends, name, module);
    }
}

static void model_close(struct model *m)
{
    if (!m)
        return;
    scope_free(m->scope);
    free(m->layers);
    free(m);
}

static struct model *model_open(const struct weights *w, struct device device, enum dtype dtype,
                                struct buf *err)
{
    struct model *m = xcalloc(1, sizeof(*m));
    struct builder b = { m, err, false };
    m->config = w->config;
    m->device = device;
    m->dtype = dtype;
    m->scope = scope_new(false);
    m->layers = xcalloc((size_t)m->config.layers, sizeof(struct module *));
    m->ends = module_new(m->scope, "decoder");
    build_one(&b, m->ends, "embedding", w->embed);
    build_one(&b, m->ends, "norm", w->norm);
    // A tied head is the same tensor in memory.
    if (w->head == w->embed)
        module_set_tensor(m->scope, m->ends, "head", module_tensor(m->scope, m->ends, "embedding"));
    else
        build_one(&b, m->ends, "head", w->head);
    module_set_float(m->scope, m->ends, "eps", m->config.rms_eps);
    build_layers(&b, w);
    if (!b.failed)
        module_define(m->scope, m->ends, source_ends);
    if (!b.failed && scope_error(m->scope)) {
        fail(err, "%s: the decoder could not be built: %s", w->config.name, scope_error(m->scope));
        b.failed = true;
    }
    if (b.failed) {
        model_close(m);
        return NULL;
    }
    return m;
}

/* One forward pass under way. */
struct pass {
    struct model *m;
    const struct batch *batch;
    struct scored *out;
    struct scope *scope;
    struct selection selection;
};

/* Every pool's router on its rows of the scores. scores: [tokens, N] */
static void route(struct pass *p, const float *scores)
{
    const struct scored *out = p->out;
    int sequence = 0;
    selection_reset(&p->selection);
    for (int i = 0; i < p->batch->npools; i++) {
        const struct pool *pool = &p->batch->pools[i];
        int from = out->start[sequence], to = out->start[sequence + pool->sequences];
        struct router_state *state = pool->router->open ? pool->router->open(&pool->args) : NULL;
        pool->router->select(&pool->args, state, scores + (size_t)from * (size_t)out->experts,
                             to - from, &p->selection);
        if (pool->router->close)
            pool->router->close(state);
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
static struct tensor *layer(struct pass *p, int i, struct tensor *x, struct tensor *start)
{
    struct module *module = p->m->layers[i];
    struct tensor *out[3], *token, *expert;
    module_call(p->scope, module, "attend", (struct tensor *[]){ x, start }, 2, out, 3);
    const float *scores = tensor_values(p->scope, out[2]);
    if (scope_error(p->scope))
        return NULL;
    if (!all_finite(scores, (size_t)p->out->tokens * (size_t)p->out->experts)) {
        scope_fail(p->scope, "layer %d: a score of the router is NaN or infinite", i);
        return NULL;
    }
    route(p, scores);
    count(p, i, scores);
    selected(p, &token, &expert);
    struct tensor *in[] = { out[0], out[1], out[2], token, expert };
    module_call(p->scope, module, "experts", in, 5, &x, 1);
    return x;
}

/* Token ids [T], the token each is to predict [T], negative at a sequence's end, and starts [S+1]. */
static void inputs(struct pass *p, struct tensor **ids, struct tensor **target,
                   struct tensor **start)
{
    const struct batch *b = p->batch;
    int64_t tokens = p->out->tokens, starts = b->nsequences + 1;
    int64_t *v = xmalloc((size_t)(2 * tokens + starts) * sizeof(*v)), *next = v + tokens;
    for (int i = 0; i < b->nsequences; i++) {
        const struct sequence *q = &b->sequences[i];
        for (int t = 0, at = p->out->start[i]; t < q->tokens; t++, at++) {
            v[at] = q->ids[t];
            next[at] = t + 1 < q->tokens ? q->ids[t + 1] : -1;
        }
    }
    for (int64_t i = 0; i < starts; i++)
        v[2 * tokens + i] = p->out->start[i];
    *ids = tensor_ints(p->scope, v, 1, &tokens, p->m->device);
    *target = tensor_ints(p->scope, next, 1, &tokens, p->m->device);
    *start = tensor_ints(p->scope, v + 2 * tokens, 1, &starts, (struct device){ DEVICE_CPU, 0 });
    free(v);
}

/* Losses move one to the right: that of a token is computed where it is predicted. */
static void outputs(struct pass *p, struct tensor *const result[2])
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

static int check_batch(const struct model_config *c, const struct batch *b, struct buf *err)
{
    int pooled = 0;
    for (int i = 0; i < b->npools; i++)
        pooled += b->pools[i].sequences;
    if (pooled != b->nsequences)
        BUG("%d of %d sequences are in a pool", pooled, b->nsequences);
    for (int i = 0; i < b->nsequences; i++) {
        const struct sequence *q = &b->sequences[i];
        if (q->tokens < 1 || q->tokens > c->context)
            return fail(err, "a sequence of %d tokens; the model takes 1 to %d", q->tokens,
                        c->context);
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

static int model_score(struct model *m, const struct batch *batch, struct scored *out,
                       struct buf *err)
{
    if (check_batch(&m->config, batch, err))
        return -1;
    struct scope *whole = scope_new(false);
    struct pass p = { m, batch, out, whole, { 0 } };
    struct tensor *ids, *target, *start, *x, *result[2];
    scored_alloc(out, batch, m->config.layers, m->config.experts);
    inputs(&p, &ids, &target, &start);
    p.scope = scope_new(false);
    module_call(p.scope, m->ends, "embed", &ids, 1, &x, 1);
    for (int i = 0; i < m->config.layers; i++) {
        x = step(&p, x);
        x = layer(&p, i, x, start);
    }
    x = step(&p, x);
    module_call(p.scope, m->ends, "score", (struct tensor *[]){ x, target }, 2, result, 2);
    outputs(&p, result);
    int rc = scope_error(p.scope) ? fail(err, "%s", scope_error(p.scope)) : 0;
    selection_release(&p.selection);
    scope_free(p.scope);
    scope_free(whole);
    return rc;
}

const struct engine seqtopk_engine = {
    .info = torch_describe,
    .device_parse = device_parse,
    .device_check = device_check,
    .open = model_open,
    .close = model_close,
    .score = model_score,
};
