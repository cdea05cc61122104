/*
 * torch_train.h: the part of the C API over libtorch (torch.h) that trains: parameters that lie in
 * one run of float32, gradients of pieces of a step, and libtorch's AdamW.
 *
 * Invariant: what a step computes hangs neither on the number of slots nor of threads.
 */
#ifndef TORCH_TRAIN_H
#define TORCH_TRAIN_H

#include "torch.h"

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
};
/* All runs are zero. */
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

/* The gradient of `loss`, a scalar of the scope, into a slot. Errors are the scope's. */
void adamw_gradient(struct adamw *a, struct scope *s, const struct tensor *loss, int slot);

/* See trainer.h, where these are functions of the trainer. */
int adamw_add(struct adamw *a, int n, struct buf *err) MUST_USE;
int adamw_step(struct adamw *a, double lr, double clip, double *norm, struct buf *err) MUST_USE;
enum adamw_run {
    ADAMW_WEIGHTS,
    ADAMW_MEANS,
    ADAMW_SQUARES,
    ADAMW_GRADIENT,
};
int adamw_read(struct adamw *a, enum adamw_run run, float *values, struct buf *err) MUST_USE;
int adamw_write(struct adamw *a, enum adamw_run run, const float *values, struct buf *err) MUST_USE;
int64_t adamw_steps(const struct adamw *a);
void adamw_set_steps(struct adamw *a, int64_t steps);

#ifdef __cplusplus
}
#endif
#endif
