/*
 * store_merge.c: one database gets what another has. See store_merge.h.
 *
 * Invariant: first everything is compared, then what belongs to no cell is written in one
 * transaction, then each cell in one of its own; so a cell's tokenizer, runs and sources are there
 * before it.
 * Leaves out: the cells (store_merge_cells.c).
 */
#include "store/store_merge_impl.h"

#include <sqlite3.h>
#include <string.h>

/* ---- trainings ---- */

struct training {
    char *id;
    int64_t in_n;
};

static int read_trainings(struct merge_pair *p, struct training **out, size_t *n, struct buf *err)
{
    size_t cap = 0;
    int rc;
    if (p->in->version < 2)
        return 0;
    sqlite3_stmt *st = input_prepare(p->in, "SELECT n, id FROM main.training ORDER BY n", err);
    if (!st)
        return -1;
    while ((rc = input_next(p->in, st, err)) == 1) {
        ARRAY_GROW(*out, cap, *n + 1);
        (*out)[(*n)++] = (struct training){ xstrdup((const char *)sqlite3_column_text(st, 1)),
                                            sqlite3_column_int64(st, 0) };
    }
    sqlite3_finalize(st);
    return rc;
}

/* Its number here; 0: it is not. */
static int find_training(struct merge_pair *p, const char *id, int64_t *n, struct buf *err)
{
    sqlite3_stmt *st;
    *n = 0;
    int rc =
        sqlite3_prepare_v2(p->out->db, "SELECT n FROM main.training WHERE id = ?1", -1, &st, NULL);
    if (rc != SQLITE_OK)
        return merge_out_fail(p, err, rc);
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    rc = sqlite3_step(st);
    *n = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : 0;
    sqlite3_finalize(st);
    return rc == SQLITE_ROW || rc == SQLITE_DONE ? 0 : merge_out_fail(p, err, rc);
}

static int compare_training(struct merge_pair *p, const struct training *t, struct buf *err)
{
    int64_t n = 0;
    if (find_training(p, t->id, &n, err))
        return -1;
    if (!n)
        return 0;
    char *who = xasprintf("training %s", t->id);
    int rc = merge_compare(p, MT_STEP, RULE_BOTH, n, t->in_n, who, NULL, err) ||
                     merge_compare(p, MT_HELDOUT, RULE_BOTH, n, t->in_n, who, NULL, err)
                 ? -1
                 : 0;
    free(who);
    return rc;
}

static int write_training(struct merge_pair *p, const struct training *t, struct buf *err)
{
    int64_t n = 0;
    if (merge_feed(p,
                   "SELECT id, sweep, model, label, settings, started FROM main.training"
                   " WHERE n = ?1",
                   "INSERT INTO main.training (id, sweep, model, label, settings, started)"
                   " VALUES (?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
                   0, t->in_n, err) ||
        find_training(p, t->id, &n, err))
        return -1;
    return merge_copy(p, MT_STEP, "ON CONFLICT DO NOTHING", n, t->in_n, err) ||
                   merge_copy(p, MT_HELDOUT, "ON CONFLICT DO NOTHING", n, t->in_n, err)
               ? -1
               : 0;
}

/* ---- plans ---- */

/*
 * Each sweep whose newest run is newer there gets their plan. Before runs are merged: afterwards the
 * newest one is in both.
 */
static int write_plans(struct merge_pair *p, struct buf *err)
{
    static const char older[] =
        "DELETE FROM main.plan WHERE sweep = ?2 AND coalesce((SELECT max(started) FROM main.run"
        " WHERE sweep = ?2), -1) < ?3";
    static const char fresh[] = "INSERT INTO temp.planned SELECT ?2 WHERE NOT EXISTS (SELECT 1 "
                                "FROM main.plan WHERE sweep = ?2)";
    static const char rows[] =
        "INSERT INTO main.plan (sweep, id, recipe, model, label, k, train, task, samples, tokens)"
        " SELECT ?2, ?3, (SELECT n FROM main.recipe WHERE hash = ?4), ?5, ?6, ?7, ?8, ?9, ?10, ?11"
        " WHERE ?2 IN (SELECT sweep FROM temp.planned)";
    static const char sweeps[] =
        "SELECT DISTINCT sweep, coalesce((SELECT max(r.started) FROM main.run AS r"
        " WHERE r.sweep = plan.sweep), -1) FROM main.plan";
    return merge_do(p, "CREATE TEMP TABLE IF NOT EXISTS planned (sweep TEXT)", NULL, 0, err) ||
                   merge_do(p, "DELETE FROM temp.planned", NULL, 0, err) ||
                   merge_feed(p, sweeps, older, 0, 0, err) ||
                   merge_feed(p, sweeps, fresh, 0, 0, err) ||
                   merge_feed(
                       p,
                       "SELECT q.sweep, q.id, c.hash, q.model, q.label, q.k, q.train, q.task,"
                       " q.samples, q.tokens FROM main.plan AS q JOIN main.recipe AS c"
                       " ON c.n = q.recipe",
                       rows, 0, 0, err)
               ? -1
               : 0;
}

/* ---- what belongs to no cell ---- */

struct feed {
    int since; /* the schema's version */
    const char *select, *insert;
};

static const struct feed names[] = {
    { 1, "SELECT hash FROM main.tokenizer",
      "INSERT INTO main.tokenizer (hash) VALUES (?2) ON CONFLICT DO NOTHING" },
    { 1,
      "SELECT t.hash, x.id, x.text FROM main.token_text AS x JOIN main.tokenizer AS t"
      " ON t.n = x.tokenizer",
      "INSERT INTO main.token_text (tokenizer, id, text)"
      " VALUES ((SELECT n FROM main.tokenizer WHERE hash = ?2), ?3, ?4) ON CONFLICT DO NOTHING" },
    { 4, "SELECT hash, path, text FROM main.recipe",
      "INSERT INTO main.recipe (hash, path, text) VALUES (?2, ?3, ?4) ON CONFLICT DO NOTHING" },
    { 4, "SELECT kind, name, hash FROM main.source",
      "INSERT INTO main.source (kind, name, hash) VALUES (?2, ?3, ?4) ON CONFLICT DO NOTHING" },
};

// A run that went on since it was merged has more of everything.
static const struct feed runs = {
    4,
    "SELECT r.id, c.hash, r.sweep, r.command, r.version, r.revision, r.libtorch, r.blas, r.device,"
    " r.driver, r.host, r.shard, r.started, r.ended, r.outcome, r.seconds, r.trained, r.samples,"
    " r.tokens"
    " FROM main.run AS r LEFT JOIN main.recipe AS c ON c.n = r.recipe",
    "INSERT INTO main.run (id, recipe, sweep, command, version, revision, libtorch, blas, device,"
    " driver, host, shard, started, ended, outcome, seconds, trained, samples, tokens)"
    " VALUES (?2, (SELECT n FROM main.recipe WHERE hash = ?3), ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11,"
    " ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20) ON CONFLICT (id) DO UPDATE SET"
    " ended = excluded.ended, outcome = excluded.outcome, seconds = excluded.seconds, trained = "
    "excluded.trained,"
    " samples = excluded.samples, tokens = excluded.tokens"
    " WHERE excluded.seconds > seconds OR (ended IS NULL AND excluded.ended IS NOT NULL)"
};

static int write_feed(struct merge_pair *p, const struct feed *f, struct buf *err)
{
    return f->since > p->in->version ? 0 : merge_feed(p, f->select, f->insert, 0, 0, err);
}

static int write_common(struct merge_pair *p, const struct training *trainings, size_t n,
                        struct buf *err)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(names); i++)
        rc = write_feed(p, &names[i], err);
    if (rc == 0 && p->in->version >= 4)
        rc = write_plans(p, err);
    if (rc == 0)
        rc = write_feed(p, &runs, err);
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = write_training(p, &trainings[i], err);
    return rc;
}

static int commit_common(struct merge_pair *p, const struct training *trainings, size_t n,
                         struct buf *err)
{
    if (store_begin(p->out, err)) {
        p->m->broken = true;
        return -1;
    }
    if (write_common(p, trainings, n, err)) {
        store_rollback(p->out);
        return -1;
    }
    if (store_commit(p->out, err) == 0)
        return 0;
    p->m->broken = true;
    return -1;
}

/* ---- all of it ---- */

int store_merge_input(struct store *out, struct store_input *in, struct merged *m, struct buf *err)
{
    struct merged one = { 0 };
    struct merge_pair p = { out, in, &one };
    struct merge_cell *cells = NULL;
    struct training *trainings = NULL;
    size_t ncells = 0, ntrainings = 0;
    int rc = read_trainings(&p, &trainings, &ntrainings, err);
    for (size_t i = 0; rc == 0 && i < ntrainings; i++)
        rc = compare_training(&p, &trainings[i], err);
    if (rc == 0)
        rc = merge_cells_decide(&p, &cells, &ncells, err);
    if (rc == 0)
        rc = commit_common(&p, trainings, ntrainings, err);
    for (size_t i = 0; rc == 0 && i < ncells; i++)
        rc = merge_cell_write(&p, &cells[i], err);
    // A cell that took another's place has another number.
    free(out->cell_id);
    out->cell_id = NULL;
    for (size_t i = 0; i < ntrainings; i++)
        free(trainings[i].id);
    free(trainings);
    merge_cells_free(cells, ncells);
    m->broken = m->broken || one.broken;
    if (rc)
        return -1;
    m->added += one.added, m->grown += one.grown, m->same += one.same;
    m->left_out += one.left_out;
    m->replaced = m->replaced || one.replaced;
    return 0;
}

int store_merge(struct store *out, const char *in, struct merged *m, struct buf *err)
{
    struct store_input *input = store_input_open(in, err);
    int rc = input ? store_merge_input(out, input, m, err) : -1;
    store_input_close(input);
    return rc;
}
