/*
 * report_runs.c: the report's part on what was run, and with what: sweeps, runs of the program,
 * recipes, hashes of what was read.
 */
#include "cmd/report.h"

#include <stdio.h>
#include <string.h>

/* Of all cells, the different values of something, in words. */
static void add_fact(const struct report *r, const char *name,
                     void (*show)(const struct result *c, struct buf *out), struct strings *facts)
{
    enum { MOST = 12 };
    struct strings seen = { 0 };
    struct buf text = BUF_INIT;
    for (size_t i = 0; i < r->all.len; i++) {
        size_t j = 0;
        buf_reset(&text);
        show(&r->all.v[i], &text);
        while (j < seen.len && strcmp(seen.v[j], text.s) != 0)
            j++;
        if (j == seen.len)
            strings_add(&seen, text.s);
    }
    buf_reset(&text);
    for (size_t i = 0; i < seen.len && i < MOST; i++)
        buf_addf(&text, "%s%s", i ? "; " : "", seen.v[i]);
    if (seen.len > MOST)
        buf_addf(&text, "; and %zu more", seen.len - MOST);
    strings_add(facts, name);
    strings_add(facts, text.s);
    strings_release(&seen);
    buf_release(&text);
}

#define SHOW(name, format, value)                                    \
    static void show_##name(const struct result *c, struct buf *out) \
    {                                                                \
        buf_addf(out, format, value);                                \
    }
SHOW(sweep, "%s", c->sweep)
SHOW(model, "%s", c->model)
SHOW(task, "%s", c->task)
SHOW(k, "%d", c->k)
SHOW(train, "%s", c->train)
SHOW(seed, "%lld", (long long)c->seed)
SHOW(device, "%s", c->device)
SHOW(dtype, "%s", c->dtype)

/* The name without bounds, which are in the tables. */
static void show_router(const struct result *c, struct buf *out)
{
    buf_addf(out, "%s%s%s", c->router, c->mode ? " " : "", c->mode ? c->mode : "");
}

static void add_counts(const struct report *r, struct strings *facts)
{
    static const char *const status[] = { "done", "unfinished", "failed" };
    size_t n[ARRAY_LEN(status)] = { 0 };
    struct buf text = BUF_INIT;
    for (size_t i = 0; i < r->all.len; i++)
        for (size_t s = 0; s < ARRAY_LEN(status); s++)
            n[s] += strcmp(r->all.v[i].status, status[s]) == 0;
    buf_addf(&text, "%zu:", r->all.len);
    for (size_t s = 0; s < ARRAY_LEN(status); s++)
        if (n[s] || s == 0)
            buf_addf(&text, "%s %zu %s", s ? "," : "", n[s], status[s]);
    strings_add(facts, "Cells");
    strings_add(facts, text.s);
    buf_release(&text);
}

static void add_facts(const struct report *r, struct buf *out)
{
    static const struct {
        const char *name;
        void (*show)(const struct result *c, struct buf *out);
    } rows[] = { { "Sweep", show_sweep }, { "Models", show_model },   { "Tasks", show_task },
                 { "K", show_k },         { "Routers", show_router }, { "Training", show_train },
                 { "Seeds", show_seed },  { "Device", show_device },  { "Numbers", show_dtype } };
    struct strings facts = { 0 };
    add_counts(r, &facts);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        add_fact(r, rows[i].name, rows[i].show, &facts);
    if (r->where) {
        strings_add(&facts, "Condition");
        strings_addf(&facts, "only cells with %s", r->where);
    }
    buf_adds(out, "<dl class=facts>\n");
    html_facts(&facts, out);
    buf_adds(out, "</dl>\n");
    strings_release(&facts);
}

/* SQL that keeps to the page's cells: all of them where there is no condition. */
static void of_our_cells(const struct report *r, const char *column, struct buf *out)
{
    if (!r->where)
        return;
    buf_addf(out, " WHERE %s IN (", column);
    for (size_t i = 0; i < r->all.len; i++) {
        const struct result *c = &r->all.v[i];
        buf_adds(out, i ? ", " : "");
        report_ids(&c, 1, out);
    }
    buf_addc(out, ')');
}

/* ---- runs ---- */

static void add_pair(const char *a, const char *between, const char *b, struct buf *out)
{
    struct buf text = BUF_INIT;
    buf_addf(&text, "%s%s%s", a ? a : "", a && *a && b && *b ? between : "", b ? b : "");
    report_cell(text.s, out);
    buf_release(&text);
}

static void add_duration(double seconds, struct buf *out)
{
    long long s = (long long)(seconds + 0.5);
    if (s >= 3600)
        report_cellf(out, "%lld h %02lld min", s / 3600, s / 60 % 60);
    else if (s >= 60)
        report_cellf(out, "%lld min %02lld s", s / 60, s % 60);
    else
        report_cellf(out, "%.1f s", seconds);
}

static void add_run(struct rows *q, struct buf *out)
{
    const char *outcome = rows_text(q, 12);
    report_row(out);
    report_head(rows_text(q, 0) ? rows_text(q, 0) : "", out);
    report_cell(outcome ? outcome : "no end seen", out);
    report_cell(rows_text(q, 1), out);
    add_pair(rows_text(q, 2), ", ", rows_text(q, 3), out);
    add_pair(rows_text(q, 4), ", ", rows_text(q, 5), out);
    add_pair(rows_text(q, 6), ", driver ", rows_text(q, 7), out);
    add_pair(rows_text(q, 8), ", shard ", rows_text(q, 9), out);
    report_cell(rows_text(q, 10), out);
    report_cellf(out, "%lld", (long long)rows_int(q, 11));
    add_duration(rows_double(q, 13), out);
    buf_adds(out, "<td class=l><code>");
    html_text_most(rows_text(q, 14) ? rows_text(q, 14) : "", 2000, out);
    buf_adds(out, "</code></td>");
    report_row_end(out);
}

static int64_t add_runs(struct report *r, struct buf *out)
{
    static const char *const columns[] = { "started",        "end",    "sweep",   "program",
                                           "libtorch, BLAS", "device", "machine", "recipe",
                                           "#samples",       "#time",  "command", NULL };
    struct buf sql = BUF_INIT, ours = BUF_INIT;
    int64_t n = 0;
    of_our_cells(r, "cell_id", &ours);
    buf_addf(
        &sql,
        "SELECT started, sweep, version, revision, libtorch, blas, device, driver, host, shard,"
        " substr(recipe_hash, 1, 8), samples, outcome, seconds, command FROM v_runs%s%s%s"
        " ORDER BY started, run_id LIMIT %d",
        r->where ? " WHERE run_id IN (SELECT run_id FROM v_cell_runs" : "", ours.s,
        r->where ? ")" : "", REPORT_ROWS);
    struct rows *q = report_query(r, sql.s);
    while (report_next(q)) {
        if (n++ == 0)
            report_table(r, "Runs of the program, times in UTC", columns, out);
        add_run(q, out);
    }
    rows_close(q);
    if (n)
        report_table_end(out);
    if (n == REPORT_ROWS)
        report_left_out(out, "runs behind the first %d; the view v_runs has them", REPORT_ROWS);
    buf_release(&sql);
    buf_release(&ours);
    return n;
}

/* ---- recipes ---- */

static int64_t add_recipes(struct report *r, struct buf *out)
{
    enum { MOST = 20 };
    struct rows *q = report_query(r, "SELECT recipe_hash, path, text FROM v_recipes"
                                     " ORDER BY path, recipe_hash");
    int64_t n = 0;
    while (report_next(q) && n < MOST) {
        n++;
        buf_adds(out, "<details><summary>Recipe ");
        html_text(rows_text(q, 1) ? rows_text(q, 1) : "", out);
        buf_adds(out, " <span class=dim>");
        html_text(rows_text(q, 0) ? rows_text(q, 0) : "", out);
        buf_adds(out, "</span></summary>\n<pre class=plain tabindex=0>");
        html_text(rows_text(q, 2) ? rows_text(q, 2) : "", out);
        buf_adds(out, "</pre></details>\n");
    }
    rows_close(q);
    int64_t all = report_count(r, "SELECT count(*) FROM v_recipes");
    if (all > n)
        report_left_out(out, "%lld recipes; the view v_recipes has them", (long long)(all - n));
    return n;
}

/* ---- sources ---- */

static int64_t add_sources(struct report *r, struct buf *out)
{
    static const char *const columns[] = { "name", "kind", "hash", "#cells", NULL };
    struct buf sql = BUF_INIT;
    int64_t n = 0;
    buf_adds(&sql, "SELECT name, kind, hash, count(*) FROM v_sources");
    of_our_cells(r, "cell_id", &sql);
    buf_addf(&sql, " GROUP BY kind, name, hash ORDER BY kind DESC, name, hash LIMIT %d",
             REPORT_ROWS);
    struct rows *q = report_query(r, sql.s);
    while (report_next(q)) {
        if (n++ == 0)
            report_table(r, "What was read, and the hash of what was in it", columns, out);
        report_row(out);
        report_head(rows_text(q, 0) ? rows_text(q, 0) : "", out);
        report_cell(rows_text(q, 1), out);
        buf_adds(out, "<td><code>");
        html_text(rows_text(q, 2) ? rows_text(q, 2) : "", out);
        buf_adds(out, "</code></td>");
        report_cellf(out, "%lld", (long long)rows_int(q, 3));
        report_row_end(out);
    }
    rows_close(q);
    if (n)
        report_table_end(out);
    if (n == REPORT_ROWS)
        report_left_out(out, "sources behind the first %d; the view v_sources has them",
                        REPORT_ROWS);
    buf_release(&sql);
    return n;
}

/* ---- cells ---- */

static void add_cells(struct report *r, struct buf *out)
{
    static const char *const columns[] = { "cell", "model", "task",   "router", "parameters",
                                           "#K",   "#seed", "status", NULL };
    buf_addf(out, "<details><summary>All %zu cells by id, with every parameter</summary>\n",
             r->all.len);
    report_table(r, "Cells", columns, out);
    for (size_t i = 0; i < r->all.len && i < REPORT_ROWS; i++) {
        const struct result *c = &r->all.v[i];
        report_row(out);
        report_head(c->id, out);
        report_cell(c->model, out);
        report_cell(c->task, out);
        report_cell(c->label, out);
        report_cell(c->params, out);
        report_cellf(out, "%d", c->k);
        report_cellf(out, "%lld", (long long)c->seed);
        report_cell(c->status, out);
        report_row_end(out);
    }
    report_table_end(out);
    if (r->all.len > REPORT_ROWS)
        report_left_out(out, "%zu cells; `seqtopk table DB --tsv` lists all",
                        r->all.len - REPORT_ROWS);
    buf_adds(out, "</details>\n");
}

void report_runs(struct report *r, struct buf *out)
{
    report_open("runs", "What was run", out);
    if (r->all.len)
        add_facts(r, out);
    int64_t runs = add_runs(r, out);
    int64_t recipes = add_recipes(r, out);
    int64_t sources = add_sources(r, out);
    if (!runs || !recipes || !sources) {
        const char *lacking = !runs      ? "which program, libraries and machine made the numbers"
                              : !recipes ? "the recipe's text"
                                         : "the hashes of weights and data";
        buf_addf(
            out,
            "<p>This database does not say %s: it was written by an older seqtopk, or brought "
            "up from its schema. What a cell was computed from is still a part of its id.</p>\n",
            lacking);
        report_warn(r, false, "runs", "The database does not say %s.", lacking);
    }
    if (r->all.len)
        add_cells(r, out);
    report_close(out);
}
