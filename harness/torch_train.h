/*
 * torch_train.h: the part of the C API over libtorch (torch.h) that trains: parameters that lie in
 * one run, gradients of pieces of a step, and libtorch's AdamW, or one of our own whose averages have
 * 8 bits a number (torch_adam8.h, which has the table of bytes a parameter).
 *
 * Invariant: on the CPU, what a step computes hangs neither on the number of slots nor of threads.
 */
#ifndef TORCH_TRAIN_H
#define TORCH_TRAIN_H

#include "torch.h"
#include "training.h"

#ifdef __cplusplus
extern "C" {
#endif

struct adamw;

struct adamw_setup {
    int64_t count; /* floats of a run */
    struct device device;
    enum dtype dtype; /* of the arithmetic */
    int slots;        /* threads that take gradients at once, and that share a step's work */
    double beta1, beta2, weight_decay;
    enum optimiser optimiser;
};
/* All runs are zero. Of a GPU's memory, what only gradients need is asked for with the first one. */
struct adamw *adamw_new(const struct adamw_setup *setup, struct buf *err) MUST_USE;
void adamw_free(struct adamw *a);

/*
 * The floats from `offset` on as a tensor for arithmetic, valid as long as `a`, and owned by `s` as
 * well. `trained`: it has gradients and changes; a matrix then decays. Offsets ascend.
 */
struct tensor *adamw_parameter(struct adamw *a, struct scope *s, int64_t offset, int ndim,
                               const int64_t *shape, bool trained);

/*
 * What the calling thread asks of a GPU from here on goes to the slot's own queue, beside the other
 * slots' work. To be called before a piece's first operation.
 */
void adamw_begin(struct adamw *a, struct scope *s, int slot);

/*
 * Adds the gradient of the sum of `n` outputs to what the slot has had since adamw_begin(); each
 * output is multiplied by what stands beside it in `by`, of its shape (NULL: 1, and it is a scalar);
 * one that hangs on nothing trained counts for nothing.
 * Returns the gradient by `x`; NULL where x is, or where x has none. Errors are the scope's. With 8
 * bits on a GPU slots have no room of their own: what they get goes straight into the step's
 * gradient, and adamw_begin() forgets it only where there is one slot and nothing was added yet.
 */
struct tensor *adamw_gradient(struct adamw *a, struct scope *s, struct tensor *const *out,
                              struct tensor *const *by, int n, const struct tensor *x, int slot);

/* `t` without what it was made from; it has gradients of its own where it hung on a trained one. */
struct tensor *tensor_cut(struct scope *s, const struct tensor *t);

/* See trainer.h, where these are functions of the trainer. */
int adamw_add(struct adamw *a, int n, struct buf *err) MUST_USE;
int adamw_step(struct adamw *a, double lr, double clip, double *norm, struct buf *err) MUST_USE;
enum adamw_run {
    ADAMW_WEIGHTS,
    ADAMW_MEANS,
    ADAMW_SQUARES,
    ADAMW_GRADIENT,
};
/* values: [count], in the host's memory */
int adamw_read(struct adamw *a, enum adamw_run run, float *values, struct buf *err) MUST_USE;
int adamw_write(struct adamw *a, enum adamw_run run, const float *values, struct buf *err) MUST_USE;
/*
 * n weights from the at-th on: values: [n] of `dtype`, float32 or bfloat16, in the host's memory.
 * bfloat16 is rounded to the nearest, a tie to even, and a NaN stays one: from float32 to the bit what
 * train/safetensors_write.c makes of it. The device rounds; on the CPU the setup's slots are threads.
 */
int adamw_weights(struct adamw *a, int64_t at, int64_t n, enum dtype dtype, void *values,
                  struct buf *err) MUST_USE;
/*
 * The bytes of weights and averages as they are: float32 each, or with 8 bits the codes and scales, and
 * the weights in halves where the arithmetic is in bfloat16. All parameters are known by now.
 */
int64_t adamw_state_bytes(const struct adamw *a);
int adamw_state_get(struct adamw *a, int64_t at, int64_t n, void *bytes, struct buf *err) MUST_USE;
int adamw_state_put(struct adamw *a, int64_t at, int64_t n, const void *bytes,
                    struct buf *err) MUST_USE;
/* The weights from `offset` on, with the values of `t`: what a run begins with. */
void adamw_load(struct adamw *a, struct scope *s, int64_t offset, const struct tensor *t);
/* The most bytes that the program has had of the device's memory so far; 0: not known. */
int64_t adamw_peak(const struct adamw *a);
int64_t adamw_steps(const struct adamw *a);
void adamw_set_steps(struct adamw *a, int64_t steps);

#ifdef __cplusplus
}
#endif
#endif
