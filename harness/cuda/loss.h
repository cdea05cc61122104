/*
 * loss.h: what rows of logits come to, on a GPU: the loss of a target and the entropy of the
 * prediction, or the loss and its gradient in the place of the logits. Each row is read once, and a
 * second time from the cache for the gradient: no softmax is ever written to memory. Plain C.
 *
 * Pointers are the device's, `stream` is a cudaStream_t; nothing allocates or waits. Logits are
 * bfloat16 where `half`, else float32, contiguous; all arithmetic is in float32. -1: the launch
 * failed, and `err` says why. A row with a NaN or with +inf comes to NaNs; -inf is a chance of zero.
 *
 * Invariant: a row's numbers hang neither on the other rows nor on where it stands.
 * Leaves out: the products before and after, sums over rows.
 */
#ifndef LOSS_H
#define LOSS_H

#include "util.h"

#ifdef __cplusplus
extern "C" {
#endif

/* logits: [rows, V]; target: [rows], below V, negative: none -> nll (NaN without a target) and
 * entropy, nats, [rows] */
int gpu_loss(const void *logits, bool half, int rows, int V, const int64_t *target, float *nll,
             float *entropy, void *stream, struct buf *err) MUST_USE;

/* logits: [rows, V], which become softmax minus one at the target; target: [rows], none negative
 * -> nll [rows] */
int gpu_loss_back(void *logits, bool half, int rows, int V, const int64_t *target, float *nll,
                  void *stream, struct buf *err) MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
