/*
 * figure_positions.c: what a router does along the sequence: its loss less topk's, the experts used so
 * far over K, and how often a token's number is not K; see figure_chart.h.
 *
 * The difference's interval is by document and paired, from the tokens, where they are few enough to
 * be read again. Of more, only the bins are read: their errors are of each router alone, what
 * documents have in common is in both, and the interval is too wide; the figure says which it is.
 */
#include "cmd/figure_charts.h"

#include "stats.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MOST_BINS 32

struct bin {
    int64_t lo, hi, tokens, scored;
    double nll, nll_se, used, differ; /* NaN: not known */
};

/* A document's losses in each bin. */
struct document {
    int64_t doc;
    double nll[MOST_BINS], scored[MOST_BINS];
};

struct course {
    const struct result *cell;
    struct bin bins[MOST_BINS];
    size_t n;
    struct document *docs; /* ascending; none where tokens were not read */
    size_t ndocs, cap;
};

struct courses {
    struct course *v;
    size_t len, cap;
    const struct course *reference; /* topk's; NULL: there is none */
    bool paired;
};

/* ---- reading ---- */

static double number(const struct rows *r, int col)
{
    return rows_null(r, col) ? NAN : rows_double(r, col);
}

static int read_bins(const struct chart_maker *m, struct course *c)
{
    int rc;
    struct rows *r = store_query(m->store, m->err,
                                 "SELECT pos_lo, pos_hi, tokens, scored, nll_mean, nll_se,"
                                 " used_share, differ FROM v_position_bins"
                                 " WHERE cell_id = ? ORDER BY bin",
                                 c->cell->id);
    if (!r)
        return -1;
    while ((rc = rows_next(r, m->err)) == 1) {
        if (c->n == MOST_BINS)
            continue;
        c->bins[c->n++] = (struct bin){ .lo = rows_int(r, 0),
                                        .hi = rows_int(r, 1),
                                        .tokens = rows_int(r, 2),
                                        .scored = rows_int(r, 3),
                                        .nll = number(r, 4),
                                        .nll_se = number(r, 5),
                                        .used = number(r, 6),
                                        .differ = number(r, 7) };
    }
    rows_close(r);
    return rc;
}

static int read_documents(const struct chart_maker *m, struct course *c)
{
    int rc;
    size_t bin = 0;
    struct rows *r = store_query(m->store, m->err,
                                 "SELECT doc, pos, nll FROM token WHERE cell ="
                                 " (SELECT n FROM cell WHERE id = ?) AND nll IS NOT NULL"
                                 " ORDER BY doc, pos",
                                 c->cell->id);
    if (!r)
        return -1;
    while ((rc = rows_next(r, m->err)) == 1) {
        if (!c->ndocs || c->docs[c->ndocs - 1].doc != rows_int(r, 0)) {
            ARRAY_GROW(c->docs, c->cap, c->ndocs + 1);
            c->docs[c->ndocs++] = (struct document){ .doc = rows_int(r, 0) };
            bin = 0;
        }
        while (bin < c->n && rows_int(r, 1) >= c->bins[bin].hi)
            bin++;
        if (bin == c->n)
            continue;
        c->docs[c->ndocs - 1].nll[bin] += rows_double(r, 2);
        c->docs[c->ndocs - 1].scored[bin]++;
    }
    rows_close(r);
    return rc;
}

static int read_courses(const struct chart_maker *m, const struct chart_cells *c,
                        struct courses *out)
{
    for (size_t i = 0; i < c->group->n; i++) {
        struct course one = { .cell = c->group->cells[i] };
        if (!chart_has(c, one.cell))
            continue;
        if (read_bins(m, &one))
            return -1;
        ARRAY_GROW(out->v, out->cap, out->len + 1);
        out->v[out->len++] = one;
    }
    for (size_t i = 0; i < out->len; i++)
        if (strcmp(out->v[i].cell->router, "topk") == 0)
            out->reference = &out->v[i];
    out->paired = out->reference && m->by_token;
    for (size_t i = 0; i < out->len && out->paired; i++)
        if (read_documents(m, &out->v[i]))
            return -1;
    return 0;
}

/* ---- the difference ---- */

/* Of the documents that both have in the bin, which is one of each; false: fewer than two. */
static bool paired_difference(const struct course *a, size_t of_a, const struct course *b,
                              size_t of_b, struct estimate *out)
{
    double *y = xcalloc(a->ndocs + 1, sizeof(*y)), *x = xcalloc(a->ndocs + 1, sizeof(*x));
    int n = 0;
    for (size_t i = 0, j = 0; i < a->ndocs && j < b->ndocs;) {
        const struct document *p = &a->docs[i], *q = &b->docs[j];
        if (p->doc == q->doc && p->scored[of_a] > 0 && p->scored[of_a] == q->scored[of_b]) {
            y[n] = p->nll[of_a] - q->nll[of_b];
            x[n++] = p->scored[of_a];
        }
        i += p->doc <= q->doc;
        j += q->doc <= p->doc;
    }
    *out = ratio_of_sums(y, x, n);
    free(x);
    free(y);
    return n > 1;
}

static const struct bin *same_bin(const struct course *c, const struct bin *b)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->bins[i].lo == b->lo && c->bins[i].hi == b->hi)
            return &c->bins[i];
    return NULL;
}

static struct chart_point *add_point(struct chart_line *l, const struct bin *b, double y)
{
    // Bins double, and stand at even distances; the first begins at 0.
    double x = b->lo ? sqrt((double)b->lo * (double)b->hi) : (double)b->hi / sqrt(2);
    struct chart_point *p = chart_point_add(l, x, y);
    snprintf(p->at, sizeof(p->at), "%lld-%lld", (long long)b->lo, (long long)b->hi - 1);
    p->n = b->tokens;
    return p;
}

static void add_difference(const struct courses *all, const struct course *c, struct chart_line *l)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct bin *b = &c->bins[i], *of = same_bin(all->reference, b);
        if (!of || isnan(b->nll) || isnan(of->nll))
            continue;
        struct estimate e = { .value = b->nll - of->nll, .stderr_ = hypot(b->nll_se, of->nll_se) };
        bool known = c != all->reference; // that one is the line of 0
        if (known && all->paired)
            known =
                paired_difference(c, i, all->reference, (size_t)(of - all->reference->bins), &e);
        e.stderr_ = known ? e.stderr_ : NAN;
        struct chart_point *p = add_point(l, b, e.value);
        p->lo = e.value - Z95 * e.stderr_;
        p->hi = e.value + Z95 * e.stderr_;
        p->n = b->scored;
    }
}

/* ---- panels ---- */

enum quantity_of_bin {
    DIFFERENCE,
    USED,
    DIFFER,
};

static void add_panel(const struct chart_cells *c, const struct courses *all, struct chart *chart,
                      enum quantity_of_bin what)
{
    static const char *const quantities[] = { "nll_difference", "used_share", "differ" };
    static const char *const names[] = { "loss less topk (nats)", "experts used / K",
                                         "share not at K" };
    struct chart_panel *p = chart_panel_add(chart, xstrdup(""), quantities[what], CHART_LINES);
    p->k = c->k;
    p->x.name = "position in the sequence (tokens)";
    p->y.name = names[what];
    p->x.doubling = true;
    p->y.mark = what == DIFFERENCE ? 0 : what == USED ? 1 : NAN;
    if (what == DIFFER)
        p->y.least = 0;
    p->y.tight = what == DIFFER;
    for (size_t i = 0; i < all->len; i++) {
        const struct course *of = &all->v[i];
        struct chart_line *l = chart_line_of(p, c->group, of->cell, false);
        if (what == DIFFERENCE)
            add_difference(all, of, l);
        for (size_t b = 0; b < of->n && what != DIFFERENCE; b++) {
            double y = what == USED ? of->bins[b].used : of->bins[b].differ;
            if (!isnan(y))
                add_point(l, &of->bins[b], y);
        }
    }
}

static const char *note_of(const struct courses *all)
{
    return !all->reference ? "no difference of losses: topk was not run"
           : all->paired   ? "95 % intervals of the paired difference, by document"
                           : "95 % intervals by document, not paired (the tokens are too many to "
                             "be read for a plot), and so too wide";
}

int chart_positions(const struct chart_maker *m, const struct chart_cells *c)
{
    struct courses all = { 0 };
    int rc = read_courses(m, c, &all);
    size_t most = 0;
    for (size_t i = 0; i < all.len; i++)
        most = all.v[i].n > most ? all.v[i].n : most;
    if (rc == 0 && most > 2) {
        struct chart *chart = chart_of(m, c, "positions");
        chart->stacked = true;
        chart->panel_h = 104;
        chart->note = xstrdup(note_of(&all));
        for (enum quantity_of_bin what = all.reference ? DIFFERENCE : USED; what <= DIFFER; what++)
            add_panel(c, &all, chart, what);
        charts_settle(m->out);
    }
    for (size_t i = 0; i < all.len; i++)
        free(all.v[i].docs);
    free(all.v);
    return rc;
}
