/*
 * report_load.c: the report's maps of the experts' load: layers downwards, experts to the right, each
 * square shaded by how its load stands to an even share. What no token took has a cross. Below each
 * map the same in numbers, by layer.
 */
#include "cmd/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define UNIT 10 /* a square of the drawing */
#define EXPERTS_MAX 1024
#define LAYERS_MAX 512

struct map {
    int layers, experts;
    double
        *load; /* [layers, experts] pairs over an even share of the layer's; 1: even; NaN: none */
};

/* The upper ends of the shades, in even shares. */
static const double steps[SHADE_STEPS - 1] = { 0.25, 0.5, 0.8, 1.25, 2, 4 };
static const char *const step_names[SHADE_STEPS] = { "under \xc2\xbc",  "\xc2\xbc to \xc2\xbd",
                                                     "\xc2\xbd to 0.8", "0.8 to 1.25: even",
                                                     "1.25 to 2",       "2 to 4",
                                                     "4 and more" };

static int step_of(double load)
{
    int s = 0;
    while (s < SHADE_STEPS - 1 && load >= steps[s])
        s++;
    return s;
}

/* ---- reading ---- */

static double *place(const struct map *m, int layer, int expert)
{
    return &m->load[(size_t)layer * (size_t)m->experts + (size_t)expert];
}

static void make_relative(struct map *m)
{
    for (int l = 0; l < m->layers; l++) {
        double sum = 0;
        for (int e = 0; e < m->experts; e++)
            sum += *place(m, l, e);
        for (int e = 0; e < m->experts; e++)
            *place(m, l, e) = sum > 0 ? *place(m, l, e) * m->experts / sum : NAN;
    }
}

/* false: the cell has no load, or one that no model has. */
static bool read_map(struct report *r, const struct result *c, struct map *m)
{
    struct buf id = BUF_INIT, sql = BUF_INIT;
    bool any = false;
    report_ids(&c, 1, &id);
    buf_addf(&sql, "SELECT layers, experts FROM cell WHERE id = %s", id.s);
    struct rows *q = report_query(r, sql.s);
    if (report_next(q))
        *m = (struct map){ .layers = (int)rows_int(q, 0), .experts = (int)rows_int(q, 1) };
    rows_close(q);
    bool fits =
        m->layers > 0 && m->layers <= LAYERS_MAX && m->experts > 0 && m->experts <= EXPERTS_MAX;
    buf_reset(&sql);
    buf_addf(&sql, "SELECT layer, expert, tokens FROM v_expert_load WHERE cell_id = %s", id.s);
    q = fits ? report_query(r, sql.s) : NULL;
    m->load = fits ? xcalloc((size_t)m->layers * (size_t)m->experts, sizeof(*m->load)) : NULL;
    while (q && report_next(q)) {
        int64_t l = rows_int(q, 0), e = rows_int(q, 1);
        if (l < 0 || l >= m->layers || e < 0 || e >= m->experts)
            continue;
        *place(m, (int)l, (int)e) = rows_double(q, 2);
        any = true;
    }
    rows_close(q);
    if (any)
        make_relative(m);
    buf_release(&id);
    buf_release(&sql);
    return any;
}

/* ---- drawing ---- */

/* One path a shade: squares of one shade side by side are one oblong. */
static void add_squares(const struct map *m, int step, struct buf *out)
{
    bool any = false;
    for (int l = 0; l < m->layers; l++)
        for (int e = 0, to; e < m->experts; e = to) {
            to = e + 1;
            if (isnan(*place(m, l, e)) || step_of(*place(m, l, e)) != step)
                continue;
            while (to < m->experts && !isnan(*place(m, l, to)) && step_of(*place(m, l, to)) == step)
                to++;
            if (!any)
                buf_addf(out, "<path class=m%d d=\"", step);
            buf_addf(out, "M%d %dh%dv%dh-%dz", e * UNIT, l * UNIT, (to - e) * UNIT, UNIT,
                     (to - e) * UNIT);
            any = true;
        }
    buf_adds(out, any ? "\"/>" : "");
}

/* A mark that needs no colour: experts that no token took. */
static void add_crosses(const struct map *m, struct buf *out)
{
    bool any = false;
    for (int l = 0; l < m->layers; l++)
        for (int e = 0; e < m->experts; e++) {
            if (*place(m, l, e) != 0)
                continue;
            buf_adds(out, any ? "" : "<path class=dead d=\"");
            buf_addf(out, "M%d %dl6 6m0-6l-6 6", e * UNIT + 2, l * UNIT + 2);
            any = true;
        }
    buf_adds(out, any ? "\"/>" : "");
}

static void add_drawing(const struct map *m, const char *name, struct buf *out)
{
    buf_addf(out,
             "<div class=map style=\"max-width:%drem\"><span class=down aria-hidden=true>"
             "<i>layer 0</i><i>%d</i></span><svg role=img viewBox=\"0 0 %d %d\" aria-label=\"",
             m->experts * 14 / 16 + 4, m->layers - 1, m->experts * UNIT, m->layers * UNIT);
    buf_addf(out, "Load of %d experts in %d layers: ", m->experts, m->layers);
    html_attribute(name, out);
    buf_adds(out, ". The table below has the numbers.\">");
    for (int s = 0; s < SHADE_STEPS; s++)
        add_squares(m, s, out);
    add_crosses(m, out);
    buf_addf(out,
             "</svg><span class=along aria-hidden=true><i>expert 0</i><i>%d</i></span></div>\n",
             m->experts - 1);
}

/* ---- the same in numbers ---- */

static void add_layer(const struct result *c, const struct map *m, int l, struct buf *out)
{
    int most = 0, least = 0, dead = 0;
    char *name = xasprintf("load_entropy_layer_%d", l);
    const struct result_metric *entropy = result_metric(c, name);
    for (int e = 0; e < m->experts; e++) {
        most = *place(m, l, e) > *place(m, l, most) ? e : most;
        least = *place(m, l, e) < *place(m, l, least) ? e : least;
        dead += *place(m, l, e) == 0;
    }
    report_row(out);
    buf_addf(out, "<th scope=row>%d</th>", l);
    report_number(entropy ? entropy->value : NAN, 3, out);
    report_cellf(out, "%d (%.2f)", most, *place(m, l, most));
    report_cellf(out, "%d (%.2f)", least, *place(m, l, least));
    report_cellf(out, "%d", dead);
    report_row_end(out);
    free(name);
}

static void add_numbers(struct report *r, const struct result *c, const struct map *m,
                        const char *name, struct buf *out)
{
    static const char *const columns[] = { "layer",       "#load entropy", "#most used",
                                           "#least used", "#not used",     NULL };
    char *caption = xasprintf("%s: expert, and its load in even shares", name);
    buf_adds(out, "<details><summary>Numbers by layer<span class=sr> of ");
    html_text(name, out);
    buf_adds(out, "</span></summary>\n");
    report_table(r, caption, columns, out);
    for (int l = 0; l < m->layers; l++)
        add_layer(c, m, l, out);
    report_table_end(out);
    buf_adds(out, "</details>\n");
    free(caption);
}

static void add_map(struct report *r, const struct family *f, const struct result *c,
                    const struct map *m, struct buf *out)
{
    struct buf name = BUF_INIT;
    const struct result_metric *entropy = result_metric(c, "load_entropy");
    const struct result_metric *dead = result_metric(c, "dead_experts");
    report_cell_name(f, c, &name);
    buf_adds(out, "<figure class=load><figcaption><b>");
    html_text(name.s, out);
    buf_adds(out, "</b>");
    if (entropy && !isnan(entropy->value))
        buf_addf(out, "; load entropy %.3f", entropy->value);
    if (dead && dead->value > 0)
        buf_addf(out, "; %.1f %% of experts unused", 100 * dead->value);
    buf_adds(out, "</figcaption>\n");
    add_drawing(m, name.s, out);
    add_numbers(r, c, m, name.s, out);
    buf_adds(out, "</figure>\n");
    buf_release(&name);
}

static void add_legend(struct buf *out)
{
    buf_adds(out, "<ul class=legend aria-label=\"Shades, in even shares of a layer\xe2\x80\x99s "
                  "load\">");
    for (int s = 0; s < SHADE_STEPS; s++)
        buf_addf(out, "<li class=s%d>%s</li>", s, step_names[s]);
    buf_adds(out, "<li class=cross>\xc3\x97 taken by no token</li></ul>\n");
}

/* ---- all ---- */

struct maps {
    size_t n, left_out, begin; /* begin: length of the page before them */
};

/* Each router and K once: of several seeds the first. */
static bool is_shown(const struct family *f, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (f->cells[j]->k == f->cells[i]->k && strcmp(f->cells[j]->label, f->cells[i]->label) == 0)
            return false;
    return true;
}

static void add_family(struct report *r, const struct family *f, struct maps *maps, struct buf *out)
{
    bool any = false;
    for (size_t i = 0; i < f->n; i++) {
        struct map m = { 0 };
        bool full = maps->n >= REPORT_MAPS || out->len - maps->begin > REPORT_MAPS_BYTES;
        if (!is_shown(f, i))
            continue;
        maps->left_out += full;
        if (!full && read_map(r, f->cells[i], &m)) {
            if (!any) {
                buf_adds(out, "<h3>");
                html_text(f->name, out);
                buf_adds(out, "</h3>\n<div class=maps>\n");
            }
            any = true;
            maps->n++;
            add_map(r, f, f->cells[i], &m, out);
        }
        free(m.load);
    }
    buf_adds(out, any ? "</div>\n" : "");
}

void report_load(struct report *r, struct buf *out)
{
    struct buf body = BUF_INIT;
    struct maps maps = { 0 };
    for (size_t i = 0; i < r->nfamilies; i++)
        add_family(r, &r->families[i], &maps, &body);
    if (maps.n) {
        report_open("load", "Load of the experts", out);
        buf_adds(out, "<p>Which experts the tokens took: layers downwards, experts to the right. A "
                      "shade says how much of its layer\xe2\x80\x99s load an expert has, in even "
                      "shares: at 1 it has as much as if all were used alike. Load entropy is 1 "
                      "where they are.</p>\n");
        add_legend(out);
        buf_add(out, body.s, body.len);
        if (maps.left_out)
            report_left_out(out,
                            "maps of %zu cells; --where chooses cells, and the view v_expert_load "
                            "has the numbers of all",
                            maps.left_out);
        report_close(out);
    }
    buf_release(&body);
}
