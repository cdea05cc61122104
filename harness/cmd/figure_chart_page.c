/*
 * figure_chart_page.c: see figure_chart_page.h.
 */
#include "cmd/figure_chart_page.h"

#include <math.h>
#include <string.h>

#define MARGIN 12  /* behind the last panel */
#define NUMBERS 54 /* before the first: tick labels and the axis' name */
#define TITLE_LETTER (LETTER * NORMAL / SMALL)

/* ---- the legend ---- */

static bool is_named(const struct page *y, const char *name)
{
    for (size_t i = 0; i < y->nnames; i++)
        if (strcmp(y->names[i].of->name, name) == 0)
            return true;
    return false;
}

/* Letters, not bytes. */
static double width_of(const char *s)
{
    double n = 0;
    for (; *s; s++)
        n += ((unsigned char)*s & 0xc0) != 0x80;
    return LETTER * n;
}

/* Names along the page, in as many lines as they need. */
static void place_names(const struct chart *c, struct page *y)
{
    int x = PAGE_EDGE;
    for (size_t p = 0; p < c->npanels; p++)
        for (size_t l = 0; l < c->panels[p].nlines; l++) {
            const struct chart_line *of = &c->panels[p].lines[l];
            int w = SAMPLE + 20 + (int)width_of(of->name);
            if (!of->n || is_named(y, of->name))
                continue;
            if (x + w - 16 > y->size.width && x > PAGE_EDGE) {
                y->lines++;
                x = PAGE_EDGE;
            }
            ARRAY_GROW(y->names, y->cap, y->nnames + 1);
            y->names[y->nnames++] = (struct legend_name){ of, x, y->lines };
            x += w;
        }
    y->lines++;
}

size_t page_letters(const struct page *y)
{
    return (size_t)((y->size.width - 2 * PAGE_EDGE) / LETTER);
}

size_t page_head_letters(const struct page *y)
{
    return (size_t)((y->size.width - y->left - MARGIN) / TITLE_LETTER);
}

size_t page_title_letters(const struct page *y)
{
    return (size_t)(y->panel_w / TITLE_LETTER);
}

/* ---- panels ---- */

/* Room for the names of rows, and the notes beside them. */
static int left_of(const struct chart *c)
{
    double most = 0;
    if (c->panels[0].form != CHART_ROWS)
        return NUMBERS;
    for (size_t i = 0; i < c->panels[0].rows.len; i++)
        most = fmax(most, width_of(c->panels[0].rows.v[i]));
    return PAGE_EDGE + (int)most + ROW_NOTE + 10;
}

static bool row_has_title(const struct chart *c, int row)
{
    for (int i = 0; i < c->columns; i++) {
        size_t at = (size_t)row * (size_t)c->columns + (size_t)i;
        if (at < c->npanels &&
            (*c->panels[at].title || (c->panels[at].form == CHART_ROWS && c->notes_title)))
            return true;
    }
    return false;
}

/* Lines of the longest title beyond the first. */
static int more_of_titles(const struct chart *c, const struct page *y, int row)
{
    int most = 1;
    for (int i = 0; i < c->columns; i++) {
        size_t at = (size_t)row * (size_t)c->columns + (size_t)i;
        int lines = at < c->npanels ? draw_wrapped(NULL, NULL, 0, 0, c->panels[at].title,
                                                   page_title_letters(y), NORMAL, "")
                                    : 1;
        most = lines > most ? lines : most;
    }
    return most - 1;
}

static int lines_of_note(const struct chart *c, const struct page *y)
{
    return c->note ? draw_wrapped(NULL, NULL, 0, 0, c->note, page_letters(y), SMALL, "") : 0;
}

struct page page_of(const struct chart *c)
{
    struct page y = { .size = { .width = c->columns == 1 ? PAGE_NARROW : PAGE_WIDE } };
    int rows = (int)((c->npanels + (size_t)c->columns - 1) / (size_t)c->columns), at = 0;
    bool named = c->panels[0].form == CHART_ROWS; // the names are once at the left
    y.left = left_of(c);
    y.gap = named ? 22 : c->common ? 46 : GAP;
    y.panel_w = (y.size.width - y.left - MARGIN - (c->columns - 1) * y.gap) / c->columns;
    y.panel_h = c->panel_h ? c->panel_h : y.panel_w * 7 / 10 > 190 ? 190 : y.panel_w * 7 / 10;
    y.panel_h = y.panel_h < 110 && !c->panel_h ? 110 : y.panel_h;
    y.top = xcalloc((size_t)rows, sizeof(*y.top));
    if (c->head && *c->head)
        y.head = draw_wrapped(NULL, NULL, 0, 0, c->head, page_head_letters(&y), NORMAL, "");
    at = y.head ? ENTRY * y.head + 4 : 0;
    for (int r = 0; r < rows; r++) {
        bool lowest = !c->stacked || r + 1 == rows;
        y.top[r] = at + (row_has_title(c, r) ? TITLE : 10) + ENTRY * more_of_titles(c, &y, r);
        at = y.top[r] + y.panel_h + (lowest ? AXIS : 6);
    }
    y.legend = at + 4;
    place_names(c, &y);
    y.size.height = y.legend + ENTRY * (y.lines + lines_of_note(c, &y)) - 2;
    return y;
}

void page_release(struct page *y)
{
    free(y->top);
    free(y->names);
    *y = (struct page){ 0 };
}

struct place page_place(const struct chart *c, const struct page *y, size_t which)
{
    int column = (int)which % c->columns, row = (int)which / c->columns;
    return (struct place){ .left = y->left + column * (y->panel_w + y->gap),
                           .top = y->top[row],
                           .w = y->panel_w,
                           .h = y->panel_h,
                           .first = column == 0,
                           .lowest = which + (size_t)c->columns >= c->npanels };
}

/* ---- ranges ---- */

static void widen(double *lo, double *hi, double v)
{
    *lo = fmin(*lo, v); // fmin passes NaN over
    *hi = fmax(*hi, v);
}

static void widen_y(struct range *r, const struct chart_panel *p)
{
    for (size_t l = 0; l < p->nlines; l++)
        for (size_t i = 0; i < p->lines[l].n; i++) {
            const struct chart_point *q = &p->lines[l].points[i];
            widen(&r->y_lo, &r->y_hi, q->y);
            widen(&r->y_lo, &r->y_hi, q->lo);
            widen(&r->y_lo, &r->y_hi, q->hi);
        }
    widen(&r->y_lo, &r->y_hi, p->y.mark);
    widen(&r->y_lo, &r->y_hi, p->y.least);
    widen(&r->y_lo, &r->y_hi, p->y.most);
}

static void widen_x(struct range *r, const struct chart_panel *p)
{
    for (size_t l = 0; l < p->nlines; l++)
        for (size_t i = 0; i < p->lines[l].n; i++)
            widen(&r->x_lo, &r->x_hi, p->lines[l].points[i].x);
    widen(&r->x_lo, &r->x_hi, p->x.mark);
    widen(&r->x_lo, &r->x_hi, p->x.least);
    widen(&r->x_lo, &r->x_hi, p->x.most);
}

/* A blank beside the outermost points, but not beyond an end that is given. */
static void add_room(const struct chart_axis *a, double share, double *lo, double *hi)
{
    if (a->doubling) {
        double room = share * log2(*hi / *lo);
        room = room > 0 ? exp2(room) : 1.4;
        *lo = a->tight && a->least <= *lo ? *lo : *lo / room;
        *hi = a->tight && a->most >= *hi ? *hi : *hi * room;
        return;
    }
    double room = share * (*hi - *lo);
    room = room > 0 ? room : *hi ? 0.1 * fabs(*hi) : 0.5;
    *lo = a->tight && a->least <= *lo ? *lo : *lo - room;
    *hi = a->tight && a->most >= *hi ? *hi : *hi + room;
}

/* At the right end, for the intervals of lines that are the same everywhere. */
static void add_flat_room(const struct chart_panel *p, struct range *r)
{
    double share = 0;
    for (size_t l = 0; l < p->nlines; l++)
        share += p->lines[l].flat ? 0.03 : 0;
    if (p->x.doubling)
        r->x_hi *= exp2(share * log2(r->x_hi / r->x_lo));
    else
        r->x_hi += share * (r->x_hi - r->x_lo);
}

struct range page_range(const struct chart *c, size_t which)
{
    const struct chart_panel *p = &c->panels[which];
    struct range r = { INFINITY, -INFINITY, INFINITY, -INFINITY };
    widen_x(&r, p);
    for (size_t i = 0; i < c->npanels; i++)
        if (i == which || (c->common && strcmp(c->panels[i].quantity, p->quantity) == 0)) {
            widen_y(&r, &c->panels[i]);
            if (c->stacked || p->form == CHART_CLOUD)
                widen_x(&r, &c->panels[i]);
        }
    add_room(&p->x, 0.08, &r.x_lo, &r.x_hi);
    add_flat_room(p, &r);
    add_room(&p->y, 0.07, &r.y_lo, &r.y_hi);
    return r;
}
