/*
 * torch_loss.h: the loss head on a GPU: what rows of logits come to, for scoring, and the summed loss
 * with its gradient, for training. Where there are kernels (cuda/loss.h) the logits are all that is
 * ever made, in the format of the products; elsewhere ATen makes float32 copies of them. C++, for
 * torch_ops.cpp alone.
 *
 * Shapes as in torch_ops.cpp.
 */
#ifndef TORCH_LOSS_H
#define TORCH_LOSS_H

#include <ATen/ATen.h>

/* Are there kernels for logits in the format and on the device of `t`? */
bool loss_has_kernels(const at::Tensor &t);

/* By kernels, without gradients. logits: [n, V]; target: [n], negative: none -> nll, entropy: [n] */
void loss_score(const at::Tensor &logits, const at::Tensor &target, at::Tensor nll,
                at::Tensor entropy);

/* The summed loss of targets, none negative. x: [T, d]; head: [V, d]; target: [T] -> scalar */
at::Tensor nll_gpu(const at::Tensor &x, const at::Tensor &head, const at::Tensor &target);

#endif
