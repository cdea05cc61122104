/*
 * torch.cpp: see torch.h. Every function body runs inside guarded(), see torch_impl.h.
 */
#include "torch_impl.h"
#include "kernels.h"
#include "torch_memory.h"
#include "torch_words.h"

#include <ATen/Parallel.h>
#include <torch/csrc/jit/frontend/resolver.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/runtime/profiling_graph_executor_impl.h>
#include <torch/csrc/jit/serialization/import.h>
#include <torch/version.h>
#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 10)
#define GIVES_MEMORY_BACK
#include <c10/core/CachingDeviceAllocator.h>
#endif

#include <dlfcn.h>

#include <cmath>

#include <mutex>

/* Newer libtorches warn where gradients come on another stream than the parameters: ours do. */
template <typename C>
static auto silence(C &c, int) -> decltype(c.setWarnOnAccumulateGradStreamMismatch(false))
{
    c.setWarnOnAccumulateGradStreamMismatch(false);
}
template <typename C> static void silence(C &, long)
{
}

/* No optimiser passes that run anew for each new shape, one core a thread. */
void torch_setup()
{
    static std::once_flag once;
    std::call_once(once, [] {
        torch::jit::getProfilingMode() = false;
        torch::jit::setGraphExecutorOptimize(false);
        silence(at::globalContext(), 0);
        void *f = dlsym(RTLD_DEFAULT, "openblas_set_num_threads");
        if (f)
            reinterpret_cast<void (*)(int)>(f)(1);
    });
    thread_local bool one_core = false;
    if (!one_core)
        at::set_num_threads(1);
    one_core = true;
}

/*
 * What went wrong inside TorchScript stands at the end, behind "RuntimeError: ", and elsewhere in
 * the first line.
 */
std::string torch_sentence(const std::exception &e)
{
    auto c10 = dynamic_cast<const c10::Error *>(&e);
    std::string text = c10 ? c10->what_without_backtrace() : e.what();
    if (means_out_of_memory(text.c_str())) {
        struct buf words = BUF_INIT;
        add_out_of_memory(text.c_str(), &words);
        text = words.s;
        buf_release(&words);
        return text;
    }
    const std::string mark = "RuntimeError: ";
    size_t at = text.rfind(mark);
    text = at == std::string::npos ? text.substr(text.find_first_not_of("\n"))
                                   : text.substr(at + mark.size());
    return text.substr(0, text.find('\n'));
}

namespace
{

struct module *keep(struct scope *s, torch::jit::Module m)
{
    s->modules.push_back({ std::move(m) });
    return &s->modules.back();
}

/* Room on the host. A GPU copies from and to memory that is pinned faster, and is not waited for. */
at::Tensor pinned(at::IntArrayRef sizes, at::ScalarType type)
{
    const bool small = c10::multiply_integers(sizes) <= 1 << 22;
    return at::empty(sizes, at::TensorOptions().dtype(type).pinned_memory(small));
}

at::Tensor downloaded(const at::Tensor &t)
{
    if (!t.is_cuda())
        return t.to(at::kCPU, at::kFloat).contiguous();
    return pinned(t.sizes(), at::kFloat).copy_(t);
}

template <typename T>
struct tensor *copied(struct scope *s, const T *data, int ndim, const int64_t *shape,
                      at::ScalarType type, struct device device)
{
    struct tensor *out = nullptr;
    guarded(s, [&] {
        at::IntArrayRef sizes(shape, static_cast<size_t>(ndim));
        at::Tensor t = device.kind == DEVICE_CPU ? at::empty(sizes, type) : pinned(sizes, type);
        if (t.numel())
            memcpy(t.data_ptr(), data, static_cast<size_t>(t.numel()) * sizeof(T));
        out = keep(s, t.to(at_device(device), type, true));
    });
    return out;
}

/* A function of CUDA's runtime, which comes with libtorch where it has CUDA. NULL: there is none. */
template <typename F> F cuda_function(const char *name)
{
    return reinterpret_cast<F>(dlsym(RTLD_DEFAULT, name));
}

/* Asked of CUDA itself: libtorch only warns, and then sees no GPU. */
struct gpu_facts gpu_look()
{
    struct gpu_facts f = {};
    auto count = cuda_function<int (*)(int *)>("cudaGetDeviceCount");
    auto words = cuda_function<const char *(*)(int)>("cudaGetErrorString");
    auto driver = cuda_function<int (*)(int *)>("cudaDriverGetVersion");
    auto runtime = cuda_function<int (*)(int *)>("cudaRuntimeGetVersion");
    auto forget = cuda_function<int (*)()>("cudaGetLastError");
    f.built = count || at::hasCUDA();
    if (!count) {
        f.count = f.built ? static_cast<int>(at::detail::getCUDAHooks().getNumGPUs()) : 0;
        return f;
    }
    f.code = count(&f.count);
    f.text = words ? words(f.code) : "";
    if (f.code != GPU_FINE)
        f.count = 0;
    if (driver && driver(&f.driver) != GPU_FINE)
        f.driver = 0;
    if (runtime && runtime(&f.runtime) != GPU_FINE)
        f.runtime = 0;
    if (forget)
        forget(); // or libtorch's next call would fail with it
    return f;
}

/* 90 for sm_90; 0: not known. */
int gpu_architecture(struct device device)
{
    enum { MAJOR = 75, MINOR = 76 };
    auto ask = cuda_function<int (*)(int *, int, int)>("cudaDeviceGetAttribute");
    int major = 0, minor = 0;
    if (device.kind != DEVICE_CUDA || !ask || ask(&major, MAJOR, device.index) != GPU_FINE ||
        ask(&minor, MINOR, device.index) != GPU_FINE)
        return 0;
    return 10 * major + minor;
}

/* Names in TorchScript source: torch.x is ATen's operator x, seqtopk.x is torch_ops.cpp's. */
struct names : torch::jit::Resolver {
    std::shared_ptr<torch::jit::SugaredValue> resolveValue(const std::string &name,
                                                           torch::jit::GraphFunction &,
                                                           const torch::jit::SourceRange &) override
    {
        if (name == "torch")
            return std::make_shared<torch::jit::BuiltinModule>("aten");
        if (name == "seqtopk")
            return std::make_shared<torch::jit::BuiltinModule>("seqtopk");
        return nullptr;
    }
    torch::jit::TypePtr resolveType(const std::string &, const torch::jit::SourceRange &) override
    {
        return nullptr;
    }
};

} // namespace

int device_parse(const char *name, struct device *out, struct buf *err)
{
    int index = 0, end = 0;
    if (strcmp(name, "cpu") == 0) {
        *out = { DEVICE_CPU, 0 };
        return 0;
    }
    if (strcmp(name, "cuda") != 0 &&
        (sscanf(name, "cuda:%d%n", &index, &end) != 1 || name[end] != '\0' || index < 0))
        return fail(err, "device '%s' is unknown; there are cpu, cuda and cuda:INDEX", name);
    memory_ask(TORCH_VERSION_MAJOR, TORCH_VERSION_MINOR);
    struct gpu_facts facts = gpu_look();
    if (gpu_refuse(&facts, name, index, TORCH_VERSION, err))
        return -1;
    *out = { DEVICE_CUDA, index };
    return 0;
}

int device_check(struct device device, enum dtype dtype, struct buf *err)
{
    struct scope s = {};
    guarded(&s, [&] {
        auto options = at::TensorOptions().dtype(at_dtype(dtype)).device(at_device(device));
        at::Tensor x = at::ones({ 2, 2 }, options);
        at::softmax(at::linear(at::mm(x, x), x), -1, at::kFloat).sum().item<float>();
    });
    if (!s.failed)
        return 0;
    std::string name = device.kind == DEVICE_CPU ? "cpu" : "cuda:" + std::to_string(device.index);
    return device_refuse(name.c_str(), dtype_name(dtype), gpu_architecture(device), TORCH_VERSION,
                         s.error.c_str(), err);
}

bool device_memory(struct device device, int64_t *free_bytes, int64_t *total)
{
    bool known = false;
#ifdef GIVES_MEMORY_BACK
    struct scope s = {};
    auto ask = cuda_function<int (*)(size_t *, size_t *)>("cudaMemGetInfo");
    if (device.kind != DEVICE_CUDA || !ask)
        return false;
    guarded(&s, [&] {
        size_t there = 0, all = 0;
        at::empty({ 1 }, at::TensorOptions().device(at_device(device)));
        c10::DeviceGuard guard(at_device(device));
        c10::getDeviceAllocator(c10::DeviceType::CUDA)->emptyCache();
        known = ask(&there, &all) == GPU_FINE;
        *free_bytes = static_cast<int64_t>(there);
        *total = static_cast<int64_t>(all);
    });
#else
    (void)device, (void)free_bytes, (void)total;
#endif
    return known;
}

bool device_peak(struct device device, bool forget, int64_t *bytes)
{
    bool known = false;
#ifdef GIVES_MEMORY_BACK
    struct scope s = {};
    if (device.kind != DEVICE_CUDA)
        return false;
    guarded(&s, [&] {
        auto index = static_cast<c10::DeviceIndex>(device.index);
        auto *allocator = c10::getDeviceAllocator(c10::DeviceType::CUDA);
        if (forget)
            allocator->resetPeakStats(index);
        *bytes = allocator->getDeviceStats(index).allocated_bytes[0].peak; // of all pools together
        known = true;
    });
#else
    (void)device, (void)forget, (void)bytes;
#endif
    return known;
}

void *device_stream(struct device device)
{
    auto ask = cuda_function<int (*)(int32_t, void **)>("aoti_torch_get_current_cuda_stream");
    auto turn_to = cuda_function<int (*)(int)>("cudaSetDevice");
    void *stream = nullptr;
    if (device.kind != DEVICE_CUDA)
        return nullptr;
    // libtorch goes back to the thread's own device after each of its calls, which is 0 at first.
    if (turn_to)
        turn_to(device.index);
    if (!ask || ask(device.index, &stream) != 0)
        return nullptr;
    return stream;
}

struct torch_info torch_describe(void)
{
    struct torch_info info = {};
    info.version = TORCH_VERSION;
    auto openblas = reinterpret_cast<char *(*)()>(dlsym(RTLD_DEFAULT, "openblas_get_config"));
    info.fast_blas = openblas || at::hasMKL();
    info.blas = openblas ? openblas() : at::hasMKL() ? "MKL" : "reference BLAS";
    info.products = kernel_processor();
    info.cuda_devices = gpu_look().count;
    return info;
}

struct scope *scope_new(bool grad)
{
    torch_setup();
    struct scope *s = new struct scope;
    s->grad = grad;
    return s;
}

void scope_free(struct scope *s)
{
    delete s;
}

const char *scope_error(const struct scope *s)
{
    return s->failed ? s->error.c_str() : nullptr;
}

void scope_fail(struct scope *s, const char *fmt, ...)
{
    if (s->failed)
        return;
    struct buf text = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    s->failed = true;
    s->error = text.s;
    buf_release(&text);
}

struct tensor *tensor_floats(struct scope *s, const float *data, int ndim, const int64_t *shape,
                             struct device device)
{
    return copied(s, data, ndim, shape, at::kFloat, device);
}

struct tensor *tensor_ints(struct scope *s, const int64_t *data, int ndim, const int64_t *shape,
                           struct device device)
{
    return copied(s, data, ndim, shape, at::kLong, device);
}

struct tensor *tensor_empty(struct scope *s, enum dtype dtype, int ndim, const int64_t *shape,
                            struct device device)
{
    struct tensor *out = nullptr;
    guarded(s, [&] {
        auto options = at::TensorOptions().dtype(at_dtype(dtype)).device(at_device(device));
        out = keep(s, at::empty(at::IntArrayRef(shape, static_cast<size_t>(ndim)), options));
    });
    return out;
}

/*
 * A run of a file's values into `to`, a few megabytes at a time through memory that a GPU copies from
 * by itself. Returns zero, or what is no number where one of them is none: a tensor, not waited for.
 */
static at::Tensor fill(const at::Tensor &to, const char *data, at::ScalarType type)
{
    const int64_t most = 1 << 22, size = static_cast<int64_t>(c10::elementSize(type));
    at::Tensor zero = at::zeros({}, to.options().dtype(at::kFloat));
    for (int64_t i = 0; i < to.numel(); i += most) {
        const int64_t n = std::min(most, to.numel() - i);
        at::Tensor part = to.narrow(0, i, n);
        // Through memory of our own: a file's tensors may begin at any byte.
        at::Tensor from = to.is_cuda() ? pinned({ n }, type) : at::empty({ n }, type);
        memcpy(from.data_ptr(), data + i * size, static_cast<size_t>(n * size));
        part.copy_(from.to(to.device(), type, true));
        // Of what was stored, which may have less range. Zero times a number is zero.
        zero.add_(at::sum(part * 0, at::kFloat));
    }
    return zero;
}

bool tensor_fill(struct scope *s, struct tensor *t, int64_t offset, const void *data,
                 enum dtype dtype, int64_t count)
{
    bool finite = false;
    guarded(s, [&] {
        at::Tensor to = of(t).view(-1).narrow(0, offset, count);
        finite = fill(to, static_cast<const char *>(data), at_dtype(dtype)).item<float>() == 0;
    });
    return finite;
}

struct tensor *tensor_pack(struct scope *s, const struct tensor *t)
{
    struct tensor *packed = nullptr;
    guarded(s, [&] {
        at::Tensor from = of(t).dim() == 2 ? of(t).unsqueeze(0) : of(t);
        TORCH_CHECK(from.dim() == 3 && from.is_cpu() && from.scalar_type() == at::kFloat,
                    "only matrices of float32 on the CPU are packed");
        from = from.contiguous();
        const int64_t N = from.size(0), n = from.size(1), k = from.size(2);
        at::Tensor to = at::empty({ N, (n + PANEL - 1) / PANEL, k, PANEL }, from.options());
        for (int64_t i = 0; i < N; i++)
            kernel_pack(from.data_ptr<float>() + i * n * k, n, k, k,
                        to.data_ptr<float>() + i * to.stride(0));
        packed = keep(s, of(t).dim() == 2 ? to.squeeze(0) : to);
    });
    return packed;
}

struct tensor *tensor_share(struct scope *s, const struct tensor *t)
{
    struct tensor *shared = nullptr;
    guarded(s, [&] { shared = keep(s, of(t)); });
    return shared;
}

struct tensor *tensor_int32(struct scope *s, int64_t n, struct device device)
{
    struct tensor *out = nullptr;
    guarded(s, [&] {
        auto options = at::TensorOptions().dtype(at::kInt).device(at_device(device));
        out = keep(s, at::empty({ n }, options));
    });
    return out;
}

struct tensor *tensor_to(struct scope *s, const struct tensor *t, struct device device)
{
    struct tensor *out = nullptr;
    guarded(s, [&] { out = keep(s, of(t).to(at_device(device))); });
    return out;
}

struct tensor *tensor_plain(struct scope *s, const struct tensor *t)
{
    struct tensor *out = nullptr;
    guarded(s, [&] { out = keep(s, of(t).detach().contiguous()); });
    return out;
}

struct tensor *tensor_first(struct scope *s, const struct tensor *t, int64_t n)
{
    struct tensor *out = nullptr;
    guarded(s, [&] { out = keep(s, of(t).narrow(0, 0, n).clone()); });
    return out;
}

void tensor_bytes(struct scope *s, const struct tensor *t, size_t offset, void *to, size_t bytes)
{
    guarded(s, [&] {
        at::Tensor from = of(t).view(at::kByte).view(-1);
        from = from.narrow(0, static_cast<int64_t>(offset), static_cast<int64_t>(bytes));
        at::from_blob(to, { from.numel() }, at::kByte).copy_(from);
    });
}

int tensor_dim(struct scope *s, const struct tensor *t)
{
    int dim = 0;
    guarded(s, [&] { dim = static_cast<int>(of(t).dim()); });
    return dim;
}

int64_t tensor_size(struct scope *s, const struct tensor *t, int dim)
{
    int64_t size = 0;
    guarded(s, [&] { size = of(t).size(dim); });
    return size;
}

const float *tensor_values(struct scope *s, const struct tensor *t)
{
    const float *values = nullptr;
    guarded(s, [&] {
        at::Tensor host = downloaded(of(t).detach());
        values = keep(s, host)->t.data_ptr<float>();
    });
    return values;
}

void *tensor_data(struct scope *s, const struct tensor *t)
{
    void *data = nullptr;
    guarded(s, [&] {
        TORCH_CHECK(of(t).is_contiguous(), "a tensor's values do not lie one behind the other");
        data = of(t).data_ptr();
    });
    return data;
}

double tensor_number(struct scope *s, const struct tensor *t)
{
    double value = NAN;
    guarded(s, [&] { value = of(t).item<double>(); });
    return value;
}

struct tensor *tensor_weighted_sum(struct scope *s, struct tensor *const *t, const double *weight,
                                   int n)
{
    struct tensor *sum = nullptr;
    guarded(s, [&] {
        at::Tensor out = of(t[0]) * weight[0];
        for (int i = 1; i < n; i++)
            out = out + of(t[i]) * weight[i];
        sum = keep(s, out);
    });
    return sum;
}

void tensor_require_grad(struct scope *s, struct tensor *t)
{
    guarded(s, [&] { of(t).requires_grad_(true); });
}

void tensor_backward(struct scope *s, const struct tensor *loss)
{
    guarded(s, [&] { of(loss).backward(); });
}

struct tensor *tensor_grad(struct scope *s, const struct tensor *t)
{
    struct tensor *grad = nullptr;
    guarded(s, [&] {
        if (of(t).grad().defined())
            grad = keep(s, of(t).grad());
    });
    return grad;
}

void tensor_zero_grad(struct scope *s, struct tensor *t)
{
    guarded(s, [&] { of(t).mutable_grad() = at::Tensor(); });
}

struct module *module_new(struct scope *s, const char *name)
{
    struct module *m = nullptr;
    guarded(s, [&] { m = keep(s, torch::jit::Module(name)); });
    return m;
}

void module_set_tensor(struct scope *s, struct module *m, const char *name, struct tensor *t)
{
    guarded(s, [&] { m->m.register_parameter(name, of(t), false); });
}

void module_replace_tensor(struct scope *s, struct module *m, const char *name, struct tensor *t)
{
    guarded(s, [&] { m->m.setattr(name, of(t)); });
}

void module_set_int(struct scope *s, struct module *m, const char *name, int64_t value)
{
    guarded(s, [&] { m->m.register_attribute(name, c10::IntType::get(), value); });
}

void module_set_float(struct scope *s, struct module *m, const char *name, double value)
{
    guarded(s, [&] { m->m.register_attribute(name, c10::FloatType::get(), value); });
}

void module_set_child(struct scope *s, struct module *m, const char *name, struct module *child)
{
    guarded(s, [&] { m->m.register_module(name, child->m); });
}

void module_define(struct scope *s, struct module *m, const char *source)
{
    guarded(s, [&] { m->m.define(source, std::make_shared<names>()); });
}

struct tensor *module_tensor(struct scope *s, struct module *m, const char *name)
{
    struct tensor *t = nullptr;
    guarded(s, [&] { t = keep(s, m->m.attr(name).toTensor()); });
    return t;
}

struct module *module_child(struct scope *s, struct module *m, const char *name)
{
    struct module *child = nullptr;
    guarded(s, [&] { child = keep(s, m->m.attr(name).toModule()); });
    return child;
}

void module_call(struct scope *s, struct module *m, const char *method, struct tensor *const *in,
                 int nin, struct tensor **out, int nout)
{
    for (int i = 0; i < nout; i++)
        out[i] = nullptr;
    guarded(s, [&] {
        std::vector<c10::IValue> args;
        for (int i = 0; i < nin; i++)
            args.emplace_back(of(in[i]));
        c10::IValue result = m->m.get_method(method)(std::move(args));
        if (nout == 1) {
            out[0] = keep(s, result.toTensor());
            return;
        }
        auto tuple = result.toTuple();
        TORCH_CHECK(tuple->elements().size() == static_cast<size_t>(nout), method, " returned ",
                    tuple->elements().size(), " tensors, not ", nout);
        for (int i = 0; i < nout; i++)
            out[i] = keep(s, tuple->elements()[static_cast<size_t>(i)].toTensor());
    });
}

void module_save(struct scope *s, struct module *m, const char *path)
{
    guarded(s, [&] { m->m.save(path); });
}

struct module *module_load(struct scope *s, const char *path, struct device device)
{
    struct module *m = nullptr;
    guarded(s, [&] { m = keep(s, torch::jit::load(path, at_device(device))); });
    return m;
}
