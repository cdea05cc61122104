/*
 * figure_layout.c: see figure_layout.h.
 */
#include "cmd/figure_layout.h"

#include <math.h>
#include <string.h>

size_t layout_most_lines(const struct figure *f, int row)
{
    size_t n = 0;
    for (int c = 0; c < f->columns; c++) {
        size_t i = (size_t)row * (size_t)f->columns + (size_t)c;
        if (i < f->npanels && f->panels[i].nlines > n)
            n = f->panels[i].nlines;
    }
    return n;
}

int layout_name(const struct layout *y, const struct panel *p, size_t which, int *x)
{
    int line = 0;
    *x = LEFT;
    for (size_t i = 0; i <= which; i++) {
        int w = SAMPLE + 18 + (int)(LETTER * (double)strlen(p->lines[i].name));
        if (*x + w > y->width && *x > LEFT) {
            line++;
            *x = LEFT;
        }
        if (i < which)
            *x += w;
    }
    return line;
}

static bool has_title(const struct figure *f)
{
    for (size_t i = 0; i < f->npanels; i++)
        if (*f->panels[i].title)
            return true;
    return false;
}

/* What a legend needs in width. */
static double legend_width(const struct figure *f)
{
    size_t longest = 0;
    for (size_t i = 0; i < f->npanels; i++)
        for (size_t l = 0; l < f->panels[i].nlines; l++)
            longest = strlen(f->panels[i].lines[l].name) > longest
                          ? strlen(f->panels[i].lines[l].name)
                          : longest;
    return SAMPLE + LETTER * (double)longest + 6 + NOTE;
}

static void set_widths(const struct figure *f, struct layout *y)
{
    y->width = f->columns == 1 ? PAGE_NARROW : PAGE_WIDE;
    y->gap = f->kind == FIGURE_LAYERS ? GAP_LAYERS : GAP;
    y->panel_w = (y->width - LEFT - RIGHT - (f->columns - 1) * y->gap) / f->columns;
}

void layout_fit(struct figure *f)
{
    struct layout y;
    for (set_widths(f, &y); f->kind != FIGURE_LAYERS && f->columns > 2; set_widths(f, &y)) {
        if (y.panel_w + RIGHT >= legend_width(f))
            break;
        f->columns = f->columns == 4 ? 2 : f->columns - 1;
    }
}

struct layout layout_of(const struct figure *f)
{
    struct layout y = { .rows = (int)((f->npanels + (size_t)f->columns - 1) / (size_t)f->columns) };
    bool layers = f->kind == FIGURE_LAYERS;
    int at = 0;
    set_widths(f, &y);
    y.panel_h = y.panel_w * 3 / 4 < 130 ? 130 : y.panel_w * 3 / 4 > 200 ? 200 : y.panel_w * 3 / 4;
    y.top = xcalloc((size_t)y.rows, sizeof(*y.top));
    for (int r = 0; r < y.rows; r++) {
        const struct panel *first = &f->panels[(size_t)r * (size_t)f->columns];
        int x;
        int names = layers && first->nlines ? layout_name(&y, first, first->nlines - 1, &x) + 2 : 0;
        y.top[r] = at + (has_title(f) ? TITLE : 8) + (f->kind == FIGURE_HISTOGRAM ? MARK : 0);
        at = y.top[r] + y.panel_h + AXIS + ENTRY * (1 + (int)layout_most_lines(f, r) + names) +
             ROW_GAP;
    }
    y.height = at - ROW_GAP + 4;
    return y;
}

static void widen(struct range *r, const struct panel *p, bool histogram)
{
    for (size_t l = 0; l < p->nlines; l++)
        for (size_t i = 0; i < p->lines[l].n; i++) {
            const struct point *q = &p->lines[l].points[i];
            // A long thin tail would leave no room for the rest; it is in the data.
            if (!histogram || q->y >= 0.1) {
                r->x_lo = fmin(r->x_lo, q->x);
                r->x_hi = fmax(r->x_hi, q->x);
            }
            r->y_lo = fmin(r->y_lo, fmin(q->y, q->y_lo)); // fmin passes NaN over
            r->y_hi = fmax(r->y_hi, fmax(q->y, q->y_hi));
        }
}

struct range range_of(const struct figure *f, size_t which)
{
    bool histogram = f->kind == FIGURE_HISTOGRAM;
    const struct panel *p = &f->panels[which];
    struct range r = { INFINITY, -INFINITY, INFINITY, -INFINITY }, all = r;
    for (size_t i = 0; i < f->npanels; i++) {
        widen(&all, &f->panels[i], histogram);
        if (i / (size_t)f->columns == which / (size_t)f->columns && f->panels[i].k == p->k)
            widen(&r, &f->panels[i], histogram);
    }
    if (histogram) {
        r.x_lo = fmin(r.x_lo, p->k) - 0.5;
        r.x_hi = fmax(r.x_hi, p->k) + 0.5;
        r.y_lo = 0;
        r.y_hi *= 1.06;
        return r;
    }
    r.y_lo = fmin(r.y_lo, p->k);
    r.y_hi = fmax(r.y_hi, p->k);
    double room = 0.06 * (r.y_hi - r.y_lo);
    room = room > 0 ? room : 0.5;
    r.y_lo -= room;
    r.y_hi += room;
    r.x_lo = 0;
    r.x_hi = all.x_hi > 0 ? 1.03 * all.x_hi : 1;
    return r;
}
