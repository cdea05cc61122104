/*
 * torch_loss.cpp: see torch_loss.h.
 */
#include "torch_loss.h"
#include "cuda/loss.h"
#include "torch_grad.h"
#include "torch_launch.h"

#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

using at::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

#ifdef SEQTOPK_CUDA
bool loss_has_kernels(const Tensor &t)
{
    const bool half = is_half(t);
    return t.is_cuda() ? half || t.scalar_type() == at::kFloat
                       : t.is_cpu() && half && step_emulated();
}

void loss_score(const Tensor &logits, const Tensor &target, Tensor nll, Tensor entropy)
{
    launched(logits, [&](void *stream, struct buf *err) {
        return gpu_loss(logits.data_ptr(), is_half(logits), static_cast<int>(logits.size(0)),
                        static_cast<int>(logits.size(1)), target.data_ptr<int64_t>(),
                        nll.data_ptr<float>(), entropy.data_ptr<float>(), stream, err);
    });
}

/* Logits become their gradients; returns the losses [n]. */
static Tensor loss_back(Tensor logits, const Tensor &target)
{
    Tensor nll = at::empty({ logits.size(0) }, logits.options().dtype(at::kFloat));
    launched(logits, [&](void *stream, struct buf *err) {
        return gpu_loss_back(logits.data_ptr(), is_half(logits), static_cast<int>(logits.size(0)),
                             static_cast<int>(logits.size(1)), target.data_ptr<int64_t>(),
                             nll.data_ptr<float>(), stream, err);
    });
    return nll;
}
#else
bool loss_has_kernels(const Tensor &)
{
    return false;
}

void loss_score(const Tensor &, const Tensor &, Tensor, Tensor)
{
    BUG("losses are to be computed by kernels that are not there");
}

static Tensor loss_back(Tensor, const Tensor &)
{
    BUG("losses are to be computed by kernels that are not there");
}
#endif

namespace
{

/* The same by ATen, by way of the logs in `wide`. */
Tensor loss_back_plain(Tensor &logits, const Tensor &target, at::ScalarType wide)
{
    Tensor to = target.unsqueeze(1), logs = at::log_softmax(logits, -1, wide);
    Tensor nll = -logs.gather(1, to).squeeze(1);
    logs.exp_().scatter_add_(1, to, at::full(to.sizes(), -1.0, logs.options()));
    logits = logs.to(logits.scalar_type());
    return nll;
}

/* Rows at a time: up to a gigabyte of logits, or of one of their copies. */
int64_t rows_at_once(const Tensor &x, int64_t V)
{
    const int64_t each = loss_has_kernels(x) ? x.element_size() : 8;
    return std::max<int64_t>((1 << 30) / (V * each), 1);
}

/* The gradient is made on the way forward, where the logits are at hand: they are never all held. */
struct nll_function : Function<nll_function> {
    static Tensor forward(AutogradContext *ctx, const Tensor &x, const Tensor &head,
                          const Tensor &target, bool trained)
    {
        const int64_t T = x.size(0), block = std::min(T, rows_at_once(x, head.size(0)));
        const at::ScalarType wide = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
        Tensor dx = at::empty(x.sizes(), x.options()), dhead;
        Tensor sum = at::zeros({}, x.options().dtype(at::kDouble));
        for (int64_t t = 0; t < T; t += block) {
            const int64_t n = std::min(block, T - t);
            Tensor rows = x.narrow(0, t, n), to = target.narrow(0, t, n),
                   dx_rows = dx.narrow(0, t, n);
            Tensor p = at::mm(rows, head.t());
            Tensor nll = loss_has_kernels(p) ? loss_back(p, to) : loss_back_plain(p, to, wide);
            sum += nll.sum(at::kDouble);
            at::mm_out(dx_rows, p, head);
            if (!trained)
                continue;
            Tensor own = at::mm(p.t(), rows);
            // Of several blocks in float32; of one, which is most often all, as it is.
            if (n == T)
                dhead = own;
            else if (t == 0)
                dhead = own.to(wide);
            else
                dhead.add_(own);
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
