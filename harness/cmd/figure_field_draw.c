/*
 * figure_field_draw.c: the points of a metric along a field become panels; see figure_field.h.
 */
#include "cmd/figure_field.h"
#include "cmd/figure_group.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST_PANELS 8 /* of all models in one figure */

/* ---- words ---- */

static const char *name_of_x(const char *x)
{
    static const char *const names[][2] = {
        { "k", "K" },
        { "min", "least experts of a token (min)" },
        { "max", "most experts of a token (max)" },
        { "length", "length of the texts (tokens)" },
        { "batch", "sequences in a batch" },
        { "segment", "segment (tokens)" },
    };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i][0], x) == 0)
            return names[i][1];
    return x;
}

/* The metric with its unit; of a difference, short, since the reference's name stands behind it. */
static char *name_of_y(const struct field_maker *m)
{
    static const char *const names[][3] = {
        { "nll", "loss (nats per token)", "loss" },
        { "ppl", "perplexity", "perplexity" },
        { "entropy", "predictive entropy (nats)", "entropy" },
        { "experts", "experts per token", "experts" },
        { "experts_share", "experts used / K", "experts / K" },
        { "spearman", "Spearman's \xcf\x81", "\xcf\x81" },
        { "load_entropy", "evenness of the load", "evenness" },
    };
    const char *name = m->f->metric, *brief = name;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i][0], m->f->metric) == 0) {
            name = names[i][1];
            brief = names[i][2];
        }
    if (!m->f->against)
        return xstrdup(name);
    return xasprintf("%s less %s%s", brief, m->against.condition ? "the reference" : m->f->against,
                     strcmp(m->f->metric, "nll") == 0 ? " (nats)" : "");
}

static char *note_of(const struct field_maker *m)
{
    struct buf note = BUF_INIT;
    buf_adds(&note, m->f->against ? "95 % intervals of the paired difference, by document"
                                  : "95 % intervals by document");
    if (m->most_seeds >= PAIRED_SEEDS)
        buf_adds(&note, " and seed");
    else if (m->most_seeds == 2)
        buf_adds(&note, ", for these two seeds");
    return buf_detach(&note);
}

/* ---- panels ---- */

/* Are all values the smallest times a power of two? */
static bool doubles(const struct field_maker *m)
{
    for (size_t i = 0; i < m->nxs; i++) {
        double e = m->xs[0] > 0 ? log2(m->xs[i] / m->xs[0]) : NAN;
        if (!(fabs(e - round(e)) < 1e-9))
            return false;
    }
    return m->nxs > 2 || m->xs[1] > m->xs[0];
}

static int by_x(const void *a, const void *b)
{
    const struct chart_point *p = a, *q = b;
    return p->x < q->x ? -1 : p->x > q->x;
}

/* The N of the cell's model, to know a router without an upper bound; 0: not known. */
static int experts_of(const struct field_maker *m, const struct result *r, struct buf *err)
{
    struct rows *rows = store_query(m->store, err, "SELECT experts FROM cell WHERE id = ?", r->id);
    int rc = rows ? rows_next(rows, err) : -1;
    int n = rc == 1 ? (int)rows_int(rows, 0) : 0;
    rows_close(rows);
    return rc < 0 ? -1 : n;
}

static void add_point(struct chart_line *l, const struct field_dot *d, double x)
{
    struct chart_point *p = chart_point_add(l, x, d->y);
    p->lo = d->lo;
    p->hi = d->hi;
    p->n = d->n;
    if (!d->flat)
        snprintf(p->at, sizeof(p->at), "%g", x);
}

static int add_dot(const struct field_maker *m, const struct field_dot *d, struct chart_panel *p,
                   struct buf *err)
{
    struct chart_line *l = NULL;
    for (size_t i = 0; i < p->nlines; i++)
        if (strcmp(p->lines[i].name, d->line) == 0)
            l = &p->lines[i];
    if (!l) {
        int experts = experts_of(m, d->cell, err);
        if (experts < 0)
            return -1;
        l = chart_line_add(p, d->cell, xstrdup(d->line), style_of(d->cell, experts));
        l->flat = d->flat;
        l->style.point = d->flat ? 0 : l->style.point; // it is drawn without marks
    }
    for (size_t i = 0; i < l->n && !d->flat; i++)
        if (l->points[i].x == d->x)
            return fail(err,
                        "plot: --x %s: two cells of %s, %s, K = %d would stand at %g in the line "
                        "%s; --where can choose",
                        m->f->x, d->cell->model, d->cell->task, d->cell->k, d->x, d->line);
    add_point(l, d, d->flat ? m->xs[0] : d->x);
    if (d->flat)
        add_point(l, d, m->xs[m->nxs - 1]);
    return 0;
}

static bool is_of_mode(const struct result *r, const char *mode)
{
    char *its = group_mode(r);
    bool is = !mode || group_is_reference(r) || strcmp(its, mode) == 0;
    free(its);
    return is;
}

static int add_panel(const struct field_maker *m, struct chart *c, const struct strings *keys,
                     const char *key, const char *mode, struct buf *err)
{
    struct chart_panel *p = chart_panel_add(c, field_title(keys, key), m->f->metric, CHART_LINES);
    p->x.name = name_of_x(m->f->x);
    p->y.name = c->y_name;
    p->x.doubling = doubles(m);
    p->x.least = m->xs[0];
    p->x.most = m->xs[m->nxs - 1];
    p->y.mark = m->f->against ? 0 : NAN;
    for (size_t i = 0; i < m->nxs; i++)
        chart_tick_add(&p->x, m->xs[i]);
    for (size_t i = 0; i < m->len; i++) {
        const struct field_dot *d = &m->dots[i];
        if (!isnan(d->y) && strcmp(d->panel, key) == 0 && is_of_mode(d->cell, mode) &&
            add_dot(m, d, p, err))
            return -1;
    }
    for (size_t l = 0; l < p->nlines; l++)
        qsort(p->lines[l].points, p->lines[l].n, sizeof(*p->lines[l].points), by_x);
    return 0;
}

/* ---- figures ---- */

/* All panels (`model` NULL), or those of a model, with the lines of all modes or of one. */
static int add_chart(const struct field_maker *m, const char *model, const char *mode,
                     struct buf *err)
{
    const char *const parts[] = { model, mode };
    char *kind = xasprintf("%s_by_%s", m->f->metric, m->f->x);
    struct chart *c = charts_add(m->out, m->prefix, kind, parts, ARRAY_LEN(parts));
    struct strings keys = { 0 };
    int rc = 0;
    c->y_name = name_of_y(m);
    c->common = m->f->against != NULL;
    c->note = note_of(m);
    for (size_t i = 0; i < m->panels.len; i++) {
        char *its = field_part(m->panels.v[i], FIELD_PART_MODEL);
        if (!model || strcmp(its, model) == 0)
            strings_add(&keys, m->panels.v[i]);
        free(its);
    }
    c->head = field_head(&keys);
    for (size_t i = 0; i < keys.len && rc == 0; i++)
        rc = add_panel(m, c, &keys, keys.v[i], mode, err);
    c->columns = c->npanels > 4 ? 3 : (int)c->npanels;
    c->columns = c->npanels == 4 ? 2 : c->columns;
    charts_settle(m->out);
    strings_release(&keys);
    free(kind);
    return rc;
}

/* Some panel has more lines than can be told apart. */
static bool is_crowded(const struct field_maker *m)
{
    for (size_t p = 0; p < m->panels.len; p++) {
        struct strings names = { 0 };
        for (size_t i = 0; i < m->len; i++)
            if (!isnan(m->dots[i].y) && strcmp(m->dots[i].panel, m->panels.v[p]) == 0)
                strings_add(&names, m->dots[i].line);
        strings_sort(&names);
        size_t n = names.len;
        strings_release(&names);
        if (n > FIGURE_LINES)
            return true;
    }
    return false;
}

int field_draw(struct field_maker *m, struct buf *err)
{
    struct strings models = { 0 }, modes = { 0 };
    bool apart = m->panels.len > MOST_PANELS && field_part_varies(&m->panels, FIELD_PART_MODEL);
    int rc = 0;
    for (size_t i = 0; i < m->panels.len && apart; i++) {
        char *model = field_part(m->panels.v[i], FIELD_PART_MODEL);
        strings_add(&models, model);
        free(model);
    }
    for (size_t i = 0; i < m->len; i++)
        if (!group_is_reference(m->dots[i].cell)) {
            char *mode = group_mode(m->dots[i].cell);
            strings_add(&modes, mode);
            free(mode);
        }
    strings_sort(&models);
    strings_sort(&modes);
    bool split = modes.len > 1 && is_crowded(m);
    for (size_t i = 0; i < (apart ? models.len : 1) && rc == 0; i++)
        for (size_t j = 0; j < (split ? modes.len : 1) && rc == 0; j++)
            rc = add_chart(m, apart ? models.v[i] : NULL, split ? modes.v[j] : NULL, err);
    strings_release(&models);
    strings_release(&modes);
    return rc;
}
