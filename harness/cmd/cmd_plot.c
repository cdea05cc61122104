/*
 * cmd_plot.c: `seqtopk plot`: the figures of a database, each as SVG and PNG, with its data as TSV and
 * the gnuplot script that draws it.
 */
#include "cmd/cmd.h"
#include "cmd/figure_chart.h"
#include "cmd/figure_training.h"
#include "cmd/gnuplot.h"
#include "cmd/table.h"

#include <stdio.h>
#include <string.h>

static int save(const char *dir, const char *name, const char *ending, const struct buf *text,
                struct buf *err)
{
    char *path = xasprintf("%s/%s.%s", dir, name, ending);
    int rc = write_file(path, text->s, text->len, err);
    if (rc == 0)
        printf("%s\n", path);
    free(path);
    return rc;
}

/* What a figure is drawn from; releases `data` and `script`. */
static int save_both(const char *dir, const char *name, struct buf *data, struct buf *script,
                     struct buf *err)
{
    int rc = save(dir, name, "tsv", data, err) || save(dir, name, "gp", script, err) ? -1 : 0;
    buf_release(data);
    buf_release(script);
    return rc;
}

static int save_figure(struct figure *f, const char *dir, struct buf *err)
{
    struct buf data = BUF_INIT, script = BUF_INIT;
    figure_data(f, &data);
    figure_script(f, &script);
    return save_both(dir, f->name, &data, &script, err);
}

static int save_curves(const struct curves *c, const char *name, const char *dir, struct buf *err)
{
    struct buf data = BUF_INIT, script = BUF_INIT;
    curves_data(c, &data);
    curves_script(c, name, &script);
    return save_both(dir, name, &data, &script, err);
}

static int save_chart(const struct chart *c, const char *dir, struct buf *err)
{
    struct buf data = BUF_INIT, script = BUF_INIT;
    chart_data(c, &data);
    chart_script(c, &script);
    return save_both(dir, c->name, &data, &script, err);
}

/* What one call draws. */
struct drawn {
    struct figures figures;
    struct charts charts;
    struct curves curves;
};

/* All of them, and their pictures. */
static int make_figures(struct drawn *all, const char *prefix, const char *dir, struct buf *err)
{
    struct figures *figures = &all->figures;
    const struct curves *curves = &all->curves;
    char *training = xasprintf("%s%straining", prefix, *prefix ? "-" : "");
    char **names = xcalloc(figures->len + all->charts.len + 1, sizeof(*names));
    size_t n = 0;
    int rc = make_dirs(dir, err);
    for (size_t i = 0; i < figures->len && rc == 0; i++) {
        rc = save_figure(&figures->v[i], dir, err);
        names[n++] = figures->v[i].name;
    }
    for (size_t i = 0; i < all->charts.len && rc == 0; i++) {
        rc = save_chart(&all->charts.v[i], dir, err);
        names[n++] = all->charts.v[i].name;
    }
    if (rc == 0 && curves->len) {
        rc = save_curves(curves, training, dir, err);
        names[n++] = training;
    }
    if (rc == 0)
        rc = gnuplot_draw(dir, names, n, err);
    free(names);
    free(training);
    return rc;
}

static void warn_of_unfinished(const struct results *all)
{
    size_t left_out = 0;
    for (size_t i = 0; i < all->len; i++)
        left_out += strcmp(all->v[i].status, "done") != 0;
    if (left_out)
        warning("%zu of %zu cells are not done and are left out", left_out, all->len);
}

/* What the words of the command line say. */
struct request {
    const char *where, *name, *dir;
    struct chart_field field; /* .x NULL: all figures but those along a field */
};

/* The trainings' figure is drawn whatever `where` says: that is a condition on cells. */
static void build_all(struct store *s, const struct results *all, const struct request *q,
                      struct drawn *out)
{
    struct buf err = BUF_INIT;
    if (curves_read(s, &out->curves, &err))
        die(1, "%s", err.s);
    if (all->len == 0 && (q->where || out->curves.len == 0))
        die(1, "%s: has no cell%s", store_path(s),
            q->where ? " for which the condition holds" : "");
    warn_of_unfinished(all);
    int built = all->len ? figures_build(s, all, q->name, &out->figures, &err) : 1;
    if (built < 0 || (built == 1 && out->curves.len == 0))
        die(1, "%s", err.s);
    if (all->len && charts_build(s, all, q->name, &out->charts, &err))
        die(1, "%s", err.s);
    buf_release(&err);
}

static void build_field(struct store *s, const struct results *all, const struct request *q,
                        struct drawn *out)
{
    struct buf err = BUF_INIT;
    if (all->len == 0)
        die(1, "%s: has no cell%s", store_path(s),
            q->where ? " for which the condition holds" : "");
    if (!q->field.against) // else the comparison says it
        warn_of_unfinished(all);
    if (charts_by_field(s, all, &q->field, q->name, &out->charts, &err))
        die(1, "%s", err.s);
    buf_release(&err);
}

static void plot(struct store *s, const struct request *q)
{
    struct buf err = BUF_INIT;
    struct results all = { 0 };
    struct drawn out = { 0 };
    if (results_read(s, q->where, &all, &err))
        die(1, "%s", err.s);
    table_order(&all);
    if (q->field.x)
        build_field(s, &all, q, &out);
    else
        build_all(s, &all, q, &out);
    if (make_figures(&out, q->name, q->dir, &err))
        die(1, "%s", err.s);
    figures_release(&out.figures);
    charts_release(&out.charts);
    curves_release(&out.curves);
    results_release(&all);
    buf_release(&err);
}

static int plot_run(int argc, char **argv)
{
    const char *metric = NULL;
    struct request q = { .dir = ".", .name = "" };
    const struct option_spec specs[] = {
        { .name = "--out", .value = &q.dir },
        { .name = "--where", .value = &q.where },
        { .name = "--name", .value = &q.name },
        { .name = "--x", .value = &q.field.x },
        { .name = "--y", .value = &metric },
        { .name = "--against", .value = &q.field.against },
        { .name = NULL },
    };
    struct buf err = BUF_INIT;
    cmd_options(&cmd_plot, argc, argv, specs, 1, 1);
    for (const char *p = q.name; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p))
            die(2, "plot: --name %s: only letters, digits, and . _ - are allowed", q.name);
    if (*q.name == '-' || *q.name == '.')
        die(2, "plot: --name %s: it may not begin with - or .", q.name);
    if (!*q.dir)
        die(2, "plot: --out: a folder's name is needed");
    if (!q.field.x && (metric || q.field.against))
        die(2, "plot: %s says what to draw along a field; --x FIELD names that",
            metric ? "--y" : "--against");
    q.field.metric = metric ? metric : "nll";
    struct store *s = store_open(argv[1], STORE_READ, &err);
    if (!s)
        die(1, "%s", err.s);
    plot(s, &q);
    store_close(s);
    buf_release(&err);
    return 0;
}

const struct cmd cmd_plot = {
    .name = "plot",
    .args =
        "DB [--out DIR] [--where SQL] [--name PREFIX] [--x FIELD [--y METRIC] [--against ROUTER]]",
    .help = "figures: experts against entropy, position and kind of token, loads, losses; or one "
            "metric along a field",
    .run = plot_run,
};
