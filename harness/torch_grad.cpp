/*
 * torch_grad.cpp: see torch_grad.h.
 */
#include "torch_grad.h"
#include "kernels.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <cmath>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

static bool recorded(at::TensorList tensors)
{
    bool any = false;
    for (const Tensor &t : tensors)
        any |= t.requires_grad();
    return any && at::GradMode::is_enabled();
}

bool grad_on_cpu(at::TensorList tensors)
{
    for (const Tensor &t : tensors)
        if (!t.is_cpu() || t.scalar_type() != at::kFloat)
            return false;
    return recorded(tensors);
}

static float *floats(const Tensor &t)
{
    return t.data_ptr<float>();
}

/* ---- products ---- */

/*
 * Our own, as in scoring: as fast as the best library's, and the same whichever is installed. What is
 * multiplied by is packed first, which costs little beside the product.
 */
static int64_t up(int64_t n, int64_t to)
{
    return (n + to - 1) / to * to;
}

/* Panels of w [n, k] for x * w^T, and of w^T for x * w. `w`: any stride of rows */
static void pack(const Tensor &w, Tensor &panels)
{
    kernel_pack(floats(w), w.size(0), w.stride(0), w.size(1), floats(panels));
}

static void pack_columns(const Tensor &w, Tensor &panels)
{
    kernel_pack_columns(floats(w), w.size(0), w.stride(0), w.size(1), floats(panels));
}

/* Room for the panels of a matrix of n rows or columns by k. */
static Tensor panels_for(int64_t n, int64_t k, const Tensor &like)
{
    return at::empty({ up(n, PANEL) * k }, like.options());
}

/* out [m, n] = x [m, k] * panels */
static void multiply(const Tensor &x, const Tensor &panels, Tensor &out)
{
    kernel_product(floats(x), x.size(0), x.stride(0), floats(panels), out.size(1), x.size(1),
                   floats(out));
}

/* out [n, k], or added to it, = dy [m, n]^T * panels of x's columns, x [m, k] */
static void multiply_across(const Tensor &dy, const Tensor &panels, bool add, Tensor &out)
{
    kernel_product_across(floats(dy), dy.size(1), dy.stride(0), floats(panels), out.size(1),
                          dy.size(0), add, floats(out));
}

namespace
{

struct linear_function : Function<linear_function> {
    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &weight)
    {
        ctx->save_for_backward({ x, weight });
        Tensor panels = panels_for(weight.size(0), weight.size(1), x);
        Tensor out = at::empty({ x.size(0), weight.size(0) }, x.options());
        pack(weight, panels);
        multiply(x, panels, out);
        return out;
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        auto saved = ctx->get_saved_variables();
        const Tensor &x = saved[0], &weight = saved[1], dy = grads[0].contiguous();
        Tensor dx, dw;
        if (x.requires_grad()) {
            Tensor panels = panels_for(weight.size(1), weight.size(0), x);
            dx = at::empty({ x.size(0), x.size(1) }, x.options());
            pack_columns(weight, panels);
            multiply(dy, panels, dx);
        }
        if (weight.requires_grad()) {
            Tensor panels = panels_for(x.size(1), x.size(0), x);
            dw = at::empty(weight.sizes(), weight.options());
            pack_columns(x, panels);
            multiply_across(dy, panels, false, dw);
        }
        return { dx, dw };
    }
};

} // namespace

Tensor linear_grad(const Tensor &x, const Tensor &weight)
{
    return linear_function::apply(x.stride(1) == 1 ? x : x.contiguous(), weight);
}

/* ---- norm ---- */

namespace
{

struct norm_function : Function<norm_function> {
    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &weight, double eps)
    {
        ctx->save_for_backward({ x, weight });
        ctx->saved_data["eps"] = eps;
        Tensor out = at::empty({ x.size(0), x.size(1) }, x.options());
        kernel_norm(floats(x), x.size(0), x.size(1), x.stride(0), floats(weight), eps, floats(out));
        return out;
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        auto saved = ctx->get_saved_variables();
        const Tensor &x = saved[0], &weight = saved[1];
        Tensor dy = grads[0].contiguous(), dx = at::empty(dy.sizes(), dy.options());
        Tensor dw = at::zeros(weight.sizes(), weight.options());
        kernel_norm_back(floats(x), floats(dy), x.size(0), x.size(1), x.stride(0), floats(weight),
                         ctx->saved_data["eps"].toDouble(), floats(dx), floats(dw));
        return { dx, dw, Tensor() };
    }
};

} // namespace

Tensor norm_grad(const Tensor &x, const Tensor &weight, double eps)
{
    return norm_function::apply(x.stride(1) == 1 ? x : x.contiguous(), weight, eps);
}

/* ---- attention ---- */

Tensor rotated(const Tensor &x, const sequences &s, const Tensor &cos, const Tensor &sin, int64_t D,
               float scale)
{
    Tensor out = at::empty({ x.size(0), x.size(1) }, x.options());
    for (int64_t i = 0; i < s.n; i++)
        for (int64_t t = s.start[i]; t < s.start[i + 1]; t++) {
            int64_t at = (s.past[i] + t - s.start[i]) * (D / 2);
            kernel_rope(floats(x) + t * x.stride(0), x.size(1) / D, D, floats(cos) + at,
                        floats(sin) + at, scale, floats(out) + t * out.stride(0));
        }
    return out;
}

/* The keys' blocks lie in `keys` where there is a cache, else in scratch. */
Tensor attend_rotated(const Tensor &q, const Tensor &k, const Tensor &v, const sequences &s,
                      const Tensor &keys, const Tensor &values, int64_t D)
{
    const int64_t H = q.size(1) / D, G = k.size(1) / D;
    const bool cached = keys.numel() > 0;
    Tensor out = at::empty(q.sizes(), q.options());
    int64_t longest = 0;
    for (int64_t i = 0; i < s.n; i++)
        longest = std::max(longest, s.past[i] + s.start[i + 1] - s.start[i]);
    // Tensors are aligned to 64 bytes.
    Tensor scratch = at::empty({ TILE_MAX * up(longest, PANEL) }, q.options());
    Tensor blocks = cached ? keys : at::zeros({ up(longest, PANEL) * G * D }, q.options());
    for (int64_t i = 0; i < s.n; i++) {
        const int64_t n = s.start[i + 1] - s.start[i], row = s.start[i];
        float *to = floats(blocks) + (cached ? s.slot[i] * keys.stride(0) : 0);
        const float *from = floats(v) + row * v.stride(0);
        int64_t stride = v.stride(0);
        kernel_keys(floats(k) + row * G * D, n, s.past[i], G, D, to);
        if (cached) {
            Tensor own = values.select(0, s.slot[i]);
            own.narrow(0, s.past[i], n).copy_(v.narrow(0, row, n));
            from = floats(own);
            stride = own.stride(0);
        }
        kernel_attend(floats(q) + row * H * D, n, s.past[i], H, G, D, to, from, stride,
                      floats(scratch), floats(out) + row * H * D);
    }
    return out;
}

namespace
{

/* Gradients of one head of one sequence, a block of queries after the other. */
struct head_back {
    Tensor q, k, v, out, dout; // [n, D], strided
    Tensor dq, dk, dv;         // [n, D], strided; dk and dv are added to

    void block(int64_t from, int64_t to) const
    {
        const int64_t rows = to - from, D = q.size(1);
        Tensor qi = q.narrow(0, from, rows), go = dout.narrow(0, from, rows);
        Tensor ki = k.narrow(0, 0, to), vi = v.narrow(0, 0, to);
        Tensor panels = panels_for(to, D, q), some = at::empty({ rows, D }, q.options());
        Tensor p = at::empty({ rows, to }, q.options()), dp = at::empty_like(p);
        Tensor all = at::empty({ to, D }, q.options()), own = panels_for(D, up(to, PANEL), q);
        pack(ki, panels);
        multiply(qi, panels, p);
        for (int64_t r = 0; r < rows; r++)
            kernel_softmax(floats(p) + r * to, from + r + 1, to);
        pack(vi, panels);
        multiply(go, panels, dp);
        Tensor mean = (go * out.narrow(0, from, rows)).sum(-1);
        pack_columns(go, own);
        multiply_across(p, own, false, all);
        dv.narrow(0, 0, to).add_(all);
        kernel_softmax_back(floats(p), floats(mean), rows, to, floats(dp));
        pack_columns(ki, own);
        multiply(dp, own, some);
        dq.narrow(0, from, rows).copy_(some);
        pack_columns(qi, own);
        multiply_across(dp, own, false, all);
        dk.narrow(0, 0, to).add_(all);
    }
};

struct attention_function : Function<attention_function> {
    static Tensor forward(AutogradContext *ctx, const Tensor &q, const Tensor &k, const Tensor &v,
                          const Tensor &start, const Tensor &cos, const Tensor &sin)
    {
        const int64_t D = cos.size(1) * 2, S = start.size(0) - 1;
        const std::vector<int64_t> none(static_cast<size_t>(S));
        const sequences s = { start.data_ptr<int64_t>(), none.data(), none.data(), S };
        const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(D)));
        Tensor rq = rotated(q, s, cos, sin, D, scale), rk = rotated(k, s, cos, sin, D, 1.0f);
        Tensor empty = at::empty({ 0 }, q.options());
        Tensor out = attend_rotated(rq, rk, v, s, empty, empty, D);
        ctx->save_for_backward({ rq, rk, v, out, start, cos, sin });
        return out;
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        auto saved = ctx->get_saved_variables();
        const Tensor &rq = saved[0], &rk = saved[1], &v = saved[2], &out = saved[3];
        const Tensor &cos = saved[5], back = saved[6].neg();
        const int64_t D = cos.size(1) * 2, S = saved[4].size(0) - 1;
        const int64_t H = rq.size(1) / D, G = rk.size(1) / D, block = 256;
        const std::vector<int64_t> none(static_cast<size_t>(S));
        const sequences s = { saved[4].data_ptr<int64_t>(), none.data(), none.data(), S };
        const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(D)));
        Tensor dout = grads[0].contiguous(), dq = at::empty(rq.sizes(), rq.options());
        Tensor dk = at::zeros(rk.sizes(), rk.options()), dv = at::zeros(rk.sizes(), rk.options());
        auto head = [&](const Tensor &t, int64_t h, int64_t from, int64_t n) {
            return t.narrow(0, from, n).narrow(1, h * D, D);
        };
        for (int64_t i = 0; i < S; i++)
            for (int64_t h = 0; h < H; h++) {
                const int64_t from = s.start[i], n = s.start[i + 1] - from, g = h * G / H;
                const head_back one = { head(rq, h, from, n),   head(rk, g, from, n),
                                        head(v, g, from, n),    head(out, h, from, n),
                                        head(dout, h, from, n), head(dq, h, from, n),
                                        head(dk, g, from, n),   head(dv, g, from, n) };
                for (int64_t t = 0; t < n; t += block)
                    one.block(t, std::min(t + block, n));
            }
        return { rotated(dq, s, cos, back, D, scale),
                 rotated(dk, s, cos, back, D, 1.0f),
                 dv,
                 Tensor(),
                 Tensor(),
                 Tensor() };
    }
};

} // namespace

Tensor attention_grad(const Tensor &q, const Tensor &k, const Tensor &v, const Tensor &start,
                      const Tensor &cos, const Tensor &sin)
{
    return attention_function::apply(q, k, v, start, cos, sin);
}

/* ---- experts ---- */

by_expert sort_by_expert(const Tensor &expert, int64_t N)
{
    const int64_t *e = expert.data_ptr<int64_t>(), pairs = expert.numel();
    by_expert out;
    out.begin.assign(static_cast<size_t>(N) + 1, 0);
    for (int64_t p = 0; p < pairs; p++)
        out.begin[static_cast<size_t>(e[p]) + 1]++;
    for (size_t n = 0; n < static_cast<size_t>(N); n++)
        out.begin[n + 1] += out.begin[n];
    std::vector<int64_t> next(out.begin.begin(), out.begin.end() - 1);
    out.place.resize(static_cast<size_t>(pairs));
    for (int64_t p = 0; p < pairs; p++)
        out.place[static_cast<size_t>(next[static_cast<size_t>(e[p])]++)] = p;
    return out;
}

namespace
{

/* One expert's pairs: `m` of them, from the `first` of all pairs in the experts' order. */
struct expert_rows {
    int64_t first, m;
    const int64_t *row;  // [m]: their tokens
    const float *weight; // [m]
};

/* Rows and weights of all pairs in the experts' order. */
struct sorted_pairs {
    std::vector<int64_t> row;
    std::vector<float> weight;

    sorted_pairs(const Tensor &token, const Tensor &weights, const int64_t *place)
        : row(static_cast<size_t>(token.numel())), weight(row.size())
    {
        for (size_t i = 0; i < row.size(); i++) {
            row[i] = token.data_ptr<int64_t>()[place[i]];
            weight[i] = floats(weights)[place[i]];
        }
    }

    expert_rows of(int64_t first, int64_t end) const
    {
        return { first, end - first, row.data() + first, weight.data() + first };
    }
};

Tensor tensor_of(const std::vector<int64_t> &v)
{
    Tensor t = at::empty({ static_cast<int64_t>(v.size()) }, at::kLong);
    std::copy(v.begin(), v.end(), t.data_ptr<int64_t>());
    return t;
}

/* Room for the panels of an expert's matrices, either way. */
Tensor panels_of_expert(const Tensor &x, int64_t F)
{
    return at::empty({ up(2 * F, PANEL) * up(x.size(1), PANEL) }, x.options());
}

struct experts_function : Function<experts_function> {
    /* gate_up: [N, 2F, d]; down: [N, d, F]; place: [P]; begin: [N+1] */
    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &weight,
                          const Tensor &gate_up, const Tensor &down, const Tensor &token,
                          const Tensor &place, const Tensor &begin)
    {
        const int64_t P = token.numel(), d = x.size(1), F = down.size(2), N = down.size(0);
        const int64_t *b = begin.data_ptr<int64_t>();
        const sorted_pairs pairs(token, weight, place.data_ptr<int64_t>());
        Tensor mid = at::empty({ P, 2 * F }, x.options()), act = at::empty({ P, F }, x.options());
        Tensor out = at::zeros(x.sizes(), x.options()), panels = panels_of_expert(x, F);
        for (int64_t e = 0; e < N; e++) {
            const expert_rows r = pairs.of(b[e], b[e + 1]);
            if (r.m == 0)
                continue;
            Tensor in = at::empty({ r.m, d }, x.options()), u = mid.narrow(0, r.first, r.m);
            Tensor a = act.narrow(0, r.first, r.m);
            kernel_gather(floats(x), r.row, r.m, d, floats(in));
            pack(gate_up.select(0, e), panels);
            multiply(in, panels, u);
            kernel_swiglu(floats(u), r.m, F, floats(a));
            pack(down.select(0, e), panels);
            multiply(a, panels, in);
            kernel_scatter_add(floats(in), r.row, r.weight, r.m, d, floats(out));
        }
        ctx->save_for_backward({ x, weight, gate_up, down, token, place, begin, mid, act });
        return out;
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        auto saved = ctx->get_saved_variables();
        const Tensor &x = saved[0], &weight = saved[1], &gate_up = saved[2], &down = saved[3];
        const Tensor &mid = saved[7], &act = saved[8], dout = grads[0].contiguous();
        const int64_t P = weight.numel(), d = x.size(1), F = down.size(2), N = down.size(0);
        const int64_t *b = saved[6].data_ptr<int64_t>(), *place = saved[5].data_ptr<int64_t>();
        const sorted_pairs pairs(saved[4], weight, place);
        const bool trained = gate_up.requires_grad() || down.requires_grad();
        Tensor dx = at::zeros(x.sizes(), x.options()), dw = at::empty({ P }, x.options());
        Tensor dgate_up = trained ? at::empty(gate_up.sizes(), x.options()) : Tensor();
        Tensor ddown = trained ? at::empty(down.sizes(), x.options()) : Tensor();
        std::vector<float> dweight(static_cast<size_t>(P));
        const std::vector<float> ones(static_cast<size_t>(P), 1.0f);
        Tensor panels = panels_of_expert(x, F);
        for (int64_t e = 0; e < N; e++) {
            const expert_rows r = pairs.of(b[e], b[e + 1]);
            if (r.m == 0) {
                if (trained) {
                    dgate_up.select(0, e).zero_();
                    ddown.select(0, e).zero_();
                }
                continue;
            }
            Tensor a = act.narrow(0, r.first, r.m), u = mid.narrow(0, r.first, r.m);
            Tensor g = at::empty({ r.m, d }, x.options()), du = at::empty_like(u);
            kernel_gather(floats(dout), r.row, r.m, d, floats(g));
            Tensor da = at::empty({ r.m, F }, x.options());
            pack_columns(down.select(0, e), panels);
            multiply(g, panels, da);
            kernel_dots(floats(da), floats(a), r.m, F, dweight.data() + r.first);
            kernel_swiglu_back(floats(u), floats(da), r.weight, r.m, F, floats(du));
            if (trained) {
                kernel_scale_rows(floats(g), r.weight, r.m, d);
                Tensor to = ddown.select(0, e), gu = dgate_up.select(0, e);
                Tensor own = panels_for(std::max(F, d), r.m, x);
                pack_columns(a, own);
                multiply_across(g, own, false, to);
                kernel_gather(floats(x), r.row, r.m, d, floats(g));
                pack_columns(g, own);
                multiply_across(du, own, false, gu);
            }
            pack_columns(gate_up.select(0, e), panels);
            multiply(du, panels, g);
            kernel_scatter_add(floats(g), r.row, ones.data(), r.m, d, floats(dx));
        }
        for (int64_t i = 0; i < P; i++)
            floats(dw)[place[i]] = dweight[static_cast<size_t>(i)];
        return { dx, dw, dgate_up, ddown, Tensor(), Tensor(), Tensor() };
    }
};

struct swiglu_function : Function<swiglu_function> {
    static Tensor forward(AutogradContext *ctx, const Tensor &gate_up)
    {
        Tensor out = at::empty({ gate_up.size(0), gate_up.size(1) / 2 }, gate_up.options());
        ctx->save_for_backward({ gate_up });
        kernel_swiglu(floats(gate_up), out.size(0), out.size(1), floats(out));
        return out;
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        const Tensor gate_up = ctx->get_saved_variables()[0], dout = grads[0].contiguous();
        const std::vector<float> ones(static_cast<size_t>(dout.size(0)), 1.0f);
        Tensor out = at::empty(gate_up.sizes(), gate_up.options());
        kernel_swiglu_back(floats(gate_up), floats(dout), ones.data(), dout.size(0), dout.size(1),
                           floats(out));
        return { out };
    }
};

} // namespace

Tensor experts_grad(const Tensor &x, const Tensor &weight, const Tensor &token,
                    const by_expert &order, const Tensor &gate_up, const Tensor &down)
{
    return experts_function::apply(x.contiguous(), weight.contiguous(), gate_up, down, token,
                                   tensor_of(order.place), tensor_of(order.begin));
}

Tensor swiglu_grad(const Tensor &gate_up)
{
    return swiglu_function::apply(gate_up.contiguous());
}

/* ---- loss ---- */

Tensor times_loss(const Tensor &gradient, const Tensor &loss)
{
    return gradient.defined() ? gradient * loss.to(gradient.scalar_type()) : Tensor();
}

namespace
{

/* The gradient is made on the way forward, where the logits are at hand: they are never all held. */
struct nll_function : Function<nll_function> {
    /* By our own products. Returns the sum; dhead may be undefined. */
    static double summed(const Tensor &x, const Tensor &head, const Tensor &target, Tensor &dx,
                         Tensor &dhead)
    {
        const int64_t T = x.size(0), V = head.size(0), d = head.size(1), block = 512;
        Tensor rows = panels_for(V, d, x), columns = panels_for(d, V, x);
        Tensor own = panels_for(d, block, x), logits = at::empty({ block, V }, x.options());
        double sum = 0;
        pack(head, rows);
        pack_columns(head, columns);
        for (int64_t t = 0; t < T; t += block) {
            const int64_t n = std::min(block, T - t);
            Tensor in = x.narrow(0, t, n), p = logits.narrow(0, 0, n), to = dx.narrow(0, t, n);
            multiply(in, rows, p);
            for (int64_t i = 0; i < n; i++)
                sum += static_cast<double>(
                    kernel_nll_back(floats(p) + i * V, V, target.data_ptr<int64_t>()[t + i]));
            multiply(p, columns, to);
            if (!dhead.defined())
                continue;
            pack_columns(in, own);
            multiply_across(p, own, t > 0, dhead);
        }
        return sum;
    }

    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &head,
                          const Tensor &target, bool trained)
    {
        Tensor dx = at::empty(x.sizes(), x.options());
        Tensor dhead = trained ? at::empty(head.sizes(), x.options()) : Tensor();
        double sum = summed(x, head, target, dx, dhead);
        ctx->save_for_backward({ dx, dhead });
        return at::full({}, sum, x.options());
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        auto saved = ctx->get_saved_variables();
        return { times_loss(saved[0], grads[0]), times_loss(saved[1], grads[0]), Tensor(),
                 Tensor() };
    }
};

} // namespace

Tensor nll_grad(const Tensor &x, const Tensor &head, const Tensor &target)
{
    return nll_function::apply(x.contiguous(), head, target, head.requires_grad());
}
