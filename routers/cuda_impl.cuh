/*
 * cuda_impl.cuh: what the files of routers/ in CUDA share: a plan's lists as the device reads them,
 * and the launches of each kind of router. See cuda.h.
 */
#ifndef ROUTERS_CUDA_IMPL_CUH
#define ROUTERS_CUDA_IMPL_CUH

#include "routers/cuda.cuh"

/* A pool on the device. */
struct pool_work {
    struct gpu_pool pool;
    /* Of online and strict: */
    int blocks; /* how many the pool has */
    int slab, slabs,
        nslabs; /* tokens of a slab, its first one, how many: from its first token on */
};

/*
 * What one block does: `tokens` rows from `from` on, of a pool, for a selection over a unit. Of online
 * and strict `unit` is which of the pool's blocks it is; one without tokens sees to the state.
 */
struct block_work {
    int pool, unit, from, tokens;
};

/* A pool of online or strict, between its two kernels; where it has no state, zeros. */
struct text_work {
    int tokens;      /* of its segment, before the pool's first that is not of a prompt by global */
    long long slack; /* what these left of their budget of K each */
    struct cache_level window, middle; /* around the scores behind the pool */
    int rebuilds;                      /* these were made: 1, else 0 */
    long long read;
};

/* Tokens of a pool whose pairs are selected together by global: a pool, or a segment of one. */
struct unit_work {
    int pool, from, tokens;
    int chunks;      /* blocks that share it; 0: one block does all of it */
    int histogram;   /* its index; only where blocks share it */
    unsigned done;   /* of these blocks; 0 between kernels */
    unsigned listed; /* pairs in its list, which begins at pair from * N of `lists`; likewise */
};

constexpr int GLOBAL_BINS = 4096; /* of a histogram of scores */
constexpr int CHUNK_PAIRS = 2048; /* of a block that shares a unit, about */
constexpr int SMALL_PAIRS = 8192; /* of a unit that one block does */
constexpr int GLOBAL_THREADS = 512, ROW_THREADS = 256, ONLINE_THREADS = 512;
constexpr int RUN_TOKENS = 256;   /* that a block of online or strict does at once */
constexpr int SLAB_PAIRS = 16384; /* of such a pool that are counted once, for all its blocks */

/* Calls f<J>(...), J * 32 >= N, for the kernels that keep a row in a warp's registers. */
#define ROW_LAUNCH(kernel, N, grid, block, stream, ...)                \
    do {                                                               \
        if ((N) <= 64)                                                 \
            LAUNCH((kernel<2>), grid, block, 0, stream, __VA_ARGS__);  \
        else if ((N) <= 128)                                           \
            LAUNCH((kernel<4>), grid, block, 0, stream, __VA_ARGS__);  \
        else if ((N) <= 256)                                           \
            LAUNCH((kernel<8>), grid, block, 0, stream, __VA_ARGS__);  \
        else                                                           \
            LAUNCH((kernel<32>), grid, block, 0, stream, __VA_ARGS__); \
    } while (0)

/*
 * A kernel that calls let_next_start() lets the next one in the stream begin while it runs, where that
 * is launched by LAUNCH_BEHIND(). What the next one does before wait_for_previous() must not read
 * what this one writes, nor write what it reads.
 */
__device__ inline void let_next_start()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;");
#endif
}
__device__ inline void wait_for_previous()
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* overlap: the kernel that runs here is one that waits, see global_overlaps(). */
#ifdef CUDA_HOST
#define LAUNCH_BEHIND(overlap, kernel, grid, block, stream, ...) \
    ((void)(overlap), LAUNCH(kernel, grid, block, 0, stream, __VA_ARGS__))
#else
template <typename... P, typename... A>
void launch_behind(bool overlap, void (*kernel)(P...), dim3 grid, dim3 block, cudaStream_t stream,
                   A... args)
{
    cudaLaunchAttribute early = {};
    early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    early.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.stream = stream;
    config.attrs = &early;
    config.numAttrs = overlap ? 1 : 0;
    cudaLaunchKernelEx(&config, kernel, P(args)...);
}
#define LAUNCH_BEHIND(overlap, kernel, grid, block, stream, ...) \
    launch_behind(overlap, kernel, grid, block, stream, __VA_ARGS__)
#endif

/* Was settle_kernel built for a GPU whose kernels can wait for the one before them? */
bool global_overlaps(void);

int launch_rows(const struct gpu_plan *p, const float *scores, uint8_t *taken, cudaStream_t stream,
                struct buf *err);
int launch_global(const struct gpu_plan *p, const float *scores, uint8_t *taken,
                  cudaStream_t stream, struct buf *err);
int launch_online(const struct gpu_plan *p, int layer, const float *scores, uint8_t *taken,
                  cudaStream_t stream, struct buf *err);

/* A plan's blocks stand in this order: rows, small units, chunks, online, slabs. */
static inline const struct block_work *plan_blocks(const struct gpu_plan *p, int first)
{
    return static_cast<const struct block_work *>(p->items) + first;
}

#endif
