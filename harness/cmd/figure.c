/*
 * figure.c: results become figures: which cells stand together in which panel, and their points.
 */
#include "cmd/figure_group.h"

#include "stats.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct builder {
    struct store *store;
    const char *prefix;
    struct groups groups;
    struct figures *out;
    struct buf *err;
};

/* ---- points ---- */

static struct point *add_point(struct line *l)
{
    ARRAY_GROW(l->points, l->cap, l->n + 1);
    l->points[l->n] = (struct point){ 0 };
    return &l->points[l->n++];
}

static int read_bins(struct builder *b, struct line *l)
{
    char layer[16];
    int rc;
    snprintf(layer, sizeof(layer), "%d", l->layer);
    struct rows *r =
        store_query(b->store, b->err,
                    "SELECT entropy_mean, entropy_lo, entropy_hi, tokens, experts_mean,"
                    " experts_se FROM entropy_bin WHERE cell ="
                    " (SELECT n FROM cell WHERE id = ?) AND layer = ? ORDER BY bin",
                    l->cell->id, layer);
    if (!r)
        return -1;
    while ((rc = rows_next(r, b->err)) == 1) {
        struct point *p = add_point(l);
        double half = Z95 * rows_double(r, 5);
        p->x = rows_double(r, 0);
        p->x_lo = rows_double(r, 1);
        p->x_hi = rows_double(r, 2);
        p->tokens = rows_int(r, 3);
        p->y = rows_double(r, 4);
        p->y_lo = p->y - half;
        p->y_hi = p->y + half;
    }
    rows_close(r);
    return rc;
}

static int read_histogram(struct builder *b, struct line *l)
{
    int rc;
    double total = 0;
    struct rows *r = store_query(b->store, b->err,
                                 "SELECT experts, sum(tokens) FROM histogram WHERE cell ="
                                 " (SELECT n FROM cell WHERE id = ?) GROUP BY experts"
                                 " ORDER BY experts",
                                 l->cell->id);
    if (!r)
        return -1;
    while ((rc = rows_next(r, b->err)) == 1) {
        struct point *p = add_point(l);
        p->x = p->x_lo = p->x_hi = rows_double(r, 0);
        p->tokens = rows_int(r, 1);
        p->y_lo = p->y_hi = NAN;
        total += (double)p->tokens;
    }
    rows_close(r);
    for (size_t i = 0; i < l->n; i++)
        l->points[i].y = 100 * (double)l->points[i].tokens / total;
    return rc;
}

/* "0.81 [0.80, 0.82]", or a dash where there is no correlation. */
static void add_correlation(const struct result *r, int layer, struct buf *out)
{
    char name[40] = "spearman";
    double lo, hi;
    if (layer >= 0)
        snprintf(name, sizeof(name), "spearman_layer_%d", layer);
    const struct result_metric *m = result_metric(r, name);
    if (!m || isnan(m->value)) {
        buf_adds(out, "\xe2\x80\x93");
        return;
    }
    correlation_interval((struct estimate){ .value = m->value, .stderr_ = m->stderr_ }, &lo, &hi);
    buf_addf(out, "%.2f", m->value);
    if (!isnan(lo))
        buf_addf(out, " [%.2f, %.2f]", lo, hi);
}

static void line_release(struct line *l)
{
    free(l->name);
    free(l->note);
    free(l->points);
}

/* Puts the cell's line into the panel; `prefix` is what the panel's title says already. */
static int add_line(struct builder *b, enum figure_kind kind, const struct group *g,
                    const struct result *r, int layer, const char *prefix, struct panel *p)
{
    struct line l = { .cell = r, .layer = layer, .style = style_of(r, g->experts) };
    size_t len = strlen(prefix);
    const struct result_metric *mean = result_metric(r, "experts");
    struct buf note = BUF_INIT;
    int rc = kind == FIGURE_HISTOGRAM ? read_histogram(b, &l) : read_bins(b, &l);
    bool said = len && strncmp(r->label, prefix, len) == 0 && r->label[len] == ' ';
    l.name = xstrdup(r->label + (said ? len + 1 : 0));
    if (kind != FIGURE_HISTOGRAM)
        add_correlation(r, layer, &note);
    else if (mean)
        buf_addf(&note, "%.2f", mean->value);
    l.note = buf_detach(&note);
    // All tokens alike, as of topk: the line of K says it, and the spike would dwarf the others.
    if (rc || l.n == 0 || (kind == FIGURE_HISTOGRAM && l.n == 1)) {
        line_release(&l);
        return rc;
    }
    ARRAY_GROW(p->lines, p->cap, p->nlines + 1);
    p->lines[p->nlines++] = l;
    return 0;
}

/* ---- panels and figures ---- */

/* Appends "-text" with nothing in it that a file's name should not have. */
static void add_part(struct buf *name, const char *text)
{
    buf_addc(name, '-');
    for (; *text; text++)
        buf_addc(name, isalnum((unsigned char)*text) || strchr("._", *text) ? *text : '-');
}

static struct figure *add_figure(struct builder *b, enum figure_kind kind, const struct group *g,
                                 const char *part)
{
    static const char *const kinds[] = { "entropy", "entropy_layers", "histogram" };
    struct buf name = BUF_INIT;
    buf_addf(&name, "%s%s%s", b->prefix, *b->prefix ? "-" : "", kinds[kind]);
    if (g && *g->name)
        add_part(&name, g->name);
    if (*part)
        add_part(&name, part);
    // Two models' names may differ in what a file's name has not.
    for (size_t i = 0; i < b->out->len; i++)
        if (strcmp(b->out->v[i].name, name.s) == 0)
            buf_addf(&name, "-%zu", b->out->len);
    ARRAY_GROW(b->out->v, b->out->cap, b->out->len + 1);
    struct figure *f = &b->out->v[b->out->len++];
    *f = (struct figure){ .name = buf_detach(&name), .kind = kind, .columns = 1 };
    return f;
}

/* The panel of one K, one layer (-1: all) and one mode (NULL: all). */
static int add_panel(struct builder *b, struct figure *f, const struct group *g, int k, int layer,
                     const char *mode, char *title)
{
    ARRAY_GROW(f->panels, f->cap, f->npanels + 1);
    struct panel *p = &f->panels[f->npanels++];
    *p = (struct panel){ .k = k, .title = title };
    int rc = 0;
    for (size_t i = 0; i < g->n && rc == 0; i++) {
        const struct result *r = g->cells[i];
        char *its = group_mode(r);
        if (r->k == k && (!mode || group_is_reference(r) || strcmp(its, mode) == 0))
            rc = add_line(b, f->kind, g, r, layer, mode ? mode : "", p);
        free(its);
    }
    return rc;
}

static bool has_lines(const struct figure *f)
{
    size_t n = 0;
    for (size_t i = 0; i < f->npanels; i++)
        n += f->panels[i].nlines;
    return n > 0;
}

static void figure_release(struct figure *f)
{
    for (size_t i = 0; i < f->npanels; i++) {
        for (size_t l = 0; l < f->panels[i].nlines; l++)
            line_release(&f->panels[i].lines[l]);
        free(f->panels[i].lines);
        free(f->panels[i].title);
    }
    free(f->panels);
    free(f->name);
}

/* Takes the last figure away again where nothing was logged for it. */
static void drop_if_empty(struct figures *all)
{
    if (!has_lines(&all->v[all->len - 1]))
        figure_release(&all->v[--all->len]);
}

static int most_ks(const struct builder *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->groups.len; i++)
        n = b->groups.v[i].nks > n ? b->groups.v[i].nks : n;
    return (int)n;
}

/* One figure: a row a group, a column a K. */
static int build_together(struct builder *b, enum figure_kind kind)
{
    struct figure *f = add_figure(b, kind, NULL, "");
    int rc = 0;
    f->columns = most_ks(b);
    for (size_t i = 0; i < b->groups.len; i++)
        for (int c = 0; c < f->columns && rc == 0; c++) {
            const struct group *g = &b->groups.v[i];
            int k = c < (int)g->nks ? g->ks[c] : -1; // no cell has -1: an empty place
            rc = add_panel(b, f, g, k, -1, NULL, xstrdup(c == 0 ? g->name : ""));
        }
    drop_if_empty(b->out);
    return rc;
}

/* The modes that have panels of their own: a single NULL, all in one, where nothing is split. */
static size_t split_modes(const struct builder *b, const struct group *g, const char *const **modes)
{
    static const char *const all[] = { NULL };
    bool split = b->groups.split && g->nmodes > 0;
    *modes = split ? (const char *const *)g->modes : all;
    return split ? g->nmodes : 1;
}

/* A figure for one group: a panel for each K, or a row for each K and a column for each mode. */
static int build_apart(struct builder *b, enum figure_kind kind, const struct group *g)
{
    const char *const *modes;
    size_t nmodes = split_modes(b, g, &modes), across = modes[0] ? nmodes : g->nks;
    struct figure *f = add_figure(b, kind, g, "");
    int rc = 0;
    f->columns = across < FIGURE_COLUMNS ? (int)across : FIGURE_COLUMNS;
    for (size_t k = 0; k < g->nks; k++)
        for (size_t m = 0; m < nmodes && rc == 0; m++)
            rc = add_panel(b, f, g, g->ks[k], -1, modes[m], xstrdup(modes[m] ? modes[m] : ""));
    drop_if_empty(b->out);
    return rc;
}

static int build_by_k(struct builder *b, enum figure_kind kind)
{
    if (!b->groups.split && b->groups.len > 1 && b->groups.len <= 3 && most_ks(b) <= FIGURE_COLUMNS)
        return build_together(b, kind);
    for (size_t i = 0; i < b->groups.len; i++)
        if (build_apart(b, kind, &b->groups.v[i]))
            return -1;
    return 0;
}

/* The layers of one group and K; many layers and modes are too much for one page. */
static int build_layers_of(struct builder *b, const struct group *g, int k)
{
    const char *const *modes;
    size_t nmodes = split_modes(b, g, &modes);
    bool page_each = modes[0] && g->layers > FIGURE_COLUMNS;
    struct figure *f = NULL;
    int rc = 0;
    for (size_t m = 0; m < nmodes; m++) {
        const char *mode = modes[m];
        if (!f || page_each) {
            char *part = xasprintf("k%d%s%s", k, page_each ? "-" : "", page_each ? mode : "");
            f = add_figure(b, FIGURE_LAYERS, g, part);
            f->columns = g->layers < FIGURE_COLUMNS ? g->layers : FIGURE_COLUMNS;
            free(part);
        }
        for (int l = 0; l < g->layers && rc == 0; l++)
            rc = add_panel(b, f, g, k, l, mode,
                           xasprintf("%s%slayer %d", mode ? mode : "", mode ? ", " : "", l));
        if (page_each || m + 1 == nmodes)
            drop_if_empty(b->out);
    }
    return rc;
}

int figures_build(struct store *s, const struct results *all, const char *prefix,
                  struct figures *out, struct buf *err)
{
    struct builder b = { .store = s, .prefix = prefix, .out = out, .err = err };
    int rc = groups_make(s, all, &b.groups, err);
    if (rc == 0)
        rc = build_by_k(&b, FIGURE_ENTROPY);
    for (size_t i = 0; rc == 0 && i < b.groups.len; i++)
        for (size_t k = 0; rc == 0 && k < b.groups.v[i].nks; k++)
            rc = build_layers_of(&b, &b.groups.v[i], b.groups.v[i].ks[k]);
    if (rc == 0)
        rc = build_by_k(&b, FIGURE_HISTOGRAM);
    if (rc == 0 && out->len == 0) {
        fail(err, "%s: no finished cell has logged its tokens, so there is nothing to draw",
             store_path(s));
        rc = 1;
    }
    groups_release(&b.groups);
    return rc;
}

void figures_release(struct figures *all)
{
    for (size_t i = 0; i < all->len; i++)
        figure_release(&all->v[i]);
    free(all->v);
    *all = (struct figures){ 0 };
}
