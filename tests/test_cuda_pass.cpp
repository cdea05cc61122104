/*
 * test_cuda_pass.cpp: the kernels of cuda/pass.h, and what looks for scores that are no numbers, one
 * by one, against plain loops in double: odd sizes, tokens without experts and with all, rows at odd
 * places, in both formats.
 */
#include "cuda/pass.h"
#include "routers/cuda.h"
#include "tests/cuda_arrays.cuh"
#include "skip.h"

#include <cmath>
#include <functional>
#include <string>

#include <setjmp.h>
#include <stdarg.h>

extern "C" {
#include <cmocka.h>
}

typedef std::vector<int32_t> ints;

/* What it is given to keep is rounded as the format does. */
struct format_memory : device_memory {
    bool half;
    explicit format_memory(bool half_) : half(half_)
    {
    }
    /* Values in the format; `odd`: not where 16 bytes begin */
    void *values(floats &v, bool odd = false)
    {
        const size_t size = half ? 2 : 4, skip = odd ? 1 : 0;
        floats shifted(skip);
        shifted.insert(shifted.end(), v.begin(), v.end());
        std::vector<uint16_t> h(shifted.size());
        for (size_t i = 0; i < h.size(); i++)
            h[i] = halved(shifted[i]);
        for (size_t i = 0; half && i < v.size(); i++)
            v[i] = widened(h[i + skip]);
        char *at = half ? reinterpret_cast<char *>(put(h)) : reinterpret_cast<char *>(put(shifted));
        return at + skip * size;
    }
    void *empty(size_t n)
    {
        return room<float>(n);
    }
    floats got(const void *p, size_t n) const
    {
        floats v(n);
        std::vector<uint16_t> h(n);
        cuda_device_get(half ? static_cast<void *>(h.data()) : static_cast<void *>(v.data()), p,
                        n * (half ? 2 : 4));
        for (size_t i = 0; half && i < n; i++)
            v[i] = widened(h[i]);
        return v;
    }
    /* How far a value that was rounded once may be off. */
    double tolerance() const
    {
        return half ? 4.5e-3 : 2e-6;
    }
};

static void near(double want, float is, double tolerance, const char *what, size_t i, size_t j)
{
    if (!(std::fabs(want - static_cast<double>(is)) <= tolerance * (1 + std::fabs(want))))
        fail_msg("%s at %zu, %zu: %.9g, not %.9g", what, i, j, static_cast<double>(is), want);
}

#define WORKS(call)                \
    do {                           \
        struct buf err = BUF_INIT; \
        if (call)                  \
            fail_msg("%s", err.s); \
    } while (0)

#define NEEDS_DEVICE()                       \
    do {                                     \
        if (cuda_device_lacks())             \
            SKIP("%s", cuda_device_lacks()); \
    } while (0)

/* ---- pairs ---- */

/* Who takes whom, and what follows of it. */
struct pairs {
    size_t T, N, P;
    ints place, source, ends;

    pairs(size_t tokens, size_t experts, const std::function<bool(size_t, size_t)> &takes)
        : T(tokens), N(experts), P(0), place(T * N, -1)
    {
        for (size_t e = 0; e < N; e++) {
            for (size_t t = 0; t < T; t++)
                if (takes(t, e)) {
                    place[t * N + e] = static_cast<int32_t>(P++);
                    source.push_back(static_cast<int32_t>(t));
                }
            ends.push_back(static_cast<int32_t>(P));
        }
    }
};

/* Token 0 takes none, 1 all; expert 2 has only that. */
static bool some(size_t t, size_t e)
{
    return t == 1 || (t > 1 && e != 2 && (t * 7 + e * 5) % 4 == 0);
}

static std::vector<pairs> all_pairs()
{
    std::vector<pairs> all;
    all.emplace_back(19, 7, some);
    all.emplace_back(40, 64, some);
    all.emplace_back(5, 33, some);
    all.emplace_back(3, 1, [](size_t, size_t) { return true; });
    all.emplace_back(4, 6, [](size_t, size_t) { return false; });
    all.emplace_back(3, 1000, [](size_t t, size_t e) { return t == 1 || (e * 3 + t) % 100 == 0; });
    return all;
}

static int T_(const pairs &p)
{
    return static_cast<int>(p.T);
}
static int N_(const pairs &p)
{
    return static_cast<int>(p.N);
}

static void places_are_those_of_the_sorted_pairs(void **)
{
    NEEDS_DEVICE();
    for (const pairs &p : all_pairs()) {
        format_memory m(false);
        int32_t *place = m.room<int32_t>(p.T * p.N);
        WORKS(pass_place(m.put(p.source), m.put(p.ends), static_cast<int>(p.P), T_(p), N_(p), place,
                         nullptr, &err));
        const ints is = got(place, p.T * p.N);
        for (size_t i = 0; i < is.size(); i++)
            if (is[i] != p.place[i])
                fail_msg("token %zu, expert %zu: row %d, not %d", i / p.N, i % p.N, is[i],
                         p.place[i]);
    }
}

static void a_score_that_is_no_number_is_seen_and_becomes_0(void **)
{
    NEEDS_DEVICE();
    const float large = 3.4e38f;
    for (size_t n : { 0, 1, 1023, 1025, 5000 })
        for (float bad : { 1.0f, large, -large, NAN, INFINITY, -INFINITY })
            for (size_t at : { size_t(0), n / 2, n - 1 }) {
                format_memory m(false);
                floats scores = noise_of(n);
                if (n > 0)
                    scores[at] = bad;
                float *on = m.put(scores);
                int32_t *flag = m.put(ints(1, 7));
                WORKS(gpu_finite(on, n, flag, nullptr, &err));
                assert_int_equal(got(flag, 1)[0], n > 0 && !std::isfinite(bad));
                if (n > 0 && !std::isfinite(bad))
                    scores[at] = 0;
                assert_memory_equal(got(on, n).data(), scores.data(), n * sizeof(float));
            }
}

/* Token 3's scores are 0: its weights are not divided. */
static void weights_and_their_gradients_are_those_of_plain_loops(void **)
{
    NEEDS_DEVICE();
    for (const pairs &p : all_pairs())
        for (int normalise = 0; normalise < 2; normalise++) {
            format_memory m(false);
            floats scores = noise_of(p.T * p.N), dweight = noise_of(p.P);
            for (size_t i = 0; i < scores.size(); i++)
                scores[i] = i / p.N == 3 ? 0 : scores[i] * scores[i] + 0.01f;
            const int32_t *place = m.put(p.place);
            const float *on = m.put(scores);
            float *weight = m.room<float>(p.P), *dscores = m.room<float>(p.T * p.N);
            WORKS(pass_weights(place, on, T_(p), N_(p), normalise, weight, nullptr, &err));
            WORKS(pass_weights_back(place, on, m.put(dweight), T_(p), N_(p), normalise, dscores,
                                    nullptr, &err));
            const floats w = got(weight, p.P), ds = got(dscores, p.T * p.N);
            for (size_t t = 0; t < p.T; t++) {
                double sum = 0, all = 0;
                for (size_t e = 0; e < p.N; e++)
                    sum += p.place[t * p.N + e] >= 0 ? static_cast<double>(scores[t * p.N + e]) : 0;
                if (!normalise || sum == 0)
                    sum = 1;
                for (size_t e = 0; e < p.N; e++) {
                    const int32_t row = p.place[t * p.N + e];
                    if (row < 0)
                        continue;
                    const double want = static_cast<double>(scores[t * p.N + e]) / sum;
                    near(want, w[static_cast<size_t>(row)], 1e-6, "a weight", t, e);
                    all += want * static_cast<double>(dweight[static_cast<size_t>(row)]);
                }
                for (size_t e = 0; e < p.N; e++) {
                    const int32_t row = p.place[t * p.N + e];
                    const double own =
                        row < 0 ? 0 : static_cast<double>(dweight[static_cast<size_t>(row)]);
                    near(row < 0 ? 0 : (own - (normalise ? all : 0)) / sum, ds[t * p.N + e], 2e-6,
                         "a score's gradient", t, e);
                }
            }
        }
}

/* ---- between tokens and rows ---- */

static struct pass_tokens tokens_of(format_memory &m, const pairs &p, size_t d)
{
    return { T_(p), N_(p), static_cast<int>(d), m.half, m.put(p.place) };
}

static void check_spread(const pairs &p, size_t d, bool half, bool odd)
{
    format_memory m(half);
    floats x = noise_of(p.T * d);
    void *rows = m.empty(p.P * d + 1);
    const struct pass_tokens t = tokens_of(m, p, d);
    WORKS(pass_spread(&t, m.values(x, odd), rows, nullptr, &err));
    const floats is = m.got(rows, p.P * d);
    for (size_t r = 0; r < p.P; r++)
        for (size_t i = 0; i < d; i++)
            if (is[r * d + i] != x[static_cast<size_t>(p.source[r]) * d + i])
                fail_msg("row %zu is not token %d at %zu", r, p.source[r], i);
}

static void check_combine(const pairs &p, size_t d, bool half, bool weighted, bool odd)
{
    format_memory m(half);
    floats rows = noise_of(p.P * d), weight = noise_of(p.P);
    void *out = m.empty(p.T * d);
    const struct pass_tokens t = tokens_of(m, p, d);
    WORKS(pass_combine(&t, m.values(rows, odd), weighted ? m.put(weight) : nullptr, out, nullptr,
                       &err));
    const floats is = m.got(out, p.T * d);
    for (size_t b = 0; b < p.T; b++)
        for (size_t i = 0; i < d; i++) {
            double want = 0;
            for (size_t e = 0; e < p.N; e++) {
                const int32_t row = p.place[b * p.N + e];
                if (row >= 0)
                    want += static_cast<double>(rows[static_cast<size_t>(row) * d + i]) *
                            (weighted ? static_cast<double>(weight[static_cast<size_t>(row)]) : 1);
            }
            near(want, is[b * d + i], half ? m.tolerance() : 2e-5, "a token's sum", b, i);
        }
}

static void tokens_are_spread_over_their_rows_and_added_up_again(void **)
{
    NEEDS_DEVICE();
    for (int half = 0; half < 2; half++) {
        for (const pairs &p : all_pairs()) {
            check_spread(p, 40, half, false);
            check_combine(p, 40, half, true, false);
        }
        const pairs p(19, 7, some);
        for (size_t d : { 1, 21, 256, 2056, 2311 }) {
            check_spread(p, d, half, false);
            check_combine(p, d, half, false, false);
        }
        check_spread(p, 24, half, true);
        check_combine(p, 24, half, true, true);
    }
}

/* Whatever the order in which blocks and threads take turns. */
static void a_sum_has_the_same_bits_each_time(void **)
{
    NEEDS_DEVICE();
    const pairs p(40, 64, some);
    format_memory m(false);
    const size_t d = 72;
    floats rows = noise_of(p.P * d), weight = noise_of(p.P), first;
    const void *on = m.values(rows);
    const float *w = m.put(weight);
    const struct pass_tokens t = tokens_of(m, p, d);
    for (int i = 0; i < 4; i++) {
        void *out = m.empty(p.T * d);
        WORKS(pass_combine(&t, on, w, out, nullptr, &err));
        const floats is = m.got(out, p.T * d);
        if (i == 0)
            first = is;
        assert_memory_equal(is.data(), first.data(), is.size() * sizeof(float));
    }
}

/* ---- between the two products ---- */

static double sigmoid(double x)
{
    return 1 / (1 + std::exp(-x));
}

static void check_swiglu(size_t P, size_t F, bool half, bool odd)
{
    format_memory m(half);
    floats x = noise_of(P * 2 * F, 6);
    x[0] = 90, x[F - 1] = -90; // exp() of these is out of range
    void *act = m.empty(P * F);
    WORKS(pass_swiglu(half, static_cast<int>(P), static_cast<int>(F), m.values(x, odd), act,
                      nullptr, &err));
    const floats is = m.got(act, P * F);
    for (size_t p = 0; p < P; p++)
        for (size_t i = 0; i < F; i++) {
            const double g = static_cast<double>(x[p * 2 * F + i]);
            near(g * sigmoid(g) * static_cast<double>(x[p * 2 * F + F + i]), is[p * F + i],
                 m.tolerance(), "an activation", p, i);
        }
}

static void check_swiglu_back(size_t P, size_t F, bool half, bool odd, bool wants_weighted)
{
    format_memory m(half);
    floats x = noise_of(P * 2 * F, 6), dact = noise_of(P * F), weight = noise_of(P);
    void *dx = m.empty(P * 2 * F), *weighted = m.empty(P * F);
    float *dweight = m.room<float>(P);
    const void *on = m.values(x, odd), *on_dact = m.values(dact);
    WORKS(pass_swiglu_back(half, static_cast<int>(P), static_cast<int>(F), on, m.put(weight),
                           on_dact, dx, wants_weighted ? weighted : nullptr, dweight, nullptr,
                           &err));
    const floats is = m.got(dx, P * 2 * F), dw = got(dweight, P);
    const floats act = wants_weighted ? m.got(weighted, P * F) : floats();
    for (size_t p = 0; p < P; p++) {
        const double w = static_cast<double>(weight[p]);
        double sum = 0, size = 0;
        for (size_t i = 0; i < F; i++) {
            const double g = static_cast<double>(x[p * 2 * F + i]), s = sigmoid(g);
            const double u = static_cast<double>(x[p * 2 * F + F + i]);
            const double d = static_cast<double>(dact[p * F + i]);
            near(w * d * u * (s + g * s * (1 - s)), is[p * 2 * F + i], m.tolerance(),
                 "a gate's gradient", p, i);
            near(w * d * g * s, is[p * 2 * F + F + i], m.tolerance(), "an up's gradient", p, i);
            if (wants_weighted)
                near(w * g * s * u, act[p * F + i], m.tolerance(), "what is weighted", p, i);
            sum += d * g * s * u;
            size += std::fabs(d * g * s * u);
        }
        if (!(std::fabs(sum - static_cast<double>(dw[p])) <= 1e-5 * (1 + size)))
            fail_msg("row %zu: a weight's gradient is %g, not %g", p, static_cast<double>(dw[p]),
                     sum);
    }
}

static void activations_and_their_gradients_are_those_of_plain_loops(void **)
{
    NEEDS_DEVICE();
    for (int half = 0; half < 2; half++) {
        for (size_t F : { 1, 8, 24, 53, 264, 1408 }) {
            check_swiglu(5, F, half, false);
            check_swiglu_back(5, F, half, false, true);
        }
        check_swiglu(70, 16, half, true);
        check_swiglu_back(70, 16, half, true, true);
        check_swiglu(2, 4096, half, false);
        check_swiglu_back(33, 40, half, false, false);
    }
}

/* ---- around attention ---- */

static void check_norm(size_t rows, size_t d, size_t stride, bool half, bool odd)
{
    format_memory m(half);
    floats x = noise_of(rows * stride, 3), weight = noise_of(d);
    void *out = m.empty(rows * d);
    const float eps = 0.25f; // as much as can be seen
    const void *on = m.values(x, odd), *on_weight = m.values(weight);
    WORKS(pass_norm(half, static_cast<int>(rows), static_cast<int>(d), on,
                    static_cast<int64_t>(stride), on_weight, eps, out, nullptr, &err));
    const floats is = m.got(out, rows * d);
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t i = 0; i < d; i++)
            sum += static_cast<double>(x[r * stride + i]) * static_cast<double>(x[r * stride + i]);
        const double by = std::sqrt(sum / static_cast<double>(d) + static_cast<double>(eps));
        for (size_t i = 0; i < d; i++)
            near(static_cast<double>(x[r * stride + i]) / by * static_cast<double>(weight[i]),
                 is[r * d + i], m.tolerance(), "a norm", r, i);
    }
}

static void norms_are_those_of_plain_loops(void **)
{
    NEEDS_DEVICE();
    struct buf err = BUF_INIT;
    for (int half = 0; half < 2; half++) {
        check_norm(19, 16, 16, half, false);
        check_norm(3, 1, 1, half, false);
        check_norm(9, 256, 768, half, false);
        check_norm(9, 257, 300, half, false);
        check_norm(3, 2048, 6144, half, false);
        check_norm(2, 2056, 2056, half, false);
        check_norm(2, 8192, 8200, half, false);
        check_norm(2, 8191, 8191, half, false);
        check_norm(2, 2048, 2052, half, false);
        check_norm(5, 64, 64, half, true);
    }
    assert_int_equal(pass_norm(true, 1, PASS_NORM + 1, NULL, 0, NULL, 0, NULL, NULL, &err), -1);
    assert_string_equal(err.s, "a norm of 8193 values; its kernel takes 1 to 8192");
    buf_release(&err);
}

struct rotation {
    size_t T, H, G, D, gap; // gap: values between a token's heads and the next one's
    bool half, odd, positions;
};

/* One token's heads, turned. */
static void check_turned(const rotation &c, const format_memory &m, const floats &x, size_t heads,
                         size_t stride, const floats &is, const floats &cos, const floats &sin,
                         const ints &position, double sign)
{
    const size_t h = c.D / 2;
    for (size_t t = 0; t < c.T; t++)
        for (size_t j = 0; j < heads * h; j++) {
            const size_t i = j / h * c.D + j % h, at = static_cast<size_t>(position[t]) * h + j % h;
            const double a = static_cast<double>(x[t * stride + i]);
            const double b = static_cast<double>(x[t * stride + i + h]);
            const double co = static_cast<double>(cos[at]),
                         si = sign * static_cast<double>(sin[at]);
            const float *y = &is[t * heads * c.D];
            near(a * co - b * si, y[i], m.tolerance(), "a head's first half", t, i);
            near(b * co + a * si, y[i + h], m.tolerance(), "a head's second half", t, i);
        }
}

static void check_rope(const rotation &c)
{
    format_memory m(c.half);
    const size_t h = c.D / 2, context = 50, q = c.H * c.D, k = c.G * c.D;
    floats x[2] = { noise_of(c.T * (q + c.gap)), noise_of(c.T * (k + c.gap)) };
    const floats cos = noise_of(context * h), sin = noise_of(context * h);
    ints position(c.T);
    for (size_t t = 0; t < c.T; t++)
        position[t] = static_cast<int32_t>(c.positions ? (t * 17 + 3) % context : t);
    struct pass_heads r = {};
    r.T = static_cast<int>(c.T), r.D = static_cast<int>(c.D), r.half = c.half;
    r.heads[0] = static_cast<int>(c.H), r.heads[1] = static_cast<int>(c.G);
    r.cos = m.put(cos), r.sin = m.put(sin);
    r.position = c.positions ? m.put(position) : nullptr;
    void *out[2] = { m.empty(c.T * q), m.empty(c.T * k) };
    for (int i = 0; i < 2; i++) {
        r.x[i] = m.values(x[i], c.odd);
        r.stride[i] = static_cast<int64_t>((i ? k : q) + c.gap);
        r.out[i] = out[i];
    }
    for (int back = 0; back < 2; back++) {
        r.back = back;
        WORKS(pass_rope(&r, nullptr, &err));
        const double sign = back ? -1 : 1;
        check_turned(c, m, x[0], c.H, q + c.gap, m.got(out[0], c.T * q), cos, sin, position, sign);
        check_turned(c, m, x[1], c.G, k + c.gap, m.got(out[1], c.T * k), cos, sin, position, sign);
    }
}

static void heads_are_turned_as_by_plain_loops(void **)
{
    NEEDS_DEVICE();
    for (int half = 0; half < 2; half++) {
        check_rope({ 7, 4, 2, 16, 0, half != 0, false, true });
        check_rope({ 7, 16, 16, 64, 48, half != 0, false, true });
        check_rope({ 40, 3, 1, 6, 5, half != 0, false, false });
        check_rope({ 5, 2, 2, 24, 0, half != 0, false, true });
        check_rope({ 5, 2, 1, 32, 0, half != 0, true, true });
        check_rope({ 5, 2, 1, 32, 4, half != 0, false, true });
        check_rope({ 2, 20, 20, 256, 8, half != 0, false, true });
    }
}

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_those_of_the_sorted_pairs),
        cmocka_unit_test(a_score_that_is_no_number_is_seen_and_becomes_0),
        cmocka_unit_test(weights_and_their_gradients_are_those_of_plain_loops),
        cmocka_unit_test(tokens_are_spread_over_their_rows_and_added_up_again),
        cmocka_unit_test(a_sum_has_the_same_bits_each_time),
        cmocka_unit_test(activations_and_their_gradients_are_those_of_plain_loops),
        cmocka_unit_test(norms_are_those_of_plain_loops),
        cmocka_unit_test(heads_are_turned_as_by_plain_loops),
    };
    return cmocka_run_group_tests_name("cuda_pass", tests, nullptr, nullptr);
}
