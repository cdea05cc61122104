/*
 * report_figures.c: the figures of `seqtopk plot` as SVG inside of the report, each with a table of
 * its points for who cannot see it.
 *
 * Invariant: an SVG's ids carry its figure's number, so that two figures of a page do not share marks;
 * no text of the database reaches the SVG but through gnuplot, which escapes it.
 */
#include "cmd/gnuplot.h"
#include "cmd/report_figure.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What is drawn, and where gnuplot does it. */
struct pictures {
    struct figures figures;
    struct curves curves;
    const struct figure *shown[REPORT_FIGURES]; /* in the order of the page */
    size_t nshown;
    char *dir;    /* of our own, removed at the end */
    char **names; /* of the files; the last is the trainings' where there are any */
    size_t n;
};

/* Those that say most come first, and those that are too many are not drawn. */
static void choose_figures(struct pictures *p)
{
    static const enum figure_kind order[] = { FIGURE_ENTROPY, FIGURE_HISTOGRAM, FIGURE_LAYERS };
    for (size_t k = 0; k < ARRAY_LEN(order); k++)
        for (size_t i = 0; i < p->figures.len && p->nshown < REPORT_FIGURES; i++)
            if (p->figures.v[i].kind == order[k])
                p->shown[p->nshown++] = &p->figures.v[i];
}

/* ---- the folder ---- */

static int make_folder(struct pictures *p, struct buf *err)
{
    const char *tmp = getenv("TMPDIR");
    p->dir = xasprintf("%s/seqtopk-report-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (mkdtemp(p->dir))
        return 0;
    int rc = fail(err, "%s: %s", p->dir, strerror(errno));
    free(p->dir);
    p->dir = NULL;
    return rc;
}

static void remove_folder(struct pictures *p)
{
    DIR *d = p->dir ? opendir(p->dir) : NULL;
    for (struct dirent *e; d && (e = readdir(d)) != NULL;)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
    if (p->dir)
        rmdir(p->dir);
    free(p->dir);
}

static int save(const char *dir, const char *name, struct buf *data, struct buf *script,
                struct buf *err)
{
    char *tsv = xasprintf("%s/%s.tsv", dir, name), *gp = xasprintf("%s/%s.gp", dir, name);
    int rc = write_file(tsv, data->s, data->len, err) || write_file(gp, script->s, script->len, err)
                 ? -1
                 : 0;
    free(tsv);
    free(gp);
    buf_release(data);
    buf_release(script);
    return rc;
}

static bool is_shown(const struct pictures *p, const struct figure *f)
{
    for (size_t i = 0; i < p->nshown; i++)
        if (p->shown[i] == f)
            return true;
    return false;
}

/* All pictures, drawn. */
static int draw(struct pictures *p, struct buf *err)
{
    struct buf data = BUF_INIT, script = BUF_INIT;
    p->names = xcalloc(p->nshown + 2, sizeof(*p->names));
    if (make_folder(p, err))
        return -1;
    for (size_t i = 0; i < p->figures.len; i++) {
        if (!is_shown(p, &p->figures.v[i]))
            continue;
        p->names[p->n] = p->figures.v[i].name;
        figure_data(&p->figures.v[i], &data);
        figure_script(&p->figures.v[i], &script);
        if (save(p->dir, p->names[p->n++], &data, &script, err))
            return -1;
    }
    if (p->curves.len) {
        static char training[] = "training";
        p->names[p->n] = training;
        curves_data(&p->curves, &data);
        curves_script(&p->curves, training, &script);
        if (save(p->dir, p->names[p->n++], &data, &script, err))
            return -1;
    }
    return gnuplot_draw_svg(p->dir, p->names, p->n, err);
}

/* ---- SVG ---- */

/* Behind these stands an id: its own, or that of a mark which is used. */
static const char *const before_ids[] = { " id=\"", " id='", "href=\"#", "href='#", "url(#" };

/*
 * From <svg to its end, with the figure's number before each id, and without what only a file of its
 * own needs: the prologue, name spaces, gnuplot's title, groups of no use.
 */
static void add_svg(const char *svg, size_t number, const char *label, struct buf *out)
{
    const char *begin = strstr(svg, "<svg"), *view = begin ? strstr(begin, "viewBox=\"") : NULL;
    const char *body = view ? strchr(view, '>') : NULL;
    if (!body)
        BUG("gnuplot drew no SVG");
    // A little larger than its own size, in which it has letters of nine points.
    double wide = 0;
    if (sscanf(view, "viewBox=\"%*f %*f %lf", &wide) != 1)
        BUG("gnuplot drew an SVG without a size");
    buf_addf(out, "<svg role=img width=%.0f aria-label=\"%s\" %.*s\">", 1.15 * wide, label,
             (int)(strcspn(view + 9, "\"") + 9), view);
    body++;
    char shown[16];
    const char *desc = strstr(body, "</desc>");
    for (const char *p = desc ? desc + 7 : body; *p;) {
        const char *title = strncmp(p, "<title>", 7) == 0 ? strstr(p, "</title>") : NULL;
        if (title) { // "gnuplot_plot_1"
            p = title + 8;
            continue;
        }
        size_t id = 0, len = 0;
        while (id < ARRAY_LEN(before_ids) &&
               strncmp(p, before_ids[id], len = strlen(before_ids[id])) != 0)
            id++;
        if (id < ARRAY_LEN(before_ids)) {
            buf_add(out, p, len);
            buf_addf(out, "f%zu-", number);
            p += len;
        } else if (*p == '\n' && (p[1] == '\n' || p[1] == '\t')) {
            p++;
        } else {
            len = show_char(p, strnlen(p, 4), shown); // gnuplot lets bytes through that are no text
            buf_add(out, shown[0] ? shown : p, shown[0] ? strlen(shown) : len);
            p += len;
        }
    }
}

/* ---- the part ---- */

static bool has_cell(const struct figure *f, const struct result *c)
{
    for (size_t p = 0; p < f->npanels; p++)
        for (size_t l = 0; l < f->panels[p].nlines; l++)
            if (f->panels[p].lines[l].cell == c)
                return true;
    return false;
}

/* Of what cells a figure is: the names of their families, and the seed where it is one of several. */
static void add_subject(const struct report *r, const struct figure *f, struct buf *out)
{
    enum { MOST = 4 };
    size_t named = 0;
    for (size_t i = 0; i < r->nfamilies; i++) {
        const struct family *family = &r->families[i];
        size_t n = 0, of_first = 0; /* cells of it, and those of the first one's seed */
        int64_t seed = 0;
        for (size_t c = 0; c < family->n; c++) {
            if (!has_cell(f, family->cells[c]))
                continue;
            seed = n++ ? seed : family->cells[c]->seed;
            of_first += family->cells[c]->seed == seed;
        }
        if (n == 0 || named++ >= MOST)
            continue;
        buf_adds(out, named > 1 ? "; " : "");
        html_text(family->name, out);
        if (n == of_first && family_has_seeds(family))
            buf_addf(out, ", seed %lld", (long long)seed);
    }
    if (named > MOST)
        buf_addf(out, "; and %zu more", named - MOST);
    buf_adds(out, named ? ". " : "");
}

struct shown_figures {
    size_t n, bytes;
    size_t room; /* rows that the tables may still have */
    bool drawn;  /* else tables only */
};

/* One figure: heading, drawing where there is one, its points. `f` NULL: the trainings. */
static void add_figure(struct report *r, const struct pictures *p, const struct figure *f,
                       struct shown_figures *s, struct buf *out)
{
    const char *title = f ? figure_title(f->kind) : "Losses of trainings";
    const char *words = f ? figure_words(f->kind)
                          : "Loss against step, smoothed; marks are the loss of held-out texts.";
    struct buf svg = BUF_INIT, err = BUF_INIT, label = BUF_INIT;
    size_t number = ++s->n;
    buf_addf(&label, "%s. The table below the figure has its points.", title);
    buf_addf(out, "<figure aria-labelledby=figure-%zu>\n<h3 id=figure-%zu>%s", number, number,
             title);
    if (f && f->npanels && f->kind == FIGURE_LAYERS)
        buf_addf(out, ", K = %d", f->panels[0].k);
    buf_adds(out, "</h3>\n<figcaption>");
    if (f)
        add_subject(r, f, out);
    buf_addf(out, "%s</figcaption>\n", words);
    if (s->drawn) {
        char *path = xasprintf("%s/%s.svg", p->dir, f ? f->name : p->names[p->n - 1]);
        if (read_file(path, (size_t)1 << 28, &svg, &err))
            die(1, "%s", err.s);
        if (s->bytes + svg.len > REPORT_FIGURES_BYTES) {
            report_left_out(out, "this drawing, for the size of the page; `seqtopk plot` makes it");
        } else {
            s->bytes += svg.len;
            buf_addf(out,
                     "<div class=\"scroll paper\" role=region tabindex=0 aria-label=\"Drawing: "
                     "%s\">",
                     title);
            add_svg(svg.s, number, label.s, out);
            buf_adds(out, "</div>\n");
        }
        free(path);
    }
    if (f)
        figure_points(r, f, &s->room, out);
    else
        curves_points(r, &p->curves, out);
    buf_adds(out, "</figure>\n");
    buf_release(&svg);
    buf_release(&err);
    buf_release(&label);
}

static void build(struct report *r, struct pictures *p)
{
    struct buf err = BUF_INIT;
    if (curves_read(r->store, &p->curves, &err) ||
        (r->all.len && figures_build(r->store, &r->all, "", &p->figures, &err) < 0))
        die(1, "%s", err.s);
    buf_release(&err);
}

void report_figures(struct report *r, struct buf *out)
{
    struct pictures p = { 0 };
    struct shown_figures s = { .room = REPORT_ALL_POINTS };
    struct buf err = BUF_INIT;
    build(r, &p);
    choose_figures(&p);
    if (p.figures.len || p.curves.len) {
        s.drawn = draw(&p, &err) == 0;
        report_open("figures", "Figures", out);
        if (!s.drawn) {
            warning("the page has tables in the place of figures: %s", err.s);
            report_warn(r, false, "figures", "There are no drawings, only their tables: %s.",
                        err.s);
            buf_adds(out, "<p>The drawings are missing: ");
            html_text(err.s, out);
            buf_adds(out, ".</p>\n");
        }
        for (size_t i = 0; i < p.nshown; i++)
            add_figure(r, &p, p.shown[i], &s, out);
        if (p.curves.len)
            add_figure(r, &p, NULL, &s, out);
        if (p.figures.len > p.nshown)
            report_left_out(out, "%zu figures; `seqtopk plot` draws all", p.figures.len - p.nshown);
        report_close(out);
    }
    remove_folder(&p);
    free(p.names);
    figures_release(&p.figures);
    curves_release(&p.curves);
    buf_release(&err);
}
