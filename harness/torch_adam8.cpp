/*
 * torch_adam8.cpp: see torch_adam8.h.
 */
#include "torch_adam8.h"
#include "cuda/adam8.h"
#include "torch_launch.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <cmath>

using at::Tensor;

/* What is smaller counts as nothing: a scale has all of its digits. */
static constexpr double SMALLEST = 1e-30;

int64_t adam8_room(int64_t n)
{
    return (n + ADAM8_BLOCK - 1) / ADAM8_BLOCK * ADAM8_BLOCK;
}

adam8_average adam8_new(int64_t room, bool squares, const at::TensorOptions &options)
{
    return { at::zeros({ room }, options.dtype(squares ? at::kByte : at::kChar)),
             at::zeros({ room / ADAM8_BLOCK }, options.dtype(at::kFloat)) };
}

adam8_average adam8_part(const adam8_average &a, int64_t offset, int64_t n)
{
    const int64_t room = adam8_room(n);
    return { a.codes.narrow(0, offset, room),
             a.scales.narrow(0, offset / ADAM8_BLOCK, room / ADAM8_BLOCK) };
}

static double levels_of(const adam8_average &a)
{
    return a.codes.scalar_type() == at::kByte ? 255 : 127;
}

/* (codes / levels)^3, where `codes` is float32. */
static Tensor cubes(const Tensor &codes, double levels)
{
    Tensor x = codes / levels;
    return x.square().mul_(x);
}

Tensor adam8_load(const adam8_average &a, int64_t n)
{
    Tensor x = cubes(a.codes.to(at::kFloat).view({ -1, ADAM8_BLOCK }), levels_of(a));
    return x.mul_(a.scales.unsqueeze(1)).view({ -1 }).narrow(0, 0, n);
}

/* The codes of magnitudes x, 0 to 1, as float32. */
static Tensor codes_of(const Tensor &x, double levels, at::Generator *generator)
{
    Tensor code = x.pow(1.0 / 3).mul_(levels);
    if (!generator)
        return code.round_();
    code.floor_().clamp_max_(levels - 1);
    Tensor below = cubes(code, levels), step = cubes(code + 1, levels).sub_(below);
    Tensor chance = at::empty_like(x).uniform_(0, 1, *generator);
    return code.add_(chance.lt(below.neg_().add_(x).div_(step)));
}

void adam8_store(const adam8_average &a, const Tensor &values, at::Generator *generator)
{
    const bool squares = a.codes.scalar_type() == at::kByte;
    Tensor x = at::constant_pad_nd(values, { 0, a.codes.numel() - values.numel() });
    x = x.view({ -1, ADAM8_BLOCK });
    Tensor size = x.abs(), scale = size.amax(1, true);
    Tensor code = codes_of(size.div_(scale.clamp_min(SMALLEST)), levels_of(a), generator);
    if (squares)
        code.clamp_min_(1).mul_(size.gt(0));
    else
        code.mul_(x.sign());
    a.scales.copy_((scale * scale.ge(SMALLEST)).view({ -1 }));
    a.codes.copy_(code.view({ -1 }));
}

/* ---- halves ---- */

Tensor halves_join(const Tensor &high, const Tensor &low)
{
    Tensor bits = high.view(at::kShort).to(at::kInt).mul_(65536);
    return bits.add_(low).view(at::kFloat);
}

void halves_split(const Tensor &values, const Tensor &high, const Tensor &low)
{
    // The lower half is signed, so that the upper one is the nearest bfloat16: of two the one away
    // from zero.
    Tensor bits = values.view(at::kInt);
    Tensor upper = at::bitwise_right_shift(bits + 0x8000, 16);
    high.view(at::kShort).copy_(upper);
    low.copy_(bits - upper * 65536);
}

/* ---- a step ---- */

at::Generator adam8_chance(at::Device device, uint64_t seed)
{
    if (device.is_cpu())
        return at::make_generator<at::CPUGeneratorImpl>(seed);
    at::Generator own = at::globalContext().defaultGenerator(device).clone();
    own.set_current_seed(seed);
    return own;
}

void adam8_step(const Tensor &weights, const Tensor &gradient, const adam8_average &means,
                const adam8_average &squares, const adam8_how &how, at::Generator &generator)
{
    const int64_t n = weights.numel();
    const double step = static_cast<double>(how.step);
    const double mean_part = 1 - std::pow(how.beta1, step);
    const double square_part = 1 - std::pow(how.beta2, step);
    Tensor g = how.scale == 1 ? gradient : gradient * how.scale;
    Tensor m = adam8_load(means, n).mul_(how.beta1).add_(g, 1 - how.beta1);
    Tensor v = adam8_load(squares, n).mul_(how.beta2).addcmul_(g, g, 1 - how.beta2);
    Tensor by = v.sqrt().div_(std::sqrt(square_part)).add_(1e-8);
    weights.mul_(1 - how.lr * how.weight_decay).addcdiv_(m, by, -how.lr / mean_part);
    adam8_store(means, m, &generator);
    adam8_store(squares, v, &generator);
}

/* ---- the same by one kernel ---- */

bool adam8_has_kernel(const adam8_weights &weights)
{
    return has_kernels({ weights.all.defined() ? weights.all : weights.high });
}

#ifdef SEQTOPK_CUDA
static_assert(static_cast<int64_t>(GPU_ADAM8_BLOCK) == ADAM8_BLOCK, "blocks of one size");

/* Where a tensor of one run lies; NULL where there is none. */
template <typename T> static T *place(const Tensor &t)
{
    TORCH_CHECK(!t.defined() || t.is_contiguous(), "a run of adamw8bit with gaps");
    return t.defined() ? static_cast<T *>(t.data_ptr()) : nullptr;
}

void adam8_step_by_kernel(const adam8_weights &weights, const Tensor &gradient,
                          const adam8_average &means, const adam8_average &squares,
                          const adam8_how &how, uint64_t seed)
{
    const Tensor &w = weights.all.defined() ? weights.all : weights.high;
    TORCH_CHECK(!gradient.defined() ||
                    (gradient.numel() == w.numel() &&
                     (is_half(gradient) || gradient.scalar_type() == at::kFloat)),
                "adamw8bit takes gradients in bfloat16 or float32");
    struct gpu_adam8 a = {};
    a.n = w.numel();
    a.weights = place<float>(weights.all);
    a.high = place<uint16_t>(weights.high);
    a.low = place<int16_t>(weights.low);
    a.gradient = place<void>(gradient);
    a.half = gradient.defined() && is_half(gradient);
    a.means = place<int8_t>(means.codes);
    a.squares = place<uint8_t>(squares.codes);
    a.mean_scales = place<float>(means.scales);
    a.square_scales = place<float>(squares.scales);
    a.lr = how.lr, a.beta1 = how.beta1, a.beta2 = how.beta2;
    a.weight_decay = how.weight_decay;
    a.scale = how.scale;
    a.step = how.step;
    a.seed = seed;
    launched(w, [&](void *stream, struct buf *err) { return gpu_adam8_step(&a, stream, err); });
}
#else
void adam8_step_by_kernel(const adam8_weights &, const Tensor &, const adam8_average &,
                          const adam8_average &, const adam8_how &, uint64_t)
{
    BUG("a step of adamw8bit by a kernel that is not there");
}
#endif
