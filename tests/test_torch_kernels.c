/*
 * test_torch_kernels.c: operators whose work kernels of our own do, against the same by ATen, which
 * SEQTOPK_GPU_KERNELS=0 asks for: on the GPU that SEQTOPK_TEST_DEVICE names, or on the CPU where
 * kernels are emulated.
 */
#include "torch.h"
#include "torch_memory.h"
#include "cuda/step.h"
#include "fixture.h"
#include "skip.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct device device;

static const char *lacking(void)
{
#ifdef SEQTOPK_CUDA
    return device.kind == DEVICE_CUDA || step_emulated() ? NULL
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

static void assert_ok(const struct scope *s)
{
    if (scope_error(s))
        fail_msg("%s", scope_error(s));
}

/* Random values of a shape, which 0 ends, from -scale to scale. */
static struct tensor *random_of(struct scope *s, enum dtype dtype, float scale,
                                const int64_t *shape)
{
    int ndim = 0;
    int64_t n = 1;
    for (; shape[ndim]; ndim++)
        n *= shape[ndim];
    float *v = xmalloc((size_t)n * sizeof(*v));
    uint64_t seed = (uint64_t)n; // the same for both ways
    for (int64_t i = 0; i < n; i++)
        v[i] = scale * (float)fixture_random(&seed);
    struct tensor *t = tensor_empty(s, dtype, ndim, shape, device);
    assert_true(tensor_fill(s, t, 0, v, DTYPE_F32, n));
    free(v);
    return t;
}
#define RANDOM(s, dtype, scale, ...) random_of(s, dtype, scale, (const int64_t[]){ __VA_ARGS__, 0 })

static struct tensor *ints(struct scope *s, int64_t n, const int64_t *v, struct device where)
{
    return tensor_ints(s, v, 1, &n, where);
}

/* An operator under test. Inputs with a bit in `leaves` want gradients; the last multiplies y. */
struct tested {
    const char *source;
    int inputs, leaves;
    void (*make)(struct scope *s, enum dtype dtype, struct tensor **in);
    bool other_bits; /* ATen rounds elsewhere, by which it is seen that kernels ran */
};

enum { MOST = 12 };
struct outcome {
    float *values[MOST]; /* y, then the leaves' gradients */
    size_t n[MOST];
    int count;
};

static void keep_values(struct scope *s, struct outcome *o, const struct tensor *t)
{
    size_t n = 1;
    for (int d = 0; d < tensor_dim(s, t); d++)
        n *= (size_t)tensor_size(s, t, d);
    const float *v = tensor_values(s, t);
    assert_ok(s);
    o->n[o->count] = n;
    o->values[o->count] = xmalloc(n * sizeof(*v));
    memcpy(o->values[o->count++], v, n * sizeof(*v));
}

static struct outcome run(const struct tested *t, enum dtype dtype, bool kernels)
{
    struct scope *s = scope_new(t->leaves != 0);
    struct outcome o = { .count = 0 };
    struct tensor *in[MOST], *result[2];
    struct module *m = module_new(s, "net");
    setenv("SEQTOPK_GPU_KERNELS", kernels ? "1" : "0", 1);
    t->make(s, dtype, in);
    for (int i = 0; i < t->inputs; i++)
        if (t->leaves >> i & 1)
            tensor_require_grad(s, in[i]);
    module_define(s, m, t->source);
    module_call(s, m, "f", in, t->inputs, result, 2);
    assert_ok(s);
    keep_values(s, &o, result[0]);
    if (t->leaves)
        tensor_backward(s, result[1]);
    for (int i = 0; i < t->inputs; i++)
        if (t->leaves >> i & 1)
            keep_values(s, &o, tensor_grad(s, in[i]));
    unsetenv("SEQTOPK_GPU_KERNELS");
    scope_free(s);
    return o;
}

static void check(const struct tested *t, enum dtype dtype, double tolerance)
{
    struct outcome is = run(t, dtype, true), want = run(t, dtype, false);
    double any = 0;
    assert_int_equal(is.count, want.count);
    for (int i = 0; i < is.count; i++) {
        double most = 0, off = 0;
        assert_int_equal(is.n[i], want.n[i]);
        for (size_t j = 0; j < is.n[i]; j++) {
            double d = fabs((double)is.values[i][j] - (double)want.values[i][j]);
            most = fmax(most, fabs((double)want.values[i][j]));
            off = d <= off || isnan(off) ? off : d; // a NaN stays
        }
        if (!(off <= tolerance * most) || !(most > 0))
            fail_msg("%s: tensor %d is off by %g of %g", dtype_name(dtype), i, off, most);
        any = fmax(any, off);
        free(is.values[i]);
        free(want.values[i]);
    }
    if (dtype == DTYPE_BF16 && t->other_bits && any == 0)
        fail_msg("no bit differs: the kernels have not run");
}

/* ---- experts ---- */

enum { T = 102, N = 11 };

/* Tokens 100 and 101 get nothing, expert 10 neither. d: 40, F: 16, rows that are read 16 bytes a time */
static void experts_inputs(struct scope *s, enum dtype dtype, struct tensor **in)
{
    int64_t source[T * N], begin[N + 1] = { 0 }, n = 0;
    for (int e = 0; e < N; e++) {
        for (int t = 0; t < T; t++)
            if (t < 100 && e != 10 && (t * 7 + e * 5) % 4 == 0)
                source[n++] = t;
        begin[e + 1] = n;
    }
    assert_true(memory_rows(n) > n); // there is room behind the last pair, which nothing may read
    in[0] = RANDOM(s, dtype, 1, T, 40);
    in[1] = RANDOM(s, DTYPE_F32, 0.5f, T, N);
    in[2] = ints(s, n, source, device);
    in[3] = ints(s, N + 1, begin, device);
    in[4] = RANDOM(s, dtype, 0.5f, N, 2 * 16, 40);
    in[5] = RANDOM(s, dtype, 0.5f, N, 40, 16);
    in[6] = RANDOM(s, DTYPE_F32, 1, T, 40);
}

#define EXPERTS(normalise)                                                                  \
    "def f(self, x, s, t, e, gu, d, m):\n"                                                  \
    "    y = seqtopk.experts(x, s * s + 0.01, torch._cast_Int(t), torch._cast_Int(e), gu, " \
    "d, " normalise ")\n"                                                                   \
    "    return y, torch.sum(y * m)\n"

static void experts_by_kernels_are_those_by_aten(void **state)
{
    (void)state;
    NEEDS_KERNELS();
    for (int leaves = 0; leaves < 2; leaves++) {
        struct tested t = { EXPERTS("False"), 7, leaves ? 0x33 : 0, experts_inputs, true };
        check(&t, DTYPE_F32, 1e-5);
        check(&t, DTYPE_BF16, 2e-2);
        t.source = EXPERTS("True");
        check(&t, DTYPE_F32, 1e-5);
        check(&t, DTYPE_BF16, 2e-2);
    }
    // Matrices that are not trained, and tokens whose gradient nobody wants.
    struct tested t = { EXPERTS("True"), 7, 0x3, experts_inputs, true };
    check(&t, DTYPE_BF16, 2e-2);
    t.leaves = 0x20;
    check(&t, DTYPE_BF16, 2e-2);
}

/* ---- around attention ---- */

/* Queries, keys and values lie side by side in one product's rows. Heads of 16. */
static void attention_inputs(struct scope *s, enum dtype dtype, struct tensor **in)
{
    const struct device host = { DEVICE_CPU, 0 };
    in[0] = RANDOM(s, dtype, 1.5f, T, (4 + 2 + 2) * 16);
    in[1] = ints(s, 4, (const int64_t[]){ 0, 1, 33, T }, host);
    in[2] = ints(s, 3, (const int64_t[]){ 0, 0, 0 }, host);
    in[3] = tensor_empty(s, dtype, 3, (const int64_t[]){ 0, 0, 0 }, device);
    in[4] = RANDOM(s, DTYPE_F32, 1, 80, 8);
    in[5] = RANDOM(s, DTYPE_F32, 0.9f, 80, 8);
    in[6] = RANDOM(s, DTYPE_F32, 1, T, 4 * 16);
}

static void rotation_by_kernels_is_that_by_aten(void **state)
{
    (void)state;
    NEEDS_KERNELS();
    const char *source =
        "def f(self, x, start, none, cache, cos, sin, m):\n"
        "    q, k, v = torch.split_with_sizes(x, [64, 32, 32], -1)\n"
        "    y = seqtopk.attention(q, k, v, start, none, none, cache, cache, cos, sin)\n"
        "    return y, torch.sum(y * m)\n";
    for (int leaves = 0; leaves < 2; leaves++) {
        struct tested t = { source, 7, leaves, attention_inputs, true };
        check(&t, DTYPE_BF16, 2e-2);
        // In float32 the CPU has other ways.
        if (device.kind == DEVICE_CUDA)
            check(&t, DTYPE_F32, 1e-5);
    }
}

static void norm_inputs(struct scope *s, enum dtype dtype, struct tensor **in)
{
    in[0] = RANDOM(s, dtype, 2, T, 64);
    in[1] = RANDOM(s, dtype, 1, 40);
    in[2] = RANDOM(s, DTYPE_F32, 1, T, 40);
}

static void norms_by_kernels_are_those_by_aten(void **state)
{
    (void)state;
    NEEDS_KERNELS();
    struct tested t = { "def f(self, x, w, m):\n"
                        "    y = seqtopk.norm(x[:, 8:48], w, 0.01)\n"
                        "    return y, torch.sum(y * m)\n",
                        3, 0, norm_inputs, device.kind == DEVICE_CPU };
    check(&t, DTYPE_BF16, 1e-2);
    if (device.kind == DEVICE_CUDA)
        check(&t, DTYPE_F32, 1e-5);
}

/* ---- a shared expert ---- */

/* d: 40, F: 24 */
static void shared_inputs(struct scope *s, enum dtype dtype, struct tensor **in)
{
    in[0] = RANDOM(s, dtype, 1, T, 40);
    in[1] = RANDOM(s, dtype, 0.5f, 2 * 24, 40);
    in[2] = RANDOM(s, dtype, 0.5f, 40, 24);
    in[3] = RANDOM(s, dtype, 0.5f, 1, 40);
    in[4] = RANDOM(s, DTYPE_F32, 1, T, 40);
}

static void a_shared_expert_by_kernels_is_that_by_aten(void **state)
{
    (void)state;
    NEEDS_KERNELS();
    for (int leaves = 0; leaves < 2; leaves++) {
        struct tested t = { "def f(self, x, gu, d, g, m):\n"
                            "    y = seqtopk.shared_expert(x, gu, d, g)\n"
                            "    return y, torch.sum(y * m)\n",
                            5, leaves ? 0xf : 0, shared_inputs, true };
        check(&t, DTYPE_BF16, 2e-2);
        // In float32 the CPU has other ways.
        if (device.kind == DEVICE_CUDA)
            check(&t, DTYPE_F32, 1e-5);
    }
}

static int open_device(void **state)
{
    (void)state;
    struct buf err = BUF_INIT;
    const char *name = getenv("SEQTOPK_TEST_DEVICE");
    if (device_parse(name ? name : "cpu", &device, &err))
        die(1, "%s", err.s);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(experts_by_kernels_are_those_by_aten),
        cmocka_unit_test(rotation_by_kernels_is_that_by_aten),
        cmocka_unit_test(norms_by_kernels_are_those_by_aten),
        cmocka_unit_test(a_shared_expert_by_kernels_is_that_by_aten),
    };
    return cmocka_run_group_tests_name("torch_kernels", tests, open_device, NULL);
}
