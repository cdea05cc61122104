/*
 * figure_load.c: for each layer how unlike the experts' loads are: sorted from the largest, as shares of
 * an even load; and where it was logged, the mean entropy of an expert's tokens against its load. See
 * figure_chart.h.
 *
 * An expert without a token has no place on an axis of doublings: its line ends before it.
 */
#include "cmd/figure_charts.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What one cell has of one layer. */
struct loads {
    struct load {
        int expert;
        int64_t tokens;
        double share, entropy; /* of an even load; NaN: not logged */
    } * v;
    size_t len, cap;
    double sum;
};

static int by_load(const void *a, const void *b)
{
    const struct load *p = a, *q = b;
    return p->share > q->share ? -1 : p->share < q->share ? 1 : p->expert - q->expert;
}

static int read_loads(const struct chart_maker *m, const struct result *r, int layer,
                      struct loads *out)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", layer);
    struct rows *rows = store_query(m->store, m->err,
                                    "SELECT expert, tokens, entropy FROM v_expert_load"
                                    " WHERE cell_id = ? AND layer = ?",
                                    r->id, text);
    int rc = rows ? 0 : -1;
    while (rows && (rc = rows_next(rows, m->err)) == 1) {
        ARRAY_GROW(out->v, out->cap, out->len + 1);
        out->v[out->len++] =
            (struct load){ .expert = (int)rows_int(rows, 0),
                           .tokens = rows_int(rows, 1),
                           .entropy = rows_null(rows, 2) ? NAN : rows_double(rows, 2) };
        out->sum += rows_double(rows, 1);
    }
    rows_close(rows);
    return rc;
}

/* Where fewer experts than the layer has are in the table, the others have no token. */
static void sort_loads(struct loads *all, int experts)
{
    for (size_t i = 0; i < all->len; i++)
        all->v[i].share = (double)all->v[i].tokens * experts / all->sum;
    if (all->len)
        qsort(all->v, all->len, sizeof(*all->v), by_load);
}

static void add_point(struct chart_line *l, const struct load *e, double x, double y)
{
    struct chart_point *p = chart_point_add(l, x, y);
    snprintf(p->at, sizeof(p->at), "%d", e->expert);
    p->n = e->tokens;
}

/* A cloud has room for few: topk beside seqtopk, where there is such. */
static bool is_in_clouds(const struct chart_cells *c, const struct result *r)
{
    bool any = false;
    for (size_t i = 0; i < c->group->n; i++)
        any |=
            chart_has(c, c->group->cells[i]) && strcmp(c->group->cells[i]->router, "seqtopk") == 0;
    return !any || strcmp(r->router, "topk") == 0 || strcmp(r->router, "seqtopk") == 0;
}

static int add_lines(const struct chart_maker *m, const struct chart_cells *c, int layer,
                     bool cloud, struct chart_panel *p)
{
    for (size_t i = 0; i < c->group->n; i++) {
        const struct result *r = c->group->cells[i];
        struct loads all = { 0 };
        if (!chart_has(c, r) || (cloud && !is_in_clouds(c, r)))
            continue;
        if (read_loads(m, r, layer, &all)) {
            free(all.v);
            return -1;
        }
        sort_loads(&all, c->group->experts);
        struct chart_line *l = chart_line_of(p, c->group, r, false);
        for (size_t e = 0; e < all.len; e++)
            if (all.v[e].tokens > 0 && !cloud)
                add_point(l, &all.v[e], (double)e + 1, all.v[e].share);
            else if (all.v[e].tokens > 0 && !isnan(all.v[e].entropy))
                add_point(l, &all.v[e], all.v[e].share, all.v[e].entropy);
        free(all.v);
    }
    return 0;
}

static int add_panel(const struct chart_maker *m, const struct chart_cells *c, struct chart *chart,
                     int layer, bool cloud)
{
    bool empty = layer >= c->group->layers; // the row's rest
    char *title = cloud || empty ? xstrdup("") : xasprintf("layer %d", layer);
    struct chart_panel *p = chart_panel_add(chart, title, cloud ? "entropy" : "load",
                                            cloud ? CHART_CLOUD : CHART_RANKS);
    struct chart_axis *load = cloud ? &p->x : &p->y;
    p->k = c->k;
    p->x.name = cloud ? "load / even load" : "experts by load";
    p->y.name = cloud ? "mean entropy (nats)" : "load / even load";
    load->doubling = true;
    load->mark = 1;
    if (!cloud) {
        p->x.least = 1;
        p->x.most = c->group->experts;
    }
    return empty ? 0 : add_lines(m, c, layer, cloud, p);
}

/* Is the entropy by expert there in any of the cells? 1: yes. */
static int has_entropy(const struct chart_maker *m, const struct chart_cells *c)
{
    for (size_t i = 0; i < c->group->n; i++) {
        if (!chart_has(c, c->group->cells[i]))
            continue;
        struct rows *rows = store_query(m->store, m->err,
                                        "SELECT 1 FROM v_expert_load WHERE cell_id = ?"
                                        " AND entropy IS NOT NULL LIMIT 1",
                                        c->group->cells[i]->id);
        int rc = rows ? rows_next(rows, m->err) : -1;
        rows_close(rows);
        if (rc)
            return rc;
    }
    return 0;
}

int chart_loads(const struct chart_maker *m, const struct chart_cells *c)
{
    int layers = c->group->layers, rc = 0, known = has_entropy(m, c);
    if (known < 0)
        return -1;
    struct chart *chart = chart_of(m, c, "load");
    chart->columns = layers < FIGURE_COLUMNS ? layers : FIGURE_COLUMNS;
    chart->common = true;
    chart->panel_h = chart->columns > 2 ? 110 : 0;
    if (known)
        chart->note = xstrdup("lower panels: each mark is an expert, and topk's are grey circles");
    for (int first = 0; first < layers; first += chart->columns)
        for (int cloud = 0; cloud <= known; cloud++)
            for (int l = first; l < first + chart->columns && rc == 0; l++)
                rc = add_panel(m, c, chart, l, cloud);
    charts_settle(m->out);
    return rc;
}
