/*
 * run_texts.c: documents are continued by the generator, and what it wrote is stored as it comes;
 * with its score, where a score is a matter of comparing texts. Texts for programs and judges are
 * stored without one (run_scores.c): they are there whatever becomes of these. This thread alone
 * writes. See run_impl.h.
 */
#include "run_impl.h"

#include "generate.h"
#include "scoring.h"

#include <math.h>

/* A document on its way through. */
struct text {
    struct generation generation;
    struct scoring scoring;
    struct tools tools; /* the run's, with the written tokens */
    struct ids written; /* of generation.ids, borrowed */
    const struct unit *unit;
};

struct texts {
    struct runner *r;
    struct generator *generator;
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
    t->generation.args.cutoffs = u->run->cutoffs;
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

/* The loss that the model gave to what it wrote: of tasks that ask how it goes on. */
static void add_loss(const struct text *t, struct store_sample *sample)
{
    const struct generation *g = &t->generation;
    if (!task_continues(t->unit->run->cell->task))
        return;
    sample->nll = 0;
    sample->nll_tokens = sample->output_tokens;
    for (size_t i = (size_t)g->prompt_tokens; i < g->ids.len; i++)
        sample->nll += g->nll[i];
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
        .extracted = t->unit->run->scored_after ? NULL : t->scoring.extracted.s,
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
    add_loss(t, &sample);
    if (log && corpus_store_ids(g->ids.v + prompt, g->ids.len - prompt, x->tokenizer, c->id,
                                x->seen, store, err))
        return -1;
    return store_sample_add(store, &sample, err);
}

/* A text that is written, or failed, goes to the store; its cell may be complete with it. */
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
    if (r->batch_texts > generator_batch(x->generator))
        r->batch_texts = generator_batch(x->generator);
    if (rc == 0)
        rc = run_note_batch(r, run, "texts", r->options->batch, r->batch_texts, err);
    if (rc == 0)
        rc = run_unit_done(r, run, err);
    if (rc == 0)
        rc = store_commit(r->store, err);
    if (rc)
        store_rollback(r->store);
    else
        rc = run_finish_complete(r, run, err);
    run_progress(r, t->unit->tokens);
    return rc;
}

/* Puts the next texts in, until enough wait that no place in a batch stays empty. */
static void put_texts(struct texts *x, const struct unit *v, size_t n, size_t *at)
{
    const struct runner *r = x->r;
    int enough = 2 * r->threads * r->batch_texts;
    for (; *at < n && x->under_way < enough; ++*at) {
        if (v[*at].run->error)
            continue;
        generator_put(x->generator, &text_new(&v[*at])->generation);
        x->under_way++;
    }
}

static void score_text(struct texts *x, struct text *t)
{
    struct scoring *s = &t->scoring;
    const struct ids *ids = &t->generation.ids;
    const size_t prompt = (size_t)t->generation.prompt_tokens;
    t->tools = x->r->options->tools;
    t->written = (struct ids){ ids->v + prompt, ids->len - prompt, 0 };
    t->tools.written = &t->written;
    scoring_init(s, t->unit->run->cell->task, document_of(t->unit)->fields, t->generation.output.s,
                 &t->tools);
    if (t->generation.rc == 0 && !t->unit->run->scored_after)
        s->job.rc = s->job.work(&s->job, &s->job.err);
}

static int write_texts(struct texts *x, const struct unit *v, size_t n, struct buf *err)
{
    size_t at = 0;
    int rc = 0;
    for (;;) {
        if (!run_stopped())
            put_texts(x, v, n, &at);
        struct generation *g = generator_take(x->generator);
        if (!g)
            return rc;
        struct text *t = g->owner;
        x->under_way--;
        // After an interruption those that were not finished are left for the next time.
        if (rc == 0 && !(run_stopped() && g->rc)) {
            score_text(x, t);
            rc = store_result(x, t, err);
        }
        // No text that is still under way could be kept.
        if (rc)
            run_give_up();
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

/* A generator that has no room fails the cells that want it; other models go on. */
static int fail_texts(struct runner *r, const struct unit *v, size_t n, const char *why,
                      struct buf *err)
{
    char *text = xasprintf("%s: %s", v->run->cell->model->name, why);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = run_fail_cell(r, v[i].run, text, err);
    free(text);
    return rc;
}

/* With as many texts side by side as the memory has room for. */
static void open_generator(struct texts *x, struct model *model, const struct model_config *c,
                           int capacity, struct buf *why)
{
    struct runner *r = x->r;
    struct generator_spec spec = { .engine = r->engine,
                                   .model = model,
                                   .config = c,
                                   .tokenizer = x->tokenizer,
                                   .threads = r->threads,
                                   .capacity = capacity,
                                   .stopped = run_stopped };
    for (;; r->batch_texts /= 2) {
        spec.slots = r->batch_texts;
        x->generator = generator_new(&spec, why);
        if (x->generator || r->batch_texts == 1 || !says_out_of_memory(why->s))
            return;
    }
}

int run_texts(struct runner *r, struct model *model, const struct unit *v, size_t n,
              struct buf *err)
{
    const struct sweep_model *m = v->run->cell->model;
    struct texts x = { .r = r, .tokenizer = corpus_tokenizer(m, err) };
    struct buf why = BUF_INIT;
    int rc;
    if (!x.tokenizer)
        return -1;
    x.seen = xcalloc((size_t)m->config.vocab, sizeof(*x.seen));
    open_generator(&x, model, &m->config, longest(v, n), &why);
    rc = x.generator ? write_texts(&x, v, n, err) : fail_texts(r, v, n, why.s, err);
    buf_release(&why);
    generator_free(x.generator);
    tokenizer_free(x.tokenizer);
    free(x.seen);
    return rc;
}
