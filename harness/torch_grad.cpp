/*
 * torch_grad.cpp: see torch_grad.h.
 */
#include "torch_grad.h"
#include "kernels.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/version.h>

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

bool grad_on_gpu(at::TensorList tensors)
{
    for (const Tensor &t : tensors)
        if (!t.is_cuda())
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
        const int64_t D = cos.size(1) * 2, S = saved[4].size(0) - 1, T = rq.size(0);
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
        (void)T;
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

/* Room for n numbers on the host, from which a GPU copies without being waited for. */
static Tensor host_ints(int64_t n)
{
    return at::empty({ n }, at::TensorOptions().dtype(at::kLong).pinned_memory(true));
}

static Tensor uploaded(const Tensor &host, at::ScalarType type, const Tensor &like)
{
    return host.to(like.device(), type, true);
}

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 6)
/* The position of each row in its own sequence, [T]. start: [S+1], on the host */
static Tensor positions(const Tensor &start, int64_t T, const Tensor &like)
{
    Tensor at = host_ints(T);
    const int64_t *s = start.data_ptr<int64_t>();
    int64_t *to = at.data_ptr<int64_t>();
    for (int64_t i = 0; i + 1 < start.size(0); i++)
        for (int64_t t = s[i]; t < s[i + 1]; t++)
            to[t] = t - s[i];
    return uploaded(at, at::kLong, like);
}

static Tensor sequence_ends(const Tensor &start, const Tensor &like)
{
    Tensor ends = host_ints(start.size(0));
    ends.copy_(start);
    return uploaded(ends, at::kLong, like).to(at::kInt);
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

/* Flash attention takes heads of a multiple of 8, up to 256. */
Tensor attention_gpu(const Tensor &q, const Tensor &k, const Tensor &v, const Tensor &start,
                     const Tensor &cos, const Tensor &sin)
{
    const int64_t D = cos.size(1) * 2, T = q.size(0), S = start.size(0) - 1;
    const int64_t H = q.size(1) / D, G = k.size(1) / D, *s = start.data_ptr<int64_t>();
    const bool half = q.scalar_type() == at::kBFloat16 || q.scalar_type() == at::kHalf;
    if (!half || D % 8 != 0 || D > 256)
        return Tensor();
    int64_t longest = 0;
    for (int64_t i = 0; i < S; i++)
        longest = std::max(longest, s[i + 1] - s[i]);
    Tensor at = positions(start, T, q), ends = sequence_ends(start, q);
    Tensor c = cos.index_select(0, at).unsqueeze(1).to(q.scalar_type());
    Tensor n = sin.index_select(0, at).unsqueeze(1).to(q.scalar_type());
    Tensor rq = rope_function::apply(q.reshape({ T, H, D }), c, n);
    Tensor rk = rope_function::apply(k.reshape({ T, G, D }), c, n);
    auto out = at::_flash_attention_forward(rq, rk, v.reshape({ T, G, D }), ends, ends, longest,
                                            longest, 0.0, true, false);
    return std::get<0>(out).reshape({ T, H * D });
}
#else
Tensor attention_gpu(const Tensor &, const Tensor &, const Tensor &, const Tensor &, const Tensor &,
                     const Tensor &)
{
    return Tensor();
}
#endif

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
    memcpy(t.data_ptr(), v.data(), v.size() * sizeof(int64_t));
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

namespace
{

/*
 * Where pairs lie once each expert's rows are padded to the most that one has, so that one product
 * does for all.
 */
struct padded_pairs {
    Tensor source; // [N * most]: the token of each row; T where it is padding
    Tensor spot;   // [P]: the row of each pair
    Tensor begin;  // [T+1]: each token's first pair
    Tensor flat;   // [P]: token * N + expert
    Tensor token;  // [P]

    /* token, expert: [P] on the host, token after token */
    padded_pairs(const Tensor &x, const Tensor &tokens, const Tensor &experts, int64_t N)
    {
        const int64_t P = tokens.numel(), T = x.size(0);
        const int64_t *t = tokens.data_ptr<int64_t>(), *e = experts.data_ptr<int64_t>();
        std::vector<int64_t> next(static_cast<size_t>(N));
        for (int64_t p = 0; p < P; p++)
            next[static_cast<size_t>(e[p])]++;
        const int64_t most = *std::max_element(next.begin(), next.end());
        Tensor host = host_ints(N * most + 3 * P + T + 1);
        int64_t *from = host.data_ptr<int64_t>(), *row = from + N * most, *pair = row + P;
        int64_t *own = pair + P, *first = own + P;
        std::fill(from, row, T);
        for (int64_t n = 0; n < N; n++)
            next[static_cast<size_t>(n)] = n * most;
        for (int64_t p = 0; p < P; p++) {
            const int64_t at = next[static_cast<size_t>(e[p])]++;
            from[at] = t[p];
            row[p] = at;
            pair[p] = t[p] * N + e[p];
            own[p] = t[p];
        }
        for (int64_t i = 0, p = 0; i <= T; i++) {
            while (p < P && t[p] < i)
                p++;
            first[i] = p;
        }
        auto parts = uploaded(host, at::kLong, x).split_with_sizes({ N * most, P, P, P, T + 1 });
        source = parts[0];
        spot = parts[1];
        flat = parts[2];
        token = parts[3];
        begin = parts[4];
    }
};

/* Padding reads a row of zeroes behind the last; sums over a token's experts are in float32. */
struct padded_function : Function<padded_function> {
    static Tensor rows(const Tensor &x, const Tensor &source)
    {
        return at::constant_pad_nd(x, { 0, 0, 0, 1 }).index_select(0, source);
    }

    static Tensor sums(const Tensor &y, const Tensor &spot, const Tensor &begin)
    {
        return std::get<0>(
            at::_embedding_bag_forward_only(y, spot, begin, false, 0, false, {}, true));
    }

    static Tensor scaled(const Tensor &y, const Tensor &weight)
    {
        Tensor out = at::empty(y.sizes(), y.options());
        at::mul_out(out, y, weight);
        return out;
    }

    /* weight: [P]; gate_up: [N, 2F, d]; down: [N, d, F] */
    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &weight,
                          const Tensor &gate_up, const Tensor &down, const Tensor &source,
                          const Tensor &spot, const Tensor &begin)
    {
        const int64_t N = down.size(0), d = down.size(1), F = down.size(2), R = source.numel();
        Tensor in = rows(x, source), w = at::zeros({ R, 1 }, weight.options());
        w.index_copy_(0, spot, weight.unsqueeze(1));
        Tensor mid = at::bmm(in.view({ N, -1, d }), gate_up.transpose(1, 2)).view({ R, 2 * F });
        Tensor act = at::silu(mid.narrow(1, 0, F)).mul_(mid.narrow(1, F, F));
        Tensor y = at::bmm(scaled(act, w).view({ N, -1, F }), down.transpose(1, 2));
        ctx->save_for_backward({ in, mid, w, gate_up, down, source, spot, begin });
        return sums(y.view({ R, d }), spot, begin);
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        auto saved = ctx->get_saved_variables();
        const Tensor &in = saved[0], &mid = saved[1], &w = saved[2], &gate_up = saved[3];
        const Tensor &down = saved[4], &spot = saved[6];
        const int64_t N = down.size(0), d = down.size(1), F = down.size(2), R = in.size(0);
        Tensor gate = mid.narrow(1, 0, F), up = mid.narrow(1, F, F), s = at::silu(gate);
        Tensor dy = rows(grads[0], saved[5]).view({ N, -1, d });
        Tensor dact = at::bmm(dy, down).view({ R, F }), act = s * up;
        Tensor dw = at::sum(dact * act, { 1 }, false, w.scalar_type());
        dact = scaled(dact, w);
        Tensor dmid = at::empty(mid.sizes(), mid.options()), dup = dmid.narrow(1, F, F);
        at::mul_out(dup, dact, s);
        dmid.narrow(1, 0, F).copy_(at::silu_backward(dact.mul_(up), gate));
        dmid = dmid.view({ N, -1, 2 * F });
        Tensor dgate_up, ddown;
        if (gate_up.requires_grad())
            dgate_up = at::bmm(dmid.transpose(1, 2), in.view({ N, -1, d }));
        if (down.requires_grad())
            ddown = at::bmm(dy.transpose(1, 2), scaled(act, w).view({ N, -1, F }));
        Tensor dx = sums(at::bmm(dmid, gate_up).view({ R, d }), spot, saved[7]);
        return { dx, dw.index_select(0, spot), dgate_up, ddown, Tensor(), Tensor(), Tensor() };
    }
};

} // namespace

Tensor experts_gpu(const Tensor &x, const Tensor &scores, const Tensor &token, const Tensor &expert,
                   const Tensor &gate_up, const Tensor &down, bool normalise)
{
    if (token.numel() == 0)
        return at::zeros(x.sizes(), x.options());
    const padded_pairs p(x, token, expert, down.size(0));
    Tensor w = scores.reshape(-1).index_select(0, p.flat);
    if (normalise) {
        Tensor sums = at::zeros({ scores.size(0) }, w.options()).index_add(0, p.token, w);
        w = w / sums.index_select(0, p.token);
    }
    return padded_function::apply(x, w, gate_up, down, p.source, p.spot, p.begin);
}

/* ---- loss ---- */

namespace
{

/* The gradient is made on the way forward, where the logits are at hand: they are never all held. */
struct nll_function : Function<nll_function> {
    /* By our own products. Returns the sum; dhead may be undefined. */
    static double forward_cpu(const Tensor &x, const Tensor &head, const Tensor &target, Tensor &dx,
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
        if (x.is_cpu()) {
            Tensor dx = at::empty(x.sizes(), x.options());
            Tensor dhead = trained ? at::empty(head.sizes(), x.options()) : Tensor();
            double sum = forward_cpu(x, head, target, dx, dhead);
            ctx->save_for_backward({ dx, dhead });
            return at::full({}, sum, x.options());
        }
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
        Tensor dhead =
            saved[1].defined() ? saved[1] * grads[0].to(saved[1].scalar_type()) : Tensor();
        return { saved[0] * grads[0].to(saved[0].scalar_type()), dhead, Tensor(), Tensor() };
    }
};

} // namespace

Tensor nll_grad(const Tensor &x, const Tensor &head, const Tensor &target)
{
    return nll_function::apply(x.contiguous(), head, target, head.requires_grad());
}
