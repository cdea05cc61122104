/*
 * tile.cuh: the product of some rows of a matrix with some texts, by one block: what every matrix of
 * a step goes through. The matrix is read once, from memory, 16 bytes a lane and several loads at a
 * time; the texts' rows are small and come from the caches.
 *
 * A tile is MT times 16 rows of W [.., k] and NT times 8 texts. k is dealt out to the block's warps
 * 64 columns at a time, and their sums are added in the order of the warps: the sum's order hangs on
 * k and on the number of warps alone, not on MT, NT or the texts.
 *
 * bfloat16 goes through mma_bf16(), with W as A and the texts as B. A product does not ask in which
 * order k is counted as long as both sides agree, so a lane takes 8 neighbouring values of its row of
 * either side, which are its shares of two multiplications. k must be a multiple of 8 there. float32
 * is multiplied and added plainly, each lane with the same elements of the result.
 * Leaves out: copies ahead, which many texts are worth; see ring.cuh.
 */
#ifndef TILE_CUH
#define TILE_CUH

#include "cuda/view.cuh"

/* The texts: row i is x + (index ? index[i] : i) * k; at least one. */
template <typename T> struct tile_texts {
    const T *x;
    const int32_t *index;
    int count;

    __device__ __forceinline__ const T *row(int i, int k) const
    {
        i = i < count ? i : count - 1; // what is computed for those behind the last is dropped
        return x + static_cast<size_t>(index ? index[i] : i) * k;
    }
};

/* Rows of the matrix: of each 16, where the first is, and how many there are, at least one. */
template <typename T, int MT> struct tile_rows {
    const T *first[MT];
    int count[MT];

    __device__ __forceinline__ const T *row(int m, int i, int k) const
    {
        return first[m] + static_cast<size_t>(i < count[m] ? i : count[m] - 1) * k;
    }
};

/* MT times 16 neighbouring rows of w [n, k], from `from` on. */
template <typename T, int MT>
__device__ __forceinline__ tile_rows<T, MT> rows_from(const T *w, int from, int n, int k)
{
    tile_rows<T, MT> r;
    for (int m = 0; m < MT; m++) {
        const int at = min(from + 16 * m, n - 1);
        r.first[m] = w + static_cast<size_t>(at) * k;
        r.count[m] = min(16, n - at);
    }
    return r;
}

/* Where step s of 32 columns begins for this warp. */
__device__ __forceinline__ int tile_column(int s)
{
    const int warp = threadIdx.x / 32, warps = blockDim.x / 32;
    return ((s / 2) * warps + warp) * 64 + s % 2 * 32;
}

/* Adds this warp's part of the product to c, laid out as gpu.h's mma_bf16() has it. */
template <int MT, int NT>
__device__ __forceinline__ void tile_multiply(float (&c)[MT][NT][4],
                                              const tile_rows<nv_bfloat16, MT> &w,
                                              const tile_texts<nv_bfloat16> &x, int k)
{
    constexpr int U = MT == 1 && NT == 1 ? 4 : 2; // steps whose loads are under way together
    const int lane = threadIdx.x % 32, g = lane / 4, own = lane % 4 * 8;
    const uint4 zero = make_uint4(0, 0, 0, 0);
    const nv_bfloat16 *a_row[MT][2], *b_row[NT];
    for (int m = 0; m < MT; m++)
        for (int h = 0; h < 2; h++)
            a_row[m][h] = w.row(m, g + 8 * h, k) + own;
    for (int n = 0; n < NT; n++)
        b_row[n] = x.row(n * 8 + g, k) + own;
#pragma unroll 1
    for (int s = 0; tile_column(s) < k; s += U) {
        uint4 a[U][MT][2], b[U][NT];
#pragma unroll
        for (int u = 0; u < U; u++) {
            const int at = tile_column(s + u);
            const bool in = at + own < k;
#pragma unroll
            for (int m = 0; m < MT; m++)
                for (int h = 0; h < 2; h++)
                    a[u][m][h] = in ? load_once(a_row[m][h] + at) : zero;
#pragma unroll
            for (int n = 0; n < NT; n++)
                b[u][n] = in ? *reinterpret_cast<const uint4 *>(b_row[n] + at) : zero;
        }
#pragma unroll
        for (int u = 0; u < U; u++)
#pragma unroll
            for (int m = 0; m < MT; m++) {
                const uint4 p = a[u][m][0], q = a[u][m][1];
                const uint32_t first[4] = { p.x, q.x, p.y, q.y },
                               second[4] = { p.z, q.z, p.w, q.w };
#pragma unroll
                for (int n = 0; n < NT; n++) {
                    const uint32_t b0[2] = { b[u][n].x, b[u][n].y },
                                   b1[2] = { b[u][n].z, b[u][n].w };
                    mma_bf16(c[m][n], first, b0);
                    mma_bf16(c[m][n], second, b1);
                }
            }
    }
}

template <int MT, int NT>
__device__ __forceinline__ void tile_multiply(float (&c)[MT][NT][4], const tile_rows<float, MT> &w,
                                              const tile_texts<float> &x, int k)
{
    const int lane = threadIdx.x % 32, g = lane / 4, i = lane % 4 * 2;
#pragma unroll 1
    for (int s = 0; tile_column(s) < k; s++) {
        const int from = tile_column(s), to = min(from + 32, k);
        for (int m = 0; m < MT; m++)
            for (int n = 0; n < NT; n++)
                for (int e = 0; e < 4; e++) {
                    const float *a = w.row(m, g + e / 2 * 8, k), *b = x.row(n * 8 + i + e % 2, k);
                    float sum = c[m][n][e];
                    for (int at = from; at < to; at++)
                        sum = fmaf(a[at], b[at], sum);
                    c[m][n][e] = sum;
                }
    }
}

/* What the tile's sums in shared memory are addressed by; four floats more a text, against
 * conflicts of the banks. */
__host__ __device__ constexpr int tile_stride(int MT)
{
    return MT * 16 + 4;
}

/* Floats of shared memory that a tile's sums take. */
__host__ __device__ constexpr int tile_floats(int MT, int NT, int warps)
{
    return warps * NT * 8 * tile_stride(MT);
}

/*
 * The product by the whole block, into sums (shared, tile_floats()), where tile_at() finds it.
 * Columns behind the last text and rows behind the last are there too, and mean nothing.
 */
template <typename T, int MT, int NT>
__device__ __forceinline__ void tile_product(const tile_rows<T, MT> &w, const tile_texts<T> &x,
                                             int k, float *sums)
{
    constexpr int stride = tile_stride(MT);
    const int lane = threadIdx.x % 32, g = lane / 4, i = lane % 4 * 2;
    float c[MT][NT][4] = {};
    tile_multiply<MT, NT>(c, w, x, k);
    __syncthreads(); // the sums of a product before this one were read
    float *own = sums + threadIdx.x / 32 * (NT * 8 * stride);
    for (int m = 0; m < MT; m++)
        for (int n = 0; n < NT; n++)
            for (int e = 0; e < 4; e++)
                own[(n * 8 + i + e % 2) * stride + m * 16 + g + e / 2 * 8] = c[m][n][e];
    __syncthreads();
}

template <int MT, int NT>
__device__ __forceinline__ float tile_at(const float *sums, int row, int text)
{
    constexpr int stride = tile_stride(MT);
    const int warps = blockDim.x / 32;
    float sum = 0;
    for (int p = 0; p < warps; p++)
        sum += sums[(p * NT * 8 + text) * stride + row];
    return sum;
}

#endif
