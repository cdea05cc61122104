/*
 * store_merge_cells.c: what becomes of each cell of an input, and doing it. See store_merge.h.
 *
 * Invariant: nothing is written before all cells of the input are decided on.
 * Leaves out: what belongs to no cell (store_merge.c).
 */
#include "store/store_merge_impl.h"

#include <sqlite3.h>
#include <string.h>

/* ---- deciding ---- */

static enum cell_status status_of(const char *word)
{
    return !word                         ? CELL_NEW
           : strcmp(word, "done") == 0   ? CELL_DONE
           : strcmp(word, "failed") == 0 ? CELL_FAILED
                                         : CELL_UNFINISHED;
}

/* done over unfinished over failed */
static enum cell_status better_status(const struct merge_cell *c)
{
    static const int rank[] = {
        [CELL_NEW] = 0, [CELL_FAILED] = 1, [CELL_UNFINISHED] = 2, [CELL_DONE] = 3
    };
    return rank[c->out_status] >= rank[c->in_status] ? c->out_status : c->in_status;
}

#define CELL_FACTS                                                                     \
    "SELECT n, id, status, samples, (SELECT count(score) FROM main.sample AS s WHERE " \
    "s.cell = cell.n), task GLOB '" STORE_TIMED "*' FROM main.cell"

/* The cell of this id in ours, if there is one. */
static int look_at_ours(struct merge_pair *p, sqlite3_stmt *st, struct merge_cell *c,
                        struct buf *err)
{
    sqlite3_bind_text(st, 1, c->id, -1, SQLITE_STATIC);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        c->out_n = sqlite3_column_int64(st, 0);
        c->out_status = status_of((const char *)sqlite3_column_text(st, 2));
        c->out_samples = sqlite3_column_int64(st, 3);
        c->out_scored = sqlite3_column_int(st, 4);
    }
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : merge_out_fail(p, err, rc);
}

static int compare_cell(struct merge_pair *p, struct merge_cell *c, struct buf *err)
{
    static const enum merge_table_id sums[] = { MT_METRIC,        MT_BIN,      MT_HISTOGRAM,
                                                MT_TOKEN_EXPERTS, MT_POSITION, MT_KIND };
    bool both = c->in_status == CELL_DONE && c->out_status == CELL_DONE;
    enum merge_rule rule = both ? RULE_ALL : RULE_SCORE;
    int64_t in = c->in_n, out = c->out_n;
    char *who = xasprintf("cell %s", c->id);
    int rc = merge_compare(p, MT_CELL, RULE_BOTH, out, in, who, NULL, err) ||
                     merge_compare(p, MT_SAMPLE, rule, out, in, who, &c->common, err) ||
                     merge_compare(p, MT_TOKEN, rule, out, in, who, NULL, err) ||
                     merge_compare(p, MT_OVERLAP, both ? RULE_ALL : RULE_BOTH, out, in, who, NULL,
                                   err) ||
                     (both && merge_compare(p, MT_ENTROPY, RULE_ALL, out, in, who, NULL, err)) ||
                     (both && merge_compare(p, MT_LOAD, RULE_ALL, out, in, who, NULL, err))
                 ? -1
                 : 0;
    for (size_t i = 0; rc == 0 && both && i < ARRAY_LEN(sums); i++)
        rc = merge_compare(p, sums[i], RULE_BOTH, out, in, who, NULL, err);
    free(who);
    if (rc)
        return -1;
    bool ours = c->out_status == CELL_DONE && c->common < c->in_samples;
    bool theirs = c->in_status == CELL_DONE && c->common < c->out_samples;
    if (ours || theirs)
        return fail(err, "cell %s: is done in %s, and %s has documents of it that are not there",
                    c->id, ours ? p->out->path : p->in->store->path,
                    ours ? p->in->store->path : p->out->path);
    return 0;
}

/* Of a cell whose numbers are times, which nobody measures twice alike, the one with more repeats is
 * taken, and of equal ones ours: whichever has fewer counts as a part of the other. */
static void match_times(struct merge_cell *c)
{
    c->common = c->in_samples < c->out_samples ? c->in_samples : c->out_samples;
}

static enum merge_action choose(struct merge_cell *c)
{
    if (c->out_status == CELL_NEW)
        return ACT_ADD;
    if (c->out_status == CELL_DONE || c->in_status == CELL_DONE)
        return c->out_status == CELL_DONE ? ACT_KEEP : ACT_REPLACE;
    bool subset = c->common == c->in_samples, superset = c->common == c->out_samples;
    if (subset && superset)
        return c->in_scored > c->out_scored ? ACT_REPLACE : ACT_KEEP;
    if (subset || superset)
        return subset ? ACT_KEEP : ACT_REPLACE;
    if (c->common == 0)
        return ACT_UNITE;
    return c->in_samples > c->out_samples ? ACT_REPLACE : ACT_KEEP;
}

static void count_action(struct merged *m, const struct merge_cell *c)
{
    bool ends = better_status(c) != c->out_status;
    m->added += c->action == ACT_ADD;
    m->grown += c->action > ACT_KEEP || (c->action == ACT_KEEP && ends);
    m->same += c->action == ACT_KEEP && !ends;
    if (c->action == ACT_KEEP)
        m->left_out += c->in_samples - c->common;
    if (c->action != ACT_REPLACE)
        return;
    m->left_out += c->out_samples - c->common;
    m->replaced = m->replaced || c->out_samples > c->common;
}

static int decide_one(struct merge_pair *p, sqlite3_stmt *theirs, sqlite3_stmt *ours,
                      struct merge_cell *c, struct buf *err)
{
    c->in_n = sqlite3_column_int64(theirs, 0);
    c->id = xstrdup((const char *)sqlite3_column_text(theirs, 1));
    c->in_status = status_of((const char *)sqlite3_column_text(theirs, 2));
    c->in_samples = sqlite3_column_int64(theirs, 3);
    c->in_scored = sqlite3_column_int(theirs, 4);
    if (look_at_ours(p, ours, c, err))
        return -1;
    if (sqlite3_column_int(theirs, 5))
        match_times(c);
    else if (c->out_status != CELL_NEW && compare_cell(p, c, err))
        return -1;
    c->action = choose(c);
    return 0;
}

int merge_cells_decide(struct merge_pair *p, struct merge_cell **cells, size_t *n, struct buf *err)
{
    size_t cap = 0;
    sqlite3_stmt *ours = NULL, *theirs = input_prepare(p->in, CELL_FACTS " ORDER BY n", err);
    int rc = theirs ? sqlite3_prepare_v2(p->out->db, CELL_FACTS " WHERE id = ?1", -1, &ours, NULL)
                    : SQLITE_OK;
    if (rc != SQLITE_OK)
        merge_out_fail(p, err, rc);
    rc = ours ? 0 : -1;
    while (rc == 0 && (rc = input_next(p->in, theirs, err)) == 1) {
        ARRAY_GROW(*cells, cap, *n + 1);
        (*cells)[*n] = (struct merge_cell){ 0 };
        rc = decide_one(p, theirs, ours, &(*cells)[(*n)++], err);
    }
    for (size_t i = 0; rc == 0 && i < *n; i++)
        count_action(p->m, &(*cells)[i]);
    sqlite3_finalize(theirs);
    sqlite3_finalize(ours);
    return rc;
}

void merge_cells_free(struct merge_cell *cells, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(cells[i].id);
    free(cells);
}

/* ---- doing ---- */

#define CELL_COLUMNS                                                                          \
    "id, sweep, model, router, mode, k, min, max, params, train, task, seed, device, dtype, " \
    "layers, experts, status, error, started, seconds, samples, tokens"

/* The cell's own row; `n` gets its number. */
static int add_cell(struct merge_pair *p, const struct merge_cell *c, int64_t *n, struct buf *err)
{
    char *select = xasprintf("SELECT (SELECT t.hash FROM main.tokenizer AS t WHERE t.n = "
                             "cell.tokenizer), %s, " CELL_COLUMNS " FROM main.cell WHERE n = ?1",
                             p->in->version < 3 ? "NULL" : "note");
    int rc = merge_feed(p, select,
                        "INSERT INTO main.cell (tokenizer, note, " CELL_COLUMNS ") VALUES ("
                        "(SELECT n FROM main.tokenizer WHERE hash = ?2), ?3, ?4, ?5, ?6, ?7, ?8,"
                        " ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23,"
                        " ?24, ?25)",
                        0, c->in_n, err);
    *n = sqlite3_last_insert_rowid(p->out->db);
    free(select);
    return rc;
}

/* All that belongs to a cell which is new here. */
static int add_all(struct merge_pair *p, const struct merge_cell *c, int64_t *n, struct buf *err)
{
    int rc = add_cell(p, c, n, err);
    for (enum merge_table_id t = MT_SAMPLE; rc == 0 && t <= MT_KIND; t++)
        rc = merge_copy(p, t, "", *n, c->in_n, err);
    return rc;
}

static int clear_summary(struct merge_pair *p, int64_t n, struct buf *err)
{
    return merge_do(p, "DELETE FROM main.metric WHERE cell = ?1", &n, 1, err) ||
                   merge_do(p, "DELETE FROM main.entropy_bin WHERE cell = ?1", &n, 1, err) ||
                   merge_do(p, "DELETE FROM main.histogram WHERE cell = ?1", &n, 1, err) ||
                   merge_do(p, "DELETE FROM main.token_experts WHERE cell = ?1", &n, 1, err) ||
                   merge_do(p, "DELETE FROM main.position_bin WHERE cell = ?1", &n, 1, err) ||
                   merge_do(p, "DELETE FROM main.token_kind WHERE cell = ?1", &n, 1, err)
               ? -1
               : 0;
}

/* Two halves. */
static int unite(struct merge_pair *p, const struct merge_cell *c, struct buf *err)
{
    int64_t n = c->out_n;
    char *select = xasprintf("SELECT samples, tokens, seconds, started, %s FROM main.cell"
                             " WHERE n = ?1",
                             p->in->version < 3 ? "NULL" : "note");
    int rc = merge_copy(p, MT_SAMPLE, "", n, c->in_n, err) ||
                     merge_copy(p, MT_TOKEN, "", n, c->in_n, err) ||
                     merge_copy(p, MT_LOAD,
                                "ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens,"
                                " weight = weight + excluded.weight",
                                n, c->in_n, err) ||
                     merge_copy(p, MT_OVERLAP, "", n, c->in_n, err) ||
                     merge_copy(p, MT_ENTROPY,
                                "ON CONFLICT DO UPDATE SET entropy = entropy + excluded.entropy", n,
                                c->in_n, err) ||
                     merge_feed(p, select,
                                "UPDATE main.cell SET samples = samples + ?2, tokens = tokens + ?3,"
                                " seconds = seconds + ?4, started = min(started, ?5),"
                                " note = coalesce(note, ?6) WHERE n = ?1",
                                n, c->in_n, err) ||
                     clear_summary(p, n, err)
                 ? -1
                 : 0;
    free(select);
    return rc;
}

/* What a done cell's summary has that ours has not: an older program did not make all of it. */
static int complete(struct merge_pair *p, const struct merge_cell *c, struct buf *err)
{
    int rc = 0;
    for (enum merge_table_id t = MT_METRIC; rc == 0 && t <= MT_KIND; t++)
        rc = merge_copy(p, t, "ON CONFLICT DO NOTHING", c->out_n, c->in_n, err);
    return rc;
}

static int write_sources(struct merge_pair *p, const struct merge_cell *c, int64_t n,
                         struct buf *err)
{
    if (p->in->version < 4)
        return 0;
    if (merge_feed(p,
                   "SELECT s.kind, s.name, s.hash FROM main.cell_source AS x"
                   " JOIN main.source AS s ON s.n = x.source WHERE x.cell = ?1",
                   "INSERT INTO main.cell_source (cell, source) SELECT ?1, n FROM main.source"
                   " WHERE kind = ?2 AND name = ?3 AND hash = ?4 ON CONFLICT DO NOTHING",
                   n, c->in_n, err))
        return -1;
    // Of a cell that stays as it is, the runs that made it are known.
    if (c->action == ACT_KEEP)
        return 0;
    return merge_feed(
        p,
        "SELECT r.id, x.samples FROM main.cell_run AS x"
        " JOIN main.run AS r ON r.n = x.run WHERE x.cell = ?1",
        "INSERT INTO main.cell_run (cell, run, samples) SELECT ?1, n, ?3 FROM main.run"
        " WHERE id = ?2 ON CONFLICT DO UPDATE SET samples = samples + excluded.samples",
        n, c->in_n, err);
}

static int write_cell(struct merge_pair *p, const struct merge_cell *c, struct buf *err)
{
    int64_t n = c->out_n;
    int rc = 0;
    if (c->action == ACT_REPLACE)
        rc = merge_do(p, "DELETE FROM main.cell WHERE n = ?1", &n, 1, err);
    if (rc == 0 && (c->action == ACT_ADD || c->action == ACT_REPLACE))
        rc = add_all(p, c, &n, err);
    if (rc == 0 && c->action == ACT_UNITE)
        rc = unite(p, c, err);
    if (rc == 0 && c->action == ACT_KEEP && c->in_status == CELL_DONE)
        rc = complete(p, c, err);
    // One of the two failed, and the other may still be done.
    if (rc == 0 && better_status(c) == CELL_UNFINISHED && c->action != ACT_ADD)
        rc = merge_do(p,
                      "UPDATE main.cell SET status = 'unfinished', error = NULL WHERE n = ?1"
                      " AND status <> 'unfinished'",
                      &n, 1, err);
    return rc ? -1 : write_sources(p, c, n, err);
}

int merge_cell_write(struct merge_pair *p, const struct merge_cell *c, struct buf *err)
{
    if (store_begin(p->out, err)) {
        p->m->broken = true;
        return -1;
    }
    if (write_cell(p, c, err)) {
        store_rollback(p->out);
        return -1;
    }
    if (store_commit(p->out, err) == 0)
        return 0;
    p->m->broken = true;
    return -1;
}
