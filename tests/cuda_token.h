/*
 * cuda_token.h: what tests need beside the program's kernels: route_token() as a decoding kernel
 * calls it, and a sort that times are held against.
 */
#ifndef CUDA_TOKEN_H
#define CUDA_TOKEN_H

#include "routers/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The next token of each of B texts, a block of `threads` a text: scores [B, N], taken [B, N],
 * count [B], states `stride` bytes apart (0 bytes: none), all on the device.
 */
int cuda_token_step(const struct gpu_router *r, int B, int threads, const float *scores,
                    uint8_t *taken, int32_t *count, void *states, size_t stride,
                    struct buf *err) MUST_USE;

/*
 * The radix sort that comes with CUDA (cub), for a GPU alone: n scores, the largest first, each with
 * a value. All on the device; memory: cuda_sort_bytes(); scores, sorted, values, order: [n]
 */
size_t cuda_sort_bytes(int n);
int cuda_sort(void *memory, size_t bytes, const float *scores, float *sorted, const int32_t *values,
              int32_t *order, int n, struct buf *err) MUST_USE;

#ifdef __cplusplus
}
#endif

#endif
