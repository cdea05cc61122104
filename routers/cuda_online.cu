/*
 * cuda_online.cu: online and strict over a pool that is there at once, by blocks side by side: each
 * has a run of tokens and reads all scores before it. Strict, and a state that decoding goes on from,
 * take a second kernel.
 *
 *   slabs   of a long pool: its scores counted by bins, so that not each block has to
 *   decide  how many each token takes by its scores (cuda_run.cuh), and which; a state's window
 *           behind the pool
 *   settle  strict: what is left to each token, by a scan over the counts, and which it takes where
 *           that is less; a state's scores and its head
 *
 * What a token takes hangs on the scores before it, not on what was taken: so no block waits for
 * another. Kernels read a state's head and scores in `decide`, and write them in `settle`.
 * Leaves out: a token at a time (cuda.cuh).
 */
#include "routers/cuda_run.cuh"

/* A block's pool, and where the block's tokens are. */
struct place_in_pool {
    struct gpu_router r;
    const struct cache_head *head; /* NULL: the pool has no state */
    void *state;
    const float *scores;  /* of the pool's first token */
    int prompt, tokens;   /* of the pool; the prompt's are by global */
    int before;           /* tokens of the first segment that came before the pool */
    const unsigned *bins; /* of the pool's slabs */
    int slab, nslabs;     /* tokens of each, and how many */
};

/* before: of the pool, where it is known already, else -1 */
__device__ static struct place_in_pool place_of(const struct pool_work &w, int layer,
                                                const float *scores, const unsigned *bins,
                                                int before)
{
    struct place_in_pool p = {};
    p.r = w.pool.router;
    p.tokens = w.pool.tokens;
    p.scores = scores + static_cast<size_t>(w.pool.from) * p.r.N;
    p.prompt = !p.r.global_prompt ? 0 : w.pool.prompt < p.tokens ? w.pool.prompt : p.tokens;
    p.bins = bins ? bins + static_cast<size_t>(w.slabs) * LEVEL_BINS : NULL;
    p.slab = w.slab;
    p.nslabs = bins ? w.nslabs : 0;
    if (w.pool.state) {
        p.state = static_cast<char *>(w.pool.state) + static_cast<size_t>(layer) * w.pool.stride;
        p.head = static_cast<const struct cache_head *>(p.state);
    }
    // A prompt by global is a text's beginning.
    p.before = before >= 0 ? before : p.head && p.prompt == 0 ? p.head->tokens : 0;
    return p;
}

/* Tokens of its segment before the pool's token t. */
__device__ static int position(const struct place_in_pool &p, int t)
{
    return p.r.segment > 0 ? (p.before + t) % p.r.segment : p.before + t;
}

/* The scores of the `n` tokens before the pool's token t, as many as there are at most. */
__device__ static struct key_source scores_before(const struct place_in_pool &p, int t, int n)
{
    int here = n < t ? n : t, begin = t - here, N = p.r.N;
    const uint32_t *bag = p.head ? cache_bag(p.state, *p.head) : NULL;
    struct key_source from = {
        bag, (n - here) * N, p.scores + static_cast<size_t>(begin) * N, here * N, NULL, 0, 0, 0
    };
    if (p.nslabs > 0) {
        int slab = (begin + p.slab - 1) / p.slab, end = t / p.slab;
        end = end < p.nslabs ? end : p.nslabs;
        from.slabs = p.bins + static_cast<size_t>(slab) * LEVEL_BINS;
        from.nslabs = end > slab ? end - slab : 0;
        from.slab = p.slab * N;
        from.first = slab * from.slab - begin * N;
    }
    return from;
}

/* Tokens of its last segment behind the pool. */
__device__ static int tokens_behind(const struct place_in_pool &p)
{
    return position(p, p.tokens - 1) + 1;
}

/* The window and the middle behind the pool; writes neither the state's head nor its scores. */
__device__ static void build_state(const struct place_in_pool &p, struct cache_shared *s,
                                   struct text_work *text)
{
    int kept = tokens_behind(p);
    struct cache_level window = level_empty(), middle = level_empty();
    middle.count = -1;
    if (threadIdx.x == 0) {
        s->head = *p.head;
        s->head.read = 0;
    }
    __syncthreads();
    cache_build(s, p.state, scores_before(p, p.tokens, kept), kept * p.r.K, &window, &middle);
    if (threadIdx.x == 0)
        *text = { p.before,
                  p.prompt > 0 ? 0 : static_cast<long long>(p.head->tokens) * p.r.K - p.head->used,
                  window,
                  middle,
                  1,
                  s->head.read };
}

__global__ void __launch_bounds__(ONLINE_THREADS)
    slabs_kernel(const struct pool_work *pools, const struct block_work *blocks, unsigned *bins,
                 const float *scores)
{
    __shared__ struct cache_shared s;
    const struct block_work b = blocks[blockIdx.x];
    int N = pools[b.pool].pool.router.N;
    unsigned *to = bins + static_cast<size_t>(b.unit) * LEVEL_BINS;
    for (int i = static_cast<int>(threadIdx.x); i < LEVEL_BINS; i += ONLINE_THREADS)
        s.bins[i] = 0;
    __syncthreads();
    count_bins(&s, scores_of(scores + static_cast<size_t>(b.from) * N, b.tokens * N),
               bins_of(level_empty()));
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < LEVEL_BINS; i += ONLINE_THREADS)
        to[i] = s.bins[i];
}

/* Two of its blocks share a multiprocessor, where a row is not long. */
template <int J>
__global__ void __launch_bounds__(ONLINE_THREADS, J <= 8 ? 2 : 1)
    decide_kernel(const struct pool_work *pools, const struct block_work *blocks,
                  struct text_work *texts, const unsigned *bins, int layer, const float *scores,
                  uint8_t *taken, uint16_t *counts)
{
    __shared__ struct run_shared s;
    const struct block_work b = blocks[blockIdx.x];
    const struct place_in_pool p = place_of(pools[b.pool], layer, scores, bins, -1);
    if (p.head && b.tokens == 0) {
        build_state(p, &s.cache, &texts[b.pool]);
        return;
    }
    int at = b.from - pools[b.pool].pool.from, end = at + b.tokens;
    while (at < end) {
        struct run run;
        run.before = position(p, at);
        run.old = scores_before(p, at, run.before);
        run.scores = p.scores + static_cast<size_t>(at) * p.r.N;
        run.tokens = end - at;
        if (p.r.segment > 0 && run.tokens > p.r.segment - run.before)
            run.tokens = p.r.segment - run.before;
        // Where scores jump, fewer tokens have room.
        while (!run_open<J>(&s, p.r, run) && run.tokens > 1)
            run.tokens /= 2;
        size_t row = static_cast<size_t>(pools[b.pool].pool.from) + at;
        run_decide<J>(&s, p.r, run, taken + row * p.r.N, counts ? counts + row : NULL);
        at += run.tokens;
    }
}

/* ---- what was taken before ---- */

/* What some tokens do to the budget that is left: d becomes d + add, and at least `least`. */
struct slack_step {
    long long add, least;
};
constexpr long long NO_LEAST = -(1LL << 60);

__device__ static struct slack_step then(const struct slack_step &a, const struct slack_step &b)
{
    long long least = a.least + b.add;
    return { a.add + b.add, least > b.least ? least : b.least };
}

/* Those of the lane that is `d` before, or none. */
__device__ static struct slack_step steps_before(const struct slack_step &own, int d)
{
    struct slack_step other = {
        __shfl_up_sync(ALL_LANES, own.add, static_cast<unsigned>(d)),
        __shfl_up_sync(ALL_LANES, own.least, static_cast<unsigned>(d)),
    };
    return static_cast<int>(threadIdx.x & 31) >= d ? other : slack_step{ 0, NO_LEAST };
}

struct settle_shared {
    struct slack_step warp[ONLINE_THREADS / 32];
    int count[RUN_TOKENS], left[RUN_TOKENS]; /* what each token takes, and is allowed */
};

/* What is left of the budget before the pool's token t. counts: of the pool */
__device__ static long long slack_before(const struct place_in_pool &p, int t, long long slack,
                                         const uint16_t *counts, struct settle_shared *s)
{
    int tid = static_cast<int>(threadIdx.x), lane = tid & 31, first = p.prompt;
    if (t == first)
        return slack;
    int begin = t - 1 - position(p, t - 1); // of the segment
    if (begin >= first) {
        first = begin;
        slack = 0;
    }
    int each = (t - first + ONLINE_THREADS - 1) / ONLINE_THREADS;
    struct slack_step own = { 0, NO_LEAST };
    for (int i = first + tid * each; i < first + (tid + 1) * each && i < t; i++)
        own = then(own, { p.r.K - counts[i], p.r.kind == GPU_STRICT ? 0 : NO_LEAST });
    for (int d = 1; d < 32; d *= 2)
        own = then(steps_before(own, d), own);
    __syncthreads();
    if (lane == 31)
        s->warp[tid / 32] = own;
    __syncthreads();
    struct slack_step all = { slack, NO_LEAST };
    for (int i = 0; i < ONLINE_THREADS / 32; i++)
        all = then(all, s->warp[i]);
    return all.add > all.least ? all.add : all.least;
}

/* Takes strict's tokens back to what is left to them. counts, taken: of the pool; slack: before `at` */
template <int J>
__device__ static void settle_run(const struct place_in_pool &p, int at, int tokens,
                                  long long slack, const uint16_t *counts, uint8_t *taken,
                                  struct settle_shared *s)
{
    int tid = static_cast<int>(threadIdx.x), lane = tid & 31, N = p.r.N;
    for (int i = tid; i < tokens; i += ONLINE_THREADS)
        s->count[i] = counts[at + i];
    __syncthreads();
    for (int i = 0, next = position(p, at); tid == 0 && i < tokens; i++, next++) {
        if (p.r.segment > 0 && next % p.r.segment == 0)
            slack = 0;
        slack += p.r.K;
        int n = slack < s->count[i] ? static_cast<int>(slack) : s->count[i];
        s->left[i] = n;
        slack -= n;
    }
    __syncthreads();
    for (int i = tid / 32; i < tokens; i += ONLINE_THREADS / 32) {
        if (s->left[i] == s->count[i])
            continue;
        size_t row = static_cast<size_t>(at + i) * N;
        uint32_t key[J], mine;
        row_keys<J>(p.scores + row, N, key);
        mine = row_best<J>(key, N, s->left[i]);
#pragma unroll
        for (int j = 0; j < J; j++)
            if (j * 32 + lane < N)
                taken[row + j * 32 + lane] = mine >> j & 1;
    }
}

/* This block's share of the scores that the state is to have. */
__device__ static void keep_scores(const struct place_in_pool &p, int block, int blocks)
{
    int kept = tokens_behind(p);
    struct key_source all = scores_before(p, p.tokens, kept);
    uint32_t *to = cache_bag(p.state, *p.head) + all.nkeys;
    for (int i = block * ONLINE_THREADS + static_cast<int>(threadIdx.x); i < all.nscores;
         i += blocks * ONLINE_THREADS)
        to[i] = score_key(all.scores[i]);
}

/* The head as it is behind the pool; the sizes stay, which other blocks read. */
__device__ static void keep_head(const struct place_in_pool &p, const struct text_work &text,
                                 long long slack)
{
    struct cache_head *h = static_cast<struct cache_head *>(p.state);
    if (threadIdx.x > 0)
        return;
    h->tokens = tokens_behind(p);
    h->used = static_cast<long long>(h->tokens) * p.r.K - slack;
    h->window = text.window;
    h->middle = text.middle;
    h->rebuilds[0] += text.rebuilds;
    h->rebuilds[1] += text.rebuilds;
    h->read += text.read;
}

template <int J>
__global__ void __launch_bounds__(ONLINE_THREADS)
    settle_texts_kernel(const struct pool_work *pools, const struct block_work *blocks,
                        const struct text_work *texts, int layer, const float *scores,
                        uint8_t *taken, const uint16_t *counts)
{
    __shared__ struct settle_shared s;
    const struct block_work b = blocks[blockIdx.x];
    const struct text_work text = texts[b.pool];
    const struct place_in_pool p = place_of(pools[b.pool], layer, scores, NULL, text.tokens);
    size_t from = static_cast<size_t>(pools[b.pool].pool.from);
    int at = b.from - static_cast<int>(from);
    if (p.r.kind == GPU_STRICT || (p.head && b.tokens == 0)) {
        long long slack = slack_before(p, at, text.slack, counts + from, &s);
        if (p.head && b.tokens == 0)
            keep_head(p, text, slack);
        else
            settle_run<J>(p, at, b.tokens, slack, counts + from, taken + from * p.r.N, &s);
    }
    if (p.head)
        keep_scores(p, b.unit, pools[b.pool].blocks);
}

int launch_online(const struct gpu_plan *p, int layer, const float *scores, uint8_t *taken,
                  cudaStream_t stream, struct buf *err)
{
    const struct pool_work *pools = static_cast<const struct pool_work *>(p->pools);
    const struct block_work *blocks = plan_blocks(p, p->rows + p->small_units + p->chunks);
    struct text_work *texts = static_cast<struct text_work *>(p->texts);
    uint16_t *counts = p->settles ? static_cast<uint16_t *>(p->counts) : NULL;
    unsigned *bins = static_cast<unsigned *>(p->bins);
    if (p->online == 0)
        return 0;
    if (p->slabs)
        LAUNCH(slabs_kernel, p->slabs, ONLINE_THREADS, 0, stream, pools, blocks + p->online, bins,
               scores);
    ROW_LAUNCH(decide_kernel, p->N, p->online, ONLINE_THREADS, stream, pools, blocks, texts, bins,
               layer, scores, taken, counts);
    if (p->settles)
        ROW_LAUNCH(settle_texts_kernel, p->N, p->online, ONLINE_THREADS, stream, pools, blocks,
                   texts, layer, scores, taken, counts);
    return gpu_check(err, "routing texts on the GPU");
}
