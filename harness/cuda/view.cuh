/*
 * view.cuh: what the kernels of a step share: where everything is in device memory, numbers of both
 * formats, and sums whose order never changes.
 *
 * The numbers of a text do not hang on the other texts of the batch, nor on their number: every sum
 * has one order that only the model's shape and the decoder's capacity decide. No float atomics.
 *
 * Between two kernels the residual stream x stands as float32, with x * w of the next norm beside it,
 * in the weights' format, and the sums of x's squares over each SQUARES columns: whoever multiplies
 * the norm's output multiplies x * w and scales the product. So no kernel is needed for a norm.
 * Leaves out: memory, see step.cu.
 */
#ifndef VIEW_CUH
#define VIEW_CUH

#include "cuda/chain.cuh"
#include "cuda/step.h"
#include "routers/cuda.h"

enum {
    THREADS = 256, // of a block, where nothing else is said
    WARPS = THREADS / 32,
    SQUARES = 16,
    CHUNKS = 32, // parts of a text's logits
    FEW_TEXTS = 8,
    SMALL_UNIT = 64,
    SMALL_UNITS = 16, // so many of them, and the next unit is twice as large
    RING_ROWS = 4096, // products of matrices with fewer rows have other blocks
};

/* What the host writes before a step. A text without a slot (-1) is an idle row. */
struct step_input {
    int32_t id[STEP_TEXTS], slot[STEP_TEXTS], position[STEP_TEXTS];
};

/* What a step leaves, one block of memory: the arrays lie behind it, `rows` and not STEP_TEXTS. */
struct step_output {
    int32_t *bad;   // [1]: 1 + the first layer with a score that is NaN or infinite; else 0
    int32_t *next;  // [rows]: the likeliest token, of equal ones the smallest
    float *nll;     // [rows]: its loss
    float *entropy; // [rows]
    float *scores;  // [layers, rows, N]: of the experts that were taken; -1 where they were not
};

/* Which rows of the experts' products are whose, made anew in each layer. */
struct step_pairs {
    int32_t *active; // [1 + N]: their number, then the experts that have a pair, ascending
    int32_t *begin;  // [N + 1]: by the place in `active`, its rows
    int32_t *text;   // [rows * N]: of each row
    uint32_t *taken; // [rows, words of 32 experts]
    float *weight;   // [rows, N]: of a text's pairs, experts ascending
};

/* How a slot's text is routed. */
struct step_router {
    struct gpu_router router;
    unsigned char *state;  // of the first layer; NULL: the router keeps nothing
    size_t stride;         // to the next layer's
    const uint16_t *maxes; // [layers], in the place of router.max; NULL: it holds in all
};

struct step_view {
    struct step_shape s;
    int rows;        // texts that the launch is for
    int unit, units; // of attention: the largest, see unit_of(), and the most that a text has
    int capacity;
    int tiles; // of SQUARES columns that x has

    const struct step_input *in;
    struct step_output out;
    struct step_pairs pairs;

    float *x;          // [rows, d]
    void *xw;          // [rows, d]
    float *squares;    // [rows, tiles]
    float *scale;      // [rows]: of the norm before the experts
    float *qkv;        // [rows, q + 2 kv]
    float *parts;      // [rows, H, units, D + 2]: sums of values, then the largest and the sum
    void *attended;    // [rows, H*D]
    float *logits;     // [rows, N + 1]: the router's, and behind them the shared expert's gate
    void *act;         // [rows * N, F]
    void *shared_act;  // [rows, shared F]
    float *vocabulary; // [rows, V]
    float *chunk;      // [rows, CHUNKS, 4]
    unsigned *arrived; // counters, zero between kernels: [rows * H + rows + 1]

    const struct step_router *routers; // [slots]
};

/* Every matrix goes through tile.cuh; else those that many texts share go through ring.cuh. */
__host__ __device__ __forceinline__ bool is_direct(const struct step_shape &s, int rows)
{
    return !s.half || rows <= FEW_TEXTS;
}

/*
 * Positions that attention gathers together, for a text with so many tokens before: the more the
 * longer the text is, so that a short one is shared by several blocks and a long one has few parts to
 * put together.
 */
__host__ __device__ __forceinline__ int unit_of(const struct step_view &v, int position)
{
    int unit = SMALL_UNIT;
    while (unit < v.unit && position >= unit * SMALL_UNITS)
        unit *= 2;
    return unit < v.unit ? unit : v.unit;
}
/* Of a text of up to `capacity` tokens, whose largest unit is `unit`. */
__host__ __device__ __forceinline__ int most_units(int capacity, int unit)
{
    const int few = (capacity + SMALL_UNIT - 1) / SMALL_UNIT, many = (capacity + unit - 1) / unit;
    const int some = few < SMALL_UNITS ? few : SMALL_UNITS;
    return many > some ? many : some;
}

/* ---- numbers ---- */

__device__ __forceinline__ float number(float x)
{
    return x;
}
__device__ __forceinline__ float number(nv_bfloat16 x)
{
    return __bfloat162float(x);
}
__device__ __forceinline__ void put(float *p, float x)
{
    *p = x;
}
__device__ __forceinline__ void put(nv_bfloat16 *p, float x)
{
    *p = __float2bfloat16(x);
}
/* As a value of T would be kept. */
template <typename T> __device__ __forceinline__ float kept(float x)
{
    T t;
    put(&t, x);
    return number(t);
}

/* Eight values from p on, of which `have` are there; zeros for the rest. */
__device__ __forceinline__ void load8(const float *p, int have, float v[8])
{
    if (have >= 8 && reinterpret_cast<uintptr_t>(p) % 16 == 0) {
        const float4 a = *reinterpret_cast<const float4 *>(p);
        const float4 b = *reinterpret_cast<const float4 *>(p + 4);
        v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w;
        v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
        return;
    }
    for (int i = 0; i < 8; i++)
        v[i] = i < have ? p[i] : 0;
}
__device__ __forceinline__ float low_half(uint32_t x)
{
    return __uint_as_float(x << 16);
}
__device__ __forceinline__ float high_half(uint32_t x)
{
    return __uint_as_float(x & 0xffff0000u);
}
__device__ __forceinline__ void load8(const nv_bfloat16 *p, int have, float v[8])
{
    if (have >= 8 && reinterpret_cast<uintptr_t>(p) % 16 == 0) {
        const uint4 a = *reinterpret_cast<const uint4 *>(p);
        v[0] = low_half(a.x), v[1] = high_half(a.x), v[2] = low_half(a.y), v[3] = high_half(a.y);
        v[4] = low_half(a.z), v[5] = high_half(a.z), v[6] = low_half(a.w), v[7] = high_half(a.w);
        return;
    }
    for (int i = 0; i < 8; i++)
        v[i] = i < have ? number(p[i]) : 0;
}

/* ---- sums ---- */

/* Of `width` neighbouring lanes, a power of two; all of them get it. */
__device__ __forceinline__ float lanes_sum(float x, int width)
{
    for (int i = width / 2; i > 0; i /= 2)
        x += __shfl_xor_sync(~0u, x, i, width);
    return x;
}
__device__ __forceinline__ float lanes_max(float x, int width)
{
    for (int i = width / 2; i > 0; i /= 2)
        x = fmaxf(x, __shfl_xor_sync(~0u, x, i, width));
    return x;
}

/* Of all threads, by way of shared [WARPS]; all of them get it. */
__device__ __forceinline__ float block_sum(float x, float *shared)
{
    x = lanes_sum(x, 32);
    __syncthreads();
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = x;
    __syncthreads();
    x = 0;
    for (int i = 0; i < WARPS; i++)
        x += shared[i];
    return x;
}

/* The scale of a text's norm, by a whole warp: a lane's share of the sum, and what comes of it. */
__device__ __forceinline__ float norm_sum(const struct step_view &v, int text)
{
    float sum = 0;
#pragma unroll 4
    for (int i = threadIdx.x % 32; i < v.tiles; i += 32)
        sum += v.squares[static_cast<size_t>(text) * v.tiles + i];
    return sum;
}
__device__ __forceinline__ float norm_scale_of(const struct step_view &v, float sum)
{
    return rsqrtf(lanes_sum(sum, 32) / v.s.hidden + v.s.eps);
}
__device__ __forceinline__ float norm_scale(const struct step_view &v, int text)
{
    return norm_scale_of(v, norm_sum(v, text));
}

/* What a text's shared expert counts. */
__device__ __forceinline__ float shared_weight(const struct step_view &v, int text)
{
    const int N = v.s.experts;
    return 1 / (1 + expf(-v.logits[static_cast<size_t>(text) * (N + 1) + N]));
}

/* A product with x * w, as one with the norm's output. bias NULL: none */
template <typename T>
__device__ __forceinline__ float normed(float sum, float scale, const T *bias, int column)
{
    return bias ? fmaf(sum, scale, number(bias[column])) : sum * scale;
}

/* x of one column, by 16 neighbouring lanes that have one tile's; `weight`: the column's, of the norm
 * that follows */
template <typename T>
__device__ __forceinline__ void put_x(const struct step_view &v, int text, int column, float x,
                                      float weight)
{
    const bool in = column < v.s.hidden;
    const size_t at = static_cast<size_t>(text) * v.s.hidden + column;
    const float sum = lanes_sum(in ? __fmul_rn(x, x) : 0, SQUARES);
    if (!in)
        return;
    v.x[at] = x;
    put(static_cast<T *>(v.xw) + at, x * weight);
    if (column % SQUARES == 0)
        v.squares[static_cast<size_t>(text) * v.tiles + column / SQUARES] = sum;
}

#endif
