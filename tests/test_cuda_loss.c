/*
 * test_cuda_loss.c: the loss head's kernels against plain loops in double: rows of every length and
 * place, both formats, targets at the ends and none, logits that are far apart, -inf and NaN. On a
 * GPU it tells what a large block of rows takes.
 */
#include "cuda/loss.h"

#include "cuda_device.h"
#include "skip.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static uint32_t noise_state = 1;
static float noise(void)
{
    noise_state = noise_state * 1664525u + 1013904223u;
    return (float)(noise_state >> 8) / (1 << 23) - 1;
}

/* To the nearest bfloat16, of two equally near the even one. */
static uint16_t halved(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof(u));
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
static float widened(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float x;
    memcpy(&x, &u, sizeof(x));
    return x;
}

/* Rows of logits on the device, `skip` elements behind what memory begins with. */
struct rows {
    int n, V;
    bool half;
    size_t skip;
    float *logits;   /* [n, V], as they are there */
    int64_t *target; /* [n] */
    void *memory;
    int64_t *target_there;
    float *nll, *entropy; /* [n], on the device */
};

static struct rows rows_new(int n, int V, bool half, size_t skip)
{
    size_t count = (size_t)n * (size_t)V;
    struct rows r = {
        n, V, half, skip, xcalloc(count, sizeof(float)), NULL, NULL, NULL, NULL, NULL
    };
    r.target = xcalloc((size_t)n, sizeof(*r.target));
    for (size_t i = 0; i < count; i++)
        r.logits[i] = noise() * 12;
    for (int i = 0; i < n; i++)
        r.target[i] = i == 0 ? 0 : i == 1 ? V - 1 : (int64_t)((noise() + 1) / 2 * (float)V) % V;
    return r;
}

static void *place_of(const struct rows *r)
{
    return (char *)r->memory + r->skip * (r->half ? 2 : 4);
}

static void rows_put(struct rows *r)
{
    const size_t count = (size_t)r->n * (size_t)r->V, size = r->half ? 2 : 4;
    uint16_t *h = xcalloc(count, sizeof(*h));
    for (size_t i = 0; i < count && r->half; i++)
        r->logits[i] = widened(h[i] = halved(r->logits[i]));
    r->memory = cuda_device_new(NULL, (count + r->skip) * size);
    cuda_device_put(place_of(r), r->half ? (void *)h : r->logits, count * size);
    r->target_there = cuda_device_new(r->target, (size_t)r->n * sizeof(*r->target));
    r->nll = cuda_device_new(NULL, (size_t)r->n * sizeof(float));
    r->entropy = cuda_device_new(NULL, (size_t)r->n * sizeof(float));
    free(h);
}

static float *rows_get(const struct rows *r)
{
    const size_t count = (size_t)r->n * (size_t)r->V;
    float *v = xcalloc(count, sizeof(*v));
    uint16_t *h = xcalloc(count, sizeof(*h));
    cuda_device_get(r->half ? (void *)h : v, place_of(r), count * (r->half ? 2 : 4));
    for (size_t i = 0; i < count && r->half; i++)
        v[i] = widened(h[i]);
    free(h);
    return v;
}

static float *got(const float *there, int n)
{
    float *v = xcalloc((size_t)n, sizeof(*v));
    cuda_device_get(v, there, (size_t)n * sizeof(*v));
    return v;
}

static void rows_free(struct rows *r)
{
    cuda_device_free(r->memory);
    cuda_device_free(r->target_there);
    cuda_device_free(r->nll);
    cuda_device_free(r->entropy);
    free(r->logits);
    free(r->target);
}

/* In double: the largest, the sum of e^(x - largest), and the entropy. */
static double plain(const float *row, int V, double *most, double *entropy)
{
    double sum = 0, moment = 0;
    *most = (double)-INFINITY;
    for (int i = 0; i < V; i++)
        *most = fmax(*most, (double)row[i]);
    for (int i = 0; i < V; i++) {
        double x = (double)row[i] - *most, e = exp(x);
        sum += e;
        moment += e > 0 ? x * e : 0;
    }
    *entropy = log(sum) - moment / sum;
    return sum;
}

static void near(double want, float is, double tolerance, const char *what, const struct rows *r,
                 int row)
{
    if (!(fabs(want - (double)is) <= tolerance * (1 + fabs(want))))
        fail_msg("%s of row %d of %d x %d, half %d: %.9g, not %.9g", what, row, r->n, r->V, r->half,
                 (double)is, want);
}

static void score(struct rows *r)
{
    struct buf err = BUF_INIT;
    if (gpu_loss(place_of(r), r->half, r->n, r->V, r->target_there, r->nll, r->entropy, NULL, &err))
        fail_msg("%s", err.s);
}

static void check_scores(struct rows *r)
{
    rows_put(r);
    score(r);
    float *nll = got(r->nll, r->n), *entropy = got(r->entropy, r->n);
    for (int i = 0; i < r->n; i++) {
        const float *row = r->logits + (size_t)i * (size_t)r->V;
        double most, h, sum = plain(row, r->V, &most, &h);
        if (r->target[i] < 0)
            assert_true(isnan(nll[i]));
        else
            near(log(sum) + (most - (double)row[r->target[i]]), nll[i], 1e-6, "the loss", r, i);
        near(h, entropy[i], 3e-6, "the entropy", r, i);
    }
    free(nll);
    free(entropy);
}

/* Above, below and at what a block of threads takes at once, and beside what is read in eights. */
static const int sizes[] = { 1, 7, 8, 96, 1000, 4097, 4104, 20480, 20481 };

static void losses_and_entropies_are_those_of_plain_loops(void **state)
{
    (void)state;
    if (cuda_device_lacks())
        SKIP("%s", cuda_device_lacks());
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (int half = 0; half < 2; half++)
            for (size_t skip = 0; skip < 2; skip++) {
                struct rows r = rows_new(5, sizes[i], half, skip);
                r.target[3] = -1;
                check_scores(&r);
                rows_free(&r);
            }
}

static void logits_far_apart_and_chances_of_zero_are_counted(void **state)
{
    (void)state;
    if (cuda_device_lacks())
        SKIP("%s", cuda_device_lacks());
    for (int half = 0; half < 2; half++) {
        struct rows r = rows_new(5, 6000, half, 0);
        for (int i = 0; i < r.V; i++) {
            r.logits[i] *= 1e3f;
            r.logits[r.V + i] = i < 5990 ? -INFINITY : (float)i / 1000;
            r.logits[2 * r.V + i] = -1e30f;
            r.logits[3 * r.V + i] = (float)i * 0.01f; // each thread meets larger ones all the way
            r.logits[4 * r.V + i] = i == 17 ? 3e38f : -3e38f;
        }
        r.target[4] = 17;
        check_scores(&r);
        rows_free(&r);
    }
}

static void a_row_with_what_is_no_number_comes_to_none(void **state)
{
    (void)state;
    if (cuda_device_lacks())
        SKIP("%s", cuda_device_lacks());
    for (int half = 0; half < 2; half++) {
        struct rows r = rows_new(4, 5000, half, 0);
        for (int i = 0; i < r.V; i++)
            r.logits[2 * r.V + i] = -INFINITY;
        r.logits[4999] = NAN;
        r.logits[r.V + 3] = INFINITY;
        r.logits[2 * r.V + 4] = NAN;
        rows_put(&r);
        score(&r);
        float *nll = got(r.nll, r.n), *entropy = got(r.entropy, r.n);
        for (int i = 0; i < r.n; i++) {
            assert_true(isnan(nll[i]) == (i < 3));
            assert_true(isnan(entropy[i]) == (i < 3));
        }
        free(nll);
        free(entropy);
        rows_free(&r);
    }
}

/* Losses, and in the place of the logits the softmax, less one at the target. */
static void check_gradients(struct rows *r)
{
    struct buf err = BUF_INIT;
    rows_put(r);
    if (gpu_loss_back(place_of(r), r->half, r->n, r->V, r->target_there, r->nll, NULL, &err))
        fail_msg("%s", err.s);
    float *nll = got(r->nll, r->n), *p = rows_get(r);
    for (int i = 0; i < r->n; i++) {
        const float *row = r->logits + (size_t)i * (size_t)r->V;
        double most, h, sum = plain(row, r->V, &most, &h);
        near(log(sum) + (most - (double)row[r->target[i]]), nll[i], 1e-6, "the loss", r, i);
        for (int e = 0; e < r->V; e++) {
            double want = exp((double)row[e] - most) / sum - (e == r->target[i]);
            double is = (double)p[(size_t)i * (size_t)r->V + (size_t)e];
            if (!(fabs(want - is) <= (r->half ? 0x1p-8 : 2e-6) * fabs(want) + 1e-7))
                fail_msg("row %d of %d x %d, half %d, logit %d: %.9g, not %.9g", i, r->n, r->V,
                         r->half, e, is, want);
        }
    }
    free(nll);
    free(p);
}

static void gradients_take_the_place_of_logits(void **state)
{
    (void)state;
    if (cuda_device_lacks())
        SKIP("%s", cuda_device_lacks());
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (int half = 0; half < 2; half++)
            for (size_t skip = 0; skip < 2; skip++) {
                struct rows r = rows_new(3, sizes[i], half, skip);
                check_gradients(&r);
                rows_free(&r);
            }
}

/* Of 8192 tokens in blocks of rows, as OLMoE-1B-7B's head has them. */
static void a_heads_rows_are_read_at_the_memorys_speed(void **state)
{
    (void)state;
    enum { ROWS = 2048, V = 50304, TIMES = 20 };
    struct buf err = BUF_INIT;
    if (cuda_device_untimed())
        SKIP("%s", cuda_device_untimed());
    struct rows r = rows_new(ROWS, V, true, 0);
    rows_put(&r);
    double ms[2];
    for (int back = 0; back < 2; back++) {
        for (int i = -2; i < TIMES; i++) {
            if (i == 0)
                cuda_device_ms();
            if (back ? gpu_loss_back(r.memory, true, ROWS, V, r.target_there, r.nll, NULL, &err)
                     : gpu_loss(r.memory, true, ROWS, V, r.target_there, r.nll, r.entropy, NULL,
                                &err))
                fail_msg("%s", err.s);
        }
        ms[back] = cuda_device_ms() / TIMES;
    }
    const double gb = (double)ROWS * V * 2 / 1e9;
    print_message("# %d x %d bfloat16: losses %.0f us, %.2f TB/s; gradients %.0f us, %.2f TB/s\n",
                  ROWS, V, ms[0] * 1e3, gb / ms[0], ms[1] * 1e3, 2 * gb / ms[1]);
    // Slower than a tenth of any such GPU's memory is a fault.
    assert_true(gb / ms[0] > 0.2 && 2 * gb / ms[1] > 0.2);
    rows_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_and_entropies_are_those_of_plain_loops),
        cmocka_unit_test(logits_far_apart_and_chances_of_zero_are_counted),
        cmocka_unit_test(a_row_with_what_is_no_number_comes_to_none),
        cmocka_unit_test(gradients_take_the_place_of_logits),
        cmocka_unit_test(a_heads_rows_are_read_at_the_memorys_speed),
    };
    return cmocka_run_group_tests_name("cuda_loss", tests, NULL, NULL);
}
