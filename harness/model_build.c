/*
 * model_build.c: the decoder's modules from checked weights; see model_impl.h.
 */
#include "model_impl.h"

#include "models/source.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What a model is being built from and where a failure is said. */
struct builder {
    struct model *m;
    struct buf *err;
    bool failed;
    bool pack;                     /* matrices for our own products */
    struct parameters *parameters; /* that were built are noted here; NULL: nowhere */
};

enum use {
    USE_AS_IT_IS,
    USE_PRODUCT, /* something is multiplied by it */
};

static void build_failed(struct builder *b, const struct scope *s, const struct st_tensor *t)
{
    const char *why = scope_error(s);
    b->failed = true;
    if (why)
        fail(b->err, "%s: tensor %s: %s", t->file, t->name, why);
    else
        fail(b->err, "%s: tensor %s has a value that is NaN or infinite", t->file, t->name);
}

static void note_parameter(struct parameters *ps, struct module *module, const char *name, int ndim,
                           const int64_t *shape, const struct st_tensor *const *parts, int n)
{
    struct parameter p = { .module = module, .name = name, .ndim = ndim, .nparts = n };
    memcpy(p.shape, shape, (size_t)ndim * sizeof(*shape));
    p.parts = xcalloc((size_t)n, sizeof(*p.parts));
    memcpy(p.parts, parts, (size_t)n * sizeof(*parts));
    ARRAY_GROW(ps->v, ps->cap, ps->len + 1);
    ps->v[ps->len++] = p;
}

void parameters_release(struct parameters *p)
{
    for (size_t i = 0; i < p->len; i++)
        free(p->v[i].parts);
    free(p->v);
    *p = (struct parameters){ 0 };
}

/* One parameter of `module` from `n` tensors of the files, one behind the other. */
static void build(struct builder *b, enum use use, struct module *module, const char *name,
                  int ndim, const int64_t *shape, const struct st_tensor *const *parts, int n)
{
    if (b->failed)
        return;
    struct scope *s = scope_new(false); // the module keeps what is needed
    struct tensor *t = tensor_empty(s, b->m->dtype, ndim, shape, b->m->device);
    int64_t offset = 0;
    for (int i = 0; i < n && !b->failed; i++) {
        int64_t count = (int64_t)(parts[i]->bytes / dtype_size(parts[i]->dtype));
        if (!tensor_fill(s, t, offset, parts[i]->data, parts[i]->dtype, count))
            build_failed(b, s, parts[i]);
        safetensors_forget(parts[i]);
        offset += count;
    }
    if (b->pack && use == USE_PRODUCT)
        t = tensor_pack(s, t);
    module_set_tensor(s, module, name, t);
    if (b->parameters)
        note_parameter(b->parameters, module, name, ndim, shape, parts, n);
    if (!b->failed && scope_error(s))
        build_failed(b, s, parts[0]);
    scope_free(s);
}

static void build_one(struct builder *b, enum use use, struct module *module, const char *name,
                      const struct st_tensor *t)
{
    build(b, use, module, name, t->ndim, t->shape, &t, 1);
}

/* Long waves are stretched by the factor, short ones stay, and those between are mixed. */
static float llama3_frequency(const struct rope_scaling *r, float f)
{
    float wave = (float)(2 * M_PI) / f;
    float factor = (float)r->factor;
    if (wave > (float)(r->original / r->low))
        return f / factor;
    if (wave < (float)(r->original / r->high))
        return f;
    float smooth = ((float)r->original / wave - (float)r->low) / (float)(r->high - r->low);
    return (1 - smooth) * f / factor + smooth * f;
}

/* Which of a head's pairs turns `turns` times over the context of old: a real number. */
static double yarn_pair(const struct model_config *c, double turns)
{
    return c->head_dim * log(c->rope.original / (turns * 2 * M_PI)) / (2 * log(c->rope_theta));
}

/* Between the pairs `low` and `high` a ramp leads from frequencies of old to stretched ones. */
static void yarn_frequencies(const struct model_config *c, float *f)
{
    double low = yarn_pair(c, c->rope.high), high = yarn_pair(c, c->rope.low);
    if (c->rope.truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0);
    high = fmin(high, c->head_dim - 1);
    if (low == high)
        high += 0.001;
    for (int i = 0; i < c->head_dim / 2; i++) {
        float ramp = ((float)i - (float)low) / (float)(high - low);
        float old = 1 - fminf(fmaxf(ramp, 0), 1);
        float stretched = 1.0f / ((float)c->rope.factor * f[i]);
        f[i] = stretched * (1 - old) + 1.0f / f[i] * old;
    }
}

/*
 * What each pair of a head's dimensions turns by from one position to the next, in float32 and in
 * the order of transformers' operations. out: [head_dim / 2]
 */
static void rope_frequencies(const struct model_config *c, float *out)
{
    const struct rope_scaling *r = &c->rope;
    int half = c->head_dim / 2;
    for (int i = 0; i < half; i++) // how many positions a radian takes
        out[i] = powf((float)c->rope_theta, (float)(2 * i) / (float)c->head_dim);
    if (r->kind == ROPE_YARN) {
        yarn_frequencies(c, out);
        return;
    }
    for (int i = 0; i < half; i++) {
        out[i] = 1.0f / out[i];
        if (r->kind == ROPE_LINEAR)
            out[i] /= (float)r->factor;
        else if (r->kind == ROPE_LLAMA3)
            out[i] = llama3_frequency(r, out[i]);
    }
}

/* Angles of the rotary positions, as float32 throughout: [context, head_dim / 2] each. */
static void build_rope(struct model *m, struct tensor **cos_out, struct tensor **sin_out)
{
    const struct model_config *config = &m->config;
    size_t half = (size_t)config->head_dim / 2, n = (size_t)config->context * half;
    int64_t shape[2] = { config->context, (int64_t)half };
    float *c = xmalloc(n * sizeof(*c)), *s = xmalloc(n * sizeof(*s));
    float *frequency = xmalloc(half * sizeof(*frequency));
    float size = config->rope.kind == ROPE_YARN ? (float)config->rope.attention : 1;
    rope_frequencies(config, frequency);
    for (size_t i = 0; i < half; i++)
        for (size_t p = 0; p < (size_t)config->context; p++) {
            c[p * half + i] = cosf((float)p * frequency[i]) * size;
            s[p * half + i] = sinf((float)p * frequency[i]) * size;
        }
    *cos_out = tensor_floats(m->scope, c, 2, shape, m->device);
    *sin_out = tensor_floats(m->scope, s, 2, shape, m->device);
    free(c);
    free(s);
    free(frequency);
}

static void build_attention(struct builder *b, struct module *module, const struct layer_weights *w)
{
    const struct model_config *c = &b->m->config;
    int64_t q_size = (int64_t)c->heads * c->head_dim, kv_size = (int64_t)c->kv_heads * c->head_dim;
    int64_t rows[2] = { q_size + 2 * kv_size, c->hidden };
    build_one(b, USE_AS_IT_IS, module, "attn_norm", w->attn_norm);
    build(b, USE_PRODUCT, module, "w_qkv", 2, rows,
          (const struct st_tensor *const[]){ w->q, w->k, w->v }, 3);
    if (w->q_bias)
        build(b, USE_AS_IT_IS, module, "b_qkv", 1, rows,
              (const struct st_tensor *const[]){ w->q_bias, w->k_bias, w->v_bias }, 3);
    else // where the family has a bias and the model does without
        module_set_tensor(
            b->m->scope, module, "b_qkv",
            tensor_empty(b->m->scope, b->m->dtype, 1, (const int64_t[]){ 0 }, b->m->device));
    if (w->q_norm) {
        build_one(b, USE_AS_IT_IS, module, "q_norm", w->q_norm);
        build_one(b, USE_AS_IT_IS, module, "k_norm", w->k_norm);
    }
    build_one(b, USE_PRODUCT, module, "o", w->o);
    module_set_int(b->m->scope, module, "q_size", q_size);
    module_set_int(b->m->scope, module, "kv_size", kv_size);
    module_set_int(b->m->scope, module, "head_dim", c->head_dim);
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
    build_one(b, USE_AS_IT_IS, module, "ffn_norm", w->ffn_norm);
    build_one(b, USE_PRODUCT, module, "router", w->router);
    build(b, USE_PRODUCT, module, "gate_up", 3, gate_up, parts, 2 * c->experts);
    build(b, USE_PRODUCT, module, "down", 3, down, w->down, c->experts);
    free(parts);
    if (w->shared_gate) {
        int64_t shape[2] = { 2 * (int64_t)c->shared_ffn, c->hidden };
        build(b, USE_PRODUCT, module, "shared_gate_up", 2, shape,
              (const struct st_tensor *const[]){ w->shared_gate, w->shared_up }, 2);
        build_one(b, USE_PRODUCT, module, "shared_down", w->shared_down);
        build_one(b, USE_PRODUCT, module, "shared_expert_gate", w->shared_expert_gate);
    }
    module_set_int(b->m->scope, module, "normalise", c->norm_topk_prob);
    module_set_int(b->m->scope, module, "n_experts", c->experts);
}

static void build_layers(struct builder *b, const struct weights *w)
{
    struct model *m = b->m;
    struct tensor *cos_table, *sin_table;
    build_rope(m, &cos_table, &sin_table);
    static const char *const sources[] = { [FAMILY_OLMOE] = source_olmoe,
                                           [FAMILY_QWEN2_MOE] = source_qwen2_moe,
                                           [FAMILY_MIXTRAL] = source_mixtral,
                                           [FAMILY_QWEN3_MOE] = source_qwen3_moe };
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
        module_define(m->scope, module, sources[m->config.family]);
        module_define(m->scope, module, source_decoder);
        if (scope_error(m->scope))
            return;
        module_set_child(m->scope, m->ends, name, module);
    }
}

void model_close(struct model *m)
{
    if (!m)
        return;
    scope_free(m->scope);
    free(m->layers);
    free(m);
}

static struct model *build_model(const struct weights *w, struct device device, enum dtype dtype,
                                 bool pack, struct parameters *parameters, struct buf *err)
{
    struct model *m = xcalloc(1, sizeof(*m));
    struct builder b = { .m = m, .err = err, .pack = pack, .parameters = parameters };
    m->config = w->config;
    m->device = device;
    m->dtype = dtype;
    m->scope = scope_new(false);
    m->layers = xcalloc((size_t)m->config.layers, sizeof(struct module *));
    m->ends = module_new(m->scope, "decoder");
    build_one(&b, USE_AS_IT_IS, m->ends, "embedding", w->embed);
    build_one(&b, USE_AS_IT_IS, m->ends, "norm", w->norm);
    // A tied head is the same tensor in memory, but where it is packed.
    if (w->head == w->embed && !b.pack)
        module_set_tensor(m->scope, m->ends, "head", module_tensor(m->scope, m->ends, "embedding"));
    else
        build_one(&b, USE_PRODUCT, m->ends, "head", w->head);
    module_set_float(m->scope, m->ends, "eps", m->config.rms_eps);
    module_set_int(m->scope, m->ends, "vocab", m->config.vocab);
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

struct model *model_open(const struct weights *w, struct device device, enum dtype dtype,
                         struct buf *err)
{
    return build_model(w, device, dtype, device.kind == DEVICE_CPU && dtype == DTYPE_F32, NULL,
                       err);
}

struct model *model_open_parameters(const struct weights *w, struct device device,
                                    struct parameters *out, struct buf *err)
{
    *out = (struct parameters){ 0 };
    return build_model(w, device, DTYPE_F32, false, out, err);
}
