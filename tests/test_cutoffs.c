/*
 * test_cutoffs.c: cutoffs.json, there and back and damaged, and the average that learns cutoffs
 * against its definition, summed up anew for each step.
 */
#include "cutoffs.h"
#include "fixture.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *dir;
static struct buf err = BUF_INIT;
static uint64_t seed = 7;

static int enter(void **state)
{
    (void)state;
    dir = fixture_dir();
    return 0;
}

static int leave(void **state)
{
    (void)state;
    fixture_remove(dir);
    buf_release(&err);
    return 0;
}

static float draw(void)
{
    return (float)(12 * fixture_random(&seed));
}

/* ---- the file ---- */

static void what_was_written_is_read_back_the_same(void **state)
{
    (void)state;
    enum { LAYERS = 3, EXPERTS = 50 };
    float v[LAYERS * EXPERTS] = { 0.0f,    -0.0f,    1e-45f, -1e-45f,          3e-39f,
                                  FLT_MAX, -FLT_MAX, 0.1f,   nextafterf(1, 2), 16777216.0f };
    for (int i = 10; i < LAYERS * EXPERTS; i++)
        v[i] = draw();
    struct cutoffs c = { .K = 8, .layers = LAYERS, .experts = EXPERTS, .v = v }, back;
    struct buf text = BUF_INIT;
    cutoffs_json(&c, &text);
    fixture_text(dir, "cutoffs.json", text.s);
    buf_release(&text);
    assert_int_equal(cutoffs_read(dir, LAYERS, EXPERTS, &back, &err), 0);
    assert_int_equal(back.K, 8);
    assert_int_equal(back.layers, LAYERS);
    assert_int_equal(back.experts, EXPERTS);
    assert_memory_equal(back.v, v, sizeof(v));
    cutoffs_release(&back);
    assert_null(back.v);
}

static void a_model_without_cutoffs_has_none(void **state)
{
    (void)state;
    char *empty = fixture_dir();
    struct cutoffs c = { .K = 5 };
    assert_int_equal(cutoffs_read(empty, 2, 4, &c, &err), 0);
    assert_null(c.v);
    cutoffs_release(&c);
    fixture_remove(empty);
}

static void a_file_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
    } cases[] = {
        { "{\"version\": 1, \"K\": 2, \"cutoffs\": [[1, 2, 3], [4, 5", "cutoffs.json:1: " },
        { "[]", "cutoffs.json:1: " },
        { "{\"version\": 1, \"K\": 2, \"cutoffs\": [[1, 2, NaN], [4, 5, 6]]}", "cutoffs.json:1: " },
        { "{\"version\": 1, \"K\": 2, \"cutoffs\": [[1, 2, 1e999], [4, 5, 6]]}",
          "cutoffs.json:1: " },
        { "{\"version\": 2, \"K\": 2, \"cutoffs\": [[1, 2, 3], [4, 5, 6]]}",
          "cutoffs.json: version is 2; this program reads version 1" },
        { "{\"K\": 2, \"cutoffs\": [[1, 2, 3], [4, 5, 6]]}", "cutoffs.json: version is missing" },
        { "{\"version\": 1, \"K\": 4, \"cutoffs\": [[1, 2, 3], [4, 5, 6]]}",
          "cutoffs.json: K is 4; a whole number from 1 to 3 is allowed" },
        { "{\"version\": 1, \"cutoffs\": [[1, 2, 3], [4, 5, 6]]}", "cutoffs.json: K is missing" },
        { "{\"version\": 1, \"K\": 2}", "cutoffs.json: cutoffs is missing" },
        { "{\"version\": 1, \"K\": 2, \"cutoffs\": [[1, 2, 3]]}",
          "cutoffs.json: cutoffs has 1 layers; the model has 2" },
        { "{\"version\": 1, \"K\": 2, \"cutoffs\": [[1, 2, 3], [4, 5]]}",
          "cutoffs.json: cutoffs of layer 1: a list of 3 numbers is needed, one an expert" },
        { "{\"version\": 1, \"K\": 2, \"cutoffs\": [[1, 2, 3], 4]}",
          "cutoffs.json: cutoffs of layer 1: a list of 3 numbers is needed, one an expert" },
        { "{\"version\": 1, \"K\": 2, \"cutoffs\": [[1, \"2\", 3], [4, 5, 6]]}",
          "cutoffs.json: the cutoff of layer 0, expert 1 is \"2\"; allowed is a number that "
          "float32 "
          "can hold" },
        { "{\"version\": 1, \"K\": 2, \"cutoffs\": [[1, 2, 3], [4, -3.5e38, 6]]}",
          "cutoffs.json: the cutoff of layer 1, expert 1 is -3.5e38; allowed is a number that "
          "float32 can hold" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct cutoffs c = { 0 };
        fixture_text(dir, "cutoffs.json", cases[i].text);
        if (cutoffs_read(dir, 2, 3, &c, &err) != -1)
            fail_msg("%s is taken", cases[i].text);
        assert_null(c.v);
        if (strncmp(err.s, dir, strlen(dir)) != 0 || !strstr(err.s, cases[i].want))
            fail_msg("%s\n  says    %s\n  and not %s", cases[i].text, err.s, cases[i].want);
    }
}

/* ---- learning ---- */

enum { LAYERS = 2, EXPERTS = 3, COUNT = LAYERS * EXPERTS, STEPS = 60 };
static const double decays[] = { 0.99, 0.5, 1, 1e-9 };

static void after_one_step_a_cutoff_is_that_steps_logit(void **state)
{
    (void)state;
    for (size_t d = 0; d < ARRAY_LEN(decays); d++) {
        struct cutoff_average a;
        float kth[COUNT] = { -7.25f, 1e-45f, 0.1f, -0.0f }, out[COUNT] = { 9 };
        kth[4] = draw();
        kth[5] = draw();
        cutoff_average_init(&a, LAYERS, EXPERTS, decays[d]);
        assert_false(cutoff_average_value(&a, out));
        assert_true(out[0] == 9);
        cutoff_average_step(&a); // of no token at all
        assert_false(cutoff_average_value(&a, out));
        cutoff_average_add(&a, kth, 1023);
        cutoff_average_step(&a);
        assert_true(cutoff_average_value(&a, out));
        for (int i = 0; i < COUNT; i++)
            assert_true(out[i] == kth[i]);
        cutoff_average_release(&a);
    }
}

/* Step i of n counts decay^(n - i): summed up from the definition after each step. */
static void a_cutoff_is_the_corrected_moving_average(void **state)
{
    (void)state;
    for (size_t d = 0; d < ARRAY_LEN(decays); d++) {
        struct cutoff_average a;
        float kth[STEPS][COUNT], out[COUNT];
        cutoff_average_init(&a, LAYERS, EXPERTS, decays[d]);
        for (int n = 0; n < STEPS; n++) {
            for (int i = 0; i < COUNT; i++)
                kth[n][i] = draw();
            cutoff_average_add(&a, kth[n], 10 + n);
            cutoff_average_step(&a);
            assert_true(cutoff_average_value(&a, out));
            for (int i = 0; i < COUNT; i++) {
                double sum = 0, weight = 0;
                for (int s = 0; s <= n; s++) {
                    sum += pow(decays[d], n - s) * (double)kth[s][i];
                    weight += pow(decays[d], n - s);
                }
                assert_true(fabs((double)out[i] - sum / weight) <= 1e-6 * (1 + fabs(sum / weight)));
            }
        }
        cutoff_average_release(&a);
    }
}

static void a_piece_counts_by_its_tokens(void **state)
{
    (void)state;
    struct cutoff_average a;
    const float first[COUNT] = { 1, -2, 8 }, second[COUNT] = { 5, 2, 0 };
    float out[COUNT];
    cutoff_average_init(&a, LAYERS, EXPERTS, 0.5);
    cutoff_average_add(&a, first, 30);
    cutoff_average_add(&a, second, 10);
    cutoff_average_step(&a);
    assert_true(cutoff_average_value(&a, out));
    assert_true(out[0] == 2 && out[1] == -1 && out[2] == 6);
    cutoff_average_step(&a); // nothing came: nothing changes
    assert_true(cutoff_average_value(&a, out));
    assert_true(out[0] == 2 && out[1] == -1 && out[2] == 6);
    cutoff_average_add(&a, first, 7); // counts 1, and the step before 0.5
    cutoff_average_step(&a);
    assert_true(cutoff_average_value(&a, out));
    assert_float_equal(out[0], (0.5 * 2 + 1) / 1.5, 1e-6);
    cutoff_average_release(&a);
}

static void an_average_goes_on_from_its_state_to_the_bit(void **state)
{
    (void)state;
    struct cutoff_average whole, resumed;
    float kth[COUNT], out[COUNT], again[COUNT];
    cutoff_average_init(&whole, LAYERS, EXPERTS, 0.97);
    cutoff_average_init(&resumed, LAYERS, EXPERTS, 0.97);
    assert_int_equal(whole.nstate, COUNT + 1);
    for (int n = 0; n < STEPS; n++) {
        for (int i = 0; i < COUNT; i++)
            kth[i] = draw();
        cutoff_average_add(&whole, kth, 100);
        cutoff_average_step(&whole);
        cutoff_average_add(&resumed, kth, 100);
        cutoff_average_step(&resumed);
        if (n == STEPS / 2) {
            double saved[COUNT + 1];
            memcpy(saved, resumed.state, sizeof(saved));
            cutoff_average_release(&resumed);
            cutoff_average_init(&resumed, LAYERS, EXPERTS, 0.97);
            memcpy(resumed.state, saved, sizeof(saved));
        }
    }
    assert_true(cutoff_average_value(&whole, out) && cutoff_average_value(&resumed, again));
    assert_memory_equal(out, again, sizeof(out));
    cutoff_average_release(&whole);
    cutoff_average_release(&resumed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_written_is_read_back_the_same),
        cmocka_unit_test(a_model_without_cutoffs_has_none),
        cmocka_unit_test(a_file_that_does_not_fit_is_refused),
        cmocka_unit_test(after_one_step_a_cutoff_is_that_steps_logit),
        cmocka_unit_test(a_cutoff_is_the_corrected_moving_average),
        cmocka_unit_test(a_piece_counts_by_its_tokens),
        cmocka_unit_test(an_average_goes_on_from_its_state_to_the_bit),
    };
    return cmocka_run_group_tests_name("cutoffs", tests, enter, leave);
}
