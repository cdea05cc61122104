/*
 * adam8.cu: see adam8.h. A warp has a block of 256 numbers, eight a lane; it reads all that it
 * needs before it computes, 2 kB, of which a multiprocessor has 64 under way, and meets twice, for
 * the two largest magnitudes.
 *
 * Products and sums are joined where fmaf() says so and nowhere else, so that eights and single
 * numbers come to the same bits.
 */
#include "cuda/adam8.h"
#include "cuda/adam8.cuh"
#include "cuda/eight.cuh"

#include <type_traits>

constexpr int WARPS = 8;

/* What is the same for all numbers. */
struct factors {
    float gradient, decay, rate, root;
    float keep_mean, add_mean, keep_square, add_square; // what is kept is of codes' cubes
};

/* ---- weights and gradients: eight from p on, of which `have` are there; all, where WHOLE ---- */

/* The format of a gradient that is not there. */
struct nothing {
};

template <bool WHOLE, typename G>
static __device__ __forceinline__ void take_gradient(const void *p, int64_t i, int have, float g[8])
{
    if constexpr (std::is_same<G, nothing>::value) {
#pragma unroll
        for (int k = 0; k < 8; k++)
            g[k] = 0;
    } else {
        eight_load<WHOLE>(static_cast<const G *>(p) + i, have, g);
    }
}

/* Float32 from a word of two upper halves and one of two lower ones, and back. */
static __device__ __forceinline__ void join_two(uint32_t high, uint32_t low, float v[2])
{
    v[0] = __uint_as_float((high << 16) + static_cast<uint32_t>(static_cast<int16_t>(low)));
    v[1] = __uint_as_float((high & 0xffff0000u) +
                           static_cast<uint32_t>(static_cast<int32_t>(low) >> 16));
}
static __device__ __forceinline__ void split_two(const float v[2], uint32_t *high, uint32_t *low)
{
    const uint32_t a = __float_as_uint(v[0]), b = __float_as_uint(v[1]);
    *high = ((a + 0x8000u) >> 16) | ((b + 0x8000u) & 0xffff0000u);
    *low = (a & 0xffffu) | b << 16;
}

/*
 * 16 bytes, which nobody reads soon. A plain assignment was seen to become four stores, each of a
 * quarter of every line.
 */
static __device__ __forceinline__ void put_four(void *p, const uint32_t word[4])
{
    __stcs(static_cast<uint4 *>(p), make_uint4(word[0], word[1], word[2], word[3]));
}

/* Eight values of 16 bits, two a word; p may be odd where not WHOLE. */
template <bool WHOLE>
static __device__ __forceinline__ void take_words(const uint16_t *p, int have, uint32_t word[4])
{
    if constexpr (WHOLE) {
        const uint4 v = *reinterpret_cast<const uint4 *>(p);
        word[0] = v.x, word[1] = v.y, word[2] = v.z, word[3] = v.w;
    } else {
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const uint32_t low = 2 * k < have ? p[2 * k] : 0;
            const uint32_t high = 2 * k + 1 < have ? p[2 * k + 1] : 0;
            word[k] = low | high << 16;
        }
    }
}
template <bool WHOLE>
static __device__ __forceinline__ void put_words(uint16_t *p, int have, const uint32_t word[4])
{
    if constexpr (WHOLE) {
        put_four(p, word);
    } else {
#pragma unroll
        for (int k = 0; k < 8; k++)
            if (k < have)
                p[k] = static_cast<uint16_t>(word[k / 2] >> k % 2 * 16);
    }
}

/* As they lie: eight of float32, or four words of upper halves and four of lower ones. */
template <bool WHOLE, bool HALVES>
static __device__ __forceinline__ void take_weights(const struct gpu_adam8 &a, int64_t i, int have,
                                                    uint32_t word[8])
{
    if constexpr (HALVES) {
        take_words<WHOLE>(a.high + i, have, word);
        take_words<WHOLE>(reinterpret_cast<const uint16_t *>(a.low) + i, have, word + 4);
    } else {
        float w[8];
        eight_load<WHOLE>(a.weights + i, have, w);
#pragma unroll
        for (int k = 0; k < 8; k++)
            word[k] = __float_as_uint(w[k]);
    }
}
template <bool HALVES>
static __device__ __forceinline__ void weights_of(const uint32_t word[8], float w[8])
{
    if constexpr (HALVES) {
#pragma unroll
        for (int k = 0; k < 4; k++)
            join_two(word[k], word[4 + k], w + 2 * k);
    } else {
#pragma unroll
        for (int k = 0; k < 8; k++)
            w[k] = __uint_as_float(word[k]);
    }
}
template <bool WHOLE, bool HALVES>
static __device__ __forceinline__ void put_weights(const struct gpu_adam8 &a, int64_t i, int have,
                                                   const float w[8])
{
    if constexpr (HALVES) {
        uint32_t high[4], low[4];
#pragma unroll
        for (int k = 0; k < 4; k++)
            split_two(w + 2 * k, &high[k], &low[k]);
        put_words<WHOLE>(a.high + i, have, high);
        put_words<WHOLE>(reinterpret_cast<uint16_t *>(a.low) + i, have, low);
    } else if constexpr (WHOLE) {
        uint32_t word[8];
#pragma unroll
        for (int k = 0; k < 8; k++)
            word[k] = __float_as_uint(w[k]);
        put_four(a.weights + i, word);
        put_four(a.weights + i + 4, word + 4);
    } else {
        eight_store<false>(a.weights + i, have, w);
    }
}

/* ---- a block ---- */

/* Averages of eight numbers, as they lie. */
struct averages {
    uint2 means, squares;
    float mean_scale, square_scale;
};

static __device__ __forceinline__ struct averages take_averages(const struct gpu_adam8 &a,
                                                                int64_t block, int64_t i)
{
    struct averages v;
    v.means = *reinterpret_cast<const uint2 *>(a.means + i);
    v.squares = *reinterpret_cast<const uint2 *>(a.squares + i);
    v.mean_scale = a.mean_scales[block];
    v.square_scale = a.square_scales[block];
    return v;
}

/* Moved on by the gradient. */
static __device__ __forceinline__ void follow(const struct averages &was, const struct factors &f,
                                              const float g[8], float m[8], float v[8])
{
    const float mean_unit = was.mean_scale * f.keep_mean;
    const float square_unit = was.square_scale * f.keep_square;
    mean_cubes(was.means.x, m);
    mean_cubes(was.means.y, m + 4);
    square_cubes(was.squares.x, v);
    square_cubes(was.squares.y, v + 4);
#pragma unroll
    for (int k = 0; k < 8; k++) {
        const float d = g[k] * f.gradient;
        m[k] = fmaf(m[k], mean_unit, f.add_mean * d);
        v[k] = fmaf(f.add_square * d, d, v[k] * square_unit);
    }
}

/* Both averages of eight numbers, as codes. */
static __device__ __forceinline__ void remember(const struct gpu_adam8 &a, int64_t block, int64_t i,
                                                const float m[8], const float v[8])
{
    const float mean_scale = largest(m), square_scale = largest(v);
    const float mean_by = by_of(mean_scale, MEAN_LEVELS);
    const float square_by = by_of(square_scale, SQUARE_LEVELS);
    uint32_t word[8], mean[8], square[8];
    draw(a.seed, i, word);
#pragma unroll
    for (int k = 0; k < 8; k++) {
        mean[k] = mean_code(m[k], mean_by, word[k]);
        square[k] = square_code(v[k], square_by, word[k]);
    }
    __stcs(reinterpret_cast<uint2 *>(a.means + i),
           make_uint2(four_bytes(mean), four_bytes(mean + 4)));
    __stcs(reinterpret_cast<uint2 *>(a.squares + i),
           make_uint2(four_bytes(square), four_bytes(square + 4)));
    if (threadIdx.x % 32 == 0) {
        a.mean_scales[block] = kept_scale(mean_scale);
        a.square_scales[block] = kept_scale(square_scale);
    }
}

/* All loads stand before what is done with the first of them. */
template <typename G, bool WHOLE, bool HALVES>
static __device__ __forceinline__ void step_block(const struct gpu_adam8 &a,
                                                  const struct factors &f, int64_t block, int64_t i)
{
    const int64_t left = a.n - i;
    const int have = WHOLE || left > 8 ? 8 : left < 0 ? 0 : static_cast<int>(left);
    uint32_t word[8];
    float g[8], w[8], m[8], v[8];
    const struct averages was = take_averages(a, block, i);
    take_weights<WHOLE, HALVES>(a, i, have, word);
    take_gradient<WHOLE, G>(a.gradient, i, have, g);
    follow(was, f, g, m, v);
    weights_of<HALVES>(word, w);
#pragma unroll
    for (int k = 0; k < 8; k++) {
        const float by = fmaf(square_root(v[k]), f.root, 1e-8f);
        w[k] = fmaf(f.rate, __fdividef(m[k], by), w[k] * f.decay);
    }
    put_weights<WHOLE, HALVES>(a, i, have, w);
    remember(a, block, i, m, v);
}

/* EIGHTS: weights and gradient begin at multiples of 16 bytes. */
template <typename G, bool EIGHTS, bool HALVES>
static __global__ void __launch_bounds__(32 * WARPS, 4)
    adam8_kernel(const struct gpu_adam8 a, const struct factors f)
{
    const int64_t block = static_cast<int64_t>(blockIdx.x) * WARPS + threadIdx.x / 32;
    const int64_t i = block * GPU_ADAM8_BLOCK + threadIdx.x % 32 * 8;
    if (EIGHTS && (block + 1) * GPU_ADAM8_BLOCK <= a.n)
        step_block<G, true, HALVES>(a, f, block, i);
    else if (block * GPU_ADAM8_BLOCK < a.n)
        step_block<G, false, HALVES>(a, f, block, i);
}

/* ---- launches ---- */

static bool at_sixteens(const void *p)
{
    return reinterpret_cast<uintptr_t>(p) % 16 == 0;
}

template <typename G>
static void launch_for(const struct gpu_adam8 &a, const struct factors &f, cudaStream_t stream)
{
    const unsigned grid = eight_blocks(a.n, GPU_ADAM8_BLOCK * WARPS);
    const bool whole = at_sixteens(a.gradient) && at_sixteens(a.weights) && at_sixteens(a.high) &&
                       at_sixteens(a.low);
    if (a.weights && whole)
        LAUNCH((adam8_kernel<G, true, false>), grid, 32 * WARPS, 0, stream, a, f);
    else if (a.weights)
        LAUNCH((adam8_kernel<G, false, false>), grid, 32 * WARPS, 0, stream, a, f);
    else if (whole)
        LAUNCH((adam8_kernel<G, true, true>), grid, 32 * WARPS, 0, stream, a, f);
    else
        LAUNCH((adam8_kernel<G, false, true>), grid, 32 * WARPS, 0, stream, a, f);
}

static struct factors factors_of(const struct gpu_adam8 *a)
{
    const double step = static_cast<double>(a->step);
    struct factors f = {};
    f.gradient = static_cast<float>(a->scale);
    f.decay = static_cast<float>(1 - a->lr * a->weight_decay);
    f.rate = static_cast<float>(-a->lr / (1 - pow(a->beta1, step)));
    f.root = static_cast<float>(1 / sqrt(1 - pow(a->beta2, step)));
    f.keep_mean = static_cast<float>(a->beta1 / (127.0 * 127 * 127));
    f.add_mean = static_cast<float>(1 - a->beta1);
    f.keep_square = static_cast<float>(a->beta2 / (255.0 * 255 * 255));
    f.add_square = static_cast<float>(1 - a->beta2);
    return f;
}

int gpu_adam8_step(const struct gpu_adam8 *a, void *stream, struct buf *err)
{
    const struct factors f = factors_of(a);
    const cudaStream_t on = static_cast<cudaStream_t>(stream);
    if (a->n > 0 && !a->gradient)
        launch_for<nothing>(*a, f, on);
    else if (a->n > 0 && a->half)
        launch_for<nv_bfloat16>(*a, f, on);
    else if (a->n > 0)
        launch_for<float>(*a, f, on);
    return gpu_check(err, "a step of adamw8bit on the GPU");
}
