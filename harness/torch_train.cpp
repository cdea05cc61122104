/*
 * torch_train.cpp: see torch_train.h.
 *
 * A run is cut into chunks, small enough that the ten or more passes of AdamW over one find it in the
 * cache. The chunks are dealt out to PARTS optimisers, whose parameters they are, and the optimisers
 * to threads. Only libtorch's AdamW on a GPU takes all at once, and so has its gradient in one run.
 *
 * With 8 bits the averages lie in blocks: a chunk's begin behind those of the chunk before, and but for
 * a parameter's last one chunks are whole blocks, so that its averages have no gaps. Where the
 * arithmetic is in bfloat16 the weights are in halves, and arithmetic reads the upper one.
 */
#include "torch_train.h"
#include "splitmix.h"
#include "torch_adam8.h"
#include "torch_gradients.h"
#include "torch_impl.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/optim/adamw.h>
#include <torch/version.h>

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 9)
#include <c10/core/CachingDeviceAllocator.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/csrc/autograd/variable.h>
#define KNOWS_PEAK
#define HAS_HOOKS
#endif
#include <c10/core/impl/VirtualGuardImpl.h>

#include <malloc.h>

#include <cmath>
#include <climits>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace
{

using at::Tensor;
using torch::optim::AdamW;
using torch::optim::AdamWOptions;
using torch::optim::AdamWParamState;

constexpr int64_t CPU_CHUNK = 32768, GPU_CHUNK = 1 << 21; // whole blocks of averages
constexpr size_t PARTS = 8;
constexpr int RUNS = 4;

struct chunk {
    int64_t offset, size;
    size_t leaf;     // whose part it is; of a GPU's libtorch's, which are joined, the last one
    int64_t average; // where its averages begin, with 8 bits
    bool decays;
    double norm2; // of the gradient, squared
};

#if TORCH_VERSION_MAJOR < 2
std::string state_key(const Tensor &t)
{
    return c10::guts::to_string(t.unsafeGetTensorImpl());
}
#else
void *state_key(const Tensor &t)
{
    return t.unsafeGetTensorImpl();
}
#endif

} // namespace

struct adamw {
    adamw_setup setup;
    Tensor run[RUNS];  // float32; undefined where other members stand for it
    Tensor arithmetic; // the weights in the arithmetic's dtype, where it is another
    Tensor low;        // the lower halves of the weights, whose upper ones are the arithmetic's
    adam8_average averages[2];
    std::vector<gradients> slots;
    gradients step;                   // the sum of what was added
    std::mutex alone;                 // who adds to `step` from a slot
    std::vector<c10::Stream> streams; // of the slots, on a GPU
    std::vector<Tensor> leaves;       // that have gradients
    std::vector<int64_t> offsets;
    std::vector<chunk> chunks;
    std::unique_ptr<AdamW> parts[PARTS];
    std::vector<Tensor> params; // libtorch's, the weights of each chunk
    bool prepared = false;
    int64_t steps = 0;
    bool added = false;
};

namespace
{

/* Runs `body` as a scope's calls run; -1 with its sentence. */
template <typename F> int checked(struct buf *err, F body)
{
    torch_setup();
    struct scope s = {};
    guarded(&s, body);
    return s.failed ? fail(err, "%s", s.error.c_str()) : 0;
}

/* body(i) for i from 0 to n - 1, shared among the threads; the first exception is thrown again. */
template <typename F> void parallel(int threads, size_t n, F body)
{
    std::vector<std::thread> others;
    std::vector<std::exception_ptr> thrown(static_cast<size_t>(threads));
    auto work = [&](size_t first) {
        try {
            torch_setup();
            c10::AutoGradMode mode(false);
            for (size_t i = first; i < n; i += static_cast<size_t>(threads))
                body(i);
        } catch (...) {
            thrown[first] = std::current_exception();
        }
    };
    for (size_t t = 1; t < static_cast<size_t>(threads); t++)
        others.emplace_back(work, t);
    work(0);
    for (std::thread &t : others)
        t.join();
    for (const std::exception_ptr &e : thrown)
        if (e)
            std::rethrow_exception(e);
}

/* One stream of work is enough for a GPU. */
int threads_of(const struct adamw *a)
{
    return a->setup.device.kind == DEVICE_CPU ? a->setup.slots : 1;
}

/* A GPU does all its work at once; on the CPU a chunk shall stay in the cache. */
bool on_gpu(const struct adamw *a)
{
    return a->setup.device.kind != DEVICE_CPU;
}

/* Waits for what this thread asked of the GPU: other threads do not know of it. */
void finish(const struct adamw *a)
{
    if (on_gpu(a))
        c10::impl::VirtualGuardImpl(at::kCUDA).getStream(at_device(a->setup.device)).synchronize();
}

bool eight_bits(const struct adamw *a)
{
    return a->setup.optimiser == OPTIMISER_ADAMW8BIT;
}

/* Does what slots get go straight into the step's gradient? */
bool direct(const struct adamw *a)
{
#ifdef HAS_HOOKS
    return eight_bits(a) && on_gpu(a);
#else
    (void)a;
    return false;
#endif
}

Tensor part(const Tensor &run, const chunk &c)
{
    return run.narrow(0, c.offset, c.size);
}

/* Does libtorch's AdamW take all at once? */
bool whole(const struct adamw *a)
{
    return on_gpu(a) && !eight_bits(a);
}

at::TensorOptions floats_of(const struct adamw *a)
{
    return at::TensorOptions().dtype(at::kFloat).device(at_device(a->setup.device));
}

/* The step's gradient of a chunk, bfloat16 or float32; undefined where none came. */
Tensor gradient_as_it_is(const struct adamw *a, const chunk &c)
{
    Tensor all = a->step.get(c.leaf);
    if (!all.defined())
        return all;
    all = all.narrow(0, c.offset - a->offsets[c.leaf], c.size);
    return all.scalar_type() == at::kBFloat16 ? all : all.to(at::kFloat);
}

/* The same in float32; zeros where none came. */
Tensor gradient_of(const struct adamw *a, const chunk &c)
{
    if (whole(a))
        return part(a->run[ADAMW_GRADIENT], c);
    Tensor g = gradient_as_it_is(a, c);
    return g.defined() ? g.to(at::kFloat) : at::zeros({ c.size }, floats_of(a));
}

/* The step's gradient in one run. */
void gather(struct adamw *a, double scale)
{
    Tensor &run = a->run[ADAMW_GRADIENT];
    if (!run.defined())
        run = at::zeros({ a->setup.count }, floats_of(a));
    for (size_t i = 0; i < a->leaves.size(); i++) {
        Tensor place = run.narrow(0, a->offsets[i], a->leaves[i].numel()), from = a->step.get(i);
        if (from.defined())
            place.copy_(from);
        else
            place.zero_();
    }
    if (scale != 1)
        run.mul_(scale);
}

/* libtorch's optimisers, whose parameters are the chunks. */
void make_parts(struct adamw *a)
{
    for (const chunk &c : a->chunks)
        a->params.push_back(part(a->run[ADAMW_WEIGHTS], c));
    for (size_t p = 0; p < PARTS; p++) {
        std::vector<Tensor> group[2];
        for (size_t i = p; i < a->chunks.size(); i += PARTS)
            group[a->chunks[i].decays].push_back(a->params[i]);
        std::vector<torch::optim::OptimizerParamGroup> groups;
        for (int decays = 0; decays < 2; decays++) {
            AdamWOptions options(0);
            options.betas(std::make_tuple(a->setup.beta1, a->setup.beta2));
            options.eps(1e-8).weight_decay(decays ? a->setup.weight_decay : 0);
            groups.emplace_back(group[decays], std::make_unique<AdamWOptions>(options));
        }
        a->parts[p] = std::make_unique<AdamW>(groups);
        for (size_t i = p; i < a->chunks.size(); i += PARTS) {
            auto state = std::make_unique<AdamWParamState>();
            state->exp_avg(part(a->run[ADAMW_MEANS], a->chunks[i]));
            state->exp_avg_sq(part(a->run[ADAMW_SQUARES], a->chunks[i]));
            a->parts[p]->state()[state_key(a->params[i])] = std::move(state);
        }
    }
}

/* What an optimiser needs, once all parameters are known. */
void prepare(struct adamw *a)
{
    if (a->prepared)
        return;
    a->prepared = true;
    if (!eight_bits(a)) {
        make_parts(a);
        return;
    }
    int64_t room = 0;
    for (chunk &c : a->chunks) {
        c.average = room;
        room += adam8_room(c.size);
    }
    auto options = at::TensorOptions().device(at_device(a->setup.device));
    for (int i = 0; i < 2; i++)
        a->averages[i] = adam8_new(room, i == 1, options);
}

adam8_average average_of(const struct adamw *a, enum adamw_run run, const chunk &c)
{
    return adam8_part(a->averages[run == ADAMW_SQUARES], c.average, c.size);
}

adam8_weights weights_of(const struct adamw *a, const chunk &c)
{
    if (a->low.defined())
        return { Tensor(), part(a->arithmetic, c), part(a->low, c) };
    return { part(a->run[ADAMW_WEIGHTS], c), Tensor(), Tensor() };
}

/* A chunk's step with 8 bits, by ATen or by one kernel. Chance hangs on the step and the place. */
void step_chunk(struct adamw *a, const chunk &c, double lr, double scale, bool kernel)
{
    const adam8_how how = {
        lr,    a->setup.beta1, a->setup.beta2, c.decays ? a->setup.weight_decay : 0,
        scale, a->steps + 1
    };
    const uint64_t place = splitmix_mix(static_cast<uint64_t>(a->steps) + SPLITMIX_STEP);
    const uint64_t seed = splitmix_mix(place ^ static_cast<uint64_t>(c.offset));
    const adam8_average means = average_of(a, ADAMW_MEANS, c);
    const adam8_average squares = average_of(a, ADAMW_SQUARES, c);
    const adam8_weights lie = weights_of(a, c);
    if (kernel) {
        adam8_step_by_kernel(lie, gradient_as_it_is(a, c), means, squares, how, seed);
        return;
    }
    at::Generator chance = adam8_chance(at_device(a->setup.device), seed);
    Tensor w = lie.all.defined() ? lie.all : halves_join(lie.high, lie.low);
    adam8_step(w, gradient_of(a, c), means, squares, how, chance);
    if (lie.low.defined())
        halves_split(w, lie.high, lie.low);
}

/* A step with 8 bits. A kernel takes a parameter at once, all of its chunks as if they were one. */
void step_eight_bits(struct adamw *a, double lr, double scale)
{
    if (a->chunks.empty() || !adam8_has_kernel(weights_of(a, a->chunks[0]))) {
        parallel(threads_of(a), a->chunks.size(),
                 [&](size_t i) { step_chunk(a, a->chunks[i], lr, scale, false); });
        return;
    }
    for (chunk c : a->chunks) {
        if (c.offset != a->offsets[c.leaf])
            continue;
        c.size = a->leaves[c.leaf].numel();
        step_chunk(a, c, lr, scale, true);
    }
}

/* One part's optimiser on gradients that are multiplied by `scale`; a whole run's are already. */
void step_part(struct adamw *a, size_t p, double lr, double scale)
{
    AdamW &optimiser = *a->parts[p];
    for (auto &group : optimiser.param_groups())
        static_cast<AdamWOptions &>(group.options()).lr(lr);
    for (size_t i = p; i < a->chunks.size(); i += PARTS) {
        Tensor g = gradient_of(a, a->chunks[i]);
        a->params[i].mutable_grad() = scale == 1 || whole(a) ? g : g * scale;
        auto &state = optimiser.state()[state_key(a->params[i])];
        static_cast<AdamWParamState &>(*state).step(a->steps);
    }
    optimiser.step();
    for (size_t i = p; i < a->chunks.size(); i += PARTS)
        a->params[i].mutable_grad() = Tensor();
}

/* What arithmetic sees follows what AdamW changed. */
void refresh(struct adamw *a)
{
    if (a->arithmetic.defined() && !a->low.defined())
        a->arithmetic.copy_(a->run[ADAMW_WEIGHTS]);
    finish(a);
}

/* The chunks of the last parameter. */
void add_chunks(struct adamw *a, int64_t offset, int64_t size, bool decays)
{
    const chunk *last = a->chunks.empty() ? nullptr : &a->chunks.back();
    if (whole(a) && last && last->decays == decays && last->offset + last->size == offset) {
        offset = last->offset;
        size += last->size;
        a->chunks.pop_back();
    }
    const int64_t most = whole(a) ? size : on_gpu(a) ? GPU_CHUNK : CPU_CHUNK;
    for (int64_t at = 0; at < size; at += most)
        a->chunks.push_back(
            { offset + at, std::min(most, size - at), a->leaves.size() - 1, 0, decays, 0 });
}

} // namespace

/*
 * What a piece frees, the next one takes: memory that goes back to the system in between has to be
 * cleared by it each time, which was a quarter of a step.
 */
static void keep_memory()
{
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    mallopt(M_ARENA_MAX, 1);
}

/* The weights: in float32, with a copy for other arithmetic, or in halves. */
static void make_weights(struct adamw *a)
{
    const adamw_setup &setup = a->setup;
    auto options = at::TensorOptions().dtype(at::kFloat).device(at_device(setup.device));
    const bool halves = eight_bits(a) && setup.dtype == DTYPE_BF16;
    if (setup.dtype != DTYPE_F32)
        a->arithmetic = at::zeros({ setup.count }, options.dtype(at_dtype(setup.dtype)));
    if (halves)
        a->low = at::zeros({ setup.count }, options.dtype(at::kShort));
    else
        a->run[ADAMW_WEIGHTS] = at::zeros({ setup.count }, options);
    for (int run = ADAMW_MEANS; run <= ADAMW_SQUARES && !eight_bits(a); run++)
        a->run[run] = at::zeros({ setup.count }, options);
}

struct adamw *adamw_new(const struct adamw_setup *setup, struct buf *err)
{
    keep_memory();
    auto a = std::make_unique<adamw>();
    a->setup = *setup;
    int rc = checked(err, [&] {
        make_weights(a.get());
        a->slots.resize(static_cast<size_t>(setup->slots));
        for (int i = 0; i < setup->slots && on_gpu(a.get()); i++)
            a->streams.push_back(c10::impl::VirtualGuardImpl(at::kCUDA).getStreamFromGlobalPool(
                at_device(setup->device)));
        finish(a.get());
    });
    return rc ? nullptr : a.release();
}

void adamw_free(struct adamw *a)
{
    delete a;
}

/* The gradient of parameter `i`, which may have had some already. */
static void add_gradient(struct adamw *a, gradients &to, size_t i, const Tensor &gradient)
{
    gradient_sum s = to.add(i, { gradient.contiguous().view({ -1 }) }, true);
    if (!s.to.defined())
        return;
    s.run(0, s.to.numel());
    // Another slot's queue may have made it, and would be given its memory again too early.
    if (on_gpu(a))
        for (const Tensor &t : s.from)
            t.record_stream(c10::impl::VirtualGuardImpl(at::kCUDA).getStream(t.device()));
}

#ifdef HAS_HOOKS
/* Takes a parameter's gradient when it is there, so that those of a whole model never are at once. */
struct taker : torch::autograd::PostAccumulateGradHook {
    struct adamw *a;
    size_t i;

    taker(struct adamw *of, size_t leaf) : a(of), i(leaf)
    {
    }

    void operator()(const Tensor &leaf) override
    {
        Tensor gradient = leaf.grad();
        leaf.mutable_grad() = Tensor();
        c10::AutoGradMode mode(false);
        if (gradient.defined())
            add_gradient(a, a->step, i, gradient);
    }
};
#endif

struct tensor *adamw_parameter(struct adamw *a, struct scope *s, int64_t offset, int ndim,
                               const int64_t *shape, bool trained)
{
    struct tensor *out = nullptr;
    guarded(s, [&] {
        at::IntArrayRef sizes(shape, static_cast<size_t>(ndim));
        const Tensor &from = a->arithmetic.defined() ? a->arithmetic : a->run[ADAMW_WEIGHTS];
        Tensor leaf = from.narrow(0, offset, c10::multiply_integers(sizes)).view(sizes).detach();
        if (trained) {
            leaf.requires_grad_(true);
#ifdef HAS_HOOKS
            if (direct(a))
                torch::autograd::impl::set_post_acc_grad_hooks(
                    leaf, std::make_unique<taker>(a, a->leaves.size()));
#endif
            a->leaves.push_back(leaf);
            a->offsets.push_back(offset);
            add_chunks(a, offset, leaf.numel(), ndim > 1);
        }
        out = keep(s, leaf);
    });
    return out;
}

void adamw_begin(struct adamw *a, struct scope *s, int slot)
{
    guarded(s, [&] {
        a->slots[static_cast<size_t>(slot)].begin(a->leaves.size());
        // What the only slot was given and nobody added.
        if (direct(a) && a->slots.size() == 1 && !a->added)
            a->step.begin(a->leaves.size());
        if (on_gpu(a))
            c10::impl::VirtualGuardImpl(at::kCUDA).exchangeStream(
                a->streams[static_cast<size_t>(slot)]);
    });
}

#ifdef HAS_HOOKS
/* Straight into the step's gradient, one piece at a time. Returns the gradient by x. */
static Tensor take_gradients(struct adamw *a, const std::vector<Tensor> &outputs,
                             const std::vector<Tensor> &factors, const Tensor &x)
{
    std::lock_guard<std::mutex> lock(a->alone);
    a->step.resize(a->leaves.size());
    torch::autograd::backward(outputs, factors);
    finish(a);
    return x.defined() ? x.grad() : Tensor();
}
#endif

/* Into a slot's. */
static Tensor slot_gradients(struct adamw *a, const std::vector<Tensor> &outputs,
                             const std::vector<Tensor> &factors, const Tensor &x, gradients &to)
{
    std::vector<Tensor> inputs = a->leaves;
    if (x.defined())
        inputs.push_back(x);
    auto found = torch::autograd::grad(outputs, inputs, factors, {}, false, true);
    c10::AutoGradMode mode(false);
    for (size_t i = 0; i < a->leaves.size(); i++)
        if (found[i].defined())
            add_gradient(a, to, i, found[i]);
    finish(a);
    return x.defined() ? found.back() : Tensor();
}

struct tensor *adamw_gradient(struct adamw *a, struct scope *s, struct tensor *const *out,
                              struct tensor *const *by, int n, const struct tensor *x, int slot)
{
    struct tensor *dx = nullptr;
    guarded(s, [&] {
        std::vector<Tensor> outputs, factors;
        for (int i = 0; i < n; i++) {
            if (!of(out[i]).requires_grad())
                continue;
            outputs.push_back(of(out[i]));
            factors.push_back(by[i] ? of(by[i]) : Tensor());
        }
        if (outputs.empty())
            return;
        Tensor in = x && of(x).requires_grad() ? of(x) : Tensor(), back;
#ifdef HAS_HOOKS
        if (direct(a))
            back = take_gradients(a, outputs, factors, in);
#endif
        if (!direct(a))
            back = slot_gradients(a, outputs, factors, in, a->slots[static_cast<size_t>(slot)]);
        if (back.defined())
            dx = keep(s, back);
    });
    return dx;
}

struct tensor *tensor_cut(struct scope *s, const struct tensor *t)
{
    struct tensor *out = nullptr;
    guarded(s, [&] { out = keep(s, of(t).detach().requires_grad_(of(t).requires_grad())); });
    return out;
}

/* What is to be added to each parameter's gradient from slots 0 .. n - 1. */
static std::vector<gradient_sum> sums_of(struct adamw *a, int n)
{
    std::vector<gradient_sum> sums(a->leaves.size());
    a->step.resize(a->leaves.size());
    for (size_t i = 0; i < a->leaves.size(); i++) {
        std::vector<Tensor> more;
        bool lasting = false;
        for (size_t j = 0; j < static_cast<size_t>(n); j++) {
            Tensor g = a->slots[j].get(i);
            if (!g.defined())
                continue;
            lasting = a->slots[j].is_kept(i);
            more.push_back(g);
        }
        sums[i] = a->step.add(i, more, lasting);
    }
    return sums;
}

static void add_slots(struct adamw *a, int n)
{
    const std::vector<gradient_sum> sums = sums_of(a, n);
    for (size_t i = 0; i < sums.size() && on_gpu(a); i++)
        if (sums[i].to.defined())
            sums[i].run(0, sums[i].to.numel());
    finish(a);
    parallel(threads_of(a), on_gpu(a) ? 0 : a->chunks.size(), [&](size_t i) {
        const chunk &c = a->chunks[i];
        if (sums[c.leaf].to.defined())
            sums[c.leaf].run(c.offset - a->offsets[c.leaf], c.size);
    });
}

int adamw_add(struct adamw *a, int n, struct buf *err)
{
    return checked(err, [&] {
        c10::AutoGradMode mode(false);
        if (!direct(a))
            add_slots(a, n);
        a->added = true;
    });
}

/* On a GPU of each parameter, and these together; on the CPU every chunk's own sum, in order. */
static double gradient_norm(struct adamw *a)
{
    std::vector<Tensor> norms;
    for (size_t i = 0; i < a->leaves.size() && on_gpu(a); i++)
        if (a->step.get(i).defined())
            norms.push_back(at::norm(a->step.get(i), 2, at::kFloat));
    if (on_gpu(a))
        return norms.empty() ? 0 : at::norm(at::stack(norms).to(at::kDouble)).item<double>();
    parallel(threads_of(a), a->chunks.size(), [&](size_t i) {
        chunk &c = a->chunks[i];
        double n = at::norm(gradient_of(a, c)).item<double>();
        c.norm2 = n * n;
    });
    double sum = 0;
    for (const chunk &c : a->chunks)
        sum += c.norm2;
    return std::sqrt(sum);
}

/* Weights and averages follow the gradient, times `scale`. */
static void follow(struct adamw *a, double lr, double scale)
{
    prepare(a);
    if (eight_bits(a)) {
        step_eight_bits(a, lr, scale);
        return;
    }
    if (whole(a))
        gather(a, scale);
    parallel(threads_of(a), PARTS, [&](size_t p) { step_part(a, p, lr, scale); });
}

/* The step's gradient, once nothing reads it any more. */
static void forget(struct adamw *a)
{
    struct buf ignored = BUF_INIT;
    if (checked(&ignored, [&] { finish(a); }))
        buf_release(&ignored);
    a->step.begin(a->leaves.size());
    a->added = false;
}

int adamw_step(struct adamw *a, double lr, double clip, double *norm, struct buf *err)
{
    int rc = checked(err, [&] {
        c10::AutoGradMode mode(false);
        TORCH_CHECK(a->added, "a step without a gradient");
        a->step.resize(a->leaves.size());
        *norm = gradient_norm(a);
        TORCH_CHECK(std::isfinite(*norm), "the gradient is NaN or infinite");
        follow(a, lr, clip > 0 && *norm > clip ? clip / *norm : 1);
        a->steps++;
        refresh(a);
    });
    forget(a);
    return rc;
}

/* ---- runs, as float32 in the host's memory ---- */

int adamw_read(struct adamw *a, enum adamw_run run, float *values, struct buf *err)
{
    return checked(err, [&] {
        if (eight_bits(a))
            prepare(a);
        Tensor host = at::from_blob(values, { a->setup.count }, at::kFloat);
        if (run == ADAMW_GRADIENT) {
            host.zero_();
            for (size_t i = 0; i < a->leaves.size() && a->added; i++)
                if (a->step.get(i).defined())
                    host.narrow(0, a->offsets[i], a->leaves[i].numel()).copy_(a->step.get(i));
        } else if (run == ADAMW_WEIGHTS && a->low.defined()) {
            for (int64_t at = 0; at < a->setup.count; at += GPU_CHUNK) {
                const int64_t n = std::min(GPU_CHUNK, a->setup.count - at);
                host.narrow(0, at, n).copy_(
                    halves_join(a->arithmetic.narrow(0, at, n), a->low.narrow(0, at, n)));
            }
        } else if (run != ADAMW_WEIGHTS && eight_bits(a)) {
            host.zero_();
            for (const chunk &c : a->chunks)
                part(host, c).copy_(adam8_load(average_of(a, run, c), c.size));
        } else {
            host.copy_(a->run[run]);
        }
    });
}

/* bfloat16 as its bits, int16; see adamw_weights(). values: float32 */
static Tensor rounded(const Tensor &values)
{
    Tensor bits = values.view(at::kInt), upper = at::bitwise_right_shift(bits, 16);
    Tensor nearest = at::bitwise_right_shift((upper & 1).add_(bits).add_(0x7fff), 16);
    return at::where(values.isnan(), upper.bitwise_or(0x40), nearest).to(at::kShort);
}

/* Weights in float32, on their device. */
static Tensor floats_at(const struct adamw *a, int64_t at, int64_t n)
{
    if (a->low.defined())
        return halves_join(a->arithmetic.narrow(0, at, n), a->low.narrow(0, at, n));
    return a->run[ADAMW_WEIGHTS].narrow(0, at, n);
}

int adamw_weights(struct adamw *a, int64_t at, int64_t n, enum dtype dtype, void *values,
                  struct buf *err)
{
    return checked(err, [&] {
        c10::AutoGradMode mode(false);
        TORCH_CHECK(dtype == DTYPE_F32 || dtype == DTYPE_BF16, "weights are read in ",
                    dtype_name(dtype), "; float32 and bfloat16 are there");
        TORCH_CHECK(at >= 0 && n >= 0 && at + n <= a->setup.count, "weights beyond the last one");
        const bool half = dtype == DTYPE_BF16;
        const int64_t most = on_gpu(a) ? GPU_CHUNK : CPU_CHUNK;
        Tensor host = at::from_blob(values, { n }, half ? at::kShort : at::kFloat);
        parallel(threads_of(a), static_cast<size_t>((n + most - 1) / most), [&](size_t i) {
            const int64_t from = static_cast<int64_t>(i) * most, many = std::min(most, n - from);
            Tensor w = floats_at(a, at + from, many);
            host.narrow(0, from, many).copy_(half ? rounded(w) : w);
        });
    });
}

static void put_weights(struct adamw *a, int64_t offset, const Tensor &values)
{
    for (int64_t at = 0; at < values.numel(); at += GPU_CHUNK) {
        const int64_t n = std::min(GPU_CHUNK, values.numel() - at);
        Tensor from = values.narrow(0, at, n);
        if (a->low.defined())
            halves_split(from.to(a->low.device(), at::kFloat),
                         a->arithmetic.narrow(0, offset + at, n), a->low.narrow(0, offset + at, n));
        else
            a->run[ADAMW_WEIGHTS].narrow(0, offset + at, n).copy_(from);
    }
    if (a->arithmetic.defined() && !a->low.defined())
        a->arithmetic.narrow(0, offset, values.numel()).copy_(values);
    finish(a);
}

int adamw_write(struct adamw *a, enum adamw_run run, const float *values, struct buf *err)
{
    return checked(err, [&] {
        if (eight_bits(a))
            prepare(a);
        Tensor host = at::from_blob(const_cast<float *>(values), { a->setup.count }, at::kFloat);
        if (run == ADAMW_WEIGHTS) {
            put_weights(a, 0, host);
        } else if (eight_bits(a)) {
            for (const chunk &c : a->chunks)
                adam8_store(average_of(a, run, c), part(host, c).to(at_device(a->setup.device)),
                            nullptr);
        } else {
            a->run[run].copy_(host);
        }
        finish(a);
    });
}

/* ---- the state, as the bytes that are there ---- */

int64_t adamw_state_bytes(const struct adamw *a)
{
    int64_t room = 0;
    for (const chunk &c : a->chunks)
        room += adam8_room(c.size);
    const int64_t floats = 4 * a->setup.count;
    return floats + 2 * (eight_bits(a) ? room + room / ADAM8_BLOCK * 4 : floats);
}

/* Its parts, in their order. */
static std::vector<Tensor> state_parts(struct adamw *a)
{
    std::vector<Tensor> parts;
    if (a->low.defined())
        parts = { a->arithmetic, a->low };
    else
        parts = { a->run[ADAMW_WEIGHTS] };
    if (eight_bits(a)) {
        prepare(a);
        for (const adam8_average &average : a->averages)
            parts.insert(parts.end(), { average.codes, average.scales });
    } else {
        parts.insert(parts.end(), { a->run[ADAMW_MEANS], a->run[ADAMW_SQUARES] });
    }
    for (Tensor &p : parts)
        p = p.view(at::kByte);
    return parts;
}

/* body(part, bytes) for what of each part is among the n bytes from `at` on, which are `bytes`. */
template <typename F>
static void each_state_part(struct adamw *a, int64_t at, int64_t n, void *bytes, F body)
{
    Tensor host = at::from_blob(bytes, { n }, at::kByte);
    int64_t begin = 0;
    for (const Tensor &p : state_parts(a)) {
        const int64_t from = std::max(at, begin), to = std::min(at + n, begin + p.numel());
        if (from < to)
            body(p.narrow(0, from - begin, to - from), host.narrow(0, from - at, to - from));
        begin += p.numel();
    }
    TORCH_CHECK(at >= 0 && at + n <= begin, "bytes beyond those of a state");
}

int adamw_state_get(struct adamw *a, int64_t at, int64_t n, void *bytes, struct buf *err)
{
    return checked(err, [&] {
        c10::AutoGradMode mode(false);
        each_state_part(a, at, n, bytes,
                        [](const Tensor &part, const Tensor &host) { host.copy_(part); });
        finish(a);
    });
}

int adamw_state_put(struct adamw *a, int64_t at, int64_t n, const void *bytes, struct buf *err)
{
    return checked(err, [&] {
        c10::AutoGradMode mode(false);
        each_state_part(a, at, n, const_cast<void *>(bytes),
                        [](const Tensor &part, const Tensor &host) { part.copy_(host); });
        // Weights that arithmetic sees in another dtype, of which these bytes may hold a part.
        const int64_t first = at / 4, end = std::min(a->setup.count, (at + n + 3) / 4);
        if (a->arithmetic.defined() && !a->low.defined() && first < end)
            a->arithmetic.narrow(0, first, end - first)
                .copy_(a->run[ADAMW_WEIGHTS].narrow(0, first, end - first));
        finish(a);
    });
}

void adamw_load(struct adamw *a, struct scope *s, int64_t offset, const struct tensor *t)
{
    guarded(s, [&] { put_weights(a, offset, of(t).detach().contiguous().view(-1)); });
}

int64_t adamw_peak(const struct adamw *a)
{
#ifdef KNOWS_PEAK
    auto allocator =
        on_gpu(a) ? dynamic_cast<c10::DeviceAllocator *>(c10::GetAllocator(at::kCUDA)) : nullptr;
    if (allocator && allocator->initialized())
        return allocator->getDeviceStats(static_cast<c10::DeviceIndex>(a->setup.device.index))
            .reserved_bytes[0]
            .peak;
#endif
    (void)a;
    return 0;
}

int64_t adamw_steps(const struct adamw *a)
{
    return a->steps;
}

void adamw_set_steps(struct adamw *a, int64_t steps)
{
    a->steps = steps;
}
