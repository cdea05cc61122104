/*
 * experts.cu: the selected experts of every text, the shared one among them: silu(gate) * up, and the
 * weighted sum of what they make of it where texts are few or the format is float32; see down.cu for
 * the others.
 *
 * Work comes in items: some rows of one expert for all of its texts, so that a weight is read once
 * and an expert without texts is not read. Blocks take items in turn; how many there are is known on
 * the device alone, so the launch is the same whatever was selected. With few texts an item is
 * smaller, so that all multiprocessors end at the same time, and its first weights are asked for
 * while the item before it is put together.
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

static __device__ __forceinline__ float silu(float x)
{
    return x / (1 + expf(-x));
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
    tile_weights<T, 2, NT> own;
    own.open(w, d, tile_block());
    tile_product<T, 2, NT>(own, { x, index, texts }, d, sums);
    for (int at = threadIdx.x; at < 16 * NT * 8; at += THREADS) {
        const int row = at % 16, text = at / 16;
        if (from + row >= F || text >= texts)
            continue;
        const float scale = v.scale[index ? index[text] : c + text];
        const float gate = tile_at<2, NT>(sums, row, text) * scale;
        const float up = tile_at<2, NT>(sums, row + 16, text) * scale;
        put(out + static_cast<size_t>(c + text) * F + from + row, silu(gate) * up);
    }
}

template <typename T, int MOST>
__global__ void __launch_bounds__(THREADS, 2)
    gate_up_kernel(struct step_view v, const T *gate_up, const T *shared)
{
    DYNAMIC_SHARED(float, sums);
    follow(); // those behind this one read ahead what was there before it
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
        tile_rows<T, 2> rows;
        rows.put(0, 2, w, from, F, d);
        rows.put(2, 2, w + static_cast<size_t>(F) * d, from, F, d);
        for (int c = 0; c < it.count;) {
            const int left = it.count - c;
            if (MOST >= 4 && left > 16) {
                gate_up_texts<T, MOST >= 4 ? 4 : 1>(v, it, rows, c, from, F, out, sums);
                c += 32;
            } else if (left > 8) {
                gate_up_texts<T, 2>(v, it, rows, c, from, F, out, sums);
                c += 16;
            } else {
                gate_up_texts<T, 1>(v, it, rows, c, from, F, out, sums);
                c += 8;
            }
        }
    }
}

/* ---- for few texts: items of 8 columns ---- */

enum { FEW_BLOCKS = 3 }; // of a multiprocessor

/* 8 columns, from the `from` on. */
struct few_item {
    struct item of;
    int F, from;
};

/* The i-th of a launch; false: there is none. What it hangs on is loaded at once, not one thing after
 * the other. */
static __device__ __forceinline__ bool few_item_at(const struct step_view &v, int i,
                                                   struct few_item &it)
{
    const int before = (v.s.shared_ffn + 7) / 8, tiles = (v.s.expert_ffn + 7) / 8;
    const bool routed = i >= before;
    const int place = routed ? min((i - before) / tiles, v.s.experts - 1) : 0;
    const int active = v.pairs.active[0];
    it.of = routed_item(v, place);
    if (!routed)
        it.of = { -1, 0, v.rows, nullptr };
    if (v.rows == 1)
        it.of.index = nullptr; // row 0 of the texts is its only one
    it.F = routed ? v.s.expert_ffn : v.s.shared_ffn;
    it.from = (routed ? (i - before) % tiles : i) * 8;
    return i < before + active * tiles;
}

template <typename T>
__global__ void __launch_bounds__(THREADS, FEW_BLOCKS)
    gate_up_few_kernel(struct step_view v, const T *gate_up, const T *shared)
{
    DYNAMIC_SHARED(float, sums);
    const int d = v.s.hidden, row = threadIdx.x % 8, text = threadIdx.x / 8;
    tile_weights<T, 1, 1> own;
    struct few_item it;
    follow(); // as gate_up_kernel()
    const auto open = [&](int i) {
        if (!few_item_at(v, i, it))
            return false;
        const size_t up = static_cast<size_t>(it.F) * d;
        const T *w = it.of.expert >= 0 ? gate_up + it.of.expert * 2 * up : shared;
        tile_rows<T, 1> rows;
        rows.put(0, 1, w, it.from, it.F, d);
        rows.put(1, 1, w + up, it.from, it.F, d);
        own.open(rows, d, tile_block());
        return true;
    };
    bool more = open(blockIdx.x);
    for (int i = blockIdx.x; more;) {
        T *out = nullptr;
        float scale = 0, c[1][1][4] = {};
        if (text < it.of.count && it.from + row < it.F) {
            out = static_cast<T *>(it.of.expert >= 0 ? v.act : v.shared_act) +
                  static_cast<size_t>(it.of.begin + text) * it.F + it.from + row;
            scale = v.scale[it.of.index ? it.of.index[text] : text];
        }
        tile_multiply<1, 1>(c, own, { static_cast<const T *>(v.xw), it.of.index, it.of.count }, d,
                            tile_block());
        i += gridDim.x;
        more = open(i);
        __syncthreads(); // the sums of the item before were read
        tile_put<1, 1>(c, sums, threadIdx.x / 32);
        __syncthreads();
        if (out) {
            const float gate = tile_at<1, 1>(sums, row, text, WARPS) * scale;
            const float up = tile_at<1, 1>(sums, row + 8, text, WARPS) * scale;
            put(out, silu(gate) * up);
        }
    }
}

/* ---- the weighted sum ---- */

enum {
    GROUPS = 4, // of WARPS: each has items of its own
    SLOTS = 16, // items whose sums are kept until they are added
};

/* Eight of an expert's texts, from the `first` on. */
struct eight_item {
    int place, first;
};

/*
 * A block has 16 columns of the residual stream, each of its threads one of a text, and goes through
 * all experts that have texts in their order, then the shared one: its sums need no other block. The
 * first weights of each group are under way before the kernel before has ended.
 */
template <typename T> struct direct_sum {
    const struct step_view &v;
    const T *down, *shared;
    int active, all; // experts; and with the shared one
    struct tile_warp own;

    __device__ __forceinline__ struct item at(struct eight_item e) const
    {
        return e.place < active ? routed_item(v, e.place) : item{ -1, 0, v.rows, nullptr };
    }
    /* n items on; before the kernel before has ended too, as open() */
    __device__ __forceinline__ void advance(struct eight_item &e, int n) const
    {
        if (v.rows <= 8) {
            e.place += n;
            return;
        }
        for (; n > 0 && e.place < all; n--) {
            const int32_t *begin = v.pairs.begin + e.place;
            e.first += 8;
            if (e.first >= (e.place < active ? __ldcg(begin + 1) - __ldcg(begin) : v.rows))
                e = { e.place + 1, 0 };
        }
    }
    __device__ __forceinline__ int width(struct eight_item e) const
    {
        return e.place < active ? v.s.expert_ffn : v.s.shared_ffn;
    }
    __device__ __forceinline__ void open(tile_weights<T, 1, 1> &w, struct eight_item e) const
    {
        if (e.place >= all)
            return;
        const int k = width(e), d = v.s.hidden;
        const T *from = shared;
        if (e.place < active)
            from = down + static_cast<size_t>(__ldcg(v.pairs.active + 1 + e.place)) * d * k;
        w.open(rows_from<T, 1>(from, blockIdx.x * 16, d, k), k, own);
    }
    /* The item's sums into its slot, and where its texts are: of [STEP_TEXTS] */
    __device__ __forceinline__ void multiply(tile_weights<T, 1, 1> &w, struct eight_item e,
                                             struct eight_item next, float *slot,
                                             signed char *of) const
    {
        const struct item it = at(e);
        const int k = width(e), texts = min(8, it.count - e.first), lane = threadIdx.x % 32;
        const T *x = static_cast<const T *>(e.place < active ? v.act : v.shared_act) +
                     static_cast<size_t>(it.begin + e.first) * k;
        float c[1][1][4] = {};
        tile_multiply<1, 1>(c, w, { x, nullptr, texts }, k, own);
        open(w, next);
        tile_put<1, 1>(c, slot, own.warp);
        if (own.warp > 0)
            return;
        for (int b = lane; b < STEP_TEXTS; b += 32)
            of[b] = -1;
        __syncwarp();
        if (lane < texts)
            of[it.index ? it.index[e.first + lane] : e.first + lane] =
                static_cast<signed char>(lane);
    }
};

template <typename T>
__global__ void __launch_bounds__(GROUPS *THREADS, 1)
    down_direct_kernel(struct step_view v, const T *down, const T *shared, const T *norm)
{
    DYNAMIC_SHARED(float, sums);
    constexpr int SLOT = tile_floats(1, 1, WARPS);
    __shared__ signed char of[SLOTS][STEP_TEXTS];
    // The kernel before is gate_up, which reads the pairs and follows those that wrote them.
    const int active = __ldcg(v.pairs.active), group = threadIdx.x / THREADS;
    const struct direct_sum<T> sum = {
        v, down, shared, active, active + (v.s.shared_ffn ? 1 : 0),
        {
            static_cast<int>(threadIdx.x % THREADS / 32), WARPS
        }
    };
    struct eight_item first = { 0, 0 }, e = first;
    tile_weights<T, 1, 1> w;
    sum.advance(e, group);
    sum.open(w, e);
    const int d = v.s.hidden, text = threadIdx.x / 16, column = blockIdx.x * 16 + threadIdx.x % 16;
    const bool in = text < v.rows && column < d;
    const float weight = column < d ? number(norm[column]) : 0;
    float x = in ? __ldcg(v.x + static_cast<size_t>(text) * d + column) : 0;
    int seen = 0; // of the text's pairs
    follow();
    while (first.place < sum.all) {
        for (int j = group; j < SLOTS && e.place < sum.all; j += GROUPS) {
            struct eight_item next = e;
            sum.advance(next, GROUPS);
            sum.multiply(w, e, next, sums + j * SLOT, of[j]);
            e = next;
        }
        __syncthreads();
        for (int j = 0; j < SLOTS && first.place < sum.all; j++, sum.advance(first, 1)) {
            const int i = in ? of[j][text] : -1;
            if (i < 0)
                continue;
            const float of_pair = first.place < active ? v.pairs.weight[text * v.s.experts + seen]
                                                       : shared_weight(v, text);
            x = fmaf(of_pair, tile_at<1, 1>(sums + j * SLOT, threadIdx.x % 16, i, WARPS), x);
            seen++;
        }
        __syncthreads();
    }
    if (text / 2 * 2 < v.rows) // whole warps
        put_x<T>(v, text, in ? column : d, x, weight);
}

static_assert(GROUPS * THREADS == STEP_TEXTS * 16, "a thread has a column of a text");

/* Shared memory of a tile's sums. */
static size_t room_of(int MT, int NT)
{
    return tile_floats(MT, NT, WARPS) * sizeof(float);
}

template <typename T, int MOST>
static void gate_up_most(const struct launch &l, const struct step_view &v,
                         const struct step_layer &w)
{
    CHAIN(l, (gate_up_kernel<T, MOST>), l.processors * 2, THREADS, room_of(2, MOST), v,
          static_cast<const T *>(w.gate_up), static_cast<const T *>(w.shared_gate_up));
}

template <typename T>
static void gate_up(const struct launch &l, const struct step_view &v, const struct step_layer &w)
{
    if (v.rows <= FEW_TEXTS)
        CHAIN(l, gate_up_few_kernel<T>, l.processors * FEW_BLOCKS, THREADS, room_of(1, 1), v,
              static_cast<const T *>(w.gate_up), static_cast<const T *>(w.shared_gate_up));
    else if (v.rows <= 16)
        gate_up_most<T, 2>(l, v, w);
    else
        gate_up_most<T, 4>(l, v, w);
}

template <typename T>
static void down_direct(const struct launch &l, const struct step_view &v,
                        const struct step_layer &w, const void *norm)
{
    CHAIN(l, down_direct_kernel<T>, v.tiles, GROUPS * THREADS, SLOTS * room_of(1, 1), v,
          static_cast<const T *>(w.down), static_cast<const T *>(w.shared_down),
          static_cast<const T *>(norm));
}

void launch_experts(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                    const void *norm)
{
    if (v.s.half)
        gate_up<nv_bfloat16>(l, v, w);
    else
        gate_up<float>(l, v, w);
    if (!is_direct(v.s, v.rows))
        launch_down(l, v, w, norm);
    else if (v.s.half)
        down_direct<nv_bfloat16>(l, v, w, norm);
    else
        down_direct<float>(l, v, w, norm);
}
