/*
 * run.c: see run.h. What is missing in the store becomes units, and model after model is opened for
 * its own.
 */
#include "run_impl.h"

#include "engine.h"
#include "score/judge.h"

#include <string.h>

/* ---- before the first model is loaded ---- */

/* A cell as the store keeps it. Its `params` are freed by the caller. */
static struct store_cell stored_cell(const struct runner *r, const struct cell *c,
                                     struct buf *params)
{
    router_params_json(c->router, &c->args, params);
    return (struct store_cell){
        .id = c->id,
        .sweep = r->sweep->name,
        .model = c->model->name,
        .router = c->router->name,
        .mode = router_mode(c->router, &c->args),
        .params = params->s,
        .train = c->train,
        .task = c->task->name,
        .device = r->sweep->device,
        .dtype = dtype_name(r->sweep->dtype),
        .tokenizer = c->model->tokenizer_hash,
        .k = c->args.K,
        .min = c->args.min,
        .max = c->args.max,
        .layers = c->model->config.layers,
        .experts = c->model->config.experts,
        .seed = c->seed,
    };
}

/* Must a tool look at what is written for the task? A judge that nobody named is not asked. */
static bool scored_after(const struct runner *r, const struct task *t)
{
    const struct tools *tools = &r->options->tools;
    return task_generates(t) &&
           ((task_runs_code(t) && tools->sandbox) || (task_asks_judge(t) && tools->judge));
}

/* One cell in the store: done, it stays; what is missing of it becomes units. */
static int plan_cell(struct runner *r, const struct cell *c, struct buf *err)
{
    struct cell_run *run = &r->cells[r->ncells];
    enum cell_status status;
    *run = (struct cell_run){ .cell = c,
                              .corpus = corpora_find(r->corpora, c),
                              .scored_after = scored_after(r, c->task) };
    int rc = store_cell_status(r->store, c->id, &status, err);
    if (rc || status == CELL_DONE) {
        r->result->there += rc == 0;
        return rc;
    }
    bool *present = xcalloc(run->corpus->documents.len, sizeof(*present));
    if (status != CELL_NEW)
        rc = store_cell_samples(r->store, c->id, present, run->corpus->documents.len, err);
    units_add(task_generates(c->task) ? &r->texts : &r->losses, run, present);
    free(present);
    r->ncells++;
    return rc;
}

/* Looks at every cell, those of one model and training together. */
static int plan_cells(struct runner *r, struct buf *err)
{
    size_t n = r->sweep->ncells;
    const struct cell **ordered = xcalloc(n, sizeof(*ordered));
    cells_by_training(r->sweep, ordered);
    r->cells = xcalloc(n, sizeof(*r->cells));
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = plan_cell(r, ordered[i], err);
    free(ordered);
    return rc;
}

/* ---- one model ---- */

static int begin_cells(struct runner *r, struct cell_run *first, size_t n, struct buf *err)
{
    for (size_t i = 0; i < n; i++) {
        struct buf params = BUF_INIT;
        enum cell_status was;
        struct store_cell c = stored_cell(r, first[i].cell, &params);
        int rc = store_cell_begin(r->store, &c, &was, err);
        buf_release(&params);
        if (rc)
            return -1;
        // It was stopped between its last sample and its summary.
        if (first[i].units_left == 0 && !first[i].scored_after &&
            run_finish_cell(r, &first[i], err))
            return -1;
    }
    return r->sweep->log_tokens ? corpora_store_texts(r->corpora, first->cell, r->store, err) : 0;
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

static struct model *open_model(struct runner *r, const char *dir, struct buf *why)
{
    struct weights *weights = weights_open(dir, why);
    struct model *model =
        weights ? r->engine->open(weights, r->device, r->sweep->dtype, why) : NULL;
    weights_close(weights);
    return model;
}

/* The folder of the cells' model, which is trained first where it has to be. 1: interrupted. */
static int find_model(struct runner *r, const struct cell *c, struct buf *dir, struct buf *why)
{
    if (!c->training) {
        buf_adds(dir, c->model->dir);
        return 0;
    }
    struct train_result result = { 0 };
    struct train_place place = { .engine = r->engine,
                                 .device = r->device,
                                 .threads = training_threads(r->device, r->options->threads),
                                 .checkpoint_seconds = r->options->checkpoint_seconds,
                                 .store = r->store };
    double start = now_seconds();
    int rc = course_train(r->courses, c->training, &place, &result, dir, why);
    r->progress.from += now_seconds() - start; // the speed of scoring is told without it
    if (rc == 0 && !result.there && !result.interrupted)
        r->result->trained++;
    return rc ? rc : result.interrupted;
}

/* The model is in `dir`. */
static int run_in(struct runner *r, struct cell_run *cells, size_t n, const char *dir,
                  struct buf *err)
{
    struct buf why = BUF_INIT;
    struct cutoffs cutoffs = { 0 };
    size_t nlosses, ntexts;
    const struct unit *losses = units_of(&r->losses, cells, n, &nlosses);
    const struct unit *texts = units_of(&r->texts, cells, n, &ntexts);
    int rc = read_cutoffs(cells, n, dir, &cutoffs, &why);
    struct model *model = rc == 0 ? open_model(r, dir, &why) : NULL;
    if (!model) {
        rc = fail_cells(r, cells, n, &why, err);
    } else {
        rc = nlosses ? run_losses(r, model, losses, nlosses, err) : 0;
        if (rc == 0 && ntexts && !run_interrupted())
            rc = run_texts(r, model, texts, ntexts, err);
        r->engine->close(model);
    }
    cutoffs_release(&cutoffs);
    buf_release(&why);
    return rc;
}

/* All that wants the model of the cells first .. first + n - 1 to be open. */
static int run_units(struct runner *r, struct cell_run *cells, size_t n, struct buf *err)
{
    struct buf why = BUF_INIT, dir = BUF_INIT;
    size_t nlosses, ntexts;
    units_of(&r->losses, cells, n, &nlosses);
    units_of(&r->texts, cells, n, &ntexts);
    if (nlosses + ntexts == 0)
        return 0;
    int rc = find_model(r, cells->cell, &dir, &why);
    if (rc == 0)
        rc = run_in(r, cells, n, dir.s, err);
    else
        rc = rc < 0 ? fail_cells(r, cells, n, &why, err) : 0;
    buf_release(&why);
    buf_release(&dir);
    return rc;
}

/* The cells first .. first + n - 1, all of one model and training. */
static int run_model(struct runner *r, size_t first, size_t n, struct buf *err)
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

static bool same_weights(const struct cell *a, const struct cell *b)
{
    return a->model == b->model && a->training == b->training;
}

static int run_models(struct runner *r, struct buf *err)
{
    int64_t tokens = 0;
    for (size_t i = 0; i < r->losses.len; i++)
        tokens += r->losses.v[i].tokens;
    for (size_t i = 0; i < r->texts.len; i++)
        tokens += r->texts.v[i].tokens;
    progress_start(&r->progress, tokens, (int)r->ncells);
    int rc = 0;
    for (size_t first = 0, n; first < r->ncells && rc == 0 && !run_interrupted(); first += n) {
        const struct cell *c = r->cells[first].cell;
        for (n = 1; first + n < r->ncells && same_weights(r->cells[first + n].cell, c);)
            n++;
        rc = run_model(r, first, n, err);
    }
    progress_end(&r->progress);
    return rc;
}

static void runner_release(struct runner *r)
{
    for (size_t i = 0; i < r->ncells; i++) {
        free(r->cells[i].error);
        free(r->cells[i].cause);
    }
    free(r->cells);
    free(r->losses.v);
    free(r->texts.v);
}

/* What has no model to be loaded, only texts to be scored, needs no engine. */
static int open_engine(struct runner *r, struct buf *err)
{
    if (r->losses.len + r->texts.len == 0)
        return 0;
    r->engine = engine_open(err);
    if (!r->engine || r->engine->device_parse(r->sweep->device, &r->device, err))
        return -1;
    // One stream of work is enough for a GPU.
    if (r->device.kind != DEVICE_CPU)
        r->threads = 1;
    return 0;
}

/* The run itself, with SIGINT and SIGTERM caught. */
static int run_caught(struct runner *r, struct buf *err)
{
    struct run_signals signals;
    struct judge *judge = r->options->tools.judge;
    run_signals_catch(&signals);
    if (judge)
        judge_stop_when(judge, run_stopped);
    int rc = run_models(r, err);
    if (judge)
        judge_stop_when(judge, NULL);
    run_signals_release(&signals);
    r->result->interrupted = run_interrupted();
    return rc;
}

int sweep_run(const struct sweep *s, const struct corpora *corpora, const struct courses *courses,
              struct store *store, const struct run_options *options, struct run_result *result,
              struct buf *err)
{
    struct runner r = { .sweep = s,
                        .corpora = corpora,
                        .courses = courses,
                        .store = store,
                        .options = options,
                        .threads = options->threads,
                        .result = result };
    *result = (struct run_result){ .truncated = corpora_truncated(corpora) };
    int rc = plan_cells(&r, err);
    if (rc == 0 && r.ncells > 0)
        rc = open_engine(&r, err) ? -1 : run_caught(&r, err);
    runner_release(&r);
    return rc;
}
