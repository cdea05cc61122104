/*
 * step_routers.cu: the routers of a step's texts, and their states; see step.h.
 */
#include "cuda/step_impl.cuh"

bool step_routes(const struct router *r, const struct router_args *args)
{
    return args->N <= STEP_EXPERTS && router_on_gpu(r, args, NULL);
}

/* Memory of at least `bytes` in the place of what was there, whose contents are lost. */
static int grow(unsigned char **p, size_t *room, size_t bytes, cudaStream_t stream, struct buf *err,
                const char *what)
{
    if (*room >= bytes)
        return 0;
    if (check(cudaStreamSynchronize(stream), err, what) || check(cudaFree(*p), err, what))
        return -1;
    *p = NULL;
    *room = 0;
    if (check(cudaMalloc(p, bytes), err, what))
        return -1;
    *room = bytes;
    return 0;
}

int step_begin(struct step *s, int slot, const struct router *r, const struct router_args *args,
               void *on, struct buf *err)
{
    cudaStream_t stream = static_cast<cudaStream_t>(on);
    struct step_router *own = &s->own_routers[slot];
    const int layers = s->spec.shape.layers;
    if (!router_on_gpu(r, args, &own->router))
        BUG("%s has no kernel", r->name);
    own->stride = gpu_state_bytes(&own->router, s->spec.capacity);
    // Bounds stand behind the states.
    const size_t states = own->stride * static_cast<size_t>(layers),
                 bounds = static_cast<size_t>(args->nmaxes) * sizeof(*args->maxes);
    if (grow(&own->state, &s->state_room[slot], states + bounds, stream, err,
             "memory for the Expert Cache"))
        return -1;
    own->maxes = bounds ? reinterpret_cast<const uint16_t *>(own->state + states) : NULL;
    memcpy(s->maxes[slot], args->maxes, bounds);
    // From memory that is not pinned: it has been read when the call returns.
    if (bounds && check(cudaMemcpyAsync(own->state + states, s->maxes[slot], bounds,
                                        cudaMemcpyHostToDevice, stream),
                        err, "a router's bounds"))
        return -1;
    if (own->stride && gpu_state_reset(&own->router, s->spec.capacity, own->state, layers,
                                       own->stride, stream, err))
        return -1;
    return check(
        cudaMemcpyAsync(s->routers + slot, own, sizeof(*own), cudaMemcpyHostToDevice, stream), err,
        "a router");
}

void *step_state(const struct step *s, int slot, size_t *stride)
{
    const struct step_router *own = &s->own_routers[slot];
    *stride = own->stride;
    return own->stride ? own->state : NULL;
}

int step_prompts(struct step *s, const struct step_prompt *prompts, int n, void *on,
                 struct buf *err)
{
    cudaStream_t stream = static_cast<cudaStream_t>(on);
    struct gpu_pool *pools =
        static_cast<struct gpu_pool *>(xcalloc(static_cast<size_t>(n) + 1, sizeof(*pools)));
    int npools = 0, tokens = 0;
    for (int i = 0; i < n; i++) {
        const struct step_router *own = &s->own_routers[prompts[i].slot];
        if (!own->stride)
            continue;
        struct gpu_pool *p = &pools[npools++];
        p->router = own->router;
        p->from = prompts[i].from;
        p->tokens = prompts[i].tokens;
        p->prompt = prompts[i].tokens;
        p->state = own->state;
        p->stride = own->stride;
        p->maxes = own->maxes ? s->maxes[prompts[i].slot] : NULL;
        p->layers = s->spec.shape.layers;
        tokens = prompts[i].from + prompts[i].tokens > tokens ? prompts[i].from + prompts[i].tokens
                                                              : tokens;
    }
    s->planned = npools > 0;
    int rc = 0;
    if (npools) {
        s->plan_used = (gpu_plan_bytes(pools, npools) + STEP_ALIGN - 1) / STEP_ALIGN * STEP_ALIGN;
        const size_t taken = static_cast<size_t>(tokens) * s->spec.shape.experts;
        rc = grow(&s->plan_memory, &s->plan_room, s->plan_used + taken, stream, err,
                  "memory for a prompt's routing") ||
             gpu_plan_make(&s->plan, pools, npools, s->plan_memory, stream, err);
    }
    free(pools);
    return rc ? -1 : 0;
}

int step_prompt_scores(struct step *s, int layer, const float *scores, void *stream,
                       struct buf *err)
{
    if (!s->planned)
        return 0;
    return gpu_route(&s->plan, layer, scores, s->plan_memory + s->plan_used, stream, err);
}
