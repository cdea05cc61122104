/*
 * test_router_cuda.c: the routers' kernels against their twins in C: the same pairs on the same
 * scores, ties included. The kernels run on the CPU here (cuda_host.h), and on the GPU as
 * test_router_cuda_gpu. The twins are held to their definitions by test_routers.c.
 *
 * SEQTOPK_TEST_SMALL=1: a GPU gets the CPU's shapes and steps, and nothing is timed, for runs under
 * compute-sanitizer.
 */
#include "routers/cuda.h"

#include "skip.h"
#include "tests/cuda_device.h"
#include "tests/cuda_token.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static uint64_t seed = 88172645463325252u;

static uint32_t draw(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 32);
}

#define NEEDS_DEVICE()                         \
    do {                                       \
        const char *why = cuda_device_lacks(); \
        if (why)                               \
            SKIP("%s", why);                   \
    } while (0)

static bool is_small(void)
{
    const char *value = getenv("SEQTOPK_TEST_SMALL");
    return value && strcmp(value, "1") == 0;
}

/* Kernels run a thousand times slower on the CPU, and a hundred times under a sanitizer. */
static int effort(int cpu, int gpu)
{
    return cuda_device_real() && !is_small() ? gpu : cpu;
}

#define NEEDS_TIMES()                                     \
    do {                                                  \
        NEEDS_DEVICE();                                   \
        if (!cuda_device_real())                          \
            SKIP("only a GPU's times mean something");    \
        if (is_small())                                   \
            SKIP("SEQTOPK_TEST_SMALL: nothing is timed"); \
    } while (0)

/* ---- scores ---- */

enum kind { SOFTMAX, TIES, CONSTANT, ONE_HOT, TINY, EXTREME, KINDS };
static const char *const kind_names[] = { "softmax", "ties",     "constant",
                                          "one hot", "denormal", "extreme" };

/* 0, 1, the smallest, and numbers that differ by their last bit. */
static float extreme(void)
{
    static const float some[] = { 0, -0.0f, 1, 1e-45f, 1.17549435e-38f, 0.25f, 0.125f };
    float x = some[draw() % ARRAY_LEN(some)];
    return x > 0 && draw() % 2 ? nextafterf(x, draw() % 2 && x < 1 ? 1 : 0) : x;
}

/* scores: [T, N] */
static void make_scores(enum kind kind, float *scores, int T, int N)
{
    for (int t = 0; t < T; t++) {
        float *row = scores + (size_t)t * (size_t)N, sum = 0;
        float sharp = (float)(draw() % 5);
        for (int e = 0; e < N; e++) {
            float u = (float)(draw() >> 8) / 16777216.0f;
            row[e] = kind == SOFTMAX    ? expf(sharp * u)
                     : kind == TIES     ? (float)(1 + draw() % 4)
                     : kind == CONSTANT ? 1.0f
                     : kind == ONE_HOT  ? 0.0f
                     : kind == EXTREME  ? extreme()
                                        : 1e-42f * (float)(draw() % 9);
            sum += row[e];
        }
        if (kind == ONE_HOT)
            row[draw() % (unsigned)N] = 1;
        for (int e = 0; e < N && kind < ONE_HOT; e++)
            row[e] /= sum;
    }
}

/* ---- the twin in C ---- */

/* One pool, as a byte a pair. state: NULL is from nothing */
static void run_twin(const struct router *r, const struct router_args *a,
                     struct router_state *state, const float *scores, int T, int prompt,
                     uint8_t *taken)
{
    struct selection sel = { 0 };
    struct router_state *own = !state && r->open ? r->open(a) : NULL;
    int first = prompt > 0 && prompt < T ? prompt : T;
    size_t N = (size_t)a->N;
    r->select(a, state ? state : own, scores, first, &sel);
    if (first < T)
        r->select(a, state ? state : own, scores + (size_t)first * N, T - first, &sel);
    if (own)
        r->close(own);
    memset(taken, 0, (size_t)T * N);
    for (size_t t = 0, p = 0; t < (size_t)T; t++)
        for (int i = 0; i < sel.count[t]; i++)
            taken[t * N + (size_t)sel.expert[p++]] = 1;
    selection_release(&sel);
}

/* ---- batches ---- */

struct tested_pool {
    const struct router *router;
    struct router_args args;
    int tokens, prompt;
};

static struct gpu_pool gpu_pool_of(const struct tested_pool *p, int from)
{
    struct gpu_pool out = { .from = from, .tokens = p->tokens, .prompt = p->prompt };
    assert_true(router_on_gpu(p->router, &p->args, &out.router));
    out.maxes = p->args.nmaxes ? p->args.maxes : NULL;
    out.layers = p->args.nmaxes;
    return out;
}

static void assert_same(const uint8_t *got, const uint8_t *want, const struct tested_pool *p,
                        enum kind kind)
{
    struct buf label = BUF_INIT;
    int N = p->args.N;
    router_label(p->router, &p->args, &label);
    for (int i = 0; i < p->tokens * N; i++)
        if (got[i] != want[i])
            fail_msg("%s, K = %d, N = %d, %s, prompt %d: token %d of %d, expert %d: %d, not %d",
                     label.s, p->args.K, N, kind_names[kind], p->prompt, i / N, p->tokens, i % N,
                     got[i], want[i]);
    buf_release(&label);
}

/* Routes the pools in one plan, for several layers with scores of their own. */
static void check_batch(const struct tested_pool *pools, int n, enum kind kind, int layers)
{
    struct gpu_pool *gpu = xcalloc((size_t)n, sizeof(*gpu));
    struct gpu_plan plan;
    struct buf err = BUF_INIT;
    int T = 0, N = pools[0].args.N;
    for (int i = 0; i < n; T += pools[i++].tokens)
        gpu[i] = gpu_pool_of(&pools[i], T);
    size_t pairs = (size_t)T * (size_t)N;
    float *scores = xmalloc(pairs * sizeof(*scores));
    uint8_t *got = xmalloc(pairs), *want = xmalloc(pairs);
    void *memory = cuda_device_new(NULL, gpu_plan_bytes(gpu, n));
    float *on_scores = cuda_device_new(NULL, pairs * sizeof(*scores));
    uint8_t *on_taken = cuda_device_new(NULL, pairs);
    if (gpu_plan_make(&plan, gpu, n, memory, NULL, &err))
        fail_msg("%s", err.s);
    for (int layer = 0; layer < layers; layer++) {
        make_scores(kind, scores, T, N);
        cuda_device_put(on_scores, scores, pairs * sizeof(*scores));
        if (gpu_route(&plan, layer, on_scores, on_taken, NULL, &err))
            fail_msg("%s", err.s);
        cuda_device_get(got, on_taken, pairs);
        for (int i = 0; i < n; i++) {
            size_t first = (size_t)gpu[i].from * (size_t)N;
            const struct router_args args = router_args_at(&pools[i].args, layer);
            run_twin(pools[i].router, &args, NULL, scores + first, pools[i].tokens, pools[i].prompt,
                     want + first);
            assert_same(got + first, want + first, &pools[i], kind);
        }
    }
    cuda_device_free(memory);
    cuda_device_free(on_scores);
    cuda_device_free(on_taken);
    free(gpu);
    free(scores);
    free(got);
    free(want);
    buf_release(&err);
}

/* The i-th way of setting up one of the routers that have kernels; false: there are no more. */
static bool setting(int i, int K, int N, struct tested_pool *p)
{
    const int bounds[][2] = { { 0, N }, { 1, K + 1 }, { 0, K + 2 }, { K, K }, { K, N }, { 1, K } };
    static const double shares[] = { 1e-9, 0.25, 0.4, 0.5, 0.9, 1 };
    int b = i % 6, which = i / 6;
    *p = (struct tested_pool){ .args = { .K = K, .N = N, .min = bounds[b][0], .batch = 1 } };
    p->args.max = bounds[b][1] < N ? bounds[b][1] : N;
    p->args.p = p->args.threshold = shares[b];
    static const struct router *const plain[] = { &router_topk, &router_topp, &router_xmoe,
                                                  &router_batchtopk };
    if (which < 4) {
        p->router = plain[which];
        return true;
    }
    which -= 4; // mode, segment, prefill
    p->router = &router_seqtopk;
    p->args.mode = which % 3;
    p->args.segment = which / 3 % 3 == 0 ? 0 : which / 3 % 3 == 1 ? 5 : 64;
    p->args.prefill = which / 9;
    p->prompt = p->args.prefill && p->args.mode ? 1 : 0;
    return which < 18;
}

/* All settings of all routers as the pools of a few batches; on the CPU a third of them each time. */
static void check_settings(int K, int N, int tokens, enum kind kind)
{
    struct tested_pool pools[24];
    int n = 0;
    for (int i = (int)(draw() % 3); setting(i, K, N, &pools[n]); i += effort(3, 1)) {
        pools[n].tokens = 1 + (int)(draw() % (unsigned)tokens);
        if (pools[n].prompt)
            pools[n].prompt = 1 + (int)(draw() % (unsigned)pools[n].tokens);
        if (++n == ARRAY_LEN(pools)) {
            check_batch(pools, n, kind, 1);
            n = 0;
        }
    }
    if (n > 0)
        check_batch(pools, n, kind, 2);
}

static void every_kernel_takes_the_pairs_of_its_twin(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    static const int sizes[][2] = { { 2, 8 }, { 1, 5 }, { 4, 7 }, { 3, 3 }, { 1, 1 } };
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
            check_settings(sizes[i][0], sizes[i][1], effort(7, 40), (enum kind)kind);
    for (int kind = 0; kind < KINDS; kind++)
        check_settings(8, 64, effort(3, 200), (enum kind)kind);
}

/* Pools with a bound for each layer beside one without, small and large. */
static void each_layer_has_its_bound(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    static const int tokens[] = { 9, 40, 170 };
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
            const struct router_args a = { .K = 3,
                                           .N = 64,
                                           .min = 1,
                                           .max = 64,
                                           .batch = 1,
                                           .nmaxes = 4,
                                           .maxes = { 4, 64, 3, 9 } };
            struct tested_pool pools[6] = { { &router_topk, { .K = 3, .N = 64 }, 5, 0 } };
            for (int j = 1; j < 6; j++) {
                pools[j] = (struct tested_pool){ &router_seqtopk, a, tokens[i] + j, 0 };
                pools[j].args.mode = (j - 1) % 3;
                pools[j].args.segment = j == 5 ? 7 : 0;
            }
            pools[4].router = &router_batchtopk;
            check_batch(pools, 6, (enum kind)kind, 4);
        }
}

static void rows_may_have_up_to_1024_experts(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    static const int sizes[] = { 33, 65, 128, 200, 257, 1024 };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        int N = sizes[i];
        struct tested_pool pools[] = {
            { &router_topk, { .K = 9, .N = N }, 6, 0 },
            { &router_topp, { .K = 9, .N = N, .p = 0.4 }, 5, 0 },
            { &router_seqtopk, { .K = 9, .N = N, .min = 1, .max = 11 }, 9, 0 },
            { &router_seqtopk, { .K = 9, .N = N, .max = N, .mode = 1 }, 12, 0 },
            { &router_seqtopk, { .K = 30, .N = N, .min = 2, .max = 33, .mode = 2 }, 7, 0 },
        };
        check_batch(pools, ARRAY_LEN(pools), i % 2 ? TIES : SOFTMAX, 1);
    }
}

/* Pools that several blocks share, beside some that one does, layer after layer. */
static void large_pools_are_shared_by_blocks(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    for (int kind = 0; kind < KINDS; kind++) {
        const struct tested_pool pools[] = {
            { &router_seqtopk, { .K = 3, .N = 16, .max = 16 }, effort(900, 5000), 0 },
            { &router_topk, { .K = 3, .N = 16 }, 7, 0 },
            { &router_batchtopk, { .K = 3, .N = 16, .min = 1, .max = 5, .batch = 2 }, 530, 0 },
            { &router_seqtopk, { .K = 3, .N = 16, .min = 3, .max = 3, .segment = 600 }, 700, 0 },
            { &router_seqtopk, { .K = 3, .N = 16, .max = 9, .segment = 37 }, 100, 0 },
        };
        check_batch(pools, ARRAY_LEN(pools), (enum kind)kind, kind == TIES ? 2 : 1);
    }
    const struct tested_pool one = {
        &router_seqtopk, { .K = 8, .N = 64, .min = 1, .max = 10 }, 4096, 0
    };
    check_batch(&one, 1, SOFTMAX, 1);
    const struct tested_pool wide = { &router_seqtopk, { .K = 8, .N = 1000, .max = 1000 }, 40, 0 };
    check_batch(&wide, 1, SOFTMAX, 1);
}

/* ---- texts that grow ---- */

enum { GROWN_TEXTS = 32 }; /* at most */

struct grown {
    const struct router *router;
    struct router_args args;
    struct gpu_router gpu;
    struct router_state *twin[GROWN_TEXTS];
    char *states;
    size_t stride;
};

static struct grown grown_new(const struct tested_pool *p, int texts, int capacity)
{
    struct grown g = { .router = p->router, .args = p->args };
    struct buf err = BUF_INIT;
    assert_in_range(texts, 1, GROWN_TEXTS);
    assert_true(router_on_gpu(p->router, &p->args, &g.gpu));
    g.stride = gpu_state_bytes(&g.gpu, capacity);
    g.states = cuda_device_new(NULL, g.stride * (size_t)texts + 1);
    if (gpu_state_reset(&g.gpu, capacity, g.states, texts, g.stride, NULL, &err))
        fail_msg("%s", err.s);
    for (int i = 0; i < texts && p->router->open; i++)
        g.twin[i] = p->router->open(&p->args);
    return g;
}

static void grown_free(struct grown *g, int texts)
{
    for (int i = 0; i < texts && g->router->open; i++)
        g->router->close(g->twin[i]);
    cuda_device_free(g->states);
}

/* Steps of three texts at once, a token each, by blocks of so many threads. */
static void check_steps(const struct tested_pool *p, enum kind kind, int steps, int threads)
{
    enum { TEXTS = 3 };
    struct grown g = grown_new(p, TEXTS, steps);
    struct buf err = BUF_INIT;
    size_t pairs = (size_t)TEXTS * (size_t)p->args.N;
    float *scores = xmalloc(pairs * sizeof(*scores));
    uint8_t *got = xmalloc(pairs), *want = xmalloc(pairs);
    float *on_scores = cuda_device_new(NULL, pairs * sizeof(*scores));
    uint8_t *on_taken = cuda_device_new(NULL, pairs);
    int32_t count[TEXTS], *on_count = cuda_device_new(NULL, sizeof(count));
    struct tested_pool one = *p;
    for (one.tokens = 1; steps > 0; steps--) {
        make_scores(kind, scores, TEXTS, p->args.N);
        cuda_device_put(on_scores, scores, pairs * sizeof(*scores));
        if (cuda_token_step(&g.gpu, TEXTS, threads, on_scores, on_taken, on_count, g.states,
                            g.stride, &err))
            fail_msg("%s", err.s);
        cuda_device_get(got, on_taken, pairs);
        cuda_device_get(count, on_count, sizeof(count));
        for (int i = 0; i < TEXTS; i++) {
            size_t first = (size_t)i * (size_t)p->args.N;
            int n = 0;
            run_twin(p->router, &p->args, g.twin[i], scores + first, 1, 0, want + first);
            assert_same(got + first, want + first, &one, kind);
            for (int e = 0; e < p->args.N; e++)
                n += got[first + (size_t)e];
            assert_int_equal(n, count[i]);
        }
    }
    cuda_device_free(on_scores);
    cuda_device_free(on_taken);
    cuda_device_free(on_count);
    grown_free(&g, TEXTS);
    free(scores);
    free(got);
    free(want);
    buf_release(&err);
}

static void a_block_routes_the_next_token(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    const int threads[] = { 64, 64, 256, effort(128, 1024) };
    static const int sizes[][3] = { { 2, 8, 80 }, { 8, 64, 24 }, { 4, 60, 20 }, { 8, 200, 6 } };
    int turn = 0;
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            struct tested_pool p;
            for (int s = 0; setting(s, sizes[i][0], sizes[i][1], &p);
                 s += 1 + (int)(draw() % (unsigned)effort(36, 2)))
                if (router_decodes(p.router, &p.args) && !p.prompt)
                    check_steps(&p, (enum kind)kind, sizes[i][2] * effort(1, 5),
                                threads[turn++ % 4]);
        }
    struct tested_pool p;
    for (int s = 0; setting(s, 2, 8, &p); s++) // sums of eighths meet the shares exactly
        if (p.router == &router_topp || p.router == &router_xmoe)
            check_steps(&p, CONSTANT, 1, 64);
    p = (struct tested_pool){ &router_seqtopk, { .K = 8, .N = 1000, .max = 10, .mode = 1 }, 0, 0 };
    check_steps(&p, SOFTMAX, effort(2, 20), 1024);
    for (int segment = 0; segment <= 90; segment += 90) { // windows that are made anew
        p = (struct tested_pool){
            &router_seqtopk, { .K = 4, .N = 15, .max = 15, .mode = 1 }, 0, 0
        };
        p.args.segment = segment;
        check_steps(&p, SOFTMAX, 200, 64);
    }
}

/*
 * Rows of a warp, of what a warp has in registers, and of one more; warps in numbers that do not
 * divide the row; windows that hold everything, one key in many, or c alone.
 */
static void rows_and_blocks_of_any_size_agree(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    static const int sizes[][3] = { { 1, 1, 40 },  { 3, 31, 40 }, { 2, 32, 30 }, { 4, 33, 30 },
                                    { 8, 63, 40 }, { 8, 64, 60 }, { 5, 65, 25 }, { 9, 97, 20 },
                                    { 7, 130, 9 }, { 8, 256, 5 }, { 16, 512, 3 } };
    const int threads[] = { 64, 256, 96, 160, effort(320, 1024) };
    int turn = 0;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (int mode = 1; mode < 3; mode++) {
            struct tested_pool p = { .router = &router_seqtopk,
                                     .args = { .K = sizes[i][0], .N = sizes[i][1], .mode = mode } };
            int steps = sizes[i][2] * effort(1, 10);
            p.args.max = p.args.N;
            check_steps(&p, SOFTMAX, steps, threads[turn++ % 5]);
            p.args.min = 1;
            p.args.max = p.args.K + 2 < p.args.N ? p.args.K + 2 : p.args.N;
            p.args.segment = 11 * (mode - 1);
            check_steps(&p, i % 2 ? TIES : EXTREME, steps / 2, threads[turn++ % 5]);
        }
    for (int kind = SOFTMAX; kind <= CONSTANT; kind++) {
        struct tested_pool p = { &router_topk, { .K = 5, .N = 45 }, 0, 0 };
        check_steps(&p, (enum kind)kind, 3, 96);
    }
}

/* A prompt in one piece, then tokens in pieces: as the twin with a state does. */
static void a_state_goes_on_from_batch_to_batch(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    enum { N = 16, T = 260 };
    static const int cuts[] = { 0, 90, 91, 92, 120, 150, 151, 160, T }; // two end a segment
    for (int prefill = 0; prefill < 2; prefill++)
        for (int mode = 1; mode < 3; mode++)
            for (int segment = 0; segment <= 40; segment += 40) {
                struct tested_pool p = { .router = &router_seqtopk,
                                         .args = { .K = 3,
                                                   .N = N,
                                                   .max = mode == 1 ? N : 4, // strict leaves some
                                                   .mode = mode,
                                                   .segment = segment,
                                                   .prefill = prefill } };
                struct grown g = grown_new(&p, 2, T);
                float *scores = xmalloc(sizeof(*scores) * T * N);
                uint8_t got[T * N], want[T * N];
                struct buf err = BUF_INIT;
                make_scores(SOFTMAX, scores, T, N);
                for (size_t i = 0; i + 1 < ARRAY_LEN(cuts); i++) {
                    int from = cuts[i], n = cuts[i + 1] - from;
                    struct gpu_pool pool = { .router = g.gpu,
                                             .tokens = n,
                                             .prompt = prefill && i == 0 ? n : 0,
                                             .state = g.states,
                                             .stride = g.stride };
                    struct gpu_plan plan;
                    void *memory = cuda_device_new(NULL, gpu_plan_bytes(&pool, 1));
                    float *s = cuda_device_new(scores + from * N, sizeof(*s) * (size_t)(n * N));
                    uint8_t *taken = cuda_device_new(NULL, (size_t)(n * N));
                    if (gpu_plan_make(&plan, &pool, 1, memory, NULL, &err) ||
                        gpu_route(&plan, 1, s, taken, NULL, &err)) // of layer 1: the second state
                        fail_msg("%s", err.s);
                    cuda_device_get(got, taken, (size_t)(n * N));
                    run_twin(p.router, &p.args, g.twin[0], scores + from * N, n, 0, want);
                    p.tokens = n;
                    assert_same(got, want, &p, SOFTMAX);
                    cuda_device_free(memory);
                    cuda_device_free(s);
                    cuda_device_free(taken);
                }
                struct gpu_state_facts first, second;
                assert_int_equal(gpu_state_facts(g.states, NULL, &first, &err), 0);
                assert_int_equal(gpu_state_facts(g.states + g.stride, NULL, &second, &err), 0);
                assert_int_equal(first.tokens, 0);
                assert_int_equal(second.tokens, segment ? (T - 1) % segment + 1 : T);
                grown_free(&g, 2);
                free(scores);
            }
}

/* ---- long texts ---- */

enum drift {
    STILL,
    RISING,
    FALLING,
    JUMPING,
    SHARPENING,
    TIED,
    EQUAL,
    CROWDED,   // all within a bin, and no two alike
    FAINT,     // and that the one of all small scores
    ASCENDING, // each larger than all before
    DESCENDING,
    LEAPING, // once, near the end, above all before
    DROPPING,
    DRIFTS
};
static const char *const drift_names[] = { "still",      "rising",    "falling",    "jumping",
                                           "sharpening", "tied",      "equal",      "crowded",
                                           "faint",      "ascending", "descending", "leaping",
                                           "dropping" };

/* The e-th score of a token at the text's part `at`, of `all` scores the i-th; u: any, from 0 to 1 */
static float drift_score(enum drift drift, float u, float at, size_t i, size_t all)
{
    float some = 1e-4f * expf(3 * u), step = (float)i / (float)all;
    switch (drift) {
    case RISING:
        return some * expf(6 * at);
    case FALLING:
        return some * expf(-6 * at);
    case SHARPENING:
        return 1e-4f * expf(12 * at * u);
    case TIED:
        return 0.01f * (float)(int)(5 * u);
    case EQUAL:
        return 0.0625f;
    case CROWDED:
        return 0.016f + 4e-5f * u;
    case FAINT:
        return 1e-9f + 1e-10f * u;
    case ASCENDING:
        return 0.001f + 0.9f * step;
    case DESCENDING:
        return 0.901f - 0.9f * step;
    case LEAPING:
        return at < 0.93f ? some : some * 30;
    case DROPPING:
        return at < 0.93f ? some : some / 30;
    default:
        return some;
    }
}

/* Scores of a long text whose kind changes as it goes on. scores: [T, N] */
static void make_drift(enum drift drift, float *scores, int T, int N)
{
    size_t n = (size_t)N, all = (size_t)T * n;
    for (size_t i = 0; i < all; i++) {
        float u = (float)(draw() >> 8) / 16777216.0f, at = (float)(i / n) / (float)T;
        scores[i] = drift_score(drift, u, at, i, all);
        if (drift == JUMPING)
            scores[i] *= i / n / 1000 % 2 ? 4 : 0.25f;
    }
}

/* A text on the device, with a state that has room for `capacity` tokens. */
struct text {
    struct gpu_pool pool;
    float *scores;
    uint8_t *taken;
};

static struct text text_new(const struct tested_pool *p, const float *scores, int capacity)
{
    struct text t = { .pool = gpu_pool_of(p, 0) };
    struct buf err = BUF_INIT;
    size_t pairs = (size_t)capacity * (size_t)p->args.N;
    t.pool.state = cuda_device_new(NULL, gpu_state_bytes(&t.pool.router, capacity));
    t.scores = cuda_device_new(scores, sizeof(*scores) * pairs);
    t.taken = cuda_device_new(NULL, pairs);
    if (gpu_state_reset(&t.pool.router, capacity, t.pool.state, 1, 0, NULL, &err))
        fail_msg("%s", err.s);
    return t;
}

static void text_free(struct text *t)
{
    cuda_device_free(t->pool.state);
    cuda_device_free(t->scores);
    cuda_device_free(t->taken);
}

/* Routes its pool; with_state: and leaves the state that goes on from it. */
static void text_route(const struct text *t, bool with_state)
{
    struct gpu_pool pool = t->pool;
    struct gpu_plan plan;
    struct buf err = BUF_INIT;
    if (!with_state)
        pool.state = NULL;
    void *memory = cuda_device_new(NULL, gpu_plan_bytes(&pool, 1));
    if (gpu_plan_make(&plan, &pool, 1, memory, NULL, &err) ||
        gpu_route(&plan, 0, t->scores, t->taken, NULL, &err))
        fail_msg("%s", err.s);
    cuda_device_ms(); // waits for it
    cuda_device_free(memory);
}

/* Routes tokens from..end one by one, by a block of so many threads; returns microseconds for each. */
static double text_steps(const struct text *t, int from, int end, int threads)
{
    size_t N = (size_t)t->pool.router.N;
    struct buf err = BUF_INIT;
    int32_t *count = cuda_device_new(NULL, sizeof(*count));
    cuda_device_ms();
    for (int i = from; i < end; i++)
        if (cuda_token_step(&t->pool.router, 1, threads, t->scores + (size_t)i * N,
                            t->taken + (size_t)i * N, count, t->pool.state, 256, &err))
            fail_msg("%s", err.s);
    double ms = cuda_device_ms();
    cuda_device_free(count);
    return ms * 1e3 / (end - from);
}

static struct gpu_state_facts text_facts(const struct text *t)
{
    struct gpu_state_facts facts;
    struct buf err = BUF_INIT;
    if (gpu_state_facts(t->pool.state, NULL, &facts, &err))
        fail_msg("%s", err.s);
    return facts;
}

/* What has been taken so far is what its twin takes, of whose pairs `used` tells too. */
static void check_text(const struct text *t, const struct tested_pool *p, const uint8_t *want,
                       int tokens, const char *what)
{
    size_t N = (size_t)p->args.N, pairs = (size_t)tokens * N;
    int segment = p->args.segment, last = segment ? (tokens - 1) / segment * segment : 0;
    uint8_t *got = xmalloc(pairs);
    int64_t used = 0;
    cuda_device_get(got, t->taken, pairs);
    for (size_t i = 0; i < pairs; i++) {
        int at = (int)(i / N);
        if (got[i] != want[i])
            fail_msg("%s, N = %zu, K = %d, %s, segment %d, prompt %d: token %d, expert %zu: %d",
                     what, N, p->args.K, p->args.mode == 1 ? "online" : "strict", segment,
                     p->prompt, at, i % N, got[i]);
        used += at >= last && at >= p->prompt && got[i];
    }
    for (int at = last; at < p->prompt; at++) // by global
        used += p->args.K;
    struct gpu_state_facts facts = text_facts(t);
    if (facts.tokens > 0) {
        assert_int_equal(facts.tokens, tokens - last);
        assert_int_equal(facts.used, used);
    }
    free(got);
}

/* A text at once, by blocks side by side, and the state that is left. */
static void texts_at_once_take_the_pairs_of_their_twins(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    static const int shapes[][4] = { { 1150, 128, 8, 0 }, // with slabs, and longer runs at its end
                                     { 1150, 128, 8, 500 },
                                     { 2500, 23, 2, 0 },
                                     { 300, 7, 3, 0 },
                                     { 300, 64, 64, 130 } }; // tokens, N, K, segment
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        int T = shapes[i][0], N = shapes[i][1];
        float *scores = xmalloc(sizeof(*scores) * (size_t)(T * N));
        uint8_t *want = xmalloc((size_t)(T * N));
        for (int drift = 0; drift < DRIFTS; drift++)
            for (int mode = 1; mode < 3; mode++) {
                if ((drift + mode + (int)i) % effort(2, 1))
                    continue;
                struct tested_pool p = {
                    .router = &router_seqtopk,
                    .args = { .K = shapes[i][2], .N = N, .max = N, .mode = mode },
                    .tokens = T,
                };
                p.args.segment = shapes[i][3];
                make_drift((enum drift)drift, scores, T, N);
                run_twin(p.router, &p.args, NULL, scores, T, 0, want);
                struct text t = text_new(&p, scores, T);
                if (drift % effort(3, 1) == 0) {
                    text_route(&t, false);
                    check_text(&t, &p, want, T, drift_names[drift]);
                }
                text_route(&t, true);
                check_text(&t, &p, want, T, drift_names[drift]);
                assert_int_equal(text_facts(&t).rebuilds[0], 1);
                text_free(&t);
            }
        free(scores);
        free(want);
    }
}

/* A prompt at once, then token by token, with the window that the prompt left. */
static void a_prompt_goes_on_token_by_token(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    enum { T = 420, N = 24 };
    static const int cuts[] = { 1, 39, 40, 41, 255, 400 };
    float scores[T * N];
    uint8_t want[T * N];
    for (int i = 0; i < 8 * (int)ARRAY_LEN(cuts); i++) {
        int cut = cuts[i / 8], mode = 1 + i % 2, prefill = i / 2 % 2, segment = i / 4 % 2 * 40;
        struct tested_pool p = {
            .router = &router_seqtopk,
            .args = { .K = 3, .N = N, .max = 7, .mode = mode, .prefill = prefill },
            .tokens = cut,
            .prompt = prefill ? cut : 0,
        };
        p.args.segment = segment;
        make_drift(i / 8 % 2 ? STILL : TIED, scores, T, N);
        run_twin(p.router, &p.args, NULL, scores, T, p.prompt, want);
        struct text t = text_new(&p, scores, T);
        text_route(&t, true);
        check_text(&t, &p, want, cut, "a prompt");
        text_steps(&t, cut, cut + 3, 96);
        check_text(&t, &p, want, cut + 3, "three tokens behind a prompt");
        if (cut == 400 && segment == 0)
            assert_int_equal(text_facts(&t).rebuilds[0], 1);
        text_steps(&t, cut + 3, cut + 20, 64);
        check_text(&t, &p, want, cut + 20, "tokens behind a prompt");
        text_free(&t);
    }
}

/* A window lasts; what is read to make it anew is little for each token. */
static void long_texts_seldom_need_a_new_window(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    enum { N = 16, K = 2, KINDS_OF_TEXT = CROWDED };
    // A launch a token, of which a sanitizer does few in a second.
    const int T = cuda_device_real() && is_small() ? 200 : effort(1500, 20000);
    const size_t pairs = (size_t)T * N;
    static const int most[KINDS_OF_TEXT] = { 60, 1500, 1500, 1500, 1500, 20, 20 }; // windows
    float *scores = xmalloc(sizeof(*scores) * pairs);
    uint8_t *want = xmalloc(pairs);
    for (int drift = 0; drift < KINDS_OF_TEXT; drift++) {
        struct tested_pool p = {
            &router_seqtopk, { .K = K, .N = N, .max = N, .mode = 1 + drift % 2 }, T, 0
        };
        make_drift((enum drift)drift, scores, T, N);
        run_twin(p.router, &p.args, NULL, scores, T, 0, want);
        struct text t = text_new(&p, scores, T);
        double us = text_steps(&t, 0, T, effort(64, 256));
        check_text(&t, &p, want, T, drift_names[drift]);
        struct gpu_state_facts facts = text_facts(&t);
        printf("# %-10s %d windows, %d middle ones; %.0f scores read a token", drift_names[drift],
               facts.rebuilds[0], facts.rebuilds[1], (double)facts.read / T);
        printf(cuda_device_real() ? "; %.2f us a token\n" : "\n", us);
        assert_in_range(facts.rebuilds[0], 1, most[drift]);
        assert_in_range(facts.read, 1, (int64_t)T * 400 * N);
        text_free(&t);
    }
    free(scores);
    free(want);
}

/* ---- times, of a GPU ---- */

/* A pool of T tokens, 64 experts, K = 8, with what routes it and what sorts its scores. */
struct timed {
    struct gpu_plan plan;
    size_t pairs, sort_bytes;
    float *scores, *sorted;
    int32_t *values, *order;
    uint8_t *taken;
    void *memory, *sort_memory;
};

static struct timed timed_new(const struct tested_pool *p)
{
    struct gpu_pool pool = gpu_pool_of(p, 0);
    struct buf err = BUF_INIT;
    struct timed t = { .pairs = (size_t)p->tokens * (size_t)p->args.N };
    float *scores = xmalloc(t.pairs * sizeof(*scores));
    int32_t *values = xmalloc(t.pairs * sizeof(*values));
    make_scores(SOFTMAX, scores, p->tokens, p->args.N);
    for (size_t i = 0; i < t.pairs; i++)
        values[i] = (int32_t)i;
    t.scores = cuda_device_new(scores, t.pairs * sizeof(*scores));
    t.sorted = cuda_device_new(NULL, t.pairs * sizeof(*scores));
    t.values = cuda_device_new(values, t.pairs * sizeof(*values));
    t.order = cuda_device_new(NULL, t.pairs * sizeof(*t.order));
    t.taken = cuda_device_new(NULL, t.pairs);
    t.memory = cuda_device_new(NULL, gpu_plan_bytes(&pool, 1));
    t.sort_bytes = cuda_sort_bytes((int)t.pairs);
    t.sort_memory = cuda_device_new(NULL, t.sort_bytes);
    if (gpu_plan_make(&t.plan, &pool, 1, t.memory, NULL, &err))
        fail_msg("%s", err.s);
    free(scores);
    free(values);
    return t;
}

static void timed_free(struct timed *t)
{
    cuda_device_free(t->scores);
    cuda_device_free(t->sorted);
    cuda_device_free(t->values);
    cuda_device_free(t->order);
    cuda_device_free(t->taken);
    cuda_device_free(t->memory);
    cuda_device_free(t->sort_memory);
}

/* The sort that the times are held against does sort. */
static void check_sorted(const struct timed *t)
{
    float *sorted = xmalloc(t->pairs * sizeof(*sorted)),
          *scores = xmalloc(t->pairs * sizeof(*sorted));
    int32_t *order = xmalloc(t->pairs * sizeof(*order));
    cuda_device_get(sorted, t->sorted, t->pairs * sizeof(*sorted));
    cuda_device_get(scores, t->scores, t->pairs * sizeof(*scores));
    cuda_device_get(order, t->order, t->pairs * sizeof(*order));
    for (size_t i = 0; i < t->pairs; i++) {
        assert_true(sorted[i] == scores[order[i]]);
        assert_true(i == 0 || sorted[i - 1] >= sorted[i]);
    }
    free(sorted);
    free(scores);
    free(order);
}

/* Microseconds of routing the pool and of sorting its scores, in turns; the best of each. */
static void route_and_sort_us(const struct tested_pool *p, double *route, double *sort)
{
    enum { TURNS = 10, CALLS = 100 };
    struct timed t = timed_new(p);
    struct buf err = BUF_INIT;
    *route = *sort = 1e9;
    for (int turn = 0; turn < TURNS; turn++) {
        cuda_device_ms();
        for (int i = 0; i < CALLS; i++)
            if (gpu_route(&t.plan, 0, t.scores, t.taken, NULL, &err))
                fail_msg("%s", err.s);
        *route = fmin(*route, cuda_device_ms() * 1e3 / CALLS);
        for (int i = 0; i < CALLS; i++)
            if (cuda_sort(t.sort_memory, t.sort_bytes, t.scores, t.sorted, t.values, t.order,
                          (int)t.pairs, &err))
                fail_msg("%s", err.s);
        *sort = fmin(*sort, cuda_device_ms() * 1e3 / CALLS);
    }
    check_sorted(&t);
    timed_free(&t);
}

static void global_takes_a_fifth_of_a_sort(void **state)
{
    (void)state;
    NEEDS_TIMES();
    static const struct {
        int T, min, max;
        bool asked; /* the ratio is what is promised */
    } cases[] = { { 4096, 1, 10, true }, { 4096, 0, 64, true }, { 16384, 1, 10, false } };
    bool slow = false;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        double route, sort;
        struct tested_pool p = {
            &router_seqtopk,
            { .K = 8, .N = 64, .min = cases[i].min, .max = cases[i].max },
            cases[i].T,
            0,
        };
        route_and_sort_us(&p, &route, &sort);
        printf(
            "# global, T = %d, N = 64, K = 8, bounds %d to %d: %.1f us; a sort %.1f, %.1f times\n",
            cases[i].T, cases[i].min, cases[i].max, route, sort, sort / route);
        slow |= cases[i].asked && sort < 5 * route;
    }
    assert_false(slow);
}

/* Microseconds of routing `texts` of T tokens each, at best; with states, of emptying these too. */
static double texts_us(const struct router_args *args, int texts, int T, bool with_states)
{
    enum { TURNS = 5, CALLS = 20 };
    const struct tested_pool p = { &router_seqtopk, *args, T, 0 };
    struct gpu_pool pools[GROWN_TEXTS];
    struct gpu_plan plan;
    struct buf err = BUF_INIT;
    size_t pairs = (size_t)texts * (size_t)T * (size_t)args->N;
    struct grown g = grown_new(&p, texts, T);
    float *scores = xmalloc(pairs * sizeof(*scores));
    make_scores(SOFTMAX, scores, texts * T, args->N);
    for (int i = 0; i < texts; i++) {
        pools[i] = gpu_pool_of(&p, i * T);
        if (with_states)
            pools[i].state = g.states + (size_t)i * g.stride;
    }
    float *s = cuda_device_new(scores, pairs * sizeof(*s));
    uint8_t *taken = cuda_device_new(NULL, pairs);
    void *memory = cuda_device_new(NULL, gpu_plan_bytes(pools, texts));
    double best = 1e9;
    if (gpu_plan_make(&plan, pools, texts, memory, NULL, &err))
        fail_msg("%s", err.s);
    for (int turn = 0; turn < TURNS; turn++) {
        cuda_device_ms();
        for (int i = 0; i < CALLS; i++)
            if ((with_states &&
                 gpu_state_reset(&g.gpu, T, g.states, texts, g.stride, NULL, &err)) ||
                gpu_route(&plan, 0, s, taken, NULL, &err))
                fail_msg("%s", err.s);
        best = fmin(best, cuda_device_ms() * 1e3 / CALLS);
    }
    cuda_device_free(s);
    cuda_device_free(taken);
    cuda_device_free(memory);
    grown_free(&g, texts);
    free(scores);
    return best;
}

static void texts_at_once_take_little_time(void **state)
{
    (void)state;
    NEEDS_TIMES();
    static const struct {
        int texts, T, most; // microseconds
    } cases[] = { { 1, 4096, 100 }, { 8, 1024, 100 }, { 32, 256, 100 }, { 1, 16384, 1200 } };
    bool slow = false;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int texts = cases[i].texts, T = cases[i].T;
        struct router_args online = { .K = 8, .N = 64, .min = 1, .max = 10, .mode = 1 };
        struct router_args strict = { .K = 8, .N = 64, .max = 64, .mode = 2 };
        double plain = texts_us(&online, texts, T, false), with = texts_us(&online, texts, T, true);
        printf(
            "# online, %d texts, T = %d, N = 64, K = 8: %.1f us, with states %.1f; strict %.1f\n",
            texts, T, plain, with, texts_us(&strict, texts, T, false));
        slow |= plain > cases[i].most;
    }
    assert_false(slow);
}

/* Microseconds of a step for one text by a block of 256, at positions from `from` on. */
static double step_us(const struct tested_pool *p, int from)
{
    enum { STEPS = 200 };
    struct grown g = grown_new(p, 1, from + STEPS);
    struct buf err = BUF_INIT;
    size_t pairs = (size_t)(from + STEPS) * (size_t)p->args.N;
    float *scores = xmalloc(pairs * sizeof(*scores));
    make_scores(SOFTMAX, scores, from + STEPS, p->args.N);
    float *s = cuda_device_new(scores, pairs * sizeof(*s));
    uint8_t *taken = cuda_device_new(NULL, (size_t)p->args.N);
    int32_t *count = cuda_device_new(NULL, sizeof(*count));
    for (int t = 0; t < from + STEPS; t++) {
        if (t == from)
            cuda_device_ms();
        if (cuda_token_step(&g.gpu, 1, 256, s + (size_t)t * (size_t)p->args.N, taken, count,
                            g.states, g.stride, &err))
            fail_msg("%s", err.s);
    }
    double us = cuda_device_ms() * 1e3 / STEPS;
    cuda_device_free(s);
    cuda_device_free(taken);
    cuda_device_free(count);
    grown_free(&g, 1);
    free(scores);
    return us;
}

static void a_step_costs_the_same_at_any_position(void **state)
{
    (void)state;
    NEEDS_TIMES();
    struct tested_pool p = { &router_topk, { .K = 8, .N = 64 }, 0, 0 };
    step_us(&p, 100);
    double topk = step_us(&p, 256);
    p = (struct tested_pool){ &router_seqtopk, { .K = 8, .N = 64, .max = 64, .mode = 1 }, 0, 0 };
    double early = step_us(&p, 256), late = step_us(&p, 20000);
    printf("# a step with its launch: topk %.2f us, online %.2f at 256 and %.2f at 20000\n", topk,
           early, late);
    assert_true(late < early * 1.5 + 1);
}

/* ---- pairs and counts ---- */

static void check_pairs(int T, int N, unsigned one_in)
{
    size_t all = (size_t)T * (size_t)N;
    uint8_t *taken = xcalloc(all + 1, 1);
    int32_t *place = xmalloc((all + 1) * 4), *source = xmalloc((all + 1) * 4);
    int32_t *begin = xmalloc((size_t)(N + 1) * 4), at = 0;
    struct buf err = BUF_INIT;
    for (size_t i = 0; i < all; i++)
        taken[i] = draw() % one_in == 0;
    uint8_t *on_taken = cuda_device_new(taken, all);
    int32_t *on_place = cuda_device_new(NULL, all * 4), *on_source = cuda_device_new(NULL, all * 4);
    int32_t *on_begin = cuda_device_new(NULL, (size_t)(N + 1) * 4);
    void *scratch = cuda_device_new(NULL, gpu_pairs_bytes(T, N));
    if (gpu_pairs(on_taken, T, N, on_place, on_begin, on_source, scratch, NULL, &err))
        fail_msg("%s", err.s);
    cuda_device_get(place, on_place, all * 4);
    cuda_device_get(begin, on_begin, (size_t)(N + 1) * 4);
    cuda_device_get(source, on_source, all * 4);
    for (int e = 0; e < N; e++) {
        assert_int_equal(begin[e], at);
        for (int t = 0; t < T; t++) {
            size_t i = (size_t)t * (size_t)N + (size_t)e;
            assert_int_equal(place[i], taken[i] ? at : -1);
            if (taken[i])
                assert_int_equal(source[at++], t);
        }
    }
    assert_int_equal(begin[N], at);
    cuda_device_free(on_taken);
    cuda_device_free(on_place);
    cuda_device_free(on_source);
    cuda_device_free(on_begin);
    cuda_device_free(scratch);
    free(taken);
    free(place);
    free(source);
    free(begin);
}

static void pairs_are_sorted_by_expert_and_token(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    check_pairs(1, 1, 1);
    check_pairs(0, 7, 1);
    check_pairs(63, 7, 3);
    check_pairs(65, 64, 8);
    check_pairs(300, 60, 15);
    check_pairs(500, 130, 20);
    check_pairs(70, 1024, 100);
    check_pairs(64, 33, 1000000);
}

/* As count() of route.c does it, for one layer of two. */
static void check_counts(bool normalise)
{
    enum { T = 700, N = 37, S = 4, STRIDE = 2 * N };
    static const int32_t start[S + 1] = { 0, 70, 70, 71, T };
    static float scores[T * N];
    uint8_t taken[T * N];
    uint16_t used[T], want_used[T] = { 0 };
    int32_t tokens[S * STRIDE], want_tokens[S * STRIDE];
    double weight[S * STRIDE], want_weight[S * STRIDE];
    struct buf err = BUF_INIT;
    make_scores(SOFTMAX, scores, T, N);
    memset(tokens, 0, sizeof(tokens));
    memset(weight, 0, sizeof(weight));
    memcpy(want_tokens, tokens, sizeof(tokens));
    memcpy(want_weight, weight, sizeof(weight));
    for (int i = 0; i < T * N; i++)
        taken[i] = draw() % 5 == 0;
    memset(taken + 3 * N, 0, N); // a token without experts
    for (int s = 0; s < S; s++)
        for (int t = start[s]; t < start[s + 1]; t++) {
            double sum = 0;
            for (int e = 0; e < N; e++)
                sum += taken[t * N + e] ? (double)scores[t * N + e] : 0;
            for (int e = 0; e < N; e++)
                if (taken[t * N + e]) {
                    want_used[t]++;
                    want_tokens[s * STRIDE + e]++;
                    want_weight[s * STRIDE + e] +=
                        normalise ? (double)scores[t * N + e] / sum : (double)scores[t * N + e];
                }
        }
    struct gpu_counts c = { .taken = cuda_device_new(taken, sizeof(taken)),
                            .scores = cuda_device_new(scores, sizeof(scores)),
                            .start = cuda_device_new(start, sizeof(start)),
                            .T = T,
                            .N = N,
                            .S = S,
                            .normalise = normalise,
                            .sums = cuda_device_new(NULL, T * sizeof(double)),
                            .used = cuda_device_new(NULL, sizeof(used)),
                            .load_tokens = cuda_device_new(tokens, sizeof(tokens)),
                            .load_weight = cuda_device_new(weight, sizeof(weight)),
                            .stride = STRIDE };
    if (gpu_counts(&c, NULL, &err))
        fail_msg("%s", err.s);
    cuda_device_get(used, c.used, sizeof(used));
    cuda_device_get(tokens, c.load_tokens, sizeof(tokens));
    cuda_device_get(weight, c.load_weight, sizeof(weight));
    assert_memory_equal(used, want_used, sizeof(used));
    assert_memory_equal(tokens, want_tokens, sizeof(tokens));
    assert_memory_equal(weight, want_weight, sizeof(weight));
    cuda_device_free((void *)(uintptr_t)c.taken);
    cuda_device_free((void *)(uintptr_t)c.scores);
    cuda_device_free((void *)(uintptr_t)c.start);
    cuda_device_free(c.sums);
    cuda_device_free(c.used);
    cuda_device_free(c.load_tokens);
    cuda_device_free(c.load_weight);
}

static void counts_are_those_of_the_cpu_to_the_bit(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    check_counts(false);
    check_counts(true);
}

static void the_other_routers_have_no_kernel(void **state)
{
    (void)state;
    static const char *const with[] = { "topk", "seqtopk", "batchtopk", "topp", "xmoe" };
    struct router_args a = { .K = 2, .N = 8, .max = 8, .batch = 1 };
    for (const struct router *const *r = routers; *r; r++) {
        bool want = false;
        for (size_t i = 0; i < ARRAY_LEN(with); i++)
            want |= strcmp((*r)->name, with[i]) == 0;
        assert_int_equal(router_on_gpu(*r, &a, NULL), want);
    }
    a.N = 1025;
    assert_false(router_on_gpu(&router_topk, &a, NULL));
    a.N = 8;
    a.custom = &a; // a recipe's router that is called like one of ours
    assert_false(router_on_gpu(&router_topk, &a, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kernel_takes_the_pairs_of_its_twin),
        cmocka_unit_test(each_layer_has_its_bound),
        cmocka_unit_test(rows_may_have_up_to_1024_experts),
        cmocka_unit_test(large_pools_are_shared_by_blocks),
        cmocka_unit_test(a_block_routes_the_next_token),
        cmocka_unit_test(rows_and_blocks_of_any_size_agree),
        cmocka_unit_test(a_state_goes_on_from_batch_to_batch),
        cmocka_unit_test(texts_at_once_take_the_pairs_of_their_twins),
        cmocka_unit_test(a_prompt_goes_on_token_by_token),
        cmocka_unit_test(long_texts_seldom_need_a_new_window),
        cmocka_unit_test(global_takes_a_fifth_of_a_sort),
        cmocka_unit_test(texts_at_once_take_little_time),
        cmocka_unit_test(a_step_costs_the_same_at_any_position),
        cmocka_unit_test(pairs_are_sorted_by_expert_and_token),
        cmocka_unit_test(counts_are_those_of_the_cpu_to_the_bit),
        cmocka_unit_test(the_other_routers_have_no_kernel),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
