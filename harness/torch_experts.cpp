/*
 * torch_experts.cpp: the experts of pairs that lie sorted, see experts_gpu() in torch_gpu.h: grouped
 * products, and around them the kernels of cuda/pass.h, or ATen's where there are none.
 *
 * By kernels, rows of pairs [P, n] have room for some more behind them (torch_memory.h), R in all:
 * libtorch has then another tensor's memory for them. Nothing reads what lies there.
 *
 * Invariant: what a gradient needs and is made from the pairs alone is made again in the backward
 * pass: of a layer the tokens, the gates' product and lists of numbers are kept, no rows of tokens.
 */
#include "torch_gpu.h"
#include "torch_launch.h"
#include "torch_memory.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/version.h>

#include <algorithm>
#include <cmath>
#include <vector>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

/* ---- products ---- */

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 10)
/*
 * One kernel for all experts: in bfloat16, with rows of a multiple of 16 bytes, and up to 1023 of them.
 * It does not wait for the GPU; before Hopper it falls back to a loop of libtorch's own, which does.
 */
static bool groups(const Tensor &a, const Tensor &b, int64_t N)
{
    for (const Tensor *t : { &a, &b }) {
        if (!t->is_cuda() || t->scalar_type() != at::kBFloat16 ||
            reinterpret_cast<uintptr_t>(t->data_ptr()) % 16 != 0)
            return false;
        for (int64_t i = 0; i < t->dim(); i++)
            if (t->stride(i) != 1 && t->stride(i) % 8 != 0)
                return false;
    }
    return N < 1024 && a.size(0) > 1 && a.size(1) > 1;
}

static Tensor grouped(const Tensor &a, const Tensor &b, const Tensor &ends)
{
    return at::_grouped_mm(a, b, ends);
}
#else
static bool groups(const Tensor &, const Tensor &, int64_t)
{
    return false;
}

static Tensor grouped(const Tensor &, const Tensor &, const Tensor &)
{
    TORCH_CHECK(false, "this libtorch has no grouped products");
}
#endif

namespace
{

/* Where each expert's rows are, on the device, and once it is asked for on the host as well. */
struct expert_ends {
    Tensor ends; // int32 [N]: behind each expert's last row
    std::vector<int64_t> begin;

    explicit expert_ends(const Tensor &t) : ends(t)
    {
    }

    /* [N+1] */
    const std::vector<int64_t> &host()
    {
        if (begin.empty()) {
            Tensor own = ends.to(at::kCPU);
            begin.assign(1, 0);
            begin.insert(begin.end(), own.data_ptr<int32_t>(),
                         own.data_ptr<int32_t>() + own.numel());
        }
        return begin;
    }

    /* Each expert's rows of x times its matrix. x: [P, k], or [R, k]; w: [N, k, n] -> as many */
    Tensor product(const Tensor &x, const Tensor &w)
    {
        if (groups(x, w, w.size(0)))
            return grouped(x, w, ends);
        Tensor out = at::empty({ x.size(0), w.size(2) }, x.options());
        for (int64_t e = 0; e < w.size(0); e++) {
            const int64_t from = host()[static_cast<size_t>(e)];
            const int64_t n = host()[static_cast<size_t>(e) + 1] - from;
            Tensor to = out.narrow(0, from, n);
            if (n)
                at::mm_out(to, x.narrow(0, from, n), w.select(0, e));
        }
        return out;
    }

    /* Each expert's rows of a across those of b. a: [P, m]; b: [P, n] -> [N, m, n] */
    Tensor across(const Tensor &a, const Tensor &b)
    {
        const int64_t N = ends.numel();
        if (groups(a, b, N))
            return grouped(a.t(), b, ends);
        Tensor out = at::empty({ N, a.size(1), b.size(1) }, a.options());
        for (int64_t e = 0; e < N; e++) {
            const int64_t from = host()[static_cast<size_t>(e)];
            const int64_t n = host()[static_cast<size_t>(e) + 1] - from;
            Tensor to = out.select(0, e);
            if (n)
                at::mm_out(to, a.narrow(0, from, n).t(), b.narrow(0, from, n));
            else
                to.zero_();
        }
        return out;
    }
};

/* ---- by ATen ---- */

/* The sums of each token's rows, in their order. y: [P, d]; rows, first: see pair_rows -> [T, d] */
Tensor token_sums(const Tensor &y, const Tensor &rows, const Tensor &first)
{
    if (y.is_cpu() && y.scalar_type() == at::kBFloat16) // which there are no such sums of
        return token_sums(y.to(at::kFloat), rows, first).to(at::kBFloat16);
    return std::get<0>(at::_embedding_bag_forward_only(y, rows, first, false, 0, false, {}, true));
}

/* In y's dtype, computed in that of the weights. y: [P, F]; w: [P] */
Tensor scaled(const Tensor &y, const Tensor &w)
{
    Tensor out = at::empty(y.sizes(), y.options());
    return at::mul_out(out, y, w.unsqueeze(1));
}

struct experts_function : Function<experts_function> {
    /* x: [T, d]; w: [P]; gate_up: [N, 2F, d]; down: [N, d, F]; source, rows: [P]; first: [T+1] */
    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &w,
                          const Tensor &gate_up, const Tensor &down, const Tensor &source,
                          const Tensor &ends, const Tensor &rows, const Tensor &first)
    {
        const int64_t F = down.size(2);
        expert_ends experts(ends);
        Tensor mid = experts.product(x.index_select(0, source), gate_up.transpose(1, 2));
        Tensor act = at::silu(mid.narrow(1, 0, F)).mul_(mid.narrow(1, F, F));
        act = scaled(act, w);
        ctx->save_for_backward({ x, mid, w, gate_up, down, source, ends, rows, first });
        return token_sums(experts.product(act, down.transpose(1, 2)), rows, first);
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        auto saved = ctx->get_saved_variables();
        const Tensor &mid = saved[1], &w = saved[2], &gate_up = saved[3], &down = saved[4];
        const Tensor &source = saved[5], &rows = saved[7];
        const int64_t F = down.size(2);
        expert_ends experts(saved[6]);
        Tensor gate = mid.narrow(1, 0, F), up = mid.narrow(1, F, F), s = at::silu(gate);
        Tensor dy = grads[0].contiguous().index_select(0, source), dx, dgate_up, ddown;
        Tensor dact = experts.product(dy, down), act = s * up;
        Tensor dw = at::sum(dact * act, { 1 }, false, w.scalar_type());
        if (down.requires_grad())
            ddown = experts.across(dy, scaled(act, w));
        dact = scaled(dact, w);
        dy = act = Tensor();
        Tensor dmid = at::empty(mid.sizes(), mid.options()), dup = dmid.narrow(1, F, F);
        at::mul_out(dup, dact, s);
        dmid.narrow(1, 0, F).copy_(at::silu_backward(dact.mul_(up), gate));
        if (gate_up.requires_grad())
            dgate_up = experts.across(dmid, saved[0].index_select(0, source));
        if (saved[0].requires_grad())
            dx = token_sums(experts.product(dmid, gate_up), rows, saved[8]);
        return { dx, dw, dgate_up, ddown, Tensor(), Tensor(), Tensor(), Tensor() };
    }
};

/* What follows from pairs that are sorted by expert, and within one by token; all int32. */
struct pair_rows {
    Tensor flat;  // [P]: token * N + expert
    Tensor rows;  // [P]: the rows of the pairs, token after token
    Tensor first; // [T+1]: each token's first of these

    pair_rows(const Tensor &source, const Tensor &ends, int64_t T)
    {
        auto options = source.options();
        Tensor at = at::arange(source.numel(), options);
        Tensor expert = at::searchsorted(ends, at, true, true);
        flat = (source * ends.numel()).add_(expert);
        auto sorted = at::sort(source, true, 0, false);
        rows = std::get<1>(sorted).to(at::kInt);
        first = at::searchsorted(std::get<0>(sorted), at::arange(T + 1, options), true, false);
    }
};

/* The pairs' weights in float32, sums over a token in the order of the experts. scores: [T, N] */
Tensor weights_of(const Tensor &scores, const Tensor &flat, bool normalise)
{
    Tensor w = scores;
    if (normalise) {
        Tensor taken = at::zeros({ scores.numel() }, scores.options());
        taken.index_fill_(0, flat.to(at::kLong), 1);
        w = scores * taken.view(scores.sizes());
        Tensor sums = w.sum(1, true);
        w = w / sums.masked_fill(sums == 0, 1);
    }
    return w.reshape(-1).index_select(0, flat);
}

#ifdef SEQTOPK_CUDA

/* ---- by kernels ---- */

int size_of(const Tensor &t, int64_t dim)
{
    return static_cast<int>(t.size(dim));
}

/* Room for P rows [R, n], or for P numbers [R] where n is 0. */
Tensor room_for(int64_t P, int64_t n, const at::TensorOptions &options)
{
    const int64_t R = memory_rows(P);
    Tensor rows = n ? at::empty({ R, n }, options) : at::empty({ R }, options);
    // Where kernels are emulated, who reads what lies behind is seen.
    if (rows.is_cpu())
        rows.narrow(0, P, R - P).fill_(NAN);
    return rows;
}

struct pass_tokens tokens_of(const Tensor &place, const Tensor &rows)
{
    return { size_of(place, 0), size_of(place, 1), size_of(rows, 1), is_half(rows),
             place.data_ptr<int32_t>() };
}

/* source: [P]; ends: [N] -> [T, N] */
Tensor places(const Tensor &source, const Tensor &ends, int64_t T)
{
    Tensor place = at::empty({ T, ends.numel() }, source.options());
    launched(source, [&](void *stream, struct buf *err) {
        return pass_place(source.data_ptr<int32_t>(), ends.data_ptr<int32_t>(), size_of(source, 0),
                          size_of(place, 0), size_of(place, 1), place.data_ptr<int32_t>(), stream,
                          err);
    });
    return place;
}

/* scores: [T, N] -> [R] */
Tensor weights_at(const Tensor &place, const Tensor &scores, int64_t P, bool normalise)
{
    Tensor weight = room_for(P, 0, scores.options());
    launched(scores, [&](void *stream, struct buf *err) {
        return pass_weights(place.data_ptr<int32_t>(), scores.data_ptr<float>(), size_of(place, 0),
                            size_of(place, 1), normalise, weight.data_ptr<float>(), stream, err);
    });
    return weight;
}

Tensor weights_back(const Tensor &place, const Tensor &scores, const Tensor &dweight,
                    bool normalise)
{
    Tensor out = at::empty(scores.sizes(), scores.options());
    launched(scores, [&](void *stream, struct buf *err) {
        return pass_weights_back(place.data_ptr<int32_t>(), scores.data_ptr<float>(),
                                 dweight.data_ptr<float>(), size_of(place, 0), size_of(place, 1),
                                 normalise, out.data_ptr<float>(), stream, err);
    });
    return out;
}

/* x: [T, d] -> [R, d] */
Tensor spread(const Tensor &x, const Tensor &place, int64_t P)
{
    Tensor rows = room_for(P, x.size(1), x.options());
    const struct pass_tokens t = tokens_of(place, x);
    launched(x, [&](void *stream, struct buf *err) {
        return pass_spread(&t, x.data_ptr(), rows.data_ptr(), stream, err);
    });
    return rows;
}

/* rows: [R, d]; weight: [R], or undefined: 1 -> [T, d] */
Tensor combine(const Tensor &rows, const Tensor &place, const Tensor &weight)
{
    Tensor out = at::empty({ place.size(0), rows.size(1) }, rows.options());
    const struct pass_tokens t = tokens_of(place, rows);
    const float *w = weight.defined() ? weight.data_ptr<float>() : nullptr;
    launched(rows, [&](void *stream, struct buf *err) {
        return pass_combine(&t, rows.data_ptr(), w, out.data_ptr(), stream, err);
    });
    return out;
}

/* gate_up: [R, 2F] -> [R, F] */
Tensor swiglu(const Tensor &gate_up, int64_t P)
{
    Tensor act = room_for(P, gate_up.size(1) / 2, gate_up.options());
    launched(gate_up, [&](void *stream, struct buf *err) {
        return pass_swiglu(is_half(act), static_cast<int>(P), size_of(act, 1), gate_up.data_ptr(),
                           act.data_ptr(), stream, err);
    });
    return act;
}

/* See pass_swiglu_back(). */
struct swiglu_gradients {
    Tensor gate_up, weighted, weight;

    swiglu_gradients(const Tensor &of, const Tensor &w, const Tensor &dact, int64_t P,
                     bool wants_weighted)
        : gate_up(room_for(P, of.size(1), of.options())),
          weighted(wants_weighted ? room_for(P, dact.size(1), dact.options()) : Tensor()),
          weight(room_for(P, 0, w.options()))
    {
        launched(of, [&](void *stream, struct buf *err) {
            return pass_swiglu_back(is_half(of), static_cast<int>(P), size_of(dact, 1),
                                    of.data_ptr(), w.data_ptr<float>(), dact.data_ptr(),
                                    gate_up.data_ptr(),
                                    wants_weighted ? weighted.data_ptr() : nullptr,
                                    weight.data_ptr<float>(), stream, err);
        });
    }
};

struct swiglu_by_kernels : Function<swiglu_by_kernels> {
    static Tensor forward(AutogradContext *ctx, const Tensor &gate_up)
    {
        ctx->save_for_backward({ gate_up });
        return swiglu(gate_up, gate_up.size(0)).narrow(0, 0, gate_up.size(0));
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        const Tensor gate_up = ctx->get_saved_variables()[0];
        const int64_t T = gate_up.size(0);
        Tensor ones = at::ones({ T }, gate_up.options().dtype(at::kFloat));
        return {
            swiglu_gradients(gate_up, ones, grads[0].contiguous(), T, false).gate_up.narrow(0, 0, T)
        };
    }
};

struct experts_by_kernels : Function<experts_by_kernels> {
    /* x: [T, d]; scores: [T, N]; gate_up: [N, 2F, d]; down: [N, d, F]; source: [P]; ends: [N] */
    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &scores,
                          const Tensor &gate_up, const Tensor &down, const Tensor &source,
                          const Tensor &ends, bool normalise)
    {
        const int64_t P = source.numel();
        expert_ends experts(ends);
        Tensor place = places(source, ends, x.size(0));
        Tensor weight = weights_at(place, scores, P, normalise);
        Tensor mid = experts.product(spread(x, place, P), gate_up.transpose(1, 2));
        ctx->saved_data["normalise"] = normalise;
        ctx->saved_data["pairs"] = P;
        ctx->save_for_backward({ x, scores, mid, weight, gate_up, down, place, ends });
        return combine(experts.product(swiglu(mid, P), down.transpose(1, 2)), place, weight);
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        auto saved = ctx->get_saved_variables();
        const Tensor &x = saved[0], &scores = saved[1], &mid = saved[2], &weight = saved[3];
        const Tensor &gate_up = saved[4], &down = saved[5], &place = saved[6];
        const int64_t P = ctx->saved_data["pairs"].toInt();
        expert_ends experts(saved[7]);
        Tensor rows = spread(grads[0].contiguous(), place, P), dx, dscores, dgate_up, ddown;
        const swiglu_gradients back(mid, weight, experts.product(rows, down), P,
                                    down.requires_grad());
        if (down.requires_grad())
            ddown = experts.across(rows.narrow(0, 0, P), back.weighted.narrow(0, 0, P));
        rows = Tensor();
        if (gate_up.requires_grad())
            dgate_up =
                experts.across(back.gate_up.narrow(0, 0, P), spread(x, place, P).narrow(0, 0, P));
        if (x.requires_grad())
            dx = combine(experts.product(back.gate_up, gate_up), place, Tensor());
        if (scores.requires_grad())
            dscores =
                weights_back(place, scores, back.weight, ctx->saved_data["normalise"].toBool());
        return { dx, dscores, dgate_up, ddown, Tensor(), Tensor(), Tensor() };
    }
};

#endif

} // namespace

static Tensor experts_sorted(const Tensor &x, const Tensor &scores, const Tensor &source,
                             const Tensor &begin, const Tensor &gate_up, const Tensor &down,
                             bool normalise)
{
    if (source.numel() == 0)
        return at::zeros(x.sizes(), x.options());
    Tensor ends = begin.narrow(0, 1, begin.numel() - 1).contiguous();
#ifdef SEQTOPK_CUDA
    if (has_kernels({ x, gate_up, down }) && scores.scalar_type() == at::kFloat &&
        ends.numel() <= PASS_EXPERTS)
        return experts_by_kernels::apply(x.contiguous(), scores.contiguous(), gate_up, down, source,
                                         ends, normalise);
#endif
    const pair_rows p(source, ends, x.size(0));
    return experts_function::apply(x.contiguous(), weights_of(scores, p.flat, normalise), gate_up,
                                   down, source, ends, p.rows, p.first);
}

Tensor swiglu_gpu(const Tensor &gate_up)
{
#ifdef SEQTOPK_CUDA
    if (has_kernels({ gate_up }) && gate_up.size(0) > 0)
        return swiglu_by_kernels::apply(gate_up.contiguous());
#else
    (void)gate_up;
#endif
    return Tensor();
}

Tensor experts_gpu(const Tensor &x, const Tensor &scores, const Tensor &token, const Tensor &expert,
                   const Tensor &gate_up, const Tensor &down, bool normalise)
{
    const int64_t P = token.numel(), N = down.size(0);
    if (token.scalar_type() == at::kInt) // sorted already
        return experts_sorted(x, scores, token, expert, gate_up, down, normalise);
    const int64_t *t = token.data_ptr<int64_t>(), *e = expert.data_ptr<int64_t>();
    Tensor host = host_room(P + N + 1, at::kInt, x);
    int32_t *source = host.data_ptr<int32_t>(), *begin = source + P;
    std::fill(begin, begin + N + 1, 0);
    for (int64_t p = 0; p < P; p++)
        begin[e[p] + 1]++;
    for (int64_t n = 0; n < N; n++)
        begin[n + 1] += begin[n];
    std::vector<int32_t> next(begin, begin + N);
    for (int64_t p = 0; p < P; p++)
        source[next[static_cast<size_t>(e[p])]++] = static_cast<int32_t>(t[p]);
    auto parts = host.to(x.device(), at::kInt, true).split_with_sizes({ P, N + 1 });
    return experts_sorted(x, scores, parts[0], parts[1], gate_up, down, normalise);
}
