/*
 * test_cuda_choose.cpp: the kernel that routes a step's texts, against plain loops in double: any
 * number of experts and texts, idle rows, a shared expert's gate, both formats; and that the pairs of
 * all texts are in order. What each router takes is test_router_cuda's.
 */
#include "cuda/kernels.cuh"
#include "tests/cuda_arrays.cuh"
#include "skip.h"

#include <cmath>

#include <setjmp.h>
#include <stdarg.h>

extern "C" {
#include <cmocka.h>
}

static void near(double want, float is, const char *what, size_t i, size_t j)
{
    if (!(std::fabs(want - static_cast<double>(is)) <= 2e-5 * (1 + std::fabs(want))))
        fail_msg("%s at %zu, %zu: %.9g, not %.9g", what, i, j, static_cast<double>(is), want);
}

/* A layer's router, texts and room for what comes of them. */
struct routed {
    size_t rows, idle, N, K, d, layers;
    bool half, gate, normalise;
    device_memory memory;
    struct step_view v;
    struct step_layer layer;
    floats x, norm, router, shared_gate;
};

static void put_texts(struct routed *r)
{
    const size_t tiles = (r->d + SQUARES - 1) / SQUARES;
    floats squares(r->rows * tiles);
    r->x = noise_of(r->rows * r->d);
    for (size_t i = 0; i < r->x.size(); i++)
        squares[i / r->d * tiles + i % r->d / SQUARES] += r->x[i] * r->x[i];
    r->v.tiles = static_cast<int>(tiles);
    r->v.x = r->memory.put(r->x);
    r->v.squares = r->memory.put(squares);
}

static void put_weights(struct routed *r)
{
    r->norm = noise_of(r->d);
    r->router = noise_of(r->N * r->d);
    r->shared_gate = noise_of(r->d);
    for (float &w : r->router) // so that scores are neither alike nor all but one nothing
        w *= 6 / std::sqrt(static_cast<float>(r->d));
    r->layer.ffn_norm = r->memory.put(r->norm, r->half);
    r->layer.router = r->memory.put(r->router, r->half);
    if (r->gate)
        r->layer.shared_gate = r->memory.put(r->shared_gate, r->half);
}

/* Slot 1 + i of the table is text i's; the last `idle` rows have none. */
static void put_slots(struct routed *r)
{
    std::vector<struct step_input> in(1);
    std::vector<struct step_router> table(STEP_TEXTS + 1);
    for (size_t i = 0; i < STEP_TEXTS; i++)
        in[0].slot[i] = i + r->idle < r->rows ? static_cast<int32_t>(i) + 1 : -1;
    for (struct step_router &t : table) {
        t = {};
        t.router.kind = GPU_TOPK;
        t.router.N = static_cast<int>(r->N);
        t.router.K = t.router.min = t.router.max = static_cast<int>(r->K);
    }
    r->v.in = r->memory.put(in);
    r->v.routers = r->memory.put(table);
}

static void put_room(struct routed *r)
{
    struct step_view *v = &r->v;
    const size_t pairs = r->rows * r->N;
    v->s.hidden = static_cast<int>(r->d);
    v->s.experts = static_cast<int>(r->N);
    v->s.eps = 1e-5f;
    v->s.half = r->half;
    v->s.normalise = r->normalise;
    v->rows = static_cast<int>(r->rows);
    v->logits = r->memory.room<float>(pairs + r->rows);
    v->scale = r->memory.room<float>(r->rows);
    v->pairs.active = r->memory.room<int32_t>(r->N + 1);
    v->pairs.begin = r->memory.room<int32_t>(r->N + 1);
    v->pairs.text = r->memory.room<int32_t>(pairs);
    v->pairs.taken = r->memory.room<uint32_t>(r->rows * ((r->N + 31) / 32));
    v->pairs.weight = r->memory.room<float>(pairs);
    v->out.bad = r->memory.put(std::vector<int32_t>(1));
    v->out.scores = r->memory.room<float>(r->layers * pairs);
    v->arrived = r->memory.put(std::vector<unsigned>(r->rows + 1));
}

static void make(struct routed *r)
{
    r->v = {};
    r->layer = {};
    put_texts(r);
    put_weights(r);
    put_slots(r);
    put_room(r);
}

static double logit(const struct routed *r, size_t text, const float *row)
{
    const float *x = &r->x[text * r->d];
    double sum = 0, squares = 0;
    for (size_t i = 0; i < r->d; i++) {
        const double y = static_cast<double>(x[i]);
        squares += y * y;
        sum += y * static_cast<double>(r->norm[i]) * static_cast<double>(row[i]);
    }
    return sum / std::sqrt(squares / static_cast<double>(r->d) + 1e-5);
}

/* Scores, the K best of them, and their weights, of one text. out: [N] of the layer */
static void check_text(const struct routed *r, size_t b, const float *out, const float *weight)
{
    std::vector<double> score(r->N);
    double all = 0, sum = 0, least = 1, most = 0;
    size_t taken = 0, at = 0;
    for (size_t e = 0; e < r->N; e++)
        all += score[e] = std::exp(logit(r, b, &r->router[e * r->d]));
    for (size_t e = 0; e < r->N; e++) {
        score[e] /= all;
        if (out[e] < 0) {
            most = std::fmax(most, score[e]);
            assert_true(out[e] == -1);
            continue;
        }
        near(score[e], out[e], "a score", b, e);
        least = std::fmin(least, score[e]);
        sum += score[e];
        taken++;
    }
    assert_int_equal(taken, r->K);
    if (most > least + 1e-6)
        fail_msg("text %zu takes one of %g, and not one of %g", b, least, most);
    for (size_t e = 0; e < r->N; e++)
        if (out[e] >= 0)
            near(r->normalise ? score[e] / sum : score[e], weight[at++], "a weight", b, e);
}

/* By expert, then by text: what is in out [rows, N]. */
static void check_order(const struct routed *r, const floats &out)
{
    const std::vector<int32_t> active = got(r->v.pairs.active, r->N + 1),
                               begin = got(r->v.pairs.begin, r->N + 1),
                               text = got(r->v.pairs.text, r->rows * r->N);
    size_t place = 0, row = 0;
    for (size_t e = 0; e < r->N; e++) {
        const size_t first = row;
        for (size_t b = 0; b + r->idle < r->rows; b++) {
            if (out[b * r->N + e] < 0)
                continue;
            assert_int_equal(text[row++], b);
        }
        if (row == first)
            continue;
        assert_int_equal(active[1 + place], e);
        assert_int_equal(begin[place], first);
        place++;
    }
    assert_int_equal(active[0], place);
    assert_int_equal(begin[place], row);
}

static const struct launch here = { nullptr, 3, 227 << 10, false, DRIVERS };

static void check_layer(const struct routed *r, int layer)
{
    const size_t pairs = r->rows * r->N;
    launch_choose(here, r->v, r->layer, layer);
    const floats out = got(r->v.out.scores + static_cast<size_t>(layer) * pairs, pairs);
    const floats weight = got(r->v.pairs.weight, pairs), scale = got(r->v.scale, r->rows);
    const floats logits = got(r->v.logits, pairs + r->rows);
    for (size_t b = 0; b + r->idle < r->rows; b++) {
        check_text(r, b, &out[b * r->N], &weight[b * r->N]);
        if (r->gate)
            near(logit(r, b, r->shared_gate.data()), logits[b * (r->N + 1) + r->N], "a gate", b, 0);
        double squares = 0;
        for (size_t i = 0; i < r->d; i++)
            squares += static_cast<double>(r->x[b * r->d + i] * r->x[b * r->d + i]);
        near(1 / std::sqrt(squares / static_cast<double>(r->d) + 1e-5), scale[b], "a scale", b, 0);
    }
    check_order(r, out);
    assert_int_equal(got(r->v.out.bad, 1)[0], 0);
}

static void check(size_t rows, size_t idle, size_t N, size_t K, size_t d, bool half)
{
    struct routed r = {};
    r.rows = rows, r.idle = idle, r.N = N, r.K = K, r.d = d, r.layers = 2, r.half = half;
    r.gate = N % 2 == 0;
    r.normalise = N % 4 == 0;
    make(&r);
    check_layer(&r, 1);
    check_layer(&r, 0); // the counters are as they were
}

#define NEEDS_DEVICE()                         \
    do {                                       \
        const char *why = cuda_device_lacks(); \
        if (why)                               \
            SKIP("%s", why);                   \
    } while (0)

static void scores_and_pairs_are_those_of_plain_loops(void **)
{
    NEEDS_DEVICE();
    for (int half = 0; half < 2; half++) {
        check(1, 0, 64, 8, 2048, half);
        check(1, 0, 7, 2, 40, half);
        check(3, 1, 60, 4, 200, half);
        check(33, 0, 8, 3, 64, half);
        check(64, 5, 33, 2, 24, half);
        check(2, 0, 130, 9, 2056, half);
        check(9, 0, 512, 10, 48, half);
        check(1, 0, 8, 2, 6152, half);
        check(2, 2, 16, 2, 32, half); // nobody is there
        check(1, 1, 16, 2, 32, half);
    }
    check(2, 0, 9, 9, 37, false); // rows that begin at odd places
    check(2, 0, 9, 2, 2051, false);
}

static void a_score_that_is_no_number_is_said_with_its_layer(void **)
{
    NEEDS_DEVICE();
    for (int many = 0; many < 2; many++) {
        struct routed r = {};
        r.rows = 3, r.N = many ? 70 : 12, r.K = 2, r.d = 64, r.layers = 3;
        make(&r);
        floats x = r.x;
        x[r.d + 5] = INFINITY;
        r.v.x = r.memory.put(x);
        launch_choose(here, r.v, r.layer, 2);
        assert_int_equal(got(r.v.out.bad, 1)[0], 3);
        r.v.x = r.memory.put(r.x);
        launch_choose(here, r.v, r.layer, 1); // the first is kept
        assert_int_equal(got(r.v.out.bad, 1)[0], 3);
    }
}

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scores_and_pairs_are_those_of_plain_loops),
        cmocka_unit_test(a_score_that_is_no_number_is_said_with_its_layer),
    };
    return cmocka_run_group_tests_name("cuda_choose", tests, nullptr, nullptr);
}
