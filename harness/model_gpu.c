/*
 * model_gpu.c: a pass's routers on the GPU, see model_impl.h: scores stay there, what is selected goes
 * to the experts without leaving it, and what was used is copied once, at the end.
 *
 * A layer waits for the GPU once: for where each expert's pairs begin, N + 1 numbers, since memory for
 * the pairs is asked for by the host, and for whether the scores were numbers.
 * Texts that are decoded go on from states on the GPU, which are a decoder's.
 * Leaves out: routers without a kernel, and texts whose routers go on from a state of the host's: the
 * scores of a batch with one of these are copied, see route.h. SEQTOPK_GPU_ROUTERS=0 does so always.
 */
#include "model_impl.h"

#ifdef SEQTOPK_CUDA

#include "cuda/step.h"
#include "routers/cuda.h"

#include <pthread.h>
#include <string.h>

enum { ALIGNED = 256 };

/* Kernels that run on the CPU run one at a time. */
static pthread_mutex_t alone = PTHREAD_MUTEX_INITIALIZER;

struct pass_gpu {
    struct scope *scope; /* owns all memory below, which is the device's */
    struct gpu_plan plan;
    uint8_t *taken;                 /* [T, N] */
    int32_t *place, *start;         /* [T, N], [S+1] */
    int32_t *begin;                 /* [N+2]: behind its own a score that is no number, 1 or 0 */
    struct tensor *source, *begins; /* [T, N]: of the pairs as many as there are; `begin` */
    void *scratch;
    double *sums;             /* [T] */
    uint16_t *used;           /* [layers, T] */
    int32_t *load_tokens;     /* [S, layers, N] */
    double *load_weight;      /* likewise */
    struct tensor *memory[3]; /* that used, load_tokens and load_weight are in */
    size_t offset[3];         /* where they begin there, in bytes */
    int32_t *host_begin;      /* the last layer's, on the host */
};

/* Some bytes of the device, aligned as kernels want them. */
static void *room(struct pass_gpu *g, const struct pass *p, size_t bytes, struct tensor **owner,
                  size_t *offset)
{
    struct tensor *t =
        tensor_int32(g->scope, (int64_t)((bytes + ALIGNED) / sizeof(int32_t) + 1), p->m->device);
    char *at = tensor_data(g->scope, t);
    size_t skip = at ? (ALIGNED - (uintptr_t)at % ALIGNED) % ALIGNED : 0;
    if (owner) {
        *owner = t;
        *offset = skip;
    }
    return at ? at + skip : NULL;
}

static bool emulated_here(const struct pass *p)
{
    return p->m->device.kind == DEVICE_CPU && step_emulated() &&
           (p->unpacked || p->m->dtype == DTYPE_BF16);
}

/* The pool goes on from the state of its one sequence, where that is on the GPU. */
static bool takes_state(const struct past *past, int sequence, struct gpu_pool *to)
{
    int slot = (int)past->slot[sequence];
    to->state = past->on_gpu ? past->on_gpu(past->context, slot, &to->stride) : NULL;
    return to->state != NULL;
}

/* Can all of the batch's routers be on the GPU? pools: [npools], filled in where they can. */
static bool on_gpu(const struct pass *p, struct gpu_pool *pools)
{
    const struct batch *b = p->batch;
    const char *wanted = getenv("SEQTOPK_GPU_ROUTERS");
    int sequence = 0;
    if (p->m->device.kind != DEVICE_CUDA && !emulated_here(p))
        return false;
    // Kernels read float32, which scores are in all arithmetic but this.
    if (p->routing.out->wanted || p->routing.args || p->m->dtype == DTYPE_F64 ||
        (wanted && strcmp(wanted, "0") == 0))
        return false;
    for (int i = 0; i < b->npools; i++) {
        const struct pool *pool = &b->pools[i];
        const int *start = p->routing.out->start;
        struct gpu_pool *to = &pools[i];
        *to = (struct gpu_pool){ .from = start[sequence],
                                 .tokens = start[sequence + pool->sequences] - start[sequence] };
        if ((p->past && pool->router->open && !takes_state(p->past, sequence, to)) ||
            !router_on_gpu(pool->router, &pool->args, &to->router))
            return false;
        sequence += pool->sequences;
        to->maxes = pool->args.nmaxes ? pool->args.maxes : NULL;
        to->layers = pool->args.nmaxes;
        to->prompt = pool->prompt < to->tokens ? pool->prompt : to->tokens;
    }
    return true;
}

static void make_room(struct pass_gpu *g, const struct pass *p)
{
    const struct scored *out = p->routing.out;
    const struct device host = { DEVICE_CPU, 0 };
    size_t T = (size_t)out->tokens, N = (size_t)out->experts, S = (size_t)out->nsequences;
    size_t layers = (size_t)out->layers;
    int64_t S1 = out->nsequences + 1;
    g->taken = room(g, p, T * N, NULL, NULL);
    g->place = room(g, p, T * N * sizeof(*g->place), NULL, NULL);
    g->scratch = room(g, p, gpu_pairs_bytes(out->tokens, out->experts), NULL, NULL);
    g->sums = room(g, p, T * sizeof(*g->sums), NULL, NULL);
    g->used = room(g, p, layers * T * sizeof(*g->used), &g->memory[0], &g->offset[0]);
    g->load_tokens =
        room(g, p, S * layers * N * sizeof(*g->load_tokens), &g->memory[1], &g->offset[1]);
    g->load_weight =
        room(g, p, S * layers * N * sizeof(*g->load_weight), &g->memory[2], &g->offset[2]);
    g->source = tensor_int32(g->scope, (int64_t)(T * N), p->m->device);
    g->begins = tensor_int32(g->scope, (int64_t)N + 2, p->m->device);
    g->begin = tensor_data(g->scope, g->begins);
    struct tensor *start = tensor_int32(g->scope, S1, host);
    int32_t *at = tensor_data(g->scope, start);
    for (int i = 0; at && i < S1; i++)
        at[i] = out->start[i];
    g->start = tensor_data(g->scope, tensor_to(g->scope, start, p->m->device));
    g->host_begin = xcalloc(N + 2, sizeof(*g->host_begin));
}

void pass_gpu_begin(struct pass *p)
{
    struct gpu_pool *pools = xcalloc((size_t)p->batch->npools, sizeof(*pools));
    struct buf err = BUF_INIT;
    if (on_gpu(p, pools)) {
        struct pass_gpu *g = p->gpu = xcalloc(1, sizeof(*g));
        g->scope = scope_new(false);
        make_room(g, p);
        void *memory = room(g, p, gpu_plan_bytes(pools, p->batch->npools), NULL, NULL);
        if (scope_error(g->scope))
            scope_fail(p->scope, "%s", scope_error(g->scope));
        else if (gpu_plan_make(&g->plan, pools, p->batch->npools, memory,
                               device_stream(p->m->device), &err))
            scope_fail(p->scope, "%s", err.s);
    }
    buf_release(&err);
    free(pools);
}

void pass_gpu_free(struct pass *p)
{
    if (!p->gpu)
        return;
    scope_free(p->gpu->scope);
    free(p->gpu->host_begin);
    free(p->gpu);
    p->gpu = NULL;
}

/* Launches the routers of a layer, and what follows from what they take. */
static int launch(struct pass *p, int layer, float *scores, struct buf *err)
{
    const struct pass_gpu *g = p->gpu;
    const struct scored *out = p->routing.out;
    void *stream = device_stream(p->m->device);
    size_t at = (size_t)layer * (size_t)out->experts;
    size_t pairs = (size_t)out->tokens * (size_t)out->experts;
    int32_t *source = tensor_data(p->scope, g->source);
    const struct gpu_counts counts = {
        .taken = g->taken,
        .scores = scores,
        .start = g->start,
        .T = out->tokens,
        .N = out->experts,
        .S = out->nsequences,
        .normalise = p->routing.normalise,
        .sums = g->sums,
        .used = g->used + (size_t)layer * (size_t)out->tokens,
        .load_tokens = g->load_tokens + at,
        .load_weight = g->load_weight + at,
        .stride = (size_t)out->layers * (size_t)out->experts,
    };
    if (step_emulated())
        pthread_mutex_lock(&alone);
    int rc = gpu_finite(scores, pairs, g->begin + out->experts + 1, stream, err) ||
             gpu_route(&g->plan, layer, scores, g->taken, stream, err) ||
             gpu_pairs(g->taken, out->tokens, out->experts, g->place, g->begin, source, g->scratch,
                       stream, err) ||
             gpu_counts(&counts, stream, err);
    if (step_emulated())
        pthread_mutex_unlock(&alone);
    return rc ? -1 : 0;
}

void pass_gpu_route(struct pass *p, int layer, const struct layer_scores *s, struct selected *to)
{
    struct pass_gpu *g = p->gpu;
    const int N = p->routing.out->experts;
    struct buf err = BUF_INIT;
    struct tensor *scores = tensor_plain(p->scope, s->scores);
    *to = (struct selected){ 0 };
    if (scope_error(p->scope))
        return;
    if (launch(p, layer, tensor_data(p->scope, scores), &err)) {
        scope_fail(p->scope, "%s", err.s);
    } else {
        tensor_bytes(p->scope, g->begins, 0, g->host_begin,
                     ((size_t)N + 2) * sizeof(*g->host_begin));
        if (!scope_error(p->scope) && g->host_begin[N + 1])
            scope_fail(p->scope, "layer %d: a score of the router is NaN or infinite", layer);
        to->token = tensor_first(p->scope, g->source, g->host_begin[N]);
        to->expert = tensor_first(p->scope, g->begins, N + 1);
    }
    buf_release(&err);
}

void pass_gpu_shares(const struct pass *p, float *share)
{
    const int32_t *begin = p->gpu->host_begin;
    const int N = p->routing.out->experts;
    for (int e = 0; e < N; e++)
        share[e] = begin[N] ? (float)(begin[e + 1] - begin[e]) / (float)begin[N] : 0;
}

void pass_gpu_end(struct pass *p)
{
    const struct pass_gpu *g = p->gpu;
    struct scored *out = p->routing.out;
    if (!g || scope_error(p->scope))
        return;
    size_t loads = (size_t)out->nsequences * (size_t)out->layers * (size_t)out->experts;
    tensor_bytes(p->scope, g->memory[0], g->offset[0], out->used,
                 (size_t)out->layers * (size_t)out->tokens * sizeof(*out->used));
    tensor_bytes(p->scope, g->memory[1], g->offset[1], out->load_tokens,
                 loads * sizeof(*out->load_tokens));
    tensor_bytes(p->scope, g->memory[2], g->offset[2], out->load_weight,
                 loads * sizeof(*out->load_weight));
}

#else

void pass_gpu_begin(struct pass *p)
{
    p->gpu = NULL;
}

void pass_gpu_free(struct pass *p)
{
    (void)p;
}

void pass_gpu_route(struct pass *p, int layer, const struct layer_scores *s, struct selected *to)
{
    (void)s;
    (void)to;
    BUG("layer %d of '%s' is to be routed by kernels that are not there", layer, p->m->config.name);
}

void pass_gpu_shares(const struct pass *p, float *share)
{
    (void)share;
    BUG("'%s' has no kernels", p->m->config.name);
}

void pass_gpu_end(struct pass *p)
{
    (void)p;
}

#endif
