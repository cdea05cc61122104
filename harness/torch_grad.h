/*
 * torch_grad.h: the decoder's operators with gradients, for training: on the CPU in float32 with
 * backward passes of our own; torch_gpu.h has a GPU's. Where neither holds, torch_ops.cpp's plain
 * forms are differentiated by libtorch, and the tests hold these against those. C++, for
 * torch_ops.cpp alone.
 *
 * Shapes as in torch_ops.cpp.
 */
#ifndef TORCH_GRAD_H
#define TORCH_GRAD_H

#include <ATen/ATen.h>

#include <vector>

/* Where the sequences of a batch are, on the host: start [S+1], past and slot [S]. */
struct sequences {
    const int64_t *start, *past, *slot;
    int64_t n;
};

/* Are gradients being recorded for one of these, and all in float32 on the CPU? */
bool grad_on_cpu(at::TensorList tensors);

/* A gradient of the loss times the gradient of that, a scalar; undefined, as it is. */
at::Tensor times_loss(const at::Tensor &gradient, const at::Tensor &loss);

/* The rows of x [T, heads*D] (any stride) rotated by their position in their own sequence. */
at::Tensor rotated(const at::Tensor &x, const sequences &s, const at::Tensor &cos,
                   const at::Tensor &sin, int64_t D, float scale);
/* See attention() in torch_ops.cpp, of queries and keys that are rotated, the queries scaled. */
at::Tensor attend_rotated(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                          const sequences &s, const at::Tensor &keys, const at::Tensor &values,
                          int64_t D);

/* x * weight^T. x: [T, k]; weight: [n, k] -> [T, n] */
at::Tensor linear_grad(const at::Tensor &x, const at::Tensor &weight);

at::Tensor norm_grad(const at::Tensor &x, const at::Tensor &weight, double eps);

at::Tensor attention_grad(const at::Tensor &q, const at::Tensor &k, const at::Tensor &v,
                          const at::Tensor &start, const at::Tensor &cos, const at::Tensor &sin);

/* Pairs sorted by their expert: place [P], their numbers in the order given; begin [N+1]. */
struct by_expert {
    std::vector<int64_t> place, begin;
};
by_expert sort_by_expert(const at::Tensor &expert, int64_t N);

at::Tensor experts_grad(const at::Tensor &x, const at::Tensor &weight, const at::Tensor &token,
                        const by_expert &order, const at::Tensor &gate_up, const at::Tensor &down);

/* silu(gate) * up of [rows, 2F] -> [rows, F] */
at::Tensor swiglu_grad(const at::Tensor &gate_up);

/* The summed loss of targets, none negative. x: [T, d]; head: [V, d]; target: [T] -> scalar */
at::Tensor nll_grad(const at::Tensor &x, const at::Tensor &head, const at::Tensor &target);

#endif
