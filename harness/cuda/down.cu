/*
 * down.cu: the weighted sum of what a text's experts make, into the residual stream, in bfloat16 and
 * for more texts than a few; see experts.cu for the others. A text's numbers are the same to the bit.
 *
 * A block has 16 columns of the residual stream, and goes through all experts that have texts in their
 * order, then the shared one: the sums of its columns need no other block.
 */
#include "cuda/kernels.cuh"
#include "cuda/ring.cuh"

/* How far tiles are copied ahead: with less than 17 texts; with more of them, where shared memory has
 * room, has less, and has little. */
enum { SOME_STEPS = 5, WIDE_STEPS = 8, LESS_STEPS = 5, LITTLE_STEPS = 2 };

/* The experts that have texts, and where their rows begin: v.pairs, in shared memory. */
struct places {
    int32_t active[STEP_EXPERTS + 1], begin[STEP_EXPERTS + 1];
};
static __device__ void read_places(const struct step_view &v, struct places &p)
{
    for (int i = threadIdx.x; i <= v.s.experts; i += THREADS) {
        p.active[i] = __ldcg(v.pairs.active + i);
        p.begin[i] = __ldcg(v.pairs.begin + i);
    }
    __syncthreads();
}

template <int NT> struct down_job {
    const struct step_view &v;
    const struct places &places;
    const nv_bfloat16 *down, *shared;
    float *x;             // shared [rows, 16]: the stream so far
    int *seen;            // shared [rows]: experts of the text so far
    unsigned char *texts; // shared: of each pair

    __device__ __forceinline__ bool next(struct walk &at, tile<1> &t) const
    {
        const int active = places.active[0], d = v.s.hidden;
        const bool routed = at.item < active;
        if (!routed && (at.item > active || !v.s.shared_ffn))
            return false;
        const int first = routed ? places.begin[at.item] : 0;
        const int count = routed ? places.begin[at.item + 1] - first : v.rows;
        t.k = routed ? v.s.expert_ffn : v.s.shared_ffn;
        const size_t k = static_cast<size_t>(t.k);
        t.rows_from(routed ? down + places.active[1 + at.item] * (d * k) : shared, blockIdx.x * 16,
                    d);
        t.x =
            static_cast<const nv_bfloat16 *>(routed ? v.act : v.shared_act) + (first + at.text) * k;
        t.texts = min(NT * 8, count - at.text);
        t.at = at;
        at.text += NT * 8;
        if (at.text >= count)
            at = { at.item + 1, 0 };
        return true;
    }
    __device__ __forceinline__ void meanwhile()
    {
    }
    /* What a text's next expert counts. */
    __device__ __forceinline__ float weight_of(int text, int turn, bool routed) const
    {
        const int N = v.s.experts;
        if (routed)
            return v.pairs.weight[text * N + turn];
        return shared_weight(v, text);
    }
    /* 16 threads a text. */
    __device__ __forceinline__ void done(const tile<1> &t, int eight, const float *sums)
    {
        if (threadIdx.x >= 16 * 8)
            return;
        const int i = threadIdx.x / 16, column = threadIdx.x % 16, of = eight * 8 + i;
        const bool in = of < t.texts, routed = t.at.item < places.active[0];
        int text = 0, turn = 0;
        if (in) {
            text = t.at.text + of;
            if (routed)
                text = texts[places.begin[t.at.item] + text];
            turn = seen[text];
            float *to = x + text * 16 + column;
            *to = fmaf(weight_of(text, turn, routed), tile_at<1, 1>(sums, column, i), *to);
        }
        __syncwarp();
        if (in && column == 0)
            seen[text] = turn + 1;
    }
};

/* Shared memory behind that of the tiles: the stream, the counts, whose the pairs are. */
static size_t down_room(const struct step_view &v)
{
    const size_t rows = static_cast<size_t>(v.rows);
    return rows * (16 * sizeof(float) + sizeof(int)) + rows * static_cast<size_t>(v.s.experts);
}

template <int NT, int S>
__global__ void __launch_bounds__(THREADS, 1)
    down_ring_kernel(struct step_view v, const nv_bfloat16 *down, const nv_bfloat16 *shared,
                     const nv_bfloat16 *norm, int room)
{
    DYNAMIC_SHARED(unsigned char, all);
    __shared__ struct places places;
    float *x = reinterpret_cast<float *>(all + room);
    int *seen = reinterpret_cast<int *>(x + v.rows * 16);
    unsigned char *texts = reinterpret_cast<unsigned char *>(seen + v.rows);
    // The kernel before is gate_up, which reads these and follows those that wrote them.
    const int d = v.s.hidden, column = blockIdx.x * 16 + threadIdx.x % 16;
    const float weight = column < d ? number(norm[column]) : 0;
    for (int i = threadIdx.x; i < v.rows * 16; i += THREADS) // i % 16 is the thread's
        x[i] = column < d ? __ldcg(v.x + static_cast<size_t>(i / 16) * d + column) : 0;
    for (int i = threadIdx.x; i < v.rows; i += THREADS)
        seen[i] = 0;
    read_places(v, places);
    for (int i = threadIdx.x; i < places.begin[places.active[0]]; i += THREADS)
        texts[i] = static_cast<unsigned char>(__ldcg(v.pairs.text + i));
    struct down_job<NT> job = {
        v, places, down, shared, x, seen, texts
    };
    ring_all<1, NT, S>(job, { 0, 0 }, all);
    __syncthreads();
    // Whole warps.
    for (int i = threadIdx.x; i < (v.rows + 1) / 2 * 32; i += THREADS) {
        const bool in = i < v.rows * 16 && column < d;
        put_x<nv_bfloat16>(v, i / 16, in ? column : d, in ? x[i] : 0, weight);
    }
}

template <int NT, int S>
static void down(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                 const void *norm)
{
    const size_t room = ring_bytes(1, NT, S);
    CHAIN(l, (down_ring_kernel<NT, S>), v.tiles, THREADS, room + down_room(v), v,
          static_cast<const nv_bfloat16 *>(w.down), static_cast<const nv_bfloat16 *>(w.shared_down),
          static_cast<const nv_bfloat16 *>(norm), static_cast<int>(room));
}

void launch_down(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                 const void *norm)
{
    const size_t room = sizeof(struct places) + 1024 + down_room(v);
    if (v.rows <= 16)
        down<2, SOME_STEPS>(l, v, w, norm);
    else if (ring_bytes(1, 4, WIDE_STEPS) + room <= l.shared)
        down<4, WIDE_STEPS>(l, v, w, norm);
    else if (ring_bytes(1, 4, LESS_STEPS) + room <= l.shared)
        down<4, LESS_STEPS>(l, v, w, norm);
    else
        down<4, LITTLE_STEPS>(l, v, w, norm);
}
