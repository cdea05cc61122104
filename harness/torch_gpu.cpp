/*
 * torch_gpu.cpp: see torch_gpu.h.
 */
#include "torch_gpu.h"
#include "torch_launch.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/version.h>

#include <algorithm>
#include <vector>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

/* ---- norms, and rotation ---- */

#ifdef SEQTOPK_CUDA
Tensor norm_gpu(const Tensor &x, const Tensor &weight, double eps)
{
    const bool recorded =
        at::GradMode::is_enabled() && (x.requires_grad() || weight.requires_grad());
    if (recorded || !has_kernels({ x, weight }) || x.dim() != 2 || x.stride(1) != 1 ||
        !weight.is_contiguous() || x.size(1) < 1 || x.size(1) > PASS_NORM)
        return Tensor();
    Tensor out = at::empty(x.sizes(), x.options());
    launched(x, [&](void *stream, struct buf *err) {
        return pass_norm(is_half(x), static_cast<int>(x.size(0)), static_cast<int>(x.size(1)),
                         x.data_ptr(), x.stride(0), weight.data_ptr(), static_cast<float>(eps),
                         out.data_ptr(), stream, err);
    });
    return out;
}

namespace
{

struct rope_by_kernels : Function<rope_by_kernels> {
    /* Of queries and keys, [T, heads*D] each -> [T, heads, D] each */
    static variable_list turned(const Tensor &q, const Tensor &k, const Tensor &position,
                                const Tensor &cos, const Tensor &sin, bool back)
    {
        const int64_t D = cos.size(1) * 2, T = q.size(0);
        Tensor rq = at::empty({ T, q.size(1) / D, D }, q.options());
        Tensor rk = at::empty({ T, k.size(1) / D, D }, k.options());
        struct pass_heads r = {};
        r.T = static_cast<int>(T), r.D = static_cast<int>(D);
        r.half = is_half(q), r.back = back;
        r.heads[0] = static_cast<int>(rq.size(1)), r.heads[1] = static_cast<int>(rk.size(1));
        r.x[0] = q.data_ptr(), r.x[1] = k.data_ptr();
        r.stride[0] = q.stride(0), r.stride[1] = k.stride(0);
        r.out[0] = rq.data_ptr(), r.out[1] = rk.data_ptr();
        r.cos = cos.data_ptr<float>(), r.sin = sin.data_ptr<float>();
        r.position = position.numel() ? position.data_ptr<int32_t>() : nullptr;
        launched(q, [&](void *stream, struct buf *err) { return pass_rope(&r, stream, err); });
        return { rq, rk };
    }

    static variable_list forward(AutogradContext *ctx, const Tensor &q, const Tensor &k,
                                 const Tensor &position, const Tensor &cos, const Tensor &sin)
    {
        ctx->save_for_backward({ position, cos, sin });
        return turned(q, k, position, cos, sin, false);
    }

    static variable_list backward(AutogradContext *ctx, variable_list grads)
    {
        auto saved = ctx->get_saved_variables();
        Tensor dq = grads[0].flatten(1).contiguous(), dk = grads[1].flatten(1).contiguous();
        variable_list out = turned(dq, dk, saved[0], saved[1], saved[2], true);
        return { out[0].flatten(1), out[1].flatten(1), Tensor(), Tensor(), Tensor() };
    }
};

} // namespace

bool rope_gpu(Tensor &q, Tensor &k, const Tensor &position, const Tensor &cos, const Tensor &sin)
{
    for (const Tensor *t : { &cos, &sin })
        if (t->scalar_type() != at::kFloat || !t->is_contiguous() || t->device() != q.device())
            return false;
    if (!has_kernels({ q, k }) || q.stride(1) != 1 || k.stride(1) != 1)
        return false;
    variable_list out = rope_by_kernels::apply(q, k, position, cos, sin);
    q = out[0];
    k = out[1];
    return true;
}
#else
Tensor norm_gpu(const Tensor &, const Tensor &, double)
{
    return Tensor();
}

bool rope_gpu(Tensor &, Tensor &, const Tensor &, const Tensor &, const Tensor &)
{
    return false;
}
#endif

/* ---- attention ---- */

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
    Tensor rq = q, rk = k;
    if (!rope_gpu(rq, rk, at, cos, sin)) {
        Tensor c = cos.index_select(0, at).unsqueeze(1).to(q.scalar_type());
        Tensor n = sin.index_select(0, at).unsqueeze(1).to(q.scalar_type());
        rq = rope_function::apply(q.reshape({ T, H, D }), c, n);
        rk = rope_function::apply(k.reshape({ T, G, D }), c, n);
    }
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
