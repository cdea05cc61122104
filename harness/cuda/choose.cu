/*
 * choose.cu: the router's scores of every text, the experts that it takes, and the rows that the
 * experts' products are made of.
 *
 * A block has eight experts' logits of a text, in float32: each warp has a share of the columns for
 * all eight, so that everything is loaded at once, and once. The block of a text that ends last
 * routes it; the one that ends last of all orders the pairs by expert.
 */
#include "cuda/kernels.cuh"
#include "cuda/order.cuh"
#include "routers/cuda.cuh"

enum { EACH = 8 }; // experts of a block

/* Eight values as they lie in memory, of which `have` are there; zeros for the rest. */
template <typename T> struct eight_of {
    uint32_t word[2 * sizeof(T)];

    __device__ __forceinline__ void load(const T *p, int have)
    {
        if (have >= 8 && reinterpret_cast<uintptr_t>(p) % 16 == 0) {
#pragma unroll
            for (unsigned i = 0; i < sizeof(T) / 2; i++) {
                const uint4 four = reinterpret_cast<const uint4 *>(p)[i];
                word[4 * i] = four.x, word[4 * i + 1] = four.y;
                word[4 * i + 2] = four.z, word[4 * i + 3] = four.w;
            }
            return;
        }
        T one[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            put(&one[i], 0);
            if (i < have)
                one[i] = p[i];
        }
        memcpy(word, one, sizeof(word));
    }
    __device__ __forceinline__ float at(int i) const
    {
        if (sizeof(T) == 4)
            return __uint_as_float(word[i]);
        return i % 2 ? high_half(word[i / 2]) : low_half(word[i / 2]);
    }
};

/* What a thread has of the matrix: eight columns of the block's experts, and of the norm. */
template <typename T> struct columns {
    struct eight_of<T> row[EACH], norm;

    __device__ __forceinline__ void load(const T *const (&rows)[EACH], const T *weights, int at,
                                         int d)
    {
#pragma unroll
        for (int i = 0; i < EACH; i++)
            row[i].load(rows[i] + at, d - at);
        norm.load(weights + at, d - at);
    }
    __device__ __forceinline__ void add(const float x[8], float (&sum)[EACH]) const
    {
#pragma unroll
        for (int j = 0; j < 8; j++) {
            const float y = x[j] * norm.at(j);
#pragma unroll
            for (int i = 0; i < EACH; i++)
                sum[i] = fmaf(row[i].at(j), y, sum[i]);
        }
    }
};

/* Adds over a warp, in which four lanes get the same sum: returns that of expert lane / 4. */
static __device__ __forceinline__ float sum_of_each(float (&sum)[EACH])
{
#pragma unroll
    for (int half = EACH / 2, lanes = 16; half > 0; half /= 2, lanes /= 2) {
        const bool upper = threadIdx.x & static_cast<unsigned>(lanes);
#pragma unroll
        for (int i = 0; i < half; i++) {
            const float other = __shfl_xor_sync(~0u, upper ? sum[i] : sum[i + half], lanes);
            sum[i] = (upper ? sum[i + half] : sum[i]) + other;
        }
    }
    return lanes_sum(sum[0], 4);
}

/*
 * The block's logits, and from the first block the norm's scale. Waits for the kernel before this
 * one; meanwhile() comes before that, behind the weights' loads. true, in all threads: this is the
 * text's last block, all of whose logits are there.
 */
template <typename T, class F>
static __device__ __forceinline__ bool put_logits(const struct step_view &v, int text,
                                                  const T *router, const T *shared_gate,
                                                  const T *norm, F meanwhile)
{
    __shared__ float parts[WARPS * EACH];
    __shared__ bool last;
    const int N = v.s.experts, d = v.s.hidden, experts = N + (shared_gate ? 1 : 0);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, first = blockIdx.x * EACH;
    const float *x = v.x + static_cast<size_t>(text) * d;
    const T *rows[EACH];
    struct columns<T> own;
    float sum[EACH] = {}, in[8];
#pragma unroll
    for (int i = 0; i < EACH; i++) {
        const int e = min(first + i, experts - 1);
        rows[i] = e < N ? router + static_cast<size_t>(e) * d : shared_gate;
    }
    own.load(rows, norm, threadIdx.x * 8, d);
    meanwhile();
    follow();
    load8(x + threadIdx.x * 8, d - static_cast<int>(threadIdx.x) * 8, in);
    const float squares = warp == 0 ? norm_sum(v, text) : 0;
    own.add(in, sum);
#pragma unroll 1
    for (int at = static_cast<int>(THREADS + threadIdx.x) * 8; at < d; at += THREADS * 8) {
        own.load(rows, norm, at, d);
        load8(x + at, d - at, in);
        own.add(in, sum);
    }
    const float share = sum_of_each(sum);
    if (lane % 4 == 0)
        parts[warp * EACH + lane / 4] = share;
    __syncthreads();
    if (warp == 0) {
        const float scale = norm_scale_of(v, squares);
        float all = 0;
#pragma unroll
        for (int i = 0; i < WARPS; i++)
            all += parts[i * EACH + lane % EACH];
        if (lane < EACH && first + lane < experts)
            v.logits[static_cast<size_t>(text) * (N + 1) + first + lane] = all * scale;
        if (blockIdx.x == 0 && lane == 0)
            v.scale[text] = scale;
        __syncwarp();
        if (lane == 0)
            last = arrive(v.arrived + 1 + text, gridDim.x);
    }
    __syncthreads();
    return last;
}

/* A text's logits: lane i has those of the experts i, i + 32 and so on. */
template <int J>
static __device__ __forceinline__ void load_logits(const struct step_view &v, int text,
                                                   float (&x)[J])
{
    const int N = v.s.experts, lane = threadIdx.x % 32;
    const float *logits = v.logits + static_cast<size_t>(text) * (N + 1);
#pragma unroll
    for (int j = 0; j < J; j++)
        x[j] = j * 32 + lane < N ? __ldcg(logits + j * 32 + lane) : -INFINITY;
}

/*
 * Softmax of N logits into shared scores [N]; false: one is NaN or infinite, and the scores are 0.
 * Every warp makes all of it, and writes its share.
 */
template <int J> static __device__ __forceinline__ bool softmax(float (&x)[J], int N, float *scores)
{
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float most = -INFINITY, sum = 0;
    bool finite = true;
#pragma unroll
    for (int j = 0; j < J; j++) {
        finite = finite && (j * 32 + lane >= N || x[j] * 0 == 0);
        most = fmaxf(most, x[j]);
    }
    finite = __all_sync(~0u, finite);
    most = lanes_max(most, 32);
#pragma unroll
    for (int j = 0; j < J; j++) {
        x[j] = j * 32 + lane < N ? expf(x[j] - most) : 0;
        sum += x[j];
    }
    sum = lanes_sum(sum, 32);
#pragma unroll
    for (int j = 0; j < J; j++)
        if (j % WARPS == warp && j * 32 + lane < N)
            scores[j * 32 + lane] = finite ? x[j] / sum : 0;
    __syncthreads();
    return finite;
}

/* The bits of what was taken, into shared memory and for the grouping. taken NULL: nothing */
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

/* Scores and weights of the pairs that a text has. */
static __device__ void put_weights(const struct step_view &v, int text, int layer,
                                   const float *scores, const uint32_t *bits, float *shared)
{
    const int N = v.s.experts;
    float *out = v.out.scores + (static_cast<size_t>(layer) * v.rows + text) * N, sum = 0;
    for (int e = threadIdx.x; e < N && v.s.normalise; e += THREADS)
        sum += bits[e / 32] >> e % 32 & 1 ? scores[e] : 0;
    sum = v.s.normalise ? block_sum(sum, shared) : 1;
    for (int e = threadIdx.x; e < N; e += THREADS) {
        const bool taken = bits[e / 32] >> e % 32 & 1;
        out[e] = taken ? scores[e] : -1;
        if (taken)
            v.pairs.weight[text * N + rank_of(bits, e)] = scores[e] / sum;
    }
}

/*
 * Routes a text, by the block that has seen all of its logits; an idle row (slot -1) takes nothing.
 * true, in all threads: this was the last of all texts. bits: shared, what was taken; scratch: of
 * route_token()
 */
template <int J>
static __device__ __forceinline__ bool route_text(const struct step_view &v, int text, int layer,
                                                  int slot, const struct step_router &r,
                                                  uint32_t *bits, void *scratch)
{
    __shared__ float scores[STEP_EXPERTS], sums[WARPS];
    __shared__ uint8_t taken[STEP_EXPERTS];
    __shared__ bool last;
    unsigned char *state = r.state ? r.state + layer * r.stride : nullptr;
    if (slot >= 0) {
        float x[J];
        load_logits<J>(v, text, x);
        if (!softmax<J>(x, v.s.experts, scores) && threadIdx.x == 0)
            atomicCAS(v.out.bad, 0, layer + 1);
        route_token(r.router, state, scores, taken, scratch);
    }
    put_bits(v, text, slot >= 0 ? taken : nullptr, bits);
    // Beside the weights, which no other block asks for.
    if (threadIdx.x == THREADS - 32)
        last = v.rows == 1 || arrive(v.arrived, static_cast<unsigned>(v.rows));
    if (slot >= 0)
        put_weights(v, text, layer, scores, bits, sums);
    __syncthreads();
    return last;
}

/* Blocks: eights of the experts and the shared gate, texts. N is J * 32 at most. */
template <typename T, int J>
__global__ void __launch_bounds__(THREADS, 2)
    choose_kernel(struct step_view v, const T *router, const T *shared_gate, const T *norm,
                  int layer)
{
    DYNAMIC_SHARED(unsigned char, shared);
    __shared__ uint32_t bits[J];
    const int text = blockIdx.y, slot = __ldcg(&v.in->slot[text]);
    struct step_router r = {};
    if (slot >= 0)
        r = v.routers[slot];
    if (r.maxes)
        r.router.max = r.maxes[layer];
    // Each block asks for the text's state, as it may be the last: nobody writes it before that.
    const bool last = put_logits<T>(v, text, router, shared_gate, norm, [&]() {
        if (slot >= 0)
            route_load(r.router, r.state ? r.state + layer * r.stride : nullptr, shared);
    });
    route_loaded();
    if (!last || !route_text<J>(v, text, layer, slot, r, bits, shared))
        return;
    if (v.rows == 1)
        order_text(v, bits);
    else
        order_pairs(v, reinterpret_cast<uint32_t *>(shared + route_shared_bytes(v.s.experts)));
}

template <typename T, int J>
static void choose(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                   int layer)
{
    const int rows = v.s.experts + (w.shared_gate ? 1 : 0);
    const size_t words = static_cast<size_t>(v.rows) * words_of(v.s.experts);
    const size_t shared = route_shared_bytes(v.s.experts) + words * sizeof(uint32_t);
    CHAIN(l, (choose_kernel<T, J>),
          dim3(static_cast<unsigned>((rows + EACH - 1) / EACH), static_cast<unsigned>(v.rows)),
          THREADS, shared, v, static_cast<const T *>(w.router),
          static_cast<const T *>(w.shared_gate), static_cast<const T *>(w.ffn_norm), layer);
}

void launch_choose(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                   int layer)
{
    const bool few = v.s.experts <= 64;
    if (v.s.half && few)
        choose<nv_bfloat16, 2>(l, v, w, layer);
    else if (v.s.half)
        choose<nv_bfloat16, STEP_EXPERTS / 32>(l, v, w, layer);
    else if (few)
        choose<float, 2>(l, v, w, layer);
    else
        choose<float, STEP_EXPERTS / 32>(l, v, w, layer);
}
