/*
 * train.c: see train.h. What comes when: the finished model is looked for, the lock is taken, the
 * newest state is loaded; then step after step, with a state every now and then; at the end what is
 * held out, and the model's folder.
 *
 * Rows go to the store before the state that follows them is saved: what a killed run had not stored
 * yet is computed again.
 */
#include "train/train_impl.h"

#include "train/checkpoint.h"
#include "train/prune.h"

#include <math.h>
#include <string.h>

int64_t train_steps(const struct training *t, const struct lessons *l)
{
    if (t->steps > 0)
        return t->steps;
    // 1.1 times 7 lessons and 0.1 times 3 are 8 of them, and not a hair more.
    double steps = ceil(t->epochs * lessons_per_epoch(l) / t->batch - 1e-9);
    return steps < 1 ? 1 : (int64_t)steps;
}

bool train_stopped(const struct training_run *r)
{
    return r->stop && r->stop();
}

/* ---- states ---- */

static int64_t extra_numbers(const struct training_run *r)
{
    return r->cutoffs ? r->average.nstate : 0;
}

static bool keeps_states(const struct training_run *r)
{
    return !isinf(r->task->checkpoint_seconds);
}

static int get_bytes(void *run, int64_t at, int64_t n, void *bytes, struct buf *err)
{
    const struct training_run *r = run;
    return r->f->state_get(r->trainer, at, n, bytes, err);
}

static int put_bytes(void *run, int64_t at, int64_t n, const void *bytes, struct buf *err)
{
    const struct training_run *r = run;
    return r->f->state_put(r->trainer, at, n, bytes, err);
}

static int save_state(struct training_run *r, struct buf *err)
{
    struct checkpoint_state s = { .step = r->step,
                                  .tokens = r->tokens,
                                  .bytes = r->f->state_bytes(r->trainer),
                                  .nextra = extra_numbers(r) };
    if (r->step == 0 || r->saved == r->step || !keeps_states(r))
        return 0;
    s.extra = xcalloc((size_t)s.nextra, sizeof(*s.extra));
    if (s.nextra)
        memcpy(s.extra, r->average.state, (size_t)s.nextra * sizeof(*s.extra));
    int rc = checkpoint_save(r->task->root, r->task->id, &s, get_bytes, r, err);
    if (rc == 0)
        r->saved = r->step;
    r->saved_at = now_seconds();
    checkpoint_state_release(&s);
    return rc;
}

static int load_state(struct training_run *r, struct buf *err)
{
    struct checkpoint_state s = { .bytes = r->f->state_bytes(r->trainer),
                                  .nextra = extra_numbers(r) };
    bool found;
    if (checkpoint_load(r->task->root, r->task->id, &s, put_bytes, r, &found, err))
        return -1;
    if (!found)
        return 0;
    r->f->set_steps(r->trainer, s.step);
    r->step = r->saved = s.step;
    r->tokens = s.tokens;
    if (s.nextra) {
        memcpy(r->average.state, s.extra, (size_t)s.nextra * sizeof(*s.extra));
        r->learnt = cutoff_average_value(&r->average, r->cutoffs);
    }
    checkpoint_state_release(&s);
    return 0;
}

/* ---- opening ---- */

static int check_room(const struct training_run *r, struct buf *err)
{
    const int64_t count = r->f->count(r->trainer);
    const int64_t state = keeps_states(r) ? r->f->state_bytes(r->trainer) : 0;
    if (checkpoint_room(r->task->root, r->task->id, state,
                        count * (int64_t)dtype_size(r->task->training->save), err) == 0)
        return 0;
    return state ? fail(err, "%s; --checkpoint-seconds never trains without states", err->s) : -1;
}

static int open_trainer(struct training_run *r, struct buf *err)
{
    const struct train_task *task = r->task;
    struct weights *w = weights_open(r->base.s, err);
    if (!w)
        return -1;
    r->layers = w->config.layers;
    r->experts = w->config.experts;
    const char *name = strrchr(task->base, '/');
    r->model = xstrdup(task->model ? task->model : name ? name + 1 : task->base);
    r->trainer = r->f->open(w, task->device, task->training, task->threads, err);
    weights_close(w);
    if (!r->trainer)
        return -1;
    r->threads = piece_threads_new(r->f, r->trainer, task->threads);
    if (task->router->learns) {
        cutoff_average_init(&r->average, r->layers, r->experts, task->args.decay);
        r->cutoffs = xcalloc((size_t)r->average.count, sizeof(*r->cutoffs));
    }
    return 0;
}

static int begin_in_store(const struct training_run *r, struct buf *err)
{
    const struct train_task *task = r->task;
    const struct store_training t = { .id = task->id,
                                      .sweep = task->sweep ? task->sweep : "",
                                      .model = r->model,
                                      .label = task->label,
                                      .settings = task->about };
    return r->store ? store_training_begin(r->store, &t, err) : 0;
}

/* The folder to begin with, which may have to be made. */
static int find_base(struct training_run *r, const struct engine *engine, bool *interrupted,
                     struct buf *err)
{
    const struct train_task *task = r->task;
    if (!lesson_order_any(task->lessons))
        return fail(err, "there is no text to train on");
    if (!(task->training->prune > 0)) {
        buf_adds(&r->base, task->base);
        buf_adds(&r->about, task->about);
        return 0;
    }
    if (prune_base(task, engine, r->stop, &r->base, interrupted, err))
        return -1;
    return *interrupted ? 0 : prune_about(task->about, r->base.s, &r->about, err);
}

static int open_run(struct training_run *r, struct buf *err)
{
    lesson_order_init(&r->order, r->task->lessons, r->task->training->seed);
    r->steps = train_steps(r->task->training, r->task->lessons);
    if (open_trainer(r, err) || check_room(r, err) || begin_in_store(r, err) || load_state(r, err))
        return -1;
    train_log_start(&r->log, r->store, r->task->id, r->steps);
    r->saved_at = now_seconds();
    return 0;
}

static void close_run(struct training_run *r)
{
    train_log_end(&r->log);
    piece_threads_free(r->threads);
    if (r->trainer)
        r->f->close(r->trainer);
    if (r->cutoffs)
        cutoff_average_release(&r->average);
    free(r->cutoffs);
    lesson_order_release(&r->order);
    buf_release(&r->base);
    buf_release(&r->about);
    free(r->model);
}

/* ---- from the first step to the last ---- */

static int steps(struct training_run *r, struct buf *err)
{
    const struct train_task *task = r->task;
    struct store_train_step row;
    while (r->step < r->steps && !train_stopped(r)) {
        int64_t before = r->tokens;
        int rc = train_step(r, &row, err);
        r->log.peak = r->f->peak ? r->f->peak(r->trainer) : 0;
        if (rc || train_log_step(&r->log, &row, r->tokens - before, err))
            return -1;
        if (r->step < r->steps && task->heldout_every && r->step % task->heldout_every == 0 &&
            train_heldout(r, err))
            return -1;
        if (r->step < r->steps && now_seconds() - r->saved_at >= task->checkpoint_seconds &&
            (train_log_flush(&r->log, err) || save_state(r, err)))
            return -1;
    }
    return train_log_flush(&r->log, err);
}

/* Of the model's file: its tensors are the trainer's run of weights, and in its order. */
static int get_weights(void *run, int64_t at, int64_t n, void *bytes, struct buf *err)
{
    const struct training_run *r = run;
    const enum dtype dtype = r->task->training->save;
    const int64_t size = (int64_t)dtype_size(dtype);
    return r->f->weights(r->trainer, at / size, n / size, dtype, bytes, err);
}

static int publish(struct training_run *r, struct buf *err)
{
    const struct train_task *task = r->task;
    size_t n;
    const struct trainer_tensor *from = r->f->tensors(r->trainer, &n);
    struct checkpoint_tensor *to = xcalloc(n, sizeof(*to));
    const struct cutoffs cutoffs = { task->args.K, r->layers, r->experts, r->cutoffs };
    const struct checkpoint_model m = { .base = r->base.s,
                                        .tensors = to,
                                        .ntensors = n,
                                        .get = get_weights,
                                        .of = r,
                                        .dtype = task->training->save,
                                        .cutoffs = r->learnt ? &cutoffs : NULL,
                                        .about = r->about.s };
    for (size_t i = 0; i < n; i++)
        to[i] = (struct checkpoint_tensor){ from[i].name, from[i].ndim, from[i].shape, NULL };
    int rc = checkpoint_publish(task->root, task->id, &m, err);
    free(to);
    return rc;
}

/* From the state that was loaded to the finished folder, or until `stop`. */
static int run(struct training_run *r, bool *interrupted, struct buf *err)
{
    if (steps(r, err) || (r->step == r->steps && train_heldout(r, err)))
        return -1;
    if (!train_stopped(r))
        return publish(r, err);
    if (save_state(r, err))
        return -1;
    *interrupted = true;
    return 0;
}

/* What was done is kept where it can be; the sentence of what failed says where the training goes on. */
static void tell_state(struct training_run *r, struct buf *err)
{
    struct buf second = BUF_INIT;
    bool kept = train_log_flush(&r->log, &second) == 0;
    if (!r->broken && kept)
        kept = save_state(r, &second) == 0;
    if (!kept && strcmp(second.s, err->s) != 0)
        warning("%s", second.s);
    if (!r->broken && r->saved >= 0)
        fail(err, "%s; the next run of this training goes on after step %lld of %lld", err->s,
             (long long)r->saved, (long long)r->steps);
    buf_release(&second);
}

static int train_locked(const struct train_task *task, const struct engine *engine,
                        struct store *store, bool (*stop)(void), struct train_result *result,
                        struct buf *err)
{
    struct training_run r = {
        .task = task, .f = engine->trainer, .store = store, .stop = stop, .loss = NAN, .saved = -1
    };
    buf_init(&r.base);
    buf_init(&r.about);
    int rc = find_base(&r, engine, &result->interrupted, err);
    if (rc == 0 && !result->interrupted)
        rc = open_run(&r, err);
    if (rc == 0 && !result->interrupted) {
        rc = run(&r, &result->interrupted, err);
        if (rc)
            tell_state(&r, err);
    }
    result->steps = r.step;
    result->loss = r.loss;
    close_run(&r);
    return rc;
}

int train_model(const struct train_task *task, const struct engine *engine, struct store *store,
                bool (*stop)(void), struct train_result *result, struct buf *err)
{
    double from = now_seconds();
    struct buf dir = BUF_INIT;
    *result = (struct train_result){ .loss = NAN };
    int rc = checkpoint_find(task->root, task->id, &result->there, &dir, err);
    if (rc == 0 && !result->there) {
        struct checkpoint_lock *lock = checkpoint_lock(task->root, task->id, stop, err);
        buf_reset(&dir);
        // Whom we waited for may have made it.
        rc = lock ? checkpoint_find(task->root, task->id, &result->there, &dir, err) : -1;
        if (rc == 0 && !result->there)
            rc = train_locked(task, engine, store, stop, result, err);
        result->interrupted = result->interrupted || (!lock && stop && stop());
        checkpoint_unlock(lock);
    }
    if (rc == 0 && result->there)
        checkpoint_remove_states(task->root, task->id);
    buf_release(&dir);
    result->seconds = now_seconds() - from;
    if (rc == 0 || result->interrupted)
        return 0;
    return fail(err, "%s: %s", task->label, err->s);
}
