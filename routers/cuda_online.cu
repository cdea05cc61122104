/*
 * cuda_online.cu: online and strict over a pool that is there at once: a block goes through it token
 * by token, as decoding does (cuda.cuh). A prompt that global routed is put into the cache.
 */
#include "routers/cuda_impl.cuh"

/* The state as it is behind a prompt: the scores of its last segment, and no window yet. */
__device__ static void fill_cache(const struct gpu_router &r, void *state, struct cache_shared *s,
                                  const float *scores, int tokens)
{
    int kept = r.segment > 0 ? (tokens - 1) % r.segment + 1 : tokens;
    const float *from = scores + static_cast<size_t>(tokens - kept) * r.N;
    uint32_t *bag = cache_bag(state, s->head);
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kept * r.N; i += ONLINE_THREADS)
        bag[i] = score_key(from[i]);
    if (threadIdx.x == 0) {
        s->head.tokens = kept;
        s->head.used = static_cast<long long>(kept) * r.K;
        s->head.window = { KEY_END, KEY_END, 0, 0, 0 };
        s->head.middle = { 0, KEY_END, 0, -1, 0 };
    }
    window_clear(s, state);
    __syncthreads();
}

/* An empty cache in the head that is loaded; the sizes stay. */
__device__ static void empty_cache(void *state, struct cache_shared *s)
{
    if (threadIdx.x == 0) {
        s->head.tokens = 0;
        s->head.used = s->head.read = 0;
        s->head.rebuilds[0] = s->head.rebuilds[1] = 0;
        s->head.window = s->head.middle = level_empty();
    }
    window_clear(s, state);
}

__global__ void __launch_bounds__(ONLINE_THREADS)
    online_kernel(const struct pool_work *pools, const struct block_work *blocks, int layer,
                  const float *scores, uint8_t *taken)
{
    DYNAMIC_SHARED(struct cache_shared, s);
    const struct pool_work w = pools[blocks[blockIdx.x].pool];
    const struct gpu_router r = w.pool.router;
    void *state = static_cast<char *>(w.pool.state) +
                  (w.own ? 0 : static_cast<size_t>(layer) * w.pool.stride);
    uint32_t *key = reinterpret_cast<uint32_t *>(s + 1);
    int *rank = reinterpret_cast<int *>(key + r.N), tid = static_cast<int>(threadIdx.x);
    size_t first = static_cast<size_t>(w.pool.from) * r.N;
    int prompt = r.global_prompt ? w.pool.prompt : 0;
    route_open(r, state, s);
    __syncthreads();
    if (w.own)
        empty_cache(state, s);
    __syncthreads();
    if (prompt > 0)
        fill_cache(r, state, s, scores + first, prompt);
    // The next token's scores are on their way while this one is routed.
    float next = prompt < w.pool.tokens && tid < r.N
                     ? scores[first + static_cast<size_t>(prompt) * r.N + tid]
                     : 0;
    for (int t = prompt; t < w.pool.tokens; t++) {
        size_t row = first + static_cast<size_t>(t) * r.N;
        if (tid < r.N)
            key[tid] = score_key(next);
        for (int e = tid + ONLINE_THREADS; e < r.N; e += ONLINE_THREADS)
            key[e] = score_key(scores[row + e]);
        if (t + 1 < w.pool.tokens && tid < r.N)
            next = scores[row + r.N + tid];
        __syncthreads();
        cache_turn(r, state, s);
        int n = cache_step(r, state, s, key, rank);
        for (int e = tid; e < r.N; e += ONLINE_THREADS)
            taken[row + e] = rank[e] < n;
        __syncthreads();
    }
    if (tid == 0)
        *static_cast<struct cache_head *>(state) = s->head;
}

int launch_online(const struct gpu_plan *p, int layer, const float *scores, uint8_t *taken,
                  cudaStream_t stream, struct buf *err)
{
    const struct pool_work *pools = static_cast<const struct pool_work *>(p->pools);
    if (p->online == 0)
        return 0;
    LAUNCH(online_kernel, p->online, ONLINE_THREADS, route_shared_bytes(p->N), stream, pools,
           plan_blocks(p, p->rows + p->small_units + p->chunks), layer, scores, taken);
    return gpu_check(err, "routing token by token on the GPU");
}

/* ---- states ---- */

/* A block a state. */
__global__ void reset_kernel(char *states, size_t stride, int bag_tokens, int middle_size)
{
    void *state = states + blockIdx.x * stride;
    for (int i = static_cast<int>(threadIdx.x); i < CACHE_WINDOW; i += ONLINE_THREADS)
        cache_window(state)[i] = 0;
    if (threadIdx.x > 0)
        return;
    struct cache_head h = {};
    h.bag_tokens = bag_tokens;
    h.middle_size = middle_size;
    h.window = h.middle = level_empty();
    *static_cast<struct cache_head *>(state) = h;
}

/* Tokens whose scores a state keeps, and keys of its middle window. */
static int bag_tokens(const struct gpu_router *r, int capacity)
{
    return r->segment > 0 && r->segment < capacity ? r->segment : capacity;
}

static size_t middle_size(const struct gpu_router *r, int capacity)
{
    size_t all = static_cast<size_t>(bag_tokens(r, capacity)) * static_cast<size_t>(r->N);
    size_t most = all < 4096 ? all : 4096;
    return ((all / 16 > most ? all / 16 : most) + 3) / 4 * 4;
}

size_t gpu_state_bytes(const struct gpu_router *r, int capacity)
{
    if (r->kind != GPU_ONLINE && r->kind != GPU_STRICT)
        return 0;
    size_t bag = static_cast<size_t>(bag_tokens(r, capacity)) * static_cast<size_t>(r->N);
    size_t keys = CACHE_WINDOW + middle_size(r, capacity) + bag;
    return (CACHE_HEAD + keys * sizeof(uint32_t) + 255) / 256 * 256;
}

int gpu_state_reset(const struct gpu_router *r, int capacity, void *state, int layers,
                    size_t stride, void *stream, struct buf *err)
{
    if (gpu_state_bytes(r, capacity) == 0 || layers == 0)
        return 0;
    LAUNCH(reset_kernel, layers, ONLINE_THREADS, 0, static_cast<cudaStream_t>(stream),
           static_cast<char *>(state), stride, bag_tokens(r, capacity),
           static_cast<int>(middle_size(r, capacity)));
    return gpu_check(err, "emptying Expert Caches on the GPU");
}

int gpu_state_facts(const void *state, void *stream, struct gpu_state_facts *out, struct buf *err)
{
    struct cache_head h;
    cudaStream_t s = static_cast<cudaStream_t>(stream);
    cudaError_t code = cudaMemcpyAsync(&h, state, sizeof(h), cudaMemcpyDeviceToHost, s);
    if (code == cudaSuccess)
        code = cudaStreamSynchronize(s);
    if (code != cudaSuccess)
        return fail(err, "reading an Expert Cache from the GPU: %s", cudaGetErrorString(code));
    *out = { h.tokens,
             static_cast<int64_t>(h.used),
             { h.rebuilds[0], h.rebuilds[1] },
             static_cast<int64_t>(h.read) };
    return 0;
}
