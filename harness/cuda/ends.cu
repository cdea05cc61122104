/*
 * ends.cu: what stands before the first layer and behind the head: the fed tokens' embeddings; the
 * likeliest token, its loss and the prediction's entropy.
 */
#include "cuda/kernels.cuh"

/* Blocks: texts, parts of the columns. An idle row is zeros. */
template <typename T>
__global__ void embed_kernel(struct step_view v, const T *embedding, const T *norm)
{
    follow();
    const int text = blockIdx.x, column = blockIdx.y * THREADS + threadIdx.x, d = v.s.hidden;
    const bool in = column < d, idle = v.in->slot[text] < 0;
    const size_t row = idle ? 0 : static_cast<size_t>(v.in->id[text]) * d;
    put_x<T>(v, text, in ? column : d, in && !idle ? number(embedding[row + column]) : 0,
             in ? number(norm[column]) : 0);
    if (text == 0 && column == 0)
        *v.out.bad = 0;
}

template <typename T>
static void embed(const struct launch &l, const struct step_view &v, const void *embedding,
                  const void *norm)
{
    // The host's copy comes before this one, which therefore waits like any other.
    struct launch alone = l;
    alone.overlap = false;
    CHAIN(alone, embed_kernel<T>,
          dim3(static_cast<unsigned>(v.rows),
               static_cast<unsigned>((v.s.hidden + THREADS - 1) / THREADS)),
          THREADS, 0, v, static_cast<const T *>(embedding), static_cast<const T *>(norm));
}

void launch_embed(const struct launch &l, const struct step_view &v, const void *embedding,
                  const void *norm)
{
    if (v.s.half)
        embed<nv_bfloat16>(l, v, embedding, norm);
    else
        embed<float>(l, v, embedding, norm);
}

/* Of some logits: the largest and its smallest id, and by m = largest: sum of e^(l-m), and of
 * (l-m) e^(l-m). */
struct found {
    float most, sum, moment;
    int id;
};

static __device__ __forceinline__ void take_larger(float &most, int &id, float other, int other_id)
{
    if (other > most || (other == most && other_id < id)) {
        most = other;
        id = other_id;
    }
}

/* Largest of all threads' values and its smallest id, in all threads. */
static __device__ __forceinline__ void block_largest(float &most, int &id)
{
    __shared__ float values[WARPS];
    __shared__ int ids[WARPS];
    for (int i = 16; i > 0; i /= 2) {
        const float other = __shfl_xor_sync(~0u, most, i);
        take_larger(most, id, other, __shfl_xor_sync(~0u, id, i));
    }
    if (threadIdx.x % 32 == 0) {
        values[threadIdx.x / 32] = most;
        ids[threadIdx.x / 32] = id;
    }
    __syncthreads();
    for (int i = 0; i < WARPS; i++)
        take_larger(most, id, values[i], ids[i]);
}

/* The chunk's part of a row of logits, by a block. */
static __device__ struct found look(const float *logits, int from, int to)
{
    __shared__ float sums[WARPS];
    struct found f = { -INFINITY, 0, 0, to };
    for (int i = from + threadIdx.x; i < to; i += THREADS)
        take_larger(f.most, f.id, logits[i], i);
    block_largest(f.most, f.id);
    for (int i = from + threadIdx.x; i < to; i += THREADS) {
        const float x = logits[i] - f.most, e = expf(x);
        f.sum += e;
        f.moment += e > 0 ? x * e : e; // a NaN stays one
    }
    f.sum = block_sum(f.sum, sums);
    f.moment = block_sum(f.moment, sums);
    return f;
}

/* Blocks: texts, CHUNKS. The last of a text's blocks puts its chunks together. */
static __global__ void __launch_bounds__(THREADS) finish_kernel(struct step_view v)
{
    follow();
    const int text = blockIdx.x, V = v.s.vocab, each = (V + CHUNKS - 1) / CHUNKS;
    const int from = min(static_cast<int>(blockIdx.y) * each, V), to = min(from + each, V);
    float *chunks = v.chunk + static_cast<size_t>(text) * CHUNKS * 4;
    const struct found f = look(v.vocabulary + static_cast<size_t>(text) * V, from, to);
    if (threadIdx.x == 0) {
        float *to_chunk = chunks + blockIdx.y * 4;
        to_chunk[0] = f.most;
        to_chunk[1] = f.sum;
        to_chunk[2] = f.moment;
        to_chunk[3] = __int_as_float(f.id);
    }
    if (!arrive_last(v.arrived + text, CHUNKS) || threadIdx.x >= CHUNKS)
        return;
    // A lane a chunk. One behind the vocabulary's end has nothing.
    const float *c = chunks + threadIdx.x * 4, own = __ldcg(c);
    float most = own;
    int id = __float_as_int(__ldcg(c + 3));
    for (int i = CHUNKS / 2; i > 0; i /= 2) {
        const float other = __shfl_xor_sync(~0u, most, i);
        take_larger(most, id, other, __shfl_xor_sync(~0u, id, i));
    }
    const bool some = static_cast<int>(threadIdx.x) * each < V;
    const float less = own - most, w = some ? expf(less) : 0;
    const float sum = lanes_sum(some ? w * __ldcg(c + 1) : 0, CHUNKS);
    const float part = w == 0 ? 0 : w * (__ldcg(c + 2) + less * __ldcg(c + 1));
    const float moment = lanes_sum(part, CHUNKS);
    if (threadIdx.x > 0)
        return;
    v.out.next[text] = id < V ? id : 0;
    v.out.nll[text] = logf(sum);
    v.out.entropy[text] = logf(sum) - moment / sum;
}

void launch_finish(const struct launch &l, const struct step_view &v)
{
    CHAIN(l, finish_kernel, dim3(static_cast<unsigned>(v.rows), CHUNKS), THREADS, 0, v);
}
