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

/* Of one row of logits: the loss of `target` (NaN where it is negative) and the entropy, nats. */
void kernel_score(const float *logits, int64_t vocab, int64_t target, float *nll, float *entropy);

#ifdef __cplusplus
}
#endif
#endif
