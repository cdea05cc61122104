/*
 * test_train.c: trainings from their first step to the finished folder, stopped, killed and gone on
 * with. Most of it runs on a trainer without tensors (fake_trainer.h); the last part on the engine.
 */
#include "cutoffs.h"
#include "device.h"
#include "fake_trainer.h"
#include "fixture.h"
#include "train/checkpoint.h"
#include "train/lesson_order.h"
#include "train/pieces.h"
#include "train/train.h"
#include "train/train_log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

static struct buf err = BUF_INIT;

/* ---- schedules and draws ---- */

static void lr_is(const struct training *t, int64_t steps, const double *want)
{
    for (int64_t s = 0; s < steps; s++)
        if (!(fabs(training_lr(t, s, steps) - want[s]) < 1e-12))
            fail_msg("step %d: %.17g, not %.17g", (int)s, training_lr(t, s, steps), want[s]);
}

static void the_rate_rises_and_falls_as_the_schedule_says(void **state)
{
    (void)state;
    struct training t = { .lr = 8, .schedule = SCHEDULE_CONSTANT, .warmup = 4 };
    lr_is(&t, 8, (const double[]){ 2, 4, 6, 8, 8, 8, 8, 8 });
    t.schedule = SCHEDULE_LINEAR;
    lr_is(&t, 8, (const double[]){ 2, 4, 6, 8, 8, 6, 4, 2 });
    t.schedule = SCHEDULE_COSINE;
    lr_is(&t, 8, (const double[]){ 2, 4, 6, 8, 8, 4 + 2 * M_SQRT2, 4, 4 - 2 * M_SQRT2 });
    t.warmup = 0;
    t.schedule = SCHEDULE_LINEAR;
    lr_is(&t, 4, (const double[]){ 8, 6, 4, 2 });
}

static void a_warmup_below_one_is_a_share_of_the_steps(void **state)
{
    (void)state;
    struct training t = { .lr = 7, .schedule = SCHEDULE_CONSTANT, .warmup = 0.07 };
    // 0.07 * 100 is 7.000000000000001 in double.
    assert_true(training_lr(&t, 0, 100) == 1);
    assert_true(training_lr(&t, 6, 100) == 7);
    t.warmup = 0.061; // rounded up
    assert_true(training_lr(&t, 0, 100) == 1);
    t.lr = 8;
    t.warmup = 16; // longer than the training: it rises to the end
    assert_true(training_lr(&t, 7, 8) == 4);
    t.lr = 0;
    assert_true(training_lr(&t, 3, 8) == 0);
}

static void K_is_drawn_by_step_or_by_layer(void **state)
{
    (void)state;
    struct training t = { .seed = 5 };
    int by_step[9] = { 0 }, by_layer[9] = { 0 }, alike = 0, other_seed = 0;
    assert_int_equal(training_K(&t, 3, 10, 1), 3);
    t.nmatryoshka = 3;
    memcpy(t.matryoshka, (const int[]){ 8, 4, 2 }, 3 * sizeof(int));
    struct training layers = t, seeds = t;
    layers.matryoshka_by_layer = true;
    seeds.seed = 6;
    for (int64_t s = 0; s < 3000; s++) {
        int K = training_K(&t, 3, s, 0);
        by_step[K]++;
        assert_int_equal(training_K(&t, 3, s, 7), K);
        by_layer[training_K(&layers, 3, s, 1)]++;
        alike += training_K(&layers, 3, s, 0) == training_K(&layers, 3, s, 1);
        other_seed += K == training_K(&seeds, 3, s, 0);
    }
    // Of 3000 draws a third each, within 5 deviations.
    for (int i = 0; i < 3; i++) {
        assert_in_range(by_step[t.matryoshka[i]], 870, 1130);
        assert_in_range(by_layer[t.matryoshka[i]], 870, 1130);
    }
    assert_in_range(alike, 870, 1130);
    assert_in_range(other_seed, 870, 1130);
}

static int online_steps(const struct training *t, int64_t from, int64_t to, int64_t steps)
{
    int n = 0;
    for (int64_t s = from; s < to; s++)
        n += training_online(t, s, steps);
    return n;
}

static void a_share_of_the_steps_is_online(void **state)
{
    (void)state;
    struct training t = { .seed = 5 };
    assert_int_equal(online_steps(&t, 0, 3000, 3000), 0);
    t.online = 1;
    assert_int_equal(online_steps(&t, 0, 3000, 3000), 3000);
    // Within 5 deviations, and a step's draw does not hang on how many there are.
    t.online = 0.25;
    assert_in_range(online_steps(&t, 0, 3000, 3000), 632, 868);
    assert_int_equal(online_steps(&t, 0, 1000, 1000), online_steps(&t, 0, 1000, 3000));
    struct training other = t;
    other.seed = 6;
    int alike = 0;
    for (int64_t s = 0; s < 3000; s++)
        alike += training_online(&t, s, 3000) == training_online(&other, s, 3000);
    assert_in_range(alike, 1742, 2008); // 10 of 16
}

static void annealing_rises_from_the_first_step_to_the_last(void **state)
{
    (void)state;
    struct training t = { .online_anneal = true };
    for (t.seed = 0; t.seed < 50; t.seed++) {
        assert_false(training_online(&t, 0, 9));
        assert_true(training_online(&t, 8, 9));
        assert_true(training_online(&t, 0, 1));
    }
    // Shares of 1/8, 3/8, 5/8 and 7/8 on average.
    for (int i = 0; i < 4; i++)
        assert_in_range(online_steps(&t, 1000 * i, 1000 * (i + 1), 4000), 250 * i + 45,
                        250 * i + 205);
}

/* ---- lessons ---- */

enum { LESSONS = 10, HELD = 5, MOST = 8 };

/* Ten lessons of 3 to 7 tokens, the first token of each its number; two sources, one comes half. */
struct school {
    int32_t ids[LESSONS + HELD][MOST];
    struct lesson v[LESSONS], held[HELD];
    struct lesson_source sources[2];
    struct lessons all;
};

static void school_init(struct school *s)
{
    *s = (struct school){ .sources = { { "books", 1, 7, 2, 0 }, { "papers", 0.5, 3, 3, 0 } } };
    for (int i = 0; i < LESSONS + HELD; i++) {
        struct lesson *l = i < LESSONS ? &s->v[i] : &s->held[i - LESSONS];
        for (int j = 0; j < MOST; j++)
            s->ids[i][j] = j ? (i * 31 + j * j * 17) % 30 : i;
        *l = (struct lesson){ s->ids[i], 3 + i % 5, 1 + i % 2,
                              i < LESSONS ? i >= 7 : i - LESSONS >= 2 };
        if (i < LESSONS)
            s->all.tokens += l->tokens;
    }
    s->all.v = s->v;
    s->all.len = LESSONS;
    s->all.held = s->held;
    s->all.nheld = HELD;
    s->all.sources = s->sources;
    s->all.nsources = 2;
}

static void lessons_come_epoch_after_epoch(void **state)
{
    (void)state;
    struct school s;
    struct lesson_order o;
    struct ids want = { 0 };
    school_init(&s);
    lesson_order_init(&o, &s.all, 9);
    for (int64_t e = 0; e < 6; e++)
        lessons_epoch(&s.all, 9, e, &want);
    assert_in_range(want.len, 6 * 8, 6 * 9);
    for (size_t i = 0; i < want.len; i++)
        assert_ptr_equal(lesson_order_at(&o, (int64_t)i), &s.v[want.v[i]]);
    // Back and forth: a place hangs on its number alone.
    for (size_t i = 0; i < 200; i++) {
        size_t n = i * 29 % want.len;
        assert_ptr_equal(lesson_order_at(&o, (int64_t)n), &s.v[want.v[n]]);
    }
    free(want.v);
    lesson_order_release(&o);
}

static void epochs_say_how_many_steps(void **state)
{
    (void)state;
    struct school s;
    school_init(&s); // 8.5 lessons an epoch
    struct training t = { .epochs = 2, .batch = 4 };
    assert_int_equal(train_steps(&t, &s.all), 5);
    t.epochs = 0.01;
    assert_int_equal(train_steps(&t, &s.all), 1);
    s.sources[0].weight = 1.1;
    s.sources[1].weight = 0.1;
    t.epochs = 1; // 8.000000000000002 lessons in double
    t.batch = 1;
    assert_int_equal(train_steps(&t, &s.all), 8);
    t.steps = 77;
    assert_int_equal(train_steps(&t, &s.all), 77);
}

/* ---- pieces ---- */

static void pieces_keep_the_order_and_about_the_size(void **state)
{
    (void)state;
    struct school s;
    school_init(&s);
    const struct lesson *lessons[LESSONS];
    for (int i = 0; i < LESSONS; i++)
        lessons[i] = &s.v[i]; // 3 4 5 6 7 3 4 5 6 7 tokens
    const struct router_args args = { .K = 2, .N = 8, .batch = 4 };
    struct pieces p;
    pieces_make(&p, lessons, LESSONS, &router_topk, &args, 12);
    static const int sizes[] = { 3, 1, 2, 2, 1, 1 }; // 12 6 10 9 6 7 tokens
    double weights = 0;
    assert_int_equal(p.n, 6);
    assert_int_equal(p.tokens, 50);
    assert_int_equal(p.counted, 35);
    for (int i = 0, next = 0; i < p.n; i++) {
        const struct piece *piece = &p.v[i];
        assert_int_equal(piece->batch.nsequences, sizes[i]);
        assert_int_equal(piece->batch.npools, sizes[i]);
        for (int j = 0; j < sizes[i]; j++, next++) {
            assert_ptr_equal(piece->batch.sequences[j].ids, s.ids[next]);
            assert_int_equal(piece->batch.sequences[j].tokens, s.v[next].tokens);
            assert_int_equal(piece->loss_from[j], s.v[next].loss_from);
            assert_int_equal(piece->batch.pools[j].sequences, 1);
            assert_int_equal(piece->batch.pools[j].prompt, s.v[next].loss_from);
            assert_int_equal(piece->batch.pools[j].args.K, 2);
        }
        assert_true(piece->nll_weight == 1.0 / 35);
        assert_true(piece->aux_weight == (double)piece_tokens(piece) / 50);
        weights += piece->aux_weight;
    }
    assert_true(fabs(weights - 1) < 1e-12);
    pieces_release(&p);
    pieces_make(&p, lessons, LESSONS, &router_topk, &args, 1); // each is too large
    assert_int_equal(p.n, LESSONS);
    pieces_release(&p);
}

static void a_pool_of_several_sequences_is_never_cut(void **state)
{
    (void)state;
    struct school s;
    school_init(&s);
    const struct lesson *lessons[LESSONS];
    for (int i = 0; i < LESSONS; i++)
        lessons[i] = &s.v[i];
    const struct router_args args = { .K = 2, .N = 8, .max = 8, .batch = 4 };
    struct pieces p;
    pieces_make(&p, lessons, LESSONS, &router_batchtopk, &args,
                10); // pools of 18, 19 and 13 tokens
    assert_int_equal(p.n, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(p.v[i].batch.npools, 1);
        assert_int_equal(p.v[i].batch.nsequences, i < 2 ? 4 : 2);
        assert_int_equal(p.v[i].batch.pools[0].sequences, i < 2 ? 4 : 2);
    }
    pieces_release(&p);
    pieces_make(&p, lessons, LESSONS, &router_batchtopk, &args, 40);
    assert_int_equal(p.n, 2);
    assert_int_equal(p.v[0].batch.npools, 2);
    assert_int_equal(p.v[0].batch.nsequences, 8);
    pieces_release(&p);
}

/* ---- a training ---- */

/* All that a test's training is made of; each has a root of its own. */
struct course {
    struct school school;
    struct training training;
    struct train_task task;
    char *root, *base;
    struct store *store;
};

enum { STEPS = 7 };

static void course_init(struct course *c)
{
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    school_init(&c->school);
    c->root = fixture_dir();
    c->base = xasprintf("%s/base", c->root);
    fixture_model_write(c->base, &m);
    c->training = (struct training){ .steps = STEPS,
                                     .lr = 0.3,
                                     .schedule = SCHEDULE_COSINE,
                                     .warmup = 2,
                                     .batch = 4,
                                     .length = MOST,
                                     .micro_tokens = 8,
                                     .clip = 1,
                                     .seed = 3 };
    c->task = (struct train_task){ .id = "abc",
                                   .label = "sft made up",
                                   .about = "{\"steps\": 7}",
                                   .base = c->base,
                                   .root = c->root,
                                   .training = &c->training,
                                   .router = &router_topk,
                                   .args = { .K = 2, .N = 8 },
                                   .lessons = &c->school.all,
                                   .threads = 2,
                                   .checkpoint_seconds = 1e9 };
    c->store = NULL;
    fake.exit_at = fake.nan_at = fake.infinite_at = fake.fail_at = 0;
    fake.npieces = 0;
    fake.opened = fake.scored = 0;
}

static void course_release(struct course *c)
{
    store_close(c->store);
    free(c->base);
    fixture_remove(c->root);
}

static void course_store(struct course *c)
{
    char *path = xasprintf("%s/x.db", c->root);
    c->store = store_open(path, STORE_WRITE, &err);
    if (!c->store)
        fail_msg("%s", err.s);
    free(path);
}

static struct train_result course_run(struct course *c, const struct engine *e, bool (*stop)(void))
{
    struct train_result r;
    if (train_model(&c->task, e, c->store, stop, &r, &err))
        fail_msg("%s", err.s);
    return r;
}

/* The weights of the finished folder, or of the state, as bytes. */
static void course_file(const struct course *c, const char *name, struct buf *out)
{
    char *path = xasprintf("%s/abc%s", c->root, name);
    buf_reset(out);
    if (read_file(path, 1 << 24, out, &err))
        fail_msg("%s", err.s);
    free(path);
}

static bool course_has(const struct course *c, const char *name)
{
    char *path = xasprintf("%s/abc%s", c->root, name);
    bool is = access(path, F_OK) == 0;
    free(path);
    return is;
}

static const char weights_file[] = "/model.safetensors";

static void same_bytes(const struct buf *a, const struct buf *b)
{
    assert_int_equal(a->len, b->len);
    assert_memory_equal(a->s, b->s, a->len);
}

/* The weights that an undisturbed training comes to. */
static void undisturbed(void (*change)(struct course *), const struct engine *e, struct buf *out)
{
    struct course c;
    course_init(&c);
    if (change)
        change(&c);
    struct train_result r = course_run(&c, e, NULL);
    assert_int_equal(r.steps, c.training.steps);
    course_file(&c, weights_file, out);
    course_release(&c);
}

static bool stop_now(void)
{
    return true;
}

static void a_training_ends_in_a_folder_that_is_found_again(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    struct train_result r = course_run(&c, &fake_engine, NULL);
    assert_false(r.there);
    assert_false(r.interrupted);
    assert_int_equal(r.steps, STEPS);
    assert_true(isfinite(r.loss));
    assert_false(course_has(&c, ".state"));
    assert_false(course_has(&c, ".lock"));
    assert_false(course_has(&c, ".tmp"));
    assert_int_equal(fake.opened, 1);
    // It is there, whoever trains what.
    struct checkpoint_lock *l = checkpoint_lock(c.root, "abc", NULL, &err);
    // What a program left that was killed before it removed its states goes.
    fixture_text(c.root, "abc.state.before", "of no use");
    r = course_run(&c, &fake_engine, stop_now);
    assert_true(r.there);
    assert_false(course_has(&c, ".state.before"));
    assert_false(r.interrupted);
    assert_int_equal(fake.opened, 1);
    checkpoint_unlock(l);
    course_release(&c);
}

/* What a plain loop comes to, with no pieces, threads or states. */
static void a_plain_loop_comes_to_the_same_weights(void **state)
{
    (void)state;
    struct course c;
    struct buf file = BUF_INIT;
    course_init(&c);
    c.training.micro_tokens = 1000;
    struct train_result trained = course_run(&c, &fake_engine, NULL);
    course_file(&c, weights_file, &file);
    struct lesson_order o;
    struct trainer *t = fake_open(NULL, (struct device){ 0 }, NULL, 1, &err);
    lesson_order_init(&o, &c.school.all, c.training.seed);
    for (int s = 0; s < STEPS; s++) {
        struct sequence sequences[4];
        int from[4], counted = 0;
        double norm;
        for (int i = 0; i < 4; i++) {
            const struct lesson *l = lesson_order_at(&o, s * 4 + i);
            sequences[i] = (struct sequence){ l->ids, l->tokens };
            from[i] = l->loss_from;
            counted += l->tokens - l->loss_from;
        }
        const struct pool pool = { .router = &router_topk, .args = c.task.args, .sequences = 4 };
        const struct piece p = { .batch = { sequences, 4, &pool, 1 },
                                 .loss_from = from,
                                 .nll_weight = 1.0 / counted };
        struct piece_result result = { 0 };
        assert_int_equal(fake_gradient(t, 0, &p, &result, &err), 0);
        assert_true(s + 1 < STEPS || trained.loss == result.nll / counted);
        fake_add(t, 1, &err);
        assert_int_equal(fake_step(t, training_lr(&c.training, s, STEPS), 1, &norm, &err), 0);
        piece_result_release(&result);
    }
    assert_memory_equal(file.s + file.len - sizeof(t->w), t->w, sizeof(t->w));
    fake_close(t);
    lesson_order_release(&o);
    buf_release(&file);
    course_release(&c);
}

static void any_number_of_threads_gives_the_same_bytes(void **state)
{
    (void)state;
    struct buf want = BUF_INIT, got = BUF_INIT;
    undisturbed(NULL, &fake_engine, &want);
    for (int threads = 1; threads <= 4; threads++) {
        struct course c;
        course_init(&c);
        c.task.threads = threads;
        course_run(&c, &fake_engine, NULL);
        course_file(&c, weights_file, &got);
        same_bytes(&want, &got);
        course_release(&c);
    }
    buf_release(&want);
    buf_release(&got);
}

/* Slots are filled from 0 on in each round, and rounds come one after another. */
static void pieces_go_into_slots_in_their_order(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    c.task.threads = 3;
    course_run(&c, &fake_engine, NULL);
    struct lesson_order o;
    lesson_order_init(&o, &c.school.all, c.training.seed);
    size_t at = 0;
    for (int64_t step = 0; step < STEPS; step++) {
        const struct lesson *lessons[4];
        struct pieces p;
        for (int i = 0; i < 4; i++)
            lessons[i] = lesson_order_at(&o, step * 4 + i);
        pieces_make(&p, lessons, 4, &router_topk, &c.task.args, c.training.micro_tokens);
        for (int i = 0; i < p.n; i++) {
            // Inside a round threads come as they like.
            size_t round = at + (size_t)(i / 3 * 3), k = round;
            while (k < round + 3 && fake.pieces[k].slot != i % 3)
                k++;
            const struct fake_piece *f = &fake.pieces[k];
            assert_int_equal(f->slot, i % 3);
            assert_int_equal(f->step, step + 1);
            assert_int_equal(f->first, p.v[i].batch.sequences[0].ids[0]);
            assert_int_equal(f->tokens, piece_tokens(&p.v[i]));
            assert_true(f->nll_weight == p.v[i].nll_weight);
            assert_true(f->aux_weight == p.v[i].aux_weight);
        }
        at += (size_t)p.n;
        pieces_release(&p);
    }
    assert_int_equal(at, fake.npieces);
    lesson_order_release(&o);
    course_release(&c);
}

/* ---- stopped, and gone on with ---- */

/* Runs in a child that leaves, as if it were killed, when step `at` is done but not noted. */
static void killed_at(struct course *c, const struct engine *e, int64_t at)
{
    pid_t child = fork();
    if (child == 0) {
        struct train_result r;
        fake.exit_at = at;
        _exit(train_model(&c->task, e, NULL, NULL, &r, &err) ? 1 : 0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(WEXITSTATUS(status), at <= STEPS ? 77 : 0);
}

static void a_run_killed_at_any_step_ends_in_the_same_bytes(void **state)
{
    (void)state;
    struct buf want = BUF_INIT, got = BUF_INIT;
    undisturbed(NULL, &fake_engine, &want);
    for (int64_t at = 1; at <= STEPS; at++) {
        struct course c;
        course_init(&c);
        c.task.checkpoint_seconds = 0;
        killed_at(&c, &fake_engine, at);
        c.task.threads = 1 + (int)at % 4;
        struct train_result r = course_run(&c, &fake_engine, NULL);
        assert_int_equal(r.steps, STEPS);
        // It went on where it was, instead of beginning again.
        assert_int_equal(fake.pieces[0].step, at);
        course_file(&c, weights_file, &got);
        same_bytes(&want, &got);
        course_release(&c);
    }
    buf_release(&want);
    buf_release(&got);
}

static void a_run_killed_again_and_again_ends_in_the_same_bytes(void **state)
{
    (void)state;
    struct buf want = BUF_INIT, got = BUF_INIT;
    struct course c;
    undisturbed(NULL, &fake_engine, &want);
    course_init(&c);
    c.task.checkpoint_seconds = 0;
    for (int64_t at = 1; at <= STEPS; at++)
        killed_at(&c, &fake_engine, at);
    course_run(&c, &fake_engine, NULL);
    course_file(&c, weights_file, &got);
    same_bytes(&want, &got);
    course_release(&c);
    buf_release(&want);
    buf_release(&got);
}

static void a_damaged_state_costs_steps_and_no_more(void **state)
{
    (void)state;
    struct buf want = BUF_INIT, got = BUF_INIT;
    struct course c;
    undisturbed(NULL, &fake_engine, &want);
    course_init(&c);
    c.task.checkpoint_seconds = 0;
    killed_at(&c, &fake_engine, 5);
    course_file(&c, ".state", &got);
    fixture_file(c.root, "abc.state", got.s, got.len / 2);
    int was = dup(STDERR_FILENO);
    assert_non_null(freopen("/dev/null", "w", stderr)); // its warning
    course_run(&c, &fake_engine, NULL);
    fflush(stderr);
    dup2(was, STDERR_FILENO);
    close(was);
    assert_int_equal(fake.pieces[0].step, 4);
    course_file(&c, weights_file, &got);
    same_bytes(&want, &got);
    course_release(&c);
    buf_release(&want);
    buf_release(&got);
}

static int asked, stop_from;

static bool stop_later(void)
{
    return ++asked > stop_from;
}

static void an_interrupted_run_saves_and_goes_on(void **state)
{
    (void)state;
    struct buf want = BUF_INIT, got = BUF_INIT;
    undisturbed(NULL, &fake_engine, &want);
    struct course c;
    course_init(&c);
    asked = 0;
    stop_from = 3;
    struct train_result r = course_run(&c, &fake_engine, stop_later);
    assert_true(r.interrupted);
    assert_int_equal(r.steps, 3);
    assert_true(course_has(&c, ".state"));
    assert_false(course_has(&c, ""));
    fake.npieces = 0;
    r = course_run(&c, &fake_engine, NULL);
    assert_false(r.interrupted);
    assert_int_equal(fake.pieces[0].step, 4);
    course_file(&c, weights_file, &got);
    same_bytes(&want, &got);
    course_release(&c);
    buf_release(&want);
    buf_release(&got);
}

static void without_states_a_stopped_run_begins_anew(void **state)
{
    (void)state;
    struct buf want = BUF_INIT, got = BUF_INIT;
    undisturbed(NULL, &fake_engine, &want);
    struct course c;
    course_init(&c);
    c.task.checkpoint_seconds = (double)INFINITY;
    asked = 0;
    stop_from = 3;
    struct train_result r = course_run(&c, &fake_engine, stop_later);
    assert_true(r.interrupted);
    assert_false(course_has(&c, ".state") || course_has(&c, ""));
    fake.npieces = 0;
    course_run(&c, &fake_engine, NULL);
    assert_int_equal(fake.pieces[0].step, 1);
    course_file(&c, weights_file, &got);
    same_bytes(&want, &got);
    course_release(&c);
    buf_release(&want);
    buf_release(&got);
}

static void a_run_that_is_stopped_at_once_leaves_nothing(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    struct train_result r = course_run(&c, &fake_engine, stop_now);
    assert_true(r.interrupted);
    assert_int_equal(r.steps, 0);
    assert_false(course_has(&c, ".state"));
    assert_false(course_has(&c, ".lock"));
    course_release(&c);
}

static void two_programs_train_it_once(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    struct checkpoint_lock *l = checkpoint_lock(c.root, "abc", NULL, &err);
    pid_t child = fork();
    if (child == 0) {
        // It waits, and then finds what the other one made.
        struct train_result r;
        if (!freopen("/dev/null", "w", stderr))
            _exit(9);
        int rc = train_model(&c.task, &fake_engine, NULL, NULL, &r, &err);
        _exit(rc == 0 && r.there && fake.opened == 0 ? 0 : 1);
    }
    usleep(100 * 1000);
    const struct checkpoint_tensor none = { "a", 0, NULL, &(float){ 1 } };
    const struct checkpoint_model m = {
        .base = c.base, .tensors = &none, .ntensors = 1, .about = "{}"
    };
    assert_int_equal(checkpoint_publish(c.root, "abc", &m, &err), 0);
    checkpoint_unlock(l);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    course_release(&c);
}

/* ---- what goes wrong ---- */

static void fails_with(struct course *c, const char *words)
{
    struct train_result r;
    assert_int_equal(train_model(&c->task, &fake_engine, c->store, NULL, &r, &err), -1);
    if (!strstr(err.s, words))
        fail_msg("'%s' has no '%s'", err.s, words);
    assert_false(course_has(c, ""));
    assert_false(course_has(c, ".lock"));
}

static void states_that_do_not_fit_are_refused_before_the_first_step(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    fake.state_is_huge = true;
    fake.npieces = 0;
    fails_with(&c, "MB are free, but the states and the model of this training need ");
    assert_non_null(strstr(err.s, " MB; --checkpoint-seconds never trains without states"));
    assert_int_equal(fake.npieces, 0);
    c.task.checkpoint_seconds = (double)INFINITY;
    struct train_result r = course_run(&c, &fake_engine, NULL);
    assert_int_equal(r.steps, c.training.steps);
    fake.state_is_huge = false;
    course_release(&c);
}

static void what_the_trainer_says_of_its_state_is_told(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    c.task.checkpoint_seconds = 0;
    fake.state_fails = true;
    fails_with(&c, "the fake trainer was told not to give its state");
    assert_false(course_has(&c, ".state") || course_has(&c, ".state.tmp"));
    fake.state_fails = false;
    killed_at(&c, &fake_engine, 5);
    fake.state_fails = true;
    fails_with(&c, "the fake trainer was told not to take a state");
    // It is there for the next run.
    fake.state_fails = false;
    fake.npieces = 0;
    course_run(&c, &fake_engine, NULL);
    assert_int_equal(fake.pieces[0].step, 5);
    course_release(&c);
}

static void weights_that_cannot_be_read_leave_the_last_state(void **state)
{
    (void)state;
    struct buf want = BUF_INIT, got = BUF_INIT;
    undisturbed(NULL, &fake_engine, &want);
    struct course c;
    course_init(&c);
    fake.weights_fail = true;
    fails_with(&c, "the fake trainer was told not to give its weights");
    assert_non_null(strstr(err.s, "the next run of this training goes on after step "));
    assert_true(course_has(&c, ".state"));
    assert_false(course_has(&c, ".tmp"));
    fake.weights_fail = false;
    fake.npieces = 0;
    course_run(&c, &fake_engine, NULL);
    assert_int_equal(fake.npieces, 0); // nothing was left to be trained
    course_file(&c, weights_file, &got);
    same_bytes(&want, &got);
    buf_release(&want);
    buf_release(&got);
    course_release(&c);
}

static void a_loss_that_is_no_number_ends_the_training(void **state)
{
    (void)state;
    struct course c;
    struct buf before = BUF_INIT, after = BUF_INIT;
    course_init(&c);
    fake.nan_at = 5;
    fails_with(&c, "in step 5 the loss is nan, so the training ends");
    assert_non_null(strstr(err.s, "no state was saved"));
    assert_false(course_has(&c, ".state"));
    asked = 0;
    stop_from = 2;
    course_run(&c, &fake_engine, stop_later);
    course_file(&c, ".state", &before);
    fails_with(&c, "in step 5 the loss is nan, so the training ends");
    assert_non_null(strstr(err.s, "the last good state, of step 2, stays in "));
    assert_non_null(strstr(err.s, "sft made up"));
    course_file(&c, ".state", &after);
    same_bytes(&before, &after);
    buf_release(&before);
    buf_release(&after);
    course_release(&c);
}

static void a_gradient_that_is_no_number_ends_it_too(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    c.task.checkpoint_seconds = 0;
    fake.infinite_at = 4;
    fails_with(&c, "in step 4 the gradient's norm is inf");
    assert_non_null(strstr(err.s, "of step 3, stays in "));
    assert_true(course_has(&c, ".state"));
    course_release(&c);
}

static void a_step_that_fails_leaves_the_state_before_it(void **state)
{
    (void)state;
    struct buf want = BUF_INIT, got = BUF_INIT;
    undisturbed(NULL, &fake_engine, &want);
    struct course c;
    course_init(&c);
    c.task.checkpoint_seconds = 0;
    fake.fail_at = 6;
    fails_with(&c, "in step 6 the fake trainer was told to fail");
    assert_non_null(strstr(err.s, "the last good state, of step 5,"));
    fake.fail_at = 0;
    fake.npieces = 0;
    course_run(&c, &fake_engine, NULL);
    assert_int_equal(fake.pieces[0].step, 6);
    course_file(&c, weights_file, &got);
    same_bytes(&want, &got);
    buf_release(&want);
    buf_release(&got);
    course_release(&c);
}

/* The weights were good: what was done since the last state is not lost. */
static void a_failure_behind_a_step_saves_it(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    fake.score_fails = true;
    course_store(&c);
    fails_with(&c, "told not to score; the next run of this training goes on after step 7 of 7");
    fake.score_fails = false;
    fake.npieces = 0;
    course_run(&c, &fake_engine, NULL);
    assert_int_equal(fake.npieces, 0);
    course_release(&c);
}

static void nothing_to_train_on_is_refused(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    c.school.sources[0].weight = c.school.sources[1].weight = 0;
    fails_with(&c, "there is no text to train on");
    c.task.base = "/no/such/model";
    school_init(&c.school);
    fails_with(&c, "/no/such/model");
    course_release(&c);
}

static void a_folder_that_is_not_whole_is_not_trained_over(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    course_run(&c, &fake_engine, NULL);
    char *path = xasprintf("%s/abc/model.safetensors", c.root);
    assert_int_equal(truncate(path, 100), 0);
    struct train_result r;
    assert_int_equal(train_model(&c.task, &fake_engine, NULL, NULL, &r, &err), -1);
    assert_non_null(strstr(err.s, "remove the folder"));
    free(path);
    course_release(&c);
}

/* Files may not grow beyond `limit` bytes, as on a disk that is full. Returns the child's sentence. */
static void limited(struct course *c, rlim_t limit, bool (*stop)(void), struct buf *said)
{
    int ends[2], status;
    char chunk[512];
    ssize_t n;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct train_result r;
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){ limit, limit });
        int rc = train_model(&c->task, &fake_engine, NULL, stop, &r, &err);
        if (write(ends[1], err.s, err.len) != (ssize_t)err.len)
            _exit(9);
        _exit(rc ? 1 : 0);
    }
    close(ends[1]);
    buf_reset(said);
    while ((n = read(ends[0], chunk, sizeof(chunk))) > 0)
        buf_add(said, chunk, (size_t)n);
    close(ends[0]);
    waitpid(child, &status, 0);
    assert_int_equal(WEXITSTATUS(status), 1);
}

static void a_full_disk_leaves_the_last_state(void **state)
{
    (void)state;
    struct buf want = BUF_INIT, got = BUF_INIT, said = BUF_INIT;
    undisturbed(NULL, &fake_engine, &want);
    struct course c;
    course_init(&c);
    c.task.checkpoint_seconds = 0;
    killed_at(&c, &fake_engine, 4);
    limited(&c, 100, NULL, &said); // less than a state
    assert_non_null(strstr(said.s, "abc.state.tmp: File too large; the next run of this training "
                                   "goes on after step 3 of 7"));
    limited(&c, 300, NULL, &said); // a state, but not config.json
    assert_non_null(strstr(said.s, "abc.tmp/config.json: File too large; the next run of this "
                                   "training goes on after step 7 of 7"));
    assert_false(course_has(&c, ""));
    assert_false(course_has(&c, ".tmp"));
    fake.npieces = 0;
    struct train_result r = course_run(&c, &fake_engine, NULL);
    assert_int_equal(fake.npieces, 0);
    assert_true(isnan(r.loss));
    course_file(&c, weights_file, &got);
    same_bytes(&want, &got);
    course_release(&c);
    buf_release(&want);
    buf_release(&got);
    buf_release(&said);
}

/* What was done is lost then, and whoever asked for an end is to know it. */
static void an_interrupted_run_whose_state_cannot_be_saved_fails(void **state)
{
    (void)state;
    struct buf said = BUF_INIT;
    struct course c;
    course_init(&c);
    asked = 0;
    stop_from = 3;
    limited(&c, 100, stop_later, &said);
    assert_non_null(strstr(said.s, "abc.state.tmp: File too large"));
    assert_false(course_has(&c, ".state"));
    course_release(&c);
    buf_release(&said);
}

/* ---- online ---- */

static void train_online(struct course *c)
{
    c->task.router = &router_seqtopk;
    c->task.args = (struct router_args){ .K = 2, .N = 8, .min = 1, .max = 4 };
    c->training.online = 0.5;
}

static void steps_are_routed_online_where_that_was_drawn(void **state)
{
    (void)state;
    struct course c;
    int online = 0;
    course_init(&c);
    train_online(&c);
    c.training.steps = 40;
    course_run(&c, &fake_engine, NULL);
    for (size_t i = 0; i < fake.npieces; i++) {
        const struct fake_piece *f = &fake.pieces[i];
        bool is = training_online(&c.training, f->step - 1, 40);
        assert_int_equal(f->mode, is ? SEQTOPK_ONLINE : SEQTOPK_GLOBAL);
        online += is;
    }
    assert_in_range(online, 1, (int)fake.npieces - 1);
    course_release(&c);
}

/* ---- matryoshka and cutoffs ---- */

static struct router_args drawn[3];

static void draw_K(struct course *c)
{
    static const int K[] = { 8, 4, 1 };
    c->training.nmatryoshka = 3;
    memcpy(c->training.matryoshka, K, sizeof(K));
    for (int i = 0; i < 3; i++)
        drawn[i] = (struct router_args){ .K = K[i], .N = 8 };
    c->task.drawn = drawn;
}

static void draw_K_by_layer(struct course *c)
{
    draw_K(c);
    c->training.matryoshka_by_layer = true;
}

static void pieces_are_routed_with_the_K_that_was_drawn(void **state)
{
    (void)state;
    for (int by_layer = 0; by_layer < 2; by_layer++) {
        struct course c;
        int differ = 0;
        course_init(&c);
        (by_layer ? draw_K_by_layer : draw_K)(&c);
        c.training.steps = 40;
        course_store(&c);
        course_run(&c, &fake_engine, NULL);
        for (size_t i = 0; i < fake.npieces; i++) {
            const struct fake_piece *f = &fake.pieces[i];
            for (int l = 0; l < FAKE_LAYERS; l++)
                assert_int_equal(f->K[l], training_K(&c.training, 2, f->step - 1, l));
            differ += f->K[0] != f->K[1];
        }
        assert_true(by_layer ? differ > 10 : differ == 0);
        struct rows *rows =
            store_query(c.store, &err, "SELECT step, experts FROM v_training_steps ORDER BY step");
        for (int64_t s = 0; s < 40; s++) {
            int K = training_K(&c.training, 2, s, 0) + training_K(&c.training, 2, s, 1);
            assert_int_equal(rows_next(rows, &err), 1);
            assert_int_equal(rows_int(rows, 0), s + 1);
            assert_true(rows_double(rows, 1) == K / 2.0);
        }
        rows_close(rows);
        course_release(&c);
    }
}

static void learn_cutoffs(struct course *c)
{
    c->task.router = &router_threshold;
    c->task.args.decay = 0.8;
}

static void cutoffs_are_learnt_and_used_in_the_next_step(void **state)
{
    (void)state;
    struct course c;
    struct cutoffs got;
    struct cutoff_average want;
    float now[FAKE_LAYERS * FAKE_EXPERTS], last = 0;
    course_init(&c);
    learn_cutoffs(&c);
    c.task.threads = 1;
    course_run(&c, &fake_engine, NULL);
    cutoff_average_init(&want, FAKE_LAYERS, FAKE_EXPERTS, 0.8);
    for (size_t i = 0; i < fake.npieces; i++) {
        const struct fake_piece *f = &fake.pieces[i];
        float kth[FAKE_LAYERS * FAKE_EXPERTS];
        for (int j = 0; j < FAKE_LAYERS * FAKE_EXPERTS; j++)
            kth[j] = (float)f->first / (float)(j + 3);
        assert_int_equal(f->cutoffs, f->step > 1);
        assert_true(f->cutoff == last);
        cutoff_average_add(&want, kth, f->tokens);
        if (i + 1 == fake.npieces || fake.pieces[i + 1].step != f->step) {
            cutoff_average_step(&want);
            assert_true(cutoff_average_value(&want, now));
            last = now[0];
        }
    }
    char *dir = xasprintf("%s/abc", c.root);
    if (cutoffs_read(dir, FAKE_LAYERS, FAKE_EXPERTS, &got, &err))
        fail_msg("%s", err.s);
    assert_int_equal(got.K, 2);
    assert_memory_equal(got.v, now, sizeof(now));
    cutoffs_release(&got);
    cutoff_average_release(&want);
    free(dir);
    course_release(&c);
}

static void cutoffs_go_on_to_the_bit(void **state)
{
    (void)state;
    struct buf want = BUF_INIT, got = BUF_INIT;
    struct course c;
    course_init(&c);
    learn_cutoffs(&c);
    course_run(&c, &fake_engine, NULL);
    course_file(&c, "/cutoffs.json", &want);
    course_release(&c);
    for (int64_t at = 2; at <= STEPS; at += 2) {
        course_init(&c);
        learn_cutoffs(&c);
        c.task.checkpoint_seconds = 0;
        killed_at(&c, &fake_engine, at);
        c.task.threads = 3;
        course_run(&c, &fake_engine, NULL);
        course_file(&c, "/cutoffs.json", &got);
        same_bytes(&want, &got);
        course_release(&c);
    }
    course_init(&c);
    course_run(&c, &fake_engine, NULL);
    assert_false(course_has(&c, "/cutoffs.json")); // topk learns none
    course_release(&c);
    buf_release(&want);
    buf_release(&got);
}

/* ---- the store ---- */

static int64_t count_rows(struct course *c, const char *sql)
{
    struct rows *r = store_query(c->store, &err, sql);
    if (!r || rows_next(r, &err) != 1)
        fail_msg("%s", err.s);
    int64_t n = rows_int(r, 0);
    rows_close(r);
    return n;
}

static void each_step_is_a_row(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    c.training.lr = 0.3;
    course_store(&c);
    c.task.sweep = "of tests";
    struct train_result result = course_run(&c, &fake_engine, NULL);
    struct rows *r = store_query(c.store, &err,
                                 "SELECT step, tokens, loss, lr, grad_norm, balance_loss, z_loss, "
                                 "experts, seconds FROM v_training_steps ORDER BY step");
    int64_t tokens = 0;
    for (int64_t s = 1; s <= STEPS; s++) {
        double balance = 0, all = 0;
        for (size_t i = 0; i < fake.npieces; i++) {
            const struct fake_piece *f = &fake.pieces[i];
            if (f->step == s) {
                all += f->tokens;
                balance += f->first * f->aux_weight;
            }
        }
        tokens += (int64_t)all;
        assert_int_equal(rows_next(r, &err), 1);
        assert_int_equal(rows_int(r, 0), s);
        assert_int_equal(rows_int(r, 1), tokens);
        assert_true(s < STEPS || rows_double(r, 2) == result.loss);
        assert_true(rows_double(r, 3) == training_lr(&c.training, s - 1, STEPS));
        assert_true(rows_double(r, 4) > 0);
        assert_true(fabs(rows_double(r, 5) - balance) < 1e-9);
        assert_true(fabs(rows_double(r, 6) - 2) < 1e-9);
        assert_true(rows_double(r, 7) == 2);
        assert_true(rows_double(r, 8) > 0);
    }
    assert_int_equal(rows_next(r, &err), 0);
    rows_close(r);
    assert_int_equal(count_rows(&c, "SELECT count(*) FROM v_trainings WHERE training_id = 'abc' "
                                    "AND sweep = 'of tests' AND model = 'base' "
                                    "AND label = 'sft made up' AND settings = '{\"steps\": 7}'"),
                     1);
    course_release(&c);
}

static void rows_are_a_second_late_at_most(void **state)
{
    (void)state;
    struct course c;
    struct train_log l;
    course_init(&c);
    course_store(&c);
    course_run(&c, &fake_engine, NULL);
    train_log_start(&l, c.store, "abc", 100);
    for (int64_t s = STEPS + 1; s < STEPS + 4; s++) {
        l.flushed -= s == STEPS + 3 ? 1.5 : 0;
        assert_int_equal(
            train_log_step(&l, &(struct store_train_step){ .step = s, .tokens = s }, 1, &err), 0);
        assert_int_equal(count_rows(&c, "SELECT count(*) FROM v_training_steps"),
                         s == STEPS + 3 ? s : STEPS);
    }
    train_log_end(&l);
    course_release(&c);
}

static void rows_are_complete_after_a_stop(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    course_store(&c);
    asked = 0;
    stop_from = 4;
    course_run(&c, &fake_engine, stop_later);
    assert_int_equal(count_rows(&c, "SELECT count(*) FROM v_training_steps"), 4);
    fake.fail_at = 6;
    fails_with(&c, "told to fail");
    assert_int_equal(count_rows(&c, "SELECT count(*) FROM v_training_steps"), 5);
    fake.fail_at = 0;
    course_run(&c, &fake_engine, NULL);
    assert_int_equal(count_rows(&c, "SELECT count(*) FROM v_training_steps"), STEPS);
    assert_int_equal(count_rows(&c, "SELECT sum(step) FROM v_training_steps"), 28);
    int64_t tokens = 0;
    struct lesson_order o;
    lesson_order_init(&o, &c.school.all, c.training.seed);
    for (int64_t n = 0; n < STEPS * 4; n++)
        tokens += lesson_order_at(&o, n)->tokens;
    assert_int_equal(count_rows(&c, "SELECT max(tokens) FROM v_training_steps"), tokens);
    lesson_order_release(&o);
    course_release(&c);
}

static void the_state_is_never_ahead_of_the_rows(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    c.task.checkpoint_seconds = 0;
    pid_t child = fork();
    if (child == 0) {
        struct train_result r;
        fake.exit_at = 6;
        course_store(&c);
        _exit(train_model(&c.task, &fake_engine, c.store, NULL, &r, &err) ? 1 : 0);
    }
    waitpid(child, NULL, 0);
    course_store(&c);
    assert_int_equal(count_rows(&c, "SELECT count(*) FROM v_training_steps"), 5);
    course_release(&c);
}

static void what_is_held_out_is_scored_by_source(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    course_store(&c);
    c.task.heldout_every = 3;
    course_run(&c, &fake_engine, NULL);
    assert_int_equal(count_rows(&c, "SELECT count(*) FROM v_training_heldout"), 6);
    assert_int_equal(count_rows(&c, "SELECT count(*) FROM v_training_heldout WHERE step IN "
                                    "(3, 6, 7) AND source IN ('books', 'papers')"),
                     6);
    // By the finished weights, from the folder.
    struct buf file = BUF_INIT;
    struct trainer t;
    course_file(&c, weights_file, &file);
    memcpy(t.w, file.s + file.len - sizeof(t.w), sizeof(t.w));
    for (int source = 0; source < 2; source++) {
        double nll = 0;
        int64_t tokens = 0;
        for (int i = 0; i < HELD; i++)
            for (int j = c.school.held[i].loss_from;
                 c.school.held[i].source == source && j < c.school.held[i].tokens; j++, tokens++)
                nll += pow(fake_distance(&t, c.school.held[i].ids[j]), 2);
        struct rows *r =
            store_query(c.store, &err,
                        "SELECT nll, tokens FROM v_training_heldout WHERE step = 7 AND "
                        "source = ?",
                        c.school.sources[source].name);
        assert_int_equal(rows_next(r, &err), 1);
        assert_true(fabs(rows_double(r, 0) - nll) < 1e-5 * nll);
        assert_int_equal(rows_int(r, 1), tokens);
        rows_close(r);
    }
    buf_release(&file);
    course_release(&c);
}

static void without_held_out_texts_nothing_is_scored(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    course_store(&c);
    c.school.all.nheld = 0;
    course_run(&c, &fake_engine, NULL);
    assert_int_equal(fake.scored, 0);
    assert_int_equal(count_rows(&c, "SELECT count(*) FROM v_training_heldout"), 0);
    course_release(&c);
}

/* ---- the terminal ---- */

static void the_line_says_step_loss_speed_and_time_left(void **state)
{
    (void)state;
    struct train_log l = { .steps = 400, .here = 50, .tokens = 200000 };
    const struct store_train_step row = { .step = 100, .loss = 3.14159 };
    struct buf b = BUF_INIT;
    train_log_line(&l, &row, 20, &b);
    assert_string_equal(b.s, "step 100/400  loss 3.1416  10000 tokens/s  2:00 left");
    buf_reset(&b);
    train_log_line(&l, &row, 1000, &b);
    assert_string_equal(b.s, "step 100/400  loss 3.1416  200 tokens/s  1:40:00 left");
    buf_reset(&b);
    l.peak = INT64_C(71234567890);
    train_log_line(&l, &row, 20, &b);
    assert_string_equal(b.s, "step 100/400  loss 3.1416  10000 tokens/s  2:00 left  71.2 GB");
    buf_reset(&b);
    train_log_line(&l, &row, 0.1, &b);
    assert_string_equal(b.s, "step 100/400  loss 3.1416");
    buf_release(&b);
}

/* ---- on the engine ---- */

static void on_the_engine(struct course *c)
{
    c->task.device = device;
    c->training.lr = 0.02;
    c->training.beta1 = 0.9;
    c->training.beta2 = 0.99;
    c->training.schedule = SCHEDULE_CONSTANT;
    c->training.balance_loss = 0.01;
    c->training.micro_tokens = 12;
    c->school.sources[1].weight = 1;
}

static void a_handful_of_texts_is_learnt_by_heart(void **state)
{
    (void)state;
    struct course c;
    course_init(&c);
    on_the_engine(&c);
    course_store(&c);
    c.training.batch = LESSONS;
    c.training.steps = 150;
    c.training.schedule = SCHEDULE_LINEAR;
    c.training.balance_loss = 0;
    struct train_result r = course_run(&c, engine, NULL);
    if (!(r.loss < 0.05))
        fail_msg("the loss is %g", r.loss);
    // The finished folder is what was trained: the program scores it as low.
    char *dir = xasprintf("%s/abc", c.root);
    struct weights *w = weights_open(dir, &err);
    struct model *m = w ? engine->open(w, device, DTYPE_F32, &err) : NULL;
    if (!m)
        fail_msg("%s", err.s);
    const struct lesson *lessons[LESSONS];
    struct scored scored = { 0 };
    struct pieces p;
    double nll = 0;
    for (int i = 0; i < LESSONS; i++)
        lessons[i] = &c.school.v[i];
    pieces_make(&p, lessons, LESSONS, &router_topk, &c.task.args, 1000);
    assert_int_equal(engine->score(m, &p.v[0].batch, &scored, &err), 0);
    for (int i = 0; i < LESSONS; i++)
        for (int j = lessons[i]->loss_from; j < lessons[i]->tokens; j++)
            nll += (double)scored.nll[scored.start[i] + j];
    if (!(nll / (double)p.counted < 0.05))
        fail_msg("the folder's loss is %g", nll / (double)p.counted);
    scored_release(&scored);
    pieces_release(&p);
    engine->close(m);
    weights_close(w);
    free(dir);
    course_release(&c);
}

/* Router by router: what is carried over differs. */
static void batchtopk_on_the_engine(struct course *c)
{
    on_the_engine(c);
    c->task.router = &router_batchtopk;
    c->task.args = (struct router_args){ .K = 2, .N = 8, .min = 1, .max = 4, .batch = 2 };
}

static void threshold_on_the_engine(struct course *c)
{
    on_the_engine(c);
    learn_cutoffs(c);
}

static void matryoshka_on_the_engine(struct course *c)
{
    on_the_engine(c);
    draw_K_by_layer(c);
}

static void online_on_the_engine(struct course *c)
{
    on_the_engine(c);
    train_online(c);
}

static void annealed_on_the_engine(struct course *c)
{
    online_on_the_engine(c);
    c->training.online_anneal = true;
}

/* Online takes other experts, so that the weights are others, and the rows tell what was used. */
static void a_training_online_uses_other_experts(void **state)
{
    (void)state;
    struct buf online = BUF_INIT, global = BUF_INIT;
    for (int share = 0; share < 2; share++) {
        struct course c;
        course_init(&c);
        online_on_the_engine(&c);
        c.training.online = share;
        course_store(&c);
        course_run(&c, engine, NULL);
        course_file(&c, weights_file, share ? &online : &global);
        struct rows *rows =
            store_query(c.store, &err, "SELECT min(experts = 2), count(*) FROM v_training_steps");
        assert_int_equal(rows_next(rows, &err), 1);
        assert_int_equal(rows_int(rows, 0), !share);
        assert_int_equal(rows_int(rows, 1), STEPS);
        rows_close(rows);
        course_release(&c);
    }
    assert_int_equal(online.len, global.len);
    assert_memory_not_equal(online.s, global.s, online.len);
    buf_release(&online);
    buf_release(&global);
}

static void a_stopped_run_on_the_engine_ends_in_the_same_bytes(void **state)
{
    (void)state;
    static void (*const changes[])(
        struct course *) = { on_the_engine,           batchtopk_on_the_engine,
                             threshold_on_the_engine, matryoshka_on_the_engine,
                             online_on_the_engine,    annealed_on_the_engine };
    struct buf want = BUF_INIT, got = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        undisturbed(changes[i], engine, &want);
        for (int at = 1; at < STEPS; at += 2) {
            struct course c;
            course_init(&c);
            changes[i](&c);
            c.task.threads = 1;
            asked = 0;
            stop_from = at;
            struct train_result r = course_run(&c, engine, stop_later);
            assert_int_equal(r.steps, at);
            c.task.threads = 4;
            course_run(&c, engine, NULL);
            course_file(&c, weights_file, &got);
            same_bytes(&want, &got);
            course_release(&c);
        }
    }
    buf_release(&want);
    buf_release(&got);
}

static void a_rate_that_is_far_too_large_ends_in_a_sentence(void **state)
{
    (void)state;
    struct course c;
    struct train_result r;
    course_init(&c);
    on_the_engine(&c);
    c.training.lr = 1e30;
    c.training.steps = 20;
    assert_int_equal(train_model(&c.task, engine, NULL, NULL, &r, &err), -1);
    if (!strstr(err.s, "so the training ends here without a model"))
        fail_msg("%s", err.s);
    assert_false(course_has(&c, ""));
    course_release(&c);
}

int main(void)
{
    open_engine_and_device();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rate_rises_and_falls_as_the_schedule_says),
        cmocka_unit_test(a_warmup_below_one_is_a_share_of_the_steps),
        cmocka_unit_test(K_is_drawn_by_step_or_by_layer),
        cmocka_unit_test(a_share_of_the_steps_is_online),
        cmocka_unit_test(annealing_rises_from_the_first_step_to_the_last),
        cmocka_unit_test(lessons_come_epoch_after_epoch),
        cmocka_unit_test(epochs_say_how_many_steps),
        cmocka_unit_test(pieces_keep_the_order_and_about_the_size),
        cmocka_unit_test(a_pool_of_several_sequences_is_never_cut),
        cmocka_unit_test(a_training_ends_in_a_folder_that_is_found_again),
        cmocka_unit_test(a_plain_loop_comes_to_the_same_weights),
        cmocka_unit_test(any_number_of_threads_gives_the_same_bytes),
        cmocka_unit_test(pieces_go_into_slots_in_their_order),
        cmocka_unit_test(a_run_killed_at_any_step_ends_in_the_same_bytes),
        cmocka_unit_test(a_run_killed_again_and_again_ends_in_the_same_bytes),
        cmocka_unit_test(a_damaged_state_costs_steps_and_no_more),
        cmocka_unit_test(an_interrupted_run_saves_and_goes_on),
        cmocka_unit_test(without_states_a_stopped_run_begins_anew),
        cmocka_unit_test(states_that_do_not_fit_are_refused_before_the_first_step),
        cmocka_unit_test(what_the_trainer_says_of_its_state_is_told),
        cmocka_unit_test(a_run_that_is_stopped_at_once_leaves_nothing),
        cmocka_unit_test(two_programs_train_it_once),
        cmocka_unit_test(weights_that_cannot_be_read_leave_the_last_state),
        cmocka_unit_test(a_loss_that_is_no_number_ends_the_training),
        cmocka_unit_test(a_gradient_that_is_no_number_ends_it_too),
        cmocka_unit_test(a_step_that_fails_leaves_the_state_before_it),
        cmocka_unit_test(a_failure_behind_a_step_saves_it),
        cmocka_unit_test(nothing_to_train_on_is_refused),
        cmocka_unit_test(a_folder_that_is_not_whole_is_not_trained_over),
        cmocka_unit_test(a_full_disk_leaves_the_last_state),
        cmocka_unit_test(an_interrupted_run_whose_state_cannot_be_saved_fails),
        cmocka_unit_test(steps_are_routed_online_where_that_was_drawn),
        cmocka_unit_test(pieces_are_routed_with_the_K_that_was_drawn),
        cmocka_unit_test(cutoffs_are_learnt_and_used_in_the_next_step),
        cmocka_unit_test(cutoffs_go_on_to_the_bit),
        cmocka_unit_test(each_step_is_a_row),
        cmocka_unit_test(rows_are_a_second_late_at_most),
        cmocka_unit_test(rows_are_complete_after_a_stop),
        cmocka_unit_test(the_state_is_never_ahead_of_the_rows),
        cmocka_unit_test(what_is_held_out_is_scored_by_source),
        cmocka_unit_test(without_held_out_texts_nothing_is_scored),
        cmocka_unit_test(the_line_says_step_loss_speed_and_time_left),
        cmocka_unit_test(a_handful_of_texts_is_learnt_by_heart),
        cmocka_unit_test(a_training_online_uses_other_experts),
        cmocka_unit_test(a_stopped_run_on_the_engine_ends_in_the_same_bytes),
        cmocka_unit_test(a_rate_that_is_far_too_large_ends_in_a_sentence),
    };
    return cmocka_run_group_tests_name("train", tests, NULL, NULL);
}
