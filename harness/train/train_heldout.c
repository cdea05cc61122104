/*
 * train_heldout.c: losses of what is held out, see train_impl.h. It is routed as in training, with the
 * K that the training is for: where K is drawn, the first of those that may be.
 */
#include "train/train_impl.h"

/* By source. */
struct loss {
    double nll;
    int64_t tokens;
};

/* Adds the losses of a piece's lessons, which are `lesson` and those after it. */
static void count(const struct scored *s, const struct lesson *lesson, struct loss *by_source)
{
    for (int i = 0; i < s->nsequences; i++, lesson++) {
        struct loss *l = &by_source[lesson->source];
        for (int t = lesson->loss_from; t < lesson->tokens; t++)
            l->nll += (double)s->nll[s->start[i] + t];
        l->tokens += lesson->tokens - lesson->loss_from;
    }
}

/* Up to as many pieces as there are threads; `lesson` is the first one's, and moves behind the last. */
static int add_round(struct training_run *r, const struct piece *pieces, int n,
                     const struct lesson **lesson, struct loss *by_source, struct buf *err)
{
    struct scored *scored = xcalloc((size_t)n, sizeof(*scored));
    int rc = piece_losses(r->threads, pieces, n, scored, err);
    for (int i = 0; i < n && rc == 0; i++) {
        count(&scored[i], *lesson, by_source);
        *lesson += scored[i].nsequences;
    }
    for (int i = 0; i < n; i++)
        scored_release(&scored[i]);
    free(scored);
    return rc;
}

static int keep(struct training_run *r, const struct loss *by_source, struct buf *err)
{
    const struct lessons *l = r->task->lessons;
    if (store_begin(r->store, err))
        return -1;
    for (size_t i = 0; i < l->nsources; i++) {
        if (by_source[i].tokens &&
            store_train_heldout_set(r->store, r->task->id, r->step, l->sources[i].name,
                                    by_source[i].nll, by_source[i].tokens, err)) {
            store_rollback(r->store);
            return -1;
        }
    }
    return store_commit(r->store, err);
}

int train_heldout(struct training_run *r, struct buf *err)
{
    const struct lessons *l = r->task->lessons;
    if (l->nheld == 0 || !r->store)
        return 0;
    const struct lesson **lessons = xcalloc(l->nheld, sizeof(*lessons)), *next = l->held;
    struct loss *by_source = xcalloc(l->nsources, sizeof(*by_source));
    struct router_args args = r->task->args;
    struct pieces p;
    int rc = 0, i = 0, at_once = r->task->threads;
    args.cutoffs = r->learnt ? r->cutoffs : NULL;
    for (size_t j = 0; j < l->nheld; j++)
        lessons[j] = &l->held[j];
    pieces_make(&p, lessons, (int)l->nheld, r->task->router, &args,
                r->task->training->micro_tokens);
    for (; i < p.n && rc == 0 && !train_stopped(r); i += at_once)
        rc = add_round(r, &p.v[i], p.n - i < at_once ? p.n - i : at_once, &next, by_source, err);
    if (rc == 0 && i >= p.n)
        rc = keep(r, by_source, err);
    pieces_release(&p);
    free(by_source);
    free(lessons);
    return rc;
}
