/*
 * report_results.c: the report's tables of what each cell measured: the numbers of `seqtopk table`,
 * with 95 % intervals in the place of standard errors.
 */
#include "cmd/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* What is shown of a metric. */
enum form {
    INTERVAL_95, /* value, and 1.96 standard errors to both sides */
    CORRELATION, /* value, and the interval by Fisher's z */
    VALUE,
    COUNT,
};

struct column {
    const char *name, *metric;
    enum form form;
    int places;
};

static const struct column columns[] = {
    { "#score [95 %]", "score", INTERVAL_95, 4 },
    { "#texts", "score", COUNT, 0 },
    { "#no answer", "no_answer", VALUE, 3 },
    { "#truncated", "truncated", VALUE, 3 },
    { "#nll [95 %], nats a token", "nll", INTERVAL_95, 4 },
    { "#documents", "documents", VALUE, 0 },
    { "#ppl", "ppl", VALUE, 3 },
    { "#experts a token", "experts", VALUE, 3 },
    { "#Spearman\xe2\x80\x99s \xcf\x81 [95 %]", "spearman", CORRELATION, 3 },
    { "#load entropy", "load_entropy", VALUE, 3 },
};

static bool family_has(const struct family *f, const char *metric)
{
    for (size_t i = 0; i < f->n; i++)
        if (result_metric(f->cells[i], metric))
            return true;
    return false;
}

/* Does each cell have as many of the metric as it has documents? */
static bool counts_documents(const struct family *f, const char *metric)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct result_metric *m = result_metric(f->cells[i], metric);
        const struct result_metric *d = result_metric(f->cells[i], "documents");
        if (!m != !d || (m && (double)m->n != d->value))
            return false;
    }
    return true;
}

/* A score that no cell of the family has needs no column, nor has the seed where there is one. */
struct view {
    bool seed, status;
    bool shown[ARRAY_LEN(columns)];
};

static struct view view_of(const struct family *f)
{
    struct view v = { .seed = family_has_seeds(f) };
    for (size_t i = 0; i < f->n; i++)
        v.status |= strcmp(f->cells[i]->status, "done") != 0;
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        v.shown[i] = family_has(f, columns[i].metric) &&
                     (columns[i].form != COUNT || !counts_documents(f, columns[i].metric));
    return v;
}

static void add_metric(const struct result *r, const struct column *c, struct buf *out)
{
    const struct result_metric *m = result_metric(r, c->metric);
    struct estimate e = { .value = m ? m->value : NAN, .stderr_ = m ? m->stderr_ : NAN };
    double lo = NAN, hi = NAN;
    if (c->form == CORRELATION)
        correlation_interval(e, &lo, &hi);
    if (c->form == INTERVAL_95) {
        lo = e.value - Z95 * e.stderr_;
        hi = e.value + Z95 * e.stderr_;
    }
    if (c->form == COUNT && m)
        e.value = (double)m->n;
    report_interval(e.value, lo, hi, c->places, out);
}

static void add_row(const struct result *c, bool first, const struct view *v, struct buf *out)
{
    report_row_of(first, out);
    report_head(c->label, out);
    report_cellf(out, "%d", c->k);
    if (v->seed)
        report_cellf(out, "%lld", (long long)c->seed);
    if (v->status)
        report_cell(c->status, out);
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        if (v->shown[i])
            add_metric(c, &columns[i], out);
    buf_adds(out, "<td><code>");
    html_text_len(c->id, strnlen(c->id, 8), out);
    buf_adds(out, "</code></td>");
    report_row_end(out);
}

/* `room`: rows that all tables may still have. */
static void add_family(struct report *r, const struct family *f, size_t *room, struct buf *out)
{
    size_t rows = f->n < REPORT_ROWS ? f->n : REPORT_ROWS;
    rows = rows < *room ? rows : *room;
    *room -= rows;
    if (rows == 0) {
        report_left_out(out, "the table of %s; `seqtopk table DB` lists all", f->name);
        return;
    }
    const char *names[ARRAY_LEN(columns) + 6];
    size_t n = 0;
    struct view v = view_of(f);
    names[n++] = "router";
    names[n++] = "#K";
    if (v.seed)
        names[n++] = "#seed";
    if (v.status)
        names[n++] = "status";
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        if (v.shown[i])
            names[n++] = columns[i].name;
    names[n++] = "cell";
    names[n] = NULL;
    report_table(r, f->name, names, out);
    for (size_t i = 0; i < rows; i++)
        add_row(f->cells[i], i > 0 && f->cells[i]->k != f->cells[i - 1]->k, &v, out);
    report_table_end(out);
    if (f->n > rows)
        report_left_out(out, "%zu cells of this table; `seqtopk table DB` lists all", f->n - rows);
}

void report_results(struct report *r, struct buf *out)
{
    size_t room = REPORT_CELLS;
    if (r->all.len == 0)
        return;
    report_open("results", "Results", out);
    buf_adds(
        out,
        "<p>One row a cell, with the numbers of <code>seqtopk table</code>. Intervals are 95 % "
        "and by document, since tokens of one document are not independent: 1.96 standard "
        "errors to both sides; Spearman\xe2\x80\x99s \xcf\x81, of a token\xe2\x80\x99s experts "
        "with its predictive entropy, by Fisher\xe2\x80\x99s z over a jackknife. To tell two "
        "routers apart, read <a href=#tests>the paired tests</a>: both met the same documents, "
        "so that routers can differ whose intervals here overlap.</p>\n");
    for (size_t i = 0; i < r->nfamilies; i++)
        add_family(r, &r->families[i], &room, out);
    report_close(out);
}
