/*
 * figure_kinds.c: experts per token by what kind of text a token is, a panel for each K; see
 * figure_chart.h. Kinds stand in the order of their mean entropy, over all cells of the chart, which
 * makes one order for all panels.
 */
#include "cmd/figure_charts.h"

#include "stats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST_KINDS 32

struct kinds {
    struct kind {
        char name[24];
        double entropy, tokens; /* sums over cells */
    } v[MOST_KINDS];
    size_t len;
};

static struct rows *read_kinds(const struct chart_maker *m, const struct result *r)
{
    return store_query(m->store, m->err,
                       "SELECT kind, tokens, experts_mean, experts_se, entropy_mean"
                       " FROM v_token_kinds WHERE cell_id = ?",
                       r->id);
}

static size_t find(const struct kinds *all, const char *name)
{
    size_t i = 0;
    while (i < all->len && strncmp(all->v[i].name, name, sizeof(all->v[i].name) - 1) != 0)
        i++;
    return i;
}

static int collect(const struct chart_maker *m, const struct result *r, struct kinds *all)
{
    struct rows *rows = read_kinds(m, r);
    int rc = rows ? 0 : -1;
    while (rows && (rc = rows_next(rows, m->err)) == 1) {
        if ((rc = rows_need(rows, 0, m->err)) != 0)
            break;
        size_t i = find(all, rows_text(rows, 0));
        if (i == MOST_KINDS || rows_null(rows, 4))
            continue;
        if (i == all->len)
            snprintf(all->v[all->len++].name, sizeof(all->v[i].name), "%s", rows_text(rows, 0));
        all->v[i].entropy += rows_double(rows, 4) * rows_double(rows, 1);
        all->v[i].tokens += rows_double(rows, 1);
    }
    rows_close(rows);
    return rc;
}

/* The surest first. */
static int by_entropy(const void *a, const void *b)
{
    const struct kind *p = a, *q = b;
    double x = p->entropy / p->tokens, y = q->entropy / q->tokens;
    return x < y ? -1 : x > y ? 1 : strcmp(p->name, q->name);
}

static int add_points(const struct chart_maker *m, const struct kinds *all,
                      const struct chart_cells *c, const struct result *r, struct chart_panel *p)
{
    struct rows *rows = read_kinds(m, r);
    struct chart_line *l = chart_line_of(p, c->group, r, true);
    int rc = rows ? 0 : -1;
    while (rows && (rc = rows_next(rows, m->err)) == 1) {
        const char *name = rows_text(rows, 0);
        size_t i = name ? find(all, name) : all->len;
        if (i == all->len || rows_null(rows, 2))
            continue;
        struct chart_point *q = chart_point_add(l, (double)i, rows_double(rows, 2));
        snprintf(q->at, sizeof(q->at), "%s", all->v[i].name);
        // Where each token has the same number there is no interval to be drawn.
        if (rows_double(rows, 3) > 0) {
            q->lo = q->y - Z95 * rows_double(rows, 3);
            q->hi = q->y + Z95 * rows_double(rows, 3);
        }
        q->n = rows_int(rows, 1);
    }
    rows_close(rows);
    return rc;
}

static int by_row(const void *a, const void *b)
{
    const struct chart_point *p = a, *q = b;
    return p->x < q->x ? -1 : p->x > q->x;
}

static int add_panel(const struct chart_maker *m, const struct chart_cells *c, int k,
                     const struct kinds *all, struct chart *chart)
{
    struct chart_panel *p = chart_panel_add(chart, xasprintf("K = %d", k), "experts", CHART_ROWS);
    p->k = k;
    p->y.name = "experts per token";
    p->y.mark = k;
    p->x.least = 0;
    p->x.most = (double)all->len - 1;
    for (size_t i = 0; i < all->len; i++) {
        strings_add(&p->rows, all->v[i].name);
        strings_addf(&p->notes, "%.2f", all->v[i].entropy / all->v[i].tokens);
    }
    for (size_t i = 0; i < c->group->n; i++) {
        const struct result *r = c->group->cells[i];
        if (r->k == k && chart_has(c, r) && add_points(m, all, c, r, p))
            return -1;
    }
    for (size_t i = 0; i < p->nlines; i++)
        if (p->lines[i].n)
            qsort(p->lines[i].points, p->lines[i].n, sizeof(*p->lines[i].points), by_row);
    return 0;
}

int chart_kinds(const struct chart_maker *m, const struct chart_cells *c)
{
    struct kinds all = { 0 };
    size_t lines = 0, ks = c->group->nks;
    for (size_t i = 0; i < c->group->n; i++)
        if (chart_has(c, c->group->cells[i])) {
            if (collect(m, c->group->cells[i], &all))
                return -1;
            lines++;
        }
    if (all.len < 2)
        return 0;
    qsort(all.v, all.len, sizeof(all.v[0]), by_entropy);
    struct chart *chart = chart_of(m, c, "kinds");
    int each = 6 + 6 * (int)((lines + ks - 1) / ks), rc = 0;
    chart->columns = ks < FIGURE_COLUMNS ? (int)ks : FIGURE_COLUMNS;
    chart->panel_h = (int)all.len * (each < 16 ? 16 : each);
    chart->notes_title = "entropy";
    chart->note = xstrdup("95 % intervals by document; entropy: predictive, in nats, mean over the "
                          "figure's cells");
    for (size_t k = 0; k < ks && rc == 0; k++)
        rc = add_panel(m, c, c->group->ks[k], &all, chart);
    charts_settle(m->out);
    return rc;
}
