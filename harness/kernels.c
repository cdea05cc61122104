/*
 * kernels.c: see kernels.h. Plain loops that the compiler turns into vector code, once for each
 * kind of processor (target_clones); the loader picks one when the engine is opened.
 */
#include "kernels.h"

#include <math.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__)
#define VECTOR __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define VECTOR
#endif
#define INLINE static inline __attribute__((always_inline))

/*
 * e^x for x <= 0 or small, to about 2e-7 of its value: 2^n times a polynomial in the remainder,
 * which lies within half a factor of two. Below -87 it is the smallest normal number.
 */
INLINE float exp_float(float x)
{
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    float n = x * 1.44269504f + 12582912.0f; // 1.5 * 2^23: rounds to a whole number
    union {
        float f;
        int32_t i;
    } whole = { n }, scale;
    n -= 12582912.0f;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f; // ln 2 in two parts
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    scale.i = (int32_t)((uint32_t)(whole.i - 0x4b400000 + 127) << 23);
    return p * scale.f;
}

VECTOR void kernel_norm(const float *x, int64_t rows, int64_t d, int64_t stride,
                        const float *weight, double eps, float *out)
{
    for (int64_t i = 0; i < rows; i++, x += stride, out += d) {
        // In double: an error here scales the whole row, and with it every logit.
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < d; j++)
            sum += (double)x[j] * (double)x[j];
        float scale = (float)(1.0 / sqrt(sum / (double)d + eps));
#pragma omp simd
        for (int64_t j = 0; j < d; j++)
            out[j] = x[j] * scale * weight[j];
    }
}

VECTOR void kernel_rope(const float *x, int64_t heads, int64_t d, const float *cos,
                        const float *sin, float scale, float *out)
{
    int64_t half = d / 2;
    for (int64_t h = 0; h < heads; h++, x += d, out += d) {
#pragma omp simd
        for (int64_t i = 0; i < half; i++) {
            float a = x[i], b = x[i + half];
            out[i] = (a * cos[i] - b * sin[i]) * scale;
            out[i + half] = (b * cos[i] + a * sin[i]) * scale;
        }
    }
}

VECTOR void kernel_softmax(float *x, int64_t n, int64_t width)
{
    float most = -INFINITY, sum = 0;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < n; i++)
        most = x[i] > most ? x[i] : most;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        x[i] = exp_float(x[i] - most);
        sum += x[i];
    }
    float scale = 1.0f / sum;
#pragma omp simd
    for (int64_t i = 0; i < n; i++)
        x[i] *= scale;
    memset(x + n, 0, (size_t)(width - n) * sizeof(*x));
}

/* ---- products ---- */

enum { ROW_BLOCK = 48, K_BLOCK = 256 };

/* out[j][i] = x[i][j], element by element. x: [rows, columns], ldx floats a row; out: [columns, rows] */
static void turn_plain(const float *x, int64_t ldx, int64_t rows, int64_t columns, float *out,
                       int64_t ldo)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++)
            out[j * ldo + i] = x[i * ldx + j];
}

#ifdef __x86_64__
/* The same by squares of 16, in registers. */
__attribute__((target("arch=x86-64-v4"))) static void
turn_avx512(const float *x, int64_t ldx, int64_t rows, int64_t columns, float *out, int64_t ldo)
{
    const int64_t whole_rows = rows / 16 * 16, whole_columns = columns / 16 * 16;
    for (int64_t i = 0; i < whole_rows; i += 16)
        for (int64_t j = 0; j < whole_columns; j += 16) {
            __m512 a[16], b[16];
            for (int r = 0; r < 16; r++)
                a[r] = _mm512_loadu_ps(x + (i + r) * ldx + j);
            for (int r = 0; r < 16; r += 2) {
                b[r] = _mm512_unpacklo_ps(a[r], a[r + 1]);
                b[r + 1] = _mm512_unpackhi_ps(a[r], a[r + 1]);
            }
            for (int r = 0; r < 16; r += 4) {
                a[r] = _mm512_shuffle_ps(b[r], b[r + 2], 0x44);
                a[r + 1] = _mm512_shuffle_ps(b[r], b[r + 2], 0xee);
                a[r + 2] = _mm512_shuffle_ps(b[r + 1], b[r + 3], 0x44);
                a[r + 3] = _mm512_shuffle_ps(b[r + 1], b[r + 3], 0xee);
            }
            for (int r = 0; r < 4; r++) { // lanes of four: rows r, r + 4, r + 8, r + 12
                b[r] = _mm512_shuffle_f32x4(a[r], a[r + 4], 0x88);
                b[r + 4] = _mm512_shuffle_f32x4(a[r], a[r + 4], 0xdd);
                b[r + 8] = _mm512_shuffle_f32x4(a[r + 8], a[r + 12], 0x88);
                b[r + 12] = _mm512_shuffle_f32x4(a[r + 8], a[r + 12], 0xdd);
            }
            for (int r = 0; r < 4; r++) {
                float *to = out + (j + r) * ldo + i;
                _mm512_storeu_ps(to, _mm512_shuffle_f32x4(b[r], b[r + 8], 0x88));
                _mm512_storeu_ps(to + 4 * ldo, _mm512_shuffle_f32x4(b[r + 4], b[r + 12], 0x88));
                _mm512_storeu_ps(to + 8 * ldo, _mm512_shuffle_f32x4(b[r], b[r + 8], 0xdd));
                _mm512_storeu_ps(to + 12 * ldo, _mm512_shuffle_f32x4(b[r + 4], b[r + 12], 0xdd));
            }
        }
    turn_plain(x + whole_columns, ldx, whole_rows, columns - whole_columns,
               out + whole_columns * ldo, ldo);
    turn_plain(x + whole_rows * ldx, ldx, rows - whole_rows, columns, out + whole_rows, ldo);
}

/* In a register: the compiler would load it anew for each vector that it is multiplied by. */
__attribute__((target("arch=x86-64-v4"))) INLINE __m512 spread_avx512(float x)
{
    __m512 v = _mm512_set1_ps(x);
#ifndef __clang__ // whose linter knows no such register here
    __asm__("" : "+v"(v));
#endif
    return v;
}

/* And by squares of 4. */
static void turn_sse(const float *x, int64_t ldx, int64_t rows, int64_t columns, float *out,
                     int64_t ldo)
{
    const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
    for (int64_t i = 0; i < whole_rows; i += 4)
        for (int64_t j = 0; j < whole_columns; j += 4) {
            const float *from = x + i * ldx + j;
            float *to = out + j * ldo + i;
            __m128 a = _mm_loadu_ps(from), b = _mm_loadu_ps(from + ldx);
            __m128 c = _mm_loadu_ps(from + 2 * ldx), d = _mm_loadu_ps(from + 3 * ldx);
            _MM_TRANSPOSE4_PS(a, b, c, d);
            _mm_storeu_ps(to, a);
            _mm_storeu_ps(to + ldo, b);
            _mm_storeu_ps(to + 2 * ldo, c);
            _mm_storeu_ps(to + 3 * ldo, d);
        }
    turn_plain(x + whole_columns, ldx, whole_rows, columns - whole_columns,
               out + whole_columns * ldo, ldo);
    turn_plain(x + whole_rows * ldx, ldx, rows - whole_rows, columns, out + whole_rows, ldo);
}
#endif

/* A form for each kind of processor: vectors of LANES floats, TILE rows at a time in registers. */
struct products {
    const char *processor;
    void (*turn)(const float *x, int64_t ldx, int64_t rows, int64_t columns, float *out,
                 int64_t ldo);
    void (*product)(const float *x, int64_t rows, int64_t stride, bool across, const float *panels,
                    int64_t n, int64_t k, bool add, float *out);
    void (*attend)(const float *q, int64_t n, int64_t at, int64_t H, int64_t G, int64_t D,
                   const float *keys, const float *values, int64_t stride, float *scratch,
                   float *out);
};

static const struct products *products(void);

void kernel_pack(const float *w, int64_t n, int64_t stride, int64_t k, float *panels)
{
    for (int64_t p = 0; p < n; p += PANEL, panels += k * PANEL) {
        int64_t rows = n - p < PANEL ? n - p : PANEL;
        if (rows < PANEL)
            memset(panels, 0, (size_t)(k * PANEL) * sizeof(*panels));
        products()->turn(w + p * stride, stride, rows, k, panels, PANEL);
    }
}

/* Rows are read from end to end, a few panels' worth at a time: as many streams as the cache takes. */
void kernel_pack_columns(const float *w, int64_t rows, int64_t stride, int64_t columns,
                         float *panels)
{
    enum { STREAMS = 8 };
    const int64_t whole = columns / PANEL, rest = columns % PANEL, each = rows * PANEL;
    for (int64_t p = 0; p < whole; p += STREAMS) {
        const int64_t n = whole - p < STREAMS ? whole - p : STREAMS;
        for (int64_t i = 0; i < rows; i++) {
            const float *from = w + i * stride + p * PANEL;
            float *to = panels + p * each + i * PANEL;
            for (int64_t j = 0; j < n; j++, from += PANEL, to += each)
                memcpy(to, from, PANEL * sizeof(*to));
        }
    }
    float *last = panels + whole * each;
    for (int64_t i = 0; rest && i < rows; i++, last += PANEL) {
        memset(last, 0, PANEL * sizeof(*last));
        memcpy(last, w + i * stride + whole * PANEL, (size_t)rest * sizeof(*last));
    }
}

void kernel_keys(const float *x, int64_t n, int64_t at, int64_t G, int64_t D, float *keys)
{
    for (int64_t i = 0; i < n; i++, x += G * D) {
        int64_t pos = at + i;
        float *to = keys + pos / PANEL * G * D * PANEL + pos % PANEL;
        for (int64_t j = 0; j < G * D; j++)
            to[j * PANEL] = x[j];
    }
}

/* The compiler is not to choose what is fused: it would, here and there, by its own lights. */
#ifdef __x86_64__
#pragma GCC push_options
#pragma GCC target("arch=x86-64-v4")
#define NAME(x) x##_avx512
#define TURN turn_avx512
#define SPREAD(x) spread_avx512(x)
#define FMA(x, v, sum) _mm512_fmadd_ps(x, v, sum)
#define LANES 16
#define TILE 8
#define PANELS 2
#include "kernels_products.inl"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("arch=x86-64-v3")
#define NAME(x) x##_avx2
#define TURN turn_sse
#define SPREAD(x) _mm256_set1_ps(x)
#define FMA(x, v, sum) _mm256_fmadd_ps(x, v, sum)
#define LANES 8
#define TILE 4
#define PANELS 1
#include "kernels_products.inl"
#pragma GCC pop_options
#endif

#define NAME(x) x##_plain
#define TURN turn_plain
#define SPREAD(x) ((vector_plain){ 0 } + (x))
#define FMA(x, v, sum) ((x) * (v) + (sum))
#define LANES 4
#define TILE 2
#define PANELS 1
#include "kernels_products.inl"

/* May the form be used here, for all that the environment says? */
static bool wanted(const struct products *p)
{
    const char *only = getenv("SEQTOPK_PROCESSOR");
    return !only || !*only || strcmp(only, p->processor) == 0;
}

static const struct products *choose(void)
{
#ifdef __x86_64__
    if (wanted(&products_avx512) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq"))
        return &products_avx512;
    if (wanted(&products_avx2) && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return &products_avx2;
#endif
    return &products_plain;
}

static const struct products *chosen;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void choose_once(void)
{
    chosen = choose();
}

static const struct products *products(void)
{
    pthread_once(&once, choose_once);
    return chosen;
}

const char *kernel_processor(void)
{
    return products()->processor;
}

void kernel_product(const float *x, int64_t rows, int64_t stride, const float *panels, int64_t n,
                    int64_t k, float *out)
{
    products()->product(x, rows, stride, false, panels, n, k, false, out);
}

void kernel_product_across(const float *x, int64_t rows, int64_t stride, const float *panels,
                           int64_t n, int64_t k, bool add, float *out)
{
    products()->product(x, rows, stride, true, panels, n, k, add, out);
}

void kernel_attend(const float *q, int64_t n, int64_t at, int64_t H, int64_t G, int64_t D,
                   const float *keys, const float *values, int64_t stride, float *scratch,
                   float *out)
{
    products()->attend(q, n, at, H, G, D, keys, values, stride, scratch, out);
}

/* ---- the rest ---- */

VECTOR void kernel_swiglu(const float *gate_up, int64_t rows, int64_t f, float *out)
{
    for (int64_t i = 0; i < rows; i++, gate_up += 2 * f, out += f) {
        const float *up = gate_up + f;
#pragma omp simd
        for (int64_t j = 0; j < f; j++)
            out[j] = gate_up[j] / (1.0f + exp_float(-gate_up[j])) * up[j];
    }
}

VECTOR void kernel_gate(const float *gate, int64_t rows, int64_t d, float *x)
{
    for (int64_t i = 0; i < rows; i++, x += d) {
        float open = 1.0f / (1.0f + expf(-gate[i]));
#pragma omp simd
        for (int64_t j = 0; j < d; j++)
            x[j] *= open;
    }
}

void kernel_gather(const float *x, const int64_t *row, int64_t rows, int64_t d, float *out)
{
    for (int64_t i = 0; i < rows; i++)
        memcpy(out + i * d, x + row[i] * d, (size_t)d * sizeof(*x));
}

VECTOR void kernel_scatter_add(const float *x, const int64_t *row, const float *weight,
                               int64_t rows, int64_t d, float *y)
{
    for (int64_t i = 0; i < rows; i++) {
        const float *from = x + i * d;
        float *to = y + row[i] * d, w = weight[i];
#pragma omp simd
        for (int64_t j = 0; j < d; j++)
            to[j] += w * from[j];
    }
}

VECTOR void kernel_score(const float *logits, int64_t vocab, int64_t target, float *nll,
                         float *entropy)
{
    float most = -INFINITY, sum = 0, weighted = 0;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < vocab; i++)
        most = logits[i] > most ? logits[i] : most;
#pragma omp simd reduction(+ : sum, weighted)
    for (int64_t i = 0; i < vocab; i++) {
        float below = logits[i] - most, e = exp_float(below);
        sum += e;
        weighted += e * below;
    }
    float log_sum = logf(sum);
    *entropy = log_sum - weighted / sum;
    *nll = target < 0 ? NAN : log_sum - (logits[target] - most);
}

/* ---- backward ---- */

VECTOR void kernel_norm_back(const float *x, const float *dy, int64_t rows, int64_t d,
                             int64_t stride, const float *weight, double eps, float *dx, float *dw)
{
    for (int64_t i = 0; i < rows; i++, x += stride, dy += d, dx += d) {
        double sum = 0, dot = 0;
#pragma omp simd reduction(+ : sum, dot)
        for (int64_t j = 0; j < d; j++) {
            sum += (double)x[j] * (double)x[j];
            dot += (double)(dy[j] * weight[j]) * (double)x[j];
        }
        double r = 1.0 / sqrt(sum / (double)d + eps);
        float scale = (float)r, back = (float)(r * r * r * dot / (double)d);
#pragma omp simd
        for (int64_t j = 0; j < d; j++) {
            dx[j] = dy[j] * weight[j] * scale - x[j] * back;
            dw[j] += dy[j] * x[j] * scale;
        }
    }
}

VECTOR void kernel_softmax_back(const float *p, const float *mean, int64_t rows, int64_t n,
                                float *dp)
{
    for (int64_t i = 0; i < rows; i++, p += n, dp += n) {
        float m = mean[i];
#pragma omp simd
        for (int64_t j = 0; j < n; j++)
            dp[j] = p[j] * (dp[j] - m);
    }
}

VECTOR void kernel_swiglu_back(const float *gate_up, const float *da, const float *weight,
                               int64_t rows, int64_t f, float *out)
{
    for (int64_t i = 0; i < rows; i++, gate_up += 2 * f, da += f, out += 2 * f) {
        const float *up = gate_up + f, w = weight[i];
        float *dup = out + f;
#pragma omp simd
        for (int64_t j = 0; j < f; j++) {
            float g = gate_up[j], s = 1.0f / (1.0f + exp_float(-g)), back = w * da[j];
            dup[j] = back * g * s;
            out[j] = back * up[j] * s * (1.0f + g * (1.0f - s));
        }
    }
}

VECTOR void kernel_dots(const float *x, const float *y, int64_t rows, int64_t d, float *out)
{
    for (int64_t i = 0; i < rows; i++, x += d, y += d) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t j = 0; j < d; j++)
            sum += x[j] * y[j];
        out[i] = sum;
    }
}

VECTOR void kernel_scale_rows(float *x, const float *scale, int64_t rows, int64_t d)
{
    for (int64_t i = 0; i < rows; i++, x += d) {
        float s = scale[i];
#pragma omp simd
        for (int64_t j = 0; j < d; j++)
            x[j] *= s;
    }
}

VECTOR float kernel_nll_back(float *logits, int64_t vocab, int64_t target)
{
    float most = -INFINITY, sum = 0, at = logits[target];
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < vocab; i++)
        most = logits[i] > most ? logits[i] : most;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < vocab; i++) {
        logits[i] = exp_float(logits[i] - most);
        sum += logits[i];
    }
    float scale = 1.0f / sum;
#pragma omp simd
    for (int64_t i = 0; i < vocab; i++)
        logits[i] *= scale;
    logits[target] -= 1.0f;
    return logf(sum) - (at - most);
}
