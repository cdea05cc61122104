/*
 * run_texts.c: documents are continued by the generator, what it wrote is scored by the task's
 * measures, and both are stored. Programs and judges have threads of their own, so that models need
 * not wait for them; this thread alone writes. See run_impl.h.
 */
#include "run_impl.h"

#include "generate.h"
#include "scoring.h"

#include <math.h>

/* A document on its way through. */
struct text {
    struct generation generation;
    struct scoring scoring;
    const struct unit *unit;
};

struct texts {
    struct runner *r;
    struct generator *generator;
    struct workers *scorers; /* for measures that run code or ask a judge */
    struct tokenizer *tokenizer;
    bool *seen; /* [vocabulary]: tokens whose text is stored */
    int under_way;
};

static const struct document *document_of(const struct unit *u)
{
    return &u->run->corpus->documents.v[u->doc];
}

static struct text *text_new(const struct unit *u)
{
    const struct cell *c = u->run->cell;
    const struct document *d = document_of(u);
    struct text *t = xcalloc(1, sizeof(*t));
    t->unit = u;
    t->generation = (struct generation){ .prompt = d->ids.v,
                                         .prompt_tokens = (int)d->ids.len,
                                         .router = c->router,
                                         .args = c->args,
                                         .decoding = &c->task->decoding,
                                         .seed = sampler_seed(c->seed, u->doc),
                                         .owner = t };
    buf_init(&t->generation.err);
    buf_init(&t->generation.output);
    return t;
}

static void text_free(struct text *t)
{
    generation_release(&t->generation);
    scoring_release(&t->scoring);
    free(t);
}

static int store_text(struct texts *x, const struct text *t, struct buf *err)
{
    const struct generation *g = &t->generation;
    const struct cell *c = t->unit->run->cell;
    struct store *store = x->r->store;
    bool log = x->r->sweep->log_tokens;
    size_t prompt = (size_t)g->prompt_tokens;
    struct store_sample sample = {
        .cell_id = c->id,
        .doc = t->unit->doc,
        .prompt_tokens = g->prompt_tokens,
        .output_tokens = (int)(g->ids.len - prompt),
        .stop_reason = stop_reason_name(g->stop),
        .output = g->output.s,
        .extracted = t->scoring.extracted.s,
        .nll = NAN,
        .score = t->scoring.score,
        .tokens = log ? (int)g->ids.len : 0,
        .ids = g->ids.v,
        .token_nll = g->nll,
        .entropy = g->entropy,
        .experts = g->used,
        .load_tokens = g->load_tokens,
        .load_weight = g->load_weight,
    };
    if (log && corpus_store_ids(g->ids.v + prompt, g->ids.len - prompt, x->tokenizer, c->id,
                                x->seen, store, err))
        return -1;
    return store_sample_add(store, &sample, err);
}

/* A text that is scored, or failed, goes to the store; its cell may be complete with it. */
static int store_result(struct texts *x, struct text *t, struct buf *err)
{
    struct runner *r = x->r;
    struct cell_run *run = t->unit->run;
    const char *failed = t->generation.rc    ? t->generation.err.s
                         : t->scoring.job.rc ? t->scoring.job.err.s
                                             : NULL;
    if (store_begin(r->store, err))
        return -1;
    run->seconds += t->generation.seconds;
    int rc = failed ? run_fail_unit(r, t->unit, failed, err) : store_text(x, t, err);
    if (rc == 0)
        rc = run_unit_done(r, run, err);
    if (rc == 0)
        rc = store_commit(r->store, err);
    if (rc)
        store_rollback(r->store);
    progress_add(&r->progress, t->unit->tokens, r->result->done + r->result->failed);
    return rc;
}

/* Puts the next texts in, until enough wait that no place in a batch stays empty. */
static void put_texts(struct texts *x, const struct unit *v, size_t n, size_t *at)
{
    const struct runner *r = x->r;
    int enough = 2 * r->threads * r->options->batch;
    for (; *at < n && x->under_way < enough; ++*at) {
        if (v[*at].run->error)
            continue;
        generator_put(x->generator, &text_new(&v[*at])->generation);
        x->under_way++;
    }
}

/* What came of the generator goes on to the measures. NULL: it is with the scorers. */
static struct text *score_text(struct texts *x, struct text *t)
{
    const struct task *task = t->unit->run->cell->task;
    scoring_init(&t->scoring, task, document_of(t->unit)->fields, t->generation.output.s,
                 &x->r->options->tools);
    t->scoring.owner = t;
    if (t->generation.rc)
        return t;
    if (task_runs_code(task) || task_asks_judge(task)) {
        workers_put(x->scorers, &t->scoring.job);
        return NULL;
    }
    t->scoring.job.rc = t->scoring.job.work(&t->scoring.job, &t->scoring.job.err);
    return t;
}

/* The next text that is done in every way; waits for it. NULL: none is under way. */
static struct text *take_text(struct texts *x)
{
    for (;;) {
        struct job *scored = workers_poll(x->scorers);
        if (scored)
            return ((struct scoring *)scored)->owner;
        struct generation *g = generator_take(x->generator);
        if (!g)
            break;
        struct text *t = score_text(x, g->owner);
        if (t)
            return t;
    }
    struct job *scored = workers_take(x->scorers);
    return scored ? ((struct scoring *)scored)->owner : NULL;
}

static int write_texts(struct texts *x, const struct unit *v, size_t n, struct buf *err)
{
    size_t at = 0;
    int rc = 0;
    for (;;) {
        if (rc == 0 && !run_interrupted())
            put_texts(x, v, n, &at);
        struct text *t = take_text(x);
        if (!t)
            return rc;
        x->under_way--;
        // After an interruption those that were not finished are left for the next time.
        if (rc == 0 && !(run_interrupted() && t->generation.rc))
            rc = store_result(x, t, err);
        text_free(t);
    }
}

/* Tokens of the longest text that may come about. */
static int longest(const struct unit *v, size_t n)
{
    int64_t most = 0;
    for (size_t i = 0; i < n; i++)
        most = v[i].tokens > most ? v[i].tokens : most;
    return (int)most;
}

int run_texts(struct runner *r, struct model *model, const struct unit *v, size_t n,
              struct buf *err)
{
    const struct sweep_model *m = v->run->cell->model;
    struct texts x = { .r = r, .tokenizer = corpus_tokenizer(m, err) };
    int rc = -1;
    if (!x.tokenizer)
        return -1;
    x.seen = xcalloc((size_t)m->config.vocab, sizeof(*x.seen));
    x.generator = generator_new(&(struct generator_spec){ .engine = r->engine,
                                                          .model = model,
                                                          .config = &m->config,
                                                          .tokenizer = x.tokenizer,
                                                          .threads = r->threads,
                                                          .slots = r->options->batch,
                                                          .capacity = longest(v, n),
                                                          .stopped = run_interrupted },
                                err);
    if (x.generator) {
        x.scorers = workers_new(r->threads);
        rc = write_texts(&x, v, n, err);
        workers_free(x.scorers);
    }
    generator_free(x.generator);
    tokenizer_free(x.tokenizer);
    free(x.seen);
    return rc;
}
