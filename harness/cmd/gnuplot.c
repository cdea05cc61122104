/*
 * gnuplot.c: see gnuplot.h.
 */
#include "cmd/gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

/* The line of gnuplot's words that is not blank nor an echo of the script. */
static char *complaint(char *words)
{
    char *best = NULL;
    for (char *line = strtok(words, "\n"); line; line = strtok(NULL, "\n"))
        if (strstr(line, "line ") || !best)
            best = line + strspn(line, " \t^");
    return best && *best ? best : "it says nothing";
}

/* A picture under way. */
struct drawing {
    char *script, *tmp, *path; /* the last two with their folder */
    bool svg;
    pid_t pid;
    int fd;           /* where gnuplot's words come from; -1: it has ended */
    struct buf words; /* all that it said */
    int status;       /* as waitpid() has it, once it has ended */
};

static void drawing_release(struct drawing *d)
{
    free(d->script);
    free(d->tmp);
    free(d->path);
    buf_release(&d->words);
}

/* gnuplot begins with `kind`, "svg" or "png", of a script, under another name. */
static int begin(struct drawing *d, const char *dir, const char *name, const char *kind,
                 struct buf *err)
{
    int fds[2];
    *d = (struct drawing){ .script = xasprintf("%s.gp", name),
                           .tmp = xasprintf("%s/%s.%s.tmp", dir, name, kind),
                           .path = xasprintf("%s/%s.%s", dir, name, kind),
                           .svg = strcmp(kind, "svg") == 0,
                           .words = BUF_INIT };
    if (pipe2(fds, O_CLOEXEC) != 0) {
        drawing_release(d);
        fail(err, "gnuplot could not be run: %s", strerror(errno));
        return -1;
    }
    char *preset = xasprintf("out='%s'; file='%s.%s.tmp'", kind, name, kind);
    d->fd = fds[0];
    d->pid = fork();
    if (d->pid == 0)
        become_gnuplot(dir, preset, d->script, fds[1]);
    close(fds[1]);
    free(preset);
    if (d->pid > 0)
        return 0;
    close(fds[0]);
    drawing_release(d);
    fail(err, "gnuplot could not be run: %s", strerror(errno));
    return -1;
}

/* Reads what the child says now, and where it says no more, waits for its end. */
static void hear(struct drawing *d)
{
    char chunk[4096];
    ssize_t n = read(d->fd, chunk, sizeof(chunk));
    if (n > 0)
        buf_add(&d->words, chunk, (size_t)n);
    if (n > 0 || (n < 0 && errno == EINTR))
        return;
    close(d->fd);
    d->fd = -1;
    while (waitpid(d->pid, &d->status, 0) < 0 && errno == EINTR)
        ;
}

/* Waits until one of v[0..n) says something or ends, and returns how many have ended since. */
static size_t hear_any(struct drawing *v, size_t n)
{
    struct pollfd *fds = xcalloc(n, sizeof(*fds));
    size_t ended = 0;
    for (size_t i = 0; i < n; i++) // poll() passes over -1
        fds[i] = (struct pollfd){ .fd = v[i].fd, .events = POLLIN };
    if (poll(fds, n, -1) > 0)
        for (size_t i = 0; i < n; i++)
            if (fds[i].revents) {
                hear(&v[i]);
                ended += v[i].fd < 0;
            }
    free(fds);
    return ended;
}

/* How it ended. */
static int judge(struct drawing *d, const char *dir, struct buf *err)
{
    if (WIFEXITED(d->status) && WEXITSTATUS(d->status) == NOT_THERE)
        return fail(err, "gnuplot is not installed; type: sudo apt-get install gnuplot-nox");
    if (!WIFEXITED(d->status) || WEXITSTATUS(d->status) != 0)
        return fail(err, "%s/%s: gnuplot failed: %s", dir, d->script, complaint(d->words.s));
    return 0;
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

/* The picture goes to its place, and its path to stdout where it is `told`; or away. */
static int settle(struct drawing *d, const char *dir, bool wanted, bool told, struct buf *err)
{
    int rc = judge(d, dir, err);
    if (rc == 0 && wanted)
        rc = finish(d->tmp, d->path, d->svg, err);
    if (rc || !wanted)
        unlink(d->tmp);
    else if (told)
        printf("%s\n", d->path);
    drawing_release(d);
    return rc;
}

/* As many at once as there are processors: a short one that has ended makes room for the next, whatever
 * the long ones before it do. Behind one that failed nothing is wanted, and nothing more is said. */
static int draw(const char *dir, char *const *names, size_t n, size_t nkinds, bool told,
                struct buf *err)
{
    static const char *const kinds[] = { "svg", "png" };
    const size_t pictures = n * nkinds;
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    const size_t most = processors > 1 ? (size_t)processors : 1;
    struct drawing *all = xcalloc(pictures + 1, sizeof(*all));
    struct buf unheard = BUF_INIT;
    size_t begun = 0, settled = 0, running = 0;
    int rc = 0;
    while (settled < begun || (rc == 0 && begun < pictures)) {
        if (rc == 0 && begun < pictures && running < most) {
            rc = begin(&all[begun], dir, names[begun / nkinds], kinds[begun % nkinds], err);
            begun += rc == 0;
            running += rc == 0;
            continue;
        }
        running -= hear_any(all + settled, begun - settled);
        for (; settled < begun && all[settled].fd < 0; settled++)
            if (settle(&all[settled], dir, rc == 0, told, rc ? &unheard : err))
                rc = -1;
    }
    buf_release(&unheard);
    free(all);
    return rc;
}

int gnuplot_draw(const char *dir, char *const *names, size_t n, struct buf *err)
{
    return draw(dir, names, n, 2, true, err);
}

int gnuplot_draw_svg(const char *dir, char *const *names, size_t n, struct buf *err)
{
    return draw(dir, names, n, 1, false, err);
}
