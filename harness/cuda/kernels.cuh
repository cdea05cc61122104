/*
 * kernels.cuh: the kernels of a step, as functions that launch them, in the order of a step. Each
 * launch is on `l.stream`; failures are found by gpu_check() when all are launched.
 */
#ifndef KERNELS_CUH
#define KERNELS_CUH

#include "cuda/view.cuh"

/* Residual stream of the fed tokens. `norm`: of the first layer */
void launch_embed(const struct launch &l, const struct step_view &v, const void *embedding,
                  const void *norm);
/* v.qkv = norm(x) * qkv^T + bias */
void launch_qkv(const struct launch &l, const struct step_view &v, const struct step_layer &w);
/* Norm and rotation of queries and keys, the caches' new rows, attention: v.attended */
void launch_attend(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                   const float *cos, const float *sin);
/* x += attended * o^T; `ffn_norm` follows */
void launch_out(const struct launch &l, const struct step_view &v, const struct step_layer &w);
/* Router: v.pairs, the scores of what was taken, v.scale, the shared gate in v.logits */
void launch_choose(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                   int layer);
/* v.act, then x += the experts' weighted sum; `norm`: of what follows, the next layer or the head */
void launch_experts(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                    const void *norm);
/* The second half of it where !is_direct(); launch_experts() calls it */
void launch_down(const struct launch &l, const struct step_view &v, const struct step_layer &w,
                 const void *norm);
/* y [texts, n] = norm(x) * w^T + bias, where !is_direct() and n is RING_ROWS at least; by the two that
 * have such products */
void launch_norm_product(const struct launch &l, const struct step_view &v, const void *w,
                         const void *bias, int n, float *y);
/* v.vocabulary = norm(x) * head^T; then next, nll, entropy */
void launch_head(const struct launch &l, const struct step_view &v, const void *head);
void launch_finish(const struct launch &l, const struct step_view &v);

#endif
