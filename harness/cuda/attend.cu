/*
 * attend.cu: attention of one query a head on its own text's past, and what comes before it: norm
 * and rotation of queries and keys, the new rows of the caches.
 *
 * A text's positions come in units of unit_of(); each unit gives a sum of values, a largest score and a
 * sum of exponentials, and these are put together in the order of the units by the block that ends
 * last. How many blocks share the units is free, so the numbers do not hang on it, and the launch is
 * the same for every length. Within a unit a position is read by LP lanes, 8 columns each: its key
 * and value are copied ahead, from unit to unit without a pause, the first before the kernel before
 * has ended. A block has HG of the heads that share keys and values.
 */
#include "cuda/kernels.cuh"
#include "cuda/past.cuh"

/* Shared memory of a block behind that of the copies: where the parts of it begin. */
struct room {
    struct fed fed;
    float *sum;          // [groups of lanes, HG, LP * 8]
    float *most, *total; // [groups, HG]
};

static __device__ __forceinline__ struct room room_of(float *p, int HG, int D, int LP)
{
    const int groups = THREADS / LP;
    struct room r;
    r.fed = { p, p + HG * D, p + (HG + 1) * D };
    r.sum = p + (HG + 2) * D;
    r.most = r.sum + groups * HG * LP * LANES;
    r.total = r.most + groups * HG;
    return r;
}

static size_t room_bytes(int HG, int D, int LP)
{
    const int groups = THREADS / LP;
    return static_cast<size_t>((HG + 2) * D + groups * HG * (LP * LANES + 2)) * sizeof(float);
}

/* Puts the groups' gatherings of a unit together: into parts [D + 2] of each head, or, where the text
 * has no other unit, as put_together() would, into out [HG, D]. */
template <typename T, int HG>
__device__ __forceinline__ void put_unit(const struct step_view &v, const struct room &r, int LP,
                                         const struct gathered<HG> &t, float *parts, size_t head,
                                         T *out)
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
#pragma unroll 8
        for (int k = 0; k < groups; k++)
            most = fmaxf(most, r.most[k * HG + h]);
#pragma unroll 8
        for (int k = 0; k < groups; k++) {
            const float w = expf(r.most[k * HG + h] - most);
            sum += w * r.sum[(k * HG + h) * width + i];
            total += w * r.total[k * HG + h];
        }
        if (out) {
            put(out + at, sum / total);
            continue;
        }
        parts[h * head + i] = sum;
        if (i == 0) {
            parts[h * head + D] = most;
            parts[h * head + D + 1] = total;
        }
    }
    __syncthreads();
}

/* All units of HG heads, one behind the other. parts: [HG heads, v.units, D + 2]; weights: shared
 * [HG, v.units] */
template <typename T, int HG>
__device__ __forceinline__ void put_together(const struct step_view &v, const float *parts,
                                             int units, float *weights, T *out)
{
    __shared__ float totals[HG];
    const int D = v.s.head_dim, lane = threadIdx.x % 32;
    const size_t head = static_cast<size_t>(v.units) * (D + 2);
    for (int h = threadIdx.x / 32; h < HG; h += WARPS) {
        const float *p = parts + h * head + D;
        float most = -INFINITY, total = 0;
        for (int u = lane; u < units; u += 32)
            most = fmaxf(most, __ldcg(p + u * (D + 2)));
        most = lanes_max(most, 32);
        for (int u = lane; u < units; u += 32) {
            const float w = expf(__ldcg(p + u * (D + 2)) - most);
            weights[h * v.units + u] = w;
            total += w * __ldcg(p + u * (D + 2) + 1);
        }
        total = lanes_sum(total, 32);
        if (lane == 0)
            totals[h] = total;
    }
    __syncthreads();
    for (int at = threadIdx.x; at < HG * D; at += THREADS) {
        const float *p = parts + at / D * head + at % D, *w = weights + at / D * v.units;
        float sum = 0;
#pragma unroll 8
        for (int u = 0; u < units; u++)
            sum += w[u] * __ldcg(p + u * (D + 2));
        put(out + at, sum / totals[at / D]);
    }
}

/* Blocks: texts, heads / HG, shares of the units. */
template <typename T, int HG>
__global__ void __launch_bounds__(THREADS, HG == 1 ? 3 : 2)
    attend_kernel(struct step_view v, const T *q_norm, const T *k_norm, T *keys, T *values,
                  int64_t slot_size, const float *cos, const float *sin, int LP)
{
    DYNAMIC_SHARED(unsigned char, shared);
    const int text = blockIdx.x, h0 = blockIdx.y * HG, D = v.s.head_dim, H = v.s.heads;
    const int slot = __ldcg(v.in->slot + text), position = __ldcg(v.in->position + text);
    const int unit = unit_of(v, position), units = position / unit + 1,
              shares = min(static_cast<int>(gridDim.z), units);
    const int group = H / v.s.kv_heads, g = h0 / group, kv = v.s.kv_heads * D;
    if (slot < 0 || static_cast<int>(blockIdx.z) >= shares) {
        follow();
        return;
    }
    const struct room r =
        room_of(reinterpret_cast<float *>(shared + ahead_bytes<T, HG>()), HG, D, LP);
    T *own_keys = keys + slot * slot_size + g * D, *own_values = values + slot * slot_size + g * D;
    const int z = blockIdx.z;
    struct past_copies<T, HG> past;
    past.slots = reinterpret_cast<struct eight<T> *>(shared) + threadIdx.x;
    past.keys = own_keys, past.values = own_values;
    past.position = position, past.unit = unit, past.units = units, past.shares = shares;
    past.open(v, z, LP);
    follow();
    prepare_all<T, HG>(v, q_norm, k_norm, cos, sin, text, position, h0, r.fed);
    if (h0 % group == 0 && z == (units - 1) % shares)
        for (int i = threadIdx.x; i < D; i += THREADS) {
            put(own_keys + static_cast<size_t>(position) * kv + i, r.fed.key[i]);
            put(own_values + static_cast<size_t>(position) * kv + i, r.fed.value[i]);
        }
    const size_t head = static_cast<size_t>(v.units) * (D + 2);
    float *parts = v.parts + (static_cast<size_t>(text) * H + h0) * head;
    T *out = static_cast<T *>(v.attended) + (static_cast<size_t>(text) * H + h0) * D;
    int stage = 0;
    for (int u = z; u < units; u += shares) {
        struct gathered<HG> t;
        attend_unit<T, HG>(v, r.fed, u, LP, past, stage, t);
        put_unit<T, HG>(v, r, LP, t, parts + static_cast<size_t>(u) * (D + 2), head,
                        units == 1 ? out : nullptr);
    }
    if (units > 1 &&
        arrive_last(v.arrived + text * gridDim.y + blockIdx.y, static_cast<unsigned>(shares)))
        put_together<T, HG>(v, parts, units, r.sum, out);
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
    const int blocks = v.s.heads / HG, enough = 8 * l.processors;
    const int share = enough / (v.rows * blocks), LP = lanes_for(v.s.head_dim);
    const int shares = share < 1 ? 1 : share < v.units ? share : v.units;
    const size_t shared = ahead_bytes<T, HG>() + room_bytes(HG, v.s.head_dim, LP);
    CHAIN(l, (attend_kernel<T, HG>),
          dim3(static_cast<unsigned>(v.rows), static_cast<unsigned>(blocks),
               static_cast<unsigned>(shares)),
          THREADS, shared, v, static_cast<const T *>(w.q_norm), static_cast<const T *>(w.k_norm),
          static_cast<T *>(w.keys), static_cast<T *>(w.values), slot_size, cos, sin, LP);
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
