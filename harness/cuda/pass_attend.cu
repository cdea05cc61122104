/*
 * pass_attend.cu: norms, and the rotation of queries and keys, over many tokens; see pass.h. They
 * read rows where they lie, within the row of a larger product, and read them once.
 */
#include "cuda/eight.cuh"
#include "cuda/pass.h"

constexpr int ATTEND_THREADS = 256;

/*
 * Blocks of `x` threads a row and `y` rows, which is 1 where x is more than a warp. A thread keeps
 * EIGHTS eights of its row between the sum and what is made with it.
 */
template <typename T, bool WHOLE, int EIGHTS>
static __device__ __forceinline__ void norm_rows(int rows, int d, const void *x, int64_t stride,
                                                 const void *weight, float eps, void *out)
{
    __shared__ float sums[ATTEND_THREADS / 32];
    const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    const int tid = static_cast<int>(threadIdx.x), step = static_cast<int>(blockDim.x) * 8;
    if (row >= rows)
        return;
    const T *from = static_cast<const T *>(x) + row * stride;
    float v[EIGHTS][8], sum = 0;
#pragma unroll
    for (int i = 0; i < EIGHTS; i++) {
        const int c = tid * 8 + i * step;
        if (c < d)
            eight_load<WHOLE>(from + c, d - c, v[i]);
    }
#pragma unroll
    for (int i = 0; i < EIGHTS; i++)
#pragma unroll
        for (int j = 0; j < 8 && tid * 8 + i * step < d; j++)
            sum += v[i][j] * v[i][j];
    sum = eight_warp_sum(sum);
    if (blockDim.x > 32) {
        if (tid % 32 == 0)
            sums[tid / 32] = sum;
        __syncthreads();
        sum = 0;
        for (int i = 0; i < static_cast<int>(blockDim.x) / 32; i++)
            sum += sums[i];
    }
    const float scale = rsqrtf(sum / static_cast<float>(d) + eps);
#pragma unroll
    for (int i = 0; i < EIGHTS; i++) {
        const int c = tid * 8 + i * step;
        float w[8];
        if (c >= d)
            continue;
        eight_load<WHOLE>(static_cast<const T *>(weight) + c, d - c, w);
#pragma unroll
        for (int j = 0; j < 8; j++)
            w[j] *= v[i][j] * scale;
        eight_store<WHOLE>(static_cast<T *>(out) + row * d + c, d - c, w);
    }
}

template <typename T, bool WHOLE>
__global__ void __launch_bounds__(ATTEND_THREADS)
    norm_kernel(int rows, int d, const void *x, int64_t stride, const void *weight, float eps,
                void *out)
{
    norm_rows<T, WHOLE, 1>(rows, d, x, stride, weight, eps, out);
}
/* Of rows that are too long for one eight a thread. */
template <typename T, bool WHOLE>
__global__ void __launch_bounds__(ATTEND_THREADS)
    norm_long_kernel(int rows, int d, const void *x, int64_t stride, const void *weight, float eps,
                     void *out)
{
    norm_rows<T, WHOLE, PASS_NORM / (8 * ATTEND_THREADS)>(rows, d, x, stride, weight, eps, out);
}

int pass_norm(bool half, int rows, int d, const void *x, int64_t stride, const void *weight,
              float eps, void *out, void *stream, struct buf *err)
{
    const bool whole = eights(x, d) && eights(x, stride) && eights(weight, d) && eights(out, d);
    const unsigned all = eight_blocks(d, 8 * 32) * 32;
    const dim3 block(all < ATTEND_THREADS ? all : ATTEND_THREADS, all > 32 ? 1 : 8);
    const unsigned grid = eight_blocks(rows, block.y);
    cudaStream_t s = static_cast<cudaStream_t>(stream);
    if (d < 1 || d > PASS_NORM)
        return fail(err, "a norm of %d values; its kernel takes 1 to %d", d, PASS_NORM);
    if (rows > 0 && d <= 8 * ATTEND_THREADS)
        EIGHT_LAUNCH(norm_kernel, half, whole, grid, block, 0, s, rows, d, x, stride, weight, eps,
                     out);
    else if (rows > 0)
        EIGHT_LAUNCH(norm_long_kernel, half, whole, grid, block, 0, s, rows, d, x, stride, weight,
                     eps, out);
    return gpu_check(err, "a norm on the GPU");
}

/* A block a token, a thread eight pairs of a head's values. */
template <typename T, bool WHOLE>
__global__ void __launch_bounds__(ATTEND_THREADS) rope_kernel(const struct pass_heads r)
{
    const int t = static_cast<int>(blockIdx.x), h = r.D / 2, each = (h + 7) / 8;
    const int at = r.position ? r.position[t] : t, all = (r.heads[0] + r.heads[1]) * each;
    const float *cos = r.cos + static_cast<size_t>(at) * h;
    const float *sin = r.sin + static_cast<size_t>(at) * h;
    for (int i = static_cast<int>(threadIdx.x); i < all; i += static_cast<int>(blockDim.x)) {
        const int head = i / each, c = i % each * 8, keys = head >= r.heads[0], have = h - c;
        const int own = keys ? head - r.heads[0] : head;
        const T *x = static_cast<const T *>(keys ? r.x[1] : r.x[0]) +
                     t * (keys ? r.stride[1] : r.stride[0]) + static_cast<int64_t>(own) * r.D + c;
        T *out = static_cast<T *>(keys ? r.out[1] : r.out[0]) +
                 (static_cast<int64_t>(t) * (keys ? r.heads[1] : r.heads[0]) + own) * r.D + c;
        float a[8], b[8], co[8], si[8], y[8], z[8];
        eight_load<WHOLE>(x, have, a);
        eight_load<WHOLE>(x + h, have, b);
        eight_load<WHOLE>(cos + c, have, co);
        eight_load<WHOLE>(sin + c, have, si);
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const float s = r.back ? -si[j] : si[j];
            y[j] = a[j] * co[j] - b[j] * s;
            z[j] = b[j] * co[j] + a[j] * s;
        }
        eight_store<WHOLE>(out, have, y);
        eight_store<WHOLE>(out + h, have, z);
    }
}

int pass_rope(const struct pass_heads *r, void *stream, struct buf *err)
{
    bool whole = eights(r->cos, r->D / 2) && eights(r->sin, r->D / 2);
    for (int i = 0; i < 2; i++)
        whole = whole && eights(r->x[i], r->stride[i]) && eights(r->out[i], r->D);
    const unsigned threads = eight_blocks((r->heads[0] + r->heads[1]) * ((r->D / 2 + 7) / 8), 32);
    if (r->T > 0)
        EIGHT_LAUNCH(rope_kernel, r->half, whole, static_cast<unsigned>(r->T),
                     threads * 32 < ATTEND_THREADS ? threads * 32 : ATTEND_THREADS, 0,
                     static_cast<cudaStream_t>(stream), *r);
    return gpu_check(err, "the rotation of queries and keys");
}
