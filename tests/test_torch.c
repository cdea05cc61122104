/*
 * test_torch.c: the C API over libtorch, and each of our operators' fast form against its plain
 * ATen form: a scope without gradients takes the first, one whose inputs want them the second.
 */
#include "torch.h"
#include "fixture.h"
#include "skip.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const struct device cpu = { DEVICE_CPU, 0 };

static void assert_ok(const struct scope *s)
{
    if (scope_error(s))
        fail_msg("%s", scope_error(s));
}

static float noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) / 16777216.0f - 0.5f;
}

/* Random values of a shape ended by 0. */
static struct tensor *random_tensor(struct scope *s, uint32_t seed, float scale,
                                    const int64_t *shape)
{
    int ndim = 0;
    int64_t n = 1;
    for (; shape[ndim]; ndim++)
        n *= shape[ndim];
    float *v = xmalloc((size_t)n * sizeof(*v));
    for (int64_t i = 0; i < n; i++)
        v[i] = scale * noise(&seed);
    struct tensor *t = tensor_floats(s, v, ndim, shape, cpu);
    free(v);
    return t;
}
#define RANDOM(s, seed, scale, ...) \
    random_tensor(s, seed, scale, (const int64_t[]){ __VA_ARGS__, 0 })

static struct tensor *ints(struct scope *s, int64_t n, const int64_t *v)
{
    return tensor_ints(s, v, 1, &n, cpu);
}

static void source_is_compiled_and_called(void **state)
{
    (void)state;
    struct scope *s = scope_new(false);
    struct module *m = module_new(s, "net");
    module_set_tensor(s, m, "w",
                      tensor_floats(s, (float[]){ 1, 2, 3, 4 }, 2, (int64_t[]){ 2, 2 }, cpu));
    module_set_int(s, m, "times", 3);
    module_set_float(s, m, "half", 0.5);
    module_define(
        s, m, "def f(self, x):\n    return torch.matmul(x, self.w) * self.times, x * self.half\n");
    struct tensor *x = tensor_floats(s, (float[]){ 1, 10 }, 2, (int64_t[]){ 1, 2 }, cpu), *out[2];
    module_call(s, m, "f", &x, 1, out, 2);
    assert_ok(s);
    assert_int_equal(tensor_dim(s, out[0]), 2);
    assert_int_equal(tensor_size(s, out[0], 1), 2);
    assert_true(tensor_values(s, out[0])[0] == 93 && tensor_values(s, out[0])[1] == 126);
    assert_true(tensor_values(s, out[1])[1] == 5);
    scope_free(s);
}

static void the_first_error_sticks_and_later_calls_do_nothing(void **state)
{
    (void)state;
    struct scope *s = scope_new(false);
    struct module *m = module_new(s, "net");
    module_define(s, m, "def f(self, x):\n    return torch.nonesuch(x)\n");
    assert_non_null(scope_error(s));
    assert_non_null(strstr(scope_error(s), "nonesuch"));
    char *first = xstrdup(scope_error(s));
    struct tensor *x = tensor_floats(s, (float[]){ 1 }, 1, (int64_t[]){ 1 }, cpu), *out;
    assert_null(x);
    module_call(s, m, "f", &x, 1, &out, 1);
    assert_null(out);
    assert_null(tensor_values(s, out));
    scope_fail(s, "another");
    assert_string_equal(scope_error(s), first);
    free(first);
    scope_free(s);
}

static void wrong_shapes_names_and_counts_are_errors_not_exceptions(void **state)
{
    (void)state;
    static const char *const source = "def f(self, x):\n    return torch.matmul(x, x)\n"
                                      "def g(self, x):\n    return x, x\n";
    static const struct {
        const char *method;
        int nout;
        const char *want;
    } cases[] = {
        { "f", 1, "mat1 and mat2" },
        { "nonesuch", 1, "nonesuch" },
        { "g", 3, "returned 2 tensors, not 3" },
        { "g", 1, "Tensor" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scope *s = scope_new(false);
        struct module *m = module_new(s, "net");
        struct tensor *out[3];
        module_define(s, m, source);
        struct tensor *x = RANDOM(s, 1, 1, 2, 3);
        assert_ok(s);
        module_call(s, m, cases[i].method, &x, 1, out, cases[i].nout);
        if (!scope_error(s) || !strstr(scope_error(s), cases[i].want))
            fail_msg("'%s' is not in: %s", cases[i].want, scope_error(s));
        scope_free(s);
    }
    // A tensor that an earlier scope failed to make.
    struct scope *s = scope_new(false);
    struct module *m = module_new(s, "net");
    struct tensor *none = NULL, *out;
    module_define(s, m, source);
    module_call(s, m, "f", &none, 1, &out, 1);
    assert_non_null(strstr(scope_error(s), "a tensor is missing"));
    scope_free(s);
}

static void what_a_module_holds_outlives_the_scope_it_was_made_in(void **state)
{
    (void)state;
    struct scope *outer = scope_new(false), *inner = scope_new(false);
    struct module *m = module_new(outer, "net");
    module_set_tensor(inner, m, "w",
                      tensor_floats(inner, (float[]){ 7 }, 1, (int64_t[]){ 1 }, cpu));
    struct tensor *shared = tensor_share(outer, module_tensor(inner, m, "w"));
    scope_free(inner);
    assert_true(tensor_values(outer, module_tensor(outer, m, "w"))[0] == 7);
    assert_true(tensor_values(outer, shared)[0] == 7);
    assert_ok(outer);
    scope_free(outer);
}

static void an_archive_comes_back_as_it_was_saved(void **state)
{
    (void)state;
    char *dir = fixture_dir(), *path = xasprintf("%s/net.pt", dir);
    struct scope *s = scope_new(false);
    struct module *m = module_new(s, "net"), *child = module_new(s, "part");
    struct tensor *x = RANDOM(s, 3, 1, 4, 8), *a, *b;
    module_set_tensor(s, child, "w", RANDOM(s, 5, 1, 8));
    module_define(s, child, "def f(self, x):\n    return seqtopk.norm(x, self.w, 1e-5)\n");
    module_set_child(s, m, "part", child);
    module_call(s, child, "f", &x, 1, &a, 1);
    module_save(s, m, path);
    struct module *again = module_load(s, path, cpu);
    module_call(s, module_child(s, again, "part"), "f", &x, 1, &b, 1);
    assert_ok(s);
    assert_memory_equal(tensor_values(s, a), tensor_values(s, b), 4 * 8 * sizeof(float));
    module_load(s, "/nonesuch/net.pt", cpu);
    assert_non_null(strstr(scope_error(s), "/nonesuch/net.pt"));
    scope_free(s);
    free(path);
    fixture_remove(dir);
}

static void gradients_flow_and_are_forgotten_on_request(void **state)
{
    (void)state;
    struct scope *s = scope_new(true);
    struct module *m = module_new(s, "net");
    struct tensor *w = tensor_floats(s, (float[]){ 2, 3 }, 1, (int64_t[]){ 2 }, cpu), *loss;
    tensor_require_grad(s, w);
    module_define(s, m, "def f(self, w):\n    return torch.sum(w * w * w)\n");
    assert_null(tensor_grad(s, w));
    module_call(s, m, "f", &w, 1, &loss, 1);
    tensor_backward(s, loss);
    assert_ok(s);
    assert_true(tensor_values(s, tensor_grad(s, w))[1] == 27);
    tensor_zero_grad(s, w);
    assert_null(tensor_grad(s, w));
    assert_ok(s);
    scope_free(s);
    // Without `grad` nothing is recorded.
    s = scope_new(false);
    w = tensor_floats(s, (float[]){ 2, 3 }, 1, (int64_t[]){ 2 }, cpu);
    tensor_require_grad(s, w);
    m = module_new(s, "net");
    module_define(s, m, "def f(self, w):\n    return torch.sum(w * w * w)\n");
    module_call(s, m, "f", &w, 1, &loss, 1);
    tensor_backward(s, loss);
    assert_non_null(strstr(scope_error(s), "grad"));
    scope_free(s);
}

static void filling_converts_and_finds_what_is_no_number(void **state)
{
    (void)state;
    struct scope *s = scope_new(false);
    struct tensor *t = tensor_empty(s, DTYPE_F32, 1, (int64_t[]){ 6 }, cpu);
    // 1.0 and -2.0 in each format, at an odd address.
    unsigned char raw[32];
    const uint16_t bf16[2] = { 0x3f80, 0xc000 }, f16[2] = { 0x3c00, 0xc000 };
    const float f32[2] = { 1, -2 }, nan[1] = { NAN }, inf[1] = { -INFINITY };
    memcpy(raw + 1, bf16, sizeof(bf16));
    assert_true(tensor_fill(s, t, 0, raw + 1, DTYPE_BF16, 2));
    memcpy(raw + 1, f16, sizeof(f16));
    assert_true(tensor_fill(s, t, 2, raw + 1, DTYPE_F16, 2));
    memcpy(raw + 1, f32, sizeof(f32));
    assert_true(tensor_fill(s, t, 4, raw + 1, DTYPE_F32, 2));
    for (int i = 0; i < 6; i++)
        assert_true(tensor_values(s, t)[i] == (i % 2 ? -2.0f : 1.0f));
    assert_false(tensor_fill(s, t, 0, nan, DTYPE_F32, 1));
    assert_false(tensor_fill(s, t, 0, inf, DTYPE_F32, 1));
    assert_ok(s);
    assert_false(tensor_fill(s, t, 5, f32, DTYPE_F32, 2));
    assert_non_null(scope_error(s));
    scope_free(s);
}

static void unknown_devices_are_refused_by_name(void **state)
{
    (void)state;
    struct device d;
    struct buf err = BUF_INIT;
    assert_int_equal(device_parse("cpu", &d, &err), 0);
    assert_int_equal(d.kind, DEVICE_CPU);
    static const char *const wrong[] = { "gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:0x", "" };
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        assert_int_equal(device_parse(wrong[i], &d, &err), -1);
        assert_non_null(strstr(err.s, "is unknown; there are cpu, cuda and cuda:INDEX"));
    }
    assert_int_equal(device_parse("cuda:99", &d, &err), -1);
    assert_non_null(strstr(err.s, "device 'cuda:99' cannot be used"));
    buf_release(&err);
}

static void a_gpus_memory_is_asked_for_before_the_gpu_is_looked_for(void **state)
{
    (void)state;
    static const char name[] = "PYTORCH_ALLOC_CONF";
    int major = 0, minor = 0;
    struct device d;
    struct buf err = BUF_INIT;
    assert_int_equal(sscanf(torch_describe().version, "%d.%d", &major, &minor), 2);
    if (getenv(name) || getenv("PYTORCH_CUDA_ALLOC_CONF") || getenv("PYTORCH_HIP_ALLOC_CONF"))
        SKIP("the environment says how libtorch shall hold memory");
    assert_int_equal(device_parse("cpu", &d, &err), 0);
    assert_null(getenv(name));
    const bool there = device_parse("cuda", &d, &err) == 0;
    assert_int_equal(getenv(name) != NULL, major > 2 || (major == 2 && minor >= 9));
    print_message("# libtorch %d.%d, %s: %s\n", major, minor, there ? "a GPU" : "no GPU",
                  getenv(name) ? getenv(name) : "nothing asked for");
    buf_release(&err);
}

/*
 * The operator that `source` calls, on the same inputs, by its fast and by its plain form. The
 * first input wants gradients in the second.
 */
static void twins_agree(const char *source, int nin, int nout, float tolerance, const char *packed,
                        struct tensor **(*inputs)(struct scope *))
{
    struct scope *fast = scope_new(false), *plain = scope_new(true);
    struct tensor *a[3], *b[3];
    for (int pass = 0; pass < 2; pass++) {
        struct scope *s = pass ? plain : fast;
        struct tensor **in = inputs(s);
        struct module *m = module_new(s, "net");
        for (const char *p = pass ? "" : packed; *p; p++)
            in[*p - '0'] = tensor_pack(s, in[*p - '0']);
        if (pass)
            tensor_require_grad(s, in[0]);
        module_define(s, m, source);
        module_call(s, m, "f", in, nin, pass ? b : a, nout);
        assert_ok(s);
        free(in);
    }
    for (int i = 0; i < nout; i++) {
        int64_t n = 1;
        for (int d = 0; d < tensor_dim(fast, a[i]); d++) {
            assert_int_equal(tensor_size(fast, a[i], d), tensor_size(plain, b[i], d));
            n *= tensor_size(fast, a[i], d);
        }
        const float *x = tensor_values(fast, a[i]), *y = tensor_values(plain, b[i]);
        for (int64_t j = 0; j < n; j++)
            if (!(fabsf(x[j] - y[j]) <= tolerance) && !(isnan(x[j]) && isnan(y[j])))
                fail_msg("%s: output %d, value %d: %g and %g", source, i, (int)j, (double)x[j],
                         (double)y[j]);
    }
    scope_free(fast);
    scope_free(plain);
}

static struct tensor **linear_inputs(struct scope *s)
{
    struct tensor **in = xcalloc(2, sizeof(struct tensor *));
    in[0] = RANDOM(s, 1, 2, 7, 40); // fewer rows than a product takes at once
    in[1] = RANDOM(s, 2, 1, 24, 40);
    return in;
}

/* Over the blocks of rows and of k, and no multiples of anything. */
static struct tensor **large_inputs(struct scope *s)
{
    struct tensor **in = xcalloc(2, sizeof(struct tensor *));
    in[0] = RANDOM(s, 1, 2, 301, 603);
    in[1] = RANDOM(s, 2, 1, 37, 603);
    return in;
}

static struct tensor **norm_inputs(struct scope *s)
{
    struct tensor **in = xcalloc(2, sizeof(struct tensor *));
    in[0] = RANDOM(s, 1, 4, 33, 80);
    in[1] = RANDOM(s, 2, 2, 37);
    return in;
}

static struct tensor **attention_inputs(struct scope *s)
{
    struct tensor **in = xcalloc(10, sizeof(struct tensor *));
    in[0] = RANDOM(s, 1, 3, 231, 4 * 38);
    in[1] = RANDOM(s, 2, 3, 231, 2 * 38);
    in[2] = RANDOM(s, 3, 3, 231, 2 * 38);
    in[3] = ints(s, 5, (const int64_t[]){ 0, 1, 3, 90, 231 }); // one token, and over many blocks
    in[4] = ints(s, 4, (const int64_t[]){ 0, 0, 0, 0 });
    in[5] = in[4];
    in[6] = in[7] = tensor_empty(s, DTYPE_F32, 3, (const int64_t[]){ 0, 0, 0 }, cpu);
    in[8] = RANDOM(s, 4, 2, 256, 19);
    in[9] = RANDOM(s, 5, 2, 256, 19);
    return in;
}

/* The first two sequences begin, and go on while the third begins; caches are of each form's own. */
static struct tensor **cached_inputs(struct scope *s)
{
    struct tensor **in = attention_inputs(s);
    in[6] = RANDOM(s, 6, 1, 4, 256, 2 * 38);
    in[7] = RANDOM(s, 7, 1, 4, 256, 2 * 38);
    return in;
}

enum { PAIRS = 700 };

static struct tensor **experts_inputs(struct scope *s)
{
    struct tensor **in = xcalloc(6, sizeof(struct tensor *));
    int64_t token[PAIRS], expert[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        token[i] = i / 7;                   // tokens 100 and 101 get nothing,
        expert[i] = (i % 7) * 3 % 11;       // expert 10 neither,
        expert[i] += i % 7 == 6 && i > 600; // and one a few only
    }
    in[0] = RANDOM(s, 1, 2, 102, 20);
    in[1] = RANDOM(s, 2, 0.5f, 102, 11);
    in[2] = ints(s, PAIRS, token);
    in[3] = ints(s, PAIRS, expert);
    in[4] = RANDOM(s, 3, 1, 11, 2 * 6, 20);
    in[5] = RANDOM(s, 4, 1, 11, 20, 6);
    return in;
}

static struct tensor **shared_inputs(struct scope *s)
{
    struct tensor **in = xcalloc(4, sizeof(struct tensor *));
    in[0] = RANDOM(s, 1, 2, 45, 20);
    in[1] = RANDOM(s, 2, 1, 2 * 14, 20);
    in[2] = RANDOM(s, 3, 1, 20, 14);
    in[3] = RANDOM(s, 4, 2, 1, 20);
    return in;
}

static struct tensor **score_inputs(struct scope *s)
{
    struct tensor **in = xcalloc(4, sizeof(struct tensor *));
    int64_t target[300];
    for (int i = 0; i < 300; i++)
        target[i] = i % 10 == 9 ? -1 : i * 7 % 501;
    in[0] = RANDOM(s, 1, 8, 300, 32);
    in[1] = RANDOM(s, 2, 4, 501, 32);
    in[2] = ints(s, 300, target);
    in[3] = ints(s, 4, (const int64_t[]){ 0, 143, 144, 299 });
    return in;
}

static void fast_and_plain_forms_agree(void **state)
{
    (void)state;
    twins_agree("def f(self, x, w):\n    return seqtopk.linear(x, w, 24)\n", 2, 1, 1e-5f, "1",
                linear_inputs);
    twins_agree("def f(self, x, w):\n    return seqtopk.linear(x, w, 37)\n", 2, 1, 1e-4f, "1",
                large_inputs);
    twins_agree("def f(self, x, w):\n    return seqtopk.norm(x[:, 3:40], w, 1e-6)\n", 2, 1, 1e-5f,
                "", norm_inputs);
    twins_agree(
        "def f(self, q, k, v, start, past, slot, keys, values, cos, sin):\n"
        "    return seqtopk.attention(q, k, v, start, past, slot, keys, values, cos, sin)\n",
        10, 1, 1e-5f, "", attention_inputs);
    twins_agree(
        "def f(self, q, k, v, start, past, slot, keys, values, cos, sin):\n"
        "    a = seqtopk.attention(q[:100], k[:100], v[:100], torch.tensor([0, 70, 100]),\n"
        "        torch.tensor([0, 0]), torch.tensor([3, 1]), keys, values, cos, sin)\n"
        "    b = seqtopk.attention(q[100:], k[100:], v[100:], torch.tensor([0, 1, 40, 131]),\n"
        "        torch.tensor([30, 0, 70]), torch.tensor([1, 0, 3]), keys, values, cos, sin)\n"
        "    return torch.cat([a, b])\n",
        10, 1, 1e-5f, "", cached_inputs);
    twins_agree("def f(self, x, s, t, e, gu, d):\n"
                "    return seqtopk.experts(x, s, t, e, gu, d, False)\n",
                6, 1, 1e-5f, "45", experts_inputs);
    twins_agree("def f(self, x, s, t, e, gu, d):\n"
                "    return seqtopk.experts(x, s * s + 0.01, t, e, gu, d, True)\n",
                6, 1, 1e-5f, "45", experts_inputs);
    twins_agree("def f(self, x, gu, d, g):\n    return seqtopk.shared_expert(x, gu, d, g)\n", 4, 1,
                1e-5f, "123", shared_inputs);
    twins_agree("def f(self, x, head, target, keep):\n"
                "    return seqtopk.score(x, head, target, keep, 501)\n",
                4, 3, 1e-4f, "1", score_inputs);
}

/* The sum of the experts' outputs, as a number; `grad` gets its gradient by the scores. */
static double experts_loss(const float *scores, float *grad)
{
    struct scope *s = scope_new(grad != NULL);
    struct tensor **in = experts_inputs(s), *loss;
    struct module *m = module_new(s, "net");
    in[1] = tensor_floats(s, scores, 2, (int64_t[]){ 102, 11 }, cpu);
    if (grad)
        tensor_require_grad(s, in[1]);
    module_define(s, m,
                  "def f(self, x, s, t, e, gu, d):\n"
                  "    return torch.sum(seqtopk.experts(x, s, t, e, gu, d, True))\n");
    module_call(s, m, "f", in, 6, &loss, 1);
    assert_ok(s);
    double value = (double)tensor_values(s, loss)[0];
    if (grad) {
        tensor_backward(s, loss);
        memcpy(grad, tensor_values(s, tensor_grad(s, in[1])), 102 * 11 * sizeof(*grad));
        assert_ok(s);
    }
    free(in);
    scope_free(s);
    return value;
}

static void the_gradient_reaches_the_router_through_the_weights(void **state)
{
    (void)state;
    float scores[102 * 11], grad[102 * 11];
    uint32_t seed = 9;
    for (int i = 0; i < 102 * 11; i++)
        scores[i] = 0.6f + noise(&seed);
    experts_loss(scores, grad);
    int nonzero = 0;
    for (int i = 0; i < 102 * 11; i += 97) {
        const float h = 2e-3f, was = scores[i];
        scores[i] = was + h;
        double above = experts_loss(scores, NULL);
        scores[i] = was - h;
        double below = experts_loss(scores, NULL);
        scores[i] = was;
        double slope = (above - below) / (2 * (double)h);
        if (fabs(slope - (double)grad[i]) > 0.02 * fabs(slope) + 0.02)
            fail_msg("score %d: gradient %g, slope %g", i, (double)grad[i], slope);
        nonzero += grad[i] != 0;
    }
    assert_true(nonzero > 3);
}

/* Pairs by expert, and within one by token: the token of each row, and where each expert begins. */
static void sort_pairs(struct scope *s, struct tensor **token, struct tensor **expert)
{
    const float *t = tensor_values(s, *token), *e = tensor_values(s, *expert);
    int64_t source[PAIRS], begin[12] = { 0 }, n = 0;
    for (int x = 0; x < 11; x++) {
        for (int i = 0; i < PAIRS; i++)
            if ((int)e[i] == x)
                source[n++] = (int64_t)t[i];
        begin[x + 1] = n;
    }
    *token = ints(s, PAIRS, source);
    *expert = ints(s, 12, begin);
}

/* The experts' outputs, and gradients of their sum, each times its own number, by x, scores and
 * matrices: copies, in `out` [5] */
static void experts_gradients(bool sorted, bool normalise, int pairs, float **out, size_t *sizes)
{
    static const int wanted[] = { 0, 1, 4, 5 };
    struct scope *s = scope_new(true);
    struct tensor **in = experts_inputs(s), *result[2], *t[5];
    struct module *m = module_new(s, "net");
    if (!pairs) {
        in[2] = ints(s, 0, NULL);
        in[3] = ints(s, 0, NULL);
    }
    if (sorted && pairs)
        sort_pairs(s, &in[2], &in[3]);
    else if (sorted)
        in[3] = ints(s, 12, (const int64_t[12]){ 0 });
    for (int i = 0; i < 4; i++)
        tensor_require_grad(s, in[wanted[i]]);
    char *source = xasprintf(
        "def f(self, x, s, t, e, gu, d):\n"
        "    y = seqtopk.experts(x, s * s + 0.01, %s, gu, d, %s)\n"
        "    loss = torch.sum(y * torch.reshape(torch.sin(torch.arange(2040.0)), [102, 20]))\n"
        "    none = torch.sum(x) + torch.sum(s) + torch.sum(gu) + torch.sum(d)\n"
        "    return y, loss + 0.0 * none\n",
        sorted ? "torch._cast_Int(t), torch._cast_Int(e)" : "t, e", normalise ? "True" : "False");
    module_define(s, m, source);
    module_call(s, m, "f", in, 6, result, 2);
    tensor_backward(s, result[1]);
    t[0] = result[0];
    for (int i = 0; i < 4; i++)
        t[i + 1] = tensor_grad(s, in[wanted[i]]);
    assert_ok(s);
    for (int i = 0; i < 5; i++) {
        sizes[i] = 1;
        for (int d = 0; d < tensor_dim(s, t[i]); d++)
            sizes[i] *= (size_t)tensor_size(s, t[i], d);
        out[i] = xmalloc(sizes[i] * sizeof(*out[i]));
        memcpy(out[i], tensor_values(s, t[i]), sizes[i] * sizeof(*out[i]));
    }
    assert_ok(s);
    free(source);
    free(in);
    scope_free(s);
}

/* What a GPU does with pairs that are sorted there, here by its plain products. */
static void experts_of_sorted_pairs_are_those_of_pairs_in_the_order_of_tokens(void **state)
{
    (void)state;
    for (int c = 0; c < 4; c++) {
        float *plain[5], *sorted[5];
        size_t n[5];
        experts_gradients(false, c % 2, c < 2 ? PAIRS : 0, plain, n);
        experts_gradients(true, c % 2, c < 2 ? PAIRS : 0, sorted, n);
        for (int i = 0; i < 5; i++) {
            double most = 0, off = 0;
            for (size_t j = 0; j < n[i]; j++) {
                most = fmax(most, fabs((double)plain[i][j]));
                const double d = fabs((double)plain[i][j] - (double)sorted[i][j]);
                off = d <= off || isnan(off) ? off : d; // a NaN stays
            }
            if (!(off <= 1e-5 * most) || (most > 0) != (c < 2))
                fail_msg("tensor %d is off by %g of %g", i, off, most);
            free(plain[i]);
            free(sorted[i]);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(source_is_compiled_and_called),
        cmocka_unit_test(the_first_error_sticks_and_later_calls_do_nothing),
        cmocka_unit_test(wrong_shapes_names_and_counts_are_errors_not_exceptions),
        cmocka_unit_test(what_a_module_holds_outlives_the_scope_it_was_made_in),
        cmocka_unit_test(an_archive_comes_back_as_it_was_saved),
        cmocka_unit_test(gradients_flow_and_are_forgotten_on_request),
        cmocka_unit_test(filling_converts_and_finds_what_is_no_number),
        cmocka_unit_test(a_gpus_memory_is_asked_for_before_the_gpu_is_looked_for),
        cmocka_unit_test(unknown_devices_are_refused_by_name),
        cmocka_unit_test(fast_and_plain_forms_agree),
        cmocka_unit_test(the_gradient_reaches_the_router_through_the_weights),
        cmocka_unit_test(experts_of_sorted_pairs_are_those_of_pairs_in_the_order_of_tokens),
    };
    return cmocka_run_group_tests_name("torch", tests, NULL, NULL);
}
