/*
 * test_chart.c: what the figures by position, by kind of token, of loads and along a field have in them,
 * against sums made by hand, and that their scripts find each line's rows.
 */
#include "cmd/figure_chart_page.h"
#include "cmd/figure_field.h"
#include "cmd/figure_value.h"
#include "fake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];
static struct store *db;
static struct results all;
static struct charts charts;
static struct buf err = BUF_INIT;

static int make_path(void **state)
{
    (void)state;
    strcpy(path, "/tmp/seqtopk-chart-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int clean_up(void **state)
{
    (void)state;
    charts_release(&charts);
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

static void open_sweep(const char *where)
{
    must(fake_sweep(path, 1, 3, &err));
    db = store_open(path, STORE_READ, &err);
    assert_non_null(db);
    must(results_read(db, where, &all, &err));
}

static const struct chart *find(const char *name)
{
    for (size_t i = 0; i < charts.len; i++)
        if (strcmp(charts.v[i].name, name) == 0)
            return &charts.v[i];
    fail_msg("there is no chart %s", name);
    return NULL;
}

static const struct chart_line *line_of(const struct chart_panel *p, const char *name)
{
    for (size_t i = 0; i < p->nlines; i++)
        if (strcmp(p->lines[i].name, name) == 0)
            return &p->lines[i];
    fail_msg("there is no line %s", name);
    return NULL;
}

static void near(double a, double b)
{
    if (!(fabs(a - b) < 1e-6))
        fail_msg("%.9g is not %.9g", a, b);
}

/* ---- cells made by hand ---- */

enum { DOCS = 3 };

/* A finished cell of the router at K = 2. From position 16 on its loss is larger by `more` and by a
 * hundredth for each document before; entropies of experts are the expert's number. */
static void add_cell(const struct fake_router *r, const char *task, int64_t seed, double more)
{
    struct store_cell c = fake_describe("m", 8, 2, r);
    static struct fake_sample p;
    double entropies[FAKE_LAYERS * 8];
    enum cell_status was;
    char id[33];
    snprintf(id, sizeof(id), "%.8s%08x%08x%08x", c.id, (unsigned)seed, (unsigned)strlen(task),
             (unsigned)(unsigned char)task[strlen(task) - 2]);
    c.id = id;
    c.task = task;
    c.seed = seed;
    must(store_begin(db, &err));
    must(store_cell_begin(db, &c, &was, &err));
    for (int i = 0; i < 97; i++) {
        const char *text = i < 50 ? " the" : "7";
        must(store_token_text(db, c.id, i, text, strlen(text), &err));
    }
    for (int doc = 0; doc < DOCS; doc++) {
        double nll = 0;
        fake_fill(&p, &c, doc);
        for (int t = 1; t < FAKE_TOKENS; t++) {
            p.nll[t] += (float)(t < 16 || more == 0 ? 0 : more + 0.01 * doc);
            nll += (double)p.nll[t];
        }
        for (int e = 0; e < FAKE_LAYERS * 8; e++)
            entropies[e] = p.load[e] * (e % 8);
        struct store_sample sample = { .cell_id = c.id,
                                       .doc = doc,
                                       .prompt_tokens = 1,
                                       .output_tokens = FAKE_TOKENS - 1,
                                       .stop_reason = "end",
                                       .nll = nll,
                                       .nll_tokens = FAKE_TOKENS - 1,
                                       .score = NAN,
                                       .tokens = FAKE_TOKENS,
                                       .ids = p.ids,
                                       .token_nll = p.nll,
                                       .entropy = p.entropy,
                                       .experts = p.experts,
                                       .load_tokens = p.load,
                                       .load_weight = p.weight,
                                       .load_entropy = entropies };
        must(store_sample_add(db, &sample, &err));
    }
    must(cell_summarise(db, c.id, &err));
    must(store_cell_finish(db, c.id, CELL_DONE, NULL, 1, &err));
    must(store_commit(db, &err));
}

static const struct fake_router a_topk = { "topk", NULL, -1 };
static const struct fake_router a_global = { "seqtopk", "global", 2 };

static void open_pair(void)
{
    db = store_open(path, STORE_WRITE, &err);
    assert_non_null(db);
    add_cell(&a_topk, "nll:t.jsonl", 0, 0);
    add_cell(&a_global, "nll:t.jsonl", 0, 0.1);
    must(results_read(db, NULL, &all, &err));
}

/* ---- by position, kind and load ---- */

static void positions_are_paired_differences_to_topk(void **state)
{
    (void)state;
    open_pair();
    must(charts_build(db, &all, "", &charts, &err));
    const struct chart *c = find("positions");
    assert_int_equal(c->npanels, 3);
    assert_non_null(strstr(c->note, "paired difference"));
    const struct chart_line *topk = line_of(&c->panels[0], "topk");
    const struct chart_line *l = line_of(&c->panels[0], "seqtopk global [1, 4]");
    assert_int_equal(l->n, 3);
    assert_true(topk->n == 3 && topk->points[1].y == 0 && isnan(topk->points[1].lo));
    near(l->points[0].y, 0);
    near(l->points[2].y, 0.11);
    // 0.10, 0.11 and 0.12: their deviation over the root of three.
    assert_true(fabs(l->points[2].hi - 0.11 - Z95 * 0.01 / sqrt(3)) < 1e-5);
    assert_string_equal(l->points[2].at, "32-63");
    assert_true(l->points[1].x > 16 && l->points[1].x < 32);
}

static void budgets_along_the_position_end_at_one(void **state)
{
    (void)state;
    open_pair();
    must(charts_build(db, &all, "", &charts, &err));
    const struct chart *c = find("positions");
    const struct chart_line *l = line_of(&c->panels[1], "seqtopk global [1, 4]");
    near(l->points[2].y, 1); // mode global spends all of it and no more
    near(c->panels[1].y.mark, 1);
    l = line_of(&c->panels[2], "topk");
    assert_true(l->n == 3 && l->points[0].y == 0 && l->points[2].y == 0);
    assert_true(line_of(&c->panels[2], "seqtopk global [1, 4]")->points[0].y > 0.1);
}

static void without_topk_there_is_no_difference(void **state)
{
    (void)state;
    open_pair();
    results_release(&all);
    must(results_read(db, "router <> 'topk'", &all, &err));
    must(charts_build(db, &all, "", &charts, &err));
    const struct chart *c = find("positions");
    assert_int_equal(c->npanels, 2);
    assert_string_equal(c->panels[0].quantity, "used_share");
    assert_string_equal(c->note, "no difference of losses: topk was not run");
}

static void kinds_stand_in_the_order_of_their_entropy(void **state)
{
    (void)state;
    open_pair();
    must(charts_build(db, &all, "", &charts, &err));
    const struct chart_panel *p = &find("kinds")->panels[0];
    assert_int_equal(p->rows.len, 2);
    assert_string_equal(p->rows.v[0], "function"); // small ids are those of small entropies
    assert_string_equal(p->rows.v[1], "digit");
    assert_true(atof(p->notes.v[0]) < atof(p->notes.v[1]));
    const struct chart_line *l = line_of(p, "seqtopk global [1, 4]");
    assert_true(l->n == 2 && l->points[0].x == 0 && l->points[1].x == 1);
    assert_string_equal(l->points[1].at, "digit");
    assert_true(l->points[0].lo < l->points[0].y && l->points[0].y < l->points[0].hi);
    l = line_of(p, "topk");
    assert_true(l->points[0].y == 2 && isnan(l->points[0].lo));
}

static void loads_are_sorted_shares_of_an_even_one(void **state)
{
    (void)state;
    open_pair();
    must(charts_build(db, &all, "", &charts, &err));
    const struct chart *c = find("load");
    assert_int_equal(c->npanels, 2 * FAKE_LAYERS);
    for (int layer = 0; layer < FAKE_LAYERS; layer++) {
        const struct chart_line *l = line_of(&c->panels[layer], "topk");
        double sum = 0;
        for (size_t i = 0; i < l->n; i++) {
            sum += l->points[i].y;
            assert_true(l->points[i].x == (double)i + 1);
            assert_true(i == 0 || l->points[i].y <= l->points[i - 1].y);
        }
        near(sum, 8);
        const struct chart_panel *cloud = &c->panels[FAKE_LAYERS + layer];
        assert_int_equal(cloud->form, CHART_CLOUD);
        for (size_t i = 0; i < cloud->lines[0].n; i++) // as add_cell() made them
            near(cloud->lines[0].points[i].y, atof(cloud->lines[0].points[i].at));
    }
}

static void loads_without_entropies_have_one_row(void **state)
{
    (void)state;
    open_sweep("k = 8 AND (router = 'topk' OR max = 10)");
    must(charts_build(db, &all, "p", &charts, &err));
    assert_int_equal(find("p-load")->npanels, FAKE_LAYERS);
    assert_string_equal(find("p-load")->panels[3].title, "layer 3");
}

static void many_routers_have_charts_by_mode(void **state)
{
    (void)state;
    open_sweep(NULL);
    must(charts_build(db, &all, "", &charts, &err));
    const struct chart *c = find("positions-k4-seqtopk-strict");
    assert_int_equal(c->panels[1].nlines, 6);
    assert_string_equal(c->panels[1].lines[0].name, "topk");
    find("load-k2-seqtopk-global");
}

/* ---- along a field ---- */

static void along(const char *where, const char *x, const char *metric, const char *against)
{
    const struct chart_field f = { .x = x, .metric = metric, .against = against };
    open_sweep(where);
    must(charts_by_field(db, &all, &f, "", &charts, &err));
}

static void k_is_an_axis_of_doublings_with_a_line_a_router(void **state)
{
    (void)state;
    along("router = 'topk' OR max = k + 2", "k", "nll", NULL);
    const struct chart_panel *p = &find("nll_by_k")->panels[0];
    assert_true(charts.v[0].npanels == 1 && p->nlines == 5 && p->x.doubling);
    assert_true(p->x.nticks == 3 && p->x.ticks[0] == 2 && p->x.ticks[2] == 8);
    const struct chart_line *l = line_of(p, "seqtopk online [1, K+2]");
    assert_true(l->n == 3 && l->points[0].x == 2 && l->points[2].x == 8);
    // The losses of fake_fill() fall with K.
    assert_true(l->points[0].y > l->points[1].y && l->points[1].y > l->points[2].y);
    assert_true(l->points[0].lo < l->points[0].y && l->points[0].n == 3);
}

static void what_has_not_the_field_is_drawn_from_end_to_end(void **state)
{
    (void)state;
    along("k = 8 AND (router = 'topk' OR mode = 'online')", "max", "experts", NULL);
    const struct chart_panel *p = &find("experts_by_max")->panels[0];
    const struct chart_line *l = line_of(p, "topk");
    assert_true(l->flat && l->n == 2 && l->points[0].x == 9 && l->points[1].x == 64);
    assert_true(!p->x.doubling && p->x.nticks == 4);
    l = line_of(p, "seqtopk online min 1");
    assert_true(!l->flat && l->n == 3);
    assert_int_equal(line_of(p, "seqtopk online min 0")->n, 1);
}

static void against_a_reference_differences_are_drawn(void **state)
{
    (void)state;
    along("router = 'topk' OR max = k + 2", "k", "nll", "topk");
    const struct chart *c = find("nll_by_k");
    assert_int_equal(c->panels[0].nlines, 4);
    near(c->panels[0].y.mark, 0);
    assert_string_equal(c->panels[0].y.name, "loss less topk (nats)");
    for (size_t i = 0; i < 4; i++)
        near(c->panels[0].lines[i].points[1].y, 0); // of one K the made-up losses are the same
}

static void a_tasks_parameter_is_a_field_and_seeds_are_taken_together(void **state)
{
    (void)state;
    const struct chart_field f = { .x = "length", .metric = "nll" };
    static const char *const tasks[] = { "nll:t.jsonl(length=16)", "nll:t.jsonl(length=32)",
                                         "nll:t.jsonl" };
    db = store_open(path, STORE_WRITE, &err);
    assert_non_null(db);
    for (int seed = 0; seed < 3; seed++)
        for (int t = 0; t < 3; t++)
            add_cell(&a_global, tasks[t], seed, 0.1 * t + 0.01 * seed + 0.001);
    must(results_read(db, NULL, &all, &err));
    must(charts_by_field(db, &all, &f, "", &charts, &err));
    const struct chart *c = find("nll_by_length");
    assert_true(c->npanels == 1 && c->panels[0].nlines == 1); // the whole texts are another task
    assert_non_null(strstr(c->note, "and seed"));
    const struct chart_line *l = &c->panels[0].lines[0];
    assert_true(l->n == 2 && l->points[0].x == 16 && l->points[1].x == 32);
    near(l->points[1].y - l->points[0].y, 0.1 * 44 / 59); // from position 16 on
    assert_true(l->points[0].lo < l->points[0].y && l->points[0].y < l->points[0].hi);
}

static void what_no_cell_has_is_refused_with_what_there_is(void **state)
{
    (void)state;
    struct chart_field f = { .x = "p", .metric = "nll" };
    open_sweep(NULL);
    assert_int_equal(charts_by_field(db, &all, &f, "", &charts, &err), -1);
    assert_string_equal(err.s, "plot: --x p: no finished cell has it; there are batch, k, max, "
                               "min, seed");
    buf_reset(&err);
    f = (struct chart_field){ .x = "k", .metric = "score" };
    assert_int_equal(charts_by_field(db, &all, &f, "", &charts, &err), -1);
    assert_non_null(
        strstr(err.s, "plot: --y score: no finished cell has it; there are dead_experts, "));
    buf_reset(&err);
    f = (struct chart_field){ .x = "seed", .metric = "nll" };
    assert_int_equal(charts_by_field(db, &all, &f, "", &charts, &err), -1);
    assert_non_null(strstr(err.s, "it is 0 in all cells"));
    buf_reset(&err);
    f = (struct chart_field){ .x = "k", .metric = "ppl", .against = "topk" };
    assert_int_equal(charts_by_field(db, &all, &f, "", &charts, &err), -1);
    assert_non_null(strstr(err.s, "--y ppl cannot stand with --against"));
    assert_int_equal(charts.len, 0);
}

static void names_are_told_without_the_field(void **state)
{
    (void)state;
    struct result r = { .router = "batchtopk", .k = 8, .min = 1, .max = 10 };
    char params[] = "{\"batch\":32,\"min\":1,\"max\":10}", task[] = "nll:a(b).jsonl(length=8,x=1)";
    r.params = params;
    r.task = task;
    static const struct {
        const char *name, *label, *task;
    } cases[] = {
        { "batch", "batchtopk [1, 10]", "nll:a(b).jsonl(length=8,x=1)" },
        { "max", "batchtopk batch 32 min 1", "nll:a(b).jsonl(length=8,x=1)" },
        { "min", "batchtopk batch 32 max 10", "nll:a(b).jsonl(length=8,x=1)" },
        { "length", "batchtopk batch 32 [1, 10]", "nll:a(b).jsonl(x=1)" },
        { "x", "batchtopk batch 32 [1, 10]", "nll:a(b).jsonl(length=8)" },
    };
    double v = 0;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char *label = label_without(&r, cases[i].name), *rest = task_without(task, cases[i].name);
        assert_string_equal(label, cases[i].label);
        assert_string_equal(rest, cases[i].task);
        assert_true(value_of(&r, cases[i].name, &v));
        free(label);
        free(rest);
    }
    near(v, 1);
    assert_false(value_of(&r, "mode", &v));
    assert_false(value_of(&r, "len", &v));
}

static void a_segment_of_0_is_a_level_line_of_its_own(void **state)
{
    (void)state;
    const struct chart_field f = { .x = "segment", .metric = "nll" };
    static const int segments[] = { 0, 16, 64 };
    size_t n = 0;
    open_sweep("k = 8 AND (router = 'topk' OR mode = 'online' AND min = 1)");
    for (size_t i = 0; i < all.len; i++) {
        struct result *r = &all.v[i];
        if (strcmp(r->router, "topk") == 0)
            continue;
        assert_true(n < ARRAY_LEN(segments));
        free(r->params);
        r->params =
            xasprintf("{\"mode\":\"online\",\"min\":1,\"max\":10,\"segment\":%d}", segments[n++]);
        r->max = 10;
    }
    must(charts_by_field(db, &all, &f, "", &charts, &err));
    const struct chart_panel *p = &find("nll_by_segment")->panels[0];
    assert_true(n == 3 && p->nlines == 3 && p->x.nticks == 2 && p->x.doubling);
    const struct chart_line *l = line_of(p, "seqtopk online [1, 10]");
    assert_true(!l->flat && l->n == 2 && l->points[0].x == 16 && l->points[1].x == 64);
    l = line_of(p, "seqtopk online [1, 10] without segment");
    assert_true(l->flat && l->n == 2 && l->points[0].x == 16 && l->style.point == 0);
    assert_true(line_of(p, "topk")->flat);
}

static void titles_say_what_differs_and_the_head_the_rest(void **state)
{
    (void)state;
    static const struct {
        const char *keys[2], *titles[2], *head;
    } cases[] = {
        { { "m\nnll:a.jsonl(length=8,x=1)\nnone\ncpu\nf32\n4",
            "m\nnll:a.jsonl(length=16,x=1)\nnone\ncpu\nf32\n2" },
          { "length=8, K = 4", "length=16, K = 2" },
          "m, nll:a.jsonl(x=1)" },
        { { "m\na(x=1,y=2)\nt\ncpu\nf32\n0", "n\nb(y=2)\nt\ncpu\nf32\n0" },
          { "m, a(x=1)", "n, b" },
          "y=2, t" },
        { { "m\na\nt\ncpu\nf32\n8", "m\na(y=2,z=3)\nu\ngpu\nf32\n8" },
          { "a, t, cpu", "y=2, z=3, u, gpu" },
          "m, a, K = 8" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct strings keys = { 0 };
        strings_add(&keys, cases[i].keys[0]);
        strings_add(&keys, cases[i].keys[1]);
        char *head = field_head(&keys);
        assert_string_equal(head, cases[i].head);
        for (size_t k = 0; k < 2; k++) {
            char *title = field_title(&keys, keys.v[k]);
            assert_string_equal(title, cases[i].titles[k]);
            free(title);
        }
        free(head);
        strings_release(&keys);
    }
}

/* ---- data and scripts ---- */

/* The row-th line of the text, with the table's head as 0; 0 where there is none. */
static int number_of(const char *text, size_t row)
{
    for (; row > 0 && text; row--) {
        text = strchr(text, '\n');
        text = text ? text + 1 : NULL;
    }
    return text && *text ? atoi(text) : -1;
}

static void check_rows(const struct chart *c)
{
    struct buf data = BUF_INIT, script = BUF_INIT;
    chart_data(c, &data);
    chart_script(c, &script);
    size_t drawn = 0, lines = 0, skip, more;
    for (size_t p = 0; p < c->npanels; p++)
        for (size_t l = 0; l < c->panels[p].nlines; l++)
            lines += c->panels[p].lines[l].n > 0;
    int before = -1;
    for (const char *at = script.s; (at = strstr(at, "data skip ")) != NULL; at++) {
        assert_int_equal(sscanf(at, "data skip %zu every ::::%zu using ", &skip, &more), 2);
        int number = number_of(data.s, skip);
        assert_true(number >= 0 && number_of(data.s, skip + more) == number);
        drawn += number != before;
        before = number;
        if (strstr(at, "errorbars") && strstr(at, "errorbars") < strstr(at, "\n"))
            continue; // of a line that is the same everywhere, the last point alone
        assert_true(skip == 1 || number_of(data.s, skip - 1) != number);
        assert_true(number_of(data.s, skip + more + 1) != number);
    }
    assert_int_equal(drawn, lines);
    assert_null(strstr(script.s, "nan"));
    assert_null(strstr(script.s, "inf"));
    buf_release(&data);
    buf_release(&script);
}

static void scripts_find_the_rows_of_each_line(void **state)
{
    (void)state;
    const struct chart_field f = { .x = "batch", .metric = "nll" };
    open_pair();
    must(charts_build(db, &all, "", &charts, &err));
    assert_int_equal(charts.len, 3);
    assert_int_equal(charts_by_field(db, &all, &f, "", &charts, &err), -1);
    for (size_t i = 0; i < charts.len; i++)
        check_rows(&charts.v[i]);
}

static void scripts_of_fields_find_their_rows_too(void **state)
{
    (void)state;
    along(NULL, "max", "experts", NULL);
    assert_int_equal(charts.len, 3); // eight lines are too many for a panel
    for (size_t i = 0; i < charts.len; i++) {
        assert_int_equal(charts.v[i].npanels, 3);
        check_rows(&charts.v[i]);
    }
    find("experts_by_max-seqtopk-online");
}

static void names_from_outside_stay_text(void **state)
{
    (void)state;
    char evil[] = "a_b'; system('x') #\n\"\t`ls`";
    struct result cell = { .model = evil, .task = evil, .train = evil, .label = evil };
    struct buf data = BUF_INIT, script = BUF_INIT;
    const struct style style = { .colour = "#000000", .dash = "solid", .point = 7 };
    struct chart *c = charts_add(&charts, "", evil, NULL, 0);
    struct chart_panel *p = chart_panel_add(c, xstrdup(evil), evil, CHART_LINES);
    p->x.name = p->y.name = evil;
    c->note = xstrdup(evil);
    chart_point_add(chart_line_add(p, &cell, xstrdup(evil), style), 1, 2);
    assert_string_equal(c->name, "a_b---system--x--------ls-");
    chart_data(c, &data);
    chart_script(c, &script);
    assert_non_null(strstr(script.s, "set label 'a_b''; system(''x'') # \" `ls`' at"));
    assert_null(strstr(script.s, "'; system('x')"));
    int fields = 0;
    for (const char *q = strchr(data.s, '\n') + 1; *q; q++)
        fields += *q == '\t';
    assert_int_equal(fields, 14);
    assert_null(strchr(data.s, '"'));
    buf_release(&data);
    buf_release(&script);
}

/* A letter of a title is a ninth wider than one of a legend. */
static void titles_and_heads_stay_within_their_width(void **state)
{
    (void)state;
    struct result cell = { .model = "m", .task = "t", .train = "none", .label = "l" };
    const struct style style = { .colour = "#123456", .dash = "solid", .point = 5 };
    struct chart *c = charts_add(&charts, "", "c", NULL, 0);
    char many[300] = "";
    for (int i = 0; i < 20; i++)
        strcat(many, "ABC ABCDEFGH, ");
    c->columns = 3;
    for (int i = 0; i < 3; i++) {
        struct chart_panel *p = chart_panel_add(c, xstrdup("one"), "q", CHART_LINES);
        p->y.name = p->x.name = "axis";
        chart_point_add(chart_line_add(p, &cell, xstrdup("l"), style), 1, 2);
    }
    struct page before = page_of(c), after;
    free(c->panels[1].title);
    c->panels[1].title = xstrdup(many);
    c->head = xstrdup(many);
    after = page_of(c);
    struct buf script = BUF_INIT;
    chart_script(c, &script);
    int pieces = 0, letters, longest = 0;
    for (const char *at = script.s; (at = strstr(at, "set label 'ABC")); at++) {
        letters = (int)strcspn(at + 11, "'");
        longest = letters > longest ? letters : longest;
        pieces++;
    }
    const double letter = 4.6 * 10 / 9;
    assert_true(longest > 0 && longest * letter <= after.size.width);
    assert_true((int)page_title_letters(&after) * letter <= after.panel_w);
    int title = draw_wrapped(NULL, NULL, 0, 0, many, page_title_letters(&after), NORMAL, "");
    assert_true(title > 5 && after.head > 1 && pieces == title + after.head);
    assert_int_equal(after.top[0] - before.top[0], ENTRY * (title - 1 + after.head) + 4);
    buf_release(&script);
    page_release(&before);
    page_release(&after);
}

static void lines_that_look_alike_are_told_apart(void **state)
{
    (void)state;
    struct result cell = { .model = "m", .task = "t", .train = "none", .label = "l" };
    const struct style style = { .colour = "#123456", .dash = "solid", .point = 5 };
    struct chart *c = charts_add(&charts, "", "c", NULL, 0);
    for (int i = 0; i < 2; i++) {
        struct chart_panel *p = chart_panel_add(c, xstrdup(""), "q", CHART_LINES);
        chart_point_add(chart_line_add(p, &cell, xstrdup("a"), style), 1, 2);
        chart_point_add(chart_line_add(p, &cell, xstrdup("b"), style), 1, 2);
    }
    charts_settle(&charts);
    c = &charts.v[0];
    assert_int_equal(c->panels[0].lines[0].style.point, 5);
    assert_int_equal(c->panels[0].lines[1].style.point, 4);
    assert_int_equal(c->panels[1].lines[1].style.point, 4);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_path, clean_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(positions_are_paired_differences_to_topk),
        TEST(budgets_along_the_position_end_at_one),
        TEST(without_topk_there_is_no_difference),
        TEST(kinds_stand_in_the_order_of_their_entropy),
        TEST(loads_are_sorted_shares_of_an_even_one),
        TEST(loads_without_entropies_have_one_row),
        TEST(many_routers_have_charts_by_mode),
        TEST(k_is_an_axis_of_doublings_with_a_line_a_router),
        TEST(what_has_not_the_field_is_drawn_from_end_to_end),
        TEST(against_a_reference_differences_are_drawn),
        TEST(a_tasks_parameter_is_a_field_and_seeds_are_taken_together),
        TEST(what_no_cell_has_is_refused_with_what_there_is),
        TEST(names_are_told_without_the_field),
        TEST(a_segment_of_0_is_a_level_line_of_its_own),
        TEST(titles_say_what_differs_and_the_head_the_rest),
        TEST(titles_and_heads_stay_within_their_width),
        TEST(scripts_find_the_rows_of_each_line),
        TEST(scripts_of_fields_find_their_rows_too),
        TEST(names_from_outside_stay_text),
        TEST(lines_that_look_alike_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
