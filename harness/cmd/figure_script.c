/*
 * figure_script.c: a figure as a table of its points, and the gnuplot script that draws it from
 * there.
 *
 * Invariant: text from outside stands in single quotes, doubled inside, and is never read as markup.
 */
#include "cmd/figure_draw.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- data ---- */

static void line_data(const struct figure *f, const struct line *l, int number, struct buf *out)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct point *p = &l->points[i];
        buf_addf(out, "%d\t", number);
        draw_field(out, l->cell->model);
        draw_field(out, l->cell->task);
        draw_field(out, l->cell->train);
        buf_addf(out, "%lld\t%d\t", (long long)l->cell->seed, l->cell->k);
        draw_field(out, l->cell->label);
        if (f->kind != FIGURE_HISTOGRAM) {
            if (l->layer < 0)
                draw_field(out, "mean");
            else
                buf_addf(out, "%d\t", l->layer);
            draw_number(out, p->x_lo);
            draw_number(out, p->x_hi);
        }
        draw_number(out, p->x);
        draw_number(out, p->y);
        if (f->kind != FIGURE_HISTOGRAM) {
            draw_number(out, p->y_lo);
            draw_number(out, p->y_hi);
        }
        buf_addf(out, "%lld\n", (long long)p->tokens);
    }
}

void figure_data(const struct figure *f, struct buf *out)
{
    int number = 0;
    buf_adds(out, "line\tmodel\ttask\ttrain\tseed\tk\trouter\t");
    buf_adds(out, f->kind == FIGURE_HISTOGRAM
                      ? "experts\tpercent\ttokens\n"
                      : "layer\tentropy_lo\tentropy_hi\tentropy\texperts\texperts_lo\texperts_hi\t"
                        "tokens\n");
    for (size_t p = 0; p < f->npanels; p++)
        for (size_t l = 0; l < f->panels[p].nlines; l++)
            line_data(f, &f->panels[p].lines[l], number++, out);
}

/* ---- script ---- */

static void panel_legend(const struct figure *f, const struct layout *y, const struct panel *p,
                         int left, int top, struct buf *out)
{
    bool layers = f->kind == FIGURE_LAYERS;
    int note = left + (layers ? SAMPLE : y->panel_w + RIGHT - NOTE - 2);
    if (f->kind == FIGURE_HISTOGRAM)
        draw_text(out, y, note, top, "mean", SMALL, "left", "#555555");
    else
        draw_text(out, y, layers ? note : note + NOTE - 4, top, "Spearman's \xcf\x81 [95 %]", SMALL,
                  layers ? "left" : "right", "#555555");
    for (size_t i = 0; i < p->nlines; i++) {
        double py = top + ENTRY * (double)(i + 1);
        draw_sample(out, y, left, py, &p->lines[i].style);
        if (!layers)
            draw_text(out, y, left + SAMPLE, py, p->lines[i].name, SMALL, "left", "#000000");
        draw_text(out, y, note, py, p->lines[i].note, SMALL, "left", "#000000");
    }
}

/* The routers of a row of layers, once for all of them. */
static void row_legend(const struct layout *y, const struct panel *p, int top, struct buf *out)
{
    for (size_t i = 0; i < p->nlines; i++) {
        int x, line = layout_name(y, p, i, &x);
        draw_sample(out, y, x, top + ENTRY * line, &p->lines[i].style);
        draw_text(out, y, x + SAMPLE, top + ENTRY * line, p->lines[i].name, SMALL, "left",
                  "#000000");
    }
}

/*
 * Half of all predictions are near certain: on a plain axis they would lie on top of each other at
 * its left end. The root of the entropy gives them room, and 0 its place.
 */
static void entropy_axis(const struct range *r, bool narrow, struct buf *out)
{
    static const double ticks[] = { 0, 0.1, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 12 };
    const char *comma = "";
    buf_adds(out, "set nonlinear x via sqrt(x) inverse x*x\nset xtics (");
    for (size_t i = 0; i < ARRAY_LEN(ticks) && ticks[i] <= r->x_hi; i++) {
        if ((narrow || r->x_hi > 6) && (ticks[i] == 3 || ticks[i] == 5))
            continue;
        buf_addf(out, "%s%g", comma, ticks[i]);
        comma = ", ";
    }
    buf_adds(out, ")\n");
}

/* The names of neighbouring panels may not run into each other. */
static const char *entropy_name(const struct layout *y)
{
    static const char whole[] = "predictive entropy (nats, root scale)";
    const double width = LETTER * NORMAL / SMALL * (double)strlen(whole);
    return width < y->panel_w + y->gap ? whole : whole + strlen("predictive ");
}

/* The axes, their names, and the line of K. `left` and `top` are the plot's corner. */
static void panel_axes(const struct figure *f, const struct layout *y, const struct panel *p,
                       const struct range *r, int left, int top, bool last, struct buf *out)
{
    bool histogram = f->kind == FIGURE_HISTOGRAM, layers = f->kind == FIGURE_LAYERS;
    const char *name = histogram ? "experts per token and layer" : entropy_name(y);
    buf_addf(out, "set xrange [%.6g:%.6g]\nset yrange [%.6g:%.6g]\n", r->x_lo, r->x_hi, r->y_lo,
             r->y_hi);
    draw_text(out, y, left + y->panel_w / 2.0, top + y->panel_h + 29, name, NORMAL, "center",
              "#000000");
    if (histogram) // whole numbers only
        buf_addf(out, "set xtics %d\n", 1 + (int)(r->x_hi - r->x_lo) / 10);
    else
        entropy_axis(r, layers, out);
    if (left == LEFT)
        draw_text(out, y, 9, top + y->panel_h / 2.0,
                  histogram ? "share of tokens (%)" : "experts per token", NORMAL,
                  "center rotate by 90", "#000000");
    int k = p->k;
    if (histogram)
        buf_addf(out, "set arrow from first %d, graph 0 to first %d, graph 1", k, k);
    else
        buf_addf(out, "set arrow from graph 0, first %d to graph 1, first %d", k, k);
    buf_adds(out, " nohead dashtype (9,6) linewidth 0.8 linecolor rgb '#000000' front\n");
    if (histogram)
        buf_addf(out, "set label 'K = %d' at first %d, graph 1.06 center font ',%g'\n", k, k,
                 SMALL);
    else if (last || !layers)
        buf_addf(out, "set label 'K = %d' at graph 1.02, first %d left font ',%g'\n", k, k, SMALL);
}

/*
 * The rows of a line are named by their place: to look through all rows for those with its number costs
 * gnuplot more than to draw them. `row`: of the line's first.
 */
static void draw_rows(const char *before, size_t row, const struct line *l, struct buf *out)
{
    buf_addf(out, "%sdata skip %zu every ::::%zu using ", before, row, l->n - 1);
}

/* Column numbers of figure_data(). `row`: of the panel's first line, where the table's head is 0. */
static void plot_lines(const struct figure *f, const struct panel *p, size_t row, struct buf *out)
{
    const char *next = ", \\\n     ", *before = "";
    bool histogram = f->kind == FIGURE_HISTOGRAM;
    size_t at = row;
    buf_adds(out, "plot ");
    for (size_t i = 0; i < p->nlines && !histogram; at += p->lines[i++].n) {
        draw_rows(before, at, &p->lines[i], out);
        buf_addf(out,
                 "11:13:14 with filledcurves"
                 " fillcolor rgb '%s' fillstyle transparent solid 0.22 noborder",
                 p->lines[i].style.colour);
        before = next;
    }
    at = row;
    for (size_t i = 0; i < p->nlines; at += p->lines[i++].n) {
        const struct style *s = &p->lines[i].style;
        draw_rows(before, at, &p->lines[i], out);
        buf_addf(out, "%s with %s", histogram ? "8:9" : "11:12",
                 s->point ? "linespoints" : "lines");
        buf_addf(out, " linecolor rgb '%s' linewidth %g dashtype %s", s->colour, s->width, s->dash);
        if (s->point)
            buf_addf(out, " pointtype %d pointsize 0.45", s->point);
        before = next;
    }
    buf_addc(out, '\n');
}

static void panel_script(const struct figure *f, const struct layout *y, size_t which,
                         size_t first_row, struct buf *out)
{
    const struct panel *p = &f->panels[which];
    int column = (int)which % f->columns, row = (int)which / f->columns;
    int left = LEFT + column * (y->panel_w + y->gap), top = y->top[row];
    bool last = column + 1 == f->columns || which + 1 == f->npanels;
    struct range r = range_of(f, which);
    buf_addf(out,
             "\nunset label\nunset arrow\n"
             "set lmargin at screen %.5f\nset rmargin at screen %.5f\n"
             "set tmargin at screen %.5f\nset bmargin at screen %.5f\n",
             (double)left / y->width, (double)(left + y->panel_w) / y->width,
             1 - (double)top / y->height, 1 - (double)(top + y->panel_h) / y->height);
    panel_axes(f, y, p, &r, left, top, last, out);
    draw_text(out, y, left, top - 10 - (f->kind == FIGURE_HISTOGRAM ? MARK : 0), p->title, NORMAL,
              "left", "#000000");
    panel_legend(f, y, p, left, top + y->panel_h + AXIS + 4, out);
    if (f->kind == FIGURE_LAYERS && column == 0)
        row_legend(y, p, top + y->panel_h + AXIS + 8 + ENTRY * (2 + (int)layout_most_lines(f, row)),
                   out);
    plot_lines(f, p, first_row, out);
}

void figure_script(struct figure *f, struct buf *out)
{
    layout_fit(f);
    struct layout y = layout_of(f);
    size_t row = 1; // behind the table's head
    draw_head(f->name, &y, out);
    for (size_t p = 0; p < f->npanels; p++) {
        if (f->panels[p].nlines)
            panel_script(f, &y, p, row, out);
        for (size_t l = 0; l < f->panels[p].nlines; l++)
            row += f->panels[p].lines[l].n;
    }
    buf_adds(out, "\nunset multiplot\nset output\n");
    free(y.top);
}
