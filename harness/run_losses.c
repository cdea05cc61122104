/*
 * run_losses.c: units become batches of about r->batch_tokens, whatever cells they are of, and the
 * workers score them; this thread alone writes. See run_impl.h.
 *
 * A batch for which there is no memory is halved, and so are those that follow; one that failed for
 * another reason is tried again in pieces of one unit each.
 */
#include "run_impl.h"

#include <math.h>
#include <string.h>

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
        .load_entropy = s->load_entropy ? s->load_entropy + load : NULL,
        .others = (const char *const *)r->sweep->overlap_names,
        .nothers = u->run->nothers,
        .overlap = s->overlap
                       ? s->overlap + 3 * (size_t)i * (size_t)u->run->nothers * (size_t)s->layers
                       : NULL,
    };
    return store_sample_add(r->store, &sample, err);
}

static int store_samples(struct runner *r, const struct work *w, struct buf *err)
{
    const struct scored *s = &w->scored;
    uint16_t *used = xmalloc((size_t)s->layers * (size_t)s->tokens * sizeof(*used));
    int rc = 0, sequence = 0;
    for (size_t i = 0; i < w->nunits && rc == 0; i++)
        for (int d = 0; d < w->units[i].docs && rc == 0; d++)
            rc = store_document(r, &w->units[i], unit_document(&w->units[i], d), s, sequence++,
                                used, err);
    free(used);
    return rc;
}

/* Where batches had to become smaller, the cells say so. */
static int note_batches(struct runner *r, const struct work *w, struct buf *err)
{
    for (size_t i = 0; i < w->nunits; i++)
        if (run_note_batch(r, w->units[i].run, "tokens", r->full_tokens, r->batch_tokens, err))
            return -1;
    return 0;
}

/*
 * The samples of a batch, in one transaction, and then the cells that they complete. A batch that failed
 * and has several units is put back in pieces by the caller, so here it is one unit's cell that
 * fails.
 */
static int store_work(struct runner *r, struct work *w, struct buf *err)
{
    if (store_begin(r->store, err))
        return -1;
    int rc =
        w->job.rc ? run_fail_unit(r, &w->units[0], w->job.err.s, err) : store_samples(r, w, err);
    if (rc == 0)
        rc = note_batches(r, w, err);
    for (size_t i = 0; i < w->nunits && rc == 0; i++) {
        struct cell_run *run = w->units[i].run;
        run->seconds += w->job.seconds * (double)w->units[i].tokens / (double)w->tokens;
        rc = run_unit_done(r, run, err);
    }
    if (rc == 0)
        rc = store_commit(r->store, err);
    if (rc)
        store_rollback(r->store);
    for (size_t i = 0; i < w->nunits && rc == 0; i++)
        rc = run_finish_complete(r, w->units[i].run, err);
    run_progress(r, w->tokens);
    return rc;
}

/* Puts a batch that failed back in smaller ones; returns how many. */
static int put_pieces(struct runner *r, struct workers *workers, const struct work *w)
{
    int n = 0;
    if (says_out_of_memory(w->job.err.s)) {
        size_t at = 0;
        struct work *part;
        if (r->batch_tokens > w->tokens / 2)
            r->batch_tokens = w->tokens / 2 > 0 ? w->tokens / 2 : 1;
        for (;
             (part = work_new_most(r->engine, w->model, w->units, &at, w->nunits, r->batch_tokens));
             n++)
            workers_put(workers, &part->job);
        return n;
    }
    struct work **parts = xcalloc(w->nunits, sizeof(struct work *));
    n = (int)work_split(w, parts);
    for (int i = 0; i < n; i++)
        workers_put(workers, &parts[i]->job);
    free(parts);
    return n;
}

/* Two batches wait for each that is computed. */
static int score_units(struct runner *r, struct workers *workers, struct model *model,
                       const struct unit *v, size_t n, struct buf *err)
{
    int rc = 0, under_way = 0;
    size_t at = 0;
    for (;;) {
        while (rc == 0 && !run_interrupted() && under_way < 3 * r->threads) {
            struct work *w = work_new_most(r->engine, model, v, &at, n, r->batch_tokens);
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
            under_way += put_pieces(r, workers, w);
        } else if (rc == 0) {
            rc = store_work(r, w, err);
        }
        work_free(w);
    }
}

int run_losses(struct runner *r, struct model *model, const struct unit *v, size_t n,
               struct buf *err)
{
    struct workers *workers = workers_new(r->threads);
    int rc = score_units(r, workers, model, v, n, err);
    workers_free(workers);
    return rc;
}
