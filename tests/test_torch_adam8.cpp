/*
 * test_torch_adam8.cpp: one kernel's step of AdamW with averages of eight bits against the same
 * step by ATen, on the same numbers: on the GPU that SEQTOPK_TEST_DEVICE names, or on the CPU where
 * kernels are emulated. What the kernel draws is looked at by test_cuda_adam8.c.
 */
#include "torch_adam8.h"
#include "torch_launch.h"
#include "torch_train.h"
#include "skip.h"

#include <cmath>

#include <setjmp.h>
#include <stdarg.h>

extern "C" {
#include <cmocka.h>
}

using at::Tensor;

static struct device device;
static const adam8_how third = { 1e-2, 0.9, 0.95, 0.1, 0.5, 3 };

static const char *lacking()
{
#ifdef SEQTOPK_CUDA
    return device.kind == DEVICE_CUDA || step_emulated() ? nullptr
                                                         : "SEQTOPK_TEST_DEVICE=cuda is not set";
#else
    return "this build has no kernels";
#endif
}

#define NEEDS_KERNELS()            \
    do {                           \
        if (lacking())             \
            SKIP("%s", lacking()); \
    } while (0)

static at::TensorOptions floats()
{
    return at::TensorOptions().dtype(at::kFloat).device(at_device(device));
}

/* ---- one step, both ways ---- */

struct state {
    Tensor weights; // float32 [n]
    adam8_average means, squares;
};

/* Averages as steps leave them. */
static state state_new(int64_t n)
{
    Tensor drawn = at::randn({ n }) * at::exp(at::randn({ n }) * 2);
    state s = { at::randn({ n }).div_(8).to(floats()), adam8_new(adam8_room(n), false, floats()),
                adam8_new(adam8_room(n), true, floats()) };
    adam8_store(s.means, drawn.mul(0.1).to(floats()), nullptr);
    adam8_store(s.squares, drawn.square().to(floats()), nullptr);
    return s;
}

static state copy_of(const state &s)
{
    return { s.weights.clone(),
             { s.means.codes.clone(), s.means.scales.clone() },
             { s.squares.codes.clone(), s.squares.scales.clone() } };
}

static void by_aten(state &s, const Tensor &gradient)
{
    at::Generator chance = adam8_chance(at_device(device), 1);
    Tensor g = gradient.defined() ? gradient.to(at::kFloat) : at::zeros_like(s.weights);
    adam8_step(s.weights, g, s.means, s.squares, third, chance);
}

/* `skip`: elements behind which weights and gradient begin. */
static void by_kernel(state &s, const Tensor &gradient, bool halves, int64_t skip)
{
    const int64_t n = s.weights.numel();
    Tensor g = gradient;
    if (g.defined())
        g = at::empty({ n + skip }, g.options()).narrow(0, skip, n).copy_(g);
    adam8_weights w;
    if (halves) {
        w.high = at::empty({ n + skip }, floats().dtype(at::kBFloat16)).narrow(0, skip, n);
        w.low = at::empty({ n + skip }, floats().dtype(at::kShort)).narrow(0, skip, n);
        halves_split(s.weights, w.high, w.low);
    } else {
        w.all = at::empty({ n + skip }, floats()).narrow(0, skip, n).copy_(s.weights);
    }
    assert_true(adam8_has_kernel(w));
    adam8_step_by_kernel(w, g, s.means, s.squares, third, 1);
    s.weights = halves ? halves_join(w.high, w.low) : w.all.clone();
}

/* At most so far apart; where one has a NaN so has the other. */
static void near(const Tensor &is, const Tensor &want, double relative, const Tensor &absolute,
                 const char *what)
{
    Tensor a = is.to(at::kCPU, at::kDouble), b = want.to(at::kCPU, at::kDouble);
    Tensor off = (a - b).abs() - (b.abs() * relative + absolute.to(at::kCPU, at::kDouble));
    Tensor bad = off.gt(0).logical_and(a.ne(b)).logical_or(a.isnan().ne(b.isnan()));
    if (!bad.any().item<bool>())
        return;
    const int64_t i = bad.to(at::kInt).argmax().item<int64_t>();
    fail_msg("%s, element %lld: %.9g, not %.9g", what, static_cast<long long>(i),
             a[i].item<double>(), b[i].item<double>());
}

static void near(const Tensor &is, const Tensor &want, double relative, double absolute,
                 const char *what)
{
    near(is, want, relative, at::scalar_tensor(absolute, at::kDouble), what);
}

/* Roots and quotients are a GPU's quick ones: to some units in the last place of what was moved. */
static void near_weights(const state &is, const state &want, const state &start)
{
    Tensor moved = (want.weights - start.weights).abs();
    near(is.weights, want.weights, 2e-7, moved * 2e-6 + 4e-6 * third.lr, "weights");
}

/* Each code is one of two neighbours, so that both ways' are next to each other. */
static void near_averages(const adam8_average &is, const adam8_average &want, double largest,
                          const char *what)
{
    near(is.scales, want.scales, 1e-6, 1e-6 * largest, what);
    Tensor a = is.codes.to(at::kCPU, at::kInt), b = want.codes.to(at::kCPU, at::kInt);
    near(a, b, 0, 1, what);
    // As many above as below.
    const double n = static_cast<double>(a.numel());
    const double up = (a.abs() - b.abs()).sum().item<double>();
    if (!(std::fabs(up) < 5 * std::sqrt(n) + 1))
        fail_msg("%s: %g codes more above than below, of %g", what, up, n);
}

static void steps_are_alike(const state &s, const Tensor &gradient, bool halves, int64_t skip)
{
    state is = copy_of(s), want = copy_of(s);
    by_kernel(is, gradient, halves, skip);
    by_aten(want, gradient);
    near_weights(is, want, s);
    // A mean may be the small sum of large numbers.
    Tensor g = gradient.defined() ? gradient : at::zeros({ 1 });
    const double most = g.abs().max().item<double>() + s.means.scales.max().item<double>();
    near_averages(is.means, want.means, most, "means");
    near_averages(is.squares, want.squares, 0, "squares");
}

/* ---- tests ---- */

static void a_step_is_that_of_aten_but_for_its_draws(void **)
{
    static const int64_t sizes[] = { 1, 7, 255, 256, 257, 20000 };
    NEEDS_KERNELS();
    at::manual_seed(1);
    for (int64_t n : sizes)
        for (int way = 0; way < 8; way++) {
            state s = state_new(n);
            Tensor g = at::randn({ n }).to(floats());
            if (way & 1)
                g = g.to(at::kBFloat16);
            steps_are_alike(s, g, way & 2, way & 4 ? 5 : 0);
            if (!(way & 1))
                steps_are_alike(s, Tensor(), way & 2, 0);
        }
}

static void numbers_of_all_sizes_are_those_of_aten(void **)
{
    static const double sizes[] = { 0, 1e-42, 1e-30, 1e-18, 1e-9, 1e9, 1e18 };
    NEEDS_KERNELS();
    at::manual_seed(2);
    for (double size : sizes) {
        state s = state_new(1000);
        s.means = adam8_new(1024, false, floats());
        s.squares = adam8_new(1024, true, floats());
        steps_are_alike(s, (at::randn({ 1000 }) * size).to(floats()), true, 0);
        steps_are_alike(s, (at::randn({ 1000 }) * size).to(floats()), false, 0);
    }
}

/* Weights and scales; the codes of such a block are nobody's. */
static void what_is_no_number_goes_where_aten_lets_it_go(void **)
{
    static const double bad[] = { NAN, INFINITY, -INFINITY, 1e30 };
    NEEDS_KERNELS();
    at::manual_seed(3);
    for (double b : bad) {
        const state start = state_new(1000);
        state is = copy_of(start), want = copy_of(start);
        Tensor g = at::randn({ 1000 });
        g[300].fill_(b);
        by_kernel(is, g.to(floats()), true, 0);
        by_aten(want, g.to(floats()));
        near_weights(is, want, start);
        near(is.means.scales, want.means.scales, 1e-6, 0, "scales of means");
        near(is.squares.scales, want.squares.scales, 1e-6, 0, "scales of squares");
        near(is.means.codes.narrow(0, 512, 512), want.means.codes.narrow(0, 512, 512), 0, 1,
             "codes of other blocks");
    }
}

/* ---- a training's step ---- */

struct trained {
    std::vector<float> run[3]; // as adamw_run
};

/* Steps of the sum of c x^2 over a vector and a matrix of more than one chunk. */
static trained trained_by(bool kernel, bool half, int steps)
{
    const int64_t matrix = (device.kind == DEVICE_CPU ? 0 : 1 << 21) + 75000, vector = 7;
    const adamw_setup setup = {
        vector + matrix + 3, device, half ? DTYPE_BF16 : DTYPE_F32, 1, 0.9, 0.95, 0.1,
        OPTIMISER_ADAMW8BIT
    };
    struct buf err = BUF_INIT;
    setenv("SEQTOPK_GPU_KERNELS", kernel ? "1" : "0", 1);
    struct adamw *a = adamw_new(&setup, &err);
    struct scope *s = scope_new(true);
    const int64_t sizes[][2] = { { vector, 0 }, { 3, matrix / 3 } };
    struct tensor *p[2] = { adamw_parameter(a, s, 0, 1, sizes[0], true),
                            adamw_parameter(a, s, vector, 2, sizes[1], true) };
    at::manual_seed(4);
    std::vector<float> start(static_cast<size_t>(setup.count));
    at::from_blob(start.data(), { setup.count }, at::kFloat).normal_().div_(8);
    assert_int_equal(adamw_write(a, ADAMW_WEIGHTS, start.data(), &err), 0);
    Tensor c = at::randn(of(p[1]).sizes()).to(at_device(device), of(p[1]).scalar_type());
    for (int i = 0; i < steps; i++) {
        struct scope *now = scope_new(true);
        struct tensor *out = nullptr, *by = nullptr;
        double norm = 0;
        adamw_begin(a, now, 0);
        guarded(now,
                [&] { out = keep(now, of(p[1]).square().mul(c).sum() + of(p[0]).square().sum()); });
        adamw_gradient(a, now, &out, &by, 1, nullptr, 0);
        if (scope_error(now) || adamw_add(a, 1, &err) || adamw_step(a, 1e-2, 1, &norm, &err))
            fail_msg("%s", scope_error(now) ? scope_error(now) : err.s);
        assert_true(norm > 1); // so that it is clipped
        scope_free(now);
    }
    trained t;
    for (int run = ADAMW_WEIGHTS; run <= ADAMW_SQUARES; run++) {
        t.run[run].resize(start.size());
        assert_int_equal(adamw_read(a, static_cast<adamw_run>(run), t.run[run].data(), &err), 0);
    }
    unsetenv("SEQTOPK_GPU_KERNELS");
    scope_free(s);
    adamw_free(a);
    return t;
}

/* Each is within a code's step of the other way's number. */
static void near_codes(const std::vector<float> &is, const std::vector<float> &want, double levels)
{
    size_t differ = 0;
    double most = 0;
    for (float x : want)
        most = std::fmax(most, std::fabs(static_cast<double>(x)));
    for (size_t i = 0; i < is.size(); i++) {
        const double a = std::cbrt(static_cast<double>(is[i]) / most) * levels;
        const double b = std::cbrt(static_cast<double>(want[i]) / most) * levels;
        differ += is[i] != want[i];
        if (!(std::fabs(a - b) < 1.01) && std::fabs(b) > 2)
            fail_msg("number %zu: %.9g, not %.9g", i, static_cast<double>(is[i]),
                     static_cast<double>(want[i]));
    }
    assert_true(differ * 10 > is.size()); // other draws: the kernel ran
}

static void a_trainings_step_takes_all_chunks_of_a_parameter(void **)
{
    NEEDS_KERNELS();
    for (int half = 0; half < 2; half++) {
        const trained is = trained_by(true, half, 1), want = trained_by(false, half, 1);
        for (size_t i = 0; i < is.run[0].size(); i++) {
            const double a = static_cast<double>(is.run[0][i]);
            const double b = static_cast<double>(want.run[0][i]);
            if (!(std::fabs(a - b) <= 2e-7 * std::fabs(b) + 3e-8))
                fail_msg("weight %zu: %.9g, not %.9g", i, a, b);
        }
        near_codes(is.run[1], want.run[1], 127);
        near_codes(is.run[2], want.run[2], 255);
    }
}

static void several_steps_are_the_same_to_the_bit_when_done_again(void **)
{
    NEEDS_KERNELS();
    for (int half = 0; half < 2; half++) {
        const trained a = trained_by(true, half, 3), b = trained_by(true, half, 3);
        for (int run = 0; run < 3; run++)
            assert_memory_equal(a.run[run].data(), b.run[run].data(),
                                a.run[run].size() * sizeof(float));
    }
}

int main()
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_step_is_that_of_aten_but_for_its_draws),
        cmocka_unit_test(numbers_of_all_sizes_are_those_of_aten),
        cmocka_unit_test(what_is_no_number_goes_where_aten_lets_it_go),
        cmocka_unit_test(a_trainings_step_takes_all_chunks_of_a_parameter),
        cmocka_unit_test(several_steps_are_the_same_to_the_bit_when_done_again),
    };
    struct buf err = BUF_INIT;
    const char *name = getenv("SEQTOPK_TEST_DEVICE");
    torch_setup();
    if (device_parse(name ? name : "cpu", &device, &err))
        die(1, "%s", err.s);
    return cmocka_run_group_tests_name("torch_adam8", tests, nullptr, nullptr);
}
