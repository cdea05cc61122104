/*
 * torch.h: the C API over libtorch: tensors, TorchScript modules compiled from source at run time,
 * .pt archives, autograd. torch.cpp and torch_ops.cpp are the only files that include libtorch.
 *
 * Ownership: every tensor and module belongs to the scope it was made in and is freed with it;
 * expressions nest without clean-up code. What a module holds lives as long as the module does,
 * whatever becomes of the scope in which the tensor was made.
 *
 * Errors: the first failure of a scope sticks. Every later call in that scope does nothing and
 * returns NULL (or 0), and NULL may be handed on: check scope_error() once a step. No exception
 * and no C++ type crosses this border.
 *
 * Threads: a scope is used by one thread. Modules may be called by many at once. Each thread
 * computes on one core (Debian's libtorch does elementwise work on one thread anyway), so use as
 * many threads as there are cores, each with its own scope and its own batch.
 *
 * Leaves out: everything that no caller uses.
 */
#ifndef TORCH_H
#define TORCH_H

#include "dtype.h"
#include "util.h"

#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

struct scope;
struct tensor;
struct module;

enum device_kind {
    DEVICE_CPU,
    DEVICE_CUDA,
};
struct device {
    enum device_kind kind;
    int index; /* of the GPU */
};

/*
 * "cpu", "cuda", "cuda:1". -1: no such device, or this libtorch cannot use it; `err` says which.
 * Of a GPU the first call is before anything else is asked of it: libtorch is told how to hold its
 * memory (torch_memory.h).
 */
int device_parse(const char *name, struct device *out, struct buf *err) MUST_USE;

/* Can this libtorch multiply matrices of this format there? */
int device_check(struct device device, enum dtype dtype, struct buf *err) MUST_USE;

/* A GPU's memory in bytes, what this program keeps for later given back. false: it is not known. */
bool device_memory(struct device device, int64_t *free_bytes, int64_t *total);
/*
 * The most bytes that libtorch had given to tensors of a GPU at once since it was told to forget; what
 * it holds in reserve is not among them. false: on the CPU, and where this libtorch cannot say.
 */
bool device_peak(struct device device, bool forget, int64_t *bytes);

/*
 * The cudaStream_t that libtorch works on in this thread; NULL: the default one, or no GPU. The GPU
 * becomes the thread's, so that kernels and memory that are asked for next are that GPU's.
 */
void *device_stream(struct device device);

/* How every sentence about missing memory begins, so that callers can try again with less. */
#define OUT_OF_MEMORY "out of memory"
static inline bool says_out_of_memory(const char *sentence)
{
    return strstr(sentence, OUT_OF_MEMORY) != NULL;
}

/* What `doctor` tells. Strings live for ever. */
struct torch_info {
    const char *version; /* "1.13.0" */
    const char *blas;    /* "OpenBLAS (...)", "MKL", "reference BLAS (slow)" */
    bool fast_blas;
    const char *products; /* which form of our own products runs on this CPU: "AVX-512" */
    int cuda_devices;
};
struct torch_info torch_describe(void);

/* `grad`: operations in this scope are recorded for tensor_backward(). */
struct scope *scope_new(bool grad);
void scope_free(struct scope *s);
const char *scope_error(const struct scope *s); /* NULL: all is well */
/* Makes the scope fail, for callers that found something wrong between two operations. */
void scope_fail(struct scope *s, const char *fmt, ...) PRINTF(2, 3);

/* A copy of `data`, contiguous, of shape [shape...], on a device. */
struct tensor *tensor_floats(struct scope *s, const float *data, int ndim, const int64_t *shape,
                             struct device device);
struct tensor *tensor_ints(struct scope *s, const int64_t *data, int ndim, const int64_t *shape,
                           struct device device);
struct tensor *tensor_empty(struct scope *s, enum dtype dtype, int ndim, const int64_t *shape,
                            struct device device);
/*
 * Fills `count` values of t, from the row-major place `offset` on, with `data` (any alignment) of
 * the given dtype. false: one of them is NaN or infinite, or the scope has failed.
 */
bool tensor_fill(struct scope *s, struct tensor *t, int64_t offset, const void *data,
                 enum dtype dtype, int64_t count);

/*
 * A matrix [n, k], or several [N, n, k], of float32 on the CPU, in the panels that the decoder's
 * products want (kernels.h): [n / PANEL rounded up, k, PANEL], or [N, ...]. A copy.
 */
struct tensor *tensor_pack(struct scope *s, const struct tensor *t);

/* The same tensor, owned by another scope as well: what outlives the scope it was made in. */
struct tensor *tensor_share(struct scope *s, const struct tensor *t);

/* For kernels: room for n int32; t on another device; its values, contiguous and without gradients. */
struct tensor *tensor_int32(struct scope *s, int64_t n, struct device device);
struct tensor *tensor_to(struct scope *s, const struct tensor *t, struct device device);
struct tensor *tensor_plain(struct scope *s, const struct tensor *t);
/* A copy of the first n values of t, which has one dimension. */
struct tensor *tensor_first(struct scope *s, const struct tensor *t, int64_t n);
/* Bytes of a contiguous t, `offset` of them left out, into the host's memory; waits for them. */
void tensor_bytes(struct scope *s, const struct tensor *t, size_t offset, void *to, size_t bytes);

int tensor_dim(struct scope *s, const struct tensor *t);
int64_t tensor_size(struct scope *s, const struct tensor *t, int dim);
/* The values as float32, row-major, in the host's memory; valid as long as the scope. */
const float *tensor_values(struct scope *s, const struct tensor *t);

/* Where a contiguous tensor's values are, in its device's memory; as long as the tensor lives. */
void *tensor_data(struct scope *s, const struct tensor *t);

/* A scalar's value, in all of its digits; NaN in a scope that has failed. */
double tensor_number(struct scope *s, const struct tensor *t);
/* The sum of n scalars, each times its weight: a scalar. */
struct tensor *tensor_weighted_sum(struct scope *s, struct tensor *const *t, const double *weight,
                                   int n);

/* Gradients. `loss` is a scalar of a scope with `grad`; the gradient of a module's parameter adds up
 * until tensor_zero_grad(). NULL: there is none. */
void tensor_require_grad(struct scope *s, struct tensor *t);
void tensor_backward(struct scope *s, const struct tensor *loss);
struct tensor *tensor_grad(struct scope *s, const struct tensor *t);
void tensor_zero_grad(struct scope *s, struct tensor *t);

/* An empty module, and what it holds. Names are Python identifiers. */
struct module *module_new(struct scope *s, const char *name);
void module_set_tensor(struct scope *s, struct module *m, const char *name, struct tensor *t);
/* Another tensor in the place of one that the module has. */
void module_replace_tensor(struct scope *s, struct module *m, const char *name, struct tensor *t);
void module_set_int(struct scope *s, struct module *m, const char *name, int64_t value);
void module_set_float(struct scope *s, struct module *m, const char *name, double value);
void module_set_child(struct scope *s, struct module *m, const char *name, struct module *child);
/* Compiles methods from TorchScript source. `torch.` are ATen's operators, `seqtopk.` are ours. */
void module_define(struct scope *s, struct module *m, const char *source);
struct tensor *module_tensor(struct scope *s, struct module *m, const char *name);
struct module *module_child(struct scope *s, struct module *m, const char *name);

/* Calls a method that takes `nin` tensors and returns `nout` of them (a tuple where several). */
void module_call(struct scope *s, struct module *m, const char *method, struct tensor *const *in,
                 int nin, struct tensor **out, int nout);

void module_save(struct scope *s, struct module *m, const char *path);
struct module *module_load(struct scope *s, const char *path, struct device device);

#ifdef __cplusplus
}
#endif
#endif
