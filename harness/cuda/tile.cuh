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

/* Rows of the matrix: of each eight, where the first is, and how many there are, at least one. */
template <typename T, int MT> struct tile_rows {
    const T *first[2 * MT];
    int count[2 * MT];

    __device__ __forceinline__ const T *row(int eight, int i, int k) const
    {
        return first[eight] + static_cast<size_t>(i < count[eight] ? i : count[eight] - 1) * k;
    }
    /* Eights of neighbouring rows of w [n, k], from row `from` on. */
    __device__ __forceinline__ void put(int eight, int eights, const T *w, int from, int n, int k)
    {
        for (int e = 0; e < eights; e++) {
            const int at = min(from + 8 * e, n - 1);
            first[eight + e] = w + static_cast<size_t>(at) * k;
            count[eight + e] = min(8, n - at);
        }
    }
};

/* MT times 16 neighbouring rows of w [n, k], from `from` on. */
template <typename T, int MT>
__device__ __forceinline__ tile_rows<T, MT> rows_from(const T *w, int from, int n, int k)
{
    tile_rows<T, MT> r;
    r.put(0, 2 * MT, w, from, n, k);
    return r;
}

/* Which of the warps that share a tile this one is. */
struct tile_warp {
    int warp, warps;

    /* Where its step s of 32 columns begins. */
    __device__ __forceinline__ int column(int s) const
    {
        return ((s / 2) * warps + warp) * 64 + s % 2 * 32;
    }
};
/* Of all of its block. */
__device__ __forceinline__ struct tile_warp tile_block()
{
    return { static_cast<int>(threadIdx.x / 32), static_cast<int>(blockDim.x / 32) };
}

/* A warp's part of the matrix, of which the first loads are under way from open() on. */
template <typename T, int MT, int NT> struct tile_weights;

template <int MT, int NT> struct tile_weights<nv_bfloat16, MT, NT> {
    static constexpr int U = MT == 1 && NT == 1 ? 4 : 2; // steps whose loads are under way together
    const nv_bfloat16 *row[2 * MT];
    uint4 a[U][2 * MT];

    __device__ __forceinline__ void load(int s, int k, const struct tile_warp &of)
    {
        const int own = threadIdx.x % 4 * 8;
#pragma unroll
        for (int u = 0; u < U; u++) {
            const int at = of.column(s + u);
#pragma unroll
            for (int j = 0; j < 2 * MT; j++)
                a[u][j] = at + own < k ? load_once(row[j] + at) : make_uint4(0, 0, 0, 0);
        }
    }
    __device__ __forceinline__ void open(const tile_rows<nv_bfloat16, MT> &w, int k,
                                         const struct tile_warp &of)
    {
#pragma unroll
        for (int j = 0; j < 2 * MT; j++)
            row[j] = w.row(j, threadIdx.x % 32 / 4, k) + threadIdx.x % 4 * 8;
        load(0, k, of);
    }
};

template <int MT, int NT> struct tile_weights<float, MT, NT> {
    tile_rows<float, MT> rows;

    __device__ __forceinline__ void open(const tile_rows<float, MT> &w, int,
                                         const struct tile_warp &)
    {
        rows = w;
    }
};

/* 32 columns more. */
template <int MT, int NT>
__device__ __forceinline__ void tile_step(float (&c)[MT][NT][4], const uint4 (&a)[2 * MT],
                                          const uint4 (&b)[NT])
{
#pragma unroll
    for (int m = 0; m < MT; m++) {
        const uint4 p = a[2 * m], q = a[2 * m + 1];
        const uint32_t first[4] = { p.x, q.x, p.y, q.y }, second[4] = { p.z, q.z, p.w, q.w };
#pragma unroll
        for (int n = 0; n < NT; n++) {
            const uint32_t b0[2] = { b[n].x, b[n].y }, b1[2] = { b[n].z, b[n].w };
            mma_bf16(c[m][n], first, b0);
            mma_bf16(c[m][n], second, b1);
        }
    }
}

/* Adds this warp's part of the product to c, laid out as gpu.h's mma_bf16() has it. */
template <int MT, int NT>
__device__ __forceinline__ void
tile_multiply(float (&c)[MT][NT][4], tile_weights<nv_bfloat16, MT, NT> &w,
              const tile_texts<nv_bfloat16> &x, int k, const struct tile_warp &of)
{
    constexpr int U = tile_weights<nv_bfloat16, MT, NT>::U;
    const int g = threadIdx.x % 32 / 4, own = threadIdx.x % 4 * 8;
    const nv_bfloat16 *b_row[NT];
    for (int n = 0; n < NT; n++)
        b_row[n] = x.row(n * 8 + g, k) + own;
#pragma unroll 1
    for (int s = 0; of.column(s) < k;) {
        uint4 b[U][NT];
#pragma unroll
        for (int u = 0; u < U; u++) {
            const int at = of.column(s + u);
#pragma unroll
            for (int n = 0; n < NT; n++)
                b[u][n] = at + own < k ? *reinterpret_cast<const uint4 *>(b_row[n] + at)
                                       : make_uint4(0, 0, 0, 0);
        }
#pragma unroll
        for (int u = 0; u < U; u++)
            tile_step<MT, NT>(c, w.a[u], b[u]);
        s += U;
        if (of.column(s) < k)
            w.load(s, k, of);
    }
}

template <int MT, int NT>
__device__ __forceinline__ void
tile_multiply(float (&c)[MT][NT][4], const tile_weights<float, MT, NT> &w,
              const tile_texts<float> &x, int k, const struct tile_warp &of)
{
    const int lane = threadIdx.x % 32, g = lane / 4, i = lane % 4 * 2;
#pragma unroll 1
    for (int s = 0; of.column(s) < k; s++) {
        const int from = of.column(s), to = min(from + 32, k);
        for (int m = 0; m < MT; m++)
            for (int n = 0; n < NT; n++)
                for (int e = 0; e < 4; e++) {
                    const float *a = w.rows.row(2 * m + e / 2, g, k),
                                *b = x.row(n * 8 + i + e % 2, k);
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

/* A warp's part, into where tile_at() finds it; barriers are the caller's. sums: tile_floats() */
template <int MT, int NT>
__device__ __forceinline__ void tile_put(const float (&c)[MT][NT][4], float *sums, int warp)
{
    constexpr int stride = tile_stride(MT);
    const int lane = threadIdx.x % 32, g = lane / 4, i = lane % 4 * 2;
    float *own = sums + warp * (NT * 8 * stride);
    for (int m = 0; m < MT; m++)
        for (int n = 0; n < NT; n++)
            for (int e = 0; e < 4; e++)
                own[(n * 8 + i + e % 2) * stride + m * 16 + g + e / 2 * 8] = c[m][n][e];
}

/*
 * The product by the whole block, into sums (shared, tile_floats()), where tile_at() finds it.
 * Columns behind the last text and rows behind the last are there too, and mean nothing.
 */
template <typename T, int MT, int NT>
__device__ __forceinline__ void tile_product(tile_weights<T, MT, NT> &w, const tile_texts<T> &x,
                                             int k, float *sums)
{
    const struct tile_warp own = tile_block();
    float c[MT][NT][4] = {};
    tile_multiply<MT, NT>(c, w, x, k, own);
    __syncthreads(); // the sums of a product before this one were read
    tile_put<MT, NT>(c, sums, own.warp);
    __syncthreads();
}

/* The sum of all warps. */
template <int MT, int NT>
__device__ __forceinline__ float tile_at(const float *sums, int row, int text,
                                         int warps = blockDim.x / 32)
{
    constexpr int stride = tile_stride(MT);
    float sum = 0;
    for (int p = 0; p < warps; p++)
        sum += sums[(p * NT * 8 + text) * stride + row];
    return sum;
}

#endif
