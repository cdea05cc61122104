/*
 * fake_trainer.h: a trainer without tensors: eight weights, each of which is drawn towards the tokens
 * that it stands for. It notes what it was asked, and does what a test wants to see survived.
 *
 * Invariant: as the engine's, its numbers hang on the pieces and their order, and not on threads.
 */
#ifndef FAKE_TRAINER_H
#define FAKE_TRAINER_H

#include "trainer.h"

#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

enum { FAKE_WEIGHTS = 8, FAKE_SLOTS = 8, FAKE_LAYERS = 2, FAKE_EXPERTS = 8 };

/* A piece, as gradient() was asked for it. */
struct fake_piece {
    int64_t step;
    int slot, tokens, nsequences, npools;
    int32_t first;      /* its first token */
    int K[FAKE_LAYERS]; /* by layer, of the first pool */
    int mode;           /* likewise, of the first layer */
    bool cutoffs;       /* were there any? */
    float cutoff;       /* the first one */
    double nll_weight, aux_weight;
};

static struct {
    /* What is to happen: at a step, from 1; 0: never. */
    int64_t exit_at, nan_at, infinite_at, fail_at;
    bool score_fails, state_fails, state_is_huge, weights_fail;
    /* What was asked. */
    struct fake_piece pieces[4096];
    size_t npieces;
    int opened, scored;
    pthread_mutex_t lock;
} fake = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct trainer {
    float w[FAKE_WEIGHTS], means[FAKE_WEIGHTS], squares[FAKE_WEIGHTS], gradient[FAKE_WEIGHTS];
    float slot[FAKE_SLOTS][FAKE_WEIGHTS];
    int64_t steps;
};

static struct trainer *fake_open(const struct weights *w, struct device on,
                                 const struct training *t, int slots, struct buf *err)
{
    (void)w;
    (void)on;
    (void)t;
    (void)err;
    struct trainer *f = xcalloc(1, sizeof(*f));
    if (slots > FAKE_SLOTS)
        BUG("%d slots", slots);
    for (int i = 0; i < FAKE_WEIGHTS; i++)
        f->w[i] = (float)i / 3;
    fake.opened++;
    return f;
}

static void fake_close(struct trainer *t)
{
    free(t);
}

static double fake_distance(const struct trainer *t, int32_t id)
{
    return (double)t->w[id % FAKE_WEIGHTS] - id / 10.0;
}

static const struct router_args *fake_args(const struct piece *p, int layer)
{
    return p->args ? &p->args[layer] : &p->batch.pools[0].args;
}

static void fake_note(const struct trainer *t, int slot, const struct piece *p)
{
    struct fake_piece n = { .step = t->steps + 1,
                            .slot = slot,
                            .nsequences = p->batch.nsequences,
                            .npools = p->batch.npools,
                            .first = p->batch.sequences[0].ids[0],
                            .cutoffs = fake_args(p, 0)->cutoffs != NULL,
                            .cutoff = fake_args(p, 0)->cutoffs ? fake_args(p, 0)->cutoffs[0] : 0,
                            .nll_weight = p->nll_weight,
                            .aux_weight = p->aux_weight };
    for (int i = 0; i < p->batch.nsequences; i++)
        n.tokens += p->batch.sequences[i].tokens;
    for (int i = 0; i < FAKE_LAYERS; i++)
        n.K[i] = fake_args(p, i)->K;
    n.mode = fake_args(p, 0)->mode;
    pthread_mutex_lock(&fake.lock);
    if (fake.npieces < sizeof(fake.pieces) / sizeof(fake.pieces[0]))
        fake.pieces[fake.npieces++] = n;
    pthread_mutex_unlock(&fake.lock);
}

/* What routers used, and where cutoffs are learnt, logits that follow from the piece. */
static void fake_routed(const struct piece *p, struct piece_result *out)
{
    struct scored *s = &out->scored;
    scored_alloc(s, &p->batch, FAKE_LAYERS, FAKE_EXPERTS);
    for (int i = 0; i < FAKE_LAYERS * s->tokens; i++)
        s->used[i] = (uint16_t)fake_args(p, i / s->tokens)->K;
    if (!p->batch.pools[0].router->learns)
        return;
    out->kth = xcalloc(FAKE_LAYERS * FAKE_EXPERTS, sizeof(*out->kth));
    for (int i = 0; i < FAKE_LAYERS * FAKE_EXPERTS; i++)
        out->kth[i] = (float)p->batch.sequences[0].ids[0] / (float)(i + 3);
}

static int fake_gradient(struct trainer *t, int slot, const struct piece *p,
                         struct piece_result *out, struct buf *err)
{
    float *g = t->slot[slot];
    fake_note(t, slot, p);
    // Who comes first hangs on the clock, and nothing may hang on that.
    usleep((useconds_t)((slot * 7 + 3) % 5) * 100);
    if (fake.fail_at == t->steps + 1 && slot == 0)
        return fail(err, "the fake trainer was told to fail");
    memset(g, 0, sizeof(t->slot[slot]));
    for (int i = 0; i < p->batch.nsequences; i++) {
        const struct sequence *s = &p->batch.sequences[i];
        for (int j = p->loss_from[i]; j < s->tokens; j++) {
            double d = fake_distance(t, s->ids[j]);
            out->nll += d * d;
            out->nll_tokens++;
            g[s->ids[j] % FAKE_WEIGHTS] += (float)(2 * d * p->nll_weight);
        }
    }
    if (fake.nan_at == t->steps + 1)
        out->nll = (double)NAN;
    out->balance = p->batch.sequences[0].ids[0];
    out->z = 2;
    fake_routed(p, out);
    return 0;
}

static int fake_add(struct trainer *t, int n, struct buf *err)
{
    (void)err;
    for (int s = 0; s < n; s++)
        for (int i = 0; i < FAKE_WEIGHTS; i++)
            t->gradient[i] += t->slot[s][i];
    return 0;
}

static int fake_step(struct trainer *t, double lr, double clip, double *norm, struct buf *err)
{
    double sum = 0;
    (void)clip;
    for (int i = 0; i < FAKE_WEIGHTS; i++)
        sum += (double)t->gradient[i] * (double)t->gradient[i];
    *norm = fake.infinite_at == t->steps + 1 ? (double)INFINITY : sqrt(sum);
    if (!isfinite(*norm))
        return fail(err, "the gradient's norm is not finite");
    for (int i = 0; i < FAKE_WEIGHTS; i++) {
        t->means[i] = 0.9f * t->means[i] + t->gradient[i];
        t->squares[i] = 0.99f * t->squares[i] + t->gradient[i] * t->gradient[i];
        t->w[i] -= (float)lr * t->means[i] / (1 + sqrtf(t->squares[i]) / (float)(t->steps + 1));
        t->gradient[i] = 0;
    }
    t->steps++;
    if (t->steps == fake.exit_at)
        _exit(77);
    return 0;
}

static const struct trainer_tensor *fake_tensors(const struct trainer *t, size_t *n)
{
    static const struct trainer_tensor tensors[] = { { "a.weight", 2, { 2, 3 }, 0 },
                                                     { "b.weight", 1, { 2, 0 }, 6 } };
    (void)t;
    *n = 2;
    return tensors;
}

static int64_t fake_count(const struct trainer *t)
{
    (void)t;
    return FAKE_WEIGHTS;
}

static int64_t fake_steps(const struct trainer *t)
{
    return t->steps;
}

static float *fake_run(struct trainer *t, enum trainer_run run)
{
    return run == RUN_WEIGHTS ? t->w : run == RUN_MEANS ? t->means : t->squares;
}

static int fake_read(struct trainer *t, enum trainer_run run, float *values, struct buf *err)
{
    (void)err;
    memcpy(values, fake_run(t, run), sizeof(t->w));
    return 0;
}

static int fake_write(struct trainer *t, enum trainer_run run, const float *values, struct buf *err)
{
    (void)err;
    memcpy(fake_run(t, run), values, sizeof(t->w));
    return 0;
}

static int fake_weights(struct trainer *t, int64_t at, int64_t n, enum dtype dtype, void *values,
                        struct buf *err)
{
    if (fake.weights_fail)
        return fail(err, "the fake trainer was told not to give its weights");
    if (dtype != DTYPE_F32)
        BUG("the fake trainer has no weights in %s", dtype_name(dtype));
    memcpy(values, t->w + at, (size_t)n * sizeof(*t->w));
    return 0;
}

static void fake_set_steps(struct trainer *t, int64_t steps)
{
    t->steps = steps;
}

/* The state: the three runs, which lie one behind the other. */
static int64_t fake_state_bytes(const struct trainer *t)
{
    (void)t;
    return fake.state_is_huge ? INT64_MAX / 4 : (int64_t)offsetof(struct trainer, gradient);
}

static int fake_state_get(struct trainer *t, int64_t at, int64_t n, void *bytes, struct buf *err)
{
    if (fake.state_fails)
        return fail(err, "the fake trainer was told not to give its state");
    memcpy(bytes, (const char *)t + at, (size_t)n);
    return 0;
}

static int fake_state_put(struct trainer *t, int64_t at, int64_t n, const void *bytes,
                          struct buf *err)
{
    if (fake.state_fails)
        return fail(err, "the fake trainer was told not to take a state");
    memcpy((char *)t + at, bytes, (size_t)n);
    return 0;
}

static int fake_score(struct trainer *t, const struct batch *b, struct scored *out, struct buf *err)
{
    if (fake.score_fails)
        return fail(err, "the fake trainer was told not to score");
    scored_alloc(out, b, FAKE_LAYERS, FAKE_EXPERTS);
    for (int i = 0; i < b->nsequences; i++)
        for (int j = 0; j < b->sequences[i].tokens; j++) {
            double d = fake_distance(t, b->sequences[i].ids[j]);
            out->nll[out->start[i] + j] = j ? (float)(d * d) : NAN;
        }
    __atomic_add_fetch(&fake.scored, 1, __ATOMIC_RELAXED);
    return 0;
}

static const struct trainer_functions fake_functions = {
    .open = fake_open,
    .close = fake_close,
    .gradient = fake_gradient,
    .add = fake_add,
    .step = fake_step,
    .tensors = fake_tensors,
    .count = fake_count,
    .steps = fake_steps,
    .read = fake_read,
    .write = fake_write,
    .weights = fake_weights,
    .set_steps = fake_set_steps,
    .state_bytes = fake_state_bytes,
    .state_get = fake_state_get,
    .state_put = fake_state_put,
    .score = fake_score,
};

static const struct engine fake_engine = { .trainer = &fake_functions };

#endif
