/*
 * torch_ops.cpp: the operators that the decoder's TorchScript calls as seqtopk.NAME.
 *
 * Each has two forms: plain ATen operations, which run on any device, in any dtype and under
 * autograd, and a fast one by kernels.c for float32 on the CPU without gradients. A product takes the
 * fast one where its weight is packed (tensor_pack), the rest where fast() says so. The tests hold
 * the two against each other.
 *
 * Shapes: T tokens of all sequences end to end, d hidden, H heads and G key/value heads of D,
 * N experts of F, P selected pairs, V vocabulary. No padding: `start` [S+1] says where each
 * sequence begins; it stays on the host, as do `past`, `slot` and `keep`.
 */
#include "kernels.h"
#include "torch_gpu.h"
#include "torch_grad.h"
#include "torch_loss.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <torch/library.h>
#include <torch/version.h>

#include <tuple>
#include <vector>

namespace
{

using at::Tensor;

bool fast(at::TensorList tensors)
{
    for (const Tensor &t : tensors)
        if (!t.is_cpu() || t.scalar_type() != at::kFloat ||
            (at::GradMode::is_enabled() && t.requires_grad()))
            return false;
    return true;
}

/*
 * x * weight^T. A packed weight, [n / PANEL rounded up, k, PANEL], is multiplied by our own kernel,
 * whose rows do not hang on each other; see kernels.h.
 * x: [T, k]; weight: [n, k] or packed -> [T, n]
 */
Tensor project(const Tensor &x, const Tensor &weight, int64_t n)
{
    if (weight.dim() == 2 && grad_on_cpu({ x, weight }))
        return linear_grad(x, weight);
    if (weight.dim() == 2)
        return at::linear(x, weight);
    Tensor out = at::empty({ x.size(0), n }, x.options()),
           rows = x.stride(1) == 1 ? x : x.contiguous();
    kernel_product(rows.data_ptr<float>(), x.size(0), rows.stride(0), weight.data_ptr<float>(), n,
                   x.size(1), out.data_ptr<float>());
    return out;
}

/*
 * The same plus bias [n], or [0]: there is none. A GPU's product adds it before it rounds, in its own
 * pass over memory.
 */
Tensor project_bias(const Tensor &x, const Tensor &weight, const Tensor &bias, int64_t n)
{
    if (bias.numel() == 0)
        return project(x, weight, n);
    if (x.is_cuda() && weight.dim() == 2)
        return at::linear(x, weight, bias);
    return project(x, weight, n) + bias;
}

/* Numbers that decide much are computed in float32, and in float64 where all is. */
at::ScalarType wide(const Tensor &x)
{
    return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

/* Root mean square norm over the last dimension, computed in float32. x: [T, d], weight: [d] */
Tensor norm(const Tensor &x, const Tensor &weight, double eps)
{
    if (fast({ x, weight }) && x.dim() == 2 && x.stride(1) == 1) {
        Tensor out = at::empty(x.sizes(), x.options());
        kernel_norm(x.data_ptr<float>(), x.size(0), x.size(1), x.stride(0),
                    weight.data_ptr<float>(), eps, out.data_ptr<float>());
        return out;
    }
    if (grad_on_cpu({ x, weight }) && x.dim() == 2)
        return norm_grad(x, weight, eps);
    if (Tensor y = norm_gpu(x, weight, eps); y.defined())
        return y;
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 9)
    if (x.is_cuda() && x.scalar_type() != at::kDouble)
        return at::rms_norm(x, { x.size(-1) }, weight, eps);
#endif
    Tensor y = x.to(wide(x));
    y = y * at::rsqrt(y.pow(2).mean(-1, true) + eps);
    return weight * y.to(x.scalar_type());
}

/*
 * The router's logits, and their softmax over the experts, in float32 at least.
 * x: [T, d]; weight: [N, d] or packed
 */
std::tuple<Tensor, Tensor> router(const Tensor &x, const Tensor &weight, int64_t N)
{
    Tensor logits = project(x.to(wide(x)), weight.to(wide(weight)), N);
    return std::make_tuple(at::softmax(logits, -1), logits);
}

/* Rotary positions. x: [T, H, D]; cos, sin: [T, D/2] */
Tensor rope(const Tensor &x, const Tensor &cos, const Tensor &sin)
{
    Tensor c = cos.unsqueeze(1).to(x.scalar_type()), s = sin.unsqueeze(1).to(x.scalar_type());
    auto half = x.chunk(2, -1);
    return at::cat({ half[0] * c - half[1] * s, half[1] * c + half[0] * s }, -1);
}

Tensor attention_fast(const Tensor &q, const Tensor &k, const Tensor &v, const sequences &s,
                      const Tensor &keys, const Tensor &values, const Tensor &cos,
                      const Tensor &sin)
{
    const int64_t D = cos.size(1) * 2;
    const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(D)));
    return attend_rotated(rotated(q, s, cos, sin, D, scale), rotated(k, s, cos, sin, D, 1.0f), v, s,
                          keys, values, D);
}

/* One sequence of n new tokens behind `past` others, whose keys and values come first in k and v.
 * q: [n, H, D]; k, v: [past + n, G, D], keys rotated -> [n, H*D] */
Tensor attend_sequence(const Tensor &q, const Tensor &k, const Tensor &v, int64_t past)
{
    const int64_t n = q.size(0), H = q.size(1), D = q.size(2), G = k.size(1);
    const double scale = 1.0 / std::sqrt(static_cast<double>(D));
    Tensor ki = k.transpose(0, 1).repeat_interleave(H / G, 0);
    Tensor vi = v.transpose(0, 1).repeat_interleave(H / G, 0);
    Tensor hidden = at::ones({ n, past + n }, q.options().dtype(at::kBool)).triu(past + 1);
    Tensor scores = at::matmul(q.transpose(0, 1), ki.transpose(1, 2)) * scale;
    scores = scores.masked_fill(hidden, -std::numeric_limits<double>::infinity());
    Tensor p = at::softmax(scores, -1, wide(q)).to(q.scalar_type());
    return at::matmul(p, vi).transpose(0, 1).reshape({ n, H * D });
}

/*
 * Causal attention of each sequence's new tokens on themselves and on what came before, rotary
 * positions included. Sequence i has past[i] tokens in place slot[i] of the cache, and its new ones
 * are put there too. An empty cache: every sequence is new, and nothing is kept.
 * q: [T, H*D]; k, v: [T, G*D]; start: [S+1]; past, slot: [S]; keys, values: [slots, capacity, G*D]
 * or empty (the fast form keeps its keys in another order there); cos, sin: [context, D/2]
 * -> [T, H*D]
 */
Tensor attention(const Tensor &q, const Tensor &k, const Tensor &v, const Tensor &start,
                 const Tensor &past, const Tensor &slot, Tensor keys, Tensor values,
                 const Tensor &cos, const Tensor &sin)
{
    const int64_t *at = start.data_ptr<int64_t>(), sequences = start.size(0) - 1;
    const int64_t *before = past.data_ptr<int64_t>(), *place = slot.data_ptr<int64_t>();
    const int64_t D = cos.size(1) * 2, H = q.size(1) / D, G = k.size(1) / D;
    if (fast({ q, k, v, keys, values, cos, sin }))
        return attention_fast(q, k, v, { at, before, place, sequences }, keys, values, cos, sin);
    // Under training nothing lies behind, and nothing is kept.
    if (keys.numel() == 0 && grad_on_cpu({ q, k, v }))
        return attention_grad(q, k, v, start, cos, sin);
    Tensor out;
    if (q.is_cuda())
        out =
            attention_gpu(q, k, v, start, { at, before, place, sequences }, keys, values, cos, sin);
    if (out.defined())
        return out;
    const Tensor in_order = at::empty({ 0 }, q.options().dtype(at::kInt));
    std::vector<Tensor> outs;
    for (int64_t i = 0; i < sequences; i++) {
        int64_t n = at[i + 1] - at[i];
        Tensor c = cos.narrow(0, before[i], n), s = sin.narrow(0, before[i], n);
        Tensor qi = q.narrow(0, at[i], n), ki = k.narrow(0, at[i], n);
        if (!rope_gpu(qi, ki, in_order, c, s)) {
            qi = rope(qi.view({ n, H, D }), c, s);
            ki = rope(ki.view({ n, G, D }), c, s);
        }
        Tensor vi = v.narrow(0, at[i], n).view({ n, G, D });
        if (keys.numel() > 0) {
            Tensor own_k = keys.select(0, place[i]), own_v = values.select(0, place[i]);
            own_k.narrow(0, before[i], n).copy_(ki.reshape({ n, G * D }));
            own_v.narrow(0, before[i], n).copy_(vi.reshape({ n, G * D }));
            ki = own_k.narrow(0, 0, before[i] + n).view({ -1, G, D });
            vi = own_v.narrow(0, 0, before[i] + n).view({ -1, G, D });
        }
        outs.push_back(attend_sequence(qi, ki, vi, before[i]));
    }
    return at::cat(outs, 0);
}

/* The weight of each selected pair, [P]: its score, divided by its token's sum where `normalise`. */
Tensor pair_weights(const Tensor &scores, const Tensor &token, const Tensor &expert, bool normalise)
{
    Tensor w = scores.reshape(-1).index_select(0, token * scores.size(1) + expert);
    if (!normalise)
        return w;
    Tensor sums = at::zeros({ scores.size(0) }, w.options()).index_add(0, token, w);
    return w / sums.index_select(0, token);
}

/* gate_up: [N, panels, d, PANEL]; down: [N, panels, F, PANEL] */
void experts_fast(const Tensor &x, const Tensor &weight, const Tensor &token,
                  const by_expert &order, const Tensor &gate_up, const Tensor &down, Tensor &out)
{
    const std::vector<int64_t> &place = order.place, &begin = order.begin;
    const int64_t d = x.size(1), F = down.size(2);
    int64_t most = 0;
    for (size_t e = 0; e + 1 < begin.size(); e++)
        most = std::max(most, begin[e + 1] - begin[e]);
    Tensor in = at::empty({ most, d }, x.options()), mid = at::empty({ most, 2 * F }, x.options());
    Tensor act = at::empty({ most, F }, x.options());
    float *a = in.data_ptr<float>(), *b = mid.data_ptr<float>(), *c = act.data_ptr<float>();
    std::vector<int64_t> row(static_cast<size_t>(most));
    std::vector<float> w(static_cast<size_t>(most));
    for (size_t e = 0; e + 1 < begin.size(); e++) {
        const int64_t m = begin[e + 1] - begin[e], n = static_cast<int64_t>(e);
        for (int64_t i = 0; i < m; i++) {
            int64_t p = place[static_cast<size_t>(begin[e] + i)];
            row[static_cast<size_t>(i)] = token.data_ptr<int64_t>()[p];
            w[static_cast<size_t>(i)] = weight.data_ptr<float>()[p];
        }
        kernel_gather(x.data_ptr<float>(), row.data(), m, d, a);
        kernel_product(a, m, d, gate_up.data_ptr<float>() + n * gate_up.stride(0), 2 * F, d, b);
        kernel_swiglu(b, m, F, c);
        kernel_product(c, m, F, down.data_ptr<float>() + n * down.stride(0), d, F, a);
        kernel_scatter_add(a, row.data(), w.data(), m, d, out.data_ptr<float>());
    }
}

/*
 * The sum of the selected experts' outputs, weighted.
 * x: [T, d]; scores: [T, N]; token, expert: [P], on the host, token after token (or sorted on the
 * device, see torch_gpu.h); gate_up: [N, 2F, d]; down: [N, d, F], or both packed -> [T, d]
 */
Tensor experts(const Tensor &x, const Tensor &scores, const Tensor &token, const Tensor &expert,
               const Tensor &gate_up, const Tensor &down, bool normalise)
{
    if (x.is_cuda() || token.scalar_type() == at::kInt)
        return experts_gpu(x, scores, token, expert, gate_up, down, normalise);
    const by_expert sorted = sort_by_expert(expert, gate_up.size(0));
    const std::vector<int64_t> &place = sorted.place, &begin = sorted.begin;
    Tensor weight = pair_weights(scores, token, expert, normalise);
    Tensor out = at::zeros(x.sizes(), x.options());
    if (gate_up.dim() == 4) {
        experts_fast(x.contiguous(), weight, token, sorted, gate_up, down, out);
        return out;
    }
    if (grad_on_cpu({ x, weight, gate_up, down }))
        return experts_grad(x, weight, token, sorted, gate_up, down);
    Tensor order = at::tensor(place, at::kLong);
    for (size_t e = 0; e + 1 < begin.size(); e++) {
        const int64_t m = begin[e + 1] - begin[e], n = static_cast<int64_t>(e);
        if (m == 0)
            continue;
        Tensor pairs = order.narrow(0, begin[e], m), rows = token.index_select(0, pairs);
        Tensor mid = at::linear(x.index_select(0, rows), gate_up.select(0, n));
        auto half = mid.chunk(2, -1);
        Tensor y = at::linear(at::silu(half[0]) * half[1], down.select(0, n));
        y = y * weight.index_select(0, pairs).to(y.scalar_type()).unsqueeze(1);
        out = out.index_add(0, rows, y);
    }
    return out;
}

/*
 * A shared expert behind its gate: sigmoid(x * gate^T) * (silu(x * G^T) * (x * U^T)) * down^T, with
 * G and U one below the other in gate_up.
 * x: [T, d]; gate_up: [2F, d]; down: [d, F]; gate: [1, d], or all packed -> [T, d]
 */
Tensor shared_expert(const Tensor &x, const Tensor &gate_up, const Tensor &down, const Tensor &gate)
{
    const int64_t T = x.size(0), F = down.size(1);
    Tensor mid = project(x, gate_up, 2 * F), open = project(x, gate, 1);
    if (gate_up.dim() == 3) {
        Tensor act = at::empty({ T, F }, x.options());
        kernel_swiglu(mid.data_ptr<float>(), T, F, act.data_ptr<float>());
        Tensor out = project(act, down, x.size(1));
        kernel_gate(open.data_ptr<float>(), T, out.size(1), out.data_ptr<float>());
        return out;
    }
    if (grad_on_cpu({ mid, down }))
        return at::sigmoid(open) * linear_grad(swiglu_grad(mid), down);
    Tensor act = swiglu_gpu(mid);
    if (!act.defined()) {
        auto half = mid.chunk(2, -1);
        act = at::silu(half[0]) * half[1];
    }
    return at::sigmoid(open) * at::linear(act, down);
}

/* Loss and entropy of each row of logits, see score(). logits: [n, V]; target: [n] -> [n], [n] */
std::tuple<Tensor, Tensor> losses(const Tensor &logits, const Tensor &target)
{
    if (loss_has_kernels(logits) && !(at::GradMode::is_enabled() && logits.requires_grad())) {
        Tensor nll = at::empty({ logits.size(0) }, logits.options().dtype(at::kFloat));
        Tensor entropy = at::empty_like(nll);
        loss_score(logits, target, nll, entropy);
        return std::make_tuple(nll, entropy);
    }
    Tensor p = at::log_softmax(logits, -1, at::kFloat);
    Tensor nll = -p.gather(1, target.clamp_min(0).unsqueeze(1)).squeeze(1);
    nll = nll.masked_fill(target < 0, std::numeric_limits<double>::quiet_NaN());
    return std::make_tuple(nll, -p.exp().mul_(p).sum(-1));
}

/* As many rows as make a quarter of a gigabyte of logits, or of a copy, on a GPU: all blocks alike. */
int64_t score_rows(const Tensor &x, int64_t V)
{
    if (!x.is_cuda())
        return 144;
    const int64_t each = loss_has_kernels(x) ? x.element_size() : 4;
    const int64_t many = std::max<int64_t>((1 << 28) / (V * each), 144);
    const int64_t blocks = std::max<int64_t>((x.size(0) + many - 1) / many, 1);
    return std::max<int64_t>((x.size(0) + blocks - 1) / blocks, 1);
}

/*
 * Loss of each target (NaN where it is negative) and entropy of each prediction, nats, without
 * ever holding the logits of all tokens; and the logits of the rows in `keep`, ascending.
 * x: [T, d]; head: [V, d] or packed; target: [T]; keep: [n] -> [T], [T], float32 [n, V]
 */
std::tuple<Tensor, Tensor, Tensor> score(const Tensor &x, const Tensor &head, const Tensor &target,
                                         const Tensor &keep, int64_t V)
{
    const int64_t T = x.size(0), block = score_rows(x, V), *kept = keep.data_ptr<int64_t>();
    const int64_t *const end = kept + keep.numel();
    Tensor logits = at::empty({ keep.numel(), V }, x.options().dtype(at::kFloat));
    Tensor nll = at::empty({ T }, logits.options()), entropy = at::empty({ T }, logits.options());
    int64_t row = 0;
    for (int64_t t = 0; t < T; t += block) {
        const int64_t n = std::min(block, T - t);
        Tensor rows = project(x.narrow(0, t, n), head, V);
        if (head.dim() == 3) {
            for (int64_t i = 0; i < n; i++)
                kernel_score(rows.data_ptr<float>() + i * V, V, target.data_ptr<int64_t>()[t + i],
                             nll.data_ptr<float>() + t + i, entropy.data_ptr<float>() + t + i);
        } else {
            auto found = losses(rows, target.narrow(0, t, n));
            nll.narrow(0, t, n).copy_(std::get<0>(found));
            entropy.narrow(0, t, n).copy_(std::get<1>(found));
        }
        for (; kept < end && *kept < t + n; kept++)
            logits.select(0, row++).copy_(rows.select(0, *kept - t));
    }
    return std::make_tuple(nll, entropy, logits);
}

/*
 * The summed loss, nats, for training. x: [T, d]; head: [V, d]; target: [T], none negative -> scalar
 */
Tensor nll(const Tensor &x, const Tensor &head, const Tensor &target)
{
    if (x.size(0) > 0 && grad_on_cpu({ x, head }))
        return nll_grad(x, head, target);
    const bool recorded = at::GradMode::is_enabled() && (x.requires_grad() || head.requires_grad());
    if (x.size(0) > 0 && recorded && (x.is_cuda() || loss_has_kernels(x)))
        return nll_gpu(x, head, target);
    Tensor p = at::log_softmax(at::linear(x, head), -1, wide(x));
    return -p.gather(1, target.unsqueeze(1)).sum();
}

/*
 * What training adds to the loss in each layer: that experts are used alike, by the share of all
 * pairs that each has, and that logits stay small. scores, logits: [T, N]; share: [N]
 */
std::tuple<Tensor, Tensor> aux(const Tensor &scores, const Tensor &logits, const Tensor &share)
{
    Tensor balance = (scores.mean(0) * share).sum() * scores.size(1);
    return std::make_tuple(balance, at::logsumexp(logits, -1).square().mean());
}

} // namespace

TORCH_LIBRARY(seqtopk, m)
{
    m.def("linear(Tensor x, Tensor weight, int n) -> Tensor", project);
    m.def("linear_bias(Tensor x, Tensor weight, Tensor bias, int n) -> Tensor", project_bias);
    m.def("norm(Tensor x, Tensor weight, float eps) -> Tensor", norm);
    m.def("router(Tensor x, Tensor weight, int n) -> (Tensor, Tensor)", router);
    m.def("attention(Tensor q, Tensor k, Tensor v, Tensor start, Tensor past, Tensor slot, "
          "Tensor(a!) keys, Tensor(b!) values, Tensor cos, Tensor sin) -> Tensor",
          attention);
    m.def("experts(Tensor x, Tensor scores, Tensor token, Tensor expert, Tensor gate_up, "
          "Tensor down, bool normalise) -> Tensor",
          experts);
    m.def("shared_expert(Tensor x, Tensor gate_up, Tensor down, Tensor gate) -> Tensor",
          shared_expert);
    m.def("score(Tensor x, Tensor head, Tensor target, Tensor keep, int vocab) -> "
          "(Tensor, Tensor, Tensor)",
          score);
    m.def("nll(Tensor x, Tensor head, Tensor target) -> Tensor", nll);
    m.def("aux(Tensor scores, Tensor logits, Tensor share) -> (Tensor, Tensor)", aux);
}
