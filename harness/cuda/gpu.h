/*
 * gpu.h: what all CUDA sources share: how a kernel is launched, and the few functions that CUDA
 * writes in assembler.
 *
 * A .cu file includes this header and nothing else of CUDA. It is compiled by nvcc, and by g++ with
 * -DCUDA_HOST, where tests/cuda_host.h stands in for CUDA and runs the kernels on the CPU; so it
 * keeps to what that header has. Kernels are launched by LAUNCH() alone.
 *
 *     __global__ void add(const float *x, float *y, int n) // x, y: [n]
 *     {
 *         int i = blockIdx.x * blockDim.x + threadIdx.x;
 *         if (i < n)
 *             y[i] += x[i];
 *     }
 *     LAUNCH(add, (n + 255) / 256, 256, 0, stream, x, y, n);
 *     if (gpu_check(err, "adding"))
 *         return -1;
 *
 * A template's name goes into parentheses: LAUNCH((add<float, 4>), ...). Dynamic shared memory is
 * DYNAMIC_SHARED(float, name), aligned to 16 bytes; what is above 48 kB is asked for once with
 * gpu_allow_shared(kernel, bytes). Blocks of one launch must not wait for one another.
 *
 * __ldcg() and load_once() take addresses of global memory alone; the emulator takes any, a GPU stops
 * with an illegal memory access.
 *
 * Numbers: .cu files are compiled without fast math, with denormals and correctly rounded division
 * and roots. Those that must agree with the CPU to the bit stand in NO_FMA of the Makefile
 * (routers/): nvcc does not join their products and sums there.
 * Leaves out: memory, streams and graphs, which are the callers'.
 */
#ifndef GPU_H
#define GPU_H

#include "util.h"

#ifndef CUDA_HOST

#include <cuda_bf16.h>
#include <cuda_runtime.h>

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__)

extern __shared__ __align__(16) unsigned char gpu_shared[];
#define DYNAMIC_SHARED(type, name) type *name = reinterpret_cast<type *>(gpu_shared)

/* Lets a kernel have up to `bytes` of dynamic shared memory; once, before its first launch. */
#define gpu_allow_shared(kernel, bytes)                          \
    cudaFuncSetAttribute(reinterpret_cast<const void *>(kernel), \
                         cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes))

/*
 * c += a b of one warp, all 32 lanes: A is 16 x 16 and B 16 x 8 of bfloat16, C 16 x 8 of float32.
 * With g = lane / 4 and i = lane % 4 * 2, a lane holds, two values a register, the lower k below:
 *   a[0] = A[g, i..i+1]  a[1] = A[g+8, i..i+1]  a[2] = A[g, i+8..i+9]  a[3] = A[g+8, i+8..i+9]
 *   b[0] = B[i..i+1, g]  b[1] = B[i+8..i+9, g]
 *   c[0..1] = C[g, i..i+1]  c[2..3] = C[g+8, i..i+1]
 */
__device__ __forceinline__ void mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* 16 bytes of memory that nobody writes meanwhile and that is read once: it is not kept in L1. */
__device__ __forceinline__ uint4 load_once(const void *p)
{
    uint4 v;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p));
    return v;
}

#endif

/* What went wrong with the launches so far, as "WHAT: CUDA's sentence". */
static inline int gpu_check(struct buf *err, const char *what)
{
    cudaError_t code = cudaGetLastError();
    return code == cudaSuccess ? 0 : fail(err, "%s: %s", what, cudaGetErrorString(code));
}

#endif
