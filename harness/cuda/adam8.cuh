/*
 * adam8.cuh: eight numbers of a lane as codes of eight bits, and back, rounded by chance (adam8.h).
 *
 * In units of scale / levels^3 a code's value is its cube, a whole number, and the next one lies
 * 3c^2 + 3c + 1 further: float32 has both exactly, and no quotient is needed to round by chance.
 * The third root only has to find c, and may miss it by one: the chance is then below 0 or above 1.
 */
#ifndef ADAM8_CUH
#define ADAM8_CUH

#include "cuda/gpu.h"
#include "splitmix.h"

#include <math.h>

// What is smaller counts as nothing: a scale has all of its digits.
constexpr float SMALLEST = 1e-30f;
constexpr float MEAN_LEVELS = 127, SQUARE_LEVELS = 255;
// Added to a small whole number it leaves that in the lowest bits, of a negative one as well.
constexpr float WHOLE_BITS = 12582912; // 1.5 * 2^23

/* ---- roots, nearly: to some units in the last place, and denormals count as zero ---- */

#ifdef CUDA_HOST
inline float square_root(float x)
{
    return sqrtf(x);
}
inline float third_root(float x)
{
    return exp2f(log2f(x) * (1.0f / 3));
}
#else
__device__ __forceinline__ float square_root(float x)
{
    asm("sqrt.approx.ftz.f32 %0, %0;" : "+f"(x));
    return x;
}
__device__ __forceinline__ float third_root(float x)
{
    asm("lg2.approx.ftz.f32 %0, %0;" : "+f"(x));
    x *= 1.0f / 3;
    asm("ex2.approx.ftz.f32 %0, %0;" : "+f"(x));
    return x;
}
#endif

/* ---- chance ---- */

/* splitmix_mix(), which is the host's. */
__device__ __forceinline__ uint64_t mixed(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* The words of eight numbers, of which the first is number i, a multiple of 8. */
__device__ __forceinline__ void draw(uint64_t seed, int64_t i, uint32_t word[8])
{
    uint64_t at = seed + static_cast<uint64_t>(i / 2) * SPLITMIX_STEP;
#pragma unroll
    for (int k = 0; k < 4; k++) {
        const uint64_t z = mixed(at += SPLITMIX_STEP);
        word[2 * k] = static_cast<uint32_t>(z);
        word[2 * k + 1] = static_cast<uint32_t>(z >> 32);
    }
}

/* 1 with the chance part / whole, else 0. */
__device__ __forceinline__ float perhaps(uint32_t word, float part, float whole)
{
    const float one_to_two = __uint_as_float((word & 0x7fffffu) | 0x3f800000u);
    return fmaf(one_to_two, whole, -whole) < part ? 1.0f : 0.0f;
}

/* ---- codes ---- */

/* The cubes of four codes, of which the words have one a byte. */
__device__ __forceinline__ void square_cubes(uint32_t codes, float v[4])
{
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float c = __uint_as_float((codes >> 8 * i & 0xffu) | 0x4b000000u) - 8388608.0f;
        v[i] = c * c * c;
    }
}
__device__ __forceinline__ void mean_cubes(uint32_t codes, float v[4])
{
    codes ^= 0x80808080u;
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const float c = __uint_as_float((codes >> 8 * i & 0xffu) | 0x4b000000u) - 8388736.0f;
        v[i] = c * c * c;
    }
}

/* The lowest byte of each. */
__device__ __forceinline__ uint32_t four_bytes(const uint32_t w[4])
{
    return (w[0] & 0xffu) | (w[1] & 0xffu) << 8 | (w[2] & 0xffu) << 16 | w[3] << 24;
}

/* x in units of scale / levels^3, rounded to a code by chance. */
__device__ __forceinline__ float code_of(float x, float levels, uint32_t word)
{
    const float most = WHOLE_BITS + levels - 1;
    const float c = fminf(third_root(x) - 0.5f + WHOLE_BITS, most) - WHOLE_BITS;
    return c + perhaps(word, fmaf(-c * c, c, x), fmaf(fmaf(3.0f, c, 3.0f), c, 1.0f));
}

__device__ __forceinline__ uint32_t mean_code(float m, float by, uint32_t word)
{
    return __float_as_uint(copysignf(code_of(fabsf(m) * by, MEAN_LEVELS, word), m) + WHOLE_BITS);
}
/* A square that is not zero has a code that is not zero. */
__device__ __forceinline__ uint32_t square_code(float v, float by, uint32_t word)
{
    const float c = fmaxf(code_of(v * by, SQUARE_LEVELS, word << 16 | word >> 16), 1.0f);
    return __float_as_uint((v > 0 ? c : 0.0f) + WHOLE_BITS);
}

/*
 * The largest magnitude of a block, in all lanes. As whole numbers magnitudes have the same order,
 * and NaN is the largest.
 */
__device__ __forceinline__ float largest(const float v[8])
{
    uint32_t most = 0;
#pragma unroll
    for (int i = 0; i < 8; i++)
        most = max(most, __float_as_uint(fabsf(v[i])));
    return __uint_as_float(__reduce_max_sync(~0u, most));
}

/* What a block's numbers are multiplied by, so that the largest is not below levels^3. */
__device__ __forceinline__ float by_of(float scale, float levels)
{
    const float cube = levels * levels * levels, s = fmaxf(scale, SMALLEST), by = cube / s;
    return s * by < cube ? __uint_as_float(__float_as_uint(by) + 1) : by;
}

__device__ __forceinline__ float kept_scale(float scale)
{
    return scale < SMALLEST ? 0.0f : scale;
}

#endif
