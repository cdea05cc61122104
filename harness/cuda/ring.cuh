/*
 * ring.cuh: the products of tile.cuh for more texts than a few, in bfloat16, one tile behind the other
 * and each value copied ahead into shared memory: where one tile after the other waits for what was
 * asked of memory, with many texts, this is faster; with few texts tile.cuh is.
 *
 * A tile is MT times 16 rows of k columns, by up to NT times 8 texts. Sums have tile.cuh's order for a
 * block of THREADS, to the bit: a text's numbers do not say which of the two made them.
 *
 * What a block does is a job J, a list of tiles:
 *     bool next(struct walk &w, struct tile<MT> &t)  the tile at w, and w goes on; false: no more
 *     void meanwhile()       all threads; the first copies are under way
 *     void done(t, n, sums)  all threads, whole warps: text i of the tile's n-th eight is at
 *                            tile_at<MT, 1>(sums, row, i), where it has that text and row
 * It lists all of its tiles before the kernel before it has ended.
 *
 * Each thread copies its own values S steps of 32 columns ahead, from tile to tile without a pause,
 * those of the first weights before the kernel before has ended. k must be a multiple of 8, and rows
 * begin at multiples of 16 bytes.
 */
#ifndef RING_CUH
#define RING_CUH

#include "cuda/ahead.cuh"
#include "cuda/tile.cuh"

/* Where a block is in its job: the tile, and the first of the texts that are its turn. */
struct walk {
    int item, text;
};

/* Rows of the matrix: of each eight, where the first is and how many there are, at least one. Texts: x
 * [texts, k], at least one. */
template <int MT> struct tile {
    const nv_bfloat16 *first[2 * MT];
    int have[2 * MT];
    int k;
    const nv_bfloat16 *x;
    int texts;
    struct walk at;

    __device__ __forceinline__ const nv_bfloat16 *row(int eight, int i) const
    {
        return first[eight] + static_cast<size_t>(i < have[eight] ? i : have[eight] - 1) * k;
    }
    __device__ __forceinline__ int text(int i) const
    {
        return i < texts ? i : texts - 1; // what is computed for those behind the last is dropped
    }
    /* Neighbouring rows of w [n, k], from `from` on. */
    __device__ __forceinline__ void rows_from(const nv_bfloat16 *w, int from, int n)
    {
        for (int j = 0; j < 2 * MT; j++) {
            const int begin = min(from + 8 * j, n - 1);
            first[j] = w + static_cast<size_t>(begin) * k;
            have[j] = min(8, n - begin);
        }
    }
};

/* The steps of all tiles of a job, one behind the other, as their copies are asked for. */
template <int MT, int NT, typename J> struct supply {
    const nv_bfloat16 *a[2 * MT], *x;
    int row[NT]; // of x
    int k, texts, step;
    bool more;
    struct walk at;

    /* To the next tile of which this warp has columns. */
    __device__ __forceinline__ void open(const J &job)
    {
        const int lane = threadIdx.x % 32, g = lane / 4, own = lane % 4 * 8;
        tile<MT> t;
        step = 0;
        do
            more = job.next(at, t);
        while (more && tile_block().column(0) >= t.k);
        if (!more)
            return;
        k = t.k;
        texts = t.texts;
        x = t.x + own;
#pragma unroll
        for (int j = 0; j < 2 * MT; j++)
            a[j] = t.row(j, g) + own;
#pragma unroll
        for (int n = 0; n < NT; n++)
            if (n * 8 < texts)
                row[n] = t.text(n * 8 + g);
    }
    __device__ __forceinline__ void advance(const J &job)
    {
        if (tile_block().column(++step) >= k)
            open(job);
    }
    /* slots: of the stage, this thread's */
    __device__ __forceinline__ void weights(struct ahead &copies, uint4 *slots) const
    {
        const int column = tile_block().column(step), own = threadIdx.x % 4 * 8;
        const bool in = column + own < k;
#pragma unroll
        for (int j = 0; j < 2 * MT; j++)
            copies.copy(slots + j * THREADS, in ? a[j] + column : a[j] - own, in);
    }
    __device__ __forceinline__ void values(struct ahead &copies, uint4 *slots) const
    {
        const int column = tile_block().column(step), own = threadIdx.x % 4 * 8;
        const bool in = column + own < k;
#pragma unroll
        for (int n = 0; n < NT; n++)
            if (n * 8 < texts) {
                const nv_bfloat16 *from = x + static_cast<size_t>(row[n]) * k;
                copies.copy(slots + (2 * MT + n) * THREADS, in ? from + column : from - own, in);
            }
    }
};

/* Adds one step's product to c, laid out as gpu.h's mma_bf16() has it. */
template <int MT, int NT>
__device__ __forceinline__ void ring_step(float (&c)[MT][NT][4], const uint4 *slots, int texts)
{
    uint4 a[2 * MT], b[NT];
#pragma unroll
    for (int j = 0; j < 2 * MT; j++)
        a[j] = slots[j * THREADS];
#pragma unroll
    for (int n = 0; n < NT; n++)
        if (n * 8 < texts)
            b[n] = slots[(2 * MT + n) * THREADS];
#pragma unroll
    for (int m = 0; m < MT; m++) {
        const uint4 p = a[2 * m], q = a[2 * m + 1];
        const uint32_t first[4] = { p.x, q.x, p.y, q.y }, second[4] = { p.z, q.z, p.w, q.w };
#pragma unroll
        for (int n = 0; n < NT; n++)
            if (n * 8 < texts) {
                const uint32_t b0[2] = { b[n].x, b[n].y }, b1[2] = { b[n].z, b[n].w };
                mma_bf16(c[m][n], first, b0);
                mma_bf16(c[m][n], second, b1);
            }
    }
}

/* Puts the tile's sums, a text's eight at a time, where the job finds them. */
template <int MT, int NT, typename J>
__device__ __forceinline__ void ring_done(const float (&c)[MT][NT][4], const tile<MT> &t, J &job,
                                          float *sums)
{
    const int lane = threadIdx.x % 32, g = lane / 4, i = lane % 4 * 2;
    float *own = sums + threadIdx.x / 32 * (8 * tile_stride(MT));
#pragma unroll
    for (int n = 0; n < NT; n++) {
        if (n * 8 >= t.texts)
            break;
        __syncthreads(); // the sums before these were read
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                own[(i + e % 2) * tile_stride(MT) + m * 16 + g + e / 2 * 8] = c[m][n][e];
        __syncthreads();
        job.done(t, n, sums);
    }
}

/* Shared memory of ring_all(): the copies of S steps, which come first, and the sums. */
constexpr size_t ring_bytes(int MT, int NT, int S)
{
    return static_cast<size_t>(S * (2 * MT + NT) * THREADS * 16) +
           static_cast<size_t>(tile_floats(MT, 1, WARPS)) * sizeof(float);
}

/* The whole job, by a block of THREADS; begins where `from` says. Calls follow(). */
template <int MT, int NT, int S, typename J>
__device__ __forceinline__ void ring_all(J &job, struct walk from, void *shared)
{
    constexpr int STAGE = (2 * MT + NT) * THREADS;
    uint4 *ring = static_cast<uint4 *>(shared) + threadIdx.x;
    float *sums = reinterpret_cast<float *>(static_cast<uint4 *>(shared) + S * STAGE);
    struct ahead copies;
    struct supply<MT, NT, J> s;
    int stage = 0;
    s.at = from;
    s.open(job);
    for (int i = 0; i < S && s.more; i++, s.advance(job))
        s.weights(copies, ring + i * STAGE);
    follow();
    s.at = from;
    s.open(job);
    for (int i = 0; i < S; i++) {
        if (s.more) {
            s.values(copies, ring + i * STAGE);
            s.advance(job);
        }
        copies.commit();
    }
    job.meanwhile();
    tile<MT> t;
    while (job.next(from, t)) {
        float c[MT][NT][4] = {};
#pragma unroll 1
        for (int i = 0; tile_block().column(i) < t.k; i++) {
            uint4 *slots = ring + stage * STAGE;
            copies.wait<S - 1>();
            ring_step<MT, NT>(c, slots, t.texts);
            if (s.more) {
                s.weights(copies, slots);
                s.values(copies, slots);
                s.advance(job);
            }
            copies.commit();
            stage = stage + 1 < S ? stage + 1 : 0;
        }
        ring_done<MT, NT>(c, t, job, sums);
    }
}

#endif
