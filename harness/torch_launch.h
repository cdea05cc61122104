/*
 * torch_launch.h: how libtorch's operators launch the kernels of harness/cuda/: on which tensors they
 * can work, on which stream, and a launch that failed as an exception, which guarded() catches.
 * C++, for torch_gpu.cpp, torch_experts.cpp, torch_loss.cpp and torch_adam8.cpp.
 */
#ifndef TORCH_LAUNCH_H
#define TORCH_LAUNCH_H

#include "cuda/pass.h"
#include "cuda/step.h"
#include "torch_impl.h"

/*
 * Have these tensors kernels: all in the same format, which is bfloat16 or float32, and on a GPU?
 * Those of the CPU have where kernels are emulated. SEQTOPK_GPU_KERNELS=0: none have, ATen works.
 */
inline bool has_kernels(at::TensorList tensors)
{
#ifdef SEQTOPK_CUDA
    const char *wanted = getenv("SEQTOPK_GPU_KERNELS");
    if (wanted && strcmp(wanted, "0") == 0)
        return false;
    for (const at::Tensor &t : tensors) {
        const at::ScalarType type = t.scalar_type();
        if (type != tensors[0].scalar_type() || t.device() != tensors[0].device() ||
            (type != at::kBFloat16 && type != at::kFloat) ||
            !(t.is_cuda() || (t.is_cpu() && step_emulated())))
            return false;
    }
    return true;
#else
    (void)tensors;
    return false;
#endif
}

inline bool is_half(const at::Tensor &t)
{
    return t.scalar_type() == at::kBFloat16;
}

/* Room for n numbers on the host, from which a GPU copies without being waited for. */
inline at::Tensor host_room(int64_t n, at::ScalarType type, const at::Tensor &for_device_of)
{
    return at::empty({ n }, at::TensorOptions().dtype(type).pinned_memory(for_device_of.is_cuda()));
}

/* The stream that libtorch works on in this thread, on the device of `t`. */
inline void *stream_of(const at::Tensor &t)
{
    if (t.is_cuda())
        return device_stream({ DEVICE_CUDA, static_cast<int>(t.get_device()) });
    return nullptr;
}

/* launch(stream, err) is one of pass.h's or loss.h's functions. */
template <typename F> void launched(const at::Tensor &on, F launch)
{
    struct buf err = BUF_INIT;
    const int rc = launch(stream_of(on), &err);
    const std::string sentence = rc ? err.s : "";
    buf_release(&err);
    TORCH_CHECK(rc == 0, sentence);
}

#endif
