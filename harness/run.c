/*
 * run.c: see run.h. The cells of one model become a list of pools, pools become batches of about
 * BATCH_TOKENS, whatever cells they are of, and the workers score them; this thread alone writes.
 */
#include "run.h"

#include "engine.h"
#include "progress.h"
#include "summary.h"
#include "work.h"

#include <math.h>
#include <signal.h>
#include <string.h>

struct runner {
    const struct sweep *sweep;
    struct store *store;
    const struct engine *engine;
    struct device device;
    int threads;
    struct run_result *result;
    struct progress progress;
    const struct corpora *corpora;
    struct cell_run *cells;
    size_t ncells;
    struct units units; /* in the order of the cells */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

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

/* Looks at every cell in the store: what is done stays, what is missing becomes units. */
static int plan_cells(struct runner *r, struct buf *err)
{
    const struct sweep *s = r->sweep;
    int rc = 0;
    r->cells = xcalloc(s->ncells, sizeof(*r->cells));
    for (size_t i = 0; i < s->ncells && rc == 0; i++) {
        const struct cell *c = &s->cells[i];
        struct cell_run *run = &r->cells[r->ncells];
        enum cell_status status;
        *run = (struct cell_run){ .cell = c, .corpus = corpora_find(r->corpora, c) };
        rc = store_cell_status(r->store, c->id, &status, err);
        if (rc || status == CELL_DONE) {
            r->result->there += rc == 0;
            continue;
        }
        bool *present = xcalloc(run->corpus->documents.len, sizeof(*present));
        if (status != CELL_NEW)
            rc = store_cell_samples(r->store, c->id, present, run->corpus->documents.len, err);
        units_add(&r->units, run, present);
        free(present);
        r->ncells++;
    }
    return rc;
}

/* ---- from numbers to the store ---- */

/* Sequence i of a batch as document `doc` of a cell. used: scratch [layers * tokens] */
static int store_document(struct runner *r, const struct unit *u, int doc, const struct scored *s,
                          int i, uint16_t *used, struct buf *err)
{
    const struct document *d = &u->run->corpus->documents.v[doc];
    int from = s->start[i], T = s->start[i + 1] - from;
    double nll = 0;
    for (int t = d->prompt_tokens; t < T; t++)
        nll += (double)s->nll[from + t];
    for (int l = 0; l < s->layers; l++)
        memcpy(used + (size_t)l * (size_t)T, s->used + (size_t)l * (size_t)s->tokens + from,
               (size_t)T * sizeof(*used));
    size_t load = (size_t)i * (size_t)s->layers * (size_t)s->experts;
    struct store_sample sample = {
        .cell_id = u->run->cell->id,
        .doc = doc,
        .prompt_tokens = d->prompt_tokens,
        .output_tokens = 0,
        .nll = nll,
        .nll_tokens = T - d->prompt_tokens,
        .score = NAN,
        .tokens = r->sweep->log_tokens ? T : 0,
        .ids = d->ids.v,
        .token_nll = s->nll + from,
        .entropy = s->entropy + from,
        .experts = used,
        .load_tokens = s->load_tokens + load,
        .load_weight = s->load_weight + load,
    };
    return store_sample_add(r->store, &sample, err);
}

static int store_samples(struct runner *r, const struct work *w, struct buf *err)
{
    const struct scored *s = &w->job.scored;
    uint16_t *used = xmalloc((size_t)s->layers * (size_t)s->tokens * sizeof(*used));
    int rc = 0, sequence = 0;
    for (size_t i = 0; i < w->nunits && rc == 0; i++)
        for (int d = 0; d < w->units[i].docs && rc == 0; d++)
            rc = store_document(r, &w->units[i], w->units[i].doc + d, s, sequence++, used, err);
    free(used);
    return rc;
}

/* A cell that has all of its samples becomes `done`, with metrics and bins. */
static int finish_cell(struct runner *r, struct cell_run *run, struct buf *err)
{
    const char *id = run->cell->id;
    size_t truncated = run->corpus->documents.truncated, n = run->corpus->documents.len;
    if (cell_summarise(r->store, id, err) ||
        store_metric_set(r->store, id, "truncated", (double)truncated, NAN, (int64_t)n, err) ||
        store_cell_finish(r->store, id, CELL_DONE, NULL, run->seconds, err))
        return -1;
    r->result->done++;
    return 0;
}

static int fail_cell(struct runner *r, struct cell_run *run, const char *why, struct buf *err)
{
    if (run->error)
        return 0;
    run->error = xstrdup(why);
    if (r->result->failed++ == 0)
        r->result->first_error = xstrdup(why);
    return store_cell_finish(r->store, run->cell->id, CELL_FAILED, why, run->seconds, err);
}

/* With the cell's and the document's name, which the model does not know. */
static int fail_unit(struct runner *r, const struct unit *u, const char *why, struct buf *err)
{
    const struct cell *c = u->run->cell;
    struct buf text = BUF_INIT;
    buf_addf(&text, "%s, ", c->model->name);
    router_label(c->router, &c->args, &text);
    buf_addf(&text, ", K = %d, %s, document %d: %s", c->args.K, c->task->name, u->doc, why);
    int rc = fail_cell(r, u->run, text.s, err);
    buf_release(&text);
    return rc;
}

/*
 * The samples of a batch and the cells that they complete, in one transaction. A batch that failed
 * and has several units is put back in pieces by the caller, so here it is one unit's cell that
 * fails.
 */
static int store_work(struct runner *r, struct work *w, struct buf *err)
{
    if (store_begin(r->store, err))
        return -1;
    int rc = w->job.rc ? fail_unit(r, &w->units[0], w->job.err.s, err) : store_samples(r, w, err);
    for (size_t i = 0; i < w->nunits && rc == 0; i++) {
        struct cell_run *run = w->units[i].run;
        run->seconds += w->job.seconds * (double)w->units[i].tokens / (double)w->tokens;
        if (--run->units_left == 0 && !run->error)
            rc = finish_cell(r, run, err);
    }
    if (rc == 0)
        rc = store_commit(r->store, err);
    if (rc)
        store_rollback(r->store);
    progress_add(&r->progress, w->tokens, r->result->done + r->result->failed);
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
        if (first[i].units_left == 0 && finish_cell(r, &first[i], err))
            return -1;
    }
    return r->sweep->log_tokens ? corpora_store_texts(r->corpora, first->cell, r->store, err) : 0;
}

/* Puts a batch that failed back in pieces; returns how many. */
static int put_pieces(struct workers *workers, const struct work *w)
{
    struct work **parts = xcalloc(w->nunits, sizeof(struct work *));
    size_t n = work_split(w, parts);
    for (size_t i = 0; i < n; i++)
        workers_put(workers, &parts[i]->job);
    free(parts);
    return (int)n;
}

/* Scores units from..to, which are of one model; two batches wait for each that is computed. */
static int score_units(struct runner *r, struct workers *workers, size_t from, size_t to,
                       struct buf *err)
{
    int rc = 0, under_way = 0;
    for (;;) {
        while (rc == 0 && !interrupted && under_way < 3 * r->threads) {
            struct work *w = work_new(r->units.v, &from, to);
            if (!w)
                break;
            workers_put(workers, &w->job);
            under_way++;
        }
        struct work *w = (struct work *)workers_take(workers);
        if (!w)
            return rc;
        under_way--;
        if (rc == 0 && w->job.rc && w->nunits > 1) {
            under_way += put_pieces(workers, w);
        } else if (rc == 0) {
            rc = store_work(r, w, err);
        }
        work_free(w);
    }
}

/* A model that cannot be loaded fails its cells; the other models go on. */
static int fail_cells(struct runner *r, struct cell_run *first, size_t n, struct buf *why,
                      struct buf *err)
{
    for (size_t i = 0; i < n; i++)
        if (first[i].units_left && fail_cell(r, &first[i], why->s, err))
            return -1;
    return 0;
}

/* The cells first .. first + n - 1, all of one model. */
static int run_model(struct runner *r, size_t first, size_t n, struct buf *err)
{
    struct cell_run *cells = r->cells + first;
    struct buf why = BUF_INIT;
    if (begin_cells(r, cells, n, err))
        return -1;
    size_t from = 0, to;
    while (from < r->units.len && r->units.v[from].run < cells)
        from++;
    for (to = from; to < r->units.len && r->units.v[to].run < cells + n;)
        to++;
    if (from == to)
        return 0;
    struct weights *weights = weights_open(cells->cell->model->dir, &why);
    struct model *model = NULL;
    if (weights)
        model = r->engine->open(weights, r->device, r->sweep->dtype, &why);
    weights_close(weights);
    if (!model) {
        int rc = fail_cells(r, cells, n, &why, err);
        buf_release(&why);
        return rc;
    }
    struct workers *workers = workers_new(r->engine, model, r->threads);
    int rc = score_units(r, workers, from, to, err);
    workers_free(workers);
    r->engine->close(model);
    for (size_t i = 0; i < n && interrupted && rc == 0; i++)
        if (cells[i].units_left && !cells[i].error)
            rc = store_cell_finish(r->store, cells[i].cell->id, CELL_UNFINISHED, NULL,
                                   cells[i].seconds, err);
    return rc;
}

static int run_models(struct runner *r, struct buf *err)
{
    int64_t tokens = 0;
    for (size_t i = 0; i < r->units.len; i++)
        tokens += r->units.v[i].tokens;
    progress_start(&r->progress, tokens, (int)r->ncells);
    int rc = 0;
    for (size_t first = 0, n; first < r->ncells && rc == 0 && !interrupted; first += n) {
        const struct sweep_model *model = r->cells[first].cell->model;
        for (n = 1; first + n < r->ncells && r->cells[first + n].cell->model == model;)
            n++;
        rc = run_model(r, first, n, err);
    }
    progress_end(&r->progress);
    return rc;
}

static void runner_release(struct runner *r)
{
    for (size_t i = 0; i < r->ncells; i++)
        free(r->cells[i].error);
    free(r->cells);
    free(r->units.v);
}

int sweep_run(const struct sweep *s, const struct corpora *corpora, struct store *store,
              int threads, struct run_result *result, struct buf *err)
{
    struct runner r = {
        .sweep = s, .corpora = corpora, .store = store, .threads = threads, .result = result
    };
    *result = (struct run_result){ .truncated = corpora_truncated(corpora) };
    interrupted = 0;
    int rc = plan_cells(&r, err);
    if (rc == 0 && r.ncells > 0) {
        r.engine = engine_open(err);
        rc = r.engine ? r.engine->device_parse(s->device, &r.device, err) : -1;
        // One stream of work is enough for a GPU.
        if (rc == 0 && r.device.kind != DEVICE_CPU)
            r.threads = 1;
        // A second one ends the program at once.
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND },
                         was_int, was_term;
        sigaction(SIGINT, &action, &was_int);
        sigaction(SIGTERM, &action, &was_term);
        if (rc == 0)
            rc = run_models(&r, err);
        sigaction(SIGINT, &was_int, NULL);
        sigaction(SIGTERM, &was_term, NULL);
        result->interrupted = interrupted;
    }
    runner_release(&r);
    return rc;
}
