/*
 * experts.cu: the selected experts of every text, the shared one among them: silu(gate) * up, and the
 * weighted sum of what they make of it where texts are few or the format is float32; see down.cu for
 * the others.
 *
 * Work comes in items: some rows of one expert for all of its texts, so that a weight is read once
 * and an expert without texts is not read. Blocks take items in turn; how many there are is known on
 * the device alone, so the launch is the same whatever was selected.
 * The sum of a text over its pairs is in the order of the experts, then the shared one, by the block
 * that ends the last item of those columns.
 */
#include "cuda/kernels.cuh"
#include "cuda/tile.cuh"

/* Texts that go through one expert. */
struct item {
    int expert;           // -1: the shared one; -2: none, where no text has any
    int begin, count;     // rows of the pairs; of the shared expert, texts
    const int32_t *index; // whose they are; NULL: row i is text i's
};

static __device__ __forceinline__ struct item routed_item(const struct step_view &v, int place)
{
    const int begin = v.pairs.begin[place];
    return { v.pairs.active[1 + place], begin, v.pairs.begin[place + 1] - begin,
             v.pairs.text + begin };
}

/* silu(gate) * up of 16 of the expert's columns for NT * 8 of its texts, from the c-th on. */
template <typename T, int NT>
__device__ __forceinline__ void gate_up_texts(const struct step_view &v, const struct item &it,
                                              const tile_rows<T, 2> &w, int c, int from, int F,
                                              T *out, float *sums)
{
    const int d = v.s.hidden, texts = min(NT * 8, it.count - c);
    const T *x = static_cast<const T *>(v.xw) + (it.index ? 0 : static_cast<size_t>(c) * d);
    const int32_t *index = it.index ? it.index + c : nullptr;
    tile_product<T, 2, NT>(w, { x, index, texts }, d, sums);
    for (int at = threadIdx.x; at < 16 * NT * 8; at += THREADS) {
        const int row = at % 16, text = at / 16;
        if (from + row >= F || text >= texts)
            continue;
        const float scale = v.scale[index ? index[text] : c + text];
        const float gate = tile_at<2, NT>(sums, row, text) * scale;
        const float up = tile_at<2, NT>(sums, row + 16, text) * scale;
        put(out + static_cast<size_t>(c + text) * F + from + row, gate / (1 + expf(-gate)) * up);
    }
}

template <typename T, int MOST>
__global__ void __launch_bounds__(THREADS, MOST == 1 ? 3 : 2)
    gate_up_kernel(struct step_view v, const T *gate_up, const T *shared)
{
    DYNAMIC_SHARED(float, sums);
    if (MOST == 1)
        follow_early();
    else
        follow(); // down.cu reads ahead what was there before this kernel
    const int d = v.s.hidden, before = (v.s.shared_ffn + 15) / 16,
              tiles = (v.s.expert_ffn + 15) / 16;
    const int items = before + v.pairs.active[0] * tiles;
    for (int i = blockIdx.x; i < items; i += gridDim.x) {
        const bool routed = i >= before;
        const struct item it =
            routed ? routed_item(v, (i - before) / tiles) : item{ -1, 0, v.rows, nullptr };
        const int F = routed ? v.s.expert_ffn : v.s.shared_ffn;
        const int from = (routed ? (i - before) % tiles : i) * 16;
        const T *w = routed ? gate_up + static_cast<size_t>(it.expert) * 2 * F * d : shared;
        T *out = routed ? static_cast<T *>(v.act) + static_cast<size_t>(it.begin) * F
                        : static_cast<T *>(v.shared_act);
        const int n = min(16, F - from);
        const tile_rows<T, 2> rows = {
            { w + static_cast<size_t>(from) * d, w + (static_cast<size_t>(F) + from) * d }, { n, n }
        };
        for (int c = 0; c < it.count;) {
            const int left = it.count - c;
            if (MOST >= 4 && left > 16) {
                gate_up_texts<T, MOST >= 4 ? 4 : 1>(v, it, rows, c, from, F, out, sums);
                c += 32;
            } else if (MOST >= 2 && left > 8) {
                gate_up_texts<T, MOST >= 2 ? 2 : 1>(v, it, rows, c, from, F, out, sums);
                c += 16;
            } else {
                gate_up_texts<T, 1>(v, it, rows, c, from, F, out, sums);
                c += 8;
            }
        }
    }
}

/* 32 columns of the output of NT * 8 of an expert's texts. in: [texts, k]; out: [texts, d] */
template <typename T, int NT>
__device__ __forceinline__ void down_texts(const struct step_view &v, const tile_rows<T, 2> &w,
                                           const T *in, int texts, int k, int from, float *out,
                                           float *sums)
{
    const int d = v.s.hidden;
    texts = min(NT * 8, texts);
    tile_product<T, 2, NT>(w, { in, nullptr, texts }, k, sums);
    for (int at = threadIdx.x; at < 32 * NT * 8; at += THREADS) {
        const int row = at % 32, text = at / 32;
        if (from + row < d && text < texts)
            out[static_cast<size_t>(text) * d + from + row] = tile_at<2, NT>(sums, row, text);
    }
}

/* The residual stream of 32 columns, a warp a text. */
template <typename T>
__device__ __forceinline__ void add_experts(const struct step_view &v, int from, const T *norm)
{
    const int N = v.s.experts, d = v.s.hidden, column = from + threadIdx.x % 32;
    const bool in = column < d;
    const float weight = in ? number(norm[column]) : 0;
    for (int b = threadIdx.x / 32; b < v.rows; b += WARPS) {
        const size_t at = static_cast<size_t>(b) * d + column;
        const int pairs = v.pairs.count[b];
        float sum = in ? v.x[at] : 0;
        for (int j = 0; in && j < pairs; j++) {
            const size_t row = static_cast<size_t>(v.pairs.row[b * N + j]);
            sum = fmaf(v.pairs.weight[b * N + j], __ldcg(v.made + row * d + column), sum);
        }
        if (in && v.s.shared_ffn)
            sum = fmaf(shared_weight(v, b), __ldcg(v.shared_made + at), sum);
        put_x<T>(v, b, in ? column : d, sum, weight);
    }
}

template <typename T, int MOST>
__global__ void __launch_bounds__(THREADS, MOST == 1 ? 3 : 2)
    down_kernel(struct step_view v, const T *down, const T *shared, const T *norm)
{
    DYNAMIC_SHARED(float, sums);
    follow_early();
    const int d = v.s.hidden, active = v.pairs.active[0], first = v.s.shared_ffn ? 1 : 0;
    const int each = active + first > 0 ? active + first : 1, items = (d + 31) / 32 * each;
    for (int i = blockIdx.x; i < items; i += gridDim.x) {
        const int from = i / each * 32, turn = i % each;
        const bool routed = turn >= first;
        const struct item it = turn < first            ? item{ -1, 0, v.rows, nullptr }
                               : turn - first < active ? routed_item(v, turn - first)
                                                       : item{ -2, 0, 0, nullptr };
        const int k = routed ? v.s.expert_ffn : v.s.shared_ffn;
        const T *w = routed && it.count ? down + static_cast<size_t>(it.expert) * d * k : shared;
        const T *in = static_cast<const T *>(routed ? v.act : v.shared_act) +
                      static_cast<size_t>(it.begin) * k;
        float *out = (routed ? v.made : v.shared_made) + static_cast<size_t>(it.begin) * d;
        const tile_rows<T, 2> rows = rows_from<T, 2>(w, from, d, k);
        for (int c = 0; c < it.count;) {
            const int left = it.count - c;
            const T *x = in + static_cast<size_t>(c) * k;
            float *y = out + static_cast<size_t>(c) * d;
            if (MOST >= 4 && left > 16) {
                down_texts<T, MOST >= 4 ? 4 : 1>(v, rows, x, left, k, from, y, sums);
                c += 32;
            } else if (MOST >= 2 && left > 8) {
                down_texts<T, MOST >= 2 ? 2 : 1>(v, rows, x, left, k, from, y, sums);
                c += 16;
            } else {
                down_texts<T, 1>(v, rows, x, left, k, from, y, sums);
                c += 8;
            }
        }
        if (arrive_last(v.arrived + i / each, static_cast<unsigned>(each)))
            add_experts(v, from, norm);
    }
}

/* Shared memory of tiles of MOST eights of texts. */
static size_t room_of(int MOST)
{
    return tile_floats(2, MOST, WARPS) * sizeof(float);
}

template <typename T, int MOST>
static void gate_up_most(const struct launch &l, const struct step_view &v,
                         const struct step_layer &w)
{
    CHAIN_CACHED(MOST > 1, l.overlap, (gate_up_kernel<T, MOST>), l.processors * (MOST == 1 ? 3 : 2),
                 THREADS, room_of(MOST), l.stream, v, static_cast<const T *>(w.gate_up),
                 static_cast<const T *>(w.shared_gate_up));
}

template <typename T>
static void gate_up(const struct launch &l, const struct step_view &v, const struct step_layer &w)
{
    if (v.rows <= FEW_TEXTS)
        gate_up_most<T, 1>(l, v, w);
    else if (v.rows <= 16)
        gate_up_most<T, 2>(l, v, w);
    else
        gate_up_most<T, 4>(l, v, w);
}

template <typename T, int MOST>
static void down(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                 const void *norm)
{
    CHAIN_CACHED(MOST > 1, l.overlap, (down_kernel<T, MOST>), l.processors * (MOST == 1 ? 3 : 2),
                 THREADS, room_of(MOST), l.stream, v, static_cast<const T *>(w.down),
                 static_cast<const T *>(w.shared_down), static_cast<const T *>(norm));
}

static void any_down(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                     const void *norm)
{
    if (!is_direct(v.s, v.rows))
        launch_down(l, v, w, norm);
    else if (v.s.half)
        down<nv_bfloat16, 1>(l, v, w, norm);
    else if (v.rows <= FEW_TEXTS)
        down<float, 1>(l, v, w, norm);
    else
        down<float, 4>(l, v, w, norm);
}

void launch_experts(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                    const void *norm)
{
    if (v.s.half)
        gate_up<nv_bfloat16>(l, v, w);
    else
        gate_up<float>(l, v, w);
    any_down(l, v, w, norm);
}
