/*
 * step.cu: see step.h: the order of a step's kernels, and their graphs.
 */
#include "cuda/step_impl.cuh"

bool step_emulated(void)
{
#ifdef CUDA_HOST
    return true;
#else
    return false;
#endif
}

int step_check(const struct step_shape *s, struct buf *err)
{
    const int sizes[] = { s->hidden, s->heads * s->head_dim, s->expert_ffn, s->shared_ffn };
    if (s->head_dim > 256 || s->head_dim % 2 != 0)
        return fail(err, "heads of %d values; a step takes an even number up to 256", s->head_dim);
    if (s->experts > STEP_EXPERTS)
        return fail(err, "%d experts; a step takes up to %d", s->experts, STEP_EXPERTS);
    for (size_t i = 0; s->half && i < ARRAY_LEN(sizes); i++)
        if (sizes[i] % 8 != 0)
            return fail(err, "rows of %d values in bfloat16; a step takes multiples of 8",
                        sizes[i]);
    return 0;
}

/* ---- opening and closing ---- */

#ifndef CUDA_HOST
__global__ void version_kernel()
{
}

/* Are the kernels that run here such that wait for the one before them? See follow(). */
static bool kernels_wait(void)
{
    cudaFuncAttributes a;
    if (cudaFuncGetAttributes(&a, version_kernel) == cudaSuccess)
        return a.ptxVersion >= 90;
    cudaGetLastError();
    return false;
}
#endif

/* Device, stream, and the host's memory. */
static int open_device(struct step *s, size_t output_bytes, struct buf *err)
{
    const size_t table = static_cast<size_t>(s->spec.slots) * sizeof(*s->own_routers);
    s->launch.processors = 3;
    s->launch.shared = 227 << 10;
#ifndef CUDA_HOST
    int major = 0, shared = 0;
    if (check(cudaSetDevice(s->spec.device), err, "the GPU") ||
        check(cudaDeviceGetAttribute(&s->launch.processors, cudaDevAttrMultiProcessorCount,
                                     s->spec.device),
              err, "the GPU") ||
        check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, s->spec.device),
              err, "the GPU") ||
        check(cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                                     s->spec.device),
              err, "the GPU") ||
        check(cudaStreamCreateWithFlags(&s->launch.stream, cudaStreamNonBlocking), err, "a stream"))
        return -1;
    s->launch.shared = static_cast<size_t>(shared);
    s->launch.overlap = major >= 9 && kernels_wait() && !s->spec.no_overlap;
#endif
    if (check(cudaMallocHost(&s->own_routers, table), err, "pinned memory"))
        return -1;
    memset(s->own_routers, 0, table); // at once: step_close() frees what they point to
    if (check(cudaMallocHost(&s->input_host, sizeof(*s->input_host)), err, "pinned memory") ||
        check(cudaMallocHost(&s->output_host, output_bytes), err, "pinned memory"))
        return -1;
    memset(s->output_host, 0, output_bytes);
    return 0;
}

struct step *step_open(const struct step_spec *spec, struct buf *err)
{
    if (step_check(&spec->shape, err))
        return NULL;
    struct step *s = static_cast<struct step *>(xcalloc(1, sizeof(*s)));
    const size_t layers = static_cast<size_t>(spec->shape.layers);
    struct carver output = {}, all = {};
    struct step_output o;
    struct step_view v = step_view_of(spec);
    s->spec = *spec;
    s->most = step_most_texts(spec);
    s->layers = static_cast<struct step_layer *>(xcalloc(layers, sizeof(*s->layers)));
    memcpy(s->layers, spec->layers, layers * sizeof(*s->layers));
    s->state_room =
        static_cast<size_t *>(xcalloc(static_cast<size_t>(spec->slots), sizeof(size_t)));
    s->maxes = static_cast<uint16_t(*)[ROUTER_LAYERS]>(
        xcalloc(static_cast<size_t>(spec->slots), sizeof(*s->maxes)));
    step_carve_output(&output, &spec->shape, static_cast<size_t>(s->most), &o);
    step_carve_all(&all, spec, s, &v);
    if (open_device(s, output.used, err) ||
        check(cudaMalloc(&s->memory, all.used), err, "memory for decoding") ||
        check(cudaMemset(s->memory, 0, all.used), err, "memory for decoding") ||
        // The first run is on a stream that does not wait for this one.
        check(cudaStreamSynchronize(NULL), err, "memory for decoding")) {
        step_close(s);
        return NULL;
    }
    all = { s->memory, 0 };
    step_carve_all(&all, spec, s, &v);
    for (int i = 0; i < STEP_SIZES; i++) {
        struct carver c = { s->output, 0 };
        s->replay[i].view = v;
        s->replay[i].view.rows = step_sizes[i];
        s->replay[i].view.in = s->input;
        s->replay[i].view.routers = s->routers;
        step_carve_output(&c, &spec->shape, static_cast<size_t>(step_sizes[i]),
                          &s->replay[i].view.out);
        s->replay[i].output_bytes = c.used;
    }
    return s;
}

static void forget_graphs(struct step *s)
{
#ifndef CUDA_HOST
    for (int i = 0; i < STEP_SIZES; i++)
        if (s->replay[i].graph) {
            cudaGraphExecDestroy(s->replay[i].graph);
            s->replay[i].graph = NULL;
        }
#else
    (void)s;
#endif
}

void step_close(struct step *s)
{
    if (!s)
        return;
    cudaDeviceSynchronize();
    forget_graphs(s);
    for (int i = 0; s->own_routers && i < s->spec.slots; i++)
        cudaFree(s->own_routers[i].state);
    cudaFree(s->plan_memory);
    cudaFree(s->memory);
    cudaFreeHost(s->own_routers);
    cudaFreeHost(s->logits_host);
    cudaFreeHost(s->output_host);
    cudaFreeHost(s->input_host);
#ifndef CUDA_HOST
    if (s->launch.stream)
        cudaStreamDestroy(s->launch.stream);
#endif
    free(s->state_room);
    free(s->maxes);
    free(s->layers);
    free(s);
}

/* ---- one step ---- */

static const int MANY_SHARE = 58; // struct launch's, with more texts than a few: measured

static void launch_all(const struct step *s, const struct step_view *v, cudaStream_t stream)
{
    struct launch l = s->launch;
    const struct step_ends *e = &s->spec.ends;
    const int layers = v->s.layers;
    l.stream = stream;
    l.share = v->rows <= FEW_TEXTS ? DRIVERS : MANY_SHARE;
    launch_embed(l, *v, e->embedding, s->layers[0].attn_norm);
    for (int i = 0; i < layers; i++) {
        const struct step_layer *w = &s->layers[i];
        launch_qkv(l, *v, *w);
        launch_attend(l, *v, *w, e->cos, e->sin);
        launch_out(l, *v, *w);
        launch_choose(l, *v, *w, i);
        launch_experts(l, *v, *w, i + 1 < layers ? s->layers[i + 1].attn_norm : e->norm);
    }
    launch_head(l, *v, e->head);
    launch_finish(l, *v);
}

static int launch_step(struct step *s, const struct replay *r, cudaStream_t stream, struct buf *err)
{
    if (check(cudaMemcpyAsync(s->input, s->input_host, sizeof(*s->input), cudaMemcpyHostToDevice,
                              stream),
              err, "a step's input"))
        return -1;
    launch_all(s, &r->view, stream);
    if (gpu_check(err, "a step"))
        return -1;
    return check(
        cudaMemcpyAsync(s->output_host, s->output, r->output_bytes, cudaMemcpyDeviceToHost, stream),
        err, "a step's output");
}

#ifndef CUDA_HOST
/* Runs the kernels once for idle rows, so that they are loaded; then captures them. */
static int capture(struct step *s, struct replay *r, struct buf *err)
{
    cudaStream_t stream = s->launch.stream;
    cudaGraph_t graph = NULL;
    const struct step_input input = *s->input_host;
    for (int i = 0; i < STEP_TEXTS; i++)
        s->input_host->slot[i] = -1;
    int rc = launch_step(s, r, stream, err) ||
             check(cudaStreamSynchronize(stream), err, "a step's first run");
    *s->input_host = input;
    if (rc ||
        check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), err, "a graph"))
        return -1;
    rc = launch_step(s, r, stream, err);
    cudaError_t code = cudaStreamEndCapture(stream, &graph);
    if (rc == 0)
        rc = check(code, err, "a graph") ||
             check(cudaGraphInstantiate(&r->graph, graph, 0), err, "a graph");
    if (graph)
        cudaGraphDestroy(graph);
    return rc ? -1 : 0;
}
#endif

static int replay_on(struct step *s, struct replay *r, cudaStream_t stream, struct buf *err)
{
#ifndef CUDA_HOST
    if (!s->spec.no_graph) {
        if (!r->graph && capture(s, r, err))
            return -1;
        return check(cudaGraphLaunch(r->graph, stream), err, "a step");
    }
#endif
    return launch_step(s, r, stream, err);
}

static struct replay *replay_for(struct step *s, int n)
{
    int i = 0;
    while (step_sizes[i] < n)
        i++;
    return &s->replay[i];
}

/* Copies of the logits that are wanted, behind the step. */
static int want_logits(struct step *s, const struct replay *r, struct step_text *texts, int n,
                       cudaStream_t stream, struct buf *err)
{
    const size_t V = static_cast<size_t>(s->spec.shape.vocab);
    for (int i = 0; i < n; i++) {
        if (!texts[i].want_logits)
            continue;
        if (!s->logits_host &&
            check(cudaMallocHost(&s->logits_host, static_cast<size_t>(s->most) * V * sizeof(float)),
                  err, "pinned memory"))
            return -1;
        float *to = s->logits_host + static_cast<size_t>(i) * V;
        const float *from = r->view.vocabulary + static_cast<size_t>(i) * V;
        if (check(cudaMemcpyAsync(to, from, V * sizeof(float), cudaMemcpyDeviceToHost, stream), err,
                  "the logits"))
            return -1;
        texts[i].logits = to;
    }
    return 0;
}

/* What stands at this place of the device's output, on the host. */
template <typename T> static const T *on_host(const struct step *s, const T *p)
{
    return reinterpret_cast<const T *>(s->output_host +
                                       (reinterpret_cast<const unsigned char *>(p) - s->output));
}

int step_run(struct step *s, struct step_text *texts, int n, void *on, struct buf *err)
{
    cudaStream_t stream = static_cast<cudaStream_t>(on);
    if (n < 1 || n > s->most)
        BUG("a step of %d texts", n);
    struct replay *r = replay_for(s, n);
    for (int i = 0; i < STEP_TEXTS; i++) {
        s->input_host->slot[i] = i < n ? texts[i].slot : -1;
        s->input_host->id[i] = i < n ? texts[i].id : 0;
        s->input_host->position[i] = i < n ? texts[i].position : 0;
    }
#ifndef CUDA_HOST
    if (check(cudaSetDevice(s->spec.device), err, "the GPU"))
        return -1;
#endif
    if (replay_on(s, r, stream, err) || want_logits(s, r, texts, n, stream, err) ||
        check(cudaStreamSynchronize(stream), err, "a step"))
        return -1;
    const struct step_output *o = &r->view.out;
    const int bad = *on_host(s, o->bad);
    if (bad)
        return fail(err, "layer %d: a score of the router is NaN or infinite", bad - 1);
    for (int i = 0; i < n; i++) {
        texts[i].next = on_host(s, o->next)[i];
        texts[i].next_nll = on_host(s, o->nll)[i];
        texts[i].entropy = on_host(s, o->entropy)[i];
        if (!(texts[i].entropy * 0 == 0))
            return fail(err, "the entropy of a prediction is NaN or infinite");
    }
    s->last = r;
    return 0;
}

const float *step_scores(const struct step *s, int layer, int i)
{
    const struct step_view *v = &s->last->view;
    return on_host(s, v->out.scores) +
           (static_cast<size_t>(layer) * v->rows + i) * static_cast<size_t>(v->s.experts);
}
