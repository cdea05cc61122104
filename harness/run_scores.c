/*
 * run_scores.c: what was written is scored by programs and judges, from the outputs that are in the
 * store; each score is committed as it comes. No model is at work meanwhile: a program has its time
 * by the clock on the wall, and shares the processor with other programs alone.
 *
 * Invariant: a text that is being scored has its worker; so at an interruption there is nobody to
 * wait for but those who work, and a tool that failed then leaves its text as it was.
 * Leaves out: scores that need no tool (run_texts.c). See run_impl.h.
 */
#include "run_impl.h"

#include "scoring.h"

#include <math.h>

enum { JUDGES = 8 }; /* asked side by side, at least: who asks waits for the network */

/* Texts that want a score, of all cells of a model. */
struct pending {
    struct one {
        struct cell_run *run;
        int doc;
    } * v;
    size_t len, cap;
};

/* One of them on its way. */
struct text {
    struct scoring scoring;
    char *output;
    const struct one *what;
};

/* Has the sample no score yet, or one that a tool failed to give? 1, 0, or -1. */
static int wants_score(const char *extracted, struct buf *err)
{
    struct buf why = BUF_INIT;
    int wants = extracted ? outcome_failure(extracted, &why, err) : 1;
    buf_release(&why);
    return wants;
}

/* Adds the texts of one cell. */
static int find_texts(struct runner *r, struct cell_run *run, struct pending *p, struct buf *err)
{
    struct rows *rows = store_query(
        r->store, err, "SELECT doc, extracted FROM v_samples WHERE cell_id = ? ORDER BY doc",
        run->cell->id);
    int rc = rows ? 0 : -1, wants = 0;
    while (rows && (rc = rows_next(rows, err)) == 1) {
        wants = wants_score(rows_text(rows, 1), err);
        if (wants < 0)
            break;
        if (!wants)
            continue;
        int64_t doc = rows_int(rows, 0);
        if (doc < 0 || doc >= (int64_t)run->corpus->documents.len) {
            wants = fail(err, "%s: cell %s has a document %lld that its task has not",
                         store_path(r->store), run->cell->id, (long long)doc);
            break;
        }
        ARRAY_GROW(p->v, p->cap, p->len + 1);
        p->v[p->len++] = (struct one){ run, (int)doc };
        run->scores_left++;
    }
    rows_close(rows);
    return rc < 0 || wants < 0 ? -1 : 0;
}

static void text_free(struct text *t)
{
    scoring_release(&t->scoring);
    free(t->output);
    free(t);
}

/* The text as it is in the store, with the verdicts that it has. NULL on failure. */
static struct text *text_read(struct runner *r, const struct one *what, struct buf *err)
{
    struct text *t = xcalloc(1, sizeof(*t));
    char *doc = xasprintf("%d", what->doc);
    const struct cell *c = what->run->cell;
    struct rows *rows = store_query(r->store, err,
                                    "SELECT output, extracted FROM v_samples WHERE cell_id = ?"
                                    " AND doc = CAST(? AS INTEGER)",
                                    c->id, doc);
    int rc = rows ? rows_next(rows, err) : -1;
    if (rc == 0)
        fail(err, "%s: document %d of cell %s is gone", store_path(r->store), what->doc, c->id);
    rc = rc == 1 ? 0 : -1;
    if (rc == 0) {
        const char *output = rows_text(rows, 0), *extracted = rows_text(rows, 1);
        t->output = xstrdup(output ? output : "");
        t->what = what;
        scoring_init(&t->scoring, c->task, what->run->corpus->documents.v[what->doc].fields,
                     t->output, &r->options->tools);
        t->scoring.owner = t;
        if (extracted)
            rc = scoring_keep(&t->scoring, extracted, err);
    }
    rows_close(rows);
    free(doc);
    if (rc == 0)
        return t;
    text_free(t);
    return NULL;
}

/* Puts the score into the sample, and remembers what a tool failed with. */
static int store_score(struct runner *r, const struct text *t, struct buf *err)
{
    const struct one *what = t->what;
    const struct scoring *s = &t->scoring;
    struct buf why = BUF_INIT;
    int failed = outcome_failure(s->extracted.s, &why, err);
    if (failed == 1 && what->run->unscored++ == 0)
        what->run->cause = xasprintf("document %d: %s", what->doc, why.s);
    buf_release(&why);
    return failed < 0 ? -1
                      : store_sample_score(r->store, what->run->cell->id, what->doc, s->score,
                                           s->extracted.s, err);
}

/* A text that is scored goes to the store; its cell may be complete with it. */
static int store_result(struct runner *r, const struct text *t, struct buf *err)
{
    struct cell_run *run = t->what->run;
    const struct unit u = { .run = run, .doc = t->what->doc, .docs = 1 };
    if (store_begin(r->store, err))
        return -1;
    int rc = t->scoring.job.rc ? run_fail_unit(r, &u, t->scoring.job.err.s, err)
                               : store_score(r, t, err);
    if (rc == 0)
        rc = store_commit(r->store, err);
    if (rc)
        store_rollback(r->store);
    else if (--run->scores_left == 0 && !run->error)
        rc = run_finish_cell(r, run, err);
    return rc;
}

/* Did a tool fail while the user was waiting for the end? It was not given all of its tries. */
static bool cut_short(const struct scoring *s)
{
    struct buf why = BUF_INIT, err = BUF_INIT;
    bool is = run_stopped() && (s->job.rc || outcome_failure(s->extracted.s, &why, &err));
    buf_release(&why);
    buf_release(&err);
    return is;
}

static int score_texts(struct runner *r, const struct pending *p, struct workers *workers,
                       int threads, struct buf *err)
{
    struct progress progress;
    size_t at = 0;
    int rc = 0, under_way = 0;
    progress_start_units(&progress, (int64_t)p->len, "texts");
    for (;;) {
        for (; rc == 0 && at < p->len && under_way < threads && !run_stopped(); at++) {
            if (p->v[at].run->error)
                continue;
            struct text *t = text_read(r, &p->v[at], err);
            rc = t ? 0 : -1;
            if (t) {
                workers_put(workers, &t->scoring.job);
                under_way++;
            }
        }
        struct scoring *s = (struct scoring *)workers_take(workers);
        if (!s)
            break;
        under_way--;
        if (rc == 0 && !cut_short(s))
            rc = store_result(r, s->owner, err);
        if (rc)
            run_give_up();
        progress_add(&progress, 1, 0);
        text_free(s->owner);
    }
    progress_end(&progress);
    return rc;
}

/* The cells whose tasks run code, or the others: judges wait, and are asked more at a time. */
static int score_cells(struct runner *r, struct cell_run *v, size_t n, bool code, struct buf *err)
{
    struct pending p = { 0 };
    int rc = 0, threads = r->options->threads;
    if (!code && threads < JUDGES)
        threads = JUDGES;
    for (size_t i = 0; i < n && rc == 0; i++) {
        if (!v[i].scored_after || v[i].error || v[i].units_left ||
            task_runs_code(v[i].cell->task) != code)
            continue;
        rc = find_texts(r, &v[i], &p, err);
        // It was stopped between its last score and its summary.
        if (rc == 0 && v[i].scores_left == 0)
            rc = run_finish_cell(r, &v[i], err);
    }
    if (rc == 0 && p.len > 0) {
        struct workers *workers = workers_new(threads);
        rc = score_texts(r, &p, workers, threads, err);
        workers_free(workers);
    }
    free(p.v);
    return rc;
}

int run_scores(struct runner *r, struct cell_run *v, size_t n, struct buf *err)
{
    double from = now_seconds();
    int rc = score_cells(r, v, n, true, err);
    if (rc == 0 && !run_stopped())
        rc = score_cells(r, v, n, false, err);
    // The line about tokens goes on as if no time had passed.
    r->progress.from += now_seconds() - from;
    return rc;
}
