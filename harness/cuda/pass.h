/*
 * pass.h: kernels for passes over many tokens, in prefill and training: what stands between large
 * products, each in one reading of what it reads and one writing of what it makes. Plain C; step.h
 * has what decoding runs.
 *
 * A pair of a token and an expert has a row: pairs lie sorted by expert, and those of an expert by
 * token, so that a grouped product takes them as they are. place [T, N] says where: the pair's row,
 * -1 where the token does not take the expert.
 *
 *     pass_place(source, ends, P, T, N, place, stream, err);
 *     pass_weights(place, scores, T, N, normalise, weight, stream, err);
 *     pass_spread(&t, x, rows, stream, err);                // then gate_up = rows * matrices
 *     pass_swiglu(half, P, F, gate_up, act, stream, err);   // then rows = act * matrices
 *     pass_combine(&t, rows, weight, out, stream, err);
 *
 * Invariant: each sum has one order, which hangs on nothing but the token's own experts; there are no
 * float atomics. Values are T, which is bfloat16 (`half`) or float32; what is computed of them is
 * computed in float32 and rounded once, when it is written.
 *
 * All pointers are the device's, row-major; `stream` is a cudaStream_t. Nothing here allocates or
 * waits. Rows of a multiple of 8 values that begin at a multiple of 16 bytes are read 16 bytes at a
 * time; others are right, and slower. -1: a launch failed, and `err` says which.
 * Leaves out: the products, which are libtorch's.
 */
#ifndef PASS_H
#define PASS_H

#include "util.h"

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    PASS_EXPERTS = 1024, /* most experts of a layer */
    PASS_NORM = 8192,    /* most values of a row that pass_norm() takes */
};

/* ---- pairs ---- */

/* source: [P], the token of each row; ends: [N], behind each expert's last row; place: [T, N] */
int pass_place(const int32_t *source, const int32_t *ends, int P, int T, int N, int32_t *place,
               void *stream, struct buf *err) MUST_USE;

/*
 * weight[p]: the pair's score, divided by the sum of its token's where `normalise` (and that is not
 * 0). scores: [T, N]; weight: [P]
 */
int pass_weights(const int32_t *place, const float *scores, int T, int N, bool normalise,
                 float *weight, void *stream, struct buf *err) MUST_USE;
/* Backwards: dscores [T, N] of dweight [P]; 0 where no pair is. */
int pass_weights_back(const int32_t *place, const float *scores, const float *dweight, int T, int N,
                      bool normalise, float *dscores, void *stream, struct buf *err) MUST_USE;

/* ---- between tokens and rows ---- */

struct pass_tokens {
    int T, N, d;          /* d: values of a token, and of a row */
    bool half;            /* they are bfloat16, else float32 */
    const int32_t *place; /* [T, N] */
};

/* rows[place[t, e]] = x[t]. x: [T, d]; rows: [P, d] */
int pass_spread(const struct pass_tokens *t, const void *x, void *rows, void *stream,
                struct buf *err) MUST_USE;
/*
 * out[t]: the sum of its rows, experts ascending, each times weight[p]; NULL: times 1. With NULL it
 * is pass_spread() backwards. rows: [P, d]; weight: [P]; out: [T, d]
 */
int pass_combine(const struct pass_tokens *t, const void *rows, const float *weight, void *out,
                 void *stream, struct buf *err) MUST_USE;

/* ---- on rows ---- */

/* act = silu(gate) * up. gate_up: [P, 2F], the gates first; act: [P, F] */
int pass_swiglu(bool half, int P, int F, const void *gate_up, void *act, void *stream,
                struct buf *err) MUST_USE;
/*
 * Backwards, where the rows that follow are weighted: dact [P, F] is what comes without the weights.
 * dgate_up: [P, 2F]; weighted: [P, F], act times its weight, NULL: not wanted; dweight: [P], the
 * product of dact and act. The function of a pair's weight is the same whether rows are multiplied
 * behind the last product, as pass_combine() does, or before it.
 */
int pass_swiglu_back(bool half, int P, int F, const void *gate_up, const float *weight,
                     const void *dact, void *dgate_up, void *weighted, float *dweight, void *stream,
                     struct buf *err) MUST_USE;

/* ---- around attention ---- */

/*
 * out = x / sqrt(mean of x^2 + eps) * weight. x: [rows, d] with `stride` values from one row to the
 * next; weight: [d]; out: [rows, d]; d up to PASS_NORM
 */
int pass_norm(bool half, int rows, int d, const void *x, int64_t stride, const void *weight,
              float eps, void *out, void *stream, struct buf *err) MUST_USE;

/* Queries and keys, of heads of D values, whose halves are turned against each other. */
struct pass_heads {
    int T, heads[2], D;      /* of the queries and of the keys; D even */
    bool half;               /* they are bfloat16, else float32 */
    bool back;               /* they are turned back */
    const void *x[2];        /* [T, heads, D], a token's heads one behind the other */
    int64_t stride[2];       /* values from one token to the next */
    void *out[2];            /* [T, heads, D] */
    const float *cos, *sin;  /* [context, D/2] */
    const int32_t *position; /* [T]; NULL: 0, 1, 2 ... */
};
int pass_rope(const struct pass_heads *r, void *stream, struct buf *err) MUST_USE;

#ifdef __cplusplus
}
#endif

#endif
