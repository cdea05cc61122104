/*
 * kernels.c: see kernels.h. Plain loops that the compiler turns into vector code, once for each
 * kind of processor (target_clones); the loader picks one when the engine is opened.
 */
#include "kernels.h"

#include <math.h>
#include <string.h>

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

void kernel_keys(const float *x, int64_t n, int64_t at, int64_t G, int64_t D, float *keys)
{
    for (int64_t i = 0; i < n; i++, x += G * D) {
        int64_t pos = at + i;
        float *to = keys + pos / KEYS_WIDE * G * D * KEYS_WIDE + pos % KEYS_WIDE;
        for (int64_t j = 0; j < G * D; j++)
            to[j * KEYS_WIDE] = x[j];
    }
}

typedef float wide __attribute__((vector_size(KEYS_WIDE * sizeof(float)), aligned(4)));

/*
 * The products of `rows` queries with 2 * KEYS_WIDE keys, in two blocks that lie `apart`.
 * q: rows `q_stride` floats apart; scores: rows `width` apart
 */
INLINE void score_tile(const float *q, int64_t q_stride, const float *keys, int64_t apart,
                       int64_t D, float *scores, int64_t width, const int rows)
{
    wide sum[KEYS_TILE][2] = { { { 0 } } };
    for (int64_t d = 0; d < D; d++) {
        wide a = *(const wide *)(keys + d * KEYS_WIDE);
        wide b = *(const wide *)(keys + apart + d * KEYS_WIDE);
        for (int r = 0; r < rows; r++) {
            float x = q[r * q_stride + d];
            sum[r][0] += x * a;
            sum[r][1] += x * b;
        }
    }
    for (int r = 0; r < rows; r++) {
        *(wide *)(scores + r * width) = sum[r][0];
        *(wide *)(scores + r * width + KEYS_WIDE) = sum[r][1];
    }
}

/* 2 * KEYS_WIDE columns of the values of n positions, weighted by each row's scores. */
INLINE void value_tile(const float *scores, int64_t width, const float *values, int64_t stride,
                       int64_t n, float *out, int64_t out_stride, const int rows)
{
    wide sum[KEYS_TILE][2] = { { { 0 } } };
    for (int64_t j = 0; j < n; j++) {
        wide a = *(const wide *)(values + j * stride);
        wide b = *(const wide *)(values + j * stride + KEYS_WIDE);
        for (int r = 0; r < rows; r++) {
            float p = scores[r * width + j];
            sum[r][0] += p * a;
            sum[r][1] += p * b;
        }
    }
    for (int r = 0; r < rows; r++) {
        *(wide *)(out + r * out_stride) = sum[r][0];
        *(wide *)(out + r * out_stride + KEYS_WIDE) = sum[r][1];
    }
}

/* The same of KEYS_WIDE columns or fewer. */
INLINE void value_part(const float *scores, int64_t width, const float *values, int64_t stride,
                       int64_t n, float *out, int64_t out_stride, const int rows, size_t columns)
{
    wide sum[KEYS_TILE] = { { 0 } }, a = { 0 };
    for (int64_t j = 0; j < n; j++) {
        memcpy(&a, values + j * stride, columns * sizeof(float));
        for (int r = 0; r < rows; r++)
            sum[r] += scores[r * width + j] * a;
    }
    for (int r = 0; r < rows; r++)
        memcpy(out + r * out_stride, &sum[r], columns * sizeof(float));
}

/* `rows` queries of one head, the first at position `at`. keys, values: of their head */
INLINE void attend_tile(const float *q, int64_t at, int64_t H, int64_t G, int64_t D,
                        const float *keys, const float *values, int64_t stride, float *scratch,
                        float *out, const int rows)
{
    const int64_t pair = 2 * KEYS_WIDE, n = at + rows, width = (n + pair - 1) / pair * pair;
    const int64_t block = G * D * KEYS_WIDE, blocks = (n + KEYS_WIDE - 1) / KEYS_WIDE;
    for (int64_t b = 0; b < blocks; b += 2) // of a pair's missing half the first is taken twice
        score_tile(q, H * D, keys + b * block, b + 1 < blocks ? block : 0, D,
                   scratch + b * KEYS_WIDE, width, rows);
    for (int r = 0; r < rows; r++)
        kernel_softmax(scratch + r * width, at + r + 1, width);
    int64_t d = 0;
    for (; d + pair <= D; d += pair)
        value_tile(scratch, width, values + d, stride, n, out + d, H * D, rows);
    for (; d < D; d += KEYS_WIDE)
        value_part(scratch, width, values + d, stride, n, out + d, H * D, rows,
                   (size_t)(D - d < KEYS_WIDE ? D - d : KEYS_WIDE));
}

VECTOR void kernel_attend(const float *q, int64_t n, int64_t at, int64_t H, int64_t G, int64_t D,
                          const float *keys, const float *values, int64_t stride, float *scratch,
                          float *out)
{
    for (int64_t h = 0; h < H; h++) {
        const int64_t g = h * G / H;
        const float *k = keys + g * D * KEYS_WIDE, *v = values + g * D;
        int64_t i = 0;
        for (; i + KEYS_TILE <= n; i += KEYS_TILE)
            attend_tile(q + (i * H + h) * D, at + i, H, G, D, k, v, stride, scratch,
                        out + (i * H + h) * D, KEYS_TILE);
        for (; i < n; i++)
            attend_tile(q + (i * H + h) * D, at + i, H, G, D, k, v, stride, scratch,
                        out + (i * H + h) * D, 1);
    }
}

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
