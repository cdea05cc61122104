/*
 * torch_impl.h: what the files behind the C API over libtorch share: what its handles are, and
 * guarded(), which turns an exception into the scope's sticky error; nothing else catches.
 */
#ifndef TORCH_IMPL_H
#define TORCH_IMPL_H

#include "torch.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/jit/api/module.h>

#include <deque>
#include <string>

struct tensor {
    at::Tensor t;
};

struct module {
    torch::jit::Module m;
};

// Deques never move what they hold, so the pointers that were handed out stay good.
struct scope {
    bool grad;
    bool failed = false;
    std::string error;
    std::deque<tensor> tensors;
    std::deque<module> modules;
};

/* Once in the process and in each thread: see torch.h on threads. */
void torch_setup();

/* One line out of what libtorch says, without its stacks. */
std::string torch_sentence(const std::exception &e);

template <typename F> void guarded(struct scope *s, F body)
{
    if (s->failed)
        return;
    c10::AutoGradMode mode(s->grad);
    try {
        body();
    } catch (const std::exception &e) {
        s->failed = true;
        s->error = torch_sentence(e);
    } catch (...) {
        s->failed = true;
        s->error = "libtorch threw something that is no std::exception";
    }
}

/* The tensor behind a handle. NULL is what a call in a failed scope gave. */
inline const at::Tensor &of(const struct tensor *t)
{
    TORCH_CHECK(t, "a tensor is missing: an earlier step failed in another scope");
    return t->t;
}

inline struct tensor *keep(struct scope *s, at::Tensor t)
{
    s->tensors.push_back({ std::move(t) });
    return &s->tensors.back();
}

inline at::Device at_device(struct device d)
{
    if (d.kind == DEVICE_CPU)
        return at::Device(at::kCPU);
    return at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(d.index));
}

inline at::ScalarType at_dtype(enum dtype d)
{
    switch (d) {
    case DTYPE_F32:
        return at::kFloat;
    case DTYPE_BF16:
        return at::kBFloat16;
    case DTYPE_F16:
        return at::kHalf;
    case DTYPE_F64:
        return at::kDouble;
    }
    BUG("dtype %d", static_cast<int>(d));
}

#endif
