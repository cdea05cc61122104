/*
 * torch_gpu.h: the decoder's operators on a GPU: few large operations instead of many small ones,
 * with gradients where they are recorded and without. Where one of these does not take what it is
 * given, torch_ops.cpp has plain forms. C++, for torch_ops.cpp alone.
 *
 * Shapes as in torch_ops.cpp.
 */
#ifndef TORCH_GPU_H
#define TORCH_GPU_H

#include "torch_grad.h"

#include <ATen/ATen.h>

/* Are gradients being recorded for one of these, and all on a GPU? */
bool grad_on_gpu(at::TensorList tensors);

/*
 * See attention() in torch_ops.cpp; queries and keys are not yet rotated. Flash attention, all
 * sequences at once, in bfloat16 and float16 where nothing lies behind any of them and the libtorch
 * can; else undefined. With gradients there is no cache.
 */
at::Tensor attention_gpu(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                         const at::Tensor &start, const sequences &where, const at::Tensor &keys,
                         const at::Tensor &values, const at::Tensor &cos, const at::Tensor &sin);

/*
 * See experts() in torch_ops.cpp. token, expert: pairs on the host, token after token. Or, in
 * int32 and on the device of x, which here may be any, sorted by expert, and within an expert by
 * token: the token of each row and, [N+1], where each expert's rows begin.
 *
 * Pairs lie sorted by expert, so that each of the products is one for all experts (grouped), and the
 * gradients' likewise; what it costs hangs on the number of pairs. A token's rows are summed in the
 * order of its experts, in float32. Where the libtorch cannot group (before 2.10, or not bfloat16)
 * the experts follow one another, with one wait for the GPU.
 */
at::Tensor experts_gpu(const at::Tensor &x, const at::Tensor &scores, const at::Tensor &token,
                       const at::Tensor &expert, const at::Tensor &gate_up, const at::Tensor &down,
                       bool normalise);
/* The summed loss of targets, none negative. x: [T, d]; head: [V, d]; target: [T] -> scalar */
at::Tensor nll_gpu(const at::Tensor &x, const at::Tensor &head, const at::Tensor &target);

#endif
