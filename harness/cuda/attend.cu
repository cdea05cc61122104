/*
 * attend.cu: attention of one query a head on its own text's past, and what comes before it: norm
 * and rotation of queries and keys, the new rows of the caches.
 *
 * A text's positions come in units of v.unit; each unit gives a sum of values, a largest score and a
 * sum of exponentials, and these are put together in the order of the units by the block that ends
 * last. How many blocks share the units is free, so the numbers do not hang on it, and the launch is
 * the same for every length. Within a unit a position is read by LP lanes, 8 columns each.
 * A block has HG of the heads that share keys and values.
 */
#include "cuda/kernels.cuh"

enum { LANES = 8 }; // columns of a lane

/* Shared memory of a block: where the parts of it begin. */
struct room {
    float *query, *key, *value; // [HG, D], [D], [D]: rotated, queries scaled
    float *sum;                 // [groups of lanes, HG, LP * 8]
    float *most, *total;        // [groups, HG]
};

static __device__ __forceinline__ struct room room_of(float *p, int HG, int D, int LP)
{
    const int groups = THREADS / LP;
    struct room r;
    r.query = p;
    r.key = r.query + HG * D;
    r.value = r.key + D;
    r.sum = r.value + D;
    r.most = r.sum + groups * HG * LP * LANES;
    r.total = r.most + groups * HG;
    return r;
}

static size_t room_bytes(int HG, int D, int LP)
{
    const int groups = THREADS / LP;
    return static_cast<size_t>((HG + 2) * D + groups * HG * (LP * LANES + 2)) * sizeof(float);
}

/* The scale of the norm of all of x [n]. */
static __device__ __forceinline__ float whole_scale(const float *x, int n, float eps, float *shared)
{
    float sum = 0;
    for (int i = threadIdx.x; i < n; i += THREADS)
        sum += x[i] * x[i];
    return rsqrtf(block_sum(sum, shared) / n + eps);
}

/* One head's vector by a warp: norm, clipping, rotation. weight [D], NULL: no norm; cos, sin [D/2],
 * NULL: not rotated; scale 0: that of this head */
template <typename T>
__device__ void prepare(const struct step_view &v, const float *x, const T *weight, float scale,
                        const float *cos, const float *sin, float *to)
{
    const int D = v.s.head_dim, lane = threadIdx.x % 32;
    if (weight && scale == 0) {
        float sum = 0;
        for (int i = lane; i < D; i += 32)
            sum += x[i] * x[i];
        scale = rsqrtf(lanes_sum(sum, 32) / D + v.s.eps);
    }
    for (int i = lane; i < D; i += 32) {
        float y = weight ? x[i] * scale * number(weight[i]) : x[i];
        if (v.s.clip > 0)
            y = fminf(fmaxf(y, -v.s.clip), v.s.clip);
        to[i] = y;
    }
    __syncwarp();
    for (int i = lane; cos && i < D / 2; i += 32) {
        const float a = to[i], b = to[i + D / 2];
        to[i] = a * cos[i] - b * sin[i];
        to[i + D / 2] = b * cos[i] + a * sin[i];
    }
    __syncwarp();
}

/* Queries, key and value of the fed token, for the heads from h0 on. */
template <typename T, int HG>
__device__ void prepare_all(const struct step_view &v, const T *q_norm, const T *k_norm,
                            const float *cos, const float *sin, int text, int position, int h0,
                            const struct room &r)
{
    __shared__ float sums[WARPS];
    const int D = v.s.head_dim, H = v.s.heads, G = v.s.kv_heads, warp = threadIdx.x / 32;
    const int g = h0 / (H / G), half = D / 2;
    const float *q = v.qkv + static_cast<size_t>(text) * (H + 2 * G) * D;
    const bool whole = q_norm && !v.s.norm_heads;
    const float q_scale = whole ? whole_scale(q, H * D, v.s.eps, sums) : 0;
    const float k_scale = whole ? whole_scale(q + H * D, G * D, v.s.eps, sums) : 0;
    const float *c = cos + static_cast<size_t>(position) * half;
    const float *s = sin + static_cast<size_t>(position) * half;
    const float root = 1.0f / sqrtf(static_cast<float>(D));
    for (int i = warp; i < HG + 2; i += WARPS) {
        float *to = i < HG ? r.query + i * D : i == HG ? r.key : r.value;
        if (i < HG)
            prepare<T>(v, q + (h0 + i) * D, q_norm ? q_norm + (whole ? (h0 + i) * D : 0) : nullptr,
                       q_scale, c, s, to);
        else if (i == HG)
            prepare<T>(v, q + (H + g) * D, k_norm ? k_norm + (whole ? g * D : 0) : nullptr, k_scale,
                       c, s, to);
        else
            prepare<T>(v, q + (H + G + g) * D, nullptr, 0, nullptr, nullptr, to);
        for (int d = threadIdx.x % 32; d < D; d += 32)
            to[d] = i < HG ? to[d] * root : kept<T>(to[d]);
    }
    __syncthreads();
}

/* What a group of LP lanes gathers over some positions; each lane has 8 columns of `sum`. */
template <int HG> struct gathered {
    float most[HG], total[HG], sum[HG][LANES];
};

/* U positions more, with their scores; -infinity: there is none. */
template <int HG, int U>
__device__ __forceinline__ void gather(struct gathered<HG> &t, const float (&score)[U][HG],
                                       const float (&value)[U][LANES])
{
    for (int h = 0; h < HG; h++) {
        float most = t.most[h];
        for (int u = 0; u < U; u++)
            most = fmaxf(most, score[u][h]);
        if (most == -INFINITY)
            continue;
        const float old = expf(t.most[h] - most);
        t.most[h] = most;
        t.total[h] *= old;
        for (int i = 0; i < LANES; i++)
            t.sum[h][i] *= old;
        for (int u = 0; u < U; u++) {
            const float p = expf(score[u][h] - most);
            t.total[h] += p;
            for (int i = 0; i < LANES; i++)
                t.sum[h][i] = fmaf(p, value[u][i], t.sum[h][i]);
        }
    }
}

/* The positions from `from` to `to` of a unit, dealt out to the groups. keys, values: the text's, of
 * this head; the last position of all is in r. */
template <typename T, int HG>
__device__ __forceinline__ void attend_unit(const struct step_view &v, const struct room &r,
                                            const T *keys, const T *values, int from, int to,
                                            int position, int LP, struct gathered<HG> &t)
{
    constexpr int U = HG == 1 ? 4 : 2;
    const int D = v.s.head_dim, groups = THREADS / LP, own = threadIdx.x % LP * LANES;
    const size_t stride = static_cast<size_t>(v.s.kv_heads) * D;
    float query[HG][LANES];
    for (int h = 0; h < HG; h++) {
        t.most[h] = -INFINITY;
        t.total[h] = 0;
        for (int i = 0; i < LANES; i++) {
            t.sum[h][i] = 0;
            query[h][i] = own + i < D ? r.query[h * D + own + i] : 0;
        }
    }
    // All lanes of a warp make the same number of rounds.
    for (int round = from; round < to; round += groups * U) {
        const int base = round + static_cast<int>(threadIdx.x) / LP;
        float key[U][LANES], value[U][LANES], score[U][HG];
#pragma unroll
        for (int u = 0; u < U; u++) {
            const int p = base + u * groups;
            const bool past = p < to && p != position;
            const size_t at = static_cast<size_t>(past ? p : 0) * stride + own;
            load8(keys + at, past ? D - own : 0, key[u]);
            load8(values + at, past ? D - own : 0, value[u]);
            for (int i = 0; p == position && i < LANES && own + i < D; i++) {
                key[u][i] = r.key[own + i];
                value[u][i] = r.value[own + i];
            }
        }
#pragma unroll
        for (int u = 0; u < U; u++)
            for (int h = 0; h < HG; h++) {
                float dot = 0;
                for (int i = 0; i < LANES; i++)
                    dot = fmaf(query[h][i], key[u][i], dot);
                dot = lanes_sum(dot, LP);
                score[u][h] = base + u * groups < to ? dot : -INFINITY;
            }
        gather<HG, U>(t, score, value);
    }
}

/* Puts the groups' gatherings of a unit together, into parts [D + 2] of each head. */
template <int HG>
__device__ __forceinline__ void put_unit(const struct step_view &v, const struct room &r, int LP,
                                         const struct gathered<HG> &t, float *parts, size_t head)
{
    const int D = v.s.head_dim, groups = THREADS / LP, group = threadIdx.x / LP;
    const int width = LP * LANES, own = threadIdx.x % LP * LANES;
    for (int h = 0; h < HG; h++) {
        for (int i = 0; i < LANES; i++)
            r.sum[(group * HG + h) * width + own + i] = t.sum[h][i];
        if (own == 0) {
            r.most[group * HG + h] = t.most[h];
            r.total[group * HG + h] = t.total[h];
        }
    }
    __syncthreads();
    for (int at = threadIdx.x; at < HG * D; at += THREADS) {
        const int h = at / D, i = at % D;
        float most = -INFINITY, sum = 0, total = 0;
        for (int k = 0; k < groups; k++)
            most = fmaxf(most, r.most[k * HG + h]);
        for (int k = 0; k < groups; k++) {
            const float w = expf(r.most[k * HG + h] - most);
            sum += w * r.sum[(k * HG + h) * width + i];
            total += w * r.total[k * HG + h];
        }
        parts[h * head + i] = sum;
        if (i == 0) {
            parts[h * head + D] = most;
            parts[h * head + D + 1] = total;
        }
    }
    __syncthreads();
}

/* All units of HG heads, one behind the other. parts: [HG heads, v.units, D + 2] */
template <typename T>
__device__ __forceinline__ void put_together(const struct step_view &v, const float *parts, int HG,
                                             int units, T *out)
{
    const int D = v.s.head_dim;
    for (int at = threadIdx.x; at < HG * D; at += THREADS) {
        const float *p = parts + static_cast<size_t>(at / D) * v.units * (D + 2);
        float most = -INFINITY, sum = 0, total = 0;
        for (int u = 0; u < units; u++)
            most = fmaxf(most, __ldcg(p + u * (D + 2) + D));
        for (int u = 0; u < units; u++) {
            const float w = expf(__ldcg(p + u * (D + 2) + D) - most);
            sum += w * __ldcg(p + u * (D + 2) + at % D);
            total += w * __ldcg(p + u * (D + 2) + D + 1);
        }
        put(out + at, sum / total);
    }
}

/* Blocks: texts, heads / HG, shares of the units. */
template <typename T, int HG>
__global__ void __launch_bounds__(THREADS, 2)
    attend_kernel(struct step_view v, const T *q_norm, const T *k_norm, T *keys, T *values,
                  int64_t slot_size, const float *cos, const float *sin, int LP)
{
    DYNAMIC_SHARED(float, shared);
    follow();
    const int text = blockIdx.x, h0 = blockIdx.y * HG, D = v.s.head_dim, H = v.s.heads;
    const int slot = v.in->slot[text], position = v.in->position[text];
    const int units = position / v.unit + 1, shares = min(static_cast<int>(gridDim.z), units);
    if (slot < 0 || static_cast<int>(blockIdx.z) >= shares)
        return;
    const struct room r = room_of(shared, HG, D, LP);
    const int group = H / v.s.kv_heads, g = h0 / group, kv = v.s.kv_heads * D;
    T *own_keys = keys + slot * slot_size + g * D, *own_values = values + slot * slot_size + g * D;
    prepare_all<T, HG>(v, q_norm, k_norm, cos, sin, text, position, h0, r);
    if (h0 % group == 0 && static_cast<int>(blockIdx.z) == (units - 1) % shares)
        for (int i = threadIdx.x; i < D; i += THREADS) {
            put(own_keys + static_cast<size_t>(position) * kv + i, r.key[i]);
            put(own_values + static_cast<size_t>(position) * kv + i, r.value[i]);
        }
    const size_t head = static_cast<size_t>(v.units) * (D + 2);
    float *parts = v.parts + (static_cast<size_t>(text) * H + h0) * head;
    for (int u = blockIdx.z; u < units; u += shares) {
        struct gathered<HG> t;
        attend_unit<T, HG>(v, r, own_keys, own_values, u * v.unit,
                           min((u + 1) * v.unit, position + 1), position, LP, t);
        put_unit<HG>(v, r, LP, t, parts + static_cast<size_t>(u) * (D + 2), head);
    }
    if (arrive_last(v.arrived + text * gridDim.y + blockIdx.y, static_cast<unsigned>(shares)))
        put_together(v, parts, HG, units,
                     static_cast<T *>(v.attended) + (static_cast<size_t>(text) * H + h0) * D);
}

/* Lanes a position, a power of two. */
static int lanes_for(int D)
{
    int n = 1;
    while (n * LANES < D)
        n *= 2;
    return n;
}

template <typename T, int HG>
static void attend(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                   int64_t slot_size, const float *cos, const float *sin)
{
    const int blocks = v.s.heads / HG, enough = 4 * l.processors;
    const int share = enough / (v.rows * blocks), LP = lanes_for(v.s.head_dim);
    const int shares = share < 1 ? 1 : share < v.units ? share : v.units;
    CHAIN(l.overlap, (attend_kernel<T, HG>),
          dim3(static_cast<unsigned>(v.rows), static_cast<unsigned>(blocks),
               static_cast<unsigned>(shares)),
          THREADS, room_bytes(HG, v.s.head_dim, LP), l.stream, v, static_cast<const T *>(w.q_norm),
          static_cast<const T *>(w.k_norm), static_cast<T *>(w.keys), static_cast<T *>(w.values),
          slot_size, cos, sin, LP);
}

template <typename T>
static void attend_of(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                      const float *cos, const float *sin)
{
    const int group = v.s.heads / v.s.kv_heads;
    const int64_t slot_size = static_cast<int64_t>(v.capacity) * v.s.kv_heads * v.s.head_dim;
    if (group % 4 == 0)
        attend<T, 4>(l, v, w, slot_size, cos, sin);
    else if (group % 2 == 0)
        attend<T, 2>(l, v, w, slot_size, cos, sin);
    else
        attend<T, 1>(l, v, w, slot_size, cos, sin);
}

void launch_attend(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                   const float *cos, const float *sin)
{
    if (v.s.half)
        attend_of<nv_bfloat16>(l, v, w, cos, sin);
    else
        attend_of<float>(l, v, w, cos, sin);
}
