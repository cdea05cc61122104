/*
 * torch_train.cpp: see torch_train.h.
 *
 * A run is cut into chunks, small enough on the CPU that the ten or so passes of AdamW over one find
 * it in the cache. The chunks are dealt out to PARTS optimisers, whose parameters they are, and the
 * optimisers to threads.
 */
#include "torch_train.h"
#include "torch_impl.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/optim/adamw.h>
#include <torch/version.h>

#include <c10/core/impl/VirtualGuardImpl.h>

#include <malloc.h>

#include <cmath>
#include <climits>
#include <memory>
#include <thread>
#include <vector>

namespace
{

using at::Tensor;
using torch::optim::AdamW;
using torch::optim::AdamWOptions;
using torch::optim::AdamWParamState;

constexpr int64_t CPU_CHUNK = 32768;
constexpr size_t PARTS = 8;
constexpr int RUNS = 4;

struct chunk {
    int64_t offset, size;
    bool decays;
    double norm2; // of the gradient, squared
    Tensor weights, gradient;
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
    Tensor run[RUNS];  // float32
    Tensor arithmetic; // the weights in the arithmetic's dtype, where it is another
    std::vector<Tensor> slots;
    std::vector<c10::Stream> streams; // of the slots, on a GPU
    std::vector<Tensor> leaves;       // that have gradients
    std::vector<int64_t> offsets;
    std::vector<chunk> chunks;
    std::unique_ptr<AdamW> parts[PARTS];
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

/* The optimisers, once all parameters are known. */
void make_parts(struct adamw *a)
{
    if (a->parts[0])
        return;
    for (size_t p = 0; p < PARTS; p++) {
        std::vector<Tensor> group[2];
        for (size_t i = p; i < a->chunks.size(); i += PARTS)
            group[a->chunks[i].decays].push_back(a->chunks[i].weights);
        std::vector<torch::optim::OptimizerParamGroup> groups;
        for (int decays = 0; decays < 2; decays++) {
            AdamWOptions options(0);
            options.betas(std::make_tuple(a->setup.beta1, a->setup.beta2));
            options.eps(1e-8).weight_decay(decays ? a->setup.weight_decay : 0);
            groups.emplace_back(group[decays], std::make_unique<AdamWOptions>(options));
        }
        a->parts[p] = std::make_unique<AdamW>(groups);
        for (size_t i = p; i < a->chunks.size(); i += PARTS) {
            chunk &c = a->chunks[i];
            auto state = std::make_unique<AdamWParamState>();
            state->exp_avg(a->run[ADAMW_MEANS].narrow(0, c.offset, c.size));
            state->exp_avg_sq(a->run[ADAMW_SQUARES].narrow(0, c.offset, c.size));
            a->parts[p]->state()[state_key(c.weights)] = std::move(state);
        }
    }
}

/* One part's optimiser on gradients that are multiplied by `scale`. */
void step_part(struct adamw *a, size_t p, double lr, double scale)
{
    AdamW &part = *a->parts[p];
    for (auto &group : part.param_groups())
        static_cast<AdamWOptions &>(group.options()).lr(lr);
    for (size_t i = p; i < a->chunks.size(); i += PARTS) {
        chunk &c = a->chunks[i];
        if (scale != 1 && !on_gpu(a))
            c.gradient.mul_(scale);
        c.weights.mutable_grad() = c.gradient;
        auto &state = part.state()[state_key(c.weights)];
        static_cast<AdamWParamState &>(*state).step(a->steps);
    }
    part.step();
}

/* What arithmetic sees follows what AdamW changed. */
void refresh(struct adamw *a)
{
    if (a->arithmetic.defined())
        a->arithmetic.copy_(a->run[ADAMW_WEIGHTS]);
    finish(a);
}

void add_chunks(struct adamw *a, int64_t offset, int64_t size, bool decays)
{
    const chunk *last = a->chunks.empty() ? nullptr : &a->chunks.back();
    if (on_gpu(a) && last && last->decays == decays && last->offset + last->size == offset) {
        offset = last->offset;
        size += last->size;
        a->chunks.pop_back();
    }
    const int64_t most = on_gpu(a) ? size : CPU_CHUNK;
    for (int64_t at = 0; at < size; at += most) {
        chunk c = { offset + at, std::min(most, size - at), decays, 0, {}, {} };
        c.weights = a->run[ADAMW_WEIGHTS].narrow(0, c.offset, c.size);
        c.gradient = a->run[ADAMW_GRADIENT].narrow(0, c.offset, c.size);
        a->chunks.push_back(c);
    }
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

struct adamw *adamw_new(const struct adamw_setup *setup, struct buf *err)
{
    keep_memory();
    auto a = std::make_unique<adamw>();
    a->setup = *setup;
    int rc = checked(err, [&] {
        auto options = at::TensorOptions().dtype(at::kFloat).device(at_device(setup->device));
        for (Tensor &run : a->run)
            run = at::zeros({ setup->count }, options);
        if (setup->dtype != DTYPE_F32)
            a->arithmetic = at::zeros({ setup->count }, options.dtype(at_dtype(setup->dtype)));
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
        if (on_gpu(a))
            c10::impl::VirtualGuardImpl(at::kCUDA).exchangeStream(
                a->streams[static_cast<size_t>(slot)]);
    });
}

void adamw_gradient(struct adamw *a, struct scope *s, const struct tensor *loss, int slot)
{
    guarded(s, [&] {
        auto gradients = torch::autograd::grad({ of(loss) }, a->leaves, {}, {}, false, true);
        c10::AutoGradMode mode(false);
        Tensor &to = a->slots[static_cast<size_t>(slot)];
        if (!to.defined())
            to = at::zeros_like(a->run[ADAMW_GRADIENT]);
        for (size_t i = 0; i < gradients.size(); i++) {
            Tensor place = to.narrow(0, a->offsets[i], a->leaves[i].numel());
            if (gradients[i].defined())
                place.view(a->leaves[i].sizes()).copy_(gradients[i]);
            else
                place.zero_();
        }
        finish(a);
    });
}

int adamw_add(struct adamw *a, int n, struct buf *err)
{
    return checked(err, [&] {
        c10::AutoGradMode mode(false);
        for (int j = 0; j < n && on_gpu(a); j++)
            if (j == 0 && !a->added)
                a->run[ADAMW_GRADIENT].copy_(a->slots[0]);
            else
                a->run[ADAMW_GRADIENT].add_(a->slots[static_cast<size_t>(j)]);
        finish(a);
        parallel(threads_of(a), on_gpu(a) ? 0 : a->chunks.size(), [&](size_t i) {
            chunk &c = a->chunks[i];
            for (int j = 0; j < n; j++) {
                Tensor from = a->slots[static_cast<size_t>(j)].narrow(0, c.offset, c.size);
                if (j == 0 && !a->added)
                    c.gradient.copy_(from);
                else
                    c.gradient.add_(from);
            }
        });
        a->added = true;
    });
}

/* The gradient's norm: every chunk's own sum, and these in order. */
static double gradient_norm(struct adamw *a)
{
    if (on_gpu(a))
        return at::norm(a->run[ADAMW_GRADIENT]).item<double>();
    parallel(threads_of(a), a->chunks.size(), [&](size_t i) {
        chunk &c = a->chunks[i];
        double n = at::norm(c.gradient).item<double>();
        c.norm2 = n * n;
    });
    double sum = 0;
    for (const chunk &c : a->chunks)
        sum += c.norm2;
    return std::sqrt(sum);
}

int adamw_step(struct adamw *a, double lr, double clip, double *norm, struct buf *err)
{
    return checked(err, [&] {
        TORCH_CHECK(a->added, "a step without a gradient");
        a->added = false;
        *norm = gradient_norm(a);
        TORCH_CHECK(std::isfinite(*norm), "the gradient is NaN or infinite");
        double scale = clip > 0 && *norm > clip ? clip / *norm : 1;
        make_parts(a);
        if (scale != 1 && on_gpu(a))
            a->run[ADAMW_GRADIENT].mul_(scale);
        parallel(threads_of(a), PARTS, [&](size_t p) { step_part(a, p, lr, scale); });
        a->steps++;
        refresh(a);
    });
}

int adamw_read(struct adamw *a, enum adamw_run run, float *values, struct buf *err)
{
    return checked(err, [&] {
        Tensor host = a->run[run].to(at::kCPU);
        if (run == ADAMW_GRADIENT && !a->added) // it is forgotten
            host = at::zeros_like(host);
        memcpy(values, host.data_ptr<float>(), static_cast<size_t>(host.numel()) * sizeof(float));
    });
}

int adamw_write(struct adamw *a, enum adamw_run run, const float *values, struct buf *err)
{
    return checked(err, [&] {
        Tensor host = at::empty({ a->setup.count }, at::kFloat);
        memcpy(host.data_ptr<float>(), values, static_cast<size_t>(host.numel()) * sizeof(float));
        a->run[run].copy_(host);
        refresh(a);
    });
}

int64_t adamw_steps(const struct adamw *a)
{
    return a->steps;
}

void adamw_set_steps(struct adamw *a, int64_t steps)
{
    a->steps = steps;
}
