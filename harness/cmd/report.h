/*
 * report.h: a sweep as one page that needs nothing else: no network, no script. report_page.c puts its
 * parts together, one file each; this is what they share.
 *
 * A part writes HTML into a buffer, and what the reader must mind into the list of warnings, which
 * stands first on the page. Parts are bounded (REPORT_* below): what does not fit is left out, and
 * the page says so and how to see it.
 *
 * Invariant: the same database gives the same page; all of its text went through html.h.
 * Errors: a database that cannot be read ends the program with a sentence.
 * Leaves out: writing the file (cmd_report.c).
 */
#ifndef REPORT_H
#define REPORT_H

#include "cmd/html.h"
#include "paired.h"

enum {
    REPORT_SAMPLES = 3,                 /* of a cell, unless --samples says otherwise */
    REPORT_SAMPLES_MAX = 100,           /* that --samples may say */
    REPORT_SAMPLES_BYTES = 1500 * 1000, /* of all samples */
    REPORT_PROMPT_TOKENS = 200,         /* of a sample's prompt, the last ones */
    REPORT_FIGURES_BYTES = 1200 * 1000, /* of all figures */
    REPORT_FIGURES = 24,                /* those of a whole cell before those by layer */
    REPORT_POINTS = 400,                /* rows of one figure's table */
    REPORT_ALL_POINTS = 4000,           /* of all figures' */
    REPORT_MAPS = 60,                   /* expert load maps */
    REPORT_MAPS_BYTES = 700 * 1000,     /* of all of them */
    REPORT_TOKEN_CELLS = 40,            /* cells whose tokens are listed */
    REPORT_TOKENS = 12,                 /* with most and with fewest experts */
    REPORT_ROWS = 500,                  /* of any other table */
    REPORT_CELLS = 2000,                /* rows of all tables of results */
    REPORT_WARNINGS = 100,
    REPORT_TESTS = 500, /* paired comparisons */
};

/* Cells that differ in nothing but K, router and seed. */
struct family {
    const struct result **cells; /* in the order of results.h */
    size_t n, cap;
    char *name; /* "tiny-olmoe-2k, gsm8k/nll", what tells it from the others */
};

struct warning {
    char *text;
    const char *where; /* id of the part that has more of it */
    bool grave;        /* numbers are missing or may be wrong; else a remark */
};

struct report {
    struct store *store;
    const char *where; /* the condition; NULL: all cells */
    int samples;
    struct results all;
    struct family *families;
    size_t nfamilies, families_cap;
    struct warning *warnings;
    size_t nwarnings, warnings_cap;
    size_t unheard; /* warnings behind the first REPORT_WARNINGS */
    int tables;     /* ids so far */
};

/* The page of the cells for which `where` holds. 1: there is neither a cell nor a training. */
int report_make(struct store *s, const char *where, int samples, struct buf *page);

/* What a page begins with, so that a page of ours can be told from any other file. */
extern const char report_mark[];
extern const char *const report_style[]; /* rules of CSS, ended by NULL */

/* ---- the parts, in the order of the page; each writes one <section> or nothing ---- */

void report_runs(struct report *r, struct buf *out);
void report_results(struct report *r, struct buf *out);
void report_tests(struct report *r, struct buf *out);
void report_figures(struct report *r, struct buf *out);
void report_load(struct report *r, struct buf *out);
void report_tokens(struct report *r, struct buf *out);
void report_samples(struct report *r, struct buf *out);
/* Adds what the whole database says to the warnings; after the parts. */
void report_doubts(struct report *r);

/* One sample, with the shades of `scales`; `open`: not folded. */
void report_sample(const struct family *f, const struct shown *p, const struct scale scales[SHADES],
                   bool open, struct buf *out);

/* ---- what they are written with ---- */

void report_warn(struct report *r, bool grave, const char *where, const char *fmt, ...)
    PRINTF(4, 5);

/* <section> with its heading; the id is also the place in the table of contents. */
void report_open(const char *id, const char *heading, struct buf *out);
void report_close(struct buf *out);

/* What was left out, as a paragraph. */
void report_left_out(struct buf *out, const char *fmt, ...) PRINTF(2, 3);

/*
 * A table that can be scrolled by itself. `columns` as in cmd.h: ended by NULL, '#' before a column of
 * numbers; the caption is text. Then rows: report_row(), for each column one of the report_cell's, and
 * report_row_end().
 */
void report_table(struct report *r, const char *caption, const char *const *columns,
                  struct buf *out);
void report_table_end(struct buf *out);
void report_row(struct buf *out);
void report_row_of(bool first, struct buf *out); /* first: a line above it, a new K begins */
void report_row_end(struct buf *out);
void report_head(const char *text, struct buf *out); /* the row's header */
void report_cell(const char *text, struct buf *out); /* NULL or "": nothing known */
void report_cellf(struct buf *out, const char *fmt, ...)
    PRINTF(2, 3); /* numbers and words of ours */
/* The exact value goes beside what is shown, into <data value>; NaN: nothing known. */
void report_number(double value, int places, struct buf *out);
/* "3.2921 [3.0144, 3.5698]"; without an interval where lo is NaN. */
void report_interval(double value, double lo, double hi, int places, struct buf *out);

/* SQL: 'a', 'b', ... of the cells' ids, for IN (...). */
void report_ids(const struct result *const *cells, size_t n, struct buf *out);
/* A query of which a failure ends the program. */
struct rows *report_query(struct report *r, const char *sql);
bool report_next(struct rows *rows);
/* The number in the first row and column; 0 where there is none. */
int64_t report_count(struct report *r, const char *sql);

/* "K = 8, seqtopk online [1, 10]", with the seed where the family has several. */
void report_cell_name(const struct family *f, const struct result *c, struct buf *out);
bool family_has_seeds(const struct family *f);

#endif
