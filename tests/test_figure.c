/*
 * test_figure.c: which figures are made of a sweep, what is in them, and that no name from outside
 * can break out of a script.
 */
#include "cmd/figure.h"
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
    assert_int_equal(figures_build(s, &all, "", &figures, &err), -1);
    assert_non_null(strstr(err.s, "has no finished cell to draw"));
    must(store_cell_finish(s, c.id, CELL_DONE, NULL, 1, &err));
    results_release(&all);
    must(results_read(s, NULL, &all, &err));
    assert_int_equal(figures_build(s, &all, "", &figures, &err), -1);
    assert_non_null(strstr(err.s, "no finished cell has logged its tokens"));
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
        cmocka_unit_test(names_from_outside_stay_text),
        TEST(without_logged_tokens_there_is_nothing_to_draw),
    };
    return cmocka_run_group_tests_name("figure", tests, NULL, NULL);
}
