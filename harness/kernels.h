/*
 * kernels.h: the loops over float32 between the matrix products, for one thread. Every one has a
 * slow twin in plain ATen operations in torch_ops.cpp, which is also what runs on a GPU or where
 * gradients are wanted, and which the tests compare it with.
 *
 * Invariant: what is computed for a row does not hang on the other rows.
 */
#ifndef KERNELS_H
#define KERNELS_H

#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Root mean square norm of each row. x, out: [rows, d]; weight: [d]; x is `stride` floats a row */
void kernel_norm(const float *x, int64_t rows, int64_t d, int64_t stride, const float *weight,
                 double eps, float *out);

/* Rotates each pair (i, i + d/2) of a head. x, out: [heads, d]; cos, sin: [d/2] of the position */
void kernel_rope(const float *x, int64_t heads, int64_t d, const float *cos, const float *sin,
                 float scale, float *out);

/*
 * Products of rows with a matrix, and attention, which is two of them. Every element is one sum in
 * one order, by fused multiply and add where the processor has it: a row is the same to the bit
 * whatever stands in the other rows and however many there are, and a sequence whether it is given
 * at once or token by token. No library that multiplies matrices promises that.
 *
 * A matrix is packed in panels of PANEL of its rows: [n / PANEL rounded up, k, PANEL], zeros behind
 * the last row.
 */
enum { PANEL = 16, TILE_MAX = 8 };

/* panels of w: [n, k], `stride` floats a row */
void kernel_pack(const float *w, int64_t n, int64_t stride, int64_t k, float *panels);

/* The same of w's transpose: panels: [columns / PANEL rounded up, rows, PANEL]. w: [rows, columns],
 * `stride` floats a row */
void kernel_pack_columns(const float *w, int64_t rows, int64_t stride, int64_t columns,
                         float *panels);

/* out = x * w^T. x: [rows, k], `stride` floats a row; w: [n, k], packed; out: [rows, n] */
void kernel_product(const float *x, int64_t rows, int64_t stride, const float *panels, int64_t n,
                    int64_t k, float *out);
/* out = x^T * w^T, or added to what is there. x: [k, rows], `stride` floats a row */
void kernel_product_across(const float *x, int64_t rows, int64_t stride, const float *panels,
                           int64_t n, int64_t k, bool add, float *out);

/* Puts the keys of n positions, from `at` on, in their panels: keys: [positions / PANEL, G, D, PANEL];
 * x: [n, G * D] */
void kernel_keys(const float *x, int64_t n, int64_t at, int64_t G, int64_t D, float *keys);

/*
 * Queries at the positions at .. at + n - 1, scaled and rotated, on the keys and values up to their
 * own. q, out: [n, H * D]; keys: as above; values: [positions, G * D], `stride` floats a row;
 * scratch: [TILE_MAX, at + n rounded up to PANEL], aligned to 64 bytes
 */
void kernel_attend(const float *q, int64_t n, int64_t at, int64_t H, int64_t G, int64_t D,
                   const float *keys, const float *values, int64_t stride, float *scratch,
                   float *out);

/*
 * "AVX-512", "AVX2" or "plain": which form of the products runs here, the best that the processor
 * has, or a lesser one that SEQTOPK_PROCESSOR names: what another machine would compute.
 */
const char *kernel_processor(void);

/* Softmax over the first `n` values; the values from n to `width` become 0. x: [width] */
void kernel_softmax(float *x, int64_t n, int64_t width);

/* out = silu(gate) * up. gate_up: [rows, 2 * f], out: [rows, f] */
void kernel_swiglu(const float *gate_up, int64_t rows, int64_t f, float *out);

/* x[i] *= sigmoid(gate[i]). gate: [rows]; x: [rows, d] */
void kernel_gate(const float *gate, int64_t rows, int64_t d, float *x);

/* out[i] = x[row[i]]; and y[row[i]] += weight[i] * x[i]. d floats a row */
void kernel_gather(const float *x, const int64_t *row, int64_t rows, int64_t d, float *out);
void kernel_scatter_add(const float *x, const int64_t *row, const float *weight, int64_t rows,
                        int64_t d, float *y);

/*
 * Backward passes, for training. kernel_norm_back: dy: [rows, d] -> dx: [rows, d]; dw: [d], added to.
 * x: `stride` floats a row
 */
void kernel_norm_back(const float *x, const float *dy, int64_t rows, int64_t d, int64_t stride,
                      const float *weight, double eps, float *dx, float *dw);
/* dp = p * (dp - mean), row by row. p, dp: [rows, n]; mean: [rows] */
void kernel_softmax_back(const float *p, const float *mean, int64_t rows, int64_t n, float *dp);
/* The gradient of swiglu, weight[i] times da. gate_up, out: [rows, 2 * f]; da: [rows, f] */
void kernel_swiglu_back(const float *gate_up, const float *da, const float *weight, int64_t rows,
                        int64_t f, float *out);
/* out[i] = x[i] . y[i]; and x[i] *= scale[i]. x, y: [rows, d] */
void kernel_dots(const float *x, const float *y, int64_t rows, int64_t d, float *out);
void kernel_scale_rows(float *x, const float *scale, int64_t rows, int64_t d);
/* Returns the loss of `target`, and makes the logits its gradient by them: softmax - 1 at target. */
float kernel_nll_back(float *logits, int64_t vocab, int64_t target);

/* Of one row of logits: the loss of `target` (NaN where it is negative) and the entropy, nats. */
void kernel_score(const float *logits, int64_t vocab, int64_t target, float *nll, float *entropy);

#ifdef __cplusplus
}
#endif
#endif
