/*
 * eight.cuh: eight neighbouring values of a row at a time, as the kernels of pass.h read and write
 * them. WHOLE: all rows are whole eights at multiples of 16 bytes, which the host has looked at
 * (eights()), so that loads of a loop stand side by side with no branch between them.
 */
#ifndef EIGHT_CUH
#define EIGHT_CUH

#include "cuda/gpu.h"

__device__ __forceinline__ float eight_number(float x)
{
    return x;
}
__device__ __forceinline__ float eight_number(nv_bfloat16 x)
{
    return __bfloat162float(x);
}
__device__ __forceinline__ void eight_put(float *p, float x)
{
    *p = x;
}
__device__ __forceinline__ void eight_put(nv_bfloat16 *p, float x)
{
    *p = __float2bfloat16(x);
}

__device__ __forceinline__ void eight_words(const float *p, float v[8])
{
    const float4 a = *reinterpret_cast<const float4 *>(p);
    const float4 b = *reinterpret_cast<const float4 *>(p + 4);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
    v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}
__device__ __forceinline__ void eight_words(const nv_bfloat16 *p, float v[8])
{
    const uint4 a = *reinterpret_cast<const uint4 *>(p);
    const uint32_t word[4] = { a.x, a.y, a.z, a.w };
#pragma unroll
    for (int i = 0; i < 4; i++) {
        v[2 * i] = __uint_as_float(word[i] << 16);
        v[2 * i + 1] = __uint_as_float(word[i] & 0xffff0000u);
    }
}

/* Those from p on, of which `have` are there; zeros for the rest. */
template <bool WHOLE, typename T>
__device__ __forceinline__ void eight_load(const T *p, int have, float v[8])
{
    if constexpr (WHOLE) {
        eight_words(p, v);
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++)
            v[i] = i < have ? eight_number(p[i]) : 0;
    }
}

__device__ __forceinline__ void eight_write(float *p, const float v[8])
{
    *reinterpret_cast<float4 *>(p) = make_float4(v[0], v[1], v[2], v[3]);
    *reinterpret_cast<float4 *>(p + 4) = make_float4(v[4], v[5], v[6], v[7]);
}
__device__ __forceinline__ void eight_write(nv_bfloat16 *p, const float v[8])
{
    uint32_t word[4];
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const nv_bfloat162 two = __floats2bfloat162_rn(v[2 * i], v[2 * i + 1]);
        memcpy(&word[i], &two, sizeof(two));
    }
    *reinterpret_cast<uint4 *>(p) = make_uint4(word[0], word[1], word[2], word[3]);
}

template <bool WHOLE, typename T>
__device__ __forceinline__ void eight_store(T *p, int have, const float v[8])
{
    if constexpr (WHOLE) {
        eight_write(p, v);
    } else {
#pragma unroll
        for (int i = 0; i < 8; i++)
            if (i < have)
                eight_put(p + i, v[i]);
    }
}

/* Of a warp, in all its lanes. */
__device__ __forceinline__ float eight_warp_sum(float x)
{
#pragma unroll
    for (int i = 16; i > 0; i /= 2)
        x += __shfl_xor_sync(~0u, x, i);
    return x;
}

/* The sigmoid function; its error, about 1e-6, is what bfloat16 does not show. */
template <typename T> __device__ __forceinline__ float eight_sigmoid(float x)
{
    if (sizeof(T) == 2)
        return __fdividef(1.0f, 1.0f + __expf(-x));
    return 1.0f / (1.0f + expf(-x));
}

/* ---- on the host ---- */

/* Are rows of n values, of which the first is at p, whole eights at multiples of 16 bytes? */
static inline bool eights(const void *p, int64_t n)
{
    return n % 8 == 0 && reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

static inline unsigned eight_blocks(int64_t things, int64_t each)
{
    return static_cast<unsigned>((things + each - 1) / each);
}

/* kernel<T, WHOLE>, by the format and by what the host has seen. */
#define EIGHT_LAUNCH(kernel, half, whole, grid, block, shared, stream, ...)                 \
    do {                                                                                    \
        if ((half) && (whole))                                                              \
            LAUNCH((kernel<nv_bfloat16, true>), grid, block, shared, stream, __VA_ARGS__);  \
        else if (half)                                                                      \
            LAUNCH((kernel<nv_bfloat16, false>), grid, block, shared, stream, __VA_ARGS__); \
        else if (whole)                                                                     \
            LAUNCH((kernel<float, true>), grid, block, shared, stream, __VA_ARGS__);        \
        else                                                                                \
            LAUNCH((kernel<float, false>), grid, block, shared, stream, __VA_ARGS__);       \
    } while (0)

#endif
