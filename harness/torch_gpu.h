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

/*
 * norm() of torch_ops.cpp by a kernel of our own, which reads rows where they lie; undefined: there is
 * none for this, or gradients are recorded.
 */
at::Tensor norm_gpu(const at::Tensor &x, const at::Tensor &weight, double eps);

/*
 * Queries [T, H*D] and keys [T, G*D], rows of any stride, become [T, H, D] and [T, G, D], rotated by
 * one kernel, with gradients. position: int32 [T] on their device, or empty: 0, 1, 2 ...
 * cos, sin: [context, D/2]. false: there is no kernel for this, and nothing has changed.
 */
bool rope_gpu(at::Tensor &q, at::Tensor &k, const at::Tensor &position, const at::Tensor &cos,
              const at::Tensor &sin);

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
 * order of its experts, in float32. What stands around the products are kernels of our own where the
 * program has them, which multiply by the weights behind the last product, in float32. Where the
 * libtorch cannot group (before 2.10, or not bfloat16) the experts follow one another, with one wait
 * for the GPU.
 */
at::Tensor experts_gpu(const at::Tensor &x, const at::Tensor &scores, const at::Tensor &token,
                       const at::Tensor &expert, const at::Tensor &gate_up, const at::Tensor &down,
                       bool normalise);

/* silu(gate) * up by one kernel, with gradients. gate_up: [T, 2F] -> [T, F]; undefined: there is none */
at::Tensor swiglu_gpu(const at::Tensor &gate_up);

#endif
