/*
 * test_cuda_adam8.c: a step of AdamW with averages of eight bits against plain loops in double, and
 * its chance against SplitMix64: weights in float32 and in halves, gradients of both formats, runs
 * of every length and place; zeros, denormals, huge numbers and NaN. On a GPU it tells what a large
 * run takes.
 */
#include "cuda/adam8.h"

#include "cuda_device.h"
#include "skip.h"
#include "splitmix.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { BLOCK = GPU_ADAM8_BLOCK, BEHIND = 16 };

static uint32_t noise_state = 1;
static float noise(void)
{
    noise_state = noise_state * 1664525u + 1013904223u;
    return (float)(noise_state >> 8) / (1 << 23) - 1;
}

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof(u));
    return u;
}
static float of_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof(x));
    return x;
}

static size_t room(size_t n)
{
    return (n + BLOCK - 1) / BLOCK * BLOCK;
}

/* ---- a run, on the host ---- */

struct run {
    size_t n;
    float *weights, *gradient; /* [n] */
    int8_t *means;             /* [room(n)] */
    uint8_t *squares;
    float *mean_scales, *square_scales;
};

/* Averages as some steps leave them: codes of all sizes, among them zeros, a block of nothing. */
static struct run run_new(size_t n)
{
    struct run r = { .n = n };
    r.weights = xcalloc(n, sizeof(float));
    r.gradient = xcalloc(n, sizeof(float));
    r.means = xcalloc(room(n), 1);
    r.squares = xcalloc(room(n), 1);
    r.mean_scales = xcalloc(room(n) / BLOCK, sizeof(float));
    r.square_scales = xcalloc(room(n) / BLOCK, sizeof(float));
    for (size_t i = 0; i < n; i++) {
        r.weights[i] = noise() / 8;
        r.gradient[i] = of_bits(bits_of(noise() * powf(10, noise() * 4)) & 0xffff0000u);
        r.means[i] = (int8_t)(noise() * 127);
        r.squares[i] = (uint8_t)((noise() + 1) * 127);
    }
    for (size_t b = 0; b < room(n) / BLOCK; b++) {
        r.mean_scales[b] = b % 7 == 3 ? 0 : powf(10, noise() * 5);
        r.square_scales[b] = b % 7 == 3 ? 0 : powf(10, noise() * 8);
    }
    return r;
}

static void run_free(struct run *r)
{
    free(r->weights);
    free(r->gradient);
    free(r->means);
    free(r->squares);
    free(r->mean_scales);
    free(r->square_scales);
}

static struct run run_copy(const struct run *r)
{
    struct run c = run_new(r->n);
    memcpy(c.weights, r->weights, r->n * sizeof(float));
    memcpy(c.gradient, r->gradient, r->n * sizeof(float));
    memcpy(c.means, r->means, room(r->n));
    memcpy(c.squares, r->squares, room(r->n));
    memcpy(c.mean_scales, r->mean_scales, room(r->n) / BLOCK * sizeof(float));
    memcpy(c.square_scales, r->square_scales, room(r->n) / BLOCK * sizeof(float));
    return c;
}

/* ---- on the device ---- */

/* How it lies there. */
struct lie {
    bool halves, half; /* weights in halves; a gradient in bfloat16 */
    size_t skip;       /* elements that weights and gradients begin behind */
    bool none;         /* no gradient */
};

/* 16-bit words with the bits of v from `shift` on, plus `add` before. */
static uint16_t *sixteens(const float *v, size_t n, int shift, uint32_t add)
{
    uint16_t *out = xcalloc(n, sizeof(*out));
    for (size_t i = 0; i < n; i++)
        out[i] = (uint16_t)((bits_of(v[i]) + add) >> shift);
    return out;
}

/* n elements of `size` bytes, `skip` behind where memory begins, and bytes 0xff around them. */
static char *put_between(const void *from, size_t n, size_t size, size_t skip)
{
    char *p = cuda_device_new(NULL, (skip + n + BEHIND) * size);
    cuda_device_put(p + skip * size, from, n * size);
    return p;
}

static char *put_halves(const float *v, size_t n, int shift, uint32_t add, size_t skip)
{
    uint16_t *h = sixteens(v, n, shift, add);
    char *p = put_between(h, n, sizeof(*h), skip);
    free(h);
    return p;
}

/* Gets them back, frees the memory, and checks what is around them. */
static void get_between(char *p, void *to, size_t n, size_t size, size_t skip)
{
    const size_t all = (skip + n + BEHIND) * size;
    unsigned char *bytes = xmalloc(all);
    cuda_device_get(bytes, p, all);
    for (size_t i = 0; i < all; i++)
        if ((i < skip * size || i >= (skip + n) * size) && bytes[i] != 0xff)
            fail_msg("byte %zu of %zu is not the run's and was written", i, all);
    memcpy(to, bytes + skip * size, n * size);
    free(bytes);
    cuda_device_free(p);
}

struct memory {
    char *weights, *high, *low, *gradient;
    struct gpu_adam8 step;
};

static struct memory put(const struct run *r, const struct lie *l, const struct gpu_adam8 *how)
{
    struct memory m = { .step = *how };
    const size_t n = r->n, blocks = room(n) / BLOCK;
    m.step.n = (int64_t)n;
    if (l->halves) {
        m.high = put_halves(r->weights, n, 16, 0x8000, l->skip);
        m.low = put_halves(r->weights, n, 0, 0, l->skip);
        m.step.high = (uint16_t *)(void *)m.high + l->skip;
        m.step.low = (int16_t *)(void *)m.low + l->skip;
    } else {
        m.weights = put_between(r->weights, n, sizeof(float), l->skip);
        m.step.weights = (float *)(void *)m.weights + l->skip;
    }
    m.step.half = l->half;
    if (!l->none) {
        m.gradient = l->half ? put_halves(r->gradient, n, 16, 0, l->skip)
                             : put_between(r->gradient, n, sizeof(float), l->skip);
        m.step.gradient = m.gradient + l->skip * (l->half ? 2 : 4);
    }
    m.step.means = cuda_device_new(r->means, room(n));
    m.step.squares = cuda_device_new(r->squares, room(n));
    m.step.mean_scales = cuda_device_new(r->mean_scales, blocks * sizeof(float));
    m.step.square_scales = cuda_device_new(r->square_scales, blocks * sizeof(float));
    return m;
}

static void get(struct memory *m, struct run *r, const struct lie *l)
{
    const size_t n = r->n, blocks = room(n) / BLOCK;
    if (l->halves) {
        uint16_t *high = xcalloc(n, sizeof(*high));
        int16_t *low = xcalloc(n, sizeof(*low));
        get_between(m->high, high, n, sizeof(*high), l->skip);
        get_between(m->low, low, n, sizeof(*low), l->skip);
        for (size_t i = 0; i < n; i++)
            r->weights[i] = of_bits(((uint32_t)high[i] << 16) + (uint32_t)(int32_t)low[i]);
        free(high);
        free(low);
    } else {
        get_between(m->weights, r->weights, n, sizeof(float), l->skip);
    }
    cuda_device_get(r->means, m->step.means, room(n));
    cuda_device_get(r->squares, m->step.squares, room(n));
    cuda_device_get(r->mean_scales, m->step.mean_scales, blocks * sizeof(float));
    cuda_device_get(r->square_scales, m->step.square_scales, blocks * sizeof(float));
    cuda_device_free(m->gradient);
    cuda_device_free(m->step.means);
    cuda_device_free(m->step.squares);
    cuda_device_free(m->step.mean_scales);
    cuda_device_free(m->step.square_scales);
}

static struct run stepped(const struct run *r, const struct lie *l, const struct gpu_adam8 *how)
{
    struct buf err = BUF_INIT;
    struct run out = run_copy(r);
    struct memory m = put(r, l, how);
    if (gpu_adam8_step(&m.step, NULL, &err))
        fail_msg("%s", err.s);
    get(&m, &out, l);
    return out;
}

/* ---- what must come of it ---- */

static double value_of(int code, double levels, float scale)
{
    double c = code / levels;
    return c * c * c * (double)scale;
}

/* The element's chance from 0 to 1, as adam8.h says. */
static double chance_of(uint64_t seed, size_t i, bool square)
{
    uint64_t state = seed + (uint64_t)(i / 2) * SPLITMIX_STEP, z = splitmix_next(&state);
    uint32_t word = (uint32_t)(i % 2 ? z >> 32 : z);
    if (square)
        word = word << 16 | word >> 16;
    return (word & 0x7fffffu) * 0x1p-23;
}

/* What becomes of x, in units of the scale, by this chance; it never falls where x rises. */
static int code_of(double x, double levels, double chance)
{
    const double at = cbrt(fabs(x)) * levels, below = fmin(floor(at), levels - 1);
    const double step = 3 * below * below + 3 * below + 1;
    const double part = (fabs(x) * levels * levels * levels - below * below * below) / step;
    const int code = (int)below + (chance < part);
    return x < 0 ? -code : code;
}

/* A number of a block in double: `sum` of the magnitudes of what was added up to it. */
struct number {
    double x, sum;
};

/* The third root of a GPU is off by some 2e-6, and then another code is the one below. */
#define NEAR 6e-6

static void check_mean(struct number a, double most, int code, uint64_t seed, size_t i)
{
    const double chance = chance_of(seed, i, false), x = a.x / most;
    const double off = 4e-7 * a.sum / most + NEAR * fabs(x);
    const int from = code_of(x - off, 127, chance);
    const int to = code_of(x + off, 127, chance);
    if (code < from || code > to)
        fail_msg("mean %zu: code %d, not %d to %d, for %.9g of %.9g and the chance %.9g", i, code,
                 from, to, a.x, most, chance);
}

/* A square that is not zero has a code that is not zero. */
static void check_square(struct number a, double most, int code, uint64_t seed, size_t i)
{
    const double chance = chance_of(seed, i, true), x = a.x / most;
    int from = code_of(x * (1 - NEAR), 255, chance), to = code_of(x * (1 + NEAR), 255, chance);
    if (a.x > 0x1p-126 && from < 1)
        from = 1;
    if (a.x > 0 && to < 1)
        to = 1;
    if (code < from || code > to)
        fail_msg("square %zu: code %d, not %d to %d, for %.9g of %.9g and the chance %.9g", i, code,
                 from, to, a.x, most, chance);
}

/* The largest magnitude of a block, and the scale that it shall have. */
static double check_scale(const struct number *a, size_t n, float scale, const char *what,
                          size_t block)
{
    double most = 0, sum = 0;
    for (size_t i = 0; i < n; i++) {
        most = fmax(most, fabs(a[i].x));
        sum = fmax(sum, a[i].sum);
    }
    if (most < 1e-30 ? scale != 0 : !(fabs((double)scale - most) <= 4e-7 * sum))
        fail_msg("%s of block %zu: scale %.9g, not %.9g", what, block, (double)scale, most);
    return (double)scale;
}

/* Of a block's numbers in double, against what came out. */
static void check_block(const struct number *m, const struct number *v, size_t n, size_t block,
                        const struct run *is, uint64_t seed)
{
    const double m_most = check_scale(m, n, is->mean_scales[block], "means", block);
    const double v_most = check_scale(v, n, is->square_scales[block], "squares", block);
    for (size_t i = 0; i < n; i++) {
        const size_t at = block * BLOCK + i;
        if (m_most > 0)
            check_mean(m[i], m_most, is->means[at], seed, at);
        if (v_most > 0)
            check_square(v[i], v_most, is->squares[at], seed, at);
    }
}

static void check_weight(const struct run *was, const struct run *is, const struct lie *l,
                         const struct gpu_adam8 *how, size_t i, struct number m, struct number v)
{
    const double step = (double)how->step, by = sqrt(v.x / (1 - pow(how->beta2, step))) + 1e-8;
    const double rate = how->lr / (1 - pow(how->beta1, step)) / by;
    const double want = (1 - how->lr * how->weight_decay) * (double)was->weights[i] - rate * m.x;
    const double is_now = (double)is->weights[i];
    if (!(fabs(is_now - want) <= 2e-7 * fabs(want) + rate * (2e-6 * m.sum + 0x1p-147) + 0x1p-148))
        fail_msg("weight %zu of %zu, halves %d, half %d, skip %zu: %.9g, not %.9g", i, was->n,
                 l->halves, l->half, l->skip, is_now, want);
}

/* One step in double; NaN and overflow are not its. */
static void check(const struct run *was, const struct run *is, const struct lie *l,
                  const struct gpu_adam8 *how)
{
    struct number m[BLOCK], v[BLOCK];
    for (size_t b = 0; b * BLOCK < was->n; b++) {
        const size_t first = b * BLOCK, n = was->n - first < BLOCK ? was->n - first : BLOCK;
        for (size_t i = 0; i < n; i++) {
            const double g = l->none ? 0 : how->scale * (double)was->gradient[first + i];
            const double old = value_of(was->means[first + i], 127, was->mean_scales[b]);
            const double old2 = value_of(was->squares[first + i], 255, was->square_scales[b]);
            m[i].x = how->beta1 * old + (1 - how->beta1) * g;
            m[i].sum = how->beta1 * fabs(old) + (1 - how->beta1) * fabs(g);
            v[i].x = v[i].sum = how->beta2 * old2 + (1 - how->beta2) * g * g;
            check_weight(was, is, l, how, first + i, m[i], v[i]);
        }
        check_block(m, v, n, b, is, how->seed);
    }
    for (size_t i = was->n; i < room(was->n); i++)
        assert_true(is->means[i] == 0 && is->squares[i] == 0);
}

static struct gpu_adam8 third_step(void)
{
    return (struct gpu_adam8){ .lr = 1e-2,
                               .beta1 = 0.9,
                               .beta2 = 0.95,
                               .weight_decay = 0.1,
                               .scale = 0.5,
                               .step = 3,
                               .seed = UINT64_C(0x123456789abcdef) };
}

static bool same(const struct run *a, const struct run *b, size_t n)
{
    const size_t blocks = n / BLOCK * sizeof(float);
    return memcmp(a->weights, b->weights, n * sizeof(float)) == 0 &&
           memcmp(a->means, b->means, n) == 0 && memcmp(a->squares, b->squares, n) == 0 &&
           memcmp(a->mean_scales, b->mean_scales, blocks) == 0 &&
           memcmp(a->square_scales, b->square_scales, blocks) == 0;
}

#define NEEDS_DEVICE()                       \
    do {                                     \
        if (cuda_device_lacks())             \
            SKIP("%s", cuda_device_lacks()); \
    } while (0)

/* ---- tests ---- */

static void steps_are_those_of_plain_loops_and_of_the_chances_that_are_said(void **state)
{
    (void)state;
    static const size_t sizes[] = { 1, 7, 8, 255, 256, 257, 2048, 5000 };
    NEEDS_DEVICE();
    for (size_t s = 0; s < ARRAY_LEN(sizes); s++)
        for (int way = 0; way < 16; way++) {
            const struct lie l = { way & 1, way >> 1 & 1, (size_t)(way >> 2 & 1) * 3, way >> 3 };
            struct gpu_adam8 how = third_step();
            struct run r = run_new(sizes[s]);
            for (int i = 0; i < 3; i++, how.step++, how.seed += 77) {
                struct run next = stepped(&r, &l, &how);
                check(&r, &next, &l, &how);
                run_free(&r);
                r = next;
            }
            run_free(&r);
        }
}

static void runs_of_zeros_stay_zeros_and_weights_only_decay(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    for (int way = 0; way < 4; way++) {
        const struct lie l = { way & 1, false, 0, way >> 1 };
        const struct gpu_adam8 how = third_step();
        struct run r = run_new(777), next;
        memset(r.gradient, 0, r.n * sizeof(float));
        memset(r.means, 0, room(r.n));
        memset(r.squares, 0, room(r.n));
        memset(r.mean_scales, 0, room(r.n) / BLOCK * sizeof(float));
        next = stepped(&r, &l, &how);
        for (size_t i = 0; i < r.n; i++) {
            assert_true(next.weights[i] == r.weights[i] * (float)(1 - how.lr * how.weight_decay));
            assert_true(next.means[i] == 0 && next.squares[i] == 0);
        }
        for (size_t b = 0; b < room(r.n) / BLOCK; b++)
            assert_true(next.mean_scales[b] == 0 && next.square_scales[b] == 0);
        run_free(&next);
        run_free(&r);
    }
}

/* What is below 1e-30 counts as nothing, a block of it and one number of it alike. */
static void denormal_and_huge_numbers_are_those_of_plain_loops(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    for (int way = 0; way < 4; way++) {
        const struct lie l = { way & 1, way >> 1, 0, false };
        const struct gpu_adam8 how = third_step();
        struct run r = run_new(5 * BLOCK), next;
        for (size_t i = 0; i < r.n; i++) {
            static const float sizes[] = { 1e-42f, 1e-36f, 1e18f, 1e-20f, 1e-25f };
            r.gradient[i] =
                of_bits(bits_of(noise() * (i % 9 ? sizes[i / BLOCK] : 1e-40f)) & 0xffff0000u);
            r.weights[i] = i % 5 ? r.weights[i] : 1e-41f * noise();
        }
        memset(r.mean_scales, 0, 5 * sizeof(float));
        memset(r.square_scales, 0, 5 * sizeof(float));
        next = stepped(&r, &l, &how);
        check(&r, &next, &l, &how);
        assert_true(next.mean_scales[1] == 0 && next.mean_scales[2] > 1e16f);
        assert_true(next.square_scales[3] == 0 && next.square_scales[2] > 1e33f);
        for (size_t i = 2 * BLOCK; i < 3 * BLOCK; i++) // each square that is there has a code
            assert_true(next.squares[i] > 0 || r.gradient[i] * r.gradient[i] < 1e-37f);
        run_free(&next);
        run_free(&r);
    }
}

static void a_number_that_is_none_spoils_its_block_and_no_other(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    static const float bad[] = { NAN, INFINITY, 3e38f };
    for (int way = 0; way < 2; way++)
        for (size_t k = 0; k < ARRAY_LEN(bad); k++) {
            const struct lie l = { way, false, 0, false };
            const struct gpu_adam8 how = third_step();
            struct run r = run_new(3 * BLOCK), clean = stepped(&r, &l, &how), next;
            r.gradient[300] = bad[k];
            next = stepped(&r, &l, &how);
            assert_true(k < 2 ? isnan(next.weights[300]) : !isnan(next.weights[300]));
            assert_true(k == 0 ? isnan(next.mean_scales[1]) : next.mean_scales[1] > 1e36f);
            assert_true(k == 0 ? isnan(next.square_scales[1]) : isinf(next.square_scales[1]));
            for (size_t i = 0; i < r.n; i++) {
                if (i == 300)
                    continue;
                assert_true(next.weights[i] == clean.weights[i]);
                if (i / BLOCK != 1)
                    assert_true(next.means[i] == clean.means[i] &&
                                next.squares[i] == clean.squares[i]);
            }
            assert_true(next.mean_scales[2] == clean.mean_scales[2]);
            run_free(&r);
            run_free(&clean);
            run_free(&next);
        }
}

static void numbers_hang_on_seed_and_place_and_on_nothing_else(void **state)
{
    (void)state;
    NEEDS_DEVICE();
    const struct lie l = { true, true, 0, false }, aside = { true, true, 5, false };
    struct gpu_adam8 how = third_step();
    struct run r = run_new(5000), some = run_copy(&r);
    struct run first = stepped(&r, &l, &how), again = stepped(&r, &aside, &how);
    assert_true(same(&first, &again, 4864)); // of whole blocks
    some.n = 4096;
    struct run fewer = stepped(&some, &l, &how);
    assert_true(same(&first, &fewer, 4096));
    how.seed++;
    struct run other = stepped(&r, &l, &how);
    size_t differ = 0;
    assert_memory_equal(first.weights, other.weights, r.n * sizeof(float));
    for (size_t i = 0; i < r.n; i++)
        differ += first.means[i] != other.means[i];
    assert_true(differ > 500 && differ < 4000);
    run_free(&r);
    run_free(&some);
    run_free(&first);
    run_free(&again);
    run_free(&fewer);
    run_free(&other);
}

/* Over seeds, of all numbers: what codes say too much, in steps, and its square's root. */
static void codes_are_right_in_the_mean(void **state)
{
    (void)state;
    enum { DRAWS = 200, N = 2 * BLOCK };
    NEEDS_DEVICE();
    const struct lie l = { false, false, 0, false };
    struct gpu_adam8 how = third_step();
    struct run r = run_new(N);
    double sum[2][N] = { { 0 } };
    float scales[2][2];
    for (int d = 0; d < DRAWS; d++) {
        how.seed = splitmix_mix((uint64_t)d + 1);
        struct run next = stepped(&r, &l, &how);
        for (size_t i = 0; i < N; i++) {
            sum[0][i] += value_of(next.means[i], 127, next.mean_scales[i / BLOCK]);
            sum[1][i] += value_of(next.squares[i], 255, next.square_scales[i / BLOCK]);
        }
        memcpy(scales[0], next.mean_scales, sizeof(scales[0]));
        memcpy(scales[1], next.square_scales, sizeof(scales[1]));
        run_free(&next);
    }
    double off[2] = { 0 }, worst = 0;
    for (size_t i = 0; i < N; i++) {
        const size_t b = i / BLOCK;
        const double g = how.scale * (double)r.gradient[i];
        const double want[2] = {
            how.beta1 * value_of(r.means[i], 127, r.mean_scales[b]) + (1 - how.beta1) * g,
            how.beta2 * value_of(r.squares[i], 255, r.square_scales[b]) + (1 - how.beta2) * g * g
        };
        for (int k = 0; k < 2; k++) {
            const double levels = k ? 255 : 127, scale = (double)scales[k][b];
            const double c = fmin(floor(cbrt(fabs(want[k]) / scale) * levels), levels - 1);
            const double step = (3 * c * c + 3 * c + 1) / (levels * levels * levels) * scale;
            if (k == 1 && c < 1) // never rounded to nothing
                continue;
            const double d = (sum[k][i] / DRAWS - want[k]) / step;
            off[k] += want[k] < 0 ? -d : d;
            worst = fmax(worst, fabs(d));
        }
    }
    print_message("# %d numbers, %d draws: off by %.2f and %.2f steps in all, one by %.3f\n", N,
                  DRAWS, off[0], off[1], worst);
    // A draw's standard deviation is half a step at most.
    const double sigma = 0.5 * sqrt((double)N / DRAWS);
    assert_true(fabs(off[0]) < 4 * sigma && fabs(off[1]) < 4 * sigma);
    assert_true(worst < 5 * 0.5 / sqrt(DRAWS));
    run_free(&r);
}

/* A fifth of a gigabyte of each of what OLMoE-1B-7B has 14 of. */
static void a_large_run_is_stepped_at_the_memorys_speed(void **state)
{
    (void)state;
    enum { TIMES = 10 };
    const int64_t n = (int64_t)64 << 21;
    struct buf err = BUF_INIT;
    if (cuda_device_untimed())
        SKIP("%s", cuda_device_untimed());
    struct run small = run_new(BLOCK);
    const struct lie l = { true, true, 0, false };
    struct gpu_adam8 how = third_step();
    struct memory m = put(&small, &l, &how);
    struct gpu_adam8 large = m.step;
    large.n = n;
    uint16_t *h = xcalloc((size_t)n, sizeof(*h));
    for (int64_t i = 0; i < n; i++)
        h[i] = (uint16_t)(0x3c00 + (noise() > 0 ? 0x8000 : 0) + (i & 0x3ff));
    large.high = cuda_device_new(h, (size_t)n * 2);
    large.low = cuda_device_new(h, (size_t)n * 2);
    uint16_t *gradient = cuda_device_new(h, (size_t)n * 2);
    large.gradient = gradient;
    memset(h, 0, (size_t)n * 2);
    large.means = cuda_device_new(h, (size_t)n);
    large.squares = cuda_device_new(h, (size_t)n);
    large.mean_scales = cuda_device_new(h, (size_t)n / BLOCK * sizeof(float));
    large.square_scales = cuda_device_new(h, (size_t)n / BLOCK * sizeof(float));
    for (int i = -2; i < TIMES; i++) {
        if (i == 0)
            cuda_device_ms();
        if (gpu_adam8_step(&large, NULL, &err))
            fail_msg("%s", err.s);
    }
    const double ms = cuda_device_ms() / TIMES, gb = (double)n * (8 + 2 + 4 + 16.0 / BLOCK) / 1e9;
    print_message("# %.0f million parameters: %.2f ms, %.2f TB/s\n", (double)n / 1e6, ms, gb / ms);
    // Slower than a tenth of any such GPU's memory is a fault.
    assert_true(gb / ms > 0.2);
    free(h);
    cuda_device_free(large.high);
    cuda_device_free(large.low);
    cuda_device_free(gradient);
    cuda_device_free(large.means);
    cuda_device_free(large.squares);
    cuda_device_free(large.mean_scales);
    cuda_device_free(large.square_scales);
    get(&m, &small, &l);
    run_free(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_those_of_plain_loops_and_of_the_chances_that_are_said),
        cmocka_unit_test(runs_of_zeros_stay_zeros_and_weights_only_decay),
        cmocka_unit_test(denormal_and_huge_numbers_are_those_of_plain_loops),
        cmocka_unit_test(a_number_that_is_none_spoils_its_block_and_no_other),
        cmocka_unit_test(numbers_hang_on_seed_and_place_and_on_nothing_else),
        cmocka_unit_test(codes_are_right_in_the_mean),
        cmocka_unit_test(a_large_run_is_stepped_at_the_memorys_speed),
    };
    return cmocka_run_group_tests_name("cuda_adam8", tests, NULL, NULL);
}
