/*
 * report_doubts.c: what the reader of a report must mind, taken from the whole database: cells that are
 * missing or not whole, texts that were cut or had no answer, routers whose numbers mean something
 * else, cells of one table that were not made alike.
 */
#include "cmd/report.h"

#include "routers/router.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *plural(int64_t n)
{
    return n == 1 ? "" : "s";
}

/* ---- cells ---- */

/* "K = 8, topk (3f2a91bc)" of the first few, and how many more. */
static void add_named(const struct result *const *cells, size_t n, struct buf *out)
{
    enum { MOST = 3 };
    for (size_t i = 0; i < n && i < MOST; i++)
        buf_addf(out, "%s%s, K = %d, %s (%.8s)", i ? "; " : "", cells[i]->model, cells[i]->k,
                 cells[i]->label, cells[i]->id);
    if (n > MOST)
        buf_addf(out, "; and %zu more", n - MOST);
}

static void doubt_status(struct report *r, const char *status, const char *words)
{
    const struct result **cells = xcalloc(r->all.len + 1, sizeof(*cells));
    struct buf names = BUF_INIT;
    size_t n = 0;
    for (size_t i = 0; i < r->all.len; i++)
        if (strcmp(r->all.v[i].status, status) == 0)
            cells[n++] = &r->all.v[i];
    add_named(cells, n, &names);
    if (n)
        report_warn(r, true, "results", "%zu of %zu cells %s: %s.%s%s", n, r->all.len, words,
                    names.s, cells[0]->error ? " The first one\xe2\x80\x99s error: " : "",
                    cells[0]->error ? cells[0]->error : "");
    buf_release(&names);
    free(cells);
}

/* Cells with a metric above 0, and the one where it is largest. */
static void doubt_metric(struct report *r, const char *metric, bool share, const char *words)
{
    const struct result *worst = NULL;
    double most = 0;
    size_t n = 0;
    for (size_t i = 0; i < r->all.len; i++) {
        const struct result_metric *m = result_metric(&r->all.v[i], metric);
        if (!m || !(m->value > 0))
            continue;
        n++;
        if (m->value > most) {
            most = m->value;
            worst = &r->all.v[i];
        }
    }
    if (!worst)
        return;
    struct buf name = BUF_INIT, value = BUF_INIT;
    add_named(&worst, 1, &name);
    if (share)
        buf_addf(&value, "%.1f %%", 100 * most);
    else
        buf_addf(&value, "%.0f", most);
    report_warn(r, share && most > 0.1, "results", "In %zu of %zu cells %s; at most %s, in %s.", n,
                r->all.len, words, value.s, name.s);
    buf_release(&name);
    buf_release(&value);
}

/* Each different note once, with how many cells have it. */
static void doubt_notes(struct report *r)
{
    for (size_t i = 0; i < r->all.len; i++) {
        const char *note = r->all.v[i].note;
        size_t n = 0, before = 0;
        for (size_t j = 0; note && j < r->all.len; j++)
            if (r->all.v[j].note && strcmp(r->all.v[j].note, note) == 0) {
                n++;
                before += j < i;
            }
        if (note && before == 0)
            report_warn(r, false, "runs", "%zu cell%s: %s.", n,
                        n == 1 ? " has a note" : "s have a note", note);
    }
}

static void doubt_samples(struct report *r)
{
    const struct result **cells = xcalloc(r->all.len + 1, sizeof(*cells));
    struct buf ids = BUF_INIT, sql = BUF_INIT;
    for (size_t i = 0; i < r->all.len; i++)
        cells[i] = &r->all.v[i];
    report_ids(cells, r->all.len, &ids);
    buf_addf(&sql, "SELECT count(*) FROM v_samples WHERE error IS NOT NULL AND cell_id IN (%s)",
             ids.s);
    int64_t n = report_count(r, sql.s);
    if (n)
        report_warn(
            r, true, "samples",
            "%lld sample%s could not be computed or measured, and %s left out of all numbers.",
            (long long)n, plural(n), n == 1 ? "is" : "are");
    buf_release(&ids);
    buf_release(&sql);
    free(cells);
}

/* ---- routers ---- */

static enum router_scope scope_of(const struct result *c)
{
    const struct router *router = router_find(c->router);
    struct router_args args = { .K = c->k, .N = c->k };
    json_t *params = json_loads(c->params, 0, NULL);
    if (!router) {
        json_decref(params);
        return SCOPE_TOKEN; // of a recipe's own; what it sees is not in the database
    }
    for (const struct router_param *p = router->params; p && p->name; p++) {
        const char *word = json_string_value(json_object_get(params, p->name));
        for (int i = 0; word && p->choices && p->choices[i]; i++)
            if (strcmp(p->choices[i], word) == 0)
                memcpy((char *)&args + p->offset, &i, sizeof(i));
    }
    json_decref(params);
    return router->scope(&args);
}

static void doubt_scope(struct report *r, enum router_scope scope, bool grave, const char *words)
{
    struct strings labels = { 0 };
    struct buf names = BUF_INIT;
    size_t n = 0;
    for (size_t i = 0; i < r->all.len; i++) {
        const struct result *c = &r->all.v[i];
        if (scope_of(c) != scope)
            continue;
        n++;
        strings_addf(&labels, "%s%s%s", c->router, c->mode ? " " : "", c->mode ? c->mode : "");
    }
    strings_sort(&labels);
    for (size_t i = 0; i < labels.len; i++)
        buf_addf(&names, "%s%s", i ? ", " : "", labels.v[i]);
    if (n)
        report_warn(r, grave, "results", "%s (%zu cell%s): %s", names.s, n, plural((int64_t)n),
                    words);
    strings_release(&labels);
    buf_release(&names);
}

/* ---- cells that stand beside each other ---- */

static void doubt_families(struct report *r)
{
    static const char *const what[] = { "versions of the program", "builds of libtorch or BLAS",
                                        "processors or drivers" };
    for (size_t i = 0; i < r->nfamilies; i++) {
        const struct family *f = &r->families[i];
        struct buf ids = BUF_INIT, sql = BUF_INIT;
        report_ids(f->cells, f->n, &ids);
        buf_addf(
            &sql,
            "SELECT count(DISTINCT version || ' ' || revision),"
            " count(DISTINCT libtorch || ' ' || blas), count(DISTINCT device || ' ' || driver)"
            " FROM v_runs WHERE run_id IN (SELECT run_id FROM v_cell_runs WHERE cell_id IN (%s))",
            ids.s);
        struct rows *q = report_query(r, sql.s);
        if (report_next(q))
            for (int w = 0; w < (int)ARRAY_LEN(what); w++)
                if (rows_int(q, w) > 1)
                    report_warn(r, false, "runs",
                                "The cells of %s were made with %lld different %s.", f->name,
                                (long long)rows_int(q, w), what[w]);
        rows_close(q);
        buf_reset(&sql);
        buf_addf(&sql,
                 "SELECT kind, name, count(DISTINCT hash) FROM v_sources WHERE cell_id IN (%s)"
                 " GROUP BY kind, name HAVING count(DISTINCT hash) > 1 ORDER BY kind, name",
                 ids.s);
        q = report_query(r, sql.s);
        while (report_next(q))
            report_warn(
                r, true, "runs",
                "The cells of %s read %lld different %s by the name of %s: what stands side by "
                "side there is not of the same.",
                f->name, (long long)rows_int(q, 2), rows_text(q, 0), rows_text(q, 1));
        rows_close(q);
        buf_release(&ids);
        buf_release(&sql);
    }
}

static void doubt_devices(struct report *r)
{
    for (size_t i = 0; i < r->nfamilies; i++) {
        const struct family *f = &r->families[i];
        size_t j = 1;
        while (j < f->n && strcmp(f->cells[j]->device, f->cells[0]->device) == 0)
            j++;
        if (j < f->n)
            report_warn(r, false, "results",
                        "The cells of %s were computed on different devices: %s, %s.", f->name,
                        f->cells[0]->device, f->cells[j]->device);
    }
}

/* ---- the plan ---- */

static void doubt_plan(struct report *r)
{
    if (r->where)
        return; // the condition leaves cells out on purpose
    int64_t missing = report_count(r, "SELECT count(*) FROM plan AS p WHERE NOT EXISTS"
                                      " (SELECT 1 FROM v_cells AS c WHERE c.cell_id = p.id)");
    int64_t planned = report_count(r, "SELECT count(*) FROM plan");
    int64_t orphans = report_count(r, "SELECT count(*) FROM v_cells AS c WHERE c.sweep IN"
                                      " (SELECT sweep FROM plan) AND NOT EXISTS (SELECT 1 FROM plan"
                                      " AS p WHERE p.sweep = c.sweep AND p.id = c.cell_id)");
    int64_t killed = report_count(r, "SELECT count(*) FROM v_runs WHERE outcome IS NULL");
    if (missing)
        report_warn(r, true, "runs",
                    "%lld of the %lld cells that the recipe plans have not begun: the sweep is not "
                    "finished.",
                    (long long)missing, (long long)planned);
    if (orphans)
        report_warn(r, false, "results",
                    "%lld cell%s asked for by no recipe any more (recipe, data or program changed "
                    "since), and stand%s in the tables all the same.",
                    (long long)orphans, orphans == 1 ? " is" : "s are", orphans == 1 ? "s" : "");
    if (killed)
        report_warn(r, false, "runs", "Of %lld run%s no end was seen: under way, or killed.",
                    (long long)killed, plural(killed));
}

void report_doubts(struct report *r)
{
    doubt_status(r, "failed", "failed");
    doubt_status(r, "unfinished", "are not finished, and have no results yet");
    doubt_plan(r);
    doubt_samples(r);
    doubt_metric(r, "truncated", true, "texts ended at the limit of tokens");
    doubt_metric(r, "no_answer", true,
                 "no answer was found in some texts, which then count as wrong");
    doubt_metric(r, "cut", false,
                 "documents or prompts were cut to fit the model\xe2\x80\x99s context");
    doubt_scope(
        r, SCOPE_BATCH, true,
        "what a token gets hangs on the other sequences of its batch, so these numbers are of "
        "this order and size of batch, and of no single text.");
    doubt_scope(
        r, SCOPE_SEQUENCE, false,
        "a token\xe2\x80\x99s experts hang on the tokens behind it too, so a loss under it is "
        "not that of a model that writes from left to right.");
    doubt_devices(r);
    doubt_families(r);
    doubt_notes(r);
}
