/*
 * dense_ring.cu: products of the residual stream's norm with matrices of many rows, in bfloat16 and
 * for more texts than a few; see dense.cu for the others. A text's numbers are the same to the bit.
 *
 * Many texts are as many bytes as a tile of 16 rows has; so with more than 16 of them tiles have 48,
 * which read the texts a third as often.
 */
#include "cuda/kernels.cuh"
#include "cuda/ring.cuh"

/* How far tiles are copied ahead: with less than 17 texts, two blocks a processor; with more of them,
 * where shared memory has room, and where it has little. */
enum { SOME_STEPS = 5, WIDE_STEPS = 3, LITTLE_STEPS = 2 };
enum { STATIC_ROOM = 1 << 10 }; // of shared memory that the kernel has beside the dynamic

template <int MT, int NT> struct norm_job {
    const struct step_view &v;
    const nv_bfloat16 *w, *bias;
    int n;
    float *y;     // [texts, n]
    float *scale; // shared [texts]

    __device__ __forceinline__ bool next(struct walk &at, tile<MT> &t) const
    {
        const int from = at.item * MT * 16;
        if (from >= n)
            return false;
        t.k = v.s.hidden;
        t.rows_from(w, from, n);
        t.x = static_cast<const nv_bfloat16 *>(v.xw) + static_cast<size_t>(at.text) * t.k;
        t.texts = min(NT * 8, v.rows - at.text);
        t.at = at;
        at.text += NT * 8;
        if (at.text >= v.rows)
            at = { at.item + static_cast<int>(gridDim.x), 0 };
        return true;
    }
    /* Four texts of a warp at a time, so that their loads are under way together. */
    __device__ __forceinline__ void meanwhile()
    {
        for (int from = threadIdx.x / 32; from < v.rows; from += 4 * WARPS) {
            float sum[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                sum[j] = norm_sum(v, min(from + j * WARPS, v.rows - 1));
#pragma unroll
            for (int j = 0; j < 4; j++) {
                const float r = norm_scale_of(v, sum[j]);
                if (from + j * WARPS < v.rows && threadIdx.x % 32 == 0)
                    scale[from + j * WARPS] = r;
            }
        }
    }
    __device__ __forceinline__ void done(const tile<MT> &t, int eight, const float *sums)
    {
        for (int i = threadIdx.x; i < MT * 16 * 8; i += THREADS) {
            const int row = i % (MT * 16), of = eight * 8 + i / (MT * 16), text = t.at.text + of;
            const int column = t.at.item * MT * 16 + row;
            if (column >= n || of >= t.texts)
                continue;
            y[static_cast<size_t>(text) * n + column] =
                normed(tile_at<MT, 1>(sums, row, of % 8), scale[text], bias, column);
        }
    }
};

template <int MT, int NT, int S>
__global__ void __launch_bounds__(THREADS, MT == 1 ? 2 : 1)
    norm_ring_kernel(struct step_view v, const nv_bfloat16 *w, const nv_bfloat16 *bias, int n,
                     float *y)
{
    DYNAMIC_SHARED(unsigned char, shared);
    __shared__ float scale[STEP_TEXTS];
    struct norm_job<MT, NT> job = {
        v, w, bias, n, y, scale
    };
    ring_all<MT, NT, S>(job, { static_cast<int>(blockIdx.x), 0 }, shared);
}

template <int MT, int NT, int S>
static void norm_ring(const struct launch &l, const struct step_view &v, const void *w,
                      const void *bias, int n, float *y)
{
    const int tiles = (n + MT * 16 - 1) / (MT * 16), most = (MT == 1 ? 2 : 1) * l.processors;
    CHAIN(l, (norm_ring_kernel<MT, NT, S>), tiles < most ? tiles : most, THREADS,
          ring_bytes(MT, NT, S), v, static_cast<const nv_bfloat16 *>(w),
          static_cast<const nv_bfloat16 *>(bias), n, y);
}

void launch_norm_product(const struct launch &l, const struct step_view &v, const void *w,
                         const void *bias, int n, float *y)
{
    if (v.rows <= 16)
        norm_ring<1, 2, SOME_STEPS>(l, v, w, bias, n, y);
    else if (ring_bytes(3, 4, WIDE_STEPS) + STATIC_ROOM <= l.shared)
        norm_ring<3, 4, WIDE_STEPS>(l, v, w, bias, n, y);
    else
        norm_ring<3, 4, LITTLE_STEPS>(l, v, w, bias, n, y);
}
