/*
 * figure_chart_script.c: a chart as a table of its points, and the gnuplot script that draws it from
 * there; see figure_chart.h.
 *
 * Invariant: text from outside stands in single quotes, doubled inside, and is never read as markup.
 */
#include "cmd/figure_chart_page.h"

#include <math.h>
#include <string.h>

#define NEXT ", \\\n     "
#define MARKS 8        /* on a line of ranks */
#define APART 3.2      /* between the bars of lines at one x */
#define POWERS 7       /* named on an axis */
#define TICK_ROOM 0.08 /* of the axis */

/* ---- data ---- */

static void line_data(const struct chart_panel *p, const struct chart_line *l, int number,
                      struct buf *out)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct chart_point *q = &l->points[i];
        buf_addf(out, "%d\t", number);
        draw_field(out, p->title);
        draw_field(out, p->quantity);
        draw_field(out, l->cell->model);
        draw_field(out, l->cell->task);
        draw_field(out, l->cell->train);
        buf_addf(out, "%lld\t%d\t", (long long)l->cell->seed, l->cell->k);
        draw_field(out, l->name);
        draw_field(out, q->at);
        draw_number(out, q->x);
        draw_number(out, q->y);
        draw_number(out, q->lo);
        draw_number(out, q->hi);
        buf_addf(out, "%lld\n", (long long)q->n);
    }
}

void chart_data(const struct chart *c, struct buf *out)
{
    int number = 0;
    buf_adds(out, "line\tpanel\tquantity\tmodel\ttask\ttrain\tseed\tk\trouter\tat\tx\tvalue\tlow\t"
                  "high\tn\n");
    for (size_t p = 0; p < c->npanels; p++)
        for (size_t l = 0; l < c->panels[p].nlines; l++)
            line_data(&c->panels[p], &c->panels[p].lines[l], number++, out);
}

/* ---- axes ---- */

/* A power of two as people read it: "1/8". */
static void power_tick(int e, struct buf *out)
{
    if (e < 0)
        buf_addf(out, "'1/%.0f' %.9g", ldexp(1, -e), ldexp(1, e));
    else
        buf_addf(out, "%.0f", ldexp(1, e));
}

/* Powers of two, of which 1 is always one. */
static void power_ticks(double lo, double hi, struct buf *out)
{
    int first = (int)ceil(log2(lo) - 1e-9), last = (int)floor(log2(hi) + 1e-9);
    int every = 1 + (last - first) / POWERS;
    const char *before = "";
    for (int e = first; e <= last; e++)
        if (e % every == 0) {
            buf_adds(out, before);
            power_tick(e, out);
            before = ", ";
        }
}

/* The given ones, but for those that would run into the one before. */
static void given_ticks(const struct chart_axis *a, double lo, double hi, struct buf *out)
{
    double last = -INFINITY, step = TICK_ROOM * (a->doubling ? log2(hi / lo) : hi - lo);
    for (size_t i = 0; i < a->nticks; i++) {
        double x = a->doubling ? log2(a->ticks[i]) : a->ticks[i];
        if (x - last < step)
            continue;
        buf_addf(out, "%s%.9g", isinf(last) ? "" : ", ", a->ticks[i]);
        last = x;
    }
}

static void ticks(const struct chart_axis *a, char axis, double lo, double hi, struct buf *out)
{
    if (!a->nticks && !a->doubling) {
        buf_addf(out, "set %ctics autofreq\n", axis);
        return;
    }
    buf_addf(out, "set %ctics (", axis);
    if (a->nticks)
        given_ticks(a, lo, hi, out);
    else
        power_ticks(lo, hi, out);
    buf_adds(out, ")\n");
}

static void axis_script(const struct chart_axis *a, char axis, double lo, double hi,
                        struct buf *out)
{
    buf_addf(out, "%s logscale %c%s\nset %crange [%.9g:%.9g]\n", a->doubling ? "set" : "unset",
             axis, a->doubling ? " 2" : "", axis, lo, hi);
    ticks(a, axis, lo, hi, out);
}

/* The dashed line of an axis. */
static void mark_script(const struct chart_axis *a, bool upright, struct buf *out)
{
    const char *look = " nohead dashtype (9,6) linewidth 0.8 linecolor rgb '#000000' front\n";
    if (isnan(a->mark))
        return;
    if (upright)
        buf_addf(out, "set arrow from first %.9g, graph 0 to first %.9g, graph 1%s", a->mark,
                 a->mark, look);
    else
        buf_addf(out, "set arrow from graph 0, first %.9g to graph 1, first %.9g%s", a->mark,
                 a->mark, look);
}

/* Kinds from above, with what stands beside each. */
static void row_names(const struct chart *c, const struct page *y, const struct chart_panel *p,
                      const struct place *at, struct buf *out)
{
    double each = (double)at->h / (double)p->rows.len;
    if (c->notes_title)
        draw_text(out, &y->size, at->left - 6, at->top - 8, c->notes_title, SMALL, "right",
                  "#555555");
    for (size_t i = 0; i < p->rows.len; i++) {
        double py = at->top + each * ((double)i + 0.5);
        draw_text(out, &y->size, at->left - 6, py, p->notes.v[i], SMALL, "right", "#555555");
        draw_text(out, &y->size, at->left - 6 - ROW_NOTE, py, p->rows.v[i], SMALL, "right",
                  "#000000");
    }
}

static void row_axes(const struct chart *c, const struct page *y, const struct chart_panel *p,
                     const struct place *at, const struct range *r, struct buf *out)
{
    axis_script(&p->y, 'x', r->y_lo, r->y_hi, out);
    buf_addf(out, "unset logscale y\nset yrange [%zu.5:-0.5]\nset ytics ('' -1)\n",
             p->rows.len - 1);
    for (size_t i = 1; i < p->rows.len; i++) // between rows
        buf_addf(out,
                 "set arrow from graph 0, first %zu.5 to graph 1, first %zu.5 nohead"
                 " linewidth 0.5 linecolor rgb '#dddddd' back\n",
                 i - 1, i - 1);
    mark_script(&p->y, true, out);
    if (at->first)
        row_names(c, y, p, at, out);
    draw_text(out, &y->size, at->left + at->w / 2.0, at->top + at->h + 29, p->y.name, NORMAL,
              "center", "#000000");
}

static void plain_axes(const struct chart *c, const struct page *y, const struct chart_panel *p,
                       const struct place *at, const struct range *r, struct buf *out)
{
    axis_script(&p->x, 'x', r->x_lo, r->x_hi, out);
    axis_script(&p->y, 'y', r->y_lo, r->y_hi, out);
    mark_script(&p->x, true, out);
    mark_script(&p->y, false, out);
    if (c->stacked && !at->lowest)
        buf_adds(out, "set xtics format ''\n");
    else
        draw_text(out, &y->size, at->left + at->w / 2.0, at->top + at->h + 29, p->x.name, NORMAL,
                  "center", "#000000");
    if (at->first)
        draw_text(out, &y->size, 9, at->top + at->h / 2.0, p->y.name, NORMAL, "center rotate by 90",
                  "#000000");
}

/* ---- points ---- */

/* The column, moved by `px` of the `length` that the axis has on the page. */
static void moved(int column, const struct chart_axis *a, double lo, double hi, double px,
                  double length, struct buf *out)
{
    double share = px / length;
    if (a->doubling)
        buf_addf(out, "($%d*%.6g)", column, exp2(share * log2(hi / lo)));
    else
        buf_addf(out, "($%d+%.6g)", column, share * (hi - lo));
}

/* The rows of a line are named by their place, which is less work than to look for its number. */
static void begin(const char **before, size_t row, const struct chart_line *l, struct buf *out)
{
    buf_addf(out, "%sdata skip %zu every ::::%zu using ", *before, row, l->n - 1);
    *before = NEXT;
}

static void add_look(const struct style *s, struct buf *out)
{
    buf_addf(out, " linecolor rgb '%s' linewidth %g dashtype %s", s->colour, s->width, s->dash);
}

static bool has_intervals(const struct chart_line *l)
{
    for (size_t i = 0; i < l->n; i++)
        if (!isnan(l->points[i].lo))
            return true;
    return false;
}

/* gnuplot leaves a gap around the point of a bar that goes up alone. */
static void interval(const char *x, const struct chart_line *l, struct buf *out)
{
    buf_addf(out, "%s:12:%s:%s:13:14 with xyerrorbars pointtype 0 linecolor rgb '%s' linewidth 1",
             x, x, x, l->style.colour);
}

/* What is the same at every x: a line from end to end, its interval at its right end. `nth` of those
 * in the panel. */
static void flat_line(const struct chart_panel *p, const struct chart_line *l,
                      const struct range *r, const struct place *at, size_t nth, size_t row,
                      const char **before, struct buf *out)
{
    if (has_intervals(l)) {
        struct buf where = BUF_INIT;
        moved(11, &p->x, r->x_lo, r->x_hi, 8 + 0.03 * at->w * (double)nth, at->w, &where);
        buf_addf(out, "%sdata skip %zu every ::::0 using ", *before, row + 1);
        interval(where.s, l, out);
        *before = NEXT;
        buf_release(&where);
    }
    begin(before, row, l, out);
    buf_addf(out, "($0 < 0.5 ? $11 : %.9g):12 with lines", r->x_hi);
    add_look(&l->style, out);
}

/* `shift`: how far to the right, or down where rows are drawn. */
static void line_script(const struct chart_panel *p, const struct chart_line *l,
                        const struct place *at, const struct range *r, double shift, size_t row,
                        const char **before, struct buf *out)
{
    const struct style *s = &l->style;
    bool rows = p->form == CHART_ROWS;
    struct buf where = BUF_INIT;
    if (rows)
        moved(11, &p->x, 0, (double)p->rows.len, shift, at->h, &where);
    else
        moved(11, &p->x, r->x_lo, r->x_hi, shift, at->w, &where);
    if (has_intervals(l)) {
        begin(before, row, l, out);
        if (rows)
            buf_addf(out, "12:%s:13:14 with xerrorbars pointtype 0 linecolor rgb '%s' linewidth 1",
                     where.s, s->colour);
        else
            interval(where.s, l, out);
    }
    begin(before, row, l, out);
    if (rows && !s->point) // from the upper end of the panel to the lower
        buf_addf(out, "12:($0 < 0.5 ? -0.5 : $0 > %zu.5 ? %zu.5 : $11)", l->n < 2 ? 0 : l->n - 2,
                 p->rows.len - 1);
    else
        buf_addf(out, "%s%s", rows ? "12:" : where.s, rows ? where.s : ":12");
    if (p->form == CHART_CLOUD || (rows && s->point))
        buf_addf(out, " with points pointtype %d pointsize %g linecolor rgb '%s'",
                 s->point ? s->point : 7, rows ? 0.55 : 0.4, s->colour);
    else {
        buf_addf(out, " with %s", s->point ? "linespoints" : "lines");
        add_look(s, out);
        if (s->point)
            buf_addf(out, " pointtype %d pointsize 0.45", s->point);
        if (s->point && p->form == CHART_RANKS)
            buf_addf(out, " pointnumber %d", MARKS);
    }
    buf_release(&where);
}

static void plot_script(const struct chart_panel *p, const struct place *at, const struct range *r,
                        size_t row, struct buf *out)
{
    const char *before = "plot ";
    size_t barred = 0, nth = 0, flat = 0;
    bool apart = p->form == CHART_LINES || p->form == CHART_ROWS;
    for (size_t i = 0; i < p->nlines; i++)
        barred += p->lines[i].n && has_intervals(&p->lines[i]) && !p->lines[i].flat;
    double most =
        p->form == CHART_ROWS ? 0.7 * at->h / (double)(p->rows.len * (barred + 1)) : APART;
    for (size_t i = 0; i < p->nlines; row += p->lines[i++].n) {
        const struct chart_line *l = &p->lines[i];
        bool bars = l->n && has_intervals(l) && !l->flat;
        double shift = bars && apart ? most * ((double)nth - ((double)barred - 1) / 2) : 0;
        if (!l->n)
            continue;
        nth += bars;
        if (l->flat)
            flat_line(p, l, r, at, flat++, row, &before, out);
        else
            line_script(p, l, at, r, shift, row, &before, out);
    }
    buf_addc(out, '\n');
}

/* ---- the page ---- */

static void legend(const struct chart *c, const struct page *y, struct buf *out)
{
    for (size_t i = 0; i < y->nnames; i++) {
        const struct legend_name *n = &y->names[i];
        int py = y->legend + ENTRY * n->line;
        draw_sample(out, &y->size, n->x, py, &n->of->style);
        draw_text(out, &y->size, n->x + SAMPLE, py, n->of->name, SMALL, "left", "#000000");
    }
    if (c->note)
        draw_wrapped(out, &y->size, PAGE_EDGE, y->legend + ENTRY * y->lines + 2, c->note,
                     page_letters(y), SMALL, "#555555");
}

static void panel_script(const struct chart *c, const struct page *y, size_t which, size_t row,
                         struct buf *out)
{
    const struct chart_panel *p = &c->panels[which];
    struct place at = page_place(c, y, which);
    struct range r = page_range(c, which);
    buf_addf(out,
             "\nset format '%%h'\n"
             "set lmargin at screen %.5f\nset rmargin at screen %.5f\n"
             "set tmargin at screen %.5f\nset bmargin at screen %.5f\n",
             (double)at.left / y->size.width, (double)(at.left + at.w) / y->size.width,
             1 - (double)at.top / y->size.height, 1 - (double)(at.top + at.h) / y->size.height);
    if (p->form == CHART_ROWS)
        row_axes(c, y, p, &at, &r, out);
    else
        plain_axes(c, y, p, &at, &r, out);
    if (*p->title) { // it ends above the panel
        size_t most = page_title_letters(y);
        int lines = draw_wrapped(NULL, NULL, 0, 0, p->title, most, NORMAL, "");
        draw_wrapped(out, &y->size, at.left, at.top - 9 - ENTRY * (lines - 1), p->title, most,
                     NORMAL, "#000000");
    }
    plot_script(p, &at, &r, row, out);
    buf_adds(out, "unset label\nunset arrow\n");
}

void chart_script(const struct chart *c, struct buf *out)
{
    struct page y = page_of(c);
    size_t row = 1; // behind the table's head
    draw_head(c->name, &y.size, out);
    if (y.head) // it and the legend stand on the page with the first panel
        draw_wrapped(out, &y.size, y.left, 9, c->head, page_head_letters(&y), NORMAL, "#000000");
    legend(c, &y, out);
    for (size_t p = 0; p < c->npanels; p++) {
        if (chart_points(&c->panels[p]))
            panel_script(c, &y, p, row, out);
        row += chart_points(&c->panels[p]);
    }
    buf_adds(out, "\nunset multiplot\nset output\n");
    page_release(&y);
}
