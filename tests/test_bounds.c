/*
 * test_bounds.c: a bound for each layer: what a recipe says of it, what identifies it, and what the
 * layers of a model then take, in scoring and in training. Decoding is test_decoder.c's.
 */
#include "device.h"
#include "fixture.h"
#include "recipe/cell.h"
#include "recipe/sweep_training.h"
#include "route.h"
#include "store/results.h"
#include "trainer.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *dir;
static struct buf err = BUF_INIT;
static const struct sweep_options silent;

/* Model a, of 2 layers and 8 experts. */
static int enter(void **state)
{
    (void)state;
    struct fixture_model m = fixture_model(FAMILY_OLMOE);
    dir = fixture_dir();
    char *a = xasprintf("%s/a", dir);
    fixture_model_write(a, &m);
    fixture_text(a, "tokenizer.json", "{}");
    fixture_text(dir, "t.jsonl", "{\"text\": \"one two\"}\n");
    setenv("SEQTOPK_MODELS", dir, 1);
    setenv("SEQTOPK_DATA", dir, 1);
    free(a);
    return 0;
}

static int leave(void **state)
{
    (void)state;
    fixture_remove(dir);
    buf_release(&err);
    return 0;
}

/* A sweep whose routers stand on line 2. */
static struct sweep *open_routers(const char *said)
{
    char *text = xasprintf("return sweep { name = 'x', models = 'a', K = 2,\nrouters = %s,\n"
                           "tasks = nll { file = 't.jsonl' } }\n",
                           said);
    fixture_text(dir, "r.lua", text);
    char *path = xasprintf("%s/r.lua", dir);
    struct sweep *s = sweep_open(path, &silent, &err);
    free(path);
    free(text);
    return s;
}

static struct sweep *must_open(const char *said)
{
    struct sweep *s = open_routers(said);
    if (!s)
        fail_msg("%s: %s", said, err.s);
    return s;
}

static void a_list_has_a_bound_for_each_layer(void **state)
{
    (void)state;
    struct sweep *s = must_open("seqtopk { mode = 'online', max = { K + 1, N } }");
    const struct router_args *a = &s->cells[0].args;
    assert_int_equal(a->nmaxes, 2);
    assert_int_equal(a->maxes[0], 3);
    assert_int_equal(a->maxes[1], 8);
    assert_int_equal(a->max, 8);
    sweep_free(s);
    s = must_open("batchtopk { max = { N, K } }");
    assert_int_equal(s->cells[0].args.maxes[1], 2);
    assert_int_equal(s->cells[0].args.max, 8);
    sweep_free(s);
}

/* Layers that all have the same bound are the plain number's cell. */
static void equal_bounds_are_one_number(void **state)
{
    (void)state;
    struct sweep *s =
        must_open("{ seqtopk { max = 4 }, seqtopk { max = { 4, K + 2 } }, seqtopk(),\n"
                  "seqtopk { max = { 4, 3 } }, seqtopk { max = { 3, 4 } } }");
    assert_int_equal(s->ncells, 3);
    assert_int_equal(s->cells[0].args.nmaxes, 0);
    assert_int_equal(s->cells[1].args.nmaxes, 2);
    assert_string_not_equal(s->cells[1].id, s->cells[2].id);
    sweep_free(s);
}

/* What a cell's id is the hash of: of one bound what it always was. */
static void an_identity_says_all_bounds(void **state)
{
    (void)state;
    static const char before[] = "router seqtopk\nK 2\nmode global\nmin 1\n",
                      behind[] = "segment 0\nprefill online\n";
    static const char *const cases[][2] = { { "seqtopk { max = 4 }", "max 4\n" },
                                            { "seqtopk { max = { 4, 4 } }", "max 4\n" },
                                            { "seqtopk { max = { 4, N } }", "max 4 8\n" } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf is = BUF_INIT;
        struct sweep *s = must_open(cases[i][0]);
        router_identity(s->cells[0].router, &s->cells[0].args, &is);
        char *want = xasprintf("%s%s%s", before, cases[i][1], behind);
        assert_string_equal(is.s, want);
        free(want);
        buf_release(&is);
        sweep_free(s);
    }
}

static void the_label_is_the_same_from_the_database(void **state)
{
    (void)state;
    struct buf label = BUF_INIT, json = BUF_INIT, read = BUF_INIT;
    struct sweep *s = must_open("seqtopk { max = { 3, N }, segment = 9 }");
    const struct cell *c = &s->cells[0];
    router_label(c->router, &c->args, &label);
    router_params_json(c->router, &c->args, &json);
    result_label(c->router->name, c->args.K, json.s, &read);
    assert_string_equal(label.s, "seqtopk global [1, 3/8] segment 9");
    assert_string_equal(read.s, label.s);
    sweep_free(s);
    buf_release(&label);
    buf_release(&json);
    buf_release(&read);
}

static void what_a_list_may_not_be_is_said(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "seqtopk { max = { 3, 3, 3 } }", "r.lua:2: seqtopk.max: a list of 3, but model a has 2 "
                                           "layers; allowed is a number for each "
                                           "of them, or one for all" },
        { "seqtopk { max = { 3, K + 7 } }", "r.lua:2: seqtopk.max: K + 7 is 9 with K = 2 and N = 8 "
                                            "(model a); allowed is K to N, here "
                                            "2 to 8" },
        { "batchtopk { max = { 1, 3 } }",
          "r.lua:2: batchtopk.max: 1 with K = 2 and N = 8 (model a); allowed is K to N" },
        { "seqtopk { max = { 3, K / 3 } }",
          "r.lua:2: seqtopk.max: layer 1: K / 3 is 2/3 with K = 2" },
        { "seqtopk { max = {} }",
          "r.lua:2: seqtopk.max: an empty list; at least one element is needed" },
        { "seqtopk { max = { 3, '4' } }",
          "seqtopk.max: the text \"4\"; allowed is a whole number or an expression in K and N" },
        { "seqtopk { min = { 1, 1 } }",
          "r.lua:2: seqtopk.min: a table; allowed is a whole number or an expression in K and N" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct sweep *s = open_routers(cases[i][0]);
        if (s || !strstr(err.s, cases[i][1]))
            fail_msg("%s\n  says    %s\n  and not %s", cases[i][0], s ? "nothing" : err.s,
                     cases[i][1]);
    }
}

/* ---- what the layers take ---- */

enum { T = 40 };

static struct weights *fixture_weights(void)
{
    char *a = xasprintf("%s/a", dir);
    struct weights *w = weights_open(a, &err);
    if (!w)
        fail_msg("%s", err.s);
    free(a);
    return w;
}

static void text(int32_t *ids)
{
    uint64_t at = 9;
    for (int i = 0; i < T; i++)
        ids[i] = (int32_t)(16 + 15.9 * fixture_random(&at));
}

/* Two sequences of T / 2 tokens, by a router: what each layer used of each token. used: [2, T] */
static void used_by(struct model *m, const struct router *r, const struct router_args *args,
                    uint16_t *used)
{
    int32_t ids[T];
    struct scored s = { 0 };
    const bool whole = r->scope(args) == SCOPE_BATCH;
    text(ids);
    const struct sequence sequences[] = { { ids, T / 2 }, { ids + T / 2, T / 2 } };
    const struct pool pools[] = { { r, *args, whole ? 2 : 1, T / 2 }, { r, *args, 1, T / 2 } };
    const struct batch b = { sequences, 2, pools, whole ? 1 : 2 };
    if (engine->score(m, &b, &s, &err))
        fail_msg("%s", err.s);
    memcpy(used, s.used, sizeof(*used) * 2 * T);
    scored_release(&s);
}

static int largest(const uint16_t *used)
{
    int most = 0;
    for (int t = 0; t < T; t++)
        most = used[t] > most ? used[t] : most;
    return most;
}

static void each_layer_keeps_its_own_bound(void **state)
{
    (void)state;
    static const struct {
        const struct router *router;
        int mode, prefill;
    } cases[] = { { &router_seqtopk, SEQTOPK_GLOBAL, 0 },
                  { &router_seqtopk, SEQTOPK_ONLINE, 0 },
                  { &router_seqtopk, SEQTOPK_STRICT, 0 },
                  { &router_seqtopk, SEQTOPK_ONLINE, 1 },
                  { &router_batchtopk, 0, 0 } };
    struct weights *w = fixture_weights();
    struct model *m = engine->open(w, device, DTYPE_F32, &err);
    assert_non_null(m);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint16_t plain[2 * T], wide[2 * T], by_layer[2 * T];
        struct router_args a = { .K = 2, .N = 8, .max = 2, .batch = 2 };
        a.mode = cases[i].mode;
        a.prefill = cases[i].prefill;
        used_by(m, cases[i].router, &a, plain);
        a.max = 8;
        used_by(m, cases[i].router, &a, wide);
        a.nmaxes = 2;
        a.maxes[0] = 2;
        a.maxes[1] = 8;
        used_by(m, cases[i].router, &a, by_layer);
        // What goes into the first layer is the same whatever the second one does.
        assert_memory_equal(by_layer, plain, T * sizeof(*plain));
        assert_true(largest(plain) == 2 && largest(wide) > 2 && largest(by_layer + T) > 2);
        a.maxes[0] = 8;
        a.maxes[1] = 2;
        used_by(m, cases[i].router, &a, by_layer);
        assert_memory_equal(by_layer, wide, T * sizeof(*wide));
        assert_int_equal(largest(by_layer + T), 2);
    }
    engine->close(m);
    weights_close(w);
}

static void training_keeps_them_too(void **state)
{
    (void)state;
    struct training how = { .batch = 1, .length = T, .beta1 = 0.9, .beta2 = 0.99 };
    struct weights *w = fixture_weights();
    struct trainer *t = engine->trainer->open(w, device, &how, 1, &err);
    assert_non_null(t);
    int32_t ids[T];
    const int loss_from = 1;
    text(ids);
    const struct sequence sequence = { ids, T };
    struct router_args a = {
        .K = 2, .N = 8, .min = 1, .max = 8, .batch = 1, .nmaxes = 2, .maxes = { 2, 8 }
    };
    const struct pool pool = { &router_seqtopk, a, 1, 1 };
    const struct router_args each[2] = { a, a }; // as matryoshka by layer has it
    for (int own = 0; own < 2; own++) {
        const struct piece p = { .batch = { &sequence, 1, &pool, 1 },
                                 .loss_from = &loss_from,
                                 .nll_weight = 1.0 / (T - 1),
                                 .aux_weight = 1,
                                 .args = own ? each : NULL };
        struct piece_result r = { 0 };
        if (engine->trainer->gradient(t, 0, &p, &r, &err))
            fail_msg("%s", err.s);
        assert_int_equal(largest(r.scored.used), 2);
        assert_true(largest(r.scored.used + T) > 2);
        piece_result_release(&r);
    }
    engine->trainer->close(t);
    weights_close(w);
}

int main(void)
{
    open_engine_and_device();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_list_has_a_bound_for_each_layer, enter, leave),
        cmocka_unit_test_setup_teardown(equal_bounds_are_one_number, enter, leave),
        cmocka_unit_test_setup_teardown(an_identity_says_all_bounds, enter, leave),
        cmocka_unit_test_setup_teardown(the_label_is_the_same_from_the_database, enter, leave),
        cmocka_unit_test_setup_teardown(what_a_list_may_not_be_is_said, enter, leave),
        cmocka_unit_test_setup_teardown(each_layer_keeps_its_own_bound, enter, leave),
        cmocka_unit_test_setup_teardown(training_keeps_them_too, enter, leave),
    };
    return cmocka_run_group_tests_name("bounds", tests, NULL, NULL);
}
