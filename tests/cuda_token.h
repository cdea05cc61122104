/*
 * cuda_token.h: kernels that tests need beside those of the program: route_token() as a decoding
 * kernel calls it.
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

#ifdef __cplusplus
}
#endif

#endif
