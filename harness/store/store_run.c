/*
 * store_run.c: runs, their recipes and plans, and what cells were made of. See store.h.
 *
 * Invariant: a run's samples, tokens and seconds change in the transaction that adds the samples, with
 * one statement for all of it.
 */
#include "store/store_impl.h"

#include <sqlite3.h>
#include <string.h>
#include <time.h>

/* ---- what is counted ---- */

/* So many samples more of the cell in use are the run's. */
static int count_samples(struct store *s, int64_t samples, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_RUN_CELL, err);
    if (!st)
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    sqlite3_bind_int64(st, 2, s->run.n);
    sqlite3_bind_int64(st, 3, samples);
    return store_step(s, st, err);
}

int store_run_count(struct store *s, int64_t tokens, struct buf *err)
{
    if (!s->run.n)
        return 0;
    if (count_samples(s, 1, err))
        return -1;
    s->run.samples++;
    s->run.tokens += tokens;
    s->run.moved = true;
    return 0;
}

/* Seconds of training since they were asked for last. */
static void take_training(struct store_tally *t, double now)
{
    if (t->share > 0)
        t->trained += (now - t->trains_from) * t->share;
    t->trains_from = now;
}

int store_run_flush(struct store *s, struct buf *err)
{
    struct store_tally *t = &s->run;
    if (!t->n || !t->moved)
        return 0;
    struct sqlite3_stmt *st = store_stmt(s, ST_RUN_COUNT, err);
    if (!st)
        return -1;
    double now = now_seconds();
    take_training(t, now);
    sqlite3_bind_int64(st, 1, t->n);
    sqlite3_bind_double(st, 2, now - t->from);
    sqlite3_bind_int64(st, 3, t->samples);
    sqlite3_bind_int64(st, 4, t->tokens);
    sqlite3_bind_double(st, 5, t->trained);
    if (store_step(s, st, err))
        return -1;
    t->trained = 0;
    return 0;
}

void store_run_forget(struct store *s)
{
    s->run.samples = s->run.tokens = 0;
    s->run.moved = false;
}

void store_run_trains(struct store *s, double share)
{
    take_training(&s->run, now_seconds());
    s->run.share = share;
}

/* ---- runs ---- */

/* The row that one statement finds by a text: its number, and what stands beside it. */
static int find_row(struct store *s, enum stmt_id id, const char *key, int64_t *n, int64_t *beside,
                    struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, id, err);
    if (!st)
        return -1;
    store_bind_text(st, 1, key);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *n = sqlite3_column_int64(st, 0);
        if (beside)
            *beside = sqlite3_column_int64(st, 1);
    } else if (rc == SQLITE_DONE) {
        fail(err, "%s: there is no run %s", s->path, key);
    } else {
        store_fail(s, err, rc);
    }
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return rc == SQLITE_ROW ? 0 : -1;
}

/* The recipe is kept once, whoever reads it and wherever it lies. */
static int add_recipe(struct store *s, const struct store_run *run, struct buf *err)
{
    char hex[33];
    s->run.recipe = 0;
    if (!run->recipe_text)
        return 0;
    struct hash *h = hash_new();
    hash_add(h, run->recipe_text, strlen(run->recipe_text));
    hash_hex(h, hex);
    hash_free(h);
    struct sqlite3_stmt *st = store_stmt(s, ST_RECIPE_ADD, err);
    if (!st)
        return -1;
    store_bind_text(st, 1, hex);
    store_bind_text(st, 2, run->recipe_path);
    store_bind_text(st, 3, run->recipe_text);
    return store_step(s, st, err) || find_row(s, ST_RECIPE_FIND, hex, &s->run.recipe, NULL, err)
               ? -1
               : 0;
}

static int add_run(struct store *s, const struct store_run *run, struct buf *err)
{
    struct sqlite3_stmt *st = add_recipe(s, run, err) ? NULL : store_stmt(s, ST_RUN_ADD, err);
    if (!st)
        return -1;
    store_bind_text(st, 1, run->id);
    sqlite3_bind_int64(st, 2, s->run.recipe);
    const char *const texts[] = { run->sweep,  run->command, run->version, run->revision,
                                  run->device, run->host,    run->shard };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        store_bind_text(st, (int)i + 3, texts[i]);
    sqlite3_bind_int64(st, 10, (sqlite3_int64)time(NULL));
    return store_step(s, st, err) ? -1 : store_run_join(s, run->id, run->from, err);
}

int store_run_begin(struct store *s, const struct store_run *run, struct buf *err)
{
    if (s->run.n)
        BUG("%s: a run inside a run", s->path);
    int rc = store_write_begin(s, err);
    if (rc == 0)
        rc = store_write_end(s, add_run(s, run, err), err);
    if (rc)
        s->run = (struct store_tally){ 0 };
    return rc;
}

int store_run_join(struct store *s, const char *id, double from, struct buf *err)
{
    s->run = (struct store_tally){ .from = from };
    return find_row(s, ST_RUN_FIND, id, &s->run.n, &s->run.recipe, err);
}

int store_run_engine(struct store *s, const char *libtorch, const char *blas, const char *device,
                     const char *driver, struct buf *err)
{
    if (!s->run.n)
        return 0;
    struct sqlite3_stmt *st = store_stmt(s, ST_RUN_ENGINE, err);
    if (!st || store_write_check(s, err))
        return -1;
    sqlite3_bind_int64(st, 1, s->run.n);
    store_bind_text(st, 2, libtorch);
    store_bind_text(st, 3, blas);
    store_bind_text(st, 4, device);
    store_bind_text(st, 5, driver);
    return store_step(s, st, err);
}

static int end_run(struct store *s, const char *outcome, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_RUN_END, err);
    if (!st)
        return -1;
    sqlite3_bind_int64(st, 1, s->run.n);
    sqlite3_bind_int64(st, 2, (sqlite3_int64)time(NULL));
    store_bind_text(st, 3, outcome);
    s->run.moved = true;
    return store_step(s, st, err);
}

int store_run_end(struct store *s, const char *outcome, struct buf *err)
{
    if (!s->run.n)
        return 0;
    int rc = store_write_begin(s, err);
    if (rc == 0)
        rc = store_write_end(s, end_run(s, outcome, err), err);
    s->run = (struct store_tally){ 0 };
    return rc;
}

/* ---- plans ---- */

static int add_plan(struct store *s, const struct store_plan *p, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_PLAN_ADD, err);
    if (!st)
        return -1;
    sqlite3_bind_int64(st, 1, s->run.n);
    store_bind_text(st, 2, p->id);
    store_bind_text(st, 3, p->model);
    store_bind_text(st, 4, p->label);
    sqlite3_bind_int(st, 5, p->k);
    store_bind_text(st, 6, p->train);
    store_bind_text(st, 7, p->task);
    sqlite3_bind_int64(st, 8, p->samples);
    sqlite3_bind_int64(st, 9, p->tokens);
    return store_step(s, st, err);
}

static int replace_plan(struct store *s, const struct store_plan *v, size_t n, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_PLAN_CLEAR, err);
    if (!st)
        return -1;
    sqlite3_bind_int64(st, 1, s->run.n);
    int rc = store_step(s, st, err);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = add_plan(s, &v[i], err);
    return rc;
}

int store_plan_set(struct store *s, const struct store_plan *v, size_t n, struct buf *err)
{
    if (!s->run.recipe)
        BUG("%s: a plan without a run that has a recipe", s->path);
    return store_write_begin(s, err) ? -1 : store_write_end(s, replace_plan(s, v, n, err), err);
}

/* ---- sources ---- */

static int add_source(struct store *s, const struct store_source *v, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_SOURCE_ADD, err);
    if (!st)
        return -1;
    store_bind_text(st, 1, v->kind);
    store_bind_text(st, 2, v->name);
    store_bind_text(st, 3, v->hash);
    if (store_step(s, st, err))
        return -1;
    st = store_stmt(s, ST_CELL_SOURCE_ADD, err);
    if (!st)
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    store_bind_text(st, 2, v->kind);
    store_bind_text(st, 3, v->name);
    store_bind_text(st, 4, v->hash);
    return store_step(s, st, err);
}

static int add_sources(struct store *s, const char *cell_id, const struct store_source *v, size_t n,
                       struct buf *err)
{
    if (store_cell_use(s, cell_id, err))
        return -1;
    for (size_t i = 0; i < n; i++)
        if (add_source(s, &v[i], err))
            return -1;
    return s->run.n ? count_samples(s, 0, err) : 0;
}

int store_cell_sources(struct store *s, const char *cell_id, const struct store_source *v, size_t n,
                       struct buf *err)
{
    return store_write_begin(s, err) ? -1
                                     : store_write_end(s, add_sources(s, cell_id, v, n, err), err);
}
