/*
 * test_train_prune.c: models that lose experts before they are trained: which ones, what is left of
 * the folder, and that a stopped training ends in the same bytes. All of it on the engine.
 */
#include "device.h"
#include "fixture.h"
#include "train/checkpoint.h"
#include "train/pieces.h"
#include "train/prune.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct buf err = BUF_INIT;

enum { LESSONS = 8, TOKENS = 12 };

/* A training without lessons held out, whose folder is named abc. */
struct course {
    int32_t ids[LESSONS][TOKENS];
    struct lesson v[LESSONS];
    struct lesson_source source;
    struct lessons lessons;
    struct training training;
    struct train_task task;
    char *root, *base;
};

static void lessons_init(struct course *c)
{
    uint64_t state = 4;
    for (int i = 0; i < LESSONS; i++) {
        for (int t = 0; t < TOKENS; t++)
            c->ids[i][t] = (int32_t)(16 + 15.9 * fixture_random(&state));
        c->v[i] = (struct lesson){ c->ids[i], TOKENS, 1, 0 };
    }
    c->source = (struct lesson_source){ "", 1, LESSONS, 0, LESSONS * TOKENS };
    c->lessons = (struct lessons){
        .v = c->v, .len = LESSONS, .sources = &c->source, .nsources = 1, .tokens = LESSONS * TOKENS
    };
}

/* Of a model that is there: no weight changes, and a quarter of its experts goes. */
static void course_init(struct course *c, const struct fixture_model *m)
{
    *c = (struct course){ .root = fixture_dir() };
    lessons_init(c);
    c->base = xasprintf("%s/base", c->root);
    fixture_model_write(c->base, m);
    fixture_text(c->base, "tokenizer.json", "{}");
    c->training = (struct training){ .steps = 1,
                                     .lr = 0,
                                     .batch = 4,
                                     .length = TOKENS,
                                     .micro_tokens = 40,
                                     .beta1 = 0.9,
                                     .beta2 = 0.99,
                                     .prune = 0.25,
                                     .prune_texts = 64,
                                     .seed = 3 };
    c->task = (struct train_task){ .id = "abc",
                                   .label = "sft made up",
                                   .about = "{\"steps\": 1}",
                                   .base = c->base,
                                   .root = c->root,
                                   .training = &c->training,
                                   .router = &router_topk,
                                   .args = { .K = 2, .N = 6 },
                                   .lessons = &c->lessons,
                                   .device = device,
                                   .threads = 2,
                                   .checkpoint_seconds = 1e9 };
}

static void course_release(struct course *c)
{
    free(c->base);
    fixture_remove(c->root);
}

static struct train_result course_run(struct course *c, bool (*stop)(void))
{
    struct train_result r;
    if (train_model(&c->task, engine, NULL, stop, &r, &err))
        fail_msg("%s", err.s);
    return r;
}

static bool course_has(const struct course *c, const char *name)
{
    char *path = xasprintf("%s/abc%s", c->root, name);
    bool is = access(path, F_OK) == 0;
    free(path);
    return is;
}

static void course_file(const struct course *c, const char *name, struct buf *out)
{
    char *path = xasprintf("%s/abc%s", c->root, name);
    buf_reset(out);
    if (read_file(path, 1 << 24, out, &err))
        fail_msg("%s", err.s);
    free(path);
}

static struct weights *course_weights(const struct course *c)
{
    char *path = xasprintf("%s/abc", c->root);
    struct weights *w = weights_open(path, &err);
    if (!w)
        fail_msg("%s", err.s);
    free(path);
    return w;
}

/* Row `to` of a router becomes row `from`, in the file itself. */
static void copy_row(const char *base, int layer, int from, int to)
{
    struct weights *w = weights_open(base, &err);
    if (!w)
        fail_msg("%s", err.s);
    const struct st_tensor *t = w->layer[layer].router;
    size_t row = (size_t)w->config.hidden * dtype_size(t->dtype);
    char *path = xasprintf("%s/model.safetensors", base);
    struct buf file = BUF_INIT;
    if (read_file(path, 1 << 24, &file, &err))
        fail_msg("%s", err.s);
    char *at = memmem(file.s, file.len, t->data, t->bytes);
    assert_non_null(at);
    memmove(at + (size_t)to * row, at + (size_t)from * row, row);
    weights_close(w);
    fixture_file(base, "model.safetensors", file.s, file.len);
    buf_release(&file);
    free(path);
}

/*
 * With K = 2 nobody takes the last of three experts whose scores are the same: 2 and 5 here, and in
 * the second layer 3 and 7.
 */
static void leave_two_idle(const char *base)
{
    static const int rows[2][4][2] = { { { 0, 1 }, { 0, 2 }, { 3, 4 }, { 3, 5 } },
                                       { { 1, 2 }, { 1, 3 }, { 5, 6 }, { 5, 7 } } };
    for (int l = 0; l < 2; l++)
        for (int i = 0; i < 4; i++)
            copy_row(base, l, rows[l][i][0], rows[l][i][1]);
}

/* The losses of all lessons under topk with the K of the model. [LESSONS * TOKENS] */
static void losses(const struct course *c, const char *dir, float *nll)
{
    struct weights *w = weights_open(dir, &err);
    struct model *m = w ? engine->open(w, device, DTYPE_F32, &err) : NULL;
    if (!m)
        fail_msg("%s: %s", dir, err.s);
    const struct router_args args = { .K = 2, .N = w->config.experts };
    const struct lesson *lessons[LESSONS];
    struct scored scored = { 0 };
    struct pieces p;
    for (int i = 0; i < LESSONS; i++)
        lessons[i] = &c->v[i];
    pieces_make(&p, lessons, LESSONS, &router_topk, &args, 1000);
    if (engine->score(m, &p.v[0].batch, &scored, &err))
        fail_msg("%s", err.s);
    memcpy(nll, scored.nll, LESSONS * TOKENS * sizeof(*nll));
    scored_release(&scored);
    pieces_release(&p);
    engine->close(m);
    weights_close(w);
}

/* ---- which ones ---- */

static void the_smallest_loads_go_and_of_equal_ones_the_larger_index(void **state)
{
    (void)state;
    static const int64_t load[] = { 5, 0, 7, 0, 5, 9 };
    int kept[6];
    prune_keep(load, 6, 5, kept);
    assert_memory_equal(kept, ((const int[]){ 0, 1, 2, 4, 5 }), 5 * sizeof(int));
    prune_keep(load, 6, 3, kept);
    assert_memory_equal(kept, ((const int[]){ 0, 2, 5 }), 3 * sizeof(int));
    prune_keep(load, 6, 1, kept);
    assert_int_equal(kept[0], 5);
    prune_keep(load, 6, 6, kept);
    assert_memory_equal(kept, ((const int[]){ 0, 1, 2, 3, 4, 5 }), 6 * sizeof(int));
}

static void a_share_is_rounded_down(void **state)
{
    (void)state;
    struct training t = { .prune = 0.25 };
    assert_int_equal(training_experts(&t, 8), 6);
    assert_int_equal(training_experts(&t, 7), 6);
    assert_int_equal(training_experts(&t, 3), 3);
    t.prune = 0.07;
    assert_int_equal(training_experts(&t, 100), 93);
    t.prune = 0;
    assert_int_equal(training_experts(&t, 8), 8);
}

/* ---- the folder ---- */

/* Weights of a token sum to one here; where they do not, those that stay weigh more. */
static void losing_experts_that_nobody_takes_changes_no_loss(void **state)
{
    (void)state;
    float before[LESSONS * TOKENS], after[LESSONS * TOKENS];
    for (int normalised = 0; normalised < 2; normalised++) {
        struct fixture_model m = fixture_model(FAMILY_QWEN3_MOE);
        struct course c;
        double most = 0;
        m.norm_topk_prob = normalised;
        course_init(&c, &m);
        leave_two_idle(c.base);
        losses(&c, c.base, before);
        course_run(&c, NULL);
        char *dir = xasprintf("%s/abc", c.root);
        losses(&c, dir, after);
        for (int i = 0; i < LESSONS * TOKENS; i++)
            if (i % TOKENS)
                most = fmax(most, fabs((double)before[i] - (double)after[i]));
        if (normalised ? most > 1e-5 : most < 1e-3)
            fail_msg("losses differ by %g", most);
        free(dir);
        course_release(&c);
    }
}

static void numbers_are(const json_t *list, int n, const int *want)
{
    assert_int_equal(json_array_size(list), n);
    for (int i = 0; i < n; i++)
        assert_int_equal(json_integer_value(json_array_get(list, (size_t)i)), want[i]);
}

static void the_folder_says_which_experts_stayed_and_why(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct course c;
    struct buf text = BUF_INIT;
    course_init(&c, &m);
    leave_two_idle(c.base);
    c.training.prune_texts = 5;
    course_run(&c, NULL);
    assert_false(course_has(&c, ".pruned"));
    assert_true(course_has(&c, "/tokenizer.json"));
    course_file(&c, "/training.json", &text);
    json_t *root = json_loads(text.s, 0, NULL), *made = json_object_get(root, "made_by");
    json_t *pruned = json_object_get(made, "pruned"), *kept = json_object_get(pruned, "kept");
    json_t *load = json_object_get(pruned, "load");
    assert_int_equal(json_integer_value(json_object_get(made, "steps")), 1);
    assert_int_equal(json_integer_value(json_object_get(pruned, "texts")), 5);
    assert_int_equal(json_integer_value(json_object_get(pruned, "tokens")), 5 * TOKENS);
    assert_int_equal(json_integer_value(json_object_get(pruned, "left")), 6);
    numbers_are(json_array_get(kept, 0), 6, (const int[]){ 0, 1, 3, 4, 6, 7 });
    numbers_are(json_array_get(kept, 1), 6, (const int[]){ 0, 1, 2, 4, 5, 6 });
    for (size_t l = 0; l < 2; l++) {
        json_int_t sum = 0;
        for (size_t e = 0; e < 8; e++)
            sum += json_integer_value(json_array_get(json_array_get(load, l), e));
        assert_int_equal(sum, 5 * TOKENS * 2);
    }
    assert_int_equal(json_integer_value(json_array_get(json_array_get(load, 0), 5)), 0);
    json_decref(root);
    buf_release(&text);
    course_release(&c);
}

static void same_tensor(const struct st_tensor *a, const struct st_tensor *b)
{
    assert_int_equal(a->bytes, b->bytes);
    assert_memory_equal(a->data, b->data, a->bytes);
}

/* Layer 1 keeps 0, 1, 2, 4, 5 and 6: the matrices and rows of the base, and all else as it was. */
static void is_the_base_without(const struct weights *base, const struct weights *w)
{
    static const int kept[] = { 0, 1, 2, 4, 5, 6 };
    const struct layer_weights *was = &base->layer[1], *is = &w->layer[1];
    const size_t row = (size_t)base->config.hidden * sizeof(float);
    for (int i = 0; i < 6; i++) {
        same_tensor(is->gate[i], was->gate[kept[i]]);
        same_tensor(is->up[i], was->up[kept[i]]);
        same_tensor(is->down[i], was->down[kept[i]]);
        assert_memory_equal((const char *)is->router->data + (size_t)i * row,
                            (const char *)was->router->data + (size_t)kept[i] * row, row);
    }
    same_tensor(is->q, was->q);
    same_tensor(is->ffn_norm, was->ffn_norm);
    same_tensor(w->embed, base->embed);
    same_tensor(w->norm, base->norm);
    same_tensor(w->head, base->head);
    if (was->shared_up)
        same_tensor(is->shared_up, was->shared_up);
}

static void a_model_of_any_family_stays_one(void **state)
{
    (void)state;
    for (int f = FAMILY_OLMOE; f <= FAMILY_QWEN3_MOE; f++)
        for (int fused = 0; fused < 2; fused++) {
            struct fixture_model m = fixture_model((enum family)f);
            struct course c;
            m.fused = fused;
            m.tied = fused;
            course_init(&c, &m);
            leave_two_idle(c.base);
            course_run(&c, NULL);
            struct weights *w = course_weights(&c), *base = weights_open(c.base, &err);
            assert_non_null(base);
            assert_int_equal(w->config.family, f);
            assert_int_equal(w->config.experts, 6);
            assert_int_equal(w->config.top_k, 2);
            is_the_base_without(base, w);
            weights_close(w);
            weights_close(base);
            course_release(&c);
        }
}

static void numbers_of_sixteen_bits_stay_what_they_are(void **state)
{
    (void)state;
    float before[LESSONS * TOKENS], after[LESSONS * TOKENS];
    static const enum dtype dtypes[] = { DTYPE_BF16, DTYPE_F16 };
    for (size_t i = 0; i < ARRAY_LEN(dtypes); i++) {
        struct fixture_model m = fixture_model(FAMILY_MIXTRAL);
        struct course c;
        double most = 0;
        m.dtype = dtypes[i];
        course_init(&c, &m);
        leave_two_idle(c.base);
        losses(&c, c.base, before);
        course_run(&c, NULL);
        char *dir = xasprintf("%s/abc", c.root);
        losses(&c, dir, after);
        for (int j = 0; j < LESSONS * TOKENS; j++)
            if (j % TOKENS)
                most = fmax(most, fabs((double)before[j] - (double)after[j]));
        if (!(most <= 1e-5))
            fail_msg("%s: losses differ by %g", dtype_name(dtypes[i]), most);
        free(dir);
        course_release(&c);
    }
}

/* ---- stopped ---- */

static int asked, stop_from;

static bool stop_later(void)
{
    return ++asked > stop_from;
}

static void trains(struct course *c)
{
    c->training.lr = 0.02;
    c->training.steps = 3;
    c->task.checkpoint_seconds = 0;
}

/* Passes over the lessons come first, then steps: each of these asks once. */
static void a_training_stopped_anywhere_ends_in_the_same_bytes(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct buf want = BUF_INIT, got = BUF_INIT;
    struct course c;
    int pruned = 0, before = 0;
    course_init(&c, &m);
    trains(&c);
    course_run(&c, NULL);
    course_file(&c, "/model.safetensors", &want);
    course_release(&c);
    for (stop_from = 0; stop_from < 6; stop_from++) {
        course_init(&c, &m);
        trains(&c);
        asked = 0;
        struct train_result r = course_run(&c, stop_later);
        assert_true(r.interrupted);
        assert_false(course_has(&c, ""));
        assert_false(course_has(&c, ".pruned.tmp"));
        pruned += course_has(&c, ".pruned");
        before += !course_has(&c, ".pruned");
        assert_true(course_has(&c, ".pruned") || r.steps == 0);
        r = course_run(&c, NULL);
        assert_int_equal(r.steps, 3);
        assert_false(course_has(&c, ".pruned"));
        course_file(&c, "/model.safetensors", &got);
        assert_int_equal(got.len, want.len);
        assert_memory_equal(got.s, want.s, want.len);
        course_release(&c);
    }
    assert_true(pruned >= 2 && before >= 2);
    buf_release(&want);
    buf_release(&got);
}

/* The experts that stay are not counted anew: their folder is what the training goes on from. */
static void a_folder_without_experts_is_found_again_or_refused(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct course c;
    struct train_result r;
    course_init(&c, &m);
    trains(&c);
    asked = 0;
    stop_from = 4;
    course_run(&c, stop_later);
    assert_true(course_has(&c, ".pruned"));
    char *dir = xasprintf("%s/abc.pruned", c.root), *weights = xasprintf("%s/base", c.root);
    fixture_text(dir, "tokenizer.json", "[]");
    assert_int_equal(train_model(&c.task, engine, NULL, NULL, &r, &err), -1);
    if (!strstr(err.s, "abc.pruned/tokenizer.json: its 2 bytes are not those that training.json "
                       "says") ||
        !strstr(err.s, "remove the folder"))
        fail_msg("%s", err.s);
    fixture_text(dir, "tokenizer.json", "{}");
    char *file = xasprintf("%s/model.safetensors", weights);
    unlink(file); // nobody looks there again
    assert_int_equal(course_run(&c, NULL).steps, 3);
    free(file);
    free(dir);
    free(weights);
    course_release(&c);
}

static void without_lessons_nothing_is_counted(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    struct course c;
    struct train_result r;
    course_init(&c, &m);
    c.source.lessons = 0;
    c.lessons.len = 0;
    assert_int_equal(train_model(&c.task, engine, NULL, NULL, &r, &err), -1);
    assert_non_null(strstr(err.s, "there is no text to train on"));
    assert_false(course_has(&c, ".pruned"));
    course_release(&c);
}

int main(void)
{
    open_engine_and_device();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_smallest_loads_go_and_of_equal_ones_the_larger_index),
        cmocka_unit_test(a_share_is_rounded_down),
        cmocka_unit_test(losing_experts_that_nobody_takes_changes_no_loss),
        cmocka_unit_test(the_folder_says_which_experts_stayed_and_why),
        cmocka_unit_test(a_model_of_any_family_stays_one),
        cmocka_unit_test(numbers_of_sixteen_bits_stay_what_they_are),
        cmocka_unit_test(a_training_stopped_anywhere_ends_in_the_same_bytes),
        cmocka_unit_test(a_folder_without_experts_is_found_again_or_refused),
        cmocka_unit_test(without_lessons_nothing_is_counted),
    };
    return cmocka_run_group_tests_name("train_prune", tests, NULL, NULL);
}
