/*
 * store_write.c: samples, metrics, bins and token texts go into the database. See store.h.
 *
 * Invariant: each call is atomic, alone or inside of store_begin and store_commit.
 */
#include "store/store_impl.h"

#include <math.h>
#include <sqlite3.h>

const char *const stmt_sql[ST_COUNT] = {
    [ST_CELL_FIND] = "SELECT n, layers, experts, status FROM cell WHERE id = ?1",
    [ST_CELL_ADD] =
        "INSERT INTO cell (id, sweep, model, router, mode, k, min, max, params, train,"
        " task, seed, device, dtype, layers, experts, tokenizer, status, started)"
        " VALUES (?1, ?2, ?3, ?4, nullif(?5, ''), ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
        " ?14, ?15, ?16, (SELECT n FROM tokenizer WHERE hash = ?17), 'unfinished', ?18)",
    [ST_CELL_RUN] = "UPDATE cell SET status = 'unfinished', error = NULL WHERE n = ?1",
    [ST_CELL_FINISH] = "UPDATE cell SET status = ?2, error = ?3, seconds = seconds + ?4"
                       " WHERE n = ?1",
    [ST_CELL_COUNT] = "UPDATE cell SET samples = samples + 1, tokens = tokens + ?2 WHERE n = ?1",
    [ST_CELL_NOTE] = "UPDATE cell SET note = ?2 WHERE n = ?1",
    [ST_TOKENIZER_ADD] = "INSERT INTO tokenizer (hash) VALUES (?1) ON CONFLICT DO NOTHING",
    [ST_SAMPLE_DOCS] = "SELECT doc FROM sample WHERE cell = ?1 AND doc < ?2",
    [ST_SAMPLE_ADD] = "INSERT INTO sample (cell, doc, prompt_tokens, output_tokens, stop_reason,"
                      " nll, nll_tokens, output, extracted, score, error)"
                      " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
    [ST_SAMPLE_SCORE] = "UPDATE sample SET score = ?3, extracted = ?4 WHERE cell = ?1 AND doc = ?2",
    [ST_TOKEN_ADD] = "INSERT INTO token (cell, doc, pos, id, nll, entropy, experts, by_layer)"
                     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [ST_LOAD_ADD] = "INSERT INTO expert_load (cell, layer, expert, tokens, weight)"
                    " VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO UPDATE SET"
                    " tokens = tokens + excluded.tokens, weight = weight + excluded.weight",
    [ST_OVERLAP_ADD] = "INSERT INTO overlap (cell, doc, other, layer, both, ours, theirs)"
                       " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [ST_ENTROPY_ADD] = "INSERT INTO expert_entropy (cell, layer, expert, entropy)"
                       " VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET"
                       " entropy = entropy + excluded.entropy",
    [ST_POSITION_SET] =
        "INSERT OR REPLACE INTO position_bin (cell, bin, pos_lo, pos_hi, tokens, scored, nll_mean,"
        " nll_se, experts_mean, experts_se, used_share, differ)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
    [ST_KIND_SET] = "INSERT OR REPLACE INTO token_kind (cell, kind, tokens, experts_mean,"
                    " experts_se, entropy_mean, entropy_se) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    [ST_POSITION_CLEAR] = "DELETE FROM position_bin WHERE cell = ?1",
    [ST_KIND_CLEAR] = "DELETE FROM token_kind WHERE cell = ?1",
    [ST_METRIC_SET] = "INSERT OR REPLACE INTO metric (cell, metric, value, stderr, n)"
                      " VALUES (?1, ?2, ?3, ?4, ?5)",
    [ST_BIN_SET] = "INSERT OR REPLACE INTO entropy_bin (cell, layer, bin, entropy_lo, entropy_hi,"
                   " entropy_mean, tokens, experts_mean, experts_sd, experts_se)"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    [ST_HISTOGRAM_SET] = "INSERT OR REPLACE INTO histogram (cell, layer, experts, tokens)"
                         " VALUES (?1, ?2, ?3, ?4)",
    [ST_TOKEN_EXPERTS_SET] = "INSERT OR REPLACE INTO token_experts (cell, id, tokens, experts,"
                             " entropy) VALUES (?1, ?2, ?3, ?4, ?5)",
    [ST_METRIC_CLEAR] = "DELETE FROM metric WHERE cell = ?1",
    [ST_BIN_CLEAR] = "DELETE FROM entropy_bin WHERE cell = ?1",
    [ST_HISTOGRAM_CLEAR] = "DELETE FROM histogram WHERE cell = ?1",
    [ST_TOKEN_EXPERTS_CLEAR] = "DELETE FROM token_experts WHERE cell = ?1",
    [ST_TEXT_ADD] = "INSERT INTO token_text (tokenizer, id, text)"
                    " VALUES ((SELECT tokenizer FROM cell WHERE n = ?1), ?2, ?3)"
                    " ON CONFLICT DO NOTHING",
    [ST_TRAINING_ADD] = "INSERT INTO training (id, sweep, model, label, settings, started)"
                        " VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    [ST_TRAIN_STEP_SET] =
        "INSERT OR REPLACE INTO training_step (training, step, tokens, loss, lr, grad_norm,"
        " balance_loss, z_loss, experts, seconds)"
        " SELECT n, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 FROM training WHERE id = ?1",
    [ST_TRAIN_HELDOUT_SET] = "INSERT OR REPLACE INTO training_heldout (training, step, source, nll,"
                             " tokens) SELECT n, ?2, ?3, ?4, ?5 FROM training WHERE id = ?1",
    [ST_PROCESS_SET] = "INSERT OR REPLACE INTO process (n, pid, device, doing, since)"
                       " VALUES (?1, ?2, ?3, ?4, ?5)",
    [ST_PROCESS_CLEAR] = "DELETE FROM process",
    [ST_RECIPE_ADD] = "INSERT INTO recipe (hash, path, text) VALUES (?1, ?2, ?3)"
                      " ON CONFLICT DO NOTHING",
    [ST_RECIPE_FIND] = "SELECT n FROM recipe WHERE hash = ?1",
    [ST_RUN_ADD] = "INSERT INTO run (id, recipe, sweep, command, version, revision, libtorch, blas,"
                   " device, driver, host, shard, started)"
                   " VALUES (?1, nullif(?2, 0), ?3, ?4, ?5, ?6, '', '', ?7, '', ?8, ?9, ?10)",
    [ST_RUN_FIND] = "SELECT n, ifnull(recipe, 0) FROM run WHERE id = ?1",
    // Each process of a run says it, of a device of its own.
    [ST_RUN_ENGINE] =
        "UPDATE run SET libtorch = ?2, blas = ?3, driver = CASE ?5 WHEN '' THEN driver ELSE ?5 END,"
        " device = CASE WHEN instr(', ' || device || ', ', ', ' || ?4 || ', ') THEN device"
        " WHEN ?4 = '' THEN device WHEN device = '' THEN ?4 ELSE device || ', ' || ?4 END"
        " WHERE n = ?1",
    [ST_RUN_COUNT] = "UPDATE run SET seconds = max(seconds, ?2), samples = samples + ?3,"
                     " tokens = tokens + ?4, trained = trained + ?5 WHERE n = ?1",
    [ST_RUN_END] = "UPDATE run SET ended = ?2, outcome = ?3 WHERE n = ?1",
    [ST_RUN_CELL] = "INSERT INTO cell_run (cell, run, samples) VALUES (?1, ?2, ?3)"
                    " ON CONFLICT DO UPDATE SET samples = samples + excluded.samples",
    [ST_PLAN_CLEAR] = "DELETE FROM plan WHERE sweep = (SELECT sweep FROM run WHERE n = ?1)",
    [ST_PLAN_ADD] = "INSERT INTO plan (sweep, recipe, id, model, label, k, train, task, samples,"
                    " tokens) SELECT sweep, recipe, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 FROM run"
                    " WHERE n = ?1",
    [ST_SOURCE_ADD] = "INSERT INTO source (kind, name, hash) VALUES (?1, ?2, ?3)"
                      " ON CONFLICT DO NOTHING",
    [ST_CELL_SOURCE_ADD] = "INSERT INTO cell_source (cell, source) SELECT ?1, n FROM source"
                           " WHERE kind = ?2 AND name = ?3 AND hash = ?4 ON CONFLICT DO NOTHING",
};

// SQLite makes null of NaN by itself; said here because the views promise it.
void store_bind_double(struct sqlite3_stmt *st, int i, double v)
{
    if (isnan(v))
        sqlite3_bind_null(st, i);
    else
        sqlite3_bind_double(st, i, v);
}

void store_bind_text(struct sqlite3_stmt *st, int i, const char *s)
{
    sqlite3_bind_text(st, i, s, -1, SQLITE_STATIC);
}

int store_write_begin(struct store *s, struct buf *err)
{
    if (!s->in_transaction) {
        store_turn_take(s);
        int rc = store_exec(s, "BEGIN IMMEDIATE", err);
        if (rc)
            store_turn_give(s);
        return rc;
    }
    if (sqlite3_get_autocommit(s->db))
        return fail(err, "%s: was taken back to where it was after an earlier failure", s->path);
    return store_exec(s, "SAVEPOINT part", err);
}

int store_write_end(struct store *s, int rc, struct buf *err)
{
    if (rc == 0 && !s->in_transaction)
        rc = store_run_flush(s, err);
    if (rc == 0)
        rc = store_exec(s, s->in_transaction ? "RELEASE part" : "COMMIT", err);
    if (!s->in_transaction)
        store_run_forget(s);
    if (rc != 0 && !sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, s->in_transaction ? "ROLLBACK TO part; RELEASE part" : "ROLLBACK", NULL,
                     NULL, NULL);
    if (!s->in_transaction)
        store_turn_give(s);
    return rc;
}

int store_write_check(struct store *s, struct buf *err)
{
    if (s->in_transaction && sqlite3_get_autocommit(s->db))
        return fail(err, "%s: was taken back to where it was after an earlier failure", s->path);
    return 0;
}

static int sample_row(struct store *s, const struct store_sample *p, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_SAMPLE_ADD, err);
    if (!st)
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    sqlite3_bind_int(st, 2, p->doc);
    sqlite3_bind_int(st, 3, p->prompt_tokens);
    sqlite3_bind_int(st, 4, p->output_tokens);
    store_bind_text(st, 5, p->stop_reason);
    store_bind_double(st, 6, p->nll);
    sqlite3_bind_int(st, 7, p->nll_tokens);
    store_bind_text(st, 8, p->output);
    store_bind_text(st, 9, p->extracted);
    store_bind_double(st, 10, p->score);
    store_bind_text(st, 11, p->error);
    int rc = sqlite3_step(st);
    if (rc == SQLITE_CONSTRAINT_UNIQUE)
        fail(err, "%s: cell %s has document %d already", s->path, p->cell_id, p->doc);
    else if (rc != SQLITE_DONE)
        store_fail(s, err, rc);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return rc == SQLITE_DONE ? 0 : -1;
}

/* "8,7,9" of column t of [layers, T], and their sum. Written by hand: it is done for each token. */
static int layers_text(const uint16_t *experts, int layers, int T, int t, struct buf *out)
{
    int sum = 0;
    buf_reset(out);
    for (int l = 0; l < layers; l++) {
        char digits[8];
        int n = 0;
        unsigned v = experts[(size_t)l * (size_t)T + (size_t)t];
        sum += (int)v;
        do
            digits[sizeof(digits) - 1 - (size_t)n++] = (char)('0' + v % 10);
        while (v /= 10);
        if (l)
            buf_addc(out, ',');
        buf_add(out, digits + sizeof(digits) - n, (size_t)n);
    }
    return sum;
}

static int token_rows(struct store *s, const struct store_sample *p, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_TOKEN_ADD, err);
    struct buf text = BUF_INIT;
    int rc = st ? 0 : -1;
    for (int t = 0; rc == 0 && t < p->tokens; t++) {
        sqlite3_bind_int64(st, 1, s->cell_n);
        sqlite3_bind_int(st, 2, p->doc);
        sqlite3_bind_int(st, 3, t);
        sqlite3_bind_int(st, 4, p->ids[t]);
        store_bind_double(st, 5, p->token_nll ? (double)p->token_nll[t] : NAN);
        store_bind_double(st, 6, p->entropy ? (double)p->entropy[t] : NAN);
        if (p->experts) {
            sqlite3_bind_int(st, 7, layers_text(p->experts, s->cell_layers, p->tokens, t, &text));
            sqlite3_bind_text(st, 8, text.s, (int)text.len, SQLITE_STATIC);
        }
        rc = store_step(s, st, err);
    }
    buf_release(&text);
    return rc;
}

static int load_rows(struct store *s, const struct store_sample *p, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_LOAD_ADD, err);
    int rc = st ? 0 : -1;
    for (int l = 0; l < s->cell_layers; l++)
        for (int e = 0; rc == 0 && e < s->cell_experts; e++) {
            size_t i = (size_t)l * (size_t)s->cell_experts + (size_t)e;
            sqlite3_bind_int64(st, 1, s->cell_n);
            sqlite3_bind_int(st, 2, l);
            sqlite3_bind_int(st, 3, e);
            sqlite3_bind_int(st, 4, p->load_tokens[i]);
            store_bind_double(st, 5, p->load_weight ? p->load_weight[i] : NAN);
            rc = store_step(s, st, err);
        }
    return rc;
}

static int count_sample(struct store *s, const struct store_sample *p, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_CELL_COUNT, err);
    if (!st)
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    int64_t tokens = p->tokens ? p->tokens : p->prompt_tokens + p->nll_tokens + p->output_tokens;
    sqlite3_bind_int64(st, 2, tokens);
    return store_step(s, st, err) ? -1 : store_run_count(s, tokens, err);
}

int store_sample_add(struct store *s, const struct store_sample *p, struct buf *err)
{
    if (p->doc < 0 || p->tokens < 0 || (p->tokens > 0 && !p->ids))
        BUG("document %d of cell %s has %d tokens", p->doc, p->cell_id, p->tokens);
    if (store_write_begin(s, err))
        return -1;
    int rc = store_cell_use(s, p->cell_id, err) || sample_row(s, p, err) || token_rows(s, p, err) ||
                     (p->load_tokens && load_rows(s, p, err)) || store_sample_compared(s, p, err) ||
                     count_sample(s, p, err)
                 ? -1
                 : 0;
    return store_write_end(s, rc, err);
}

int store_sample_score(struct store *s, const char *cell_id, int doc, double score,
                       const char *extracted, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_SAMPLE_SCORE, err);
    if (!st || store_write_check(s, err) || store_cell_use(s, cell_id, err))
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    sqlite3_bind_int(st, 2, doc);
    store_bind_double(st, 3, score);
    store_bind_text(st, 4, extracted);
    if (store_step(s, st, err))
        return -1;
    if (sqlite3_changes(s->db) != 1)
        return fail(err, "%s: cell %s has no document %d to score", s->path, cell_id, doc);
    s->run.moved = true;
    return 0;
}

int store_metric_set(struct store *s, const char *cell_id, const char *metric, double value,
                     double stderr_, int64_t n, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_METRIC_SET, err);
    if (!st || store_write_check(s, err) || store_cell_use(s, cell_id, err))
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    store_bind_text(st, 2, metric);
    store_bind_double(st, 3, value);
    store_bind_double(st, 4, stderr_);
    sqlite3_bind_int64(st, 5, n);
    return store_step(s, st, err);
}

int store_bin_set(struct store *s, const char *cell_id, const struct store_bin *b, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_BIN_SET, err);
    if (!st || store_write_check(s, err) || store_cell_use(s, cell_id, err))
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    sqlite3_bind_int(st, 2, b->layer);
    sqlite3_bind_int(st, 3, b->bin);
    store_bind_double(st, 4, b->lo);
    store_bind_double(st, 5, b->hi);
    store_bind_double(st, 6, b->entropy_mean);
    sqlite3_bind_int64(st, 7, b->tokens);
    store_bind_double(st, 8, b->experts_mean);
    store_bind_double(st, 9, b->experts_sd);
    store_bind_double(st, 10, b->experts_se);
    return store_step(s, st, err);
}

int store_histogram_set(struct store *s, const char *cell_id, int layer, int experts,
                        int64_t tokens, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_HISTOGRAM_SET, err);
    if (!st || store_write_check(s, err) || store_cell_use(s, cell_id, err))
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    sqlite3_bind_int(st, 2, layer);
    sqlite3_bind_int(st, 3, experts);
    sqlite3_bind_int64(st, 4, tokens);
    return store_step(s, st, err);
}

int store_token_experts_set(struct store *s, const char *cell_id,
                            const struct store_token_experts *t, struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_TOKEN_EXPERTS_SET, err);
    if (!st || store_write_check(s, err) || store_cell_use(s, cell_id, err))
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    sqlite3_bind_int(st, 2, t->id);
    sqlite3_bind_int64(st, 3, t->tokens);
    sqlite3_bind_int64(st, 4, t->experts);
    store_bind_double(st, 5, t->entropy);
    return store_step(s, st, err);
}

int store_summary_clear(struct store *s, const char *cell_id, struct buf *err)
{
    static const enum stmt_id clears[] = { ST_METRIC_CLEAR,    ST_BIN_CLEAR,
                                           ST_HISTOGRAM_CLEAR, ST_TOKEN_EXPERTS_CLEAR,
                                           ST_POSITION_CLEAR,  ST_KIND_CLEAR };
    if (store_write_begin(s, err))
        return -1;
    int rc = store_cell_use(s, cell_id, err);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(clears); i++) {
        struct sqlite3_stmt *st = store_stmt(s, clears[i], err);
        if (st)
            sqlite3_bind_int64(st, 1, s->cell_n);
        rc = st ? store_step(s, st, err) : -1;
    }
    return store_write_end(s, rc, err);
}

int store_token_text(struct store *s, const char *cell_id, int32_t id, const char *text, size_t len,
                     struct buf *err)
{
    struct sqlite3_stmt *st = store_stmt(s, ST_TEXT_ADD, err);
    if (!st || store_write_check(s, err) || store_cell_use(s, cell_id, err))
        return -1;
    sqlite3_bind_int64(st, 1, s->cell_n);
    sqlite3_bind_int(st, 2, id);
    if (utf8_valid(text, len) == len)
        sqlite3_bind_text64(st, 3, text, len, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_blob64(st, 3, text, len, SQLITE_STATIC);
    return store_step(s, st, err);
}
