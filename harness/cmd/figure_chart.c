/*
 * figure_chart.c: charts as they are put together; see figure_chart.h.
 */
#include "cmd/figure_chart.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* Appends "-text" with nothing in it that a file's name should not have. */
static void add_part(struct buf *name, const char *text)
{
    buf_addc(name, '-');
    for (; *text; text++)
        buf_addc(name, isalnum((unsigned char)*text) || strchr("._", *text) ? *text : '-');
}

struct chart *charts_add(struct charts *all, const char *prefix, const char *kind,
                         const char *const *parts, size_t nparts)
{
    struct buf name = BUF_INIT;
    buf_addf(&name, "%s%s", prefix, *prefix ? "-" : "");
    for (const char *p = kind; *p; p++)
        buf_addc(&name, isalnum((unsigned char)*p) || strchr("._", *p) ? *p : '-');
    for (size_t i = 0; i < nparts; i++)
        if (parts[i] && *parts[i])
            add_part(&name, parts[i]);
    // Two names may differ in what a file's name has not.
    for (size_t i = 0; i < all->len; i++)
        if (strcmp(all->v[i].name, name.s) == 0)
            buf_addf(&name, "-%zu", all->len);
    ARRAY_GROW(all->v, all->cap, all->len + 1);
    all->v[all->len] = (struct chart){ .name = buf_detach(&name), .columns = 1 };
    return &all->v[all->len++];
}

struct chart_panel *chart_panel_add(struct chart *c, char *title, const char *quantity,
                                    enum chart_form form)
{
    const struct chart_axis plain = { .name = "", .least = NAN, .most = NAN, .mark = NAN };
    ARRAY_GROW(c->panels, c->cap, c->npanels + 1);
    c->panels[c->npanels] = (struct chart_panel){
        .title = title, .quantity = quantity, .form = form, .x = plain, .y = plain
    };
    return &c->panels[c->npanels++];
}

struct chart_line *chart_line_add(struct chart_panel *p, const struct result *cell, char *name,
                                  struct style style)
{
    ARRAY_GROW(p->lines, p->cap, p->nlines + 1);
    p->lines[p->nlines] = (struct chart_line){ .cell = cell, .name = name, .style = style };
    return &p->lines[p->nlines++];
}

struct chart_point *chart_point_add(struct chart_line *l, double x, double y)
{
    ARRAY_GROW(l->points, l->cap, l->n + 1);
    l->points[l->n] = (struct chart_point){ .x = x, .y = y, .lo = NAN, .hi = NAN };
    return &l->points[l->n++];
}

void chart_tick_add(struct chart_axis *a, double at)
{
    ARRAY_GROW(a->ticks, a->cap, a->nticks + 1);
    a->ticks[a->nticks++] = at;
}

size_t chart_points(const struct chart_panel *p)
{
    size_t n = 0;
    for (size_t l = 0; l < p->nlines; l++)
        n += p->lines[l].n;
    return n;
}

/* ---- lines that look alike ---- */

/* Names as the legend has them, each once, with the look of its first line. */
struct looks {
    struct chart_line **v;
    size_t len, cap;
};

static struct chart_line *look_of(struct looks *all, const char *name)
{
    for (size_t i = 0; i < all->len; i++)
        if (strcmp(all->v[i]->name, name) == 0)
            return all->v[i];
    return NULL;
}

static bool is_taken(const struct looks *all, const struct style *s)
{
    for (size_t i = 0; i < all->len; i++) {
        const struct style *t = &all->v[i]->style;
        if (strcmp(s->colour, t->colour) == 0 && strcmp(s->dash, t->dash) == 0 &&
            s->point == t->point)
            return true;
    }
    return false;
}

static void tell_apart(struct chart *c)
{
    static const int marks[] = { 4, 6, 8, 10, 12, 14, 1, 3 };
    struct looks all = { 0 };
    for (size_t p = 0; p < c->npanels; p++)
        for (size_t i = 0; i < c->panels[p].nlines; i++) {
            struct chart_line *l = &c->panels[p].lines[i], *same = look_of(&all, l->name);
            if (same) {
                l->style = same->style;
                continue;
            }
            for (size_t m = 0; is_taken(&all, &l->style) && m < ARRAY_LEN(marks); m++)
                l->style.point = marks[m];
            ARRAY_GROW(all.v, all.cap, all.len + 1);
            all.v[all.len++] = l;
        }
    free(all.v);
}

/* ---- the end of them ---- */

static void panel_release(struct chart_panel *p)
{
    for (size_t l = 0; l < p->nlines; l++) {
        free(p->lines[l].name);
        free(p->lines[l].points);
    }
    free(p->lines);
    free(p->title);
    free(p->x.ticks);
    free(p->y.ticks);
    strings_release(&p->rows);
    strings_release(&p->notes);
}

static void chart_release(struct chart *c)
{
    for (size_t i = 0; i < c->npanels; i++)
        panel_release(&c->panels[i]);
    free(c->panels);
    free(c->name);
    free(c->note);
    free(c->head);
    free(c->y_name);
}

void charts_settle(struct charts *all)
{
    struct chart *c = &all->v[all->len - 1];
    size_t n = 0;
    for (size_t i = 0; i < c->npanels; i++)
        n += chart_points(&c->panels[i]);
    if (n)
        tell_apart(c);
    else
        chart_release(&all->v[--all->len]);
}

void charts_release(struct charts *all)
{
    for (size_t i = 0; i < all->len; i++)
        chart_release(&all->v[i]);
    free(all->v);
    *all = (struct charts){ 0 };
}
