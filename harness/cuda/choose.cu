/*
 * choose.cu: the router's scores of every text, the experts that it takes, and the rows that the
 * experts' products are made of.
 *
 * Eight experts' logits a block, a warp each, in float32. The block of a text that ends last routes
 * it; the one that ends last of all orders the pairs by expert.
 */
#include "cuda/kernels.cuh"
#include "routers/cuda.cuh"

enum { MOST_EXPERTS = STEP_EXPERTS, WORDS = MOST_EXPERTS / 32 };

static __device__ __forceinline__ int words_of(int N)
{
    return (N + 31) / 32;
}

/* The logit of one expert, by a warp. */
template <typename T>
__device__ __forceinline__ float logit(const struct step_view &v, int text, const T *row,
                                       const T *norm)
{
    const int d = v.s.hidden;
    const float *x = v.x + static_cast<size_t>(text) * d;
    float sum = 0;
#pragma unroll 4
    for (int at = threadIdx.x % 32 * 8; at < d; at += 256) {
        float a[8], b[8], c[8];
        load8(row + at, d - at, a);
        load8(norm + at, d - at, b);
        load8(x + at, d - at, c);
        for (int i = 0; i < 8; i++)
            sum = fmaf(a[i], c[i] * b[i], sum);
    }
    return lanes_sum(sum, 32) * norm_scale(v, text);
}

/* Softmax of the text's logits, into shared scores [N]; false: one is NaN or infinite. */
static __device__ bool softmax(const struct step_view &v, int text, float *scores, float *shared)
{
    const int N = v.s.experts;
    const float *logits = v.logits + static_cast<size_t>(text) * (N + 1);
    float most = -INFINITY, sum = 0;
    bool finite = true;
    for (int e = threadIdx.x; e < N; e += THREADS) {
        scores[e] = __ldcg(logits + e);
        finite = finite && scores[e] * 0 == 0;
        most = fmaxf(most, scores[e]);
    }
    most = lanes_max(most, 32);
    if (threadIdx.x % 32 == 0)
        shared[threadIdx.x / 32] = most;
    finite = __syncthreads_and(finite);
    for (int i = 0; i < WARPS; i++)
        most = fmaxf(most, shared[i]);
    for (int e = threadIdx.x; e < N; e += THREADS)
        sum += scores[e] = expf(scores[e] - most);
    sum = block_sum(sum, shared);
    for (int e = threadIdx.x; e < N; e += THREADS)
        scores[e] = finite ? scores[e] / sum : 0;
    __syncthreads();
    return finite;
}

/* The bits of what was taken, in shared and for the grouping; all threads. taken NULL: nothing. */
static __device__ void put_bits(const struct step_view &v, int text, const uint8_t *taken,
                                uint32_t *bits)
{
    const int N = v.s.experts, words = words_of(N), lane = threadIdx.x % 32;
    for (int w = threadIdx.x / 32; w < words; w += WARPS) {
        const int e = w * 32 + lane;
        const uint32_t word = __ballot_sync(~0u, taken && e < N && taken[e]);
        if (lane == 0) {
            bits[w] = word;
            v.pairs.taken[text * words + w] = word;
        }
    }
    __syncthreads();
}

/* How many of the experts before e are in bits. */
static __device__ __forceinline__ int rank_of(const uint32_t *bits, int e)
{
    int n = __popc(bits[e / 32] & ((1u << e % 32) - 1));
    for (int w = 0; w < e / 32; w++)
        n += __popc(bits[w]);
    return n;
}

/* Scores and weights of the pairs that a text has. */
static __device__ void put_weights(const struct step_view &v, int text, int layer,
                                   const float *scores, const uint32_t *bits, float *shared)
{
    const int N = v.s.experts;
    float *out = v.out.scores + (static_cast<size_t>(layer) * v.rows + text) * N, sum = 0;
    int count = 0;
    for (int w = 0; w < words_of(N); w++)
        count += __popc(bits[w]);
    for (int e = threadIdx.x; e < N; e += THREADS)
        sum += bits[e / 32] >> e % 32 & 1 ? scores[e] : 0;
    sum = v.s.normalise ? block_sum(sum, shared) : 1;
    for (int e = threadIdx.x; e < N; e += THREADS) {
        const bool taken = bits[e / 32] >> e % 32 & 1;
        out[e] = taken ? scores[e] : -1;
        if (taken)
            v.pairs.weight[text * N + rank_of(bits, e)] = scores[e] / sum;
    }
    if (threadIdx.x == 0)
        v.pairs.count[text] = count;
}

/* Routes a text, by the block that has seen all of its logits. r: of its slot, not of an idle row;
 * scratch: of route_token() */
static __device__ void route_text(const struct step_view &v, int text, int layer, int slot,
                                  const struct step_router &r, const struct route_ahead &ahead,
                                  void *scratch)
{
    __shared__ float scores[MOST_EXPERTS], sums[WARPS];
    __shared__ uint8_t taken[MOST_EXPERTS];
    __shared__ uint32_t bits[WORDS];
    if (slot < 0) {
        put_bits(v, text, nullptr, bits);
        if (threadIdx.x == 0)
            v.pairs.count[text] = 0;
        return;
    }
    if (!softmax(v, text, scores, sums) && threadIdx.x == 0)
        atomicCAS(v.out.bad, 0, layer + 1);
    route_token(r.router, r.state ? r.state + layer * r.stride : nullptr, ahead, scores, taken,
                scratch);
    put_bits(v, text, taken, bits);
    put_weights(v, text, layer, scores, bits, sums);
}

/* By the first warp: where each expert's rows begin, and its place among those that have some. */
static __device__ void place_experts(const struct step_view &v, const int *count, int *begin)
{
    const int N = v.s.experts, lane = threadIdx.x;
    int rows = 0, active = 0;
    for (int from = 0; from < N; from += 32) {
        const int e = from + lane, n = e < N ? count[e] : 0;
        int upto = n;
        for (int i = 1; i < 32; i *= 2) {
            const int before = __shfl_up_sync(~0u, upto, i);
            upto += lane >= i ? before : 0;
        }
        const uint32_t some = __ballot_sync(~0u, n > 0);
        const int place = active + __popc(some & ((1u << lane) - 1));
        if (e < N)
            begin[e] = rows + upto - n;
        if (n > 0) {
            v.pairs.active[1 + place] = e;
            v.pairs.begin[place] = rows + upto - n;
        }
        rows += __shfl_sync(~0u, upto, 31);
        active += __popc(some);
    }
    if (lane == 0) {
        v.pairs.active[0] = active;
        v.pairs.begin[active] = rows;
    }
}

/* Orders all texts' pairs by expert, then by text. bits: [rows, words], shared */
static __device__ void order_pairs(const struct step_view &v, uint32_t *bits)
{
    __shared__ int count[MOST_EXPERTS], begin[MOST_EXPERTS];
    const int N = v.s.experts, words = words_of(N);
    for (int i = threadIdx.x; i < v.rows * words; i += THREADS)
        bits[i] = __ldcg(v.pairs.taken + i);
    __syncthreads();
    for (int e = threadIdx.x; e < N; e += THREADS) {
        int n = 0;
        for (int b = 0; b < v.rows; b++)
            n += bits[b * words + e / 32] >> e % 32 & 1;
        count[e] = n;
    }
    __syncthreads();
    if (threadIdx.x < 32)
        place_experts(v, count, begin);
    __syncthreads();
    for (int e = threadIdx.x; e < N; e += THREADS) {
        int row = begin[e];
        for (int b = 0; count[e] && b < v.rows; b++) {
            if (!(bits[b * words + e / 32] >> e % 32 & 1))
                continue;
            v.pairs.text[row] = b;
            v.pairs.row[b * N + rank_of(bits + b * words, e)] = row;
            row++;
        }
    }
}

/* Blocks: eights of the experts and the shared gate, texts. */
template <typename T>
__global__ void __launch_bounds__(THREADS)
    choose_kernel(struct step_view v, const T *router, const T *shared_gate, const T *norm,
                  int layer)
{
    DYNAMIC_SHARED(unsigned char, shared);
    follow();
    const int text = blockIdx.y, N = v.s.experts, d = v.s.hidden, slot = v.in->slot[text];
    const int e = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32;
    struct step_router r = {};
    struct route_ahead ahead = {};
    if (slot >= 0)
        r = v.routers[slot];
    if (slot >= 0 && e < N + (shared_gate ? 1 : 0)) {
        const T *row = e < N ? router + static_cast<size_t>(e) * d : shared_gate;
        const float x = logit<T>(v, text, row, norm);
        if (lane == 0)
            v.logits[static_cast<size_t>(text) * (N + 1) + e] = x;
    }
    if (slot >= 0 && r.state)
        ahead = route_ahead(r.router, r.state + layer * r.stride);
    if (blockIdx.x == 0 && threadIdx.x < 32) {
        const float scale = norm_scale(v, text);
        if (lane == 0)
            v.scale[text] = scale;
    }
    if (!arrive_last(v.arrived + 1 + text, gridDim.x))
        return;
    route_text(v, text, layer, slot, r, ahead, shared);
    if (arrive_last(v.arrived, gridDim.y))
        order_pairs(v, reinterpret_cast<uint32_t *>(shared + route_shared_bytes(N)));
}

template <typename T>
static void choose(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                   int layer)
{
    const int rows = v.s.experts + (w.shared_gate ? 1 : 0);
    const size_t words = static_cast<size_t>(v.rows) * ((v.s.experts + 31) / 32);
    const size_t shared = route_shared_bytes(v.s.experts) + words * sizeof(uint32_t);
    CHAIN(l.overlap, choose_kernel<T>,
          dim3(static_cast<unsigned>((rows + WARPS - 1) / WARPS), static_cast<unsigned>(v.rows)),
          THREADS, shared, l.stream, v, static_cast<const T *>(w.router),
          static_cast<const T *>(w.shared_gate), static_cast<const T *>(w.ffn_norm), layer);
}

void launch_choose(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                   int layer)
{
    if (v.s.half)
        choose<nv_bfloat16>(l, v, w, layer);
    else
        choose<float>(l, v, w, layer);
}
