/*
 * trainer.c: see trainer.h. The modules are those that score, with parameters that have gradients in
 * the place of theirs.
 */
#include "trainer_impl.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

/* ---- opening ---- */

static bool is_trained(const char *parameter, int only)
{
    switch ((enum train_only)only) {
    case TRAIN_ALL:
        return true;
    case TRAIN_ROUTER:
        return strcmp(parameter, "router") == 0;
    case TRAIN_EXPERTS:
        return strcmp(parameter, "gate_up") == 0 || strcmp(parameter, "down") == 0;
    }
    BUG("train_only %d", only);
}

/* The tensors of the files in the order of the parameters that they make up. */
static void list_tensors(struct trainer *t, const struct parameters *ps)
{
    for (size_t i = 0; i < ps->len; i++)
        t->ntensors += (size_t)ps->v[i].nparts;
    t->tensors = xcalloc(t->ntensors, sizeof(*t->tensors));
    struct trainer_tensor *to = t->tensors;
    for (size_t i = 0; i < ps->len; i++)
        for (int j = 0; j < ps->v[i].nparts; j++, to++) {
            const struct st_tensor *from = ps->v[i].parts[j];
            *to = (struct trainer_tensor){ xstrdup(from->name), from->ndim, { 0 }, t->count };
            int64_t size = 1;
            for (int d = 0; d < from->ndim; d++)
                size *= to->shape[d] = from->shape[d];
            t->count += size;
        }
}

/*
 * Parameters that have gradients take the place of those that the modules were built with, one after
 * the other, so that the two are never there whole.
 */
static int replace_parameters(struct trainer *t, const struct parameters *ps, int only,
                              struct buf *err)
{
    struct module *ends = t->model->ends;
    int64_t offset = 0;
    for (size_t i = 0; i < ps->len && !scope_error(t->scope); i++) {
        const struct parameter *p = &ps->v[i];
        struct scope *s = scope_new(false);
        adamw_load(t->adamw, s, offset, module_tensor(s, p->module, p->name));
        if (scope_error(s))
            scope_fail(t->scope, "%s", scope_error(s));
        scope_free(s);
        struct tensor *leaf = adamw_parameter(t->adamw, t->scope, offset, p->ndim, p->shape,
                                              is_trained(p->name, only));
        module_replace_tensor(t->scope, p->module, p->name, leaf);
        // A tied head is the embedding itself: it was not built from tensors of its own.
        if (p->module == ends && strcmp(p->name, "embedding") == 0 && t->model->config.tied)
            module_replace_tensor(t->scope, ends, "head", leaf);
        int64_t size = 1;
        for (int d = 0; d < p->ndim; d++)
            size *= p->shape[d];
        offset += size;
    }
    return scope_error(t->scope) ? fail(err, "%s", scope_error(t->scope)) : 0;
}

static void trainer_close(struct trainer *t)
{
    if (!t)
        return;
    scope_free(t->scope);
    model_close(t->model);
    adamw_free(t->adamw);
    for (size_t i = 0; i < t->ntensors; i++)
        free((char *)(uintptr_t)t->tensors[i].name);
    free(t->tensors);
    free(t);
}

/* Cores for each of `slots` threads, 8 at most. */
static int spare_threads(int slots)
{
    long each = sysconf(_SC_NPROCESSORS_ONLN) / slots;
    return each < 1 ? 1 : each > 8 ? 8 : (int)each;
}

static struct trainer *trainer_open(const struct weights *w, struct device device,
                                    const struct training *how, int slots, struct buf *err)
{
    struct trainer *t = xcalloc(1, sizeof(*t));
    struct parameters ps;
    t->scope = scope_new(false);
    t->route_threads = device.kind == DEVICE_CPU ? 1 : spare_threads(slots);
    t->model = model_open_parameters(w, device, &ps, err);
    int rc = t->model ? 0 : -1;
    if (rc == 0) {
        list_tensors(t, &ps);
        const struct adamw_setup setup = { .count = t->count,
                                           .device = device,
                                           .dtype = how->dtype,
                                           .slots = slots,
                                           .beta1 = how->beta1,
                                           .beta2 = how->beta2,
                                           .weight_decay = how->weight_decay,
                                           .optimiser = (enum optimiser)how->optimiser };
        t->checkpointing = how->checkpointing;
        t->adamw = adamw_new(&setup, err);
        rc = !t->adamw || replace_parameters(t, &ps, how->only, err);
        t->model->dtype = how->dtype;
    }
    parameters_release(&ps);
    if (rc == 0)
        return t;
    trainer_close(t);
    return NULL;
}

/* ---- the rest ---- */

static int trainer_add(struct trainer *t, int n, struct buf *err)
{
    return adamw_add(t->adamw, n, err);
}

static int trainer_step(struct trainer *t, double lr, double clip, double *norm, struct buf *err)
{
    return adamw_step(t->adamw, lr, clip, norm, err);
}

static const struct trainer_tensor *trainer_tensors(const struct trainer *t, size_t *n)
{
    *n = t->ntensors;
    return t->tensors;
}

static int64_t trainer_count(const struct trainer *t)
{
    return t->count;
}

static int64_t trainer_steps(const struct trainer *t)
{
    return adamw_steps(t->adamw);
}

static enum adamw_run run_of(enum trainer_run run)
{
    static const enum adamw_run runs[] = { [RUN_WEIGHTS] = ADAMW_WEIGHTS,
                                           [RUN_MEANS] = ADAMW_MEANS,
                                           [RUN_SQUARES] = ADAMW_SQUARES,
                                           [RUN_GRADIENT] = ADAMW_GRADIENT };
    return runs[run];
}

static int trainer_read(struct trainer *t, enum trainer_run run, float *values, struct buf *err)
{
    return adamw_read(t->adamw, run_of(run), values, err);
}

static int trainer_write(struct trainer *t, enum trainer_run run, const float *values,
                         struct buf *err)
{
    if (run == RUN_GRADIENT)
        BUG("a gradient cannot be written");
    return adamw_write(t->adamw, run_of(run), values, err);
}

static int trainer_weights(struct trainer *t, int64_t at, int64_t n, enum dtype dtype, void *values,
                           struct buf *err)
{
    return adamw_weights(t->adamw, at, n, dtype, values, err);
}

static void trainer_set_steps(struct trainer *t, int64_t steps)
{
    adamw_set_steps(t->adamw, steps);
}

static int64_t trainer_state_bytes(const struct trainer *t)
{
    return adamw_state_bytes(t->adamw);
}

static int trainer_state_get(struct trainer *t, int64_t at, int64_t n, void *bytes, struct buf *err)
{
    return adamw_state_get(t->adamw, at, n, bytes, err);
}

static int trainer_state_put(struct trainer *t, int64_t at, int64_t n, const void *bytes,
                             struct buf *err)
{
    return adamw_state_put(t->adamw, at, n, bytes, err);
}

static int64_t trainer_peak(const struct trainer *t)
{
    return adamw_peak(t->adamw);
}

static int trainer_score(struct trainer *t, const struct batch *batch, struct scored *out,
                         struct buf *err)
{
    struct scope *scope = scope_new(false);
    int rc = model_forward(t->model, batch, NULL, NULL, 0, scope, NULL, out, err);
    scope_free(scope);
    return rc;
}

const struct trainer_functions trainer_functions = {
    .open = trainer_open,
    .close = trainer_close,
    .gradient = trainer_gradient,
    .add = trainer_add,
    .step = trainer_step,
    .tensors = trainer_tensors,
    .count = trainer_count,
    .steps = trainer_steps,
    .read = trainer_read,
    .write = trainer_write,
    .weights = trainer_weights,
    .set_steps = trainer_set_steps,
    .state_bytes = trainer_state_bytes,
    .state_get = trainer_state_get,
    .state_put = trainer_state_put,
    .score = trainer_score,
    .peak = trainer_peak,
};
