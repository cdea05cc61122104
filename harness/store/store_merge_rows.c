/*
 * store_merge_rows.c: rows of two databases that belong to the same cell or training are compared, and
 * copied from one to the other. See store_merge.h.
 *
 * Invariant: both sides are read in the order of their keys, once, and nothing is kept in memory.
 */
#include "store/store_merge_impl.h"

#include <math.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#define SUMS 1e-9

// clang-format off
const struct merge_table merge_tables[MT_COUNT] = {
    [MT_CELL] = { "cell", "n", 1, 0, { NULL }, 10, 10, 0,
        "router, mode, k, min, max, seed, dtype, layers, experts,"
        " (SELECT t.hash FROM main.tokenizer AS t WHERE t.n = cell.tokenizer) AS tokenizer" },
    [MT_SAMPLE] = { "sample", "cell", 1, 1, { "document" }, 10, 10, 0,
        "doc, prompt_tokens, output_tokens, stop_reason, nll, nll_tokens, output, error,"
        " extracted, score" },
    [MT_TOKEN] = { "token", "cell", 1, 2, { "document", "token" }, 7, 7, 0,
        "doc, pos, id, nll, entropy, experts, by_layer" },
    [MT_LOAD] = { "expert_load", "cell", 1, 2, { "layer", "expert" }, 4, 4, SUMS,
        "layer, expert, tokens, weight" },
    [MT_OVERLAP] = { "overlap", "cell", 5, 3, { "document", "overlap with", "layer" }, 6, 6, 0,
        "doc, other, layer, both, ours, theirs" },
    [MT_ENTROPY] = { "expert_entropy", "cell", 5, 2, { "entropy of layer", "expert" }, 3, 3, SUMS,
        "layer, expert, entropy" },
    [MT_METRIC] = { "metric", "cell", 1, 1, { "metric" }, 4, 4, SUMS, "metric, value, stderr, n" },
    [MT_BIN] = { "entropy_bin", "cell", 1, 2, { "entropy by layer", "bin" }, 9, 9, SUMS,
        "layer, bin, entropy_lo, entropy_hi, entropy_mean, tokens, experts_mean, experts_sd,"
        " experts_se" },
    [MT_HISTOGRAM] = { "histogram", "cell", 1, 2, { "histogram of layer", "experts" }, 3, 3, 0,
        "layer, experts, tokens" },
    [MT_TOKEN_EXPERTS] = { "token_experts", "cell", 4, 1, { "experts of the token" }, 4, 4, SUMS,
        "id, tokens, experts, entropy" },
    [MT_POSITION] = { "position_bin", "cell", 5, 1, { "bin of positions" }, 11, 11, SUMS,
        "bin, pos_lo, pos_hi, tokens, scored, nll_mean, nll_se, experts_mean, experts_se,"
        " used_share, differ" },
    [MT_KIND] = { "token_kind", "cell", 5, 1, { "kind" }, 6, 6, SUMS,
        "kind, tokens, experts_mean, experts_se, entropy_mean, entropy_se" },
    [MT_STEP] = { "training_step", "training", 2, 1, { "step" }, 9, 8, SUMS,
        "step, tokens, loss, lr, grad_norm, balance_loss, z_loss, experts, seconds" },
    [MT_HELDOUT] = { "training_heldout", "training", 2, 2, { "held-out texts after step", "source" },
        4, 4, SUMS, "step, source, nll, tokens" },
};
// clang-format on

enum { SAMPLE_EXTRACTED = 8 }; // it and the score behind it may come later

int merge_out_fail(struct merge_pair *p, struct buf *err, int rc)
{
    p->m->broken = true;
    return store_fail(p->out, err, rc);
}

static struct sqlite3_stmt *out_prepare(struct merge_pair *p, const char *sql, struct buf *err)
{
    struct sqlite3_stmt *st = NULL;
    int rc = sqlite3_prepare_v2(p->out->db, sql, -1, &st, NULL);
    if (rc != SQLITE_OK)
        merge_out_fail(p, err, rc);
    return st;
}

/* 1: a row, 0: no more, -1: failed. */
static int out_next(struct merge_pair *p, struct sqlite3_stmt *st, struct buf *err)
{
    int rc = sqlite3_step(st);
    return rc == SQLITE_ROW ? 1 : rc == SQLITE_DONE ? 0 : merge_out_fail(p, err, rc);
}

/* ---- values ---- */

static bool is_number(int type)
{
    return type == SQLITE_INTEGER || type == SQLITE_FLOAT;
}

static bool same_number(sqlite3_stmt *a, sqlite3_stmt *b, int col, double tolerance)
{
    if (sqlite3_column_type(a, col) == SQLITE_INTEGER &&
        sqlite3_column_type(b, col) == SQLITE_INTEGER)
        return sqlite3_column_int64(a, col) == sqlite3_column_int64(b, col);
    double x = sqlite3_column_double(a, col), y = sqlite3_column_double(b, col);
    return x == y || fabs(x - y) <= tolerance * fmax(fabs(x), fabs(y));
}

static bool same_value(sqlite3_stmt *a, sqlite3_stmt *b, int col, double tolerance)
{
    int type = sqlite3_column_type(a, col), other = sqlite3_column_type(b, col);
    if (is_number(type) && is_number(other))
        return same_number(a, b, col, tolerance);
    if (type != other || type == SQLITE_NULL)
        return type == other;
    const void *x = sqlite3_column_blob(a, col), *y = sqlite3_column_blob(b, col);
    size_t n = (size_t)sqlite3_column_bytes(a, col), m = (size_t)sqlite3_column_bytes(b, col);
    return n == m && (n == 0 || memcmp(x, y, n) == 0);
}

/* As a sentence has it: numbers in full where they would look the same, texts not to their end. */
static void add_value(struct buf *out, sqlite3_stmt *st, int col, bool full)
{
    enum { MOST = 40 };
    const char *text;
    switch (sqlite3_column_type(st, col)) {
    case SQLITE_NULL:
        buf_adds(out, "nothing");
        break;
    case SQLITE_INTEGER:
        buf_addf(out, "%lld", (long long)sqlite3_column_int64(st, col));
        break;
    case SQLITE_FLOAT:
        buf_addf(out, full ? "%.17g" : "%.9g", sqlite3_column_double(st, col));
        break;
    default:
        text = (const char *)sqlite3_column_text(st, col);
        text = text ? text : "";
        size_t n = strnlen(text, MOST);
        buf_addf(out, "'%.*s%s'", (int)utf8_valid(text, n), text, text[n] ? "..." : "");
    }
}

/* ---- comparing ---- */

/* How the keys of two rows lie: -1, 0 or 1. */
static int order_keys(sqlite3_stmt *a, sqlite3_stmt *b, int nkeys)
{
    for (int i = 0; i < nkeys; i++) {
        if (sqlite3_column_type(a, i) == SQLITE_TEXT) {
            const char *x = (const char *)sqlite3_column_text(a, i);
            const char *y = (const char *)sqlite3_column_text(b, i);
            int order = strcmp(x ? x : "", y ? y : "");
            if (order)
                return order < 0 ? -1 : 1;
            continue;
        }
        int64_t x = sqlite3_column_int64(a, i), y = sqlite3_column_int64(b, i);
        if (x != y)
            return x < y ? -1 : 1;
    }
    return 0;
}

/* "cell 3f2a, document 4, token 7" */
static void add_place(struct buf *out, const struct merge_table *t, const char *who,
                      sqlite3_stmt *st)
{
    buf_adds(out, who);
    for (int i = 0; i < t->nkeys; i++) {
        buf_addf(out, ", %s ", t->words[i]);
        if (sqlite3_column_type(st, i) == SQLITE_TEXT)
            buf_addf(out, "%.60s", (const char *)sqlite3_column_text(st, i));
        else
            add_value(out, st, i, false);
    }
}

static int fail_differs(struct merge_pair *p, const struct merge_table *t, const char *who,
                        sqlite3_stmt *ours, sqlite3_stmt *theirs, int col, struct buf *err)
{
    struct buf place = BUF_INIT, our = BUF_INIT, their = BUF_INIT;
    add_place(&place, t, who, ours);
    add_value(&our, ours, col, false);
    add_value(&their, theirs, col, false);
    if (strcmp(our.s, their.s) == 0) {
        buf_reset(&our);
        buf_reset(&their);
        add_value(&our, ours, col, true);
        add_value(&their, theirs, col, true);
    }
    int rc = fail(err, "%s: %s %s in %s, %s in %s", place.s, sqlite3_column_name(ours, col), our.s,
                  p->out->path, their.s, p->in->store->path);
    buf_release(&place);
    buf_release(&our);
    buf_release(&their);
    return rc;
}

static int compare_row(struct merge_pair *p, const struct merge_table *t, enum merge_rule rule,
                       const char *who, sqlite3_stmt *ours, sqlite3_stmt *theirs, struct buf *err)
{
    for (int i = t->nkeys; i < t->ncompared; i++) {
        bool later = rule == RULE_SCORE && t == &merge_tables[MT_SAMPLE] && i >= SAMPLE_EXTRACTED &&
                     (sqlite3_column_type(ours, i) == SQLITE_NULL ||
                      sqlite3_column_type(theirs, i) == SQLITE_NULL);
        if (!later && !same_value(ours, theirs, i, t->tolerance))
            return fail_differs(p, t, who, ours, theirs, i, err);
    }
    return 0;
}

static int fail_alone(struct merge_pair *p, const struct merge_table *t, const char *who,
                      sqlite3_stmt *st, bool ours, struct buf *err)
{
    const char *mine = p->out->path, *other = p->in->store->path;
    struct buf place = BUF_INIT;
    add_place(&place, t, who, st);
    int rc = fail(err, "%s: is in %s and not in %s, though the cell is done in %s", place.s,
                  ours ? mine : other, ours ? other : mine, ours ? other : mine);
    buf_release(&place);
    return rc;
}

/* Walks both sides in step. */
static int compare_rows(struct merge_pair *p, const struct merge_table *t, enum merge_rule rule,
                        const char *who, sqlite3_stmt *ours, sqlite3_stmt *theirs, int64_t *common,
                        struct buf *err)
{
    int a = out_next(p, ours, err), b = a < 0 ? -1 : input_next(p->in, theirs, err);
    while (a == 1 || b == 1) {
        if (a < 0 || b < 0)
            return -1;
        int order = a == 0 ? 1 : b == 0 ? -1 : order_keys(ours, theirs, t->nkeys);
        if (order && rule == RULE_ALL)
            return fail_alone(p, t, who, order < 0 ? ours : theirs, order < 0, err);
        if (order == 0 && compare_row(p, t, rule, who, ours, theirs, err))
            return -1;
        *common += order == 0;
        if (order <= 0)
            a = out_next(p, ours, err);
        if (order >= 0)
            b = input_next(p->in, theirs, err);
    }
    return a < 0 || b < 0 ? -1 : 0;
}

/* The rows of one owner in the order of their keys; the caller frees it. */
static char *select_sql(const struct merge_table *t)
{
    struct buf sql = BUF_INIT;
    buf_addf(&sql, "SELECT %s FROM main.%s WHERE %s = ?1 ORDER BY ", t->columns, t->name, t->owner);
    for (int i = 0; i < t->nkeys || i == 0; i++)
        buf_addf(&sql, "%s%d", i ? ", " : "", i + 1);
    return buf_detach(&sql);
}

int merge_compare(struct merge_pair *p, enum merge_table_id table, enum merge_rule rule,
                  int64_t out_n, int64_t in_n, const char *who, int64_t *common, struct buf *err)
{
    const struct merge_table *t = &merge_tables[table];
    int64_t count = 0;
    if (t->since > p->in->version)
        return 0;
    char *sql = select_sql(t);
    sqlite3_stmt *ours = out_prepare(p, sql, err);
    sqlite3_stmt *theirs = ours ? input_prepare(p->in, sql, err) : NULL;
    int rc = -1;
    if (theirs) {
        sqlite3_bind_int64(ours, 1, out_n);
        sqlite3_bind_int64(theirs, 1, in_n);
        rc = compare_rows(p, t, rule, who, ours, theirs, &count, err);
    }
    if (common)
        *common = count;
    sqlite3_finalize(ours);
    sqlite3_finalize(theirs);
    free(sql);
    return rc;
}

/* ---- copying ---- */

static int feed_rows(struct merge_pair *p, sqlite3_stmt *from, sqlite3_stmt *to, int64_t out_n,
                     struct buf *err)
{
    int n = sqlite3_column_count(from), rc;
    while ((rc = input_next(p->in, from, err)) == 1) {
        sqlite3_bind_int64(to, 1, out_n);
        for (int i = 0; i < n; i++)
            sqlite3_bind_value(to, i + 2, sqlite3_column_value(from, i));
        rc = sqlite3_step(to);
        sqlite3_reset(to);
        if (rc != SQLITE_DONE)
            return merge_out_fail(p, err, rc);
    }
    return rc;
}

int merge_feed(struct merge_pair *p, const char *select, const char *insert, int64_t out_n,
               int64_t in_n, struct buf *err)
{
    sqlite3_stmt *from = input_prepare(p->in, select, err);
    sqlite3_stmt *to = from ? out_prepare(p, insert, err) : NULL;
    if (from && sqlite3_bind_parameter_count(from) > 0)
        sqlite3_bind_int64(from, 1, in_n);
    int rc = to ? feed_rows(p, from, to, out_n, err) : -1;
    sqlite3_finalize(from);
    sqlite3_finalize(to);
    return rc;
}

int merge_copy(struct merge_pair *p, enum merge_table_id table, const char *clash, int64_t out_n,
               int64_t in_n, struct buf *err)
{
    const struct merge_table *t = &merge_tables[table];
    struct buf insert = BUF_INIT;
    if (t->since > p->in->version)
        return 0;
    char *select = select_sql(t);
    buf_addf(&insert, "INSERT INTO main.%s (%s, %s) VALUES (?1", t->name, t->owner, t->columns);
    for (int i = 0; i < t->ncolumns; i++)
        buf_addf(&insert, ", ?%d", i + 2);
    buf_addf(&insert, ") %s", clash);
    int rc = merge_feed(p, select, insert.s, out_n, in_n, err);
    buf_release(&insert);
    free(select);
    return rc;
}

int merge_do(struct merge_pair *p, const char *sql, const int64_t *args, int nargs, struct buf *err)
{
    sqlite3_stmt *st = out_prepare(p, sql, err);
    for (int i = 0; st && i < nargs; i++)
        sqlite3_bind_int64(st, i + 1, args[i]);
    int rc = st ? out_next(p, st, err) : -1;
    sqlite3_finalize(st);
    return rc < 0 ? -1 : 0;
}
