/*
 * decoder_gpu.c: see decoder_gpu.h.
 */
#include "decoder_gpu.h"

#ifdef SEQTOPK_CUDA

#include "cuda/step.h"
#include "kernels.h"

#include <math.h>
#include <string.h>

struct decoder_gpu {
    struct model *m;
    struct step *step;
};

/* The address of a module's tensor; NULL where it has none of that name. */
static const void *address(struct scope *s, struct module *m, const char *name)
{
    return tensor_data(s, module_tensor(s, m, name));
}

static struct step_layer layer_of(struct model *m, int i, struct scope *s, struct tensor *keys,
                                  struct tensor *values)
{
    const struct model_config *c = &m->config;
    struct module *module = m->layers[i];
    const bool norm = c->family == FAMILY_OLMOE || c->family == FAMILY_QWEN3_MOE;
    const bool shared = c->shared_ffn > 0;
    return (struct step_layer){
        .attn_norm = address(s, module, "attn_norm"),
        .qkv = address(s, module, "w_qkv"),
        .qkv_bias = c->qkv_bias ? address(s, module, "b_qkv") : NULL,
        .q_norm = norm ? address(s, module, "q_norm") : NULL,
        .k_norm = norm ? address(s, module, "k_norm") : NULL,
        .o = address(s, module, "o"),
        .ffn_norm = address(s, module, "ffn_norm"),
        .router = address(s, module, "router"),
        .gate_up = address(s, module, "gate_up"),
        .down = address(s, module, "down"),
        .shared_gate_up = shared ? address(s, module, "shared_gate_up") : NULL,
        .shared_down = shared ? address(s, module, "shared_down") : NULL,
        .shared_gate = shared ? address(s, module, "shared_expert_gate") : NULL,
        .keys = tensor_data(s, keys),
        .values = tensor_data(s, values),
    };
}

static struct step_shape shape_of(const struct model *m)
{
    const struct model_config *c = &m->config;
    return (struct step_shape){
        .layers = c->layers,
        .hidden = c->hidden,
        .heads = c->heads,
        .kv_heads = c->kv_heads,
        .head_dim = c->head_dim,
        .vocab = c->vocab,
        .context = c->context,
        .experts = c->experts,
        .expert_ffn = c->expert_ffn,
        .shared_ffn = c->shared_ffn,
        .eps = (float)c->rms_eps,
        .clip = (float)c->clip_qkv,
        .half = m->dtype == DTYPE_BF16,
        .norm_heads = c->family == FAMILY_QWEN3_MOE,
        .normalise = c->norm_topk_prob,
    };
}

/* Kernels that run on the CPU, for tests, cannot use the packed matrices of float32 there. */
static bool fits(const struct model *m, const struct step_shape *shape)
{
    struct buf why = BUF_INIT;
    bool there = m->device.kind == DEVICE_CUDA ? m->dtype == DTYPE_BF16 || m->dtype == DTYPE_F32
                                               : step_emulated() && m->dtype == DTYPE_BF16;
    bool fits = there && step_check(shape, &why) == 0;
    buf_release(&why);
    return fits;
}

/* What libtorch keeps for itself is not free for others. */
static void let_go(const struct model *m)
{
    int64_t unused[2];
    device_memory(m->device, &unused[0], &unused[1]);
}

int decoder_gpu_open(struct model *m, int slots, int capacity, struct tensor *const *keys,
                     struct tensor *const *values, struct decoder_gpu **out, struct buf *err)
{
    const char *overlap = getenv("SEQTOPK_GPU_OVERLAP"), *graph = getenv("SEQTOPK_GPU_GRAPH");
    struct step_spec spec = { .shape = shape_of(m),
                              .slots = slots,
                              .capacity = capacity,
                              .device = m->device.index,
                              .no_overlap = overlap && strcmp(overlap, "0") == 0,
                              .no_graph = graph && strcmp(graph, "0") == 0 };
    *out = NULL;
    if (!fits(m, &spec.shape))
        return 0;
    struct scope *s = scope_new(false);
    struct step_layer *layers = xcalloc((size_t)m->config.layers, sizeof(*layers));
    for (int i = 0; i < m->config.layers; i++)
        layers[i] = layer_of(m, i, s, keys[i], values[i]);
    spec.layers = layers;
    spec.ends = (struct step_ends){ .embedding = address(s, m->ends, "embedding"),
                                    .norm = address(s, m->ends, "norm"),
                                    .head = address(s, m->ends, "head"),
                                    .cos = address(s, m->layers[0], "cos"),
                                    .sin = address(s, m->layers[0], "sin") };
    struct decoder_gpu *g = xcalloc(1, sizeof(*g));
    g->m = m;
    let_go(m);
    if (scope_error(s))
        fail(err, "%s", scope_error(s));
    else
        g->step = step_open(&spec, err);
    scope_free(s);
    free(layers);
    if (!g->step) {
        decoder_gpu_close(g);
        return -1;
    }
    *out = g;
    return 0;
}

void decoder_gpu_close(struct decoder_gpu *g)
{
    if (!g)
        return;
    step_close(g->step);
    free(g);
}

bool decoder_gpu_routes(const struct router *router, const struct router_args *args)
{
    return step_routes(router, args);
}

int decoder_gpu_begin(struct decoder_gpu *g, int slot, const struct router *router,
                      const struct router_args *args, struct buf *err)
{
    void *stream = device_stream(g->m->device);
    int rc = step_begin(g->step, slot, router, args, stream, err);
    if (rc && says_out_of_memory(err->s)) {
        let_go(g->m);
        buf_reset(err);
        rc = step_begin(g->step, slot, router, args, stream, err);
    }
    return rc;
}

int decoder_gpu_prompts(struct decoder_gpu *g, const struct decoder_prompt *prompts, int n,
                        struct buf *err)
{
    struct step_prompt *p = xcalloc((size_t)n + 1, sizeof(*p));
    for (int i = 0; i < n; i++)
        p[i] = (struct step_prompt){ prompts[i].slot, prompts[i].from, prompts[i].tokens };
    void *stream = device_stream(g->m->device);
    int rc = step_prompts(g->step, p, n, stream, err);
    if (rc && says_out_of_memory(err->s)) {
        let_go(g->m);
        buf_reset(err);
        rc = step_prompts(g->step, p, n, stream, err);
    }
    free(p);
    return rc;
}

void *decoder_gpu_state(const struct decoder_gpu *g, int slot, size_t *stride)
{
    return step_state(g->step, slot, stride);
}

int decoder_gpu_seen(const struct decoder_gpu *g, int layer, const struct layer_scores *s,
                     struct buf *err)
{
    struct scope *scope = scope_new(false);
    const float *scores = tensor_data(scope, s->scores);
    int rc = scope_error(scope)
                 ? fail(err, "%s", scope_error(scope))
                 : step_prompt_scores(g->step, layer, scores, device_stream(g->m->device), err);
    scope_free(scope);
    return rc;
}

/* What text i of the last step used, as count() of route.c counts it: sequence `place` of out. */
static void count(const struct decoder_gpu *g, int i, int place, struct scored *out)
{
    const int N = out->experts;
    for (int l = 0; l < out->layers; l++) {
        const float *scores = step_scores(g->step, l, i);
        const size_t load = ((size_t)place * (size_t)out->layers + (size_t)l) * (size_t)N;
        double sum = 0;
        uint16_t used = 0;
        for (int e = 0; e < N; e++)
            if (scores[e] >= 0)
                sum += (double)scores[e];
        for (int e = 0; e < N; e++) {
            if (scores[e] < 0)
                continue;
            used++;
            out->load_tokens[load + (size_t)e] = 1;
            out->load_weight[load + (size_t)e] =
                g->m->config.norm_topk_prob ? (double)scores[e] / sum : (double)scores[e];
        }
        out->used[(size_t)l * (size_t)out->tokens + (size_t)out->start[place]] = used;
    }
}

static void draw(const struct decoder_gpu *g, struct feed *f, const struct step_text *t)
{
    const int V = g->m->config.vocab;
    float entropy;
    if (!f->sampler)
        return;
    if (!t->want_logits) {
        f->next = t->next;
        f->next_nll = t->next_nll;
        return;
    }
    f->next = sampler_draw(f->sampler, t->logits, V);
    kernel_score(t->logits, V, f->next, &f->next_nll, &entropy);
}

int decoder_gpu_step(struct decoder_gpu *g, struct feed *const *feeds, const int64_t *past,
                     const int *place, int n, struct scored *out, struct buf *err)
{
    for (int from = 0; from < n; from += STEP_TEXTS) {
        struct step_text texts[STEP_TEXTS];
        int some = n - from < STEP_TEXTS ? n - from : STEP_TEXTS;
        for (int i = 0; i < some; i++) {
            const struct feed *f = feeds[from + i];
            texts[i] =
                (struct step_text){ .slot = f->slot,
                                    .position = (int)past[from + i],
                                    .id = f->ids[0],
                                    .want_logits = f->sampler && f->sampler->temperature > 0 };
        }
        if (step_run(g->step, texts, some, device_stream(g->m->device), err))
            return -1;
        for (int i = 0; i < some; i++) {
            const int to = place[from + i];
            out->nll[out->start[to]] = NAN;
            out->entropy[out->start[to]] = texts[i].entropy;
            count(g, i, to, out);
            draw(g, feeds[from + i], &texts[i]);
        }
    }
    return 0;
}

#else

/* No kernels: nothing but the first of these is ever called. */

int decoder_gpu_open(struct model *m, int slots, int capacity, struct tensor *const *keys,
                     struct tensor *const *values, struct decoder_gpu **out, struct buf *err)
{
    (void)m, (void)slots, (void)capacity, (void)keys, (void)values, (void)err;
    *out = NULL;
    return 0;
}

void decoder_gpu_close(struct decoder_gpu *g)
{
    (void)g;
}

bool decoder_gpu_routes(const struct router *router, const struct router_args *args)
{
    (void)router, (void)args;
    return false;
}

int decoder_gpu_begin(struct decoder_gpu *g, int slot, const struct router *router,
                      const struct router_args *args, struct buf *err)
{
    (void)g, (void)slot, (void)router, (void)args, (void)err;
    BUG("no kernels");
}

int decoder_gpu_prompts(struct decoder_gpu *g, const struct decoder_prompt *prompts, int n,
                        struct buf *err)
{
    (void)g, (void)prompts, (void)n, (void)err;
    BUG("no kernels");
}

void *decoder_gpu_state(const struct decoder_gpu *g, int slot, size_t *stride)
{
    (void)g, (void)slot, (void)stride;
    BUG("no kernels");
}

int decoder_gpu_seen(const struct decoder_gpu *g, int layer, const struct layer_scores *s,
                     struct buf *err)
{
    (void)g, (void)layer, (void)s, (void)err;
    BUG("no kernels");
}

int decoder_gpu_step(struct decoder_gpu *g, struct feed *const *feeds, const int64_t *past,
                     const int *place, int n, struct scored *out, struct buf *err)
{
    (void)g, (void)feeds, (void)past, (void)place, (void)n, (void)out, (void)err;
    BUG("no kernels");
}

#endif
