/*
 * report_points.c: the words and tables that stand beside the report's drawings; see report_figure.h.
 */
#include "cmd/report_figure.h"

#include <math.h>

const char *figure_title(enum figure_kind kind)
{
    return kind == FIGURE_ENTROPY  ? "Experts per token against predictive entropy"
           : kind == FIGURE_LAYERS ? "Experts per token against predictive entropy, by layer"
                                   : "How many experts tokens took";
}

const char *figure_words(enum figure_kind kind)
{
    return kind == FIGURE_ENTROPY ? "Tokens in twenty bins of equal size by entropy; bands are 95 "
                                    "% intervals by document; "
                                    "the broken line is K."
           : kind == FIGURE_LAYERS
               ? "The same for each layer. The table has the lowest bin, the middle one and the "
                 "highest."
               : "The share of tokens, over all layers, that took so many experts.";
}

static void add_point(const struct figure *f, const struct line *l, const struct point *p,
                      struct buf *out)
{
    report_row(out);
    report_head(l->cell->label, out);
    report_cellf(out, "%d", l->cell->k);
    if (f->kind == FIGURE_LAYERS)
        report_cellf(out, "%d", l->layer);
    report_cellf(out, "%.*f", f->kind == FIGURE_HISTOGRAM ? 0 : 3, p->x);
    if (isnan(p->y_lo))
        report_cellf(out, "%.3f", p->y);
    else
        report_cellf(out, "%.3f [%.3f, %.3f]", p->y, p->y_lo, p->y_hi);
    report_cellf(out, "%lld", (long long)p->tokens);
    report_row_end(out);
}

static bool is_listed(const struct figure *f, const struct line *l, size_t i)
{
    return f->kind != FIGURE_LAYERS || i == 0 || i == l->n / 2 || i + 1 == l->n;
}

void figure_points(struct report *r, const struct figure *f, size_t *room, struct buf *out)
{
    static const char *const entropy[] = { "router",          "#K",      "#entropy, nats",
                                           "#experts [95 %]", "#tokens", NULL };
    static const char *const layers[] = { "router",          "#K",      "#layer", "#entropy, nats",
                                          "#experts [95 %]", "#tokens", NULL };
    static const char *const histogram[] = { "router",       "#K",      "#experts",
                                             "#% of tokens", "#tokens", NULL };
    size_t n = 0, left_out = 0;
    buf_adds(out, "<details><summary>The figure as a table</summary>\n");
    report_table(r, figure_title(f->kind),
                 f->kind == FIGURE_ENTROPY  ? entropy
                 : f->kind == FIGURE_LAYERS ? layers
                                            : histogram,
                 out);
    for (size_t p = 0; p < f->npanels; p++)
        for (size_t l = 0; l < f->panels[p].nlines; l++)
            for (size_t i = 0; i < f->panels[p].lines[l].n; i++) {
                const struct line *line = &f->panels[p].lines[l];
                if (!is_listed(f, line, i))
                    continue;
                if (n++ < REPORT_POINTS && *room) {
                    add_point(f, line, &line->points[i], out);
                    --*room;
                } else {
                    left_out++;
                }
            }
    report_table_end(out);
    if (left_out)
        report_left_out(out, "%zu rows; `seqtopk plot` writes all of them beside the figure",
                        left_out);
    buf_adds(out, "</details>\n");
}

void curves_points(struct report *r, const struct curves *c, struct buf *out)
{
    static const char *const columns[] = {
        "training", "sweep", "model", "#steps", "#first loss", "#last loss", "#last held-out loss",
        NULL
    };
    buf_adds(out, "<details><summary>The figure as a table</summary>\n");
    report_table(r, "Losses of trainings, nats a token, smoothed as drawn", columns, out);
    for (size_t i = 0; i < c->len && i < REPORT_ROWS; i++) {
        const struct curve *v = &c->v[i];
        report_row(out);
        report_head(v->parts, out);
        report_cell(v->sweep, out);
        report_cell(v->model, out);
        report_cellf(out, "%lld", v->line.len ? (long long)v->line.v[v->line.len - 1].step : 0LL);
        report_number(v->line.len ? v->line.v[0].loss : NAN, 4, out);
        report_number(v->line.len ? v->line.v[v->line.len - 1].loss : NAN, 4, out);
        report_number(v->marks.len ? v->marks.v[v->marks.len - 1].loss : NAN, 4, out);
        report_row_end(out);
    }
    report_table_end(out);
    if (c->len > REPORT_ROWS)
        report_left_out(out, "%zu trainings", c->len - REPORT_ROWS);
    buf_adds(out, "</details>\n");
}
