/*
 * cuda_run.cuh: how many of its scores each token of a run takes by online, by one block of
 * ONLINE_THREADS.
 *
 * A token's c is the R-th largest of all scores up to it, R being K for each token. Over a run it
 * stays between two keys: the first token's R-th largest of all scores, the run's included, and the
 * last token's R-th largest of the scores before the run. Those between them, `inside`, are put into
 * shared memory, each with the token from which on it counts; those above are counted. Then a warp a
 * token asks of a few of its scores how many are larger.
 *
 * The two keys are the bounds of bins (cuda_level.cuh), or where too many share these, keys to the
 * bit. With these there are less than tokens * (N + K) inside, however the scores lie: a run of
 * RUN_PAIRS always has room, and one token.
 *
 * All functions are called by all threads of the block but those that say otherwise.
 * Leaves out: where runs begin and end, what strict leaves to a token (cuda_online.cu).
 */
#ifndef ROUTERS_CUDA_RUN_CUH
#define ROUTERS_CUDA_RUN_CUH

#include "routers/cuda_impl.cuh"

constexpr int RUN_PAIRS = CHUNK_PAIRS, RUN_KEYS = 2 * RUN_PAIRS;
constexpr uint32_t BELOW_KEYS = 1; /* no score's key, and none is less */

struct run {
    struct key_source old; /* all scores before it */
    int before;            /* tokens they are of */
    const float *scores;   /* the run's: [tokens, N] */
    int tokens;            /* 1 to RUN_TOKENS */
};

struct run_shared {
    struct cache_shared cache;
    alignas(16) uint32_t key[RUN_KEYS];  /* those inside, then zeros up to whole reads of a warp */
    alignas(16) uint16_t from[RUN_KEYS]; /* the token from which on each counts: 0 is all */
    int inside;
    uint32_t lo, hi;       /* the keys inside: from lo on, less than hi; lo is hi at most */
    int old_above;         /* scores before the run that are at least hi */
    int above[RUN_TOKENS]; /* and of the run, up to each token */
};

__device__ static struct key_source run_scores(const struct run &run, int N)
{
    return scores_of(run.scores, run.tokens * N);
}

/* The bounds of bins; s->cache has the bins then, and the two ranks within them, for run_exactly(). */
__device__ static void run_bins(struct run_shared *s, const struct gpu_router &r,
                                const struct run &run)
{
    struct cache_shared *c = &s->cache;
    const struct level_bins bins = bins_of(level_empty());
    int tid = static_cast<int>(threadIdx.x), last = (run.before + run.tokens) * r.K;
    bool under = last <= run.before * r.N;
    for (int i = tid; i < LEVEL_BINS; i += ONLINE_THREADS)
        c->bins[i] = 0;
    if (tid == 0) {
        c->rank[0] = (run.before + 1) * r.K;
        c->rank[1] = last;
        c->rank[2] = 1;
    }
    __syncthreads();
    count_bins(c, run.old, bins);
    __syncthreads();
    if (tid < 32 && under)
        find_bin(c, 1);
    __syncthreads();
    count_bins(c, run_scores(run, r.N), bins);
    __syncthreads();
    if (tid < 32)
        find_bin(c, 0);
    __syncthreads();
    if (tid == 0) {
        uint32_t lo = under ? bins.floor(c->prefix[1], level_empty()) : 0;
        s->hi = bins.ceiling(c->prefix[0], level_empty());
        s->lo = lo > BELOW_KEYS ? lo : BELOW_KEYS + 1;
    }
    __syncthreads();
}

/* The bounds are the two keys: neither is inside. */
__device__ static void run_exactly(struct run_shared *s, const struct gpu_router &r,
                                   const struct run &run)
{
    struct cache_shared *c = &s->cache;
    const struct level_bins bins = bins_of(level_empty());
    int tid = static_cast<int>(threadIdx.x), last = (run.before + run.tokens) * r.K;
    bool under = last <= run.before * r.N;
    uint32_t top = bins.of(bins.most), over = c->prefix[0], least = under ? c->prefix[1] : over;
    // All but the outer bins say which bits their keys begin with.
    bool inner = over > 0 && over < top && least > 0 && least < top;
    __syncthreads();
    if (tid == 0) {
        c->prefix[0] = inner ? bins.floor(over, level_empty()) : 0;
        c->prefix[1] = inner ? bins.floor(least, level_empty()) : 0;
        c->prefix[2] = 0;
        if (!inner) {
            c->rank[0] = (run.before + 1) * r.K;
            c->rank[1] = last;
        }
    }
    __syncthreads();
    int which = under ? 3 : 1;
    find_keys(c, inner ? bins.shift - 8 : 24, [&](auto f) {
        each_key(run.old, [=](uint32_t key) { f(key, which); });
        each_key(run_scores(run, r.N), [=](uint32_t key) { f(key, 1); });
    });
    if (tid == 0) {
        uint32_t lo = (under ? c->prefix[1] : BELOW_KEYS) + 1;
        s->hi = c->prefix[0];
        s->lo = lo < s->hi ? lo : s->hi;
    }
    __syncthreads();
}

/* Puts a key inside; where there is no room it is counted alone. */
__device__ static void put_inside(struct run_shared *s, uint32_t key, int from)
{
    int at = atomicAdd(&s->inside, 1);
    if (at < RUN_KEYS) {
        s->key[at] = key;
        s->from[at] = static_cast<uint16_t>(from);
    }
}

/* The scores before the run, and its own: those inside, and how many are above them. */
template <int J>
__device__ static void run_fill(struct run_shared *s, const struct gpu_router &r,
                                const struct run &run)
{
    const uint32_t lo = s->lo, hi = s->hi;
    int tid = static_cast<int>(threadIdx.x), above = 0;
    __syncthreads();
    if (tid == 0)
        s->inside = s->old_above = 0;
    __syncthreads();
    each_key(run.old, [&](uint32_t key) {
        above += key >= hi;
        if (key - lo < hi - lo)
            put_inside(s, key, 0);
    });
    above = __reduce_add_sync(ALL_LANES, above);
    if (tid % 32 == 0)
        atomicAdd(&s->old_above, above);
    for (int t = tid / 32; t < run.tokens; t += ONLINE_THREADS / 32) {
        uint32_t key[J];
        row_keys<J>(run.scores + static_cast<size_t>(t) * r.N, r.N, key);
        int above_row = 0;
#pragma unroll
        for (int j = 0; j < J; j++) {
            above_row += __popc(__ballot_sync(ALL_LANES, key[j] >= hi));
            if (key[j] - lo < hi - lo)
                put_inside(s, key[j], t);
        }
        if (tid % 32 == 0)
            s->above[t] = above_row;
    }
    __syncthreads();
}

/* Sums over the tokens up to each; by one warp. */
__device__ static void sum_up(int *of, int n)
{
    int lane = static_cast<int>(threadIdx.x & 31), before = 0;
    for (int first = 0; first < n; first += 32) {
        int upto = first + lane < n ? of[first + lane] : 0;
        for (int d = 1; d < 32; d *= 2) {
            int other = __shfl_up_sync(ALL_LANES, upto, static_cast<unsigned>(d));
            upto += lane >= d ? other : 0;
        }
        if (first + lane < n)
            of[first + lane] = before + upto;
        before += __shfl_sync(ALL_LANES, upto, 31);
    }
}

/* Loads a run. false: it has too many scores inside, and fewer tokens are to be tried */
template <int J>
__device__ static bool run_open(struct run_shared *s, const struct gpu_router &r,
                                const struct run &run)
{
    constexpr int WHOLE = 128; // keys that a warp reads at once
    int tid = static_cast<int>(threadIdx.x);
    __syncthreads();
    run_bins(s, r, run);
    run_fill<J>(s, r, run);
    if (s->inside > RUN_KEYS) {
        run_exactly(s, r, run);
        run_fill<J>(s, r, run);
    }
    if (s->inside > RUN_KEYS)
        return false;
    for (int i = s->inside + tid; i < RUN_KEYS && i < s->inside + WHOLE; i += ONLINE_THREADS) {
        s->key[i] = 0;
        s->from[i] = 0;
    }
    if (tid < 32)
        sum_up(s->above, run.tokens);
    __syncthreads();
    return true;
}

/* How many of those inside that count up to token t are larger than x; by one warp. */
__device__ static int larger_inside(const struct run_shared *s, int t, uint32_t x)
{
    int lane = static_cast<int>(threadIdx.x & 31), larger = 0;
    const uint4 *key = reinterpret_cast<const uint4 *>(s->key);
    const ushort4 *from = reinterpret_cast<const ushort4 *>(s->from);
    for (int i = lane; i - lane < (s->inside + 3) / 4; i += 32) {
        uint4 k = key[i];
        ushort4 f = from[i];
        larger += (k.x > x && f.x <= t) + (k.y > x && f.y <= t) + (k.z > x && f.z <= t) +
                  (k.w > x && f.w <= t);
    }
    return __reduce_add_sync(ALL_LANES, larger);
}

/* The first of the row's keys from `least` to `most`; 0: none. By one warp. */
template <int J>
__device__ static uint32_t first_key(const uint32_t key[J], uint32_t least, uint32_t most)
{
    uint32_t found = 0;
#pragma unroll
    for (int j = 0; j < J; j++) {
        unsigned who = __ballot_sync(ALL_LANES, key[j] >= least && key[j] <= most);
        if (found == 0 && who)
            found = __shfl_sync(ALL_LANES, key[j], __ffs(static_cast<int>(who)) - 1);
    }
    return found;
}

/* A key that the scores which token t of the run takes are larger than; by one warp. key: its row */
template <int J>
__device__ static uint32_t run_cut(const struct run_shared *s, const struct gpu_router &r,
                                   const struct run &run, int t, const uint32_t key[J])
{
    int R = (run.before + t + 1) * r.K;
    // Of all scores, the run's included, fewer than R are larger than hi: what has hi is in. Those above
    // `cut` are in, those below `least` are not; a key that is asked decides for more.
    uint32_t cut = s->hi - 1, least = s->lo - 1, x;
    while ((x = first_key<J>(key, least, cut)))
        if (s->old_above + s->above[t] + larger_inside(s, t, x) < R)
            cut = x - 1;
        else
            least = x + 1;
    return cut;
}

/*
 * What the tokens of a run take, behind run_open(): as online, within the bounds of r. taken:
 * [tokens, N]; counts: how many each takes, [tokens] or NULL
 */
template <int J>
__device__ static void run_decide(const struct run_shared *s, const struct gpu_router &r,
                                  const struct run &run, uint8_t *taken, uint16_t *counts)
{
    int tid = static_cast<int>(threadIdx.x), lane = tid & 31;
    for (int t = tid / 32; t < run.tokens; t += ONLINE_THREADS / 32) {
        size_t row = static_cast<size_t>(t) * r.N;
        uint32_t key[J], mine = 0;
        int reached = 0;
        row_keys<J>(run.scores + row, r.N, key);
        uint32_t cut = run_cut<J>(s, r, run, t, key);
#pragma unroll
        for (int j = 0; j < J; j++) {
            reached += __popc(__ballot_sync(ALL_LANES, key[j] > cut));
            mine |= static_cast<uint32_t>(key[j] > cut) << j;
        }
        int n = reached < r.min ? r.min : reached > r.max ? r.max : reached;
        if (n != reached)
            mine = row_best<J>(key, r.N, n);
#pragma unroll
        for (int j = 0; j < J; j++)
            if (j * 32 + lane < r.N)
                taken[row + j * 32 + lane] = mine >> j & 1;
        if (counts && lane == 0)
            counts[t] = static_cast<uint16_t>(n);
    }
}

#endif
