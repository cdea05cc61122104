/*
 * run.c: see run.h. The cells of one model become a list of pools, pools become batches of about
 * BATCH_TOKENS, whatever cells they are of, and the workers score them; this thread alone writes.
 */
#include "run.h"

#include "recipe/data.h"
#include "engine.h"
#include "progress.h"
#include "summary.h"
#include "workers.h"

#include <math.h>
#include <signal.h>
#include <string.h>

/* Tokens in a batch: enough rows for each expert, and little memory. */
enum { BATCH_TOKENS = 1024 };

/* The documents of one task, in the tokens of one model. */
struct corpus {
    const struct sweep_model *model;
    const struct task *task;
    struct documents documents;
};

/* A cell that is to be computed. */
struct cell_run {
    const struct cell *cell;
    const struct corpus *corpus;
    size_t units_left;
    double seconds;
    char *error; /* NULL: all is well */
};

/* One pool of one cell: documents doc .. doc + docs - 1. */
struct unit {
    struct cell_run *run;
    int doc, docs;
    int64_t tokens;
};

/* What is kept for a batch under way: which units it is made of. */
struct work {
    struct job job;
    struct unit *units;
    size_t nunits;
    struct sequence *sequences;
    struct pool *pools;
};

struct runner {
    const struct sweep *sweep;
    struct store *store;
    const struct engine *engine;
    struct device device;
    int threads;
    struct run_result *result;
    struct progress progress;
    struct corpus *corpora; /* [nmodels * ntasks] */
    struct cell_run *cells;
    size_t ncells;
    struct unit *units; /* in the order of the cells */
    size_t nunits, units_cap;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

/* ---- before the first model is loaded ---- */

static int read_corpora(struct runner *r, struct buf *err)
{
    const struct sweep *s = r->sweep;
    struct buf path = BUF_INIT;
    int rc = 0;
    r->corpora = xcalloc(s->nmodels * s->ntasks, sizeof(*r->corpora));
    for (size_t m = 0; m < s->nmodels && rc == 0; m++) {
        const struct sweep_model *model = &s->models[m];
        buf_reset(&path);
        buf_addf(&path, "%s/tokenizer.json", model->dir);
        struct tokenizer *tokenizer = tokenizer_open(path.s, err);
        rc = tokenizer ? 0 : -1;
        if (rc == 0 && tokenizer_size(tokenizer) > model->config.vocab)
            rc = fail(err, "%s: it has %d tokens, and the model %d", path.s,
                      tokenizer_size(tokenizer), model->config.vocab);
        for (size_t t = 0; t < s->ntasks && rc == 0; t++) {
            struct corpus *c = &r->corpora[m * s->ntasks + t];
            c->model = model;
            c->task = &s->tasks[t];
            rc = documents_read(c->task, tokenizer, model->config.context, &c->documents, err);
            r->result->truncated += (int)c->documents.truncated;
        }
        tokenizer_free(tokenizer);
    }
    buf_release(&path);
    return rc;
}

static const struct corpus *corpus_of(const struct runner *r, const struct cell *c)
{
    size_t model = (size_t)(c->model - r->sweep->models),
           task = (size_t)(c->task - r->sweep->tasks);
    return &r->corpora[model * r->sweep->ntasks + task];
}

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

static int add_units(struct runner *r, struct cell_run *run, const bool *present)
{
    const struct documents *d = &run->corpus->documents;
    const struct router_args *a = &run->cell->args;
    bool pooled = run->cell->router->scope(a) == SCOPE_BATCH;
    int total = (int)d->len, missing = 0;
    for (int doc = 0, docs; doc < total; doc += docs) {
        docs = !pooled ? 1 : a->batch < total - doc ? a->batch : total - doc;
        struct unit u = { run, doc, docs, 0 };
        for (int i = doc; i < doc + docs; i++)
            u.tokens += (int64_t)d->v[i].ids.len;
        if (present[doc])
            continue;
        ARRAY_GROW(r->units, r->units_cap, r->nunits + 1);
        r->units[r->nunits++] = u;
        run->units_left++;
        missing += docs;
    }
    return missing;
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
        *run = (struct cell_run){ .cell = c, .corpus = corpus_of(r, c) };
        rc = store_cell_status(r->store, c->id, &status, err);
        if (rc || status == CELL_DONE) {
            r->result->there += rc == 0;
            continue;
        }
        bool *present = xcalloc(run->corpus->documents.len, sizeof(*present));
        if (status != CELL_NEW)
            rc = store_cell_samples(r->store, c->id, present, run->corpus->documents.len, err);
        add_units(r, run, present);
        free(present);
        r->ncells++;
    }
    return rc;
}

/* ---- from units to batches ---- */

/* A batch of the units from `at` on that are still wanted, all of one model; NULL: there is none. */
static struct work *work_new(struct runner *r, size_t *at, size_t end)
{
    struct work *w = xcalloc(1, sizeof(*w));
    int64_t tokens = 0;
    int sequences = 0;
    buf_init(&w->job.err);
    w->units = xcalloc(end - *at, sizeof(*w->units));
    for (; *at < end; ++*at) {
        const struct unit *u = &r->units[*at];
        if (u->run->error)
            continue;
        if (w->nunits && tokens + u->tokens > BATCH_TOKENS)
            break;
        w->units[w->nunits++] = *u;
        tokens += u->tokens;
        sequences += u->docs;
    }
    if (!w->nunits) {
        free(w->units);
        free(w);
        return NULL;
    }
    w->sequences = xcalloc((size_t)sequences, sizeof(*w->sequences));
    w->pools = xcalloc(w->nunits, sizeof(*w->pools));
    w->job.batch = (struct batch){ w->sequences, 0, w->pools, (int)w->nunits };
    for (size_t i = 0; i < w->nunits; i++) {
        const struct unit *u = &w->units[i];
        w->pools[i] = (struct pool){ u->run->cell->router, u->run->cell->args, u->docs };
        for (int d = u->doc; d < u->doc + u->docs; d++) {
            const struct ids *ids = &u->run->corpus->documents.v[d].ids;
            w->sequences[w->job.batch.nsequences++] = (struct sequence){ ids->v, (int)ids->len };
        }
    }
    return w;
}

static void work_free(struct work *w)
{
    scored_release(&w->job.scored);
    buf_release(&w->job.err);
    free(w->units);
    free(w->sequences);
    free(w->pools);
    free(w);
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

/*
 * The samples of a batch and the cells that they complete, in one transaction. A batch that failed
 * and has several units is put back in pieces by the caller, so here it is one unit's cell that
 * fails.
 */
static int store_work(struct runner *r, struct work *w, struct buf *err)
{
    int64_t tokens = 0;
    if (store_begin(r->store, err))
        return -1;
    int rc =
        w->job.rc ? fail_cell(r, w->units[0].run, w->job.err.s, err) : store_samples(r, w, err);
    for (size_t i = 0; i < w->nunits; i++)
        tokens += w->units[i].tokens;
    for (size_t i = 0; i < w->nunits && rc == 0; i++) {
        struct cell_run *run = w->units[i].run;
        run->seconds += w->job.seconds * (double)w->units[i].tokens / (double)tokens;
        if (--run->units_left == 0 && !run->error)
            rc = finish_cell(r, run, err);
    }
    if (rc == 0)
        rc = store_commit(r->store, err);
    if (rc)
        store_rollback(r->store);
    progress_add(&r->progress, tokens, r->result->done + r->result->failed);
    return rc;
}

/* ---- one model ---- */

/* The text of every token of the model's documents, so that v_tokens can show it. */
static int store_texts(struct runner *r, const struct cell_run *run, struct buf *err)
{
    const struct sweep_model *model = run->cell->model;
    struct buf path = BUF_INIT, text = BUF_INIT;
    buf_addf(&path, "%s/tokenizer.json", model->dir);
    struct tokenizer *tokenizer = tokenizer_open(path.s, err);
    int rc = tokenizer ? store_begin(r->store, err) : -1;
    bool *seen = xcalloc((size_t)model->config.vocab, sizeof(*seen));
    for (size_t c = 0; c < r->sweep->nmodels * r->sweep->ntasks && rc == 0; c++) {
        const struct documents *d = &r->corpora[c].documents;
        for (size_t i = 0; i < d->len && r->corpora[c].model == model; i++) {
            for (size_t t = 0; t < d->v[i].ids.len && rc == 0; t++) {
                int32_t id = d->v[i].ids.v[t];
                if (seen[id])
                    continue;
                seen[id] = true;
                buf_reset(&text);
                rc = tokenizer_decode(tokenizer, &id, 1, &text, err);
                if (rc == 0)
                    rc = store_token_text(r->store, run->cell->id, id, text.s, text.len, err);
            }
        }
    }
    if (rc == 0)
        rc = store_commit(r->store, err);
    if (rc)
        store_rollback(r->store);
    free(seen);
    buf_release(&path);
    buf_release(&text);
    tokenizer_free(tokenizer);
    return rc;
}

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
    return r->sweep->log_tokens ? store_texts(r, first, err) : 0;
}

/* Takes apart a batch that failed, so that only the cell that is to blame fails. */
static void split(struct runner *r, struct workers *workers, struct work *w)
{
    for (size_t i = 0; i < w->nunits; i++) {
        size_t at = 0;
        struct unit one = w->units[i];
        struct runner alone = *r;
        alone.units = &one;
        struct work *part = work_new(&alone, &at, 1);
        if (part)
            workers_put(workers, &part->job);
    }
}

/* Scores units from..to, which are of one model; two batches wait for each that is computed. */
static int score_units(struct runner *r, struct workers *workers, size_t from, size_t to,
                       struct buf *err)
{
    int rc = 0, under_way = 0;
    for (;;) {
        while (rc == 0 && !interrupted && under_way < 3 * r->threads) {
            struct work *w = work_new(r, &from, to);
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
            split(r, workers, w);
            under_way += (int)w->nunits;
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
        if (fail_cell(r, &first[i], why->s, err))
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
    size_t from = 0, to;
    while (from < r->nunits && r->units[from].run < cells)
        from++;
    for (to = from; to < r->nunits && r->units[to].run < cells + n;)
        to++;
    struct workers *workers = workers_new(r->engine, model, r->threads);
    int rc = score_units(r, workers, from, to, err);
    workers_free(workers);
    r->engine->close(model);
    for (size_t i = 0; i < n && interrupted && rc == 0; i++)
        if (cells[i].units_left && !cells[i].error)
            rc = store_cell_finish(r->store, cells[i].cell->id, CELL_RUNNING, NULL,
                                   cells[i].seconds, err);
    return rc;
}

static int run_models(struct runner *r, struct buf *err)
{
    int64_t tokens = 0;
    for (size_t i = 0; i < r->nunits; i++)
        tokens += r->units[i].tokens;
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
    for (size_t i = 0; r->corpora && i < r->sweep->nmodels * r->sweep->ntasks; i++)
        documents_release(&r->corpora[i].documents);
    for (size_t i = 0; i < r->ncells; i++)
        free(r->cells[i].error);
    free(r->corpora);
    free(r->cells);
    free(r->units);
}

int sweep_run(const struct sweep *s, struct store *store, int threads, struct run_result *result,
              struct buf *err)
{
    struct runner r = { .sweep = s, .store = store, .threads = threads, .result = result };
    *result = (struct run_result){ 0 };
    int rc = read_corpora(&r, err) || plan_cells(&r, err) ? -1 : 0;
    if (rc == 0 && r.ncells > 0) {
        r.engine = engine_open(err);
        rc = r.engine ? r.engine->device_parse(s->device, &r.device, err) : -1;
        // One stream of work is enough for a GPU.
        if (rc == 0 && r.device.kind != DEVICE_CPU)
            r.threads = 1;
        struct sigaction action = { .sa_handler = on_signal }, was_int, was_term;
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
