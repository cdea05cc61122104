/*
 * past.cuh: what a query gathers over its text's past, unit of positions by unit; see attend.cu.
 */
#ifndef PAST_CUH
#define PAST_CUH

#include "cuda/ahead.cuh"
#include "cuda/fed.cuh"

enum { LANES = 8 }; // columns of a lane

/* Positions of a group of lanes that are looked at together, and how many times that is copied
 * ahead. */
template <typename T, int HG> constexpr int at_once = HG == 1 && sizeof(T) == 2 ? 4 : 2;
template <typename T, int HG>
constexpr int steps_ahead = sizeof(T) == 4 || HG == 1 ? 2
                            : HG == 2                 ? 4
                                                      : 3;

/* A lane's columns of a key or a value, as they are in memory. */
template <typename T> struct eight {
    uint4 part[sizeof(T) / 2];
};
__device__ __forceinline__ void numbers(const struct eight<float> &e, float v[LANES])
{
    const uint4 a = e.part[0], b = e.part[1];
    const uint32_t word[LANES] = { a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w };
    for (int i = 0; i < LANES; i++)
        v[i] = __uint_as_float(word[i]);
}
__device__ __forceinline__ void numbers(const struct eight<nv_bfloat16> &e, float v[LANES])
{
    const uint4 a = e.part[0];
    const uint32_t word[LANES / 2] = { a.x, a.y, a.z, a.w };
    for (int i = 0; i < LANES; i++)
        v[i] = i % 2 ? high_half(word[i / 2]) : low_half(word[i / 2]);
}

/* Shared memory that the copies take. */
template <typename T, int HG> __host__ __device__ constexpr size_t ahead_bytes()
{
    return sizeof(struct eight<T>) * 2 * at_once<T, HG> * steps_ahead<T, HG> * THREADS;
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

/*
 * The copies of a thread, of all units of its block one behind the other. A unit's positions are
 * dealt out to the groups of lanes; all lanes of a block make the same number of rounds of U.
 */
template <typename T, int HG> struct past_copies {
    static constexpr int U = at_once<T, HG>, S = steps_ahead<T, HG>;
    struct ahead copies;
    struct eight<T> *slots; // this thread's
    const T *keys, *values; // the text's, of this head
    size_t stride;          // to the next position
    int have;               // values from its columns on
    int position;           // the last of all, which is not in the caches yet
    int unit, units, shares, u, p, stage;
    bool whole; // copies can be of 16 bytes

    __device__ __forceinline__ void fill(struct eight<T> *to, const T *from)
    {
        constexpr int PARTS = sizeof(*to) / sizeof(uint4);
        if (whole) {
            for (int i = 0; i < PARTS; i++)
                copies.copy(to->part + i, reinterpret_cast<const uint4 *>(from) + i, true);
            return;
        }
        T one[LANES];
        for (int i = 0; i < LANES; i++)
            put(one + i, i < have ? number(from[i]) : 0);
        memcpy(to->part, one, sizeof(one));
    }
    /* The first copies, from the block's first unit on. */
    __device__ __forceinline__ void open(const struct step_view &v, int first, int LP)
    {
        const int D = v.s.head_dim, own = threadIdx.x % LP * LANES;
        whole = D % LANES == 0 &&
                (reinterpret_cast<uintptr_t>(keys) | reinterpret_cast<uintptr_t>(values)) % 16 == 0;
        keys += own;
        values += own;
        stride = static_cast<size_t>(v.s.kv_heads) * D;
        have = D - own;
        u = first;
        p = first * unit;
        stage = 0;
        for (int i = 0; i < S; i++)
            next(THREADS / LP, threadIdx.x / LP);
    }
    /* Round after round; where there is none left, an empty group. at: this thread's first */
    __device__ __forceinline__ void next(int groups, int group)
    {
        if (u < units) {
#pragma unroll
            for (int j = 0; j < U; j++) {
                const int at = p + group + j * groups;
                struct eight<T> *to = slots + (stage * 2 * U + 2 * j) * THREADS;
                if (at >= min((u + 1) * unit, position) || have <= 0)
                    continue;
                fill(to, keys + at * stride);
                fill(to + THREADS, values + at * stride);
            }
            p += groups * U;
            if (p >= min((u + 1) * unit, position + 1)) {
                u += shares;
                p = u * unit;
            }
        }
        copies.commit();
        stage = stage + 1 < S ? stage + 1 : 0;
    }
};

/* Unit u: what the groups gather. past: goes on with the copies; stage: the first of the unit's, the
 * next unit's after */
template <typename T, int HG>
__device__ __forceinline__ void attend_unit(const struct step_view &v, const struct fed &fed, int u,
                                            int LP, struct past_copies<T, HG> &past, int &stage,
                                            struct gathered<HG> &t)
{
    constexpr int U = at_once<T, HG>, S = steps_ahead<T, HG>;
    const int D = v.s.head_dim, groups = THREADS / LP, own = threadIdx.x % LP * LANES;
    const int group = threadIdx.x / LP, to = min((u + 1) * past.unit, past.position + 1);
    float query[HG][LANES];
    for (int h = 0; h < HG; h++) {
        t.most[h] = -INFINITY;
        t.total[h] = 0;
        for (int i = 0; i < LANES; i++) {
            t.sum[h][i] = 0;
            query[h][i] = own + i < D ? fed.query[h * D + own + i] : 0;
        }
    }
#pragma unroll 1
    for (int from = u * past.unit; from < to; from += groups * U) {
        float value[U][LANES], score[U][HG];
        past.copies.template wait<S - 1>();
#pragma unroll
        for (int j = 0; j < U; j++) {
            const int p = from + group + j * groups;
            const struct eight<T> *slot = past.slots + (stage * 2 * U + 2 * j) * THREADS;
            float key[LANES];
            if (p < min(to, past.position) && past.have > 0) {
                numbers(slot[0], key);
                numbers(slot[THREADS], value[j]);
            } else {
                const bool now = p == past.position;
                for (int i = 0; i < LANES; i++) {
                    key[i] = now && own + i < D ? fed.key[own + i] : 0;
                    value[j][i] = now && own + i < D ? fed.value[own + i] : 0;
                }
            }
            for (int h = 0; h < HG; h++) {
                float dot = 0;
                for (int i = 0; i < LANES; i++)
                    dot = fmaf(query[h][i], key[i], dot);
                score[j][h] = dot;
            }
        }
        past.next(groups, group);
        stage = stage + 1 < S ? stage + 1 : 0;
#pragma unroll
        for (int j = 0; j < U; j++)
            for (int h = 0; h < HG; h++) {
                const float dot = lanes_sum(score[j][h], LP);
                score[j][h] = from + group + j * groups < to ? dot : -INFINITY;
            }
        gather<HG, U>(t, score, value);
    }
}

#endif
