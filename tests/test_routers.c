/*
 * test_routers.c: the conformance test, which every router of the table must pass, and each
 * definition against a slow oracle written straight from its words: everything is compared with
 * everything, O(T^2 N^2), nothing is kept from token to token.
 */
#include "routers/expert_cache.h"
#include "routers/select.h"
#include "store/results.h"

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

enum kind { SOFTMAX, TIES, CONSTANT, ONE_HOT, TINY, KINDS };

/* Rows of scores of several kinds; ties are made on purpose. scores: [T, N] */
static void make_scores(enum kind kind, float *scores, int T, int N)
{
    for (int t = 0; t < T; t++) {
        float *row = scores + t * N, sum = 0;
        float sharp = (float)(draw() % 5);
        for (int e = 0; e < N; e++) {
            float u = (float)(draw() >> 8) / 16777216.0f;
            row[e] = kind == SOFTMAX    ? expf(sharp * u)
                     : kind == TIES     ? (float)(1 + draw() % 4)
                     : kind == CONSTANT ? 1.0f
                     : kind == ONE_HOT  ? 0.0f
                                        : 1e-42f * (float)(draw() % 9);
            sum += row[e];
        }
        if (kind == ONE_HOT)
            row[draw() % (unsigned)N] = 1;
        for (int e = 0; e < N && (kind == SOFTMAX || kind == TIES || kind == CONSTANT); e++)
            row[e] /= sum;
    }
}

/* Is pair a better than pair b? Pairs are t * N + e. */
static bool better(const float *s, int a, int b)
{
    return s[a] != s[b] ? s[a] > s[b] : a < b;
}

static int rank_of(const float *s, int N, int pair)
{
    int row = pair / N * N, rank = 0;
    for (int e = 0; e < N; e++)
        rank += better(s, row + e, pair);
    return rank;
}

/* ROUTERS.md, `global`. taken: [T*N] */
static void oracle_pool(const float *s, int T, const struct router_args *a, bool *taken)
{
    int pairs = T * a->N, budget = T * a->K;
    for (int p = 0; p < pairs; p++) {
        taken[p] = rank_of(s, a->N, p) < a->min;
        budget -= taken[p];
    }
    for (; budget > 0; budget--) {
        int best = -1;
        for (int p = 0; p < pairs; p++)
            if (!taken[p] && rank_of(s, a->N, p) < a->max && (best < 0 || better(s, p, best)))
                best = p;
        taken[best] = true;
    }
}

/* The k-th largest of n values, by counting for each how many are larger. */
static float oracle_kth(const float *s, int n, int k)
{
    for (int i = 0; i < n; i++) {
        int larger = 0, equal = 0;
        for (int j = 0; j < n; j++) {
            larger += s[j] > s[i];
            equal += s[j] == s[i];
        }
        if (larger < k && k <= larger + equal)
            return s[i];
    }
    fail_msg("no %d-th largest of %d", k, n);
    return 0;
}

/* ROUTERS.md, `online` and `strict`. */
static void oracle_prefix(const float *s, int T, const struct router_args *a, bool strict,
                          bool *taken)
{
    int used = 0;
    for (int t = 1; t <= T; t++) {
        float c = oracle_kth(s, t * a->N, t * a->K);
        int row = (t - 1) * a->N, n = 0;
        for (int e = 0; e < a->N; e++)
            n += s[row + e] >= c;
        n = n < a->min ? a->min : n > a->max ? a->max : n;
        if (strict && n > t * a->K - used)
            n = t * a->K - used;
        if (strict && n < a->min)
            n = a->min;
        for (int e = 0; e < a->N; e++)
            taken[row + e] = rank_of(s, a->N, row + e) < n;
        used += n;
    }
}

/* ROUTERS.md, `topp` and `xmoe`: what the entries before a pair in its row come to, best first. */
static double oracle_better(const float *s, int N, int pair)
{
    double sum = 0;
    for (int rank = 0; rank < rank_of(s, N, pair); rank++)
        for (int e = pair / N * N; e < pair / N * N + N; e++)
            if (rank_of(s, N, e) == rank)
                sum += (double)s[e];
    return sum;
}

/* ROUTERS.md, `expert_choice`: how many tokens are better for the pair's expert. */
static int oracle_better_tokens(const float *s, int T, int N, int pair)
{
    int n = 0;
    for (int p = pair % N; p < T * N; p += N)
        n += better(s, p, pair);
    return n;
}

/* ROUTERS.md, `threshold`: by the cutoffs, or by each expert's own k-th largest of the pool. */
static bool oracle_reaches(const struct router_args *a, const float *s, int T, int pair)
{
    int e = pair % a->N, k = T * a->K / a->N;
    if (a->cutoffs)
        return s[pair] >= a->cutoffs[e];
    float column[64];
    for (int t = 0; t < T; t++)
        column[t] = s[t * a->N + e];
    return s[pair] >= oracle_kth(column, T, k > 1 ? k : 1);
}

/* The routers whose tokens have no bounds but their own; false: it is none of them. */
static bool oracle_unbounded(const struct router *r, const struct router_args *a, const float *s,
                             int T, bool *taken)
{
    bool topp = strcmp(r->name, "topp") == 0, xmoe = strcmp(r->name, "xmoe") == 0;
    bool threshold = strcmp(r->name, "threshold") == 0;
    if (!topp && !xmoe && !threshold && strcmp(r->name, "expert_choice") != 0)
        return false;
    for (int p = 0; p < T * a->N; p++)
        if (topp)
            taken[p] = oracle_better(s, a->N, p) <= a->p;
        else if (xmoe)
            taken[p] = oracle_better(s, a->N, p) < a->threshold;
        else if (threshold)
            taken[p] = oracle_reaches(a, s, T, p);
        else
            taken[p] = oracle_better_tokens(s, T, a->N, p) < T * a->K / a->N;
    return true;
}

static void oracle(const struct router *r, const struct router_args *a, const float *s, int T,
                   bool *taken)
{
    int step = a->segment > 0 ? a->segment : T;
    if (oracle_unbounded(r, a, s, T, taken))
        return;
    for (int t = 0; t < T; t += step) {
        const float *part = s + t * a->N;
        int n = T - t < step ? T - t : step;
        if (strcmp(r->name, "topk") == 0) {
            struct router_args k = *a;
            k.min = k.max = a->K;
            oracle_pool(part, n, &k, taken + t * a->N);
        } else if (strcmp(router_mode(r, a), "online") == 0) {
            oracle_prefix(part, n, a, false, taken + t * a->N);
        } else if (strcmp(router_mode(r, a), "strict") == 0) {
            oracle_prefix(part, n, a, true, taken + t * a->N);
        } else {
            oracle_pool(part, n, a, taken + t * a->N);
        }
    }
}

static void run(const struct router *r, const struct router_args *a, const float *s, int T,
                struct selection *out)
{
    struct router_state *state = r->open ? r->open(a) : NULL;
    r->select(a, state, s, T, out);
    if (r->close)
        r->close(state);
}

static void assert_selection(const struct selection *sel, const bool *taken, int T, int N)
{
    assert_int_equal(sel->tokens, T);
    const int32_t *e = sel->expert;
    for (int t = 0; t < T; t++) {
        int n = 0;
        for (int i = 0; i < N; i++)
            n += taken[t * N + i];
        assert_int_equal(sel->count[t], n);
        for (int i = 0; i < n; i++) {
            assert_true(i == 0 || e[i] > e[i - 1]);
            assert_true(taken[t * N + e[i]]);
        }
        e += n;
    }
}

/* Every way of setting a router's parameters that the tests go through. */
typedef void (*visit)(const struct router *, const struct router_args *);

static bool has_param(const struct router *r, const char *name)
{
    const struct router_param *p = r->params;
    while (p->name && strcmp(p->name, name) != 0)
        p++;
    return p->name;
}

/* What the kinds of scores hold, so that many are met exactly, and what nothing and all of them reach. */
static const float *draw_cutoffs(int N)
{
    static float cutoffs[16];
    const float some[] = { 0,
                           1,
                           1.0f / (float)N,
                           nextafterf(1.0f / (float)N, 1),
                           4e-42f,
                           -2e-42f,
                           2.0f,
                           1.5f / (float)N,
                           -INFINITY,
                           1e-45f };
    for (int e = 0; e < N; e++)
        cutoffs[e] = some[draw() % ARRAY_LEN(some)];
    return cutoffs;
}

static void each_setting(visit f)
{
    static const int sizes[][2] = { { 2, 8 }, { 1, 5 }, { 4, 7 }, { 3, 3 }, { 8, 16 }, { 1, 16 } };
    static const double reals[] = { 1e-9, 0.25, 0.4, 0.5, 0.9, 1 };
    for (const struct router *const *r = routers; *r; r++) {
        for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
            int K = sizes[i][0], N = sizes[i][1];
            int bounds[][2] = {
                { 0, N }, { 1, K }, { 1, K + 1 }, { 0, K + 2 }, { K, K }, { K, N }
            };
            for (size_t b = 0; b < ARRAY_LEN(bounds); b++) {
                for (int mode = 0; mode < 3; mode++) {
                    for (int segment = 0; segment <= 5; segment += 5) {
                        struct router_args a = { .K = K,
                                                 .N = N,
                                                 .mode = mode,
                                                 .min = bounds[b][0],
                                                 .max = bounds[b][1],
                                                 .segment = segment,
                                                 .batch = 1,
                                                 .p = reals[b],
                                                 .threshold = reals[b],
                                                 .decay = reals[b] };
                        struct buf err = BUF_INIT;
                        bool modes = has_param(*r, "mode");
                        if (!has_param(*r, "max")) {
                            a.min = affine_value((*r)->least, K, N);
                            a.max = affine_value((*r)->most, K, N);
                        }
                        if ((modes || (mode == 0 && segment == 0)) && a.max <= N) {
                            assert_int_equal(router_check(*r, &a, &err), 0);
                            f(*r, &a);
                            a.cutoffs = draw_cutoffs(N);
                            if ((*r)->learns)
                                f(*r, &a);
                        }
                        buf_release(&err);
                    }
                }
            }
        }
    }
}

static void check_against_oracle(const struct router *r, const struct router_args *a)
{
    enum { T = 13 };
    float scores[T * 16];
    for (int kind = 0; kind < KINDS; kind++) {
        bool taken[T * 16] = { false };
        struct selection sel = { 0 };
        make_scores((enum kind)kind, scores, T, a->N);
        oracle(r, a, scores, T, taken);
        run(r, a, scores, T, &sel);
        assert_selection(&sel, taken, T, a->N);
        selection_release(&sel);
    }
}

static void every_router_selects_what_its_definition_says(void **state)
{
    (void)state;
    each_setting(check_against_oracle);
}

/* Pairs that T tokens take in all; -1: that is not known before. */
static int exact_budget(const struct router *r, const struct router_args *a, int T)
{
    if (strcmp(r->name, "expert_choice") == 0)
        return a->N * (T * a->K / a->N);
    return r->ignores_k || r->learns || r->scope(a) == SCOPE_PREFIX ? -1 : T * a->K;
}

static void check_budget(const struct router *r, const struct router_args *a)
{
    enum { T = 29 };
    float scores[T * 16];
    for (int kind = 0; kind < KINDS; kind++) {
        struct selection sel = { 0 };
        make_scores((enum kind)kind, scores, T, a->N);
        run(r, a, scores, T, &sel);
        int64_t used = 0;
        for (int t = 0; t < T; t++) {
            used += sel.count[t];
            assert_in_range(sel.count[t], a->min, a->max);
            if (strcmp(router_mode(r, a), "strict") == 0)
                assert_true(used <= (int64_t)(t + 1) * a->K);
        }
        if (exact_budget(r, a, T) >= 0)
            assert_int_equal(used, exact_budget(r, a, T));
        selection_release(&sel);
    }
}

static void every_router_keeps_its_bounds_and_its_budget(void **state)
{
    (void)state;
    each_setting(check_budget);
}

static void check_pieces(const struct router *r, const struct router_args *a)
{
    enum { T = 31 };
    if ((r->scope(a) != SCOPE_TOKEN && r->scope(a) != SCOPE_PREFIX) || (r->learns && !a->cutoffs))
        return;
    float scores[T * 16];
    struct selection whole = { 0 }, pieces = { 0 };
    make_scores(SOFTMAX, scores, T, a->N);
    run(r, a, scores, T, &whole);
    struct router_state *state = r->open ? r->open(a) : NULL;
    for (int t = 0, n; t < T; t += n) {
        n = 1 + (int)(draw() % 4);
        n = n > T - t ? T - t : n;
        r->select(a, state, scores + t * a->N, n, &pieces);
    }
    if (r->close)
        r->close(state);
    assert_int_equal(whole.pairs, pieces.pairs);
    assert_memory_equal(whole.count, pieces.count, T * sizeof(*whole.count));
    assert_memory_equal(whole.expert, pieces.expert, whole.pairs * sizeof(*whole.expert));
    selection_release(&whole);
    selection_release(&pieces);
}

static void a_causal_router_selects_the_same_step_by_step(void **state)
{
    (void)state;
    each_setting(check_pieces);
}

/* ROUTERS.md, `prefill = "global"`: the prompt by global, the rest online behind all of its scores. */
static void check_prefill(const struct router *r, const struct router_args *given)
{
    enum { T = 23, PROMPT = 9 };
    struct router_args a = *given, global = *given;
    a.prefill = 1;
    if (strcmp(r->name, "seqtopk") != 0 || r->scope(&a) != SCOPE_PROMPT || a.segment)
        return;
    global.mode = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        float s[T * 16];
        bool taken[T * 16] = { false };
        struct selection sel = { 0 };
        make_scores((enum kind)kind, s, T, a.N);
        oracle_pool(s, PROMPT, &global, taken);
        for (int t = PROMPT + 1, used = PROMPT * a.K; t <= T; t++) {
            float c = oracle_kth(s, t * a.N, t * a.K);
            int row = (t - 1) * a.N, n = 0;
            for (int e = 0; e < a.N; e++)
                n += s[row + e] >= c;
            n = n < a.min ? a.min : n > a.max ? a.max : n;
            if (a.mode == 2 && n > t * a.K - used)
                n = t * a.K - used;
            for (int e = 0; e < a.N; e++)
                taken[row + e] = rank_of(s, a.N, row + e) < n;
            used += n;
        }
        struct router_state *state = r->open(&a);
        r->select(&a, state, s, PROMPT, &sel);
        r->select(&a, state, s + PROMPT * a.N, 1, &sel);
        r->select(&a, state, s + (PROMPT + 1) * a.N, T - PROMPT - 1, &sel);
        r->close(state);
        assert_selection(&sel, taken, T, a.N);
        selection_release(&sel);
    }
}

static void a_prompt_can_be_routed_globally(void **state)
{
    (void)state;
    each_setting(check_prefill);
    struct router_args a = { .K = 2, .N = 8, .max = 4, .mode = 1, .prefill = 1 };
    assert_true(router_decodes(&router_seqtopk, &a));
    a.mode = 0;
    assert_false(router_decodes(&router_seqtopk, &a));
    assert_false(router_decodes(&router_batchtopk, &a));
    assert_true(router_decodes(&router_topk, &a));
    assert_true(router_decodes(&router_topp, &a));
    assert_true(router_decodes(&router_xmoe, &a));
    assert_false(router_decodes(&router_expert_choice, &a));
}

/* Segments go on where the prompt left them, and each has its own budget. */
static void a_global_prompt_ends_within_a_segment(void **state)
{
    (void)state;
    enum { T = 14, N = 8 };
    struct router_args a = {
        .K = 2, .N = N, .min = 0, .max = N, .mode = 2, .segment = 5, .prefill = 1
    };
    float s[T * N];
    make_scores(SOFTMAX, s, T, N);
    struct selection sel = { 0 };
    struct router_state *st = router_seqtopk.open(&a);
    router_seqtopk.select(&a, st, s, 8, &sel);
    router_seqtopk.select(&a, st, s + 8 * N, T - 8, &sel);
    router_seqtopk.close(st);
    int used = 0;
    for (int t = 0; t < T; t++) {
        used = t % 5 == 0 ? sel.count[t] : used + sel.count[t];
        if (t == 4 || t == 7)
            assert_int_equal(used, (t % 5 + 1) * a.K);
        else if (t > 7)
            assert_true(used <= (t % 5 + 1) * a.K);
    }
    selection_release(&sel);
}

static void no_tokens_select_nothing(void **state)
{
    (void)state;
    for (const struct router *const *r = routers; *r; r++) {
        struct router_args a = {
            .K = 2, .N = 4, .min = 1, .max = 4, .batch = 1, .p = 0.5, .threshold = 0.5
        };
        struct selection sel = { 0 };
        run(*r, &a, NULL, 0, &sel);
        assert_int_equal(sel.tokens, 0);
        selection_release(&sel);
    }
}

/* The selections of T tokens as text: "02 01 - ", where - is a token that takes none. */
static void assert_selects(const struct router *r, const struct router_args *a, const float *s,
                           int T, const char *want)
{
    struct selection sel = { 0 };
    struct buf got = BUF_INIT;
    run(r, a, s, T, &sel);
    for (size_t t = 0, p = 0; t < sel.tokens; t++) {
        for (int n = 0; n < sel.count[t]; n++)
            buf_addf(&got, "%d", sel.expert[p++]);
        buf_adds(&got, sel.count[t] ? " " : "- ");
    }
    assert_string_equal(got.s, want);
    buf_release(&got);
    selection_release(&sel);
}

/* The worked example of the definitions: three tokens, four experts, K = 2. */
static const float worked[12] = { 0.70f, 0.10f, 0.12f, 0.08f, 0.30f, 0.28f,
                                  0.22f, 0.20f, 0.40f, 0.35f, 0.05f, 0.20f };

static void the_worked_example_comes_out(void **state)
{
    (void)state;
    static const struct {
        const struct router *router;
        int mode, min, max;
        const char *want;
    } cases[] = {
        { &router_topk, 0, 0, 0, "02 01 01 " },    { &router_seqtopk, 0, 0, 4, "0 012 01 " },
        { &router_seqtopk, 0, 1, 2, "02 01 01 " }, { &router_seqtopk, 1, 0, 4, "02 012 01 " },
        { &router_seqtopk, 2, 0, 4, "02 01 01 " }, { &router_batchtopk, 0, 0, 4, "0 012 01 " },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct router_args a = { .K = 2,
                                 .N = 4,
                                 .mode = cases[i].mode,
                                 .min = cases[i].min,
                                 .max = cases[i].max,
                                 .batch = 1 };
        assert_selects(cases[i].router, &a, worked, 3, cases[i].want);
    }
}

/* By hand, on the same scores and on eighths, whose sums are exact. */
static void topp_and_xmoe_differ_where_a_sum_is_met_exactly(void **state)
{
    (void)state;
    static const float eighths[12] = { 0.500f, 0.250f, 0.125f, 0.125f, 0.250f, 0.250f,
                                       0.250f, 0.250f, 0.125f, 0.125f, 0.625f, 0.125f };
    static const struct {
        const float *scores;
        double share;
        const char *topp, *xmoe;
    } cases[] = {
        { worked, 0.5, "0 01 01 ", "0 01 01 " },
        { worked, 0.69, "0 012 01 ", "0 012 01 " },
        { worked, 0.9, "012 0123 013 ", "012 0123 013 " },
        { worked, 1e-9, "0 0 0 ", "0 0 0 " },
        { eighths, 0.25, "0 01 2 ", "0 0 2 " },
        { eighths, 0.5, "01 012 2 ", "0 01 2 " },
        { eighths, 0.75, "012 0123 012 ", "01 012 02 " },
        { eighths, 1, "0123 0123 0123 ", "0123 0123 0123 " },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct router_args a = { .K = 2, .N = 4, .p = cases[i].share, .threshold = cases[i].share };
        assert_selects(&router_topp, &a, cases[i].scores, 3, cases[i].topp);
        assert_selects(&router_xmoe, &a, cases[i].scores, 3, cases[i].xmoe);
        a.K = 1; // which decides nothing
        assert_selects(&router_topp, &a, cases[i].scores, 3, cases[i].topp);
        assert_selects(&router_xmoe, &a, cases[i].scores, 3, cases[i].xmoe);
    }
}

/* By hand: 3 * K / 4, rounded down, of each column. */
static void each_expert_chooses_its_tokens(void **state)
{
    (void)state;
    static const float tied[12] = { 0.25f, 0.25f, 0.25f, 0.25f, 0.25f, 0.25f,
                                    0.25f, 0.25f, 0.25f, 0.25f, 0.25f, 0.25f };
    static const char *const want[] = { "- - - ", "0 23 1 ", "02 123 013 ", "0123 0123 0123 " };
    for (int K = 1; K <= 4; K++) {
        struct router_args a = { .K = K, .N = 4 };
        assert_selects(&router_expert_choice, &a, worked, 3, want[K - 1]);
    }
    struct router_args a = { .K = 2, .N = 4 };
    assert_selects(&router_expert_choice, &a, tied, 3, "0123 - - ");
    assert_selects(&router_expert_choice, &a, worked, 1, "- ");
}

/* By hand: no cutoffs yet, so the k-th of each column, k = 3 * K / 4 rounded down, and 1 at least. */
static void each_expert_begins_with_its_own_kth_logit(void **state)
{
    (void)state;
    static const char *const want[] = { "0 23 13 ", "0 23 13 ", "02 123 013 ", "0123 0123 0123 " };
    for (int K = 1; K <= 4; K++) {
        struct router_args a = { .K = K, .N = 4 };
        assert_selects(&router_threshold, &a, worked, 3, want[K - 1]);
    }
}

/* Raw logits of every size, and cutoffs that are one of them, or its neighbour. */
static void a_logit_that_meets_its_cutoff_is_taken(void **state)
{
    (void)state;
    enum { T = 40, N = 16, ROUNDS = 50 };
    static const float odd[] = { -0.0f, 0.0f, 1e-45f, -1e-45f, 3e-39f, -INFINITY, -8.5f, 3.4e38f };
    for (int i = 0; i < ROUNDS; i++) {
        float logits[T * N], cutoffs[N];
        bool taken[T * N];
        int met = 0;
        for (int p = 0; p < T * N; p++)
            logits[p] = draw() % 4 ? (float)((int)(draw() % 64) - 32) * 0.25f
                                   : odd[draw() % ARRAY_LEN(odd)];
        for (int e = 0; e < N; e++) {
            float v = logits[(int)(draw() % T) * N + e];
            cutoffs[e] = e % 3 == 0 ? v : nextafterf(v, e % 3 == 1 ? INFINITY : -INFINITY);
        }
        for (int p = 0; p < T * N; p++) {
            taken[p] = logits[p] >= cutoffs[p % N];
            met += logits[p] == cutoffs[p % N];
        }
        assert_true(met >= N / 3);
        struct router_args a = { .K = 2, .N = N, .max = N, .cutoffs = cutoffs };
        struct selection sel = { 0 };
        run(&router_threshold, &a, logits, T, &sel);
        assert_selection(&sel, taken, T, N);
        selection_release(&sel);
    }
    struct router_args a = { .K = 2, .N = N };
    assert_true(router_threshold.logits && router_threshold.learns);
    assert_true(router_decodes(&router_threshold, &a));
}

static void a_long_pool_agrees_with_a_sort(void **state)
{
    (void)state;
    enum { T = 4096, N = 64, K = 8 };
    float *scores = xmalloc(sizeof(float) * T * N);
    make_scores(SOFTMAX, scores, T, N);
    struct router_args a = { .K = K, .N = N, .min = 0, .max = N };
    struct selection sel = { 0 };
    run(&router_seqtopk, &a, scores, T, &sel);
    // The smallest that was taken is not below the largest that was not.
    float least = 2, most = -1;
    const int32_t *e = sel.expert;
    for (int t = 0; t < T; t++) {
        int i = 0;
        for (int x = 0; x < N; x++) {
            float v = scores[t * N + x];
            if (i < sel.count[t] && e[i] == x) {
                least = v < least ? v : least;
                i++;
            } else {
                most = v > most ? v : most;
            }
        }
        e += sel.count[t];
    }
    assert_int_equal(sel.pairs, T * K);
    assert_true(least >= most);
    selection_release(&sel);
    free(scores);
}

static void bounds_out_of_range_are_refused_with_what_is_allowed(void **state)
{
    (void)state;
    static const struct {
        struct router_args args;
        const char *want;
    } cases[] = {
        { { .K = 9, .N = 8, .max = 8 }, "K is 9; allowed is 1 to N, which is 8 here" },
        { { .K = 0, .N = 8, .max = 8 }, "K is 0" },
        { { .K = 2, .N = 8, .min = 3, .max = 8 }, "seqtopk.min is 3 with K = 2" },
        { { .K = 2, .N = 8, .min = -1, .max = 8 }, "allowed is 0 to 2" },
        { { .K = 2, .N = 8, .min = 1, .max = 1 }, "seqtopk.max is 1 with K = 2" },
        { { .K = 2, .N = 8, .min = 1, .max = 9 }, "allowed is 2 to 8" },
        { { .K = 2, .N = 8, .max = 4, .segment = -1 }, "seqtopk.segment is -1" },
        { { .K = 2, .N = 8, .max = 4, .mode = 3 }, "seqtopk.mode is 3" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf err = BUF_INIT;
        assert_int_equal(router_check(&router_seqtopk, &cases[i].args, &err), -1);
        assert_non_null(strstr(err.s, cases[i].want));
        buf_release(&err);
    }
}

/* Of a router whose bounds do not hold K between them. */
static void a_min_above_its_max_is_refused(void **state)
{
    (void)state;
    static const struct router_param wide[] = {
        { .name = "min", .offset = offsetof(struct router_args, min), .hi = { .n = 1 } },
        { .name = "max", .offset = offsetof(struct router_args, max), .hi = { .n = 1 } },
        { .name = NULL },
    };
    const struct router r = { .name = "r", .params = wide };
    struct router_args a = { .K = 2, .N = 8, .min = 5, .max = 4 };
    struct buf err = BUF_INIT;
    assert_int_equal(router_check(&r, &a, &err), -1);
    assert_string_equal(err.s, "r.min is 5 and max is 4; allowed is a min up to max");
    a.max = 5;
    assert_int_equal(router_check(&r, &a, &err), 0);
    buf_release(&err);
}

/* What is said of bounds by layer, and what holds in one. */
static void each_layer_may_have_its_bound(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    float cutoffs[24];
    struct router_args a = { .K = 2, .N = 8, .min = 1, .max = 8, .nmaxes = 3, .cutoffs = cutoffs };
    memcpy(a.maxes, (const uint16_t[]){ 3, 8, 2 }, 3 * sizeof(uint16_t));
    assert_int_equal(router_check(&router_seqtopk, &a, &b), 0);
    router_label(&router_seqtopk, &a, &b);
    assert_string_equal(b.s, "seqtopk global [1, 3/8/2]");
    buf_reset(&b);
    router_params_json(&router_batchtopk,
                       &(struct router_args){
                           .K = 2, .N = 8, .batch = 4, .nmaxes = 2, .max = 8, .maxes = { 2, 8 } },
                       &b);
    assert_string_equal(b.s, "{\"batch\":4,\"min\":0,\"max\":[2,8]}");
    for (int l = 0; l < 3; l++) {
        struct router_args at = router_args_at(&a, l);
        assert_int_equal(at.max, a.maxes[l]);
        assert_int_equal(at.nmaxes, 0);
        assert_ptr_equal(at.cutoffs, cutoffs + 8 * l);
    }
    for (int bad = 1; bad < 10; bad += 8) {
        char *want =
            xasprintf("seqtopk.max of layer 1 is %d with K = 2 and N = 8; allowed is 2 to 8", bad);
        a.maxes[1] = (uint16_t)bad;
        buf_reset(&b);
        assert_int_equal(router_check(&router_seqtopk, &a, &b), -1);
        assert_string_equal(b.s, want);
        free(want);
    }
    buf_release(&b);
}

static void labels_and_parameters_name_what_was_asked_for(void **state)
{
    (void)state;
    struct router_args a = { .K = 8, .N = 64, .mode = 1, .min = 1, .max = 10, .batch = 4 };
    struct buf b = BUF_INIT;
    router_label(&router_seqtopk, &a, &b);
    assert_string_equal(b.s, "seqtopk online [1, 10]");
    buf_reset(&b);
    a.segment = 128;
    router_label(&router_seqtopk, &a, &b);
    assert_string_equal(b.s, "seqtopk online [1, 10] segment 128");
    buf_reset(&b);
    router_others(&router_seqtopk, &a, &b);
    assert_string_equal(b.s, "segment 128");
    buf_reset(&b);
    router_others(&router_topk, &a, &b);
    assert_string_equal(b.s, "");
    buf_reset(&b);
    router_params_json(&router_seqtopk, &a, &b);
    assert_string_equal(b.s, "{\"mode\":\"online\",\"min\":1,\"max\":10,\"segment\":128,"
                             "\"prefill\":\"online\"}");
    buf_reset(&b);
    a.segment = 0;
    a.prefill = 1;
    router_label(&router_seqtopk, &a, &b);
    assert_string_equal(b.s, "seqtopk online [1, 10] prefill global");
    buf_reset(&b);
    router_label(&router_batchtopk, &a, &b);
    assert_string_equal(b.s, "batchtopk batch 4 [1, 10]");
    buf_reset(&b);
    router_label(&router_topk, &a, &b);
    assert_string_equal(b.s, "topk");
    buf_reset(&b);
    router_label(&router_expert_choice, &a, &b);
    assert_string_equal(b.s, "expert_choice");
    buf_release(&b);
    assert_ptr_equal(router_find("seqtopk"), &router_seqtopk);
    assert_null(router_find("nonesuch"));
}

static void a_real_number_is_said_in_its_shortest_form(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {
        { 0.4, "0.4" },
        { 1, "1" },
        { 0.1 + 0.2, "0.30000000000000004" },
        { 1.0 / 3, "0.3333333333333333" },
        { 1e-5, "1e-05" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct router_args a = { .K = 8, .N = 64, .p = cases[i].value };
        struct buf got = BUF_INIT, want = BUF_INIT;
        buf_addf(&want, "topp p %s", cases[i].text);
        router_label(&router_topp, &a, &got);
        assert_string_equal(got.s, want.s);
        buf_reset(&got);
        buf_reset(&want);
        buf_addf(&want, "{\"p\":%s}", cases[i].text);
        router_params_json(&router_topp, &a, &got);
        assert_string_equal(got.s, want.s);
        assert_true(strtod(got.s + strlen("{\"p\":"), NULL) == cases[i].value);
        // What was stored is called the same.
        buf_reset(&want);
        result_label("topp", a.K, got.s, &want);
        buf_reset(&got);
        router_label(&router_topp, &a, &got);
        assert_string_equal(got.s, want.s);
        buf_release(&got);
        buf_release(&want);
    }
}

static void a_real_number_out_of_range_is_refused(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *want; /* NULL: it is taken */
    } cases[] = {
        { 0, "xmoe.threshold is 0; allowed is a number above 0, up to 1" },
        { -0.5, "xmoe.threshold is -0.5; allowed" },
        { 1.25, "xmoe.threshold is 1.25; allowed" },
        { NAN, "xmoe.threshold is nan; allowed" },
        { 1, NULL },
        { 1e-300, NULL },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct router_args a = { .K = 2, .N = 8, .threshold = cases[i].value };
        struct buf err = BUF_INIT;
        assert_int_equal(router_check(&router_xmoe, &a, &err), cases[i].want ? -1 : 0);
        if (cases[i].want)
            assert_non_null(strstr(err.s, cases[i].want));
        buf_release(&err);
    }
}

/* The cost of a token must not grow with its position; how much it costs is `make bench`'s. */
static void the_expert_cache_is_exact_far_into_a_sequence(void **state)
{
    (void)state;
    enum { T = 3000, N = 8, K = 3 };
    float *scores = xmalloc(sizeof(float) * T * N);
    make_scores(SOFTMAX, scores, T, N);
    struct expert_cache cache = { 0 };
    for (int t = 0; t < T; t++) {
        float c = expert_cache_add(&cache, scores + t * N, N, K);
        if (t % 500 == 499)
            assert_true(c == oracle_kth(scores, (t + 1) * N, (t + 1) * K));
    }
    expert_cache_release(&cache);
    free(scores);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_router_selects_what_its_definition_says),
        cmocka_unit_test(every_router_keeps_its_bounds_and_its_budget),
        cmocka_unit_test(a_causal_router_selects_the_same_step_by_step),
        cmocka_unit_test(a_prompt_can_be_routed_globally),
        cmocka_unit_test(a_global_prompt_ends_within_a_segment),
        cmocka_unit_test(no_tokens_select_nothing),
        cmocka_unit_test(the_worked_example_comes_out),
        cmocka_unit_test(topp_and_xmoe_differ_where_a_sum_is_met_exactly),
        cmocka_unit_test(each_expert_chooses_its_tokens),
        cmocka_unit_test(each_expert_begins_with_its_own_kth_logit),
        cmocka_unit_test(a_logit_that_meets_its_cutoff_is_taken),
        cmocka_unit_test(a_long_pool_agrees_with_a_sort),
        cmocka_unit_test(bounds_out_of_range_are_refused_with_what_is_allowed),
        cmocka_unit_test(a_min_above_its_max_is_refused),
        cmocka_unit_test(each_layer_may_have_its_bound),
        cmocka_unit_test(labels_and_parameters_name_what_was_asked_for),
        cmocka_unit_test(a_real_number_is_said_in_its_shortest_form),
        cmocka_unit_test(a_real_number_out_of_range_is_refused),
        cmocka_unit_test(the_expert_cache_is_exact_far_into_a_sequence),
    };
    return cmocka_run_group_tests_name("routers", tests, NULL, NULL);
}
