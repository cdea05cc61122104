/*
 * test_trainer.c: gradients against finite differences under every router and against what PyTorch's
 * autograd says of the same models, AdamW against a plain one in double, and what must hold to the
 * bit: any number of slots, any step that goes on from a saved state.
 */
#include "trainer.h"

#include "device.h"
#include "fixture.h"
#include "json.h"
#include "skip.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* ---- a model that trains ---- */

struct gym {
    char *dir; /* of its files where they are its own */
    struct weights *w;
    const struct trainer_functions *f;
    struct trainer *t;
    const struct trainer_tensor *tensors;
    size_t ntensors, count;
};

static struct training training(enum dtype dtype)
{
    return (struct training){
        .beta1 = 0.9, .beta2 = 0.95, .weight_decay = 0.1, .only = TRAIN_ALL, .dtype = dtype
    };
}

static void gym_open(struct gym *g, const char *dir, const struct training *t, int slots)
{
    struct buf err = BUF_INIT;
    *g = (struct gym){ .f = engine->trainer };
    g->w = weights_open(dir, &err);
    if (g->w)
        g->t = g->f->open(g->w, device, t, slots, &err);
    if (!g->t)
        fail_msg("%s", err.s);
    g->tensors = g->f->tensors(g->t, &g->ntensors);
    g->count = (size_t)g->f->count(g->t);
}

/* Of a fixture, whose files are made and removed with it. */
static void gym_make(struct gym *g, const struct fixture_model *m, const struct training *t,
                     int slots)
{
    char *dir = fixture_dir();
    fixture_model_write(dir, m);
    gym_open(g, dir, t, slots);
    g->dir = dir;
}

static void gym_close(struct gym *g)
{
    g->f->close(g->t);
    weights_close(g->w);
    if (g->dir)
        fixture_remove(g->dir);
}

static size_t tensor_count(const struct trainer_tensor *t)
{
    size_t n = 1;
    for (int i = 0; i < t->ndim; i++)
        n *= (size_t)t->shape[i];
    return n;
}

static float *gym_read(const struct gym *g, enum trainer_run run)
{
    struct buf err = BUF_INIT;
    float *v = xmalloc(g->count * sizeof(*v));
    if (g->f->read(g->t, run, v, &err))
        fail_msg("%s", err.s);
    return v;
}

static void gym_write(const struct gym *g, enum trainer_run run, const float *v)
{
    struct buf err = BUF_INIT;
    if (g->f->write(g->t, run, v, &err))
        fail_msg("%s", err.s);
}

static void gym_gradient(const struct gym *g, int slot, const struct piece *p,
                         struct piece_result *out)
{
    struct buf err = BUF_INIT;
    if (g->f->gradient(g->t, slot, p, out, &err))
        fail_msg("%s", err.s);
}

static void gym_add(const struct gym *g, int n)
{
    struct buf err = BUF_INIT;
    if (g->f->add(g->t, n, &err))
        fail_msg("%s", err.s);
}

static double gym_step(const struct gym *g, double lr, double clip)
{
    struct buf err = BUF_INIT;
    double norm = -1;
    if (g->f->step(g->t, lr, clip, &norm, &err))
        fail_msg("%s", err.s);
    return norm;
}

/* The loss that a piece's gradient is of. */
static double piece_loss(const struct piece *p, const struct piece_result *r)
{
    return p->nll_weight * r->nll +
           p->aux_weight * (p->balance_loss * r->balance + p->z_loss * r->z);
}

/* One gradient, added to the step's: returns the loss. */
static double gym_learn(const struct gym *g, const struct piece *p)
{
    struct piece_result r = { 0 };
    gym_gradient(g, 0, p, &r);
    gym_add(g, 1);
    double loss = piece_loss(p, &r);
    piece_result_release(&r);
    return loss;
}

/* ---- what it is given ---- */

/* Sequences of several lengths and pools, of some of which no token or not every token counts. */
enum { SEQUENCES = 4, TOKENS = 19, COUNTED = 6 + 1 + 3 };
static const int lengths[SEQUENCES] = { 7, 2, 6, 4 };
static const int loss_from[SEQUENCES] = { 1, 1, 3, 4 };

struct lesson {
    int32_t ids[TOKENS];
    struct sequence q[SEQUENCES];
    struct pool pools[SEQUENCES];
    struct piece piece;
};

static void lesson_make(struct lesson *l, int vocab, const struct router *router,
                        const struct router_args *args)
{
    uint64_t seed = 5;
    *l = (struct lesson){ 0 };
    for (int i = 0; i < TOKENS; i++)
        l->ids[i] = (int32_t)((fixture_random(&seed) + 1) / 2 * vocab);
    for (int i = 0, at = 0; i < SEQUENCES; at += lengths[i++])
        l->q[i] = (struct sequence){ l->ids + at, lengths[i] };
    int each = router->scope(args) == SCOPE_BATCH ? 3 : 1, pools = 0;
    for (int left = SEQUENCES; left > 0; left -= each)
        l->pools[pools++] = (struct pool){ router, *args, left < each ? left : each, 1 };
    l->piece = (struct piece){
        .batch = { l->q, SEQUENCES, l->pools, pools },
        .loss_from = loss_from,
        .nll_weight = 1.0 / COUNTED,
        .aux_weight = 1,
    };
}

/* A router's parameters as its table has them by default, but for its mode. */
static struct router_args default_args(const struct router *r, int K, int N, int mode)
{
    struct router_args a = { .K = K, .N = N };
    for (const struct router_param *p = r->params; p->name; p++)
        if (p->real)
            *(double *)((char *)&a + p->offset) = p->real_def;
        else if (p->offset == offsetof(struct router_args, mode))
            a.mode = mode;
        else
            *(int *)((char *)&a + p->offset) = affine_value(p->def, K, N);
    return a;
}

static int modes_of(const struct router *r)
{
    int lo = 0, hi = 0;
    for (const struct router_param *p = r->params; p->name; p++)
        if (p->offset == offsetof(struct router_args, mode))
            router_param_range(p, 1, 1, &lo, &hi);
    return hi + 1;
}

static void lesson_topk(struct lesson *l, const struct gym *g)
{
    struct router_args a = { .K = 2, .N = g->w->config.experts };
    lesson_make(l, g->w->config.vocab, &router_topk, &a);
}

/* ---- finite differences ---- */

struct tally {
    int tried, flipped;
    double worst; /* of the errors, relative */
};

/* Do both forward passes send every token to as many experts, and every expert as many tokens? */
static bool same_selection(const struct scored *a, const struct scored *b)
{
    size_t used = (size_t)a->layers * (size_t)a->tokens;
    size_t loads = (size_t)a->nsequences * (size_t)a->layers * (size_t)a->experts;
    return memcmp(a->used, b->used, used * sizeof(*a->used)) == 0 &&
           memcmp(a->load_tokens, b->load_tokens, loads * sizeof(*a->load_tokens)) == 0;
}

/* The loss with one weight at x. false: another selection than `base` has. */
static bool loss_at(const struct gym *g, const struct piece *p, const struct scored *base,
                    float *weights, size_t at, float x, double *loss)
{
    struct piece_result r = { 0 };
    float was = weights[at];
    weights[at] = x;
    gym_write(g, RUN_WEIGHTS, weights);
    weights[at] = was;
    gym_gradient(g, 0, p, &r);
    *loss = piece_loss(p, &r);
    bool same = same_selection(base, &r.scored);
    piece_result_release(&r);
    return same;
}

/* One element of tensor i: the slope of the loss against the gradient. false: it flips a selection. */
static bool check_element(const struct gym *g, const struct piece *p, const struct scored *base,
                          float *weights, const float *gradient, size_t i, size_t at, double scale,
                          struct tally *n)
{
    // A change of an embedding is spread by a norm, so that a smaller one would drown in rounding.
    const float h = 0x1p-15f, up = weights[at] + h, down = weights[at] - h;
    double above, below, want = (double)gradient[at];
    if (!loss_at(g, p, base, weights, at, up, &above) ||
        !loss_at(g, p, base, weights, at, down, &below))
        return false;
    double slope = (above - below) / ((double)up - (double)down);
    double error = fabs(slope - want) / fmax(fmax(fabs(want), 1e-2 * scale), 1e-7);
    if (!(error < 1e-5))
        fail_msg("%s, element %zu: gradient %.9g, slope %.9g", g->tensors[i].name,
                 at - (size_t)g->tensors[i].offset, want, slope);
    n->worst = fmax(n->worst, error);
    return true;
}

static double rms(const float *v, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)v[i] * (double)v[i];
    return sqrt(sum / (double)n);
}

/* Some elements of every tensor. */
static void check_slopes(const struct gym *g, const struct piece *p, int each, uint64_t seed,
                         struct tally *n)
{
    struct piece_result base = { 0 };
    gym_gradient(g, 0, p, &base);
    gym_add(g, 1);
    float *weights = gym_read(g, RUN_WEIGHTS), *gradient = gym_read(g, RUN_GRADIENT);
    for (size_t i = 0; i < g->ntensors; i++) {
        size_t size = tensor_count(&g->tensors[i]), first = (size_t)g->tensors[i].offset;
        double scale = rms(gradient + first, size);
        for (int k = 0, done = 0; done < each && k < 10 * each; k++, n->tried++) {
            size_t at = first + (size_t)((fixture_random(&seed) + 1) / 2 * (double)size);
            if (check_element(g, p, &base.scored, weights, gradient, i, at, scale, n))
                done++;
            else
                n->flipped++;
        }
    }
    free(weights);
    free(gradient);
    piece_result_release(&base);
}

/* Case number `c`: its bits are the model's options and the losses that are added. */
static void check_case(enum family family, const struct router *r, const struct router_args *args,
                       unsigned c, struct tally *n)
{
    struct fixture_model m = fixture_model(family);
    m.experts = args->N;
    m.kv_heads = c & 1 ? 2 : 4;
    m.tied = c & 1;
    m.norm_topk_prob = c & 2;
    m.seed = c + 1;
    struct training t = training(DTYPE_F64);
    struct gym g;
    struct lesson l;
    gym_make(&g, &m, &t, 1);
    lesson_make(&l, m.vocab, r, args);
    l.piece.balance_loss = c & 4 ? 0.5 : 0;
    l.piece.z_loss = c & 4 ? 0.125 : 0;
    l.piece.aux_weight = 0.75;
    check_slopes(&g, &l.piece, 1, c, n);
    gym_close(&g);
}

/* All routers and modes, which are more than the eight cases that the options make. */
static void check_routers(enum family family)
{
    enum { K = 2, N = 5, LAYERS = 2 };
    static const float cutoffs[LAYERS * N] = { 0.3f, 0.2f,  0.4f, 0.1f,  0.25f,
                                               0.2f, 0.35f, 0.1f, 0.15f, 0.3f };
    struct tally n = { 0 };
    unsigned c = family % 2 == 0 ? 0 : 3, first = c;
    for (const struct router *const *r = routers; *r; r++)
        for (int mode = 0; mode < modes_of(*r); mode++)
            for (int learnt = 0; learnt <= (*r)->learns; learnt++, c += 3) {
                struct router_args args = default_args(*r, K, N, mode);
                args.cutoffs = learnt ? cutoffs : NULL;
                check_case(family, *r, &args, c, &n);
            }
    print_message("# %d slopes, %d of them flip a selection; worst error %.2g\n", n.tried,
                  n.flipped, n.worst);
    assert_true(c >= first + 3 * 8 && n.tried > 0 && n.flipped * 20 < n.tried);
}

static void gradients_of_olmoe_are_slopes_under_every_router(void **state)
{
    (void)state;
    check_routers(FAMILY_OLMOE);
}

static void gradients_of_qwen2_moe_are_slopes_under_every_router(void **state)
{
    (void)state;
    check_routers(FAMILY_QWEN2_MOE);
}

static void gradients_of_mixtral_are_slopes_under_every_router(void **state)
{
    (void)state;
    check_routers(FAMILY_MIXTRAL);
}

static void gradients_of_qwen3_moe_are_slopes_under_every_router(void **state)
{
    (void)state;
    check_routers(FAMILY_QWEN3_MOE);
}

/* ---- gradients of the same step, got in other ways ---- */

static double distance(const float *a, const float *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    return sqrt(sum);
}

/* Tensor by tensor, relative to the tensor's norm. */
static void assert_near(const struct gym *g, const float *a, const float *b, double tolerance)
{
    double worst = 0, all = 0;
    for (size_t i = 0; i < g->ntensors; i++) {
        size_t n = tensor_count(&g->tensors[i]), at = (size_t)g->tensors[i].offset;
        double norm = rms(b + at, n) * sqrt((double)n), d = distance(a + at, b + at, n);
        if (!(d <= tolerance * norm))
            fail_msg("%s: gradients differ by %.3g of %.3g", g->tensors[i].name, d, norm);
        worst = fmax(worst, norm > 0 ? d / norm : 0);
        all += norm;
    }
    print_message("# worst relative difference %.2g\n", worst);
    assert_true(all > 0);
}

/* With more rows, columns and tokens than one block of the fast operators has, and odd ones. */
static struct fixture_model large_model(enum family family)
{
    struct fixture_model m = fixture_model(family);
    m.hidden = 72;
    m.kv_heads = 2;
    m.head_dim = 18;
    m.vocab = 301;
    m.context = 320;
    m.experts = 11;
    m.expert_ffn = 35;
    m.shared_ffn = 41;
    m.norm_topk_prob = family == FAMILY_OLMOE;
    m.clip_qkv = family == FAMILY_OLMOE ? 1.5 : 0;
    return m;
}

static struct piece large_piece(struct lesson *l, int32_t *ids, const struct fixture_model *m)
{
    static const int tokens[] = { 301, 1, 33, 64 }, from[] = { 1, 1, 20, 1 };
    struct router_args args = default_args(&router_seqtopk, 3, m->experts, 0);
    uint64_t seed = 3;
    lesson_make(l, m->vocab, &router_seqtopk, &args);
    for (int i = 0, at = 0; i < SEQUENCES; at += tokens[i++]) {
        l->q[i] = (struct sequence){ ids + at, tokens[i] };
        for (int t = at; t < at + tokens[i]; t++)
            ids[t] = (int32_t)((fixture_random(&seed) + 1) / 2 * m->vocab);
    }
    struct piece p = l->piece;
    p.loss_from = from;
    p.nll_weight = 1.0 / (300 + 13 + 63);
    p.balance_loss = 0.01;
    p.z_loss = 0.001;
    return p;
}

/* On the CPU float32 has operators of its own, with their own backward passes, and float64 is plain
 * ATen under autograd. */
static void float32_gradients_are_those_of_float64(void **state)
{
    (void)state;
    for (int family = FAMILY_OLMOE; family <= FAMILY_QWEN3_MOE; family++) {
        struct fixture_model m = large_model((enum family)family);
        struct training t[2] = { training(DTYPE_F32), training(DTYPE_F64) };
        struct piece_result r[2] = { 0 };
        float *gradient[2];
        for (int i = 0; i < 2; i++) {
            int32_t ids[301 + 1 + 33 + 64];
            struct gym g;
            struct lesson l;
            gym_make(&g, &m, &t[i], 1);
            struct piece p = large_piece(&l, ids, &m);
            gym_gradient(&g, 0, &p, &r[i]);
            gym_add(&g, 1);
            gradient[i] = gym_read(&g, RUN_GRADIENT);
            if (i == 1) {
                assert_true(same_selection(&r[0].scored, &r[1].scored));
                assert_true(fabs(piece_loss(&p, &r[0]) - piece_loss(&p, &r[1])) < 1e-5);
                assert_near(&g, gradient[0], gradient[1], 1e-5);
            }
            gym_close(&g);
        }
        for (int i = 0; i < 2; i++) {
            piece_result_release(&r[i]);
            free(gradient[i]);
        }
    }
}

/* Sequences `from` to before `to` of a lesson, whose pools have one each. */
static struct piece part_of(const struct lesson *l, int from, int to)
{
    struct piece p = l->piece;
    int tokens = 0;
    for (int i = from; i < to; i++)
        tokens += lengths[i];
    p.batch = (struct batch){ l->q + from, to - from, l->pools + from, to - from };
    p.loss_from = loss_from + from;
    p.aux_weight = (double)tokens / TOKENS;
    return p;
}

struct job {
    pthread_t thread;
    const struct gym *g;
    int slot, rc;
    struct piece piece;
};

static void *take_gradient(void *arg)
{
    struct job *j = arg;
    struct piece_result r = { 0 };
    struct buf err = BUF_INIT;
    j->rc = j->g->f->gradient(j->g->t, j->slot, &j->piece, &r, &err);
    piece_result_release(&r);
    buf_release(&err);
    return NULL;
}

/* Where the lesson is cut, and in how many slots its pieces are taken at a time. */
static float *gradient_in(const struct gym *g, const struct lesson *l, const int *cuts, int pieces,
                          int slots)
{
    for (int from = 0; from < pieces; from += slots) {
        struct job jobs[SEQUENCES];
        int n = pieces - from < slots ? pieces - from : slots;
        for (int i = 0; i < n; i++) {
            jobs[i] = (struct job){ .g = g, .slot = i };
            jobs[i].piece = part_of(l, cuts[from + i], cuts[from + i + 1]);
            pthread_create(&jobs[i].thread, NULL, take_gradient, &jobs[i]);
        }
        for (int i = 0; i < n; i++) {
            pthread_join(jobs[i].thread, NULL);
            assert_int_equal(jobs[i].rc, 0);
        }
        gym_add(g, n);
    }
    return gym_read(g, RUN_GRADIENT);
}

static void any_number_of_slots_gives_the_same_gradient_to_the_bit(void **state)
{
    (void)state;
    static const int cuts[] = { 0, 1, 2, 3, 4 };
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct training t = training(DTYPE_F32);
    float *first = NULL;
    for (int slots = 1; slots <= SEQUENCES; slots++) {
        struct gym g;
        struct lesson l;
        gym_make(&g, &m, &t, slots);
        lesson_topk(&l, &g);
        l.piece.balance_loss = 0.01;
        float *gradient = gradient_in(&g, &l, cuts, SEQUENCES, slots);
        assert_true(rms(gradient, g.count) > 0);
        if (first && device.kind == DEVICE_CPU)
            assert_memory_equal(gradient, first, g.count * sizeof(*first));
        gym_close(&g);
        free(first);
        first = gradient;
    }
    free(first);
}

static void assert_same_results(const struct piece_result *a, const struct piece_result *b)
{
    size_t kth = (size_t)a->scored.layers * (size_t)a->scored.experts;
    assert_true(a->nll == b->nll && a->balance == b->balance && a->z == b->z);
    assert_int_equal(a->nll_tokens, b->nll_tokens);
    assert_true(same_selection(&a->scored, &b->scored));
    assert_true(!a->kth == !b->kth);
    if (a->kth)
        assert_memory_equal(a->kth, b->kth, kth * sizeof(*a->kth));
}

/* The same piece with and without checkpointing; gradients to the bit on the CPU. */
static void checkpointing_is_exact(const struct fixture_model *m, const struct training *how,
                                   const struct router *router, double aux, const int *from)
{
    struct router_args args = default_args(router, 2, m->experts, 0);
    struct piece_result r[2] = { 0 };
    float *gradient[2];
    for (int again = 0; again < 2; again++) {
        struct training t = *how;
        struct gym g;
        struct lesson l;
        t.checkpointing = again;
        gym_make(&g, m, &t, 1);
        lesson_make(&l, m->vocab, router, &args);
        l.piece.balance_loss = aux;
        l.piece.z_loss = aux / 4;
        l.piece.aux_weight = 0.75;
        l.piece.loss_from = from;
        // The first one's gradient shall leave nothing behind for the second.
        gym_gradient(&g, 0, &l.piece, &r[again]);
        gym_gradient(&g, 0, &l.piece, &r[again]);
        gym_add(&g, 1);
        gradient[again] = gym_read(&g, RUN_GRADIENT);
        assert_true(rms(gradient[again], g.count) > 0);
        if (again && device.kind == DEVICE_CPU)
            assert_memory_equal(gradient[0], gradient[1], g.count * sizeof(*gradient[0]));
        else if (again)
            assert_near(&g, gradient[1], gradient[0], 1e-5);
        gym_close(&g);
    }
    assert_same_results(&r[0], &r[1]);
    for (int i = 0; i < 2; i++) {
        piece_result_release(&r[i]);
        free(gradient[i]);
    }
}

static void layers_that_are_computed_again_have_the_same_gradient_to_the_bit(void **state)
{
    (void)state;
    for (int family = FAMILY_OLMOE; family <= FAMILY_QWEN3_MOE; family++)
        for (int only = TRAIN_ALL; only <= TRAIN_EXPERTS; only++)
            for (int aux = 0; aux < 2; aux++) {
                struct fixture_model m = fixture_model((enum family)family);
                struct training t = training(DTYPE_F32);
                m.tied = aux;
                t.only = only;
                checkpointing_is_exact(&m, &t, &router_seqtopk, aux * 0.5, loss_from);
            }
}

static void checkpointing_learns_cutoffs_and_takes_pieces_without_a_loss_of_their_own(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct training t = training(DTYPE_F32);
    checkpointing_is_exact(&m, &t, &router_threshold, 0, loss_from);
    checkpointing_is_exact(&m, &t, &router_batchtopk, 0.5, lengths);
    t.dtype = DTYPE_BF16;
    checkpointing_is_exact(&m, &t, &router_topk, 0.5, loss_from);
}

/* The gradient of a lesson's sequences from .. to - 1, of weights that have not changed. */
static float *gradient_alone(const struct fixture_model *m, const struct training *how, int from,
                             int to)
{
    const int cuts[] = { from, to };
    struct gym g;
    struct lesson l;
    gym_make(&g, m, how, 1);
    lesson_topk(&l, &g);
    float *gradient = gradient_in(&g, &l, cuts, 1, 1);
    gym_close(&g);
    return gradient;
}

/* In float32 and in the order of the pieces, whatever the arithmetic; the second step as the first. */
static void sums_pieces(const struct training *how)
{
    static const int cuts[] = { 0, 1, 2, 4 };
    enum { PIECES = 3 };
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    for (int slots = 1; slots <= 2; slots++) {
        struct gym g;
        struct lesson l;
        float *want = gradient_alone(&m, how, cuts[0], cuts[1]);
        gym_make(&g, &m, how, slots);
        for (int i = 1; i < PIECES; i++) {
            float *more = gradient_alone(&m, how, cuts[i], cuts[i + 1]);
            for (size_t k = 0; k < g.count; k++)
                want[k] += more[k];
            free(more);
        }
        lesson_topk(&l, &g);
        for (int step = 0; step < 3; step++) {
            float *have = gradient_in(&g, &l, cuts, PIECES, slots);
            if (device.kind == DEVICE_CPU)
                assert_memory_equal(have, want, g.count * sizeof(*want));
            else
                assert_near(&g, have, want, how->dtype == DTYPE_BF16 ? 2e-2 : 1e-5);
            free(have);
            gym_step(&g, 0, 1);
            have = gym_read(&g, RUN_GRADIENT);
            assert_true(rms(have, g.count) == 0);
            free(have);
        }
        free(want);
        gym_close(&g);
    }
}

static void with_each_optimiser(void (*body)(const struct training *how));
static void the_gradients_of_pieces_are_summed_in_float32_in_their_order(void **state)
{
    (void)state;
    with_each_optimiser(sums_pieces);
}

/* The balance loss is of what routes together in a piece, so it is left out here. */
static void a_step_cut_into_other_pieces_has_the_same_gradient(void **state)
{
    (void)state;
    static const int cuts[][4] = { { 0, 4 }, { 0, 2, 4 }, { 0, 1, 2, 4 } };
    struct fixture_model m = fixture_model(FAMILY_QWEN2_MOE);
    struct training t = training(DTYPE_F32);
    struct gym g[3];
    float *gradient[3];
    struct lesson l;
    for (int i = 0; i < 3; i++) {
        gym_make(&g[i], &m, &t, 2);
        lesson_topk(&l, &g[i]);
        l.piece.z_loss = 0.01;
        gradient[i] = gradient_in(&g[i], &l, cuts[i], i + 1, 2);
        assert_near(&g[0], gradient[i], gradient[0], 1e-5);
    }
    for (int i = 0; i < 3; i++) {
        free(gradient[i]);
        gym_close(&g[i]);
    }
}

/* The same piece routed by kernels, where the router has one, and on the host. */
static void kernels_and_host(const struct router *router, int mode)
{
    struct fixture_model m = large_model(FAMILY_OLMOE);
    struct router_args args = default_args(router, 3, m.experts, mode);
    struct training t = training(DTYPE_F32);
    struct piece_result r[2] = { 0 };
    float *gradient[2];
    for (int host = 0; host < 2; host++) {
        int32_t ids[301 + 1 + 33 + 64];
        struct gym g;
        struct lesson l;
        setenv("SEQTOPK_GPU_ROUTERS", host ? "0" : "1", 1);
        gym_make(&g, &m, &t, 1);
        struct piece p = large_piece(&l, ids, &m);
        p.balance_loss = p.z_loss = 0;
        for (int i = 0; i < p.batch.npools; i++) {
            l.pools[i].router = router;
            l.pools[i].args = args;
        }
        gym_gradient(&g, 0, &p, &r[host]);
        gym_add(&g, 1);
        gradient[host] = gym_read(&g, RUN_GRADIENT);
        if (host) {
            const struct scored *a = &r[0].scored, *b = &r[1].scored;
            size_t loads = (size_t)a->nsequences * (size_t)a->layers * (size_t)a->experts;
            assert_true(same_selection(a, b));
            for (size_t i = 0; i < loads; i++)
                assert_true(fabs(a->load_weight[i] - b->load_weight[i]) < 1e-5);
            assert_true(fabs(r[0].balance - r[1].balance) < 1e-3);
            assert_near(&g, gradient[0], gradient[1], 1e-5);
        }
        gym_close(&g);
    }
    unsetenv("SEQTOPK_GPU_ROUTERS");
    for (int i = 0; i < 2; i++) {
        piece_result_release(&r[i]);
        free(gradient[i]);
    }
}

static void routers_on_the_gpu_lead_to_what_those_of_the_host_lead_to(void **state)
{
    (void)state;
    if (device.kind == DEVICE_CPU && !getenv("SEQTOPK_TEST_KERNELS"))
        SKIP("no GPU; SEQTOPK_TEST_KERNELS=1 is for an engine whose kernels run on the CPU");
    for (const struct router *const *r = routers; *r; r++)
        for (int mode = 0; mode < modes_of(*r); mode++)
            kernels_and_host(*r, mode);
}

/* ---- against PyTorch ---- */

/* What gradients.json keeps of a tensor: see scripts/make-fixtures.py. */
static void compare_tensor(const char *file, const struct trainer_tensor *t, json_t *want,
                           const float *gradient, double tolerance, double *worst)
{
    enum { KEPT = 32 };
    size_t n = tensor_count(t), kept = n < KEPT ? n : KEPT;
    json_t *values = json_object_get(want, "values");
    double norm = json_number_value(json_object_get(want, "norm"));
    if (!json_is_number(json_object_get(want, "norm")) || json_array_size(values) != kept)
        fail_msg("%s says nothing of %s", file, t->name);
    double error = fabs(rms(gradient, n) * sqrt((double)n) - norm), sum = 0;
    for (size_t i = 0; i < kept; i++) {
        double d = (double)gradient[i * n / kept] - json_number_value(json_array_get(values, i));
        sum += d * d;
    }
    error = fmax(error, sqrt(sum));
    if (!(error <= tolerance * norm))
        fail_msg("%s: %s is off by %.3g of %.3g", file, t->name, error, norm);
    *worst = fmax(*worst, norm > 0 ? error / norm : 0);
}

/* All texts of the file as one piece, under TopK. */
static struct piece file_piece(const json_t *root, int K, int N, struct ids *ids,
                               struct sequence *q, struct pool *pools, int *from)
{
    json_t *texts = json_object_get(root, "texts"), *text;
    size_t i;
    int counted = 0;
    json_array_foreach (texts, i, text) {
        json_t *v = json_object_get(text, "ids");
        ids[i].len = 0;
        for (size_t t = 0; t < json_array_size(v); t++)
            ids_push(&ids[i], (int32_t)json_integer_value(json_array_get(v, t)));
        q[i] = (struct sequence){ ids[i].v, (int)ids[i].len };
        pools[i] = (struct pool){ &router_topk, { .K = K, .N = N }, 1, 0 };
        from[i] = (int)json_integer_value(json_object_get(text, "loss_from"));
        counted += q[i].tokens - from[i];
    }
    return (struct piece){ .batch = { q, (int)i, pools, (int)i },
                           .loss_from = from,
                           .nll_weight = 1.0 / counted,
                           .aux_weight = 1 };
}

static void agrees_with_autograd(const char *dir, enum dtype dtype, double tolerance)
{
    enum { TEXTS = 8 };
    struct buf err = BUF_INIT;
    struct training t = training(dtype);
    struct ids ids[TEXTS] = { 0 };
    struct sequence q[TEXTS];
    struct pool pools[TEXTS];
    int from[TEXTS];
    const char *K;
    json_t *want;
    double worst = 0;
    char *file = xasprintf("%s/gradients.json", dir);
    json_t *root = json_read_file(file, 1 << 24, &err);
    if (!root)
        fail_msg("%s", err.s);
    assert_in_range(json_array_size(json_object_get(root, "texts")), 1, TEXTS);
    assert_true(json_object_size(json_object_get(root, "topk")) >= 2);
    json_object_foreach (json_object_get(root, "topk"), K, want) {
        struct gym g;
        gym_open(&g, dir, &t, 1);
        struct piece p = file_piece(root, atoi(K), g.w->config.experts, ids, q, pools, from);
        double loss = gym_learn(&g, &p);
        assert_true(fabs(loss - json_number_value(json_object_get(want, "loss"))) <=
                    tolerance * loss);
        float *gradient = gym_read(&g, RUN_GRADIENT);
        json_t *tensors = json_object_get(want, "tensors");
        assert_int_equal(json_object_size(tensors), g.ntensors);
        for (size_t i = 0; i < g.ntensors; i++)
            compare_tensor(file, &g.tensors[i], json_object_get(tensors, g.tensors[i].name),
                           gradient + g.tensors[i].offset, tolerance, &worst);
        free(gradient);
        gym_close(&g);
    }
    print_message("# %s: worst relative difference %.2g\n", file, worst);
    for (size_t i = 0; i < TEXTS; i++)
        free(ids[i].v);
    json_decref(root);
    free(file);
}

static void gradients_agree_with_those_of_autograd(void **state)
{
    (void)state;
    static const char *const dirs[] = { "tests/data/golden/olmoe-grouped",
                                        "tests/data/golden/olmoe-tied",
                                        "tests/data/golden/qwen2-grouped",
                                        "tests/data/golden/mixtral-grouped",
                                        "tests/data/golden/qwen3-grouped" };
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        agrees_with_autograd(dirs[i], DTYPE_F64, 5e-6);
        agrees_with_autograd(dirs[i], DTYPE_F32, 1e-5);
    }
}

/* ---- AdamW ---- */

/* One step in double. `t` from 1; weights, means and squares are changed. */
static void plain_adamw(const struct gym *g, const struct training *s, const float *gradient,
                        double lr, double factor, int t, double *w, double *m, double *v)
{
    for (size_t i = 0; i < g->ntensors; i++) {
        size_t from = (size_t)g->tensors[i].offset, n = tensor_count(&g->tensors[i]);
        for (size_t at = from; at < from + n; at++) {
            double d = factor * (double)gradient[at];
            m[at] = s->beta1 * m[at] + (1 - s->beta1) * d;
            v[at] = s->beta2 * v[at] + (1 - s->beta2) * d * d;
            if (g->tensors[i].ndim == 2)
                w[at] -= lr * s->weight_decay * w[at];
            w[at] -= lr * (m[at] / (1 - pow(s->beta1, t))) /
                     (sqrt(v[at] / (1 - pow(s->beta2, t))) + 1e-8);
        }
    }
}

static void assert_close(const float *have, const double *want, size_t n, double relative,
                         double absolute)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)have[i] - want[i]) <= relative * fabs(want[i]) + absolute))
            fail_msg("element %zu: %.9g, not %.9g", i, (double)have[i], want[i]);
}

static double *zeroes_or(const float *v, size_t n)
{
    double *out = xcalloc(n, sizeof(*out));
    for (size_t i = 0; v && i < n; i++)
        out[i] = (double)v[i];
    return out;
}

static void steps_are_those_of_a_plain_adamw(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_QWEN2_MOE);
    struct training s = training(DTYPE_F32);
    struct gym g;
    struct lesson l;
    gym_make(&g, &m, &s, 1);
    lesson_topk(&l, &g);
    float *start = gym_read(&g, RUN_WEIGHTS);
    double *w = zeroes_or(start, g.count), *mean = zeroes_or(NULL, g.count);
    double *square = zeroes_or(NULL, g.count);
    for (int t = 1; t <= 3; t++) {
        const double lr = 1e-2 / t, clip = t == 2 ? 0.1 : t == 3 ? 1e6 : 0;
        gym_learn(&g, &l.piece);
        float *gradient = gym_read(&g, RUN_GRADIENT);
        double norm = rms(gradient, g.count) * sqrt((double)g.count);
        assert_true(norm > 0.2); // so that it is clipped
        assert_true(fabs(gym_step(&g, lr, clip) - norm) <= 1e-5 * norm);
        plain_adamw(&g, &s, gradient, lr, t == 2 ? clip / norm : 1, t, w, mean, square);
        assert_int_equal(g.f->steps(g.t), t);
        float *now = gym_read(&g, RUN_WEIGHTS), *m1 = gym_read(&g, RUN_MEANS);
        float *m2 = gym_read(&g, RUN_SQUARES);
        assert_close(now, w, g.count, 3e-7, 1e-5 * lr);
        assert_close(m1, mean, g.count, 3e-5, 1e-9);
        assert_close(m2, square, g.count, 6e-5, 1e-12);
        free(gradient);
        free(now);
        free(m1);
        free(m2);
    }
    free(start);
    free(w);
    free(mean);
    free(square);
    gym_close(&g);
}

/* Names of tensors that may change have `part` in them; all others stay, to the bit. */
static void trains_only(int only, const char *part)
{
    struct fixture_model m = fixture_model(FAMILY_QWEN2_MOE);
    struct training s = training(DTYPE_F32);
    struct gym g;
    struct lesson l;
    s.only = only;
    gym_make(&g, &m, &s, 1);
    lesson_topk(&l, &g);
    l.piece.z_loss = 0.1;
    float *before = gym_read(&g, RUN_WEIGHTS);
    gym_learn(&g, &l.piece);
    float *gradient = gym_read(&g, RUN_GRADIENT);
    gym_step(&g, 1e-2, 0);
    float *after = gym_read(&g, RUN_WEIGHTS);
    int changed = 0;
    for (size_t i = 0; i < g.ntensors; i++) {
        size_t n = tensor_count(&g.tensors[i]), at = (size_t)g.tensors[i].offset;
        bool same = memcmp(before + at, after + at, n * sizeof(*after)) == 0;
        if (strstr(g.tensors[i].name, part)) {
            assert_false(same);
            changed++;
        } else if (!same || rms(gradient + at, n) != 0) {
            fail_msg("%s has changed, or has a gradient", g.tensors[i].name);
        }
    }
    assert_true(changed > 0);
    free(before);
    free(gradient);
    free(after);
    gym_close(&g);
}

static void only_the_routers_train_where_only_they_shall(void **state)
{
    (void)state;
    trains_only(TRAIN_ROUTER, ".mlp.gate.");
}

static void only_the_experts_train_where_only_they_shall(void **state)
{
    (void)state;
    trains_only(TRAIN_EXPERTS, ".mlp.experts.");
}

static void assert_same_run(const struct gym *g, enum trainer_run run, const float *want)
{
    float *have = gym_read(g, run);
    assert_memory_equal(have, want, g->count * sizeof(*want));
    free(have);
}

static void a_rate_of_zero_changes_no_weight(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct training s = training(DTYPE_F32);
    struct gym g;
    struct lesson l;
    gym_make(&g, &m, &s, 1);
    lesson_topk(&l, &g);
    float *before = gym_read(&g, RUN_WEIGHTS);
    gym_learn(&g, &l.piece);
    gym_step(&g, 0, 1);
    assert_same_run(&g, RUN_WEIGHTS, before);
    assert_int_equal(g.f->steps(g.t), 1);
    free(before);
    gym_close(&g);
}

static void no_number_changes_nothing(const struct training *how)
{
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct training s = *how;
    struct gym g;
    struct lesson l;
    struct buf err = BUF_INIT;
    double norm = 0;
    gym_make(&g, &m, &s, 1);
    lesson_topk(&l, &g);
    gym_learn(&g, &l.piece);
    gym_step(&g, 1e-2, 1);
    float *runs[3];
    for (int run = RUN_WEIGHTS; run <= RUN_SQUARES; run++)
        runs[run] = gym_read(&g, (enum trainer_run)run);
    l.piece.nll_weight = (double)NAN;
    gym_learn(&g, &l.piece);
    assert_int_equal(g.f->step(g.t, 1e-2, 1, &norm, &err), -1);
    assert_true(err.len > 0 && err.s[err.len - 1] != '.');
    for (int run = RUN_WEIGHTS; run <= RUN_SQUARES; run++) {
        assert_same_run(&g, (enum trainer_run)run, runs[run]);
        free(runs[run]);
    }
    assert_int_equal(g.f->steps(g.t), 1);
    buf_release(&err);
    gym_close(&g);
}

/* Every way in which weights and averages may lie. */
static void with_each_optimiser(void (*body)(const struct training *how))
{
    static const enum dtype dtypes[] = { DTYPE_F32, DTYPE_BF16 };
    for (int optimiser = OPTIMISER_ADAMW; optimiser <= OPTIMISER_ADAMW8BIT; optimiser++)
        for (size_t i = 0; i < ARRAY_LEN(dtypes); i++) {
            struct training how = training(dtypes[i]);
            how.optimiser = optimiser;
            body(&how);
        }
}

static void a_gradient_that_is_no_number_changes_nothing(void **state)
{
    (void)state;
    with_each_optimiser(no_number_changes_nothing);
}

static void hand_over_runs(const struct gym *from, const struct gym *to)
{
    for (int run = RUN_WEIGHTS; run <= RUN_SQUARES; run++) {
        float *v = gym_read(from, (enum trainer_run)run);
        gym_write(to, (enum trainer_run)run, v);
        assert_same_run(to, (enum trainer_run)run, v);
        free(v);
    }
}

/* In parts that end in the middle of numbers and runs. */
static void hand_over_bytes(const struct gym *from, const struct gym *to)
{
    enum { PART = 30011 };
    const int64_t all = from->f->state_bytes(from->t);
    unsigned char bytes[PART];
    struct buf err = BUF_INIT;
    assert_int_equal(to->f->state_bytes(to->t), all);
    for (int64_t at = 0; at < all; at += PART) {
        int64_t n = all - at < PART ? all - at : PART;
        if (from->f->state_get(from->t, at, n, bytes, &err) ||
            to->f->state_put(to->t, at, n, bytes, &err))
            fail_msg("%s", err.s);
    }
    assert_int_equal(from->f->state_get(from->t, all - 3, 4, bytes, &err), -1);
    assert_int_equal(to->f->state_put(to->t, all, 1, bytes, &err), -1);
    buf_release(&err);
}

static void a_state_has_the_bytes_that_the_optimiser_has(void **state)
{
    (void)state;
    struct fixture_model m = large_model(FAMILY_OLMOE);
    for (int bf16 = 0; bf16 < 2; bf16++)
        for (int eight = 0; eight < 2; eight++) {
            struct training s = training(bf16 ? DTYPE_BF16 : DTYPE_F32);
            struct gym g;
            s.optimiser = eight ? OPTIMISER_ADAMW8BIT : OPTIMISER_ADAMW;
            gym_make(&g, &m, &s, 1);
            const int64_t bytes = g.f->state_bytes(g.t), count = (int64_t)g.count;
            if (!eight)
                assert_int_equal(bytes, 12 * count);
            else
                assert_true(bytes >= 6 * count + count / 32 && bytes < 6 * count + count / 8);
            gym_close(&g);
        }
}

/* ---- weights, for a file ---- */

/* The nearest bfloat16, by its definition: of the two around x, and of a tie the even one. */
static uint16_t nearest_bfloat16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof(bits));
    const uint32_t down = bits >> 16, rest = bits & 0xffff;
    if (isnan(x))
        return (uint16_t)(down | 0x40);
    if (rest == 0x8000)
        return (uint16_t)(down & 1 ? down + 1 : down);
    return (uint16_t)(rest > 0x8000 ? down + 1 : down);
}

/* Numbers at and beside every border of rounding, of either sign, and some of all kinds. */
static void hard_numbers(float *v, size_t n)
{
    static const uint32_t lower[] = { 0, 1, 0x7fff, 0x8000, 0x8001, 0xffff };
    static const uint32_t upper[] = { 0,      1,      0x007f, 0x0080, 0x3dcc, 0x3dcd,
                                      0x3f80, 0x7f7e, 0x7f7f, 0x7f80, 0x7fbf, 0x7fff };
    uint64_t seed = 5;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = upper[i / ARRAY_LEN(lower) / 2 % ARRAY_LEN(upper)] << 16 |
                        lower[i % ARRAY_LEN(lower)] | (uint32_t)(i / ARRAY_LEN(lower) % 2) << 31;
        memcpy(&v[i], &bits, sizeof(bits));
        if (i >= ARRAY_LEN(lower) * ARRAY_LEN(upper) * 2 && i % 3)
            v[i] = (float)fixture_random(&seed);
    }
}

static void same_weights(const struct gym *g, const float *want, int64_t at, int64_t n)
{
    struct buf err = BUF_INIT;
    float *v = xcalloc((size_t)n + 1, sizeof(*v));
    uint16_t *half = xcalloc((size_t)n + 1, sizeof(*half));
    if (g->f->weights(g->t, at, n, DTYPE_F32, v, &err) ||
        g->f->weights(g->t, at, n, DTYPE_BF16, half, &err))
        fail_msg("%s", err.s);
    assert_memory_equal(v, want + at, (size_t)n * sizeof(*v));
    for (int64_t i = 0; i < n; i++)
        if (half[i] != nearest_bfloat16(want[at + i]))
            fail_msg("weight %lld, %a, became %04x and not %04x", (long long)(at + i),
                     (double)want[at + i], (unsigned)half[i],
                     (unsigned)nearest_bfloat16(want[at + i]));
    // Nothing is written behind them.
    assert_true(v[n] == 0 && half[n] == 0);
    free(v);
    free(half);
}

static void weights_are_read(const struct training *how)
{
    struct fixture_model m = large_model(FAMILY_OLMOE);
    struct gym g;
    struct buf err = BUF_INIT;
    float one;
    gym_make(&g, &m, how, 2);
    const int64_t count = (int64_t)g.count;
    float *v = gym_read(&g, RUN_WEIGHTS);
    assert_true(count > 3 * 32768); // more than a thread takes at once
    same_weights(&g, v, 0, count);
    hard_numbers(v, g.count);
    gym_write(&g, RUN_WEIGHTS, v);
    same_weights(&g, v, 0, count);
    same_weights(&g, v, 12345, 70001);
    same_weights(&g, v, count - 1, 1);
    same_weights(&g, v, 7, 0);
    assert_int_equal(g.f->weights(g.t, count - 1, 2, DTYPE_F32, &one, &err), -1);
    assert_non_null(strstr(err.s, "weights beyond the last one"));
    assert_int_equal(g.f->weights(g.t, 0, 1, DTYPE_F16, &one, &err), -1);
    assert_non_null(strstr(err.s, "float16; float32 and bfloat16 are there"));
    buf_release(&err);
    free(v);
    gym_close(&g);
}

static void weights_for_a_file_are_rounded_to_the_nearest_and_to_even(void **state)
{
    (void)state;
    with_each_optimiser(weights_are_read);
}

static void goes_on_by(const struct training *how,
                       void (*hand_over)(const struct gym *from, const struct gym *to))
{
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct training s = *how;
    struct gym g, h;
    struct lesson l;
    gym_make(&g, &m, &s, 1);
    gym_make(&h, &m, &s, 1);
    lesson_topk(&l, &g);
    for (int i = 0; i < 3; i++) {
        gym_learn(&g, &l.piece);
        gym_step(&g, 1e-2, 1);
    }
    hand_over(&g, &h);
    h.f->set_steps(h.t, g.f->steps(g.t));
    for (int i = 0; i < 2; i++) {
        gym_learn(&g, &l.piece);
        gym_learn(&h, &l.piece);
        assert_true(gym_step(&g, 1e-2, 1) == gym_step(&h, 1e-2, 1));
    }
    for (int run = RUN_WEIGHTS; run <= RUN_SQUARES; run++) {
        float *v = gym_read(&g, (enum trainer_run)run);
        assert_same_run(&h, (enum trainer_run)run, v);
        free(v);
    }
    assert_int_equal(h.f->steps(h.t), 5);
    gym_close(&g);
    gym_close(&h);
}

static void goes_on_to_the_bit(const struct training *how)
{
    goes_on_by(how, hand_over_runs);
    goes_on_by(how, hand_over_bytes);
}

static void a_state_that_was_saved_goes_on_to_the_bit(void **state)
{
    (void)state;
    with_each_optimiser(goes_on_to_the_bit);
}

/* Weights from 1/8 on are 2^-11 apart in bfloat16, and the step is a fifth of that. */
static void has_weights_of_float32(int optimiser)
{
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct training s = training(DTYPE_BF16);
    struct gym g;
    struct lesson l;
    s.weight_decay = 0;
    s.optimiser = optimiser;
    gym_make(&g, &m, &s, 1);
    lesson_topk(&l, &g);
    float *before = gym_read(&g, RUN_WEIGHTS);
    double first = gym_learn(&g, &l.piece), last = first;
    gym_step(&g, 1e-4, 0);
    float *after = gym_read(&g, RUN_WEIGHTS);
    int large = 0, moved = 0;
    for (size_t i = 0; i < g.count; i++) {
        double d = fabs((double)after[i] - (double)before[i]);
        assert_true(d < 1.1e-4);
        if (fabsf(before[i]) >= 0.125f) {
            large++;
            moved += d > 0.9e-4 && d < 1.1e-4;
        }
    }
    assert_true(large > 100 && moved * 4 > large);
    for (int i = 0; i < 40; i++) {
        last = gym_learn(&g, &l.piece);
        gym_step(&g, 1e-4, 0);
    }
    assert_true(last < first - 0.05);
    free(before);
    free(after);
    gym_close(&g);
}

static void bfloat16_arithmetic_has_weights_of_float32(void **state)
{
    (void)state;
    has_weights_of_float32(OPTIMISER_ADAMW);
    has_weights_of_float32(OPTIMISER_ADAMW8BIT);
}

/* ---- averages of eight bits ---- */

enum { BLOCK = 256 };

/* The largest magnitude of the block that element `at` of a tensor is in. */
static double block_scale(const float *tensor, size_t at, size_t n)
{
    double most = 0;
    for (size_t i = at / BLOCK * BLOCK; i < n && i < at / BLOCK * BLOCK + BLOCK; i++)
        most = fmax(most, fabs((double)tensor[i]));
    return most;
}

/*
 * Numbers that were stored in blocks: each is the cube of a whole number / levels, times the block's
 * scale, and one of the two next to what it stands for. Returns the sum of what it is off by, in
 * steps: chance shall go up as often as down.
 */
static double check_codes(const float *have, const double *want, size_t n, double levels)
{
    double off = 0;
    for (size_t i = 0; i < n; i++) {
        double scale = block_scale(have, i, n), x = fabs((double)have[i]);
        if (scale == 0)
            continue;
        double code = cbrt(x / scale) * levels, whole = round(code);
        double above = pow((whole + 1) / levels, 3), below = pow(fmax(whole - 1, 0) / levels, 3);
        double is = fabs(want[i]) / scale;
        assert_true(fabs(code - whole) < 1e-2);
        if (!(is <= above * (1 + 1e-5) + 1e-12 && is >= below * (1 - 1e-5) - 1e-12) &&
            !(levels > 200 && whole == 1 && is > 0))
            fail_msg("element %zu: %.9g for %.9g, of a block of %.9g", i, (double)have[i], want[i],
                     scale);
        off += (x / scale - is) / (pow((whole + 1) / levels, 3) - pow(whole / levels, 3));
    }
    return off;
}

/* As plain_adamw(), from the averages as they were stored; these come out anew. */
static void steps_with_8_bits(enum dtype dtype)
{
    struct fixture_model m = fixture_model(FAMILY_QWEN2_MOE);
    struct training s = training(dtype);
    struct gym g;
    struct lesson l;
    double off[2] = { 0 };
    s.optimiser = OPTIMISER_ADAMW8BIT;
    gym_make(&g, &m, &s, 1);
    lesson_topk(&l, &g);
    for (int t = 1; t <= 3; t++) {
        const double lr = 1e-2 / t, clip = t == 2 ? 0.1 : 0;
        float *before[3], *after[3];
        double *want[3];
        for (int run = RUN_WEIGHTS; run <= RUN_SQUARES; run++) {
            before[run] = gym_read(&g, (enum trainer_run)run);
            want[run] = zeroes_or(before[run], g.count);
        }
        gym_learn(&g, &l.piece);
        float *gradient = gym_read(&g, RUN_GRADIENT);
        double norm = rms(gradient, g.count) * sqrt((double)g.count);
        gym_step(&g, lr, clip);
        plain_adamw(&g, &s, gradient, lr, t == 2 ? clip / norm : 1, t, want[0], want[1], want[2]);
        for (int run = RUN_WEIGHTS; run <= RUN_SQUARES; run++)
            after[run] = gym_read(&g, (enum trainer_run)run);
        assert_close(after[0], want[0], g.count, 3e-7, 1e-5 * lr);
        for (size_t i = 0; i < g.ntensors; i++) {
            size_t at = (size_t)g.tensors[i].offset, n = tensor_count(&g.tensors[i]);
            bool alone = !strstr(g.tensors[i].name, ".experts.") &&
                         !strstr(g.tensors[i].name, "shared") && !strstr(g.tensors[i].name, "attn");
            if (!alone) // several tensors are one parameter, whose blocks go on across them
                continue;
            off[0] += check_codes(after[1] + at, want[1] + at, n, 127);
            off[1] += check_codes(after[2] + at, want[2] + at, n, 255);
        }
        for (int run = RUN_WEIGHTS; run <= RUN_SQUARES; run++) {
            free(before[run]);
            free(after[run]);
            free(want[run]);
        }
        free(gradient);
    }
    print_message("# %zu numbers; off by %.1f and %.1f steps in all\n", g.count, off[0], off[1]);
    // Squares are never rounded to nothing, and so a little more is added.
    assert_true(fabs(off[0]) < 100 && fabs(off[1]) < 200);
    gym_close(&g);
}

static void steps_with_8_bits_are_those_of_a_plain_adamw_but_for_what_is_remembered(void **state)
{
    (void)state;
    steps_with_8_bits(DTYPE_F32);
    steps_with_8_bits(DTYPE_BF16);
}

/* ---- what comes of it ---- */

static void scores_are_of_the_weights_of_now(enum dtype dtype, double tolerance)
{
    struct fixture_model m = fixture_model(FAMILY_QWEN2_MOE);
    struct training s = training(dtype);
    struct buf err = BUF_INIT;
    struct gym g;
    struct lesson l;
    double nll[2] = { 0 };
    gym_make(&g, &m, &s, 1);
    lesson_topk(&l, &g);
    for (int i = 0; i < 2; i++) {
        struct piece_result r = { 0 };
        struct scored out = { 0 };
        gym_gradient(&g, 0, &l.piece, &r);
        gym_add(&g, 1);
        if (g.f->score(g.t, &l.piece.batch, &out, &err))
            fail_msg("%s", err.s);
        for (int q = 0; q < SEQUENCES; q++)
            for (int t = loss_from[q]; t < lengths[q]; t++)
                nll[i] += (double)out.nll[out.start[q] + t];
        assert_int_equal(r.nll_tokens, COUNTED);
        assert_true(fabs(r.nll - nll[i]) < tolerance);
        // Of bfloat16 a pair that is nearly as good may be another's.
        assert_true(dtype == DTYPE_BF16 || same_selection(&r.scored, &out));
        gym_step(&g, 1e-2, 0);
        piece_result_release(&r);
        scored_release(&out);
    }
    assert_true(nll[1] < nll[0] - 0.1);
    gym_close(&g);
}

static void scores_are_by_the_weights_as_they_are_now(void **state)
{
    (void)state;
    scores_are_of_the_weights_of_now(DTYPE_F32, 1e-4);
    scores_are_of_the_weights_of_now(DTYPE_BF16, 0.1);
}

static void assert_refused(const struct gym *g, const struct piece *p, const char *why)
{
    struct piece_result r = { 0 };
    struct buf err = BUF_INIT;
    assert_int_equal(g->f->gradient(g->t, 0, p, &r, &err), -1);
    assert_string_equal(err.s, why);
    piece_result_release(&r);
    buf_release(&err);
}

/* And the next piece is taken, whatever was refused. */
static void what_cannot_be_learnt_is_refused(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct training s = training(DTYPE_F32);
    struct gym g;
    struct lesson l;
    gym_make(&g, &m, &s, 1);
    lesson_topk(&l, &g);
    l.ids[3] = 32;
    assert_refused(&g, &l.piece, "token id 32 lies outside the model's vocabulary of 32");
    lesson_topk(&l, &g);
    l.piece.loss_from = lengths;
    assert_refused(&g, &l.piece, "no token's loss counts in a piece of 19 tokens");
    lesson_topk(&l, &g);
    float *weights = gym_read(&g, RUN_WEIGHTS), *gate = weights;
    for (size_t i = 0; i < g.ntensors; i++)
        if (strstr(g.tensors[i].name, ".0.mlp.gate."))
            gate = weights + g.tensors[i].offset;
    float was = gate[0];
    gate[0] = (float)NAN;
    gym_write(&g, RUN_WEIGHTS, weights);
    assert_refused(&g, &l.piece, "layer 0: a score of the router is NaN or infinite");
    gate[0] = was;
    gym_write(&g, RUN_WEIGHTS, weights);
    assert_true(isfinite(gym_learn(&g, &l.piece)));
    free(weights);
    gym_close(&g);
}

static void a_piece_may_have_arguments_by_layer(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct training s = training(DTYPE_F32);
    const struct router_args by_layer[2] = { { .K = 1, .N = m.experts },
                                             { .K = 3, .N = m.experts } };
    struct gym g;
    struct lesson l;
    struct piece_result r = { 0 };
    gym_make(&g, &m, &s, 1);
    lesson_topk(&l, &g);
    l.piece.args = by_layer;
    gym_gradient(&g, 0, &l.piece, &r);
    for (int i = 0; i < TOKENS; i++) {
        assert_int_equal(r.scored.used[i], 1);
        assert_int_equal(r.scored.used[TOKENS + i], 3);
    }
    piece_result_release(&r);
    gym_close(&g);
}

/* With what a piece says of cutoffs, each expert takes as many of its tokens as that rank says. */
static void a_piece_tells_each_experts_logit_of_the_rank_that_its_budget_has(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct training s = training(DTYPE_F32);
    const int K = 3, N = m.experts;
    struct router_args args = default_args(&router_threshold, K, N, 0);
    struct gym g;
    struct lesson l;
    struct piece_result r = { 0 };
    gym_make(&g, &m, &s, 1);
    lesson_topk(&l, &g);
    gym_gradient(&g, 0, &l.piece, &r);
    assert_null(r.kth);
    piece_result_release(&r);
    lesson_make(&l, m.vocab, &router_threshold, &args);
    gym_gradient(&g, 0, &l.piece, &r);
    assert_non_null(r.kth);
    float *cutoffs = xmalloc((size_t)m.layers * (size_t)N * sizeof(*cutoffs));
    memcpy(cutoffs, r.kth, (size_t)m.layers * (size_t)N * sizeof(*cutoffs));
    piece_result_release(&r);
    args.cutoffs = cutoffs;
    lesson_make(&l, m.vocab, &router_threshold, &args);
    gym_gradient(&g, 0, &l.piece, &r);
    for (int e = 0; e < N; e++) {
        int load = 0;
        for (int q = 0; q < SEQUENCES; q++)
            load += r.scored.load_tokens[(size_t)(q * m.layers * N + e)];
        assert_int_equal(load, TOKENS * K / N);
    }
    piece_result_release(&r);
    free(cutoffs);
    gym_close(&g);
}

static void learns_by_heart(int optimiser, bool checkpointing)
{
    enum { TEXTS = 16, LENGTH = 12, STEPS = 200 };
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    m.hidden = 32;
    m.head_dim = 8;
    m.expert_ffn = 16;
    struct training s = training(DTYPE_F32);
    s.optimiser = optimiser;
    s.checkpointing = checkpointing;
    struct router_args args = default_args(&router_seqtopk, 2, m.experts, 0);
    int32_t ids[TEXTS * LENGTH];
    struct sequence q[TEXTS];
    struct pool pools[TEXTS];
    int from[TEXTS];
    uint64_t seed = 11;
    // Each begins with a token of its own: what begins alike could not be told apart.
    for (int i = 0; i < TEXTS * LENGTH; i++)
        ids[i] = i % LENGTH ? (int32_t)((fixture_random(&seed) + 1) / 2 * m.vocab) : i / LENGTH;
    for (int i = 0; i < TEXTS; i++) {
        q[i] = (struct sequence){ ids + (size_t)i * LENGTH, LENGTH };
        pools[i] = (struct pool){ &router_seqtopk, args, 1, 0 };
        from[i] = 1;
    }
    struct piece p = { .batch = { q, TEXTS, pools, TEXTS },
                       .loss_from = from,
                       .nll_weight = 1.0 / (TEXTS * (LENGTH - 1)),
                       .aux_weight = 1 };
    struct gym g;
    gym_make(&g, &m, &s, 1);
    double loss = 0;
    int steps = 0;
    do {
        loss = gym_learn(&g, &p);
        gym_step(&g, 1e-2, 1);
    } while (++steps < STEPS && loss >= 0.05);
    print_message("# loss %.3f after %d steps\n", loss, steps);
    assert_true(loss < 0.05);
    gym_close(&g);
}

static void sixteen_texts_are_learnt_by_heart(void **state)
{
    (void)state;
    learns_by_heart(OPTIMISER_ADAMW, false);
    learns_by_heart(OPTIMISER_ADAMW8BIT, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_of_olmoe_are_slopes_under_every_router),
        cmocka_unit_test(gradients_of_qwen2_moe_are_slopes_under_every_router),
        cmocka_unit_test(gradients_of_mixtral_are_slopes_under_every_router),
        cmocka_unit_test(gradients_of_qwen3_moe_are_slopes_under_every_router),
        cmocka_unit_test(float32_gradients_are_those_of_float64),
        cmocka_unit_test(any_number_of_slots_gives_the_same_gradient_to_the_bit),
        cmocka_unit_test(layers_that_are_computed_again_have_the_same_gradient_to_the_bit),
        cmocka_unit_test(checkpointing_learns_cutoffs_and_takes_pieces_without_a_loss_of_their_own),
        cmocka_unit_test(the_gradients_of_pieces_are_summed_in_float32_in_their_order),
        cmocka_unit_test(a_step_cut_into_other_pieces_has_the_same_gradient),
        cmocka_unit_test(routers_on_the_gpu_lead_to_what_those_of_the_host_lead_to),
        cmocka_unit_test(gradients_agree_with_those_of_autograd),
        cmocka_unit_test(steps_are_those_of_a_plain_adamw),
        cmocka_unit_test(only_the_routers_train_where_only_they_shall),
        cmocka_unit_test(only_the_experts_train_where_only_they_shall),
        cmocka_unit_test(a_rate_of_zero_changes_no_weight),
        cmocka_unit_test(a_gradient_that_is_no_number_changes_nothing),
        cmocka_unit_test(a_state_has_the_bytes_that_the_optimiser_has),
        cmocka_unit_test(weights_for_a_file_are_rounded_to_the_nearest_and_to_even),
        cmocka_unit_test(a_state_that_was_saved_goes_on_to_the_bit),
        cmocka_unit_test(bfloat16_arithmetic_has_weights_of_float32),
        cmocka_unit_test(steps_with_8_bits_are_those_of_a_plain_adamw_but_for_what_is_remembered),
        cmocka_unit_test(scores_are_by_the_weights_as_they_are_now),
        cmocka_unit_test(what_cannot_be_learnt_is_refused),
        cmocka_unit_test(a_piece_may_have_arguments_by_layer),
        cmocka_unit_test(a_piece_tells_each_experts_logit_of_the_rank_that_its_budget_has),
        cmocka_unit_test(sixteen_texts_are_learnt_by_heart),
    };
    open_engine_and_device();
    return cmocka_run_group_tests_name("trainer", tests, NULL, NULL);
}
