/*
 * adam8.h: a step of AdamW whose averages have eight bits a number (torch_adam8.h says how they lie
 * and what a step is), on a GPU, in one pass over memory: gradient, weights, codes and scales are
 * read once, weights, codes and scales written once. Plain C.
 *
 * Pointers are the device's, `stream` is a cudaStream_t; nothing allocates or waits. All arithmetic
 * is in float32. Weights and gradients may begin anywhere; where all begin at multiples of 16 bytes
 * they are read and written in eights, which comes to the same bits.
 *
 * Codes are rounded at random, up or down with the chances that make the mean right. What is drawn
 * hangs on the seed and on the element's number i in this call alone: number i / 2 + 1 of
 * SplitMix64 (splitmix.h) from the state `seed`, its lower 32 bits for an even i, else its upper
 * ones. The lowest 23 of these are the mean's chance; with their halves exchanged, they are the
 * square's.
 *
 * A block with a NaN, or with an infinite number, has that as its scale; what its codes are then is
 * not said, and the numbers behind them are NaN or infinite.
 *
 * Invariant: a block's numbers hang on nothing outside of it, save the seed and its place. What
 * stands behind the last number of the last block is zero before and after.
 * Leaves out: the gradient's norm, rounding to the nearest code (torch_adam8.h).
 */
#ifndef ADAM8_H
#define ADAM8_H

#include "util.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { GPU_ADAM8_BLOCK = 256 };

struct gpu_adam8 {
    int64_t n;
    float *weights;       /* [n]; NULL: they are in halves */
    uint16_t *high;       /* [n], bfloat16 */
    int16_t *low;         /* [n]: what the upper halves lack */
    const void *gradient; /* [n]; NULL: zeros */
    bool half;            /* the gradient is bfloat16, else float32 */
    int8_t *means;        /* [n rounded up to whole blocks], at a multiple of 8 bytes */
    uint8_t *squares;     /* as means */
    float *mean_scales, *square_scales; /* one a block */
    double lr, beta1, beta2, weight_decay;
    double scale; /* of the gradient */
    int64_t step; /* from 1 */
    uint64_t seed;
};

/* -1: the launch failed, and `err` says why. */
int gpu_adam8_step(const struct gpu_adam8 *a, void *stream, struct buf *err) MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
