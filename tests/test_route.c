/*
 * test_route.c: what is found out beside the selection: how far it is what other routers would have
 * selected from the same scores, and the entropies that each expert saw.
 */
#include "route.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { N = 4, K = 2 };

/* The worked example of SeqTopK: topk takes {0,2} {0,1} {0,1}, global {0} {0,1,2} {0,1}. */
static const float example[] = {
    0.70f, 0.10f, 0.12f, 0.08f, 0.30f, 0.28f, 0.22f, 0.20f, 0.40f, 0.35f, 0.05f, 0.20f,
};
static const int32_t ids[3];

static const struct router_use topk = { &router_topk, { .K = K, .N = N, .min = K, .max = K } };
static const struct router_use global = { &router_seqtopk, { .K = K, .N = N, .max = N } };
static const struct router_use online = { &router_seqtopk,
                                          { .K = K, .N = N, .max = N, .mode = SEQTOPK_ONLINE } };
static const struct router_use batch8 = { &router_batchtopk,
                                          { .K = K, .N = N, .max = N, .batch = 8 } };

/* `sequences` copies of the example, pooled two by two under `use`, through two layers. */
static void route(const struct router_use *use, int sequences, int each, int threads,
                  const struct wanted *wanted, struct scored *out)
{
    struct sequence q[4];
    struct pool pools[4];
    float scores[4 * 3 * N];
    struct buf err = BUF_INIT;
    for (int i = 0; i < sequences; i++) {
        q[i] = (struct sequence){ ids, 3 };
        pools[i] = (struct pool){ use->router, use->args, each, 1 };
        for (int j = 0; j < 3 * N; j++)
            scores[i * 3 * N + j] = example[j];
    }
    struct batch b = { q, sequences, pools, sequences / each };
    *out = (struct scored){ .wanted = wanted };
    scored_alloc(out, &b, 2, N);
    struct routing r = { .batch = &b, .threads = threads, .out = out };
    for (int layer = 0; layer < 2; layer++)
        assert_int_equal(route_layer(&r, layer, scores, NULL, &err), 0);
    for (int t = 0; t < out->tokens; t++)
        out->entropy[t] = (float)(1 << t % 3);
    routing_count_entropy(&r);
    routing_release(&r);
}

static void assert_overlap(const struct scored *s, int sequence, int other, int nothers,
                           int64_t both, int64_t ours, int64_t theirs)
{
    for (int l = 0; l < 2; l++) {
        const int64_t *v = s->overlap + 3 * ((sequence * nothers + other) * 2 + l);
        assert_int_equal(v[0], both);
        assert_int_equal(v[1], ours);
        assert_int_equal(v[2], theirs);
    }
}

static void selections_are_compared_with_what_others_would_select(void **state)
{
    (void)state;
    const struct router_use others[] = { global, topk, online };
    const struct router_use *of[] = { others, others, others, others };
    const struct wanted wanted = { .nothers = 3, .others = of };
    for (int threads = 1; threads <= 3; threads++) {
        struct scored s;
        route(&topk, 3, 1, threads, &wanted, &s);
        for (int q = 0; q < 3; q++) {
            assert_overlap(&s, q, 0, 3, 5, 6, 6); // {0} {0,1} {0,1}
            assert_overlap(&s, q, 1, 3, 6, 6, 6);
            assert_overlap(&s, q, 2, 3, 6, 6, 7); // {0,2} {0,1,2} {0,1}
        }
        assert_null(s.load_entropy);
        scored_release(&s);
        assert_null(s.overlap);
    }
}

static void a_pool_of_several_is_compared_sequence_by_sequence(void **state)
{
    (void)state;
    const struct router_use others[] = { topk };
    const struct router_use *of[] = { others, others };
    const struct wanted wanted = { .nothers = 1, .others = of };
    struct scored s;
    route(&batch8, 4, 2, 1, &wanted, &s);
    for (int q = 0; q < 4; q++)
        assert_overlap(&s, q, 0, 1, 5, 6, 6);
    scored_release(&s);
}

static void an_expert_sees_the_entropies_of_its_tokens(void **state)
{
    (void)state;
    const struct wanted wanted = { .load_entropy = true };
    struct scored s;
    route(&topk, 2, 1, 2, &wanted, &s);
    static const double want[N] = { 7, 6, 1, 0 };
    for (int i = 0; i < 2 * 2 * N; i++)
        assert_true(s.load_entropy[i] == want[i % N]);
    assert_null(s.overlap);
    scored_release(&s);
}

static void what_nobody_wants_is_not_there(void **state)
{
    (void)state;
    struct scored s;
    route(&topk, 1, 1, 1, NULL, &s);
    assert_null(s.overlap);
    assert_null(s.load_entropy);
    assert_int_equal(s.load_tokens[0], 3);
    scored_release(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selections_are_compared_with_what_others_would_select),
        cmocka_unit_test(a_pool_of_several_is_compared_sequence_by_sequence),
        cmocka_unit_test(an_expert_sees_the_entropies_of_its_tokens),
        cmocka_unit_test(what_nobody_wants_is_not_there),
    };
    return cmocka_run_group_tests_name("route", tests, NULL, NULL);
}
