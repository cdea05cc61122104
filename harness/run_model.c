/*
 * run_model.c: what a run does with one model: it is found, or trained, opened where it is not open
 * already, and its cells are computed. See run_impl.h.
 *
 * Invariant: at most one model is open at a time, and one that cannot be opened fails its cells alone.
 */
#include "run_impl.h"

#include "run_memory.h"
#include "run_workers_impl.h"

#include <string.h>

/* The cell, and where it comes from. */
static int begin_cell(struct runner *r, const struct cell *cell, struct buf *err)
{
    struct buf params = BUF_INIT;
    enum cell_status was;
    struct store_cell c = run_stored_cell(r, cell, &params);
    int rc = store_begin(r->store, err);
    if (rc == 0)
        rc = store_cell_begin(r->store, &c, &was, err);
    if (rc == 0)
        rc = provenance_cell(r->store, cell, err);
    if (rc == 0)
        rc = store_commit(r->store, err);
    if (rc)
        store_rollback(r->store);
    buf_release(&params);
    return rc;
}

static int begin_cells(struct runner *r, struct cell_run *first, size_t n, struct buf *err)
{
    for (size_t i = 0; i < n; i++) {
        if (begin_cell(r, first[i].cell, err))
            return -1;
        // It was stopped between its last sample and its summary.
        if (first[i].units_left == 0 && !first[i].scored_after &&
            run_finish_cell(r, &first[i], err))
            return -1;
    }
    if (!r->sweep->log_tokens || r->told == first->cell->model)
        return 0;
    r->told = first->cell->model;
    return corpora_store_texts(r->corpora, first->cell, r->store, err);
}

/* A model that cannot be loaded fails its cells; the other models go on. */
static int fail_cells(struct runner *r, struct cell_run *first, size_t n, struct buf *why,
                      struct buf *err)
{
    for (size_t i = 0; i < n; i++)
        if (first[i].units_left && run_fail_cell(r, &first[i], why->s, err))
            return -1;
    return 0;
}

/* The units of the cells first .. first + n - 1, which lie together. */
static const struct unit *units_of(const struct units *units, const struct cell_run *first,
                                   size_t n, size_t *count)
{
    size_t from = 0, to;
    while (from < units->len && units->v[from].run < first)
        from++;
    for (to = from; to < units->len && units->v[to].run < first + n;)
        to++;
    *count = to - from;
    return units->v + from;
}

/* The cutoffs of the model in `dir`, for those of the cells whose router learnt them. */
static int read_cutoffs(struct cell_run *cells, size_t n, const char *dir, struct cutoffs *out,
                        struct buf *why)
{
    const struct model_config *config = &cells->cell->model->config;
    for (size_t i = 0; i < n; i++) {
        if (!cells[i].cell->router->learns)
            continue;
        if (!out->v && cutoffs_read(dir, config->layers, config->experts, out, why))
            return -1;
        if (!out->v || out->K != cells[i].cell->args.K)
            return fail(why, "%s: the cutoffs that training left there are gone, or of another K",
                        dir);
        cells[i].cutoffs = out->v;
    }
    return 0;
}

/* Tokens of the longest text of the cells. */
static int64_t longest_text(const struct runner *r, const struct cell_run *cells, size_t n)
{
    const struct units *const all[] = { &r->losses, &r->texts, &r->speeds };
    int64_t most = 0;
    for (size_t k = 0; k < ARRAY_LEN(all); k++) {
        size_t count;
        const struct unit *v = units_of(all[k], cells, n, &count);
        for (size_t i = 0; i < count; i++)
            most = v[i].tokens > most ? v[i].tokens : most;
    }
    return most;
}

void run_close_model(struct runner *r)
{
    if (r->model)
        r->engine->close(r->model);
    free(r->model_dir);
    r->model = NULL;
    r->model_dir = NULL;
}

/* Opens the model in `dir`, or finds it open. */
static int open_model(struct runner *r, struct cell_run *cells, size_t n, const char *dir,
                      struct buf *why)
{
    if (r->model && strcmp(r->model_dir, dir) == 0)
        return 0;
    run_close_model(r);
    r->model_dir = xstrdup(dir);
    struct weights *weights = weights_open(dir, why);
    if (weights && memory_check(r->engine, r->device, r->device_name, &weights->config,
                                r->sweep->dtype, longest_text(r, cells, n), why) == 0)
        r->model = r->engine->open(weights, r->device, r->sweep->dtype, why);
    weights_close(weights);
    return r->model ? 0 : -1;
}

/* Is it the training's model that is open? Its folder, named by the id, was looked through before. */
static bool is_open(const struct runner *r, const struct sweep_training *t)
{
    const char *name = r->model ? strrchr(r->model_dir, '/') : NULL;
    return name && strcmp(name + 1, t->id) == 0;
}

/* What part of the run's hands this process is. */
static double share_of(const struct runner *r)
{
    const struct provenance *p = r->options->provenance;
    return p ? 1.0 / p->processes : 1;
}

/* The folder of the cells' model, which is trained first where it has to be. 1: interrupted. */
static int find_model(struct runner *r, const struct cell *c, struct buf *dir, struct buf *why)
{
    if (!c->training) {
        buf_adds(dir, c->model->dir);
        return 0;
    }
    if (is_open(r, c->training)) {
        buf_adds(dir, r->model_dir);
        return 0;
    }
    struct train_result result = { 0 };
    struct train_place place = { .engine = r->engine,
                                 .device = r->device,
                                 .threads = training_threads(r->device, r->options->threads),
                                 .checkpoint_seconds = r->options->checkpoint_seconds,
                                 .store = r->store };
    double start = now_seconds();
    // Weights that are open take the room that training needs.
    run_close_model(r);
    store_run_trains(r->store, share_of(r));
    int rc = course_train(r->courses, c->training, &place, &result, dir, why);
    store_run_trains(r->store, 0);
    r->progress.from += now_seconds() - start; // the speed of scoring is told without it
    if (rc == 0 && !result.there && !result.interrupted)
        r->result->trained++;
    if (rc == 0 && !result.interrupted && r->member)
        crew_tell_model(r->member, true, result.there, "");
    return rc ? rc : result.interrupted;
}

/* The model is in `dir`, and stays open for the next cells. */
static int run_in(struct runner *r, struct cell_run *cells, size_t n, const char *dir,
                  struct buf *err)
{
    struct buf why = BUF_INIT;
    struct cutoffs cutoffs = { 0 };
    size_t nlosses, ntexts, nspeeds;
    const struct unit *losses = units_of(&r->losses, cells, n, &nlosses);
    const struct unit *texts = units_of(&r->texts, cells, n, &ntexts);
    const struct unit *speeds = units_of(&r->speeds, cells, n, &nspeeds);
    int rc;
    if (read_cutoffs(cells, n, dir, &cutoffs, &why) || open_model(r, cells, n, dir, &why)) {
        rc = run_check_device(r, err) ? -1 : fail_cells(r, cells, n, &why, err);
    } else {
        rc = nlosses ? run_losses(r, r->model, losses, nlosses, err) : 0;
        if (rc == 0 && ntexts && !run_interrupted())
            rc = run_texts(r, r->model, texts, ntexts, err);
        if (rc == 0 && nspeeds && !run_interrupted())
            rc = run_speeds(r, r->model, speeds, nspeeds, err);
    }
    cutoffs_release(&cutoffs);
    buf_release(&why);
    return rc;
}

/* It could not be trained: by nobody, if it was not the device that failed. */
static int no_model(struct runner *r, struct cell_run *cells, size_t n, struct buf *why,
                    struct buf *err)
{
    if (run_check_device(r, err))
        return -1;
    if (r->member)
        crew_tell_model(r->member, false, false, why->s);
    return fail_cells(r, cells, n, why, err);
}

/* All that wants the model of the cells first .. first + n - 1 to be open. */
static int run_units(struct runner *r, struct cell_run *cells, size_t n, struct buf *err)
{
    struct buf why = BUF_INIT, dir = BUF_INIT;
    size_t nlosses, ntexts, nspeeds;
    units_of(&r->losses, cells, n, &nlosses);
    units_of(&r->texts, cells, n, &ntexts);
    units_of(&r->speeds, cells, n, &nspeeds);
    if (nlosses + ntexts + nspeeds == 0)
        return 0;
    if (run_open_engine(r, err)) {
        r->lost = true;
        return -1;
    }
    int rc = find_model(r, cells->cell, &dir, &why);
    if (rc == 0)
        rc = run_in(r, cells, n, dir.s, err);
    else
        rc = rc > 0 ? 0 : no_model(r, cells, n, &why, err);
    if (!r->member)
        run_close_model(r); // nobody asks for it again
    buf_release(&why);
    buf_release(&dir);
    return rc;
}

int run_model(struct runner *r, size_t first, size_t n, struct buf *err)
{
    struct cell_run *cells = r->cells + first;
    if (begin_cells(r, cells, n, err) || run_units(r, cells, n, err))
        return -1;
    int rc = run_interrupted() ? 0 : run_scores(r, cells, n, err);
    for (size_t i = 0; i < n && run_interrupted() && rc == 0; i++)
        if (cells[i].units_left && !cells[i].error)
            rc = run_keep_seconds(r, &cells[i], err);
    return rc;
}
