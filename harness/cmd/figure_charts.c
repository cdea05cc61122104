/*
 * figure_charts.c: of which cells charts are made: a chart for a group of cells that differ only in K
 * and router, and for each K where a chart has but one; and one for each mode of router where a panel
 * would have too many lines. See figure_chart.h.
 */
#include "cmd/figure_charts.h"
#include "cmd/router_label.h"

#include <string.h>

#define MOST_TOKENS 5000000 /* of all cells: about a second's reading */

bool chart_has(const struct chart_cells *c, const struct result *r)
{
    char *its = group_mode(r);
    bool is = (c->k < 0 || r->k == c->k) &&
              (!c->mode || group_is_reference(r) || strcmp(its, c->mode) == 0);
    free(its);
    return is;
}

struct chart *chart_of(const struct chart_maker *m, const struct chart_cells *c, const char *kind)
{
    char *k = c->k < 0 || c->group->nks < 2 ? NULL : xasprintf("k%d", c->k);
    const char *const parts[] = { c->group->name, k, c->mode };
    struct chart *chart = charts_add(m->out, m->prefix, kind, parts, ARRAY_LEN(parts));
    free(k);
    return chart;
}

struct chart_line *chart_line_of(struct chart_panel *p, const struct group *g,
                                 const struct result *r, bool by_k)
{
    char *name = by_k ? router_label_by_k(g->cells, g->n, r, r->label) : xstrdup(r->label);
    return chart_line_add(p, r, name, style_of(r, g->experts));
}

typedef int make_chart(const struct chart_maker *m, const struct chart_cells *c);

/* One chart, or one for each mode. */
static int by_mode(const struct chart_maker *m, const struct groups *all, const struct group *g,
                   int k, make_chart *make)
{
    struct chart_cells c = { .group = g, .k = k };
    if (!all->split || g->nmodes < 2)
        return make(m, &c);
    for (size_t i = 0; i < g->nmodes; i++) {
        c.mode = g->modes[i];
        if (make(m, &c))
            return -1;
    }
    return 0;
}

static int of_group(const struct chart_maker *m, const struct groups *all, const struct group *g)
{
    for (size_t k = 0; k < g->nks; k++)
        if (by_mode(m, all, g, g->ks[k], chart_positions))
            return -1;
    if (by_mode(m, all, g, -1, chart_kinds))
        return -1;
    for (size_t k = 0; k < g->nks; k++)
        if (by_mode(m, all, g, g->ks[k], chart_loads))
            return -1;
    return 0;
}

/* All that the cells have logged; -1: it cannot be read. */
static int64_t tokens_of(struct store *s, const struct results *all, struct buf *err)
{
    int64_t tokens = 0;
    for (size_t i = 0; i < all->len; i++) {
        struct rows *r = store_query(s, err, "SELECT tokens FROM cell WHERE id = ?", all->v[i].id);
        int rc = r ? rows_next(r, err) : -1;
        tokens += rc == 1 ? rows_int(r, 0) : 0;
        rows_close(r);
        if (rc < 0)
            return -1;
    }
    return tokens;
}

int charts_build(struct store *s, const struct results *all, const char *prefix, struct charts *out,
                 struct buf *err)
{
    struct chart_maker m = { .store = s, .prefix = prefix, .out = out, .err = err };
    const int64_t tokens = tokens_of(s, all, err);
    struct groups groups = { 0 };
    struct buf unsaid = BUF_INIT;
    m.by_token = tokens <= MOST_TOKENS;
    int rc = tokens < 0 ? -1 : groups_make(s, all, &groups, &unsaid); // 1: there is no group
    if (rc < 0)
        buf_adds(err, unsaid.s);
    for (size_t i = 0; i < groups.len && rc == 0; i++)
        rc = of_group(&m, &groups, &groups.v[i]);
    groups_release(&groups);
    buf_release(&unsaid);
    return rc < 0 ? -1 : 0;
}
