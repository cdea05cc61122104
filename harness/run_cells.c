/*
 * run_cells.c: what becomes of cells: done, failed, or left for the next run. See run_impl.h.
 *
 * Invariant: a cell that fails keeps its samples, and is counted once. What a cell comes to is computed
 * before the database is taken to write it: other processes write meanwhile.
 */
#include "run_impl.h"

#include "run_workers_impl.h"
#include "summary.h"

#include <math.h>

/* How sentences about a cell begin. */
static void add_cell(const struct cell *c, struct buf *out)
{
    buf_addf(out, "%s, ", c->model->name);
    router_label(c->router, &c->args, out);
    buf_addf(out, ", K = %d, %s", c->args.K, c->task->name);
}

/* All else that is known of the cell is there; a run with --retry-failed scores what is missing. */
static int fail_unscored(struct runner *r, struct cell_run *run, size_t n, struct buf *err)
{
    struct buf text = BUF_INIT;
    add_cell(run->cell, &text);
    buf_addf(&text, ": %zu of %zu texts could not be scored by every measure; one of them is %s",
             run->unscored, n, run->cause);
    int rc = run_fail_cell(r, run, text.s, err);
    buf_release(&text);
    return rc;
}

/* What is written of a cell that has all of its samples, in a transaction. */
static int write_end(struct runner *r, struct cell_run *run, const struct summary *summary,
                     struct buf *err)
{
    const char *id = run->cell->id;
    size_t cut = run->corpus->documents.truncated, n = run->corpus->documents.len;
    if (summary_write(r->store, id, summary, err) ||
        store_metric_set(r->store, id, "cut", (double)cut, NAN, (int64_t)n, err))
        return -1;
    return run->unscored ? fail_unscored(r, run, n, err)
                         : store_cell_finish(r->store, id, CELL_DONE, NULL, run->seconds, err);
}

int run_finish_cell(struct runner *r, struct cell_run *run, struct buf *err)
{
    struct summary *summary = summary_make(r->store, run->cell->id, err);
    int rc = summary ? store_begin(r->store, err) : -1;
    if (rc == 0) {
        rc = write_end(r, run, summary, err) ? -1 : store_commit(r->store, err);
        if (rc)
            store_rollback(r->store);
    }
    summary_free(summary);
    r->result->done += rc == 0 && !run->error;
    return rc;
}

int run_finish_complete(struct runner *r, struct cell_run *run, struct buf *err)
{
    bool complete = run->complete;
    run->complete = false;
    return complete ? run_finish_cell(r, run, err) : 0;
}

int run_fail_cell(struct runner *r, struct cell_run *run, const char *why, struct buf *err)
{
    if (run->error)
        return 0;
    run->error = xstrdup(why);
    if (r->result->failed++ == 0)
        r->result->first_error = xstrdup(why);
    if (r->options->fail_fast)
        run_end();
    return store_cell_finish(r->store, run->cell->id, CELL_FAILED, why, run->seconds, err);
}

int run_keep_error(struct runner *r, const char *id, char **error, struct buf *err)
{
    if (*error)
        return 0;
    struct rows *rows =
        store_query(r->store, err, "SELECT error FROM v_cells WHERE cell_id = ?", id);
    int rc = rows ? rows_next(rows, err) : -1;
    if (rc == 1 && !rows_null(rows, 0))
        *error = xstrdup(rows_text(rows, 0));
    rows_close(rows);
    return rc < 0 ? -1 : 0;
}

/* With the cell's and the document's name, which the model does not know. */
int run_fail_unit(struct runner *r, const struct unit *u, const char *why, struct buf *err)
{
    struct buf text = BUF_INIT;
    if (run_check_device(r, err))
        return -1;
    add_cell(u->run->cell, &text);
    buf_addf(&text, ", document %d: %s", unit_document(u, 0), why);
    int rc = run_fail_cell(r, u->run, text.s, err);
    buf_release(&text);
    return rc;
}

int run_keep_seconds(struct runner *r, struct cell_run *run, struct buf *err)
{
    int rc = store_cell_finish(r->store, run->cell->id, CELL_UNFINISHED, NULL, run->seconds, err);
    run->seconds = 0;
    return rc;
}

int run_note_batch(struct runner *r, struct cell_run *run, const char *what, int64_t first,
                   int64_t now, struct buf *err)
{
    if (now == first || now == run->noted)
        return 0;
    char *note = xasprintf("the memory had room for %lld %s at a time, not for %lld",
                           (long long)now, what, (long long)first);
    int rc = store_cell_note(r->store, run->cell->id, note, err);
    run->noted = now;
    free(note);
    return rc;
}

int run_check_device(struct runner *r, struct buf *err)
{
    struct buf why = BUF_INIT;
    int rc = 0;
    if (r->engine && r->device.kind != DEVICE_CPU &&
        r->engine->device_check(r->device, r->sweep->dtype, &why) && !says_out_of_memory(why.s)) {
        r->lost = true;
        rc = fail(err, "%s does not answer any more, and what was finished is kept: %s",
                  r->device_name, why.s);
    }
    buf_release(&why);
    return rc;
}

void run_progress(struct runner *r, int64_t tokens)
{
    int cells = r->result->done + r->result->failed;
    if (r->member)
        crew_tell_progress(r->member, tokens, cells);
    else
        progress_add(&r->progress, tokens, cells);
}

int run_unit_done(struct runner *r, struct cell_run *run, struct buf *err)
{
    if (--run->units_left || run->error)
        return 0;
    if (run->scored_after)
        return run_keep_seconds(r, run, err);
    run->complete = true;
    return 0;
}
