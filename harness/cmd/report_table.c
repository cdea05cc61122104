/*
 * report_table.c: what the parts of the report are written with; see report.h.
 */
#include "cmd/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void report_warn(struct report *r, bool grave, const char *where, const char *fmt, ...)
{
    struct buf text = BUF_INIT;
    va_list ap;
    if (r->nwarnings == REPORT_WARNINGS) {
        r->unheard++;
        return;
    }
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    ARRAY_GROW(r->warnings, r->warnings_cap, r->nwarnings + 1);
    r->warnings[r->nwarnings++] = (struct warning){ buf_detach(&text), where, grave };
}

void report_open(const char *id, const char *heading, struct buf *out)
{
    buf_addf(out, "<section id=%s aria-labelledby=%s-h>\n<h2 id=%s-h>%s</h2>\n", id, id, id,
             heading);
}

void report_close(struct buf *out)
{
    buf_adds(out, "</section>\n");
}

void report_left_out(struct buf *out, const char *fmt, ...)
{
    struct buf text = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    buf_adds(out, "<p class=left>Left out: ");
    html_text(text.s, out);
    buf_adds(out, ".</p>\n");
    buf_release(&text);
}

/* ---- tables ---- */

void report_table(struct report *r, const char *caption, const char *const *columns,
                  struct buf *out)
{
    int id = ++r->tables;
    buf_addf(out,
             "<div class=scroll role=region aria-labelledby=table-%d tabindex=0>\n<table>"
             "<caption id=table-%d><span>",
             id, id);
    html_text(caption, out);
    buf_adds(out, "</span></caption>\n<thead><tr>");
    for (; *columns; columns++) {
        bool number = **columns == '#';
        buf_adds(out, number ? "<th scope=col class=r>" : "<th scope=col>");
        html_text(*columns + number, out);
        buf_adds(out, "</th>");
    }
    buf_adds(out, "</tr></thead>\n<tbody>");
}

void report_table_end(struct buf *out)
{
    buf_adds(out, "</tbody></table></div>\n");
}

void report_row(struct buf *out)
{
    buf_adds(out, "\n<tr>");
}

void report_row_of(bool first, struct buf *out)
{
    buf_adds(out, first ? "\n<tr class=g>" : "\n<tr>");
}

void report_row_end(struct buf *out)
{
    buf_adds(out, "</tr>");
}

void report_head(const char *text, struct buf *out)
{
    buf_adds(out, "<th scope=row>");
    html_text(text, out);
    buf_adds(out, "</th>");
}

static void nothing(struct buf *out)
{
    buf_adds(out, "<td class=no>\xe2\x80\x93</td>");
}

void report_cell(const char *text, struct buf *out)
{
    if (!text || !*text) {
        nothing(out);
        return;
    }
    buf_adds(out, "<td>");
    html_text(text, out);
    buf_adds(out, "</td>");
}

void report_cellf(struct buf *out, const char *fmt, ...)
{
    struct buf text = BUF_INIT;
    va_list ap;
    va_start(ap, fmt);
    buf_vaddf(&text, fmt, ap);
    va_end(ap);
    buf_adds(out, "<td class=r>");
    html_text(text.s, out);
    buf_adds(out, "</td>");
    buf_release(&text);
}

/* A minus that is as wide as a plus, and no -0.000. */
static void add_rounded(double value, int places, struct buf *out)
{
    char text[64];
    snprintf(text, sizeof(text), "%.*f", places, value);
    bool zero = strspn(text, "-0.") == strlen(text);
    if (text[0] == '-' && !zero)
        buf_adds(out, "\xe2\x88\x92");
    buf_adds(out, text + (text[0] == '-'));
}

static void add_data(double value, int places, struct buf *out)
{
    buf_addf(out, "<data value=%.9g>", value);
    add_rounded(value, places, out);
    buf_adds(out, "</data>");
}

void report_number(double value, int places, struct buf *out)
{
    report_interval(value, NAN, NAN, places, out);
}

void report_interval(double value, double lo, double hi, int places, struct buf *out)
{
    if (isnan(value)) {
        nothing(out);
        return;
    }
    buf_adds(out, "<td class=r>");
    add_data(value, places, out);
    if (!isnan(lo)) {
        buf_adds(out, " <span class=ci>[");
        add_rounded(lo, places, out);
        buf_adds(out, ", ");
        add_rounded(hi, places, out);
        buf_adds(out, "]</span>");
    }
    buf_adds(out, "</td>");
}

/* ---- the database ---- */

void report_ids(const struct result *const *cells, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i++) {
        buf_adds(out, i ? ", '" : "'");
        for (const char *p = cells[i]->id; *p; p++)
            buf_adds(out, *p == '\'' ? "''" : (char[]){ *p, '\0' });
        buf_adds(out, "'");
    }
    if (n == 0)
        buf_adds(out, "NULL");
}

struct rows *report_query(struct report *r, const char *sql)
{
    struct buf err = BUF_INIT;
    struct rows *rows = store_query(r->store, &err, sql);
    if (!rows)
        die(1, "%s", err.s);
    return rows;
}

bool report_next(struct rows *rows)
{
    struct buf err = BUF_INIT;
    int rc = rows_next(rows, &err);
    if (rc < 0)
        die(1, "%s", err.s);
    return rc == 1;
}

int64_t report_count(struct report *r, const char *sql)
{
    struct rows *rows = report_query(r, sql);
    int64_t n = report_next(rows) ? rows_int(rows, 0) : 0;
    rows_close(rows);
    return n;
}

/* ---- families ---- */

bool family_has_seeds(const struct family *f)
{
    for (size_t i = 1; i < f->n; i++)
        if (f->cells[i]->seed != f->cells[0]->seed)
            return true;
    return false;
}

void report_cell_name(const struct family *f, const struct result *c, struct buf *out)
{
    buf_addf(out, "K = %d, %s", c->k, c->label);
    if (family_has_seeds(f))
        buf_addf(out, ", seed %lld", (long long)c->seed);
}
