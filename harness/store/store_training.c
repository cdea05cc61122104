/*
 * store_training.c: trainings and their losses go into the database. See store.h.
 *
 * Invariant: each call is one statement, and so atomic.
 */
#include "store/store_impl.h"

#include <sqlite3.h>
#include <time.h>

int store_training_begin(struct store *s, const struct store_training *t, struct buf *err)
{
    if (!t->id || !t->sweep || !t->model || !t->label || !t->settings)
        BUG("a training without its id, sweep, model, label or settings");
    struct sqlite3_stmt *st = store_stmt(s, ST_TRAINING_ADD, err);
    if (!st || store_write_check(s, err))
        return -1;
    store_bind_text(st, 1, t->id);
    store_bind_text(st, 2, t->sweep);
    store_bind_text(st, 3, t->model);
    store_bind_text(st, 4, t->label);
    store_bind_text(st, 5, t->settings);
    sqlite3_bind_int64(st, 6, (sqlite3_int64)time(NULL));
    return store_step(s, st, err);
}

/* Runs the statement, which adds a row where the training is there. */
static int add_row(struct store *s, struct sqlite3_stmt *st, const char *training_id,
                   struct buf *err)
{
    store_bind_text(st, 1, training_id);
    if (store_step(s, st, err))
        return -1;
    return sqlite3_changes(s->db) > 0
               ? 0
               : fail(err, "%s: there is no training %s", s->path, training_id);
}

int store_train_step_set(struct store *s, const char *training_id, const struct store_train_step *t,
                         struct buf *err)
{
    if (t->step < 1 || t->tokens < 0)
        BUG("training %s: step %lld after %lld tokens", training_id, (long long)t->step,
            (long long)t->tokens);
    struct sqlite3_stmt *st = store_stmt(s, ST_TRAIN_STEP_SET, err);
    if (!st || store_write_check(s, err))
        return -1;
    sqlite3_bind_int64(st, 2, t->step);
    sqlite3_bind_int64(st, 3, t->tokens);
    store_bind_double(st, 4, t->loss);
    store_bind_double(st, 5, t->lr);
    store_bind_double(st, 6, t->grad_norm);
    store_bind_double(st, 7, t->balance_loss);
    store_bind_double(st, 8, t->z_loss);
    store_bind_double(st, 9, t->experts);
    store_bind_double(st, 10, t->seconds);
    s->run.moved = true;
    return add_row(s, st, training_id, err);
}

int store_train_heldout_set(struct store *s, const char *training_id, int64_t step,
                            const char *source, double nll, int64_t tokens, struct buf *err)
{
    if (step < 0 || !source || tokens < 0)
        BUG("training %s: held-out loss at step %lld over %lld tokens", training_id,
            (long long)step, (long long)tokens);
    struct sqlite3_stmt *st = store_stmt(s, ST_TRAIN_HELDOUT_SET, err);
    if (!st || store_write_check(s, err))
        return -1;
    sqlite3_bind_int64(st, 2, step);
    store_bind_text(st, 3, source);
    store_bind_double(st, 4, nll);
    sqlite3_bind_int64(st, 5, tokens);
    return add_row(s, st, training_id, err);
}
