/*
 * cmd_plot.c: `seqtopk plot`: the figures of a database, each as SVG and PNG, with its data as TSV and
 * the gnuplot script that draws it.
 */
#include "cmd/cmd.h"
#include "cmd/figure.h"
#include "cmd/figure_training.h"
#include "cmd/gnuplot.h"

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

/* All of them, and their pictures. */
static int make_figures(struct figures *figures, const struct curves *curves, const char *prefix,
                        const char *dir, struct buf *err)
{
    char *training = xasprintf("%s%straining", prefix, *prefix ? "-" : "");
    char **names = xcalloc(figures->len + 1, sizeof(*names));
    size_t n = 0;
    int rc = make_dirs(dir, err);
    for (size_t i = 0; i < figures->len && rc == 0; i++) {
        rc = save_figure(&figures->v[i], dir, err);
        names[n++] = figures->v[i].name;
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

/* The trainings' figure is drawn whatever `where` says: that is a condition on cells. */
static void plot(struct store *s, const char *where, const char *name, const char *dir)
{
    struct buf err = BUF_INIT;
    struct results all = { 0 };
    struct figures figures = { 0 };
    struct curves curves = { 0 };
    if (results_read(s, where, &all, &err) || curves_read(s, &curves, &err))
        die(1, "%s", err.s);
    if (all.len == 0 && (where || curves.len == 0))
        die(1, "%s: has no cell%s", store_path(s), where ? " for which the condition holds" : "");
    warn_of_unfinished(&all);
    int built = all.len ? figures_build(s, &all, name, &figures, &err) : 1;
    if (built < 0 || (built == 1 && curves.len == 0) ||
        make_figures(&figures, &curves, name, dir, &err))
        die(1, "%s", err.s);
    figures_release(&figures);
    curves_release(&curves);
    results_release(&all);
    buf_release(&err);
}

static int plot_run(int argc, char **argv)
{
    const char *dir = ".", *where = NULL, *name = "";
    const struct option_spec specs[] = {
        { .name = "--out", .value = &dir },
        { .name = "--where", .value = &where },
        { .name = "--name", .value = &name },
        { .name = NULL },
    };
    struct buf err = BUF_INIT;
    cmd_options(&cmd_plot, argc, argv, specs, 1, 1);
    for (const char *p = name; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p))
            die(2, "plot: --name %s: only letters, digits, and . _ - are allowed", name);
    if (*name == '-' || *name == '.')
        die(2, "plot: --name %s: it may not begin with - or .", name);
    if (!*dir)
        die(2, "plot: --out: a folder's name is needed");
    struct store *s = store_open(argv[1], STORE_READ, &err);
    if (!s)
        die(1, "%s", err.s);
    plot(s, where, name, dir);
    store_close(s);
    buf_release(&err);
    return 0;
}

const struct cmd cmd_plot = {
    .name = "plot",
    .args = "DB [--out DIR] [--where SQL] [--name PREFIX]",
    .help = "figures: experts against entropy, the same by layer, experts per token, losses",
    .run = plot_run,
};
