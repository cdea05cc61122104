/*
 * figure_training_script.c: the losses of trainings as a table, and the gnuplot script that draws
 * them from there. See figure_training.h.
 */
#include "cmd/figure_draw.h"
#include "cmd/figure_training.h"

#include <math.h>
#include <string.h>

#define PANEL_W 288
#define PANEL_H 170
#define NAMES 8     /* where the legend begins */
#define TRAINED 292 /* where the columns of its numbers end */
#define HELD_OUT 344
#define NAME_MOST 47  /* letters in a line of the legend, before the numbers */
#define TITLE_MOST 58 /* and above the panel */

/* ---- data ---- */

static void curve_data(const struct curve *c, size_t number, struct buf *out)
{
    for (int marks = 0; marks < 2; marks++) {
        const struct loss_points *p = marks ? &c->marks : &c->line;
        for (size_t i = 0; i < p->len; i++) {
            buf_addf(out, "%zu\t", number);
            draw_field(out, c->id);
            draw_field(out, c->sweep);
            draw_field(out, c->model);
            draw_field(out, c->label);
            buf_addf(out, "%lld\t", (long long)p->v[i].step);
            draw_number(out, p->v[i].tokens);
            draw_number(out, marks ? NAN : p->v[i].loss);
            if (marks)
                buf_addf(out, "%.9g", p->v[i].loss);
            buf_addc(out, '\n');
        }
    }
}

void curves_data(const struct curves *c, struct buf *out)
{
    buf_adds(out, "line\ttraining\tsweep\tmodel\tlabel\tstep\ttokens\tloss\theldout\n");
    for (size_t i = 0; i < c->len; i++)
        curve_data(&c->v[i], i, out);
}

/* ---- layout ---- */

static bool has_marks(const struct curves *c, const struct curve_panel *p)
{
    for (size_t i = p->first; i < p->first + p->n; i++)
        if (c->v[i].marks.len)
            return true;
    return false;
}

static int title_lines(const struct curve_panel *p)
{
    return draw_wrapped(NULL, NULL, 0, 0, p->title, TITLE_MOST, NORMAL, NULL);
}

static int panel_height(const struct curves *c, const struct curve_panel *p)
{
    int lines = 1;
    for (size_t i = p->first; i < p->first + p->n; i++)
        lines += draw_wrapped(NULL, NULL, 0, 0, c->v[i].name, NAME_MOST, SMALL, NULL);
    return 8 + ENTRY * title_lines(p) + PANEL_H + AXIS + ENTRY * lines + ROW_GAP;
}

static double x_of(const struct curve_panel *p, const struct loss_point *q)
{
    return p->by_tokens ? q->tokens / 1e6 : (double)q->step;
}

static void widen(struct range *r, const struct curve_panel *p, const struct loss_points *points,
                  double from)
{
    for (size_t i = 0; i < points->len; i++) {
        double x = x_of(p, &points->v[i]);
        if (x < from)
            continue;
        r->x_hi = fmax(r->x_hi, x);
        r->y_lo = fmin(r->y_lo, points->v[i].loss);
        r->y_hi = fmax(r->y_hi, points->v[i].loss);
    }
}

static struct range range_from(const struct curves *c, const struct curve_panel *p, double from)
{
    struct range r = { 0, -INFINITY, INFINITY, -INFINITY };
    for (size_t i = p->first; i < p->first + p->n; i++) {
        widen(&r, p, &c->v[i].line, from);
        widen(&r, p, &c->v[i].marks, from);
    }
    return r;
}

/* A steep fall at the very beginning, as from random weights, may leave the panel at its top. */
static struct range loss_range(const struct curves *c, const struct curve_panel *p)
{
    struct range r = range_from(c, p, 0), rest = range_from(c, p, 0.03 * r.x_hi);
    if (r.y_hi - r.y_lo > 2 * (rest.y_hi - r.y_lo) && rest.y_hi > r.y_lo)
        r.y_hi = rest.y_hi;
    double room = 0.05 * (r.y_hi - r.y_lo);
    room = room > 0 ? room : 0.05;
    r.y_lo -= room;
    r.y_hi += room;
    r.x_hi = r.x_hi > 0 ? 1.02 * r.x_hi : 1;
    return r;
}

/* ---- script ---- */

static void legend_head(const struct curves *c, const struct curve_panel *p, const struct layout *y,
                        double py, struct buf *out)
{
    size_t window = 1;
    struct buf how = BUF_INIT;
    for (size_t i = p->first; i < p->first + p->n; i++)
        window = c->v[i].window > window ? c->v[i].window : window;
    buf_adds(&how, window > 1 ? "lines: mean of up to " : "lines: each step");
    if (window > 1)
        buf_addf(&how, "%zu steps", window);
    if (has_marks(c, p)) {
        buf_adds(&how, "; marks: held out");
        draw_text(out, y, HELD_OUT, py, "held out", SMALL, "right", "#555555");
    }
    draw_text(out, y, NAMES, py, how.s, SMALL, "left", "#555555");
    draw_text(out, y, TRAINED, py, "training", SMALL, "right", "#555555");
    buf_release(&how);
}

/* The last loss of the points, in a column of the legend. */
static void last_loss(const struct loss_points *p, const struct layout *y, double px, double py,
                      struct buf *out)
{
    struct buf text = BUF_INIT;
    if (p->len)
        buf_addf(&text, "%.3f", p->v[p->len - 1].loss);
    draw_text(out, y, px, py, text.s, SMALL, "right", "#000000");
    buf_release(&text);
}

static void legend(const struct curves *c, const struct curve_panel *p, const struct layout *y,
                   double py, struct buf *out)
{
    legend_head(c, p, y, py, out);
    py += ENTRY;
    for (size_t i = p->first; i < p->first + p->n; i++) {
        const struct curve *v = &c->v[i];
        struct style look = v->style;
        if (!v->marks.len)
            look.point = 0;
        draw_sample(out, y, NAMES, py, &look);
        last_loss(&v->line, y, TRAINED, py, out);
        last_loss(&v->marks, y, HELD_OUT, py, out);
        py +=
            ENTRY * draw_wrapped(out, y, NAMES + SAMPLE, py, v->name, NAME_MOST, SMALL, "#000000");
    }
}

/* Column numbers of curves_data(). */
static void plot_curves(const struct curves *c, const struct curve_panel *p, struct buf *out)
{
    const char *x = p->by_tokens ? "$7/1e6" : "$6", *end = "";
    buf_adds(out, "plot ");
    for (int marks = 0; marks < 2; marks++)
        for (size_t i = p->first; i < p->first + p->n; i++) {
            const struct style *s = &c->v[i].style;
            if (marks && !c->v[i].marks.len)
                continue;
            buf_addf(out, "%sdata skip 1 using ($1==%zu?%s:NaN):%d with ", end, i, x, 8 + marks);
            if (marks || c->v[i].line.len == 1) // a line of one point would not be seen
                buf_addf(out, "points pointtype %d pointsize 0.55 linecolor rgb '%s'",
                         marks ? s->point : 2, s->colour);
            else
                buf_addf(out, "lines linecolor rgb '%s' linewidth %g dashtype %s", s->colour,
                         s->width, s->dash);
            end = ", \\\n     ";
        }
    buf_addc(out, '\n');
}

static void panel_script(const struct curves *c, const struct curve_panel *p,
                         const struct layout *y, int at, struct buf *out)
{
    struct range r = loss_range(c, p);
    int top = at + 8 + ENTRY * title_lines(p);
    buf_addf(out,
             "\nunset label\nunset arrow\n"
             "set lmargin at screen %.5f\nset rmargin at screen %.5f\n"
             "set tmargin at screen %.5f\nset bmargin at screen %.5f\n",
             (double)LEFT / y->width, (double)(LEFT + PANEL_W) / y->width,
             1 - (double)top / y->height, 1 - (double)(top + PANEL_H) / y->height);
    buf_addf(out, "set xrange [%.6g:%.6g]\nset yrange [%.6g:%.6g]\n", r.x_lo, r.x_hi, r.y_lo,
             r.y_hi);
    buf_adds(out, !p->by_tokens && r.x_hi < 8 ? "set xtics 1\n" : "set xtics autofreq\n");
    draw_wrapped(out, y, NAMES, at + 10, p->title, TITLE_MOST, NORMAL, "#000000");
    draw_text(out, y, LEFT + PANEL_W / 2.0, top + PANEL_H + 29,
              p->by_tokens ? "tokens trained on (millions)" : "step", NORMAL, "center", "#000000");
    draw_text(out, y, 9, top + PANEL_H / 2.0, "loss (nats per token)", NORMAL,
              "center rotate by 90", "#000000");
    legend(c, p, y, top + PANEL_H + AXIS + 4, out);
    plot_curves(c, p, out);
}

void curves_script(const struct curves *c, const char *name, struct buf *out)
{
    struct layout y = { .width = PAGE_NARROW };
    int at = 0;
    for (size_t i = 0; i < c->npanels; i++)
        y.height += panel_height(c, &c->panels[i]);
    y.height -= ROW_GAP - 4;
    draw_head(name, &y, out);
    for (size_t i = 0; i < c->npanels; i++) {
        panel_script(c, &c->panels[i], &y, at, out);
        at += panel_height(c, &c->panels[i]);
    }
    buf_adds(out, "\nunset multiplot\nset output\n");
}
