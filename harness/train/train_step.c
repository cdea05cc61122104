/*
 * train_step.c: one step of a training, see train_impl.h: its lessons cut into pieces, the pieces'
 * gradients added in their order, and AdamW.
 *
 * Invariant: every sum runs over the pieces from the first to the last, so none hangs on the number of
 * threads.
 */
#include "train/train_impl.h"

#include <math.h>

/* Sums over the pieces of a step. */
struct sums {
    double nll, balance, z, used;
};

/* How layer `layer` routes in the next step: K, mode, bounds, and the cutoffs as they are now. */
static struct router_args args_of(const struct training_run *r, int layer)
{
    const struct train_task *task = r->task;
    const struct training *t = task->training;
    struct router_args args = task->args;
    int K = training_K(t, args.K, r->step, layer);
    for (int i = t->nmatryoshka; task->drawn && i-- > 0;)
        if (t->matryoshka[i] == K)
            args = task->drawn[i];
    if (training_online(t, r->step, r->steps))
        args.mode = SEQTOPK_ONLINE;
    args.cutoffs = r->learnt ? r->cutoffs : NULL;
    return args;
}

static void cut(struct training_run *r, struct pieces *p, struct router_args *by_layer)
{
    const struct training *t = r->task->training;
    const struct lesson **lessons = xcalloc((size_t)t->batch, sizeof(*lessons));
    for (int i = 0; i < t->batch; i++)
        lessons[i] = lesson_order_at(&r->order, r->step * t->batch + i);
    for (int i = 0; i < r->layers; i++)
        by_layer[i] = args_of(r, i);
    pieces_make(p, lessons, t->batch, r->task->router, by_layer, t->micro_tokens);
    for (int i = 0; i < p->n; i++) {
        p->v[i].balance_loss = t->balance_loss;
        p->v[i].z_loss = t->z_loss;
        p->v[i].args = t->matryoshka_by_layer ? by_layer : NULL;
    }
    free(lessons);
}

static void count(struct training_run *r, const struct piece *piece,
                  const struct piece_result *result, struct sums *sums)
{
    const struct scored *s = &result->scored;
    sums->nll += result->nll;
    sums->balance += piece->aux_weight * result->balance;
    sums->z += piece->aux_weight * result->z;
    for (size_t i = 0; i < (size_t)s->layers * (size_t)s->tokens; i++)
        sums->used += s->used[i];
    if (r->cutoffs && !result->kth)
        BUG("%s learns cutoffs, but a piece came without logits", r->task->router->name);
    if (r->cutoffs)
        cutoff_average_add(&r->average, result->kth, piece_tokens(piece));
}

/* Up to as many pieces as there are threads. */
static int add_round(struct training_run *r, const struct piece *pieces, int n, struct sums *sums,
                     struct buf *err)
{
    struct piece_result *results = xcalloc((size_t)n, sizeof(*results));
    int rc = piece_gradients(r->threads, pieces, n, results, err);
    for (int i = 0; i < n && rc == 0; i++)
        count(r, &pieces[i], &results[i], sums);
    if (rc == 0)
        rc = r->f->add(r->trainer, n, err);
    for (int i = 0; i < n; i++)
        piece_result_release(&results[i]);
    free(results);
    return rc;
}

/* The step that failed, why, and where the training stands. The weights may be what is wrong. */
static int broken(struct training_run *r, const char *why, struct buf *err)
{
    const struct train_task *task = r->task;
    struct buf state = BUF_INIT;
    r->broken = true;
    if (r->saved >= 0)
        buf_addf(&state, "the last good state, of step %lld, stays in %s/%s.state",
                 (long long)r->saved, task->root, task->id);
    else
        buf_adds(&state, "no state was saved before it");
    fail(err, "in step %lld %s, so the training ends here without a model; %s",
         (long long)r->step + 1, why, state.s);
    buf_release(&state);
    return -1;
}

static int no_number(const char *what, double value, struct buf *err)
{
    return fail(err, "%s is %g", what, value);
}

/* AdamW, once the gradient is whole. */
static int change_weights(struct training_run *r, const struct sums *sums,
                          struct store_train_step *row, struct buf *err)
{
    const struct training *t = r->task->training;
    row->lr = training_lr(t, r->step, r->steps);
    if (!isfinite(sums->nll))
        return no_number("the loss", sums->nll, err);
    if (r->f->step(r->trainer, row->lr, t->clip, &row->grad_norm, err))
        return isfinite(row->grad_norm) ? -1
                                        : no_number("the gradient's norm", row->grad_norm, err);
    if (r->cutoffs) {
        cutoff_average_step(&r->average);
        r->learnt = cutoff_average_value(&r->average, r->cutoffs);
    }
    return 0;
}

int train_step(struct training_run *r, struct store_train_step *row, struct buf *err)
{
    double from = now_seconds();
    struct sums sums = { 0 };
    struct pieces p;
    struct router_args *by_layer = xcalloc((size_t)r->layers, sizeof(*by_layer));
    int rc = 0, at_once = r->task->threads;
    *row = (struct store_train_step){ .step = r->step + 1 };
    cut(r, &p, by_layer);
    for (int i = 0; i < p.n && rc == 0; i += at_once)
        rc = add_round(r, &p.v[i], p.n - i < at_once ? p.n - i : at_once, &sums, err);
    if (rc == 0)
        rc = change_weights(r, &sums, row, err);
    if (rc) {
        rc = broken(r, err->s, err);
    } else {
        r->step++;
        r->tokens += p.tokens;
        r->loss = row->loss = sums.nll / (double)p.counted;
        row->tokens = r->tokens;
        row->balance_loss = sums.balance;
        row->z_loss = sums.z;
        row->experts = sums.used / ((double)p.tokens * r->layers);
        row->seconds = now_seconds() - from;
    }
    pieces_release(&p);
    free(by_layer);
    return rc;
}
