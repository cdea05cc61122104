/*
 * run.c: see run.h. What is missing in the store becomes units, and model after model is opened for
 * its own; or the cells are given to a crew of processes, each of which does the same with its share.
 */
#include "run_impl.h"

#include "engine.h"
#include "run_workers_impl.h"
#include "score/judge.h"

/* Tokens in a batch on a GPU: what its products want. */
enum { GPU_BATCH_TOKENS = 8192 };

/* ---- before the first model is loaded ---- */

struct store_cell run_stored_cell(const struct runner *r, const struct cell *c, struct buf *params)
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
        .device = r->device_name,
        .dtype = dtype_name(r->sweep->dtype),
        .tokenizer = c->model->tokenizer_hash,
        .k = c->args.K,
        .min = c->args.min,
        .max = c->args.max,
        .layers = c->model->config.layers,
        .experts = c->args.N, // of a pruned model, what is left
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

/* Is there nothing to do for a cell of this status? It is counted then. */
static bool stays(struct runner *r, enum cell_status status)
{
    bool failed = status == CELL_FAILED && !r->options->retry_failed;
    r->result->there += status == CELL_DONE;
    r->result->failed_before += failed;
    return failed || status == CELL_DONE;
}

/* One cell in the store: done or failed, it stays; what is missing of it becomes units. */
static int plan_cell(struct runner *r, const struct cell *c, struct buf *err)
{
    struct cell_run *run = &r->cells[r->ncells];
    enum cell_status status;
    *run = (struct cell_run){ .cell = c,
                              .corpus = corpora_find(r->corpora, c),
                              .nothers = c->overlap ? (int)r->sweep->noverlap : 0,
                              .expert_entropy = r->sweep->log_expert_entropy,
                              .scored_after = scored_after(r, c->task) };
    int rc = store_cell_status(r->store, c->id, &status, err);
    if (rc)
        return rc;
    if (stays(r, status))
        return status == CELL_FAILED ? run_keep_error(r, c->id, &r->result->error_before, err) : 0;
    bool *present = xcalloc(run->corpus->documents.len, sizeof(*present));
    if (status != CELL_NEW)
        rc = store_cell_samples(r->store, c->id, present, run->corpus->documents.len, err);
    units_add(task_times(c->task)       ? &r->speeds
              : task_generates(c->task) ? &r->texts
                                        : &r->losses,
              run, present);
    free(present);
    r->ncells++;
    return rc;
}

int run_plan(struct runner *r, const struct cell *const *cells, size_t n, struct buf *err)
{
    runner_clear(r);
    r->cells = xcalloc(n + 1, sizeof(*r->cells));
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = plan_cell(r, cells[i], err);
    return rc;
}

/* Looks at every cell, those of one model and training together. */
static int plan_all(struct runner *r, struct buf *err)
{
    const struct cell **ordered = xcalloc(r->sweep->ncells, sizeof(*ordered));
    cells_by_training(r->sweep, ordered);
    int rc = run_plan(r, ordered, r->sweep->ncells, err);
    free(ordered);
    return rc;
}

static bool same_weights(const struct cell *a, const struct cell *b)
{
    return a->model == b->model && a->training == b->training;
}

int run_models(struct runner *r, struct buf *err)
{
    int rc = 0;
    for (size_t first = 0, n; first < r->ncells && rc == 0 && !run_interrupted(); first += n) {
        const struct cell *c = r->cells[first].cell;
        for (n = 1; first + n < r->ncells && same_weights(r->cells[first + n].cell, c);)
            n++;
        rc = run_model(r, first, n, err);
    }
    return rc;
}

int64_t run_planned_tokens(const struct runner *r)
{
    int64_t tokens = 0;
    for (size_t i = 0; i < r->losses.len; i++)
        tokens += r->losses.v[i].tokens;
    for (size_t i = 0; i < r->texts.len; i++)
        tokens += r->texts.v[i].tokens;
    for (size_t i = 0; i < r->speeds.len; i++)
        tokens += r->speeds.v[i].tokens;
    return tokens;
}

void runner_init(struct runner *r, const struct sweep *s, const struct corpora *corpora,
                 const struct courses *courses, struct store *store,
                 const struct run_options *options, struct run_result *result)
{
    *r = (struct runner){ .sweep = s,
                          .corpora = corpora,
                          .courses = courses,
                          .store = store,
                          .options = options,
                          .threads = options->threads,
                          .result = result,
                          .device_name = s->device,
                          .full_tokens = BATCH_TOKENS,
                          .batch_tokens = BATCH_TOKENS,
                          .batch_texts = options->batch };
}

void runner_clear(struct runner *r)
{
    for (size_t i = 0; i < r->ncells; i++) {
        free(r->cells[i].error);
        free(r->cells[i].cause);
        free(r->cells[i].order);
    }
    free(r->cells);
    free(r->losses.v);
    free(r->texts.v);
    free(r->speeds.v);
    r->cells = NULL;
    r->ncells = 0;
    r->losses = r->texts = r->speeds = (struct units){ 0 };
}

void runner_release(struct runner *r)
{
    runner_clear(r);
    run_close_model(r);
}

int run_open_engine(struct runner *r, struct buf *err)
{
    if (r->engine)
        return 0;
    const struct engine *engine = engine_open(err);
    if (!engine || engine->device_parse(r->device_name, &r->device, err) ||
        provenance_engine(r->store, engine, r->device, err))
        return -1;
    r->engine = engine;
    // One stream of work is enough for a GPU, and a batch must be large to keep it busy.
    if (r->device.kind != DEVICE_CPU) {
        r->threads = 1;
        r->full_tokens = r->batch_tokens = GPU_BATCH_TOKENS;
    }
    return 0;
}

/* The run itself, with the signals caught that ask for an end. */
static int run_caught(struct runner *r, struct buf *err)
{
    struct run_signals signals;
    struct judge *judge = r->options->tools.judge;
    run_signals_catch(&signals);
    if (judge)
        judge_stop_when(judge, run_stopped);
    progress_start(&r->progress, run_planned_tokens(r), (int)r->ncells);
    int rc = run_models(r, err);
    progress_end(&r->progress);
    if (judge)
        judge_stop_when(judge, NULL);
    run_signals_release(&signals);
    r->result->signal = run_signal();
    return rc;
}

int sweep_run(const struct sweep *s, const struct corpora *corpora, const struct courses *courses,
              struct store *store, const struct run_options *options, struct run_result *result,
              struct buf *err)
{
    struct runner r;
    *result = (struct run_result){ .truncated = corpora_truncated(corpora) };
    runner_init(&r, s, corpora, courses, store, options, result);
    int rc = plan_all(&r, err);
    if (rc == 0 && r.ncells > 0 && options->crew)
        rc = crew_run(options->crew, &r, err);
    // What has no model to be loaded, only texts to be scored, needs no engine.
    else if (rc == 0 && r.ncells > 0)
        rc = r.losses.len + r.texts.len + r.speeds.len > 0 && run_open_engine(&r, err)
                 ? -1
                 : run_caught(&r, err);
    runner_release(&r);
    return rc;
}
