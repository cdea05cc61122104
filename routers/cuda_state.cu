/*
 * cuda_state.cu: the Expert Caches of texts that grow: their size, an empty one, and what one has
 * seen; see cuda.h. Leaves out: what fills them (cuda_online.cu for prompts, cuda.cuh for a token).
 */
#include "routers/cuda_impl.cuh"

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
