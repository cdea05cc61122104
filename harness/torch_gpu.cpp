/*
 * torch_gpu.cpp: see torch_gpu.h.
 */
#include "torch_gpu.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/version.h>

#include <algorithm>
#include <vector>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

bool grad_on_gpu(at::TensorList tensors)
{
    bool any = false;
    for (const Tensor &t : tensors) {
        if (!t.is_cuda())
            return false;
        any |= t.requires_grad();
    }
    return any && at::GradMode::is_enabled();
}

/* ---- attention ---- */

/* Room for n numbers on the host, from which a GPU copies without being waited for. */
static Tensor host_room(int64_t n, at::ScalarType type, const Tensor &for_device_of)
{
    return at::empty({ n }, at::TensorOptions().dtype(type).pinned_memory(for_device_of.is_cuda()));
}

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 6)
/* The position of each row in its own sequence, int32 [T]. start: [S+1], on the host */
static Tensor positions(const Tensor &start, int64_t T, const Tensor &like)
{
    Tensor at = host_room(T, at::kInt, like);
    const int64_t *s = start.data_ptr<int64_t>();
    int32_t *to = at.data_ptr<int32_t>();
    for (int64_t i = 0; i + 1 < start.size(0); i++)
        for (int64_t t = s[i]; t < s[i + 1]; t++)
            to[t] = static_cast<int32_t>(t - s[i]);
    return at.to(like.device(), at::kInt, true);
}

static Tensor sequence_ends(const Tensor &start, const Tensor &like)
{
    Tensor ends = host_room(start.size(0), at::kInt, like);
    ends.copy_(start);
    return ends.to(like.device(), at::kInt, true);
}

namespace
{

/* Rows turned by their positions; backwards, they are turned back. */
struct rope_function : Function<rope_function> {
    static Tensor turned(const Tensor &x, const Tensor &cos, const Tensor &sin, double sign)
    {
        const int64_t h = x.size(2) / 2;
        Tensor out = at::empty(x.sizes(), x.options());
        Tensor a = x.narrow(2, 0, h), b = x.narrow(2, h, h);
        Tensor to_a = out.narrow(2, 0, h), to_b = out.narrow(2, h, h);
        at::mul_out(to_a, a, cos);
        to_a.addcmul_(b, sin, -sign);
        at::mul_out(to_b, b, cos);
        to_b.addcmul_(a, sin, sign);
        return out;
    }

    /* x: [T, H, D]; cos, sin: [T, 1, D/2] */
    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &cos,
                          const Tensor &sin)
    {
        ctx->save_for_backward({ cos, sin });
        return turned(x, cos, sin, 1);
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        auto saved = ctx->get_saved_variables();
        return { turned(grads[0], saved[0], saved[1], -1), Tensor(), Tensor() };
    }
};

} // namespace

/* New sequences' keys and values into their places of the cache. */
static void keep(const Tensor &k, const Tensor &v, const sequences &q, Tensor keys, Tensor values)
{
    for (int64_t i = 0; i < q.n; i++) {
        const int64_t n = q.start[i + 1] - q.start[i];
        keys.select(0, q.slot[i]).narrow(0, 0, n).copy_(k.narrow(0, q.start[i], n));
        values.select(0, q.slot[i]).narrow(0, 0, n).copy_(v.narrow(0, q.start[i], n));
    }
}

/* Flash attention takes heads of a multiple of 8, up to 256. */
Tensor attention_gpu(const Tensor &q, const Tensor &k, const Tensor &v, const Tensor &start,
                     const sequences &where, const Tensor &keys, const Tensor &values,
                     const Tensor &cos, const Tensor &sin)
{
    const int64_t D = cos.size(1) * 2, T = q.size(0);
    const int64_t H = q.size(1) / D, G = k.size(1) / D;
    const bool half = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
    int64_t longest = 0, behind = 0;
    for (int64_t i = 0; i < where.n; i++) {
        longest = std::max(longest, where.start[i + 1] - where.start[i]);
        behind = std::max(behind, where.past[i]);
    }
    if (!half || D % 8 != 0 || D > 256 || behind > 0)
        return Tensor();
    Tensor at = positions(start, T, q), ends = sequence_ends(start, q);
    Tensor c = cos.index_select(0, at).unsqueeze(1).to(q.scalar_type());
    Tensor n = sin.index_select(0, at).unsqueeze(1).to(q.scalar_type());
    Tensor rq = rope_function::apply(q.reshape({ T, H, D }), c, n);
    Tensor rk = rope_function::apply(k.reshape({ T, G, D }), c, n);
    if (keys.numel() > 0)
        keep(rk.view({ T, G * D }), v, where, keys, values);
    auto out = at::_flash_attention_forward(rq, rk, v.reshape({ T, G, D }), ends, ends, longest,
                                            longest, 0.0, true, false);
    return std::get<0>(out).reshape({ T, H * D });
}
#else
Tensor attention_gpu(const Tensor &, const Tensor &, const Tensor &, const Tensor &,
                     const sequences &, const Tensor &, const Tensor &, const Tensor &,
                     const Tensor &)
{
    return Tensor();
}
#endif
/* ---- experts ---- */

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

    /* Each expert's rows of x times its matrix. x: [P, k]; w: [N, k, n] -> [P, n] */
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

} // namespace

static Tensor experts_sorted(const Tensor &x, const Tensor &scores, const Tensor &source,
                             const Tensor &begin, const Tensor &gate_up, const Tensor &down,
                             bool normalise)
{
    if (source.numel() == 0)
        return at::zeros(x.sizes(), x.options());
    Tensor ends = begin.narrow(0, 1, begin.numel() - 1).contiguous();
    const pair_rows p(source, ends, x.size(0));
    return experts_function::apply(x.contiguous(), weights_of(scores, p.flat, normalise), gate_up,
                                   down, source, ends, p.rows, p.first);
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

/* ---- loss ---- */

namespace
{

/* The gradient is made on the way forward, where the logits are at hand: they are never all held. */
struct nll_function : Function<nll_function> {
    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &head,
                          const Tensor &target, bool trained)
    {
        const int64_t T = x.size(0), block = 8192;
        Tensor dx = at::empty(x.sizes(), x.options());
        const at::ScalarType wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
        Tensor dhead = trained ? at::zeros(head.sizes(), x.options().dtype(wide)) : Tensor();
        Tensor sum = at::zeros({}, x.options().dtype(at::kDouble));
        for (int64_t t = 0; t < T; t += block) {
            const int64_t n = std::min(block, T - t);
            Tensor rows = x.narrow(0, t, n), to = target.narrow(0, t, n);
            Tensor p = at::mm(rows, head.t());
            Tensor logs = at::log_softmax(p, -1, wide);
            sum -= logs.gather(1, to.unsqueeze(1)).sum(at::kDouble);
            p = logs.exp_().scatter_add_(1, to.unsqueeze(1),
                                         at::full({ n, 1 }, -1.0, logs.options()));
            p = p.to(x.scalar_type());
            dx.narrow(0, t, n).copy_(at::mm(p, head));
            if (trained && x.scalar_type() == wide)
                dhead.addmm_(p.t(), rows);
            else if (trained)
                dhead.add_(at::mm(p.t(), rows));
        }
        ctx->save_for_backward({ dx, trained ? dhead.to(head.scalar_type()) : dhead });
        return sum.to(wide);
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        auto saved = ctx->get_saved_variables();
        return { times_loss(saved[0], grads[0]), times_loss(saved[1], grads[0]), Tensor(),
                 Tensor() };
    }
};

} // namespace

Tensor nll_gpu(const Tensor &x, const Tensor &head, const Tensor &target)
{
    return nll_function::apply(x.contiguous(), head, target, head.requires_grad());
}
