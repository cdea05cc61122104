/*
 * cmd_plot.c: `seqtopk plot`: the figures of a database, each as SVG and PNG, with its data as TSV and
 * the gnuplot script that draws it. The only file that runs gnuplot.
 *
 * Invariant: a picture appears under its name only when gnuplot has finished it.
 */
#include "cmd/cmd.h"
#include "cmd/figure.h"
#include "cmd/figure_training.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOT_THERE 127 /* the exit code of a child that found no gnuplot */

/* In the child: gnuplot in `dir`, what it says into `fd`. */
NORETURN static void become_gnuplot(const char *dir, const char *preset, const char *script, int fd)
{
    if (chdir(dir) != 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
        _exit(1);
    execlp("gnuplot", "gnuplot", "-e", preset, script, (char *)NULL);
    _exit(errno == ENOENT ? NOT_THERE : 1);
}

/* Reads all that the child says; the first line of it is the complaint. */
static void read_words(int fd, struct buf *words)
{
    char chunk[4096];
    ssize_t n;
    while ((n = read(fd, chunk, sizeof(chunk))) > 0 || (n < 0 && errno == EINTR))
        if (n > 0)
            buf_add(words, chunk, (size_t)n);
}

/* The line of gnuplot's words that is not blank nor an echo of the script. */
static char *complaint(char *words)
{
    char *best = NULL;
    for (char *line = strtok(words, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, "line ") || !best)
            best = line + strspn(line, " \t^");
    return best && *best ? best : "it says nothing";
}

static int gnuplot(const char *dir, const char *preset, const char *script, struct buf *err)
{
    int fds[2], status;
    struct buf words = BUF_INIT;
    if (pipe(fds) != 0)
        return fail(err, "gnuplot could not be run: %s", strerror(errno));
    pid_t pid = fork();
    if (pid < 0) {
        close(fds[0]);
        close(fds[1]);
        return fail(err, "gnuplot could not be run: %s", strerror(errno));
    }
    if (pid == 0)
        become_gnuplot(dir, preset, script, fds[1]);
    close(fds[1]);
    read_words(fds[0], &words);
    close(fds[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    int rc = 0;
    if (WIFEXITED(status) && WEXITSTATUS(status) == NOT_THERE)
        rc = fail(err, "gnuplot is not installed; type: sudo apt-get install gnuplot-nox");
    else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        rc = fail(err, "%s/%s: gnuplot failed: %s", dir, script, complaint(words.s));
    buf_release(&words);
    return rc;
}

/*
 * gnuplot's SVG names a font that not every reader has, and has hundreds of empty groups, a line
 * that opens and a line that closes.
 */
static void tidy_svg(const char *svg, struct buf *out)
{
    static const char font[] = "font-family=\"DejaVu Sans\"";
    for (const char *p = svg; *p;) {
        const char *end = strchr(p, '\n');
        end = end ? end + 1 : p + strlen(p);
        if (strncmp(p, "<g ", 3) == 0 && strncmp(end, "</g>\n", 5) == 0) {
            p = end + 5;
            continue;
        }
        for (const char *f; (f = strstr(p, font)) && f < end; p = f + strlen(font)) {
            buf_add(out, p, (size_t)(f - p));
            buf_adds(out, "font-family=\"DejaVu Sans, Verdana, sans-serif\"");
        }
        buf_add(out, p, (size_t)(end - p));
        p = end;
    }
}

/* Puts the finished picture in its place. */
static int finish(const char *tmp, const char *path, bool svg, struct buf *err)
{
    struct buf text = BUF_INIT, tidy = BUF_INIT;
    if (!svg)
        return rename(tmp, path) == 0 ? 0 : fail(err, "%s: %s", path, strerror(errno));
    int rc = read_file(tmp, (size_t)1 << 28, &text, err);
    if (rc == 0) {
        tidy_svg(text.s, &tidy);
        rc = write_file(path, tidy.s, tidy.len, err);
    }
    unlink(tmp);
    buf_release(&text);
    buf_release(&tidy);
    return rc;
}

/* Draws the script as `kind`, "svg" or "png", under another name first. */
static int draw(const char *dir, const char *name, const char *kind, struct buf *err)
{
    char *preset = xasprintf("out='%s'; file='%s.%s.tmp'", kind, name, kind);
    char *script = xasprintf("%s.gp", name);
    char *tmp = xasprintf("%s/%s.%s.tmp", dir, name, kind);
    char *path = xasprintf("%s/%s.%s", dir, name, kind);
    int rc = gnuplot(dir, preset, script, err);
    if (rc == 0)
        rc = finish(tmp, path, strcmp(kind, "svg") == 0, err);
    if (rc)
        unlink(tmp);
    else
        printf("%s\n", path);
    free(preset);
    free(script);
    free(tmp);
    free(path);
    return rc;
}

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

/* The four files of a figure; releases `data` and `script`. */
static int make_files(const char *dir, const char *name, struct buf *data, struct buf *script,
                      struct buf *err)
{
    int rc = save(dir, name, "tsv", data, err) || save(dir, name, "gp", script, err) ||
                     draw(dir, name, "svg", err) || draw(dir, name, "png", err)
                 ? -1
                 : 0;
    buf_release(data);
    buf_release(script);
    return rc;
}

static int make_figure(struct figure *f, const char *dir, struct buf *err)
{
    struct buf data = BUF_INIT, script = BUF_INIT;
    figure_data(f, &data);
    figure_script(f, &script);
    return make_files(dir, f->name, &data, &script, err);
}

static int make_curves(const struct curves *c, const char *prefix, const char *dir, struct buf *err)
{
    struct buf data = BUF_INIT, script = BUF_INIT;
    char *name = xasprintf("%s%straining", prefix, *prefix ? "-" : "");
    curves_data(c, &data);
    curves_script(c, name, &script);
    int rc = make_files(dir, name, &data, &script, err);
    free(name);
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
    if (built < 0 || (built == 1 && curves.len == 0) || make_dirs(dir, &err))
        die(1, "%s", err.s);
    for (size_t i = 0; i < figures.len; i++)
        if (make_figure(&figures.v[i], dir, &err))
            die(1, "%s", err.s);
    if (curves.len && make_curves(&curves, name, dir, &err))
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
