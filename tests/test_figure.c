/*
 * test_figure.c: which figures are made of a sweep and of trainings, what is in them, and that no name
 * from outside can break out of a script.
 */
#include "cmd/figure.h"
#include "cmd/figure_training.h"
#include "fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];
static struct store *db;
static struct results all;
static struct figures figures;
static struct curves curves;
static struct buf err = BUF_INIT;

static int make_path(void **state)
{
    (void)state;
    strcpy(path, "/tmp/seqtopk-figure-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int clean_up(void **state)
{
    (void)state;
    figures_release(&figures);
    curves_release(&curves);
    results_release(&all);
    store_close(db);
    db = NULL;
    buf_release(&err);
    return unlink(path);
}

static void must(int rc)
{
    if (rc)
        fail_msg("%s", err.s);
}

/* The figures of a made-up sweep of `models` models. */
static void build(int models, const char *where)
{
    must(fake_sweep(path, models, 3, &err));
    db = store_open(path, STORE_READ, &err);
    assert_non_null(db);
    must(results_read(db, where, &all, &err));
    must(figures_build(db, &all, "", &figures, &err));
}

static const struct figure *find(const char *name)
{
    for (size_t i = 0; i < figures.len; i++)
        if (strcmp(figures.v[i].name, name) == 0)
            return &figures.v[i];
    fail_msg("there is no figure %s", name);
    return NULL;
}

static void a_few_routers_share_a_panel_for_each_k(void **state)
{
    (void)state;
    build(1, "router <> 'seqtopk' OR max = k + 2");
    const struct figure *f = find("entropy");
    assert_int_equal(figures.len, 1 + 3 + 1);
    assert_int_equal(f->npanels, 3);
    assert_int_equal(f->columns, 3);
    assert_true(f->panels[0].k == 8 && f->panels[2].k == 2);
    assert_int_equal(f->panels[0].nlines, 5);
    assert_string_equal(f->panels[0].lines[1].name, "seqtopk global [1, 10]");
    f = find("entropy_layers-k4");
    assert_int_equal(f->npanels, FAKE_LAYERS);
    assert_string_equal(f->panels[3].title, "layer 3");
    assert_int_equal(f->panels[3].lines[0].layer, 3);
}

static void many_routers_are_split_by_mode_with_the_same_to_compare_with(void **state)
{
    (void)state;
    build(1, NULL);
    const struct figure *f = find("entropy");
    assert_int_equal(f->npanels, 9);
    assert_int_equal(f->columns, 3);
    for (size_t p = 0; p < 9; p++) {
        assert_int_equal(f->panels[p].nlines, 6);
        assert_string_equal(f->panels[p].lines[0].name, "topk");
        assert_string_equal(f->panels[p].lines[1].cell->mode, p % 3 == 0   ? "global"
                                                              : p % 3 == 1 ? "online"
                                                                           : "strict");
    }
    assert_string_equal(f->panels[4].title, "seqtopk online");
    assert_string_equal(f->panels[4].lines[4].name, "[0, 64]");
    assert_int_equal(find("entropy_layers-k8")->npanels, 3 * FAKE_LAYERS);
}

static void models_stand_in_rows_or_in_files_of_their_own(void **state)
{
    (void)state;
    build(2, "router <> 'seqtopk' OR max = k + 2");
    const struct figure *f = find("entropy");
    assert_int_equal(f->npanels, 6);
    assert_string_equal(f->panels[3].title, "tiny_qwen2 \"moe\"");
    figures_release(&figures);
    results_release(&all);
    must(results_read(db, NULL, &all, &err));
    must(figures_build(db, &all, "p", &figures, &err));
    find("p-entropy-tiny-olmoe");
    find("p-histogram-tiny_qwen2--moe-");
    find("p-entropy_layers-tiny-olmoe-k2");
}

/* The row-th line of the text, with the table's head as 0. */
static const char *row_of(const char *text, size_t row)
{
    for (; row > 0 && text; row--) {
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return text && *text ? text : NULL;
}

/* Each line of the figure, of panel after panel, is drawn `times` times, from its own rows and all of
 * them. */
static void check_rows(struct figure *f, int times)
{
    struct buf data = BUF_INIT, script = BUF_INIT;
    figure_data(f, &data);
    figure_script(f, &script);
    const char *at = script.s;
    int number = 0;
    for (size_t p = 0; p < f->npanels; number += (int)f->panels[p++].nlines)
        for (int i = 0; i < times * (int)f->panels[p].nlines; i++) {
            size_t skip, last;
            int line = number + i % (int)f->panels[p].nlines;
            at = strstr(at, "data skip ");
            assert_non_null(at);
            assert_int_equal(sscanf(at, "data skip %zu every ::::%zu using ", &skip, &last), 2);
            assert_int_equal(atoi(row_of(data.s, skip)), line);
            assert_int_equal(atoi(row_of(data.s, skip + last)), line);
            const char *before = row_of(data.s, skip - 1),
                       *behind = row_of(data.s, skip + last + 1);
            assert_true(skip == 1 || atoi(before) == line - 1);
            assert_true(!behind || atoi(behind) == line + 1);
            at++;
        }
    assert_null(strstr(at, "data skip "));
    buf_release(&data);
    buf_release(&script);
}

static void scripts_find_the_rows_of_each_line(void **state)
{
    (void)state;
    build(1, NULL);
    for (size_t i = 0; i < figures.len; i++) // the interval and the line, where there is one
        check_rows(&figures.v[i], figures.v[i].kind == FIGURE_HISTOGRAM ? 1 : 2);
}

static void points_are_the_bins_and_the_histogram(void **state)
{
    (void)state;
    double tokens = 0, percent = 0;
    build(1, "k = 8 AND mode = 'online' AND max = 10");
    const struct line *l = &find("entropy")->panels[0].lines[0];
    assert_int_equal(l->n, SUMMARY_BINS);
    for (size_t i = 0; i < l->n; i++) {
        const struct point *p = &l->points[i];
        assert_true(p->x_lo <= p->x && p->x <= p->x_hi && p->y_lo < p->y && p->y < p->y_hi);
        tokens += (double)p->tokens;
    }
    assert_true(tokens == 3 * FAKE_TOKENS);
    l = &find("histogram")->panels[0].lines[0];
    for (size_t i = 0; i < l->n; i++)
        percent += l->points[i].y;
    assert_true(fabs(percent - 100) < 1e-9);
    // The router's correlation stands behind its name.
    assert_non_null(strstr(find("entropy")->panels[0].lines[0].note, " ["));
}

static void a_router_looks_the_same_wherever_it_is_drawn(void **state)
{
    (void)state;
    char seen[3][8] = { "" };
    build(1, NULL);
    for (size_t i = 0; i < figures.len; i++)
        for (size_t p = 0; p < figures.v[i].npanels; p++)
            for (size_t l = 0; l < figures.v[i].panels[p].nlines; l++) {
                const struct line *line = &figures.v[i].panels[p].lines[l];
                int above = line->cell->max - line->cell->k;
                if (!line->cell->mode || strcmp(line->cell->mode, "global") != 0 || above > 2)
                    continue;
                if (!*seen[above])
                    strcpy(seen[above], line->style.colour);
                assert_string_equal(line->style.colour, seen[above]);
            }
    assert_string_not_equal(seen[1], seen[2]);
}

static void labels_are_those_of_the_router(void **state)
{
    (void)state;
    static const struct {
        const char *router, *params, *label;
    } cases[] = {
        { "topk", "{}", "topk" },
        { "seqtopk", "{\"mode\":\"online\",\"min\":1,\"max\":10,\"segment\":0}",
          "seqtopk online [1, 10]" },
        { "seqtopk", "{\"mode\":\"strict\",\"min\":0,\"max\":64,\"segment\":256}",
          "seqtopk strict [0, 64] segment 256" },
        { "batchtopk", "{\"batch\":8,\"min\":1,\"max\":10}", "batchtopk [1, 10]" },
        { "batchtopk", "{\"batch\":32,\"min\":1,\"max\":10}", "batchtopk batch 32 [1, 10]" },
        { "topp", "{\"p\":0.4}", "topp p 0.4" },
        { "mine", "not JSON", "mine" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf label = BUF_INIT;
        result_label(cases[i].router, 8, cases[i].params, &label);
        assert_string_equal(label.s, cases[i].label);
        buf_release(&label);
    }
}

/* A figure of one point whose names are `evil`. */
static void draw_evil(char *evil, struct buf *data, struct buf *script)
{
    struct result cell = { .model = evil, .task = evil, .train = evil, .label = evil };
    struct point point = { .x = 1, .y = 8, .y_lo = NAN, .y_hi = NAN, .tokens = 1 };
    struct line line = { .cell = &cell,
                         .layer = -1,
                         .name = evil,
                         .note = evil,
                         .style = { .colour = "#000000", .dash = "solid", .point = 7 },
                         .points = &point,
                         .n = 1 };
    struct panel panel = { .title = evil, .k = 8, .lines = &line, .nlines = 1 };
    struct figure f = { .name = "f", .columns = 1, .panels = &panel, .npanels = 1 };
    figure_data(&f, data);
    figure_script(&f, script);
}

static void names_from_outside_stay_text(void **state)
{
    (void)state;
    struct buf data = BUF_INIT, script = BUF_INIT;
    char evil[] = "a_b'; system('x') #\n\"\t`ls`";
    draw_evil(evil, &data, &script);
    assert_non_null(strstr(script.s, "set label 'a_b''; system(''x'') # \" `ls`' at"));
    assert_null(strstr(script.s, "'; system('x')"));
    int fields = 0;
    const char *row = strchr(data.s, '\n') + 1;
    for (const char *p = row; *p && *p != '\n'; p++) {
        fields += *p == '\t';
        assert_true(*p != '"');
    }
    assert_int_equal(fields, 14);
    assert_string_equal(strchr(row, '\n'), "\n");
    buf_release(&data);
    buf_release(&script);
}

static void without_logged_tokens_there_is_nothing_to_draw(void **state)
{
    (void)state;
    enum cell_status was;
    struct store_cell c = fake_describe("m", 4, 2, &fake_routers[0]);
    struct store *s = store_open(path, STORE_WRITE, &err);
    must(store_cell_begin(s, &c, &was, &err));
    db = s;
    must(results_read(s, NULL, &all, &err));
    assert_int_equal(figures_build(s, &all, "", &figures, &err), 1);
    assert_non_null(strstr(err.s, "has no finished cell to draw"));
    must(store_cell_finish(s, c.id, CELL_DONE, NULL, 1, &err));
    results_release(&all);
    must(results_read(s, NULL, &all, &err));
    assert_int_equal(figures_build(s, &all, "", &figures, &err), 1);
    assert_non_null(strstr(err.s, "no finished cell has logged its tokens"));
}

/* ---- trainings ---- */

/*
 * A training of `steps` steps of 100 tokens whose loss falls from 3 to 1, a little up and down. Held
 * out, from step 0 on, twice as often as it is drawn: two sources, one of them with more tokens.
 */
static void add_training(const char *id, const char *model, const char *label, int steps, bool held)
{
    struct store_training t = { id, "tuned", model, label, "{}" };
    must(store_training_begin(db, &t, &err));
    for (int i = 1; i <= steps; i++) {
        struct store_train_step s = { .step = i, .tokens = 100 * i };
        s.loss = 3 - 2.0 * i / steps + (i % 2 ? 0.5 : -0.5);
        must(store_train_step_set(db, id, &s, &err));
    }
    for (int i = 0; held && i <= 2 * CURVE_MARKS && i <= steps; i++) {
        must(store_train_heldout_set(db, id, i, "a", 3 * 10, 10, &err));
        must(store_train_heldout_set(db, id, i, "b", i == 3 ? NAN : 1 * 30 + i, 30, &err));
    }
}

static void open_trainings(void)
{
    db = store_open(path, STORE_WRITE, &err);
    assert_non_null(db);
    must(store_begin(db, &err));
}

static void read_trainings(void)
{
    must(store_commit(db, &err));
    must(curves_read(db, &curves, &err));
}

static void trainings_of_one_model_share_a_panel(void **state)
{
    (void)state;
    open_trainings();
    add_training("t2", "m", "sft, 9 steps, topk, seed 2", 9, false);
    add_training("t1", "m", "sft, 9 steps, topk, seed 1", 9, true);
    add_training("t0", "a", "sft, 9 steps", 9, false);
    struct store_training new = { "t4", "z", "z", "pretrain, 9 steps", "{}" };
    must(store_training_begin(db, &new, &err));
    add_training("t4", "z", "not used", 9, false);
    struct store_training none = { "t3", "tuned", "m", "has no step yet", "{}" };
    must(store_training_begin(db, &none, &err));
    read_trainings();
    assert_int_equal(curves.len, 4);
    assert_int_equal(curves.npanels, 3);
    assert_string_equal(curves.panels[2].title, "z"); // its sweep has the same name
    assert_string_equal(curves.panels[0].title, "tuned, a");
    assert_string_equal(curves.v[0].name, "sft, 9 steps");
    assert_string_equal(curves.panels[1].title, "tuned, m: sft, 9 steps, topk");
    assert_string_equal(curves.v[1].id, "t1");
    assert_string_equal(curves.v[1].name, "seed 1");
    assert_string_equal(curves.v[2].name, "seed 2");
    assert_string_not_equal(curves.v[1].style.colour, curves.v[2].style.colour);
    assert_int_equal(curves.v[2].marks.len, 0);
}

/* "same" leaves the router to the cell, and the seed: then the label alone tells nothing apart. */
static void trainings_are_told_apart_by_router_and_seed(void **state)
{
    (void)state;
    static const char *const settings[] = {
        "\"router\":\"topk\",\"K\":2,\"params\":{},\"settings\":{\"seed\":10}",
        "\"router\":\"topk\",\"K\":2,\"params\":{},\"settings\":{\"seed\":9}",
        "\"router\":\"seqtopk\",\"K\":2,\"params\":{\"mode\":\"global\",\"min\":1,\"max\":4},"
        "\"settings\":{\"seed\":9}",
        "\"router\":\"topk\",\"K\":8,\"params\":{},"
        "\"settings\":{\"seed\":9,\"matryoshka\":{\"K\":[8,2]}}",
    };
    open_trainings();
    for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
        char id[] = { 't', (char)('0' + i), '\0' }, *object = xasprintf("{%s}", settings[i]);
        struct store_training t = { id, "tuned", "m", "sft (a, b) seed", object };
        must(store_training_begin(db, &t, &err));
        add_training(id, "m", "not used", 5, false);
        free(object);
    }
    add_training("u", "n", "sft router topk(min 1, max 2) seed 3", 5, false);
    read_trainings();
    assert_int_equal(curves.npanels, 2);
    assert_string_equal(curves.panels[0].title, "tuned, m: sft (a, b) seed");
    assert_string_equal(curves.v[0].name, "seqtopk global [1, 4], K 2, seed 9");
    assert_string_equal(curves.v[1].name, "topk, K 2, seed 9");
    assert_string_equal(curves.v[2].name, "topk, K 2, seed 10");
    assert_string_equal(curves.v[3].name, "topk, seed 9");
    assert_string_equal(curves.v[4].name, "sft router topk(min 1, max 2) seed 3");
}

static void trainings_of_one_label_are_told_apart_and_many_get_more_panels(void **state)
{
    (void)state;
    open_trainings();
    for (int i = 0; i < FIGURE_LINES + 2; i++) {
        char id[16];
        snprintf(id, sizeof(id), "c%dffeeddccbb", i);
        add_training(id, "m", i == 0 ? "sft, a" : "sft, b", 5, false);
    }
    read_trainings();
    assert_int_equal(curves.npanels, 2);
    assert_int_equal(curves.panels[0].n, FIGURE_LINES);
    assert_int_equal(curves.panels[1].n, 2);
    assert_string_equal(curves.v[0].name, "a");
    assert_string_equal(curves.v[1].name, "b, c1ffeedd");
    assert_string_equal(curves.v[8].name, "c8ffeedd");
}

static void losses_of_many_steps_are_smoothed(void **state)
{
    (void)state;
    open_trainings();
    add_training("long", "m", "long", 1000, false);
    add_training("short", "m", "short", 20, false);
    read_trainings();
    const struct curve *c = &curves.v[0];
    assert_int_equal(c->window, 41);
    assert_int_equal(c->line.len, CURVE_POINTS);
    assert_int_equal(c->line.v[0].step, 5);
    assert_int_equal(c->line.v[CURVE_POINTS - 1].step, 1000);
    // The noise is all but gone, the slope is kept; the first and the last means are of fewer steps.
    for (size_t i = 4; i + 4 < c->line.len; i++) {
        double want = 3 - 2.0 * (double)c->line.v[i].step / 1000;
        assert_true(fabs(c->line.v[i].loss - want) < 0.02);
    }
    assert_true(fabs(c->line.v[0].loss - (3 - 0.01 + 0.5 / 9)) < 1e-9);
    assert_true(fabs(c->line.v[CURVE_POINTS - 1].loss - (1 + 0.02 - 0.5 / 21)) < 1e-9);
    c = &curves.v[1];
    assert_int_equal(c->window, 1);
    assert_int_equal(c->line.len, 20);
    assert_true(fabs(c->line.v[0].loss - 3.4) < 1e-9);
    assert_true(c->line.v[19].tokens == 2000);
}

static void marks_are_the_held_out_mean_of_a_token(void **state)
{
    (void)state;
    open_trainings();
    add_training("t", "m", "l", 100, true);
    read_trainings();
    const struct loss_points *p = &curves.v[0].marks;
    // Of 33 steps one has no loss of a source; every second is drawn, the last one in any case.
    assert_int_equal(p->len, CURVE_MARKS);
    assert_int_equal(p->v[CURVE_MARKS - 1].step, 32);
    assert_int_equal(p->v[0].step, 1);
    assert_int_equal(p->v[1].step, 4);
    assert_true(fabs(p->v[1].loss - (30 + 30 + 4) / 40.0) < 1e-9);
    assert_true(p->v[1].tokens == 400);
}

static void steps_of_different_sizes_are_drawn_by_tokens(void **state)
{
    (void)state;
    struct buf script = BUF_INIT;
    open_trainings();
    add_training("t1", "m", "l1", 10, true);
    add_training("t2", "m", "l2", 10, false);
    read_trainings();
    assert_false(curves.panels[0].by_tokens);
    curves_script(&curves, "f", &script);
    assert_non_null(strstr(script.s, "set xrange [0:10.2]"));
    assert_non_null(strstr(script.s, "set label 'step' at"));
    struct store_train_step last = { .step = 11, .tokens = 2000, .loss = 1 };
    must(store_train_step_set(db, "t2", &last, &err));
    curves_release(&curves);
    must(curves_read(db, &curves, &err));
    assert_true(curves.panels[0].by_tokens);
    buf_reset(&script);
    curves_script(&curves, "f", &script);
    assert_non_null(strstr(script.s, "set xrange [0:0.00204]"));
    assert_non_null(strstr(script.s, "using ($1==1?$7/1e6:NaN):8 with lines"));
    assert_non_null(strstr(script.s, "set label 'tokens trained on (millions)' at"));
    buf_release(&script);
}

static void a_steep_fall_at_the_beginning_leaves_the_panel(void **state)
{
    (void)state;
    struct buf script = BUF_INIT;
    open_trainings();
    add_training("t", "m", "l", 200, false);
    struct store_train_step first = { .step = 1, .tokens = 100, .loss = 11 };
    must(store_train_step_set(db, "t", &first, &err));
    read_trainings();
    curves_script(&curves, "f", &script);
    double lo, hi;
    assert_int_equal(sscanf(strstr(script.s, "set yrange ["), "set yrange [%lf:%lf]", &lo, &hi), 2);
    assert_true(lo > 0.5 && lo < 1 && hi > 3 && hi < 4);
    buf_release(&script);
}

static void names_of_trainings_stay_text_and_whole(void **state)
{
    (void)state;
    struct buf data = BUF_INIT, script = BUF_INIT;
    open_trainings();
    add_training("t1", "m_1'; x #", "a_b'; system('x') #\n\"\t`ls`", 1, true);
    add_training("t2", "n",
                 "words and words and words and words and words, and no \xc3\xa9nd in sight of it",
                 1, false);
    read_trainings();
    curves_data(&curves, &data);
    curves_script(&curves, "f", &script);
    assert_non_null(strstr(script.s, "set label 'tuned, m_1''; x #' at"));
    assert_non_null(strstr(script.s, "set label 'a_b''; system(''x'') # \" `ls`' at"));
    assert_null(strstr(script.s, "'; system('x')"));
    assert_non_null(strstr(script.s, "'words and words and words and words and words,' at"));
    assert_non_null(strstr(script.s, "'and no \xc3\xa9nd in sight of it' at"));
    int fields = 1, rows = 0;
    for (const char *p = data.s; *p; p++) {
        assert_true(*p != '"');
        fields += *p == '\t';
        if (*p != '\n')
            continue;
        assert_int_equal(fields, 9);
        fields = 1;
        rows++;
    }
    assert_int_equal(rows, 1 + 1 + 2 + 1);
    buf_release(&data);
    buf_release(&script);
}

static void without_trainings_there_are_no_curves(void **state)
{
    (void)state;
    open_trainings();
    read_trainings();
    assert_int_equal(curves.len, 0);
    assert_int_equal(curves.npanels, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_path, clean_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_few_routers_share_a_panel_for_each_k),
        TEST(many_routers_are_split_by_mode_with_the_same_to_compare_with),
        TEST(models_stand_in_rows_or_in_files_of_their_own),
        TEST(points_are_the_bins_and_the_histogram),
        TEST(a_router_looks_the_same_wherever_it_is_drawn),
        cmocka_unit_test(labels_are_those_of_the_router),
        TEST(scripts_find_the_rows_of_each_line),
        cmocka_unit_test(names_from_outside_stay_text),
        TEST(without_logged_tokens_there_is_nothing_to_draw),
        TEST(trainings_of_one_model_share_a_panel),
        TEST(trainings_are_told_apart_by_router_and_seed),
        TEST(trainings_of_one_label_are_told_apart_and_many_get_more_panels),
        TEST(losses_of_many_steps_are_smoothed),
        TEST(marks_are_the_held_out_mean_of_a_token),
        TEST(steps_of_different_sizes_are_drawn_by_tokens),
        TEST(a_steep_fall_at_the_beginning_leaves_the_panel),
        TEST(names_of_trainings_stay_text_and_whole),
        TEST(without_trainings_there_are_no_curves),
    };
    return cmocka_run_group_tests_name("figure", tests, NULL, NULL);
}
