/*
 * chain.cuh: how the kernels of a step follow each other, and how blocks learn that they are the last.
 *
 * A kernel is launched by CHAIN() while the one before it still runs, and calls follow() or
 * follow_early() where it needs that one's end. As every kernel waits for the one before it, what has
 * ended is all that stands before.
 * Leaves out: the kernels' order, see step.cu.
 */
#ifndef CHAIN_CUH
#define CHAIN_CUH

#include "cuda/gpu.h"

/*
 * true in all threads of the last of `blocks` that come here with this counter: it sees what all of
 * them wrote before, and reads that with __ldcg(). The counter is zero again.
 */
__device__ __forceinline__ bool arrive_last(unsigned *counter, unsigned blocks)
{
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(counter, 1u) + 1 == blocks;
        if (last)
            *counter = 0;
    }
    __syncthreads();
    const bool is_last = last;
    __threadfence();
    __syncthreads(); // before another call writes `last`
    return is_last;
}

/* Fetches memory that will be read soon into L2; one thread of a block asks. `bytes` up to 2^31, of
 * which whole sixteens from a multiple of 16 on are fetched, or nothing. */
__device__ __forceinline__ void fetch(const void *p, size_t bytes)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    const unsigned whole = static_cast<unsigned>(bytes / 16 * 16);
    if (whole && reinterpret_cast<uintptr_t>(p) % 16 == 0 && threadIdx.x == 0)
        asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(p), "r"(whole));
#else
    (void)p, (void)bytes;
#endif
}

/*
 * All threads of every kernel of a step call one of these two once, and before it may read what no
 * other kernel of the step writes, and write shared memory alone. `bytes` from `p` on are fetched meanwhile.
 *
 * follow() waits for the end of the kernel before it, which let it start early (CHAIN), and then lets
 * the next one start: before its own follow() that one may read what the kernel before this one
 * wrote, with __ldcg(). follow_early() first lets the next one start, which may not.
 */
__device__ __forceinline__ void follow(const void *p = nullptr, size_t bytes = 0)
{
    fetch(p, bytes);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
__device__ __forceinline__ void follow_early(const void *p = nullptr, size_t bytes = 0)
{
    fetch(p, bytes);
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* Where a step's kernels go, and how. */
struct launch {
    cudaStream_t stream;
    int processors; // of the GPU
    size_t shared;  // bytes of shared memory that a block may have; at least 99 kB
    bool overlap;   // a kernel may start while the one before it ends: see follow()
    int share;      // percent of a multiprocessor's memory that its blocks share; DRIVERS
};
enum { DRIVERS = -1 }; // what the driver finds right

/*
 * LAUNCH() where `l` says, with the shared memory that the kernel wants. What of a multiprocessor's
 * memory is not shared by blocks is L1, through which all loads into registers come: a kernel that has
 * many under way needs much of it, and is slow without. One that wants another share than the kernel
 * before it cannot start beside that one.
 */
#ifdef CUDA_HOST
#define CHAIN(l, kernel, grid, block, shared_bytes, ...)                                   \
    ((shared_bytes) > 48 << 10 ? (void)gpu_allow_shared((kernel), shared_bytes) : (void)0, \
     LAUNCH(kernel, grid, block, shared_bytes, (l).stream, __VA_ARGS__))
#else
template <typename... P, typename... A>
void chain(const struct launch &l, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared,
           A... args)
{
    cudaLaunchAttribute attrs[2] = {};
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared;
    config.stream = l.stream;
    config.attrs = attrs;
    if (l.overlap) {
        attrs[config.numAttrs].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attrs[config.numAttrs++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (l.share != DRIVERS) {
        attrs[config.numAttrs].id = cudaLaunchAttributePreferredSharedMemoryCarveout;
        attrs[config.numAttrs++].val.sharedMemCarveout = static_cast<unsigned>(l.share);
    }
    if (shared > 48 << 10)
        gpu_allow_shared(kernel, shared);
    cudaLaunchKernelEx(&config, kernel, P(args)...);
}
#define CHAIN(l, kernel, grid, block, shared_bytes, ...) \
    chain(l, kernel, grid, block, shared_bytes, __VA_ARGS__)
#endif

#endif
