/*
 * pieces.c: see pieces.h.
 */
#include "train/pieces.h"

/* ---- cutting ---- */

static int64_t pool_tokens(const struct pieces *p, int sequence, int n)
{
    int64_t tokens = 0;
    for (int i = sequence; i < sequence + n; i++)
        tokens += p->sequences[i].tokens;
    return tokens;
}

int64_t piece_tokens(const struct piece *p)
{
    int64_t tokens = 0;
    for (int i = 0; i < p->batch.nsequences; i++)
        tokens += p->batch.sequences[i].tokens;
    return tokens;
}

static void lay_out(struct pieces *p, const struct lesson *const *lessons, int n)
{
    p->sequences = xcalloc((size_t)n, sizeof(*p->sequences));
    p->loss_from = xcalloc((size_t)n, sizeof(*p->loss_from));
    for (int i = 0; i < n; i++) {
        p->sequences[i] = (struct sequence){ lessons[i]->ids, lessons[i]->tokens };
        p->loss_from[i] = lessons[i]->loss_from;
        p->tokens += lessons[i]->tokens;
        p->counted += lessons[i]->tokens - lessons[i]->loss_from;
    }
}

void pieces_make(struct pieces *p, const struct lesson *const *lessons, int n,
                 const struct router *router, const struct router_args *args, int micro_tokens)
{
    *p = (struct pieces){ 0 };
    lay_out(p, lessons, n);
    int each = router->scope(args) == SCOPE_BATCH ? args->batch : 1;
    p->pools = xcalloc((size_t)n, sizeof(*p->pools));
    p->v = xcalloc((size_t)n, sizeof(*p->v));
    int64_t tokens = 0; // of the last piece
    for (int from = 0, pool = 0; from < n; from += each, pool++) {
        int size = from + each <= n ? each : n - from;
        int64_t more = pool_tokens(p, from, size);
        p->pools[pool] = (struct pool){ router, *args, size, p->loss_from[from] };
        if (p->n == 0 || tokens + more > micro_tokens) {
            p->v[p->n++] = (struct piece){ .batch = { &p->sequences[from], 0, &p->pools[pool], 0 },
                                           .loss_from = &p->loss_from[from] };
            tokens = 0;
        }
        p->v[p->n - 1].batch.nsequences += size;
        p->v[p->n - 1].batch.npools++;
        tokens += more;
    }
    for (int i = 0; i < p->n; i++) {
        p->v[i].nll_weight = 1 / (double)p->counted;
        p->v[i].aux_weight = (double)piece_tokens(&p->v[i]) / (double)p->tokens;
    }
}

void pieces_release(struct pieces *p)
{
    free(p->v);
    free(p->sequences);
    free(p->loss_from);
    free(p->pools);
    *p = (struct pieces){ 0 };
}

/* ---- computing ---- */

struct piece_job {
    struct job job;
    const struct piece_threads *threads;
    int slot;
    const struct piece *piece;
    struct piece_result *result; /* of a gradient, or ... */
    struct scored *scored;       /* ... of losses; the other is NULL */
};

struct piece_threads {
    const struct trainer_functions *f;
    struct trainer *trainer;
    int threads;
    struct workers *workers;
    struct piece_job *jobs; /* [threads] */
};

static int work(struct job *job, struct buf *err)
{
    struct piece_job *j = (struct piece_job *)job;
    const struct piece_threads *t = j->threads;
    return j->result ? t->f->gradient(t->trainer, j->slot, j->piece, j->result, err)
                     : t->f->score(t->trainer, &j->piece->batch, j->scored, err);
}

struct piece_threads *piece_threads_new(const struct trainer_functions *f, struct trainer *trainer,
                                        int threads)
{
    struct piece_threads *t = xcalloc(1, sizeof(*t));
    *t = (struct piece_threads){ f, trainer, threads, workers_new(threads), NULL };
    t->jobs = xcalloc((size_t)threads, sizeof(*t->jobs));
    for (int i = 0; i < threads; i++) {
        t->jobs[i] = (struct piece_job){ .job = { .work = work }, .threads = t, .slot = i };
        buf_init(&t->jobs[i].job.err);
    }
    return t;
}

void piece_threads_free(struct piece_threads *t)
{
    if (!t)
        return;
    workers_free(t->workers);
    for (int i = 0; i < t->threads; i++)
        buf_release(&t->jobs[i].job.err);
    free(t->jobs);
    free(t);
}

static int run(struct piece_threads *t, const struct piece *pieces, int n,
               struct piece_result *results, struct scored *scored, struct buf *err)
{
    if (n > t->threads)
        BUG("%d pieces for %d threads", n, t->threads);
    for (int i = 0; i < n; i++) {
        t->jobs[i].piece = &pieces[i];
        t->jobs[i].result = results ? &results[i] : NULL;
        t->jobs[i].scored = scored ? &scored[i] : NULL;
        workers_put(t->workers, &t->jobs[i].job);
    }
    while (workers_take(t->workers))
        ;
    for (int i = 0; i < n; i++)
        if (t->jobs[i].job.rc)
            return fail(err, "%s", t->jobs[i].job.err.s);
    return 0;
}

int piece_gradients(struct piece_threads *t, const struct piece *pieces, int n,
                    struct piece_result *results, struct buf *err)
{
    return run(t, pieces, n, results, NULL, err);
}

int piece_losses(struct piece_threads *t, const struct piece *pieces, int n, struct scored *results,
                 struct buf *err)
{
    return run(t, pieces, n, NULL, results, err);
}
