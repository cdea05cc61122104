/*
 * cuda_route.cu: plans: which blocks route a batch's pools, as lists that are copied to the device
 * once. See cuda.h; memory of a plan, in this order, each part aligned to 256 bytes: pools, blocks,
 * units, histograms, lists of pair keys, states of pools that have none.
 */
#include "routers/cuda_impl.cuh"

struct plan_sizes {
    size_t tokens; /* the batch's, up to the last pool's end */
    int rows, small_units, chunks, online, large_units;
    size_t states; /* bytes */
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
            z.online++;
            z.states += p->state ? 0 : gpu_state_bytes(&p->router, p->tokens);
        } else if (p->router.kind != GPU_GLOBAL) {
            z.rows += blocks_of(p->tokens, chunk_rows(N));
        }
    }
    return z;
}

static int all_blocks(const struct plan_sizes *z)
{
    return z->rows + z->small_units + z->chunks + z->online;
}

/* Where each part begins in a plan's memory. */
struct plan_layout {
    size_t pools, blocks, units, histograms, lists, states, bytes;
};

static struct plan_layout layout_of(const struct gpu_pool *pools, int npools,
                                    const struct plan_sizes *z)
{
    size_t units = static_cast<size_t>(z->small_units) + static_cast<size_t>(z->large_units);
    size_t N = npools > 0 ? static_cast<size_t>(pools[0].router.N) : 0;
    struct plan_layout l = {};
    l.blocks = aligned(static_cast<size_t>(npools) * sizeof(struct pool_work));
    l.units = l.blocks + aligned(static_cast<size_t>(all_blocks(z)) * sizeof(struct block_work));
    l.histograms = l.units + aligned(units * sizeof(struct unit_work));
    l.lists = l.histograms +
              aligned(static_cast<size_t>(z->large_units) * GLOBAL_BINS * sizeof(unsigned));
    l.states = l.lists + (units ? aligned(z->tokens * N * sizeof(unsigned long long)) : 0);
    l.bytes = l.states + z->states;
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
    struct block_work *rows, *small, *chunks, *online; /* the next of each */
    struct unit_work *units;
    int nunits, histograms;
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

/* Writes a pool's blocks; its state, where it has none of its own, goes to *states. */
static int add_pool(struct plan_writer *w, const struct gpu_pool *p, int pool, char **states,
                    void *stream, struct buf *err)
{
    struct pool_work work = { *p, 0 };
    if (p->tokens > 0) {
        add_units(w, p, pool);
        if (!keeps_state(p) && p->router.kind != GPU_GLOBAL)
            add_chunks(&w->rows, pool, 0, p->from, p->tokens, chunk_rows(p->router.N));
    }
    if (p->tokens > 0 && keeps_state(p)) {
        *w->online++ = { pool, 0, p->from, p->tokens };
        if (!p->state) {
            work.own = 1;
            work.pool.state = *states;
            *states += gpu_state_bytes(&p->router, p->tokens);
            if (gpu_state_reset(&p->router, p->tokens, work.pool.state, 1, 0, stream, err))
                return -1;
        }
    }
    w->pools[pool] = work;
    return 0;
}

int gpu_plan_make(struct gpu_plan *plan, const struct gpu_pool *pools, int npools, void *memory,
                  void *stream, struct buf *err)
{
    struct plan_sizes z = sizes_of(pools, npools);
    struct plan_layout l = layout_of(pools, npools, &z);
    char *host = static_cast<char *>(xcalloc(1, l.histograms + 1)),
         *to = static_cast<char *>(memory);
    char *states = to + l.states;
    struct plan_writer w = {};
    int rc = 0;
    w.pools = reinterpret_cast<struct pool_work *>(host);
    w.rows = reinterpret_cast<struct block_work *>(host + l.blocks);
    w.small = w.rows + z.rows;
    w.chunks = w.small + z.small_units;
    w.online = w.chunks + z.chunks;
    w.units = reinterpret_cast<struct unit_work *>(host + l.units);
    for (int i = 0; i < npools && rc == 0; i++)
        rc = add_pool(&w, &pools[i], i, &states, stream, err);
    cudaStream_t s = static_cast<cudaStream_t>(stream);
    // From memory that is not pinned: it has been read when the call returns.
    cudaError_t code = cudaMemcpyAsync(to, host, l.histograms, cudaMemcpyHostToDevice, s);
    if (code == cudaSuccess && l.lists > l.histograms)
        code = cudaMemsetAsync(to + l.histograms, 0, l.lists - l.histograms, s);
    free(host);
    if (rc == 0 && code != cudaSuccess)
        return fail(err, "copying what is to be routed to the GPU: %s", cudaGetErrorString(code));
    *plan = { npools > 0 ? pools[0].router.N : 0,
              npools,
              z.rows,
              z.small_units,
              z.chunks,
              z.online,
              to,
              to + l.blocks,
              to + l.units,
              to + l.histograms,
              to + l.lists,
              z.chunks > 0 && global_overlaps() };
    return rc;
}

int gpu_route(const struct gpu_plan *plan, int layer, const float *scores, uint8_t *taken,
              void *stream, struct buf *err)
{
    cudaStream_t s = static_cast<cudaStream_t>(stream);
    if (launch_rows(plan, scores, taken, s, err) || launch_global(plan, scores, taken, s, err))
        return -1;
    return launch_online(plan, layer, scores, taken, s, err);
}
