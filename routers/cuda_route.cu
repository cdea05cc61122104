/*
 * cuda_route.cu: plans: which blocks route a batch's pools, as lists that are copied to the device
 * once. See cuda.h; memory of a plan, in this order, each part aligned to 256 bytes: pools, blocks,
 * units, texts, histograms, lists of pair keys, counts of tokens, bins of slabs.
 */
#include "routers/cuda_impl.cuh"

struct plan_sizes {
    size_t tokens; /* the batch's, up to the last pool's end */
    int rows, small_units, chunks, online, slabs, large_units;
    bool settles;
};

static size_t aligned(size_t bytes)
{
    return (bytes + 255) / 256 * 256;
}

static int least_of(int a, int b)
{
    return a < b ? a : b;
}

static int blocks_of(int tokens, int each)
{
    return (tokens + each - 1) / each;
}

/* Rows of a block that shares a unit, or routes tokens alone. */
static int chunk_rows(int N)
{
    return N < CHUNK_PAIRS ? CHUNK_PAIRS / N : 1;
}

/* Tokens of the pool that are routed by global. */
static int global_tokens(const struct gpu_pool *p)
{
    return p->router.kind == GPU_GLOBAL   ? p->tokens
           : p->router.global_prompt == 0 ? 0
           : p->prompt < p->tokens        ? p->prompt
                                          : p->tokens;
}

static int unit_step(const struct gpu_pool *p)
{
    return p->router.segment > 0 ? p->router.segment : p->tokens;
}

static bool is_small(int tokens, int N)
{
    return static_cast<size_t>(tokens) * static_cast<size_t>(N) <= SMALL_PAIRS;
}

static bool keeps_state(const struct gpu_pool *p)
{
    return p->router.kind == GPU_ONLINE || p->router.kind == GPU_STRICT;
}

/*
 * Tokens of the block of online or strict that begins behind t tokens of its pool. All blocks run side
 * by side, and each reads the scores before it: late ones may have more tokens, a 32nd of these.
 */
static int online_step(const struct gpu_pool *p, int t)
{
    int fewest = least_of(chunk_rows(p->router.N), RUN_TOKENS);
    int more = p->router.segment > 0 ? 0 : least_of(t / 32, RUN_TOKENS);
    return least_of(more > fewest ? more : fewest, p->tokens - t);
}

/* How many blocks such a pool has: a state has one of its own. */
static int online_blocks(const struct gpu_pool *p)
{
    int n = p->state != NULL;
    for (int t = global_tokens(p); t < p->tokens; t += online_step(p, t))
        n++;
    return n;
}

static int slab_tokens(int N)
{
    return SLAB_PAIRS / N;
}

/* Whole slabs of a pool of online or strict; of a few none, which its blocks count as fast. */
static int slabs_of(const struct gpu_pool *p)
{
    int n = p->tokens / slab_tokens(p->router.N), each = p->router.segment;
    return n < 3 || (each > 0 && each < 3 * slab_tokens(p->router.N)) ? 0 : n;
}

static struct plan_sizes sizes_of(const struct gpu_pool *pools, int npools)
{
    struct plan_sizes z = {};
    for (int i = 0; i < npools; i++) {
        const struct gpu_pool *p = &pools[i];
        int N = p->router.N, tokens = global_tokens(p);
        size_t end = static_cast<size_t>(p->from) + static_cast<size_t>(p->tokens);
        z.tokens = end > z.tokens ? end : z.tokens;
        if (N != pools[0].router.N)
            BUG("pools of %d and %d experts", pools[0].router.N, N);
        if (p->tokens == 0)
            continue;
        for (int t = 0, n; t < tokens; t += n) {
            n = least_of(unit_step(p), tokens - t);
            z.small_units += is_small(n, N);
            z.large_units += !is_small(n, N);
            z.chunks += is_small(n, N) ? 0 : blocks_of(n, chunk_rows(N));
        }
        if (keeps_state(p)) {
            z.online += online_blocks(p);
            z.slabs += slabs_of(p);
            z.settles |= p->state || p->router.kind == GPU_STRICT;
        } else if (p->router.kind != GPU_GLOBAL) {
            z.rows += blocks_of(p->tokens, chunk_rows(N));
        }
    }
    return z;
}

/* Lists of the pools: one for each layer, where a pool's bound differs from layer to layer. */
static int lists_of(const struct gpu_pool *pools, int npools)
{
    int n = 1;
    for (int i = 0; i < npools; i++) {
        if (pools[i].maxes && n > 1 && pools[i].layers != n)
            BUG("pools of %d and %d layers", n, pools[i].layers);
        n = pools[i].maxes ? pools[i].layers : n;
    }
    return n;
}

static int all_blocks(const struct plan_sizes *z)
{
    return z->rows + z->small_units + z->chunks + z->online + z->slabs;
}

/* Where each part begins in a plan's memory. */
struct plan_layout {
    size_t pools, blocks, units, texts, histograms, lists, counts, slabs, bytes;
};

static struct plan_layout layout_of(const struct gpu_pool *pools, int npools,
                                    const struct plan_sizes *z)
{
    size_t units = static_cast<size_t>(z->small_units) + static_cast<size_t>(z->large_units);
    size_t N = npools > 0 ? static_cast<size_t>(pools[0].router.N) : 0;
    struct plan_layout l = {};
    l.blocks = aligned(static_cast<size_t>(npools) * static_cast<size_t>(lists_of(pools, npools)) *
                       sizeof(struct pool_work));
    l.units = l.blocks + aligned(static_cast<size_t>(all_blocks(z)) * sizeof(struct block_work));
    l.texts = l.units + aligned(units * sizeof(struct unit_work));
    l.histograms =
        l.texts + (z->online ? aligned(static_cast<size_t>(npools) * sizeof(struct text_work)) : 0);
    l.lists = l.histograms +
              aligned(static_cast<size_t>(z->large_units) * GLOBAL_BINS * sizeof(unsigned));
    l.counts = l.lists + (units ? aligned(z->tokens * N * sizeof(unsigned long long)) : 0);
    l.slabs = l.counts + (z->settles ? aligned(z->tokens * sizeof(uint16_t)) : 0);
    l.bytes = l.slabs + static_cast<size_t>(z->slabs) * LEVEL_BINS * sizeof(unsigned);
    return l;
}

size_t gpu_plan_bytes(const struct gpu_pool *pools, int npools)
{
    struct plan_sizes z = sizes_of(pools, npools);
    return layout_of(pools, npools, &z).bytes;
}

/* The lists on the host, while they are written. */
struct plan_writer {
    struct pool_work *pools;
    struct block_work *rows, *small, *chunks, *online, *slab; /* the next of each */
    struct unit_work *units;
    int nunits, histograms, slabs;
};

static void add_chunks(struct block_work **to, int pool, int unit, int from, int tokens, int each)
{
    for (int t = 0; t < tokens; t += each)
        *(*to)++ = { pool, unit, from + t, least_of(each, tokens - t) };
}

static void add_units(struct plan_writer *w, const struct gpu_pool *p, int pool)
{
    int N = p->router.N, tokens = global_tokens(p), each = chunk_rows(N);
    for (int t = 0, n; t < tokens; t += n) {
        n = least_of(unit_step(p), tokens - t);
        bool small = is_small(n, N);
        struct unit_work u = {};
        u.pool = pool;
        u.from = p->from + t;
        u.tokens = n;
        u.chunks = small ? 0 : blocks_of(n, each);
        u.histogram = small ? 0 : w->histograms++;
        if (small)
            *w->small++ = { pool, w->nunits, u.from, n };
        else
            add_chunks(&w->chunks, pool, w->nunits, u.from, n, each);
        w->units[w->nunits++] = u;
    }
}

/* The last ones first: they take longest. */
static void add_online(struct plan_writer *w, const struct gpu_pool *p, int pool, int blocks)
{
    int i = p->state != NULL;
    struct block_work *last = w->online + blocks - 1;
    w->online[0] = { pool, 0, p->from + p->tokens, 0 };
    for (int t = global_tokens(p), n; t < p->tokens; t += n, i++) {
        n = online_step(p, t);
        *last-- = { pool, i, p->from + t, n };
    }
    w->online += blocks;
}

static void add_slabs(struct plan_writer *w, const struct gpu_pool *p, int pool)
{
    int n = slabs_of(p), each = slab_tokens(p->router.N);
    w->pools[pool].slab = each;
    w->pools[pool].slabs = w->slabs;
    w->pools[pool].nslabs = n;
    for (int i = 0; i < n; i++)
        *w->slab++ = { pool, w->slabs++, p->from + i * each, each };
}

static void add_pool(struct plan_writer *w, const struct gpu_pool *p, int pool)
{
    w->pools[pool] = { *p, 0, 0, 0, 0 };
    if (p->tokens == 0)
        return;
    add_units(w, p, pool);
    if (keeps_state(p)) {
        w->pools[pool].blocks = online_blocks(p);
        if (w->pools[pool].blocks > 0)
            add_online(w, p, pool, w->pools[pool].blocks);
        add_slabs(w, p, pool);
    } else if (p->router.kind != GPU_GLOBAL) {
        add_chunks(&w->rows, pool, 0, p->from, p->tokens, chunk_rows(p->router.N));
    }
}

/* The list of the first layer again for each layer, with its bounds. */
static void add_lists(struct pool_work *list, const struct gpu_pool *pools, int npools)
{
    const int lists = lists_of(pools, npools);
    for (int layer = lists - 1; layer >= 0; layer--)
        for (int i = 0; i < npools; i++) {
            struct pool_work *to =
                list + static_cast<size_t>(layer) * static_cast<size_t>(npools) + i;
            *to = list[i];
            if (pools[i].maxes)
                to->pool.router.max = pools[i].maxes[layer];
        }
}

int gpu_plan_make(struct gpu_plan *plan, const struct gpu_pool *pools, int npools, void *memory,
                  void *stream, struct buf *err)
{
    struct plan_sizes z = sizes_of(pools, npools);
    struct plan_layout l = layout_of(pools, npools, &z);
    char *host = static_cast<char *>(xcalloc(1, l.histograms + 1)),
         *to = static_cast<char *>(memory);
    struct plan_writer w = {};
    w.pools = reinterpret_cast<struct pool_work *>(host);
    w.rows = reinterpret_cast<struct block_work *>(host + l.blocks);
    w.small = w.rows + z.rows;
    w.chunks = w.small + z.small_units;
    w.online = w.chunks + z.chunks;
    w.slab = w.online + z.online;
    w.units = reinterpret_cast<struct unit_work *>(host + l.units);
    for (int i = 0; i < npools; i++)
        add_pool(&w, &pools[i], i);
    add_lists(w.pools, pools, npools);
    cudaStream_t s = static_cast<cudaStream_t>(stream);
    // From memory that is not pinned: it has been read when the call returns.
    cudaError_t code = cudaMemcpyAsync(to, host, l.histograms, cudaMemcpyHostToDevice, s);
    if (code == cudaSuccess && l.lists > l.histograms)
        code = cudaMemsetAsync(to + l.histograms, 0, l.lists - l.histograms, s);
    free(host);
    if (code != cudaSuccess)
        return fail(err, "copying what is to be routed to the GPU: %s", cudaGetErrorString(code));
    *plan = { npools > 0 ? pools[0].router.N : 0,
              npools,
              lists_of(pools, npools),
              z.rows,
              z.small_units,
              z.chunks,
              z.online,
              z.slabs,
              to,
              to + l.blocks,
              to + l.units,
              to + l.texts,
              to + l.histograms,
              to + l.lists,
              to + l.counts,
              to + l.slabs,
              z.chunks > 0 && global_overlaps(),
              z.settles };
    return 0;
}

int gpu_route(const struct gpu_plan *plan, int layer, const float *scores, uint8_t *taken,
              void *stream, struct buf *err)
{
    cudaStream_t s = static_cast<cudaStream_t>(stream);
    struct gpu_plan here = *plan;
    if (plan->nlists > 1)
        here.pools = static_cast<struct pool_work *>(plan->pools) +
                     static_cast<size_t>(layer) * static_cast<size_t>(plan->npools);
    if (launch_rows(&here, scores, taken, s, err) || launch_global(&here, scores, taken, s, err))
        return -1;
    return launch_online(&here, layer, scores, taken, s, err);
}
