/*
 * store_check_rows.c: is every row of a database one that we might have written? See store_check.h.
 *
 * Invariant: what passes can be put into our tables as it is, and read by every command: no column has
 * a value of another type, and nothing refers to what is not there.
 * Leaves out: `process`, which is of one moment and is never merged.
 */
#include "store/store_merge_impl.h"

#include <sqlite3.h>
#include <string.h>

/* ---- rows that SQL can judge ---- */

#define COUNT(c) "(typeof(" c ") = 'integer' AND " c " BETWEEN 0 AND 9007199254740992)"
#define SMALL(c) "(typeof(" c ") = 'integer' AND " c " BETWEEN 0 AND 2147483647)"
#define WHOLE(c) "typeof(" c ") = 'integer'"
#define WHOLE_OR_NULL(c) "typeof(" c ") IN ('integer', 'null')"
#define REAL(c) "typeof(" c ") = 'real'"
#define REAL_OR_NULL(c) "typeof(" c ") IN ('real', 'null')"
// Text ends at its first NUL, to us.
#define ENDED(c) "instr(CAST(" c " AS BLOB), x'00') = 0"
#define TEXT(c) "(typeof(" c ") = 'text' AND " ENDED(c) ")"
#define TEXT_OR_NULL(c) "(" c " IS NULL OR " TEXT(c) ")"
#define AND " AND "

struct row_check {
    const char *table; /* as t; the cell that its row belongs to is c */
    int since;         /* the schema's version */
    bool of_cell;
    const char *must;  /* holds for each row */
    const char *words; /* what is wrong where it does not */
};

static const struct row_check checks[] = {
    { "tokenizer", 1, false, TEXT("t.hash"), "a tokenizer without a name" },
    { "cell", 1, false,
      TEXT("t.id") AND "length(t.id) BETWEEN 1 AND 64 AND t.id NOT GLOB '*[^0-9A-Za-z_-]*'",
      "a cell's id that is none" },
    { "cell", 1, false,
      TEXT("t.sweep") AND TEXT("t.model") AND TEXT("t.router") AND TEXT_OR_NULL("t.mode")
          AND TEXT("t.params") AND TEXT("t.train") AND TEXT("t.task") AND TEXT("t.device")
              AND TEXT("t.dtype") AND TEXT_OR_NULL("t.error"),
      "a label that is no text" },
    { "cell", 1, false,
      SMALL("t.k") AND WHOLE_OR_NULL("t.min") AND WHOLE_OR_NULL("t.max") AND WHOLE("t.seed")
          AND WHOLE("t.started") AND REAL("t.seconds") AND COUNT("t.samples") AND COUNT("t.tokens")
              AND WHOLE("t.layers") AND "t.layers BETWEEN 0 AND 10000" AND WHOLE("t.experts") AND
      "t.experts BETWEEN 0 AND 65535 AND (t.layers = 0) = (t.experts = 0)",
      "a number that no cell has" },
    { "cell", 1, false, "t.samples = (SELECT count(*) FROM main.sample AS s WHERE s.cell = t.n)",
      "another number of samples than it has" },
    { "cell", 3, false, TEXT_OR_NULL("t.note"), "a note that is no text" },
    { "metric", 1, true,
      TEXT("t.metric") AND REAL_OR_NULL("t.value") AND REAL_OR_NULL("t.stderr") AND COUNT("t.n"),
      "a metric that is none" },
    { "sample", 1, true,
      SMALL("t.doc") AND SMALL("t.prompt_tokens") AND SMALL("t.output_tokens")
          AND TEXT_OR_NULL("t.stop_reason") AND REAL_OR_NULL("t.nll") AND SMALL("t.nll_tokens")
              AND TEXT_OR_NULL("t.output") AND TEXT_OR_NULL("t.extracted")
                  AND REAL_OR_NULL("t.score") AND TEXT_OR_NULL("t.error"),
      "a sample that is none" },
    { "token_text", 1, false,
      SMALL("t.id") AND
      "typeof(t.text) IN ('text', 'blob') AND length(CAST(t.text AS BLOB)) < 65536",
      "a token's text that is none" },
    { "expert_load", 1, true,
      WHOLE("t.layer") AND WHOLE("t.expert") AND
      "t.layer BETWEEN 0 AND c.layers - 1" AND
      "t.expert BETWEEN 0 AND c.experts - 1" AND COUNT("t.tokens") AND REAL_OR_NULL("t.weight"),
      "the load of an expert that the model has not, or none" },
    { "entropy_bin", 1, true,
      WHOLE("t.layer") AND "t.layer BETWEEN -1 AND c.layers - 1" AND SMALL("t.bin")
          AND REAL("t.entropy_lo") AND REAL("t.entropy_hi") AND REAL_OR_NULL("t.entropy_mean")
              AND COUNT("t.tokens") AND REAL_OR_NULL("t.experts_mean")
                  AND REAL_OR_NULL("t.experts_sd") AND REAL_OR_NULL("t.experts_se"),
      "a bin that is none" },
    { "histogram", 1, true,
      WHOLE("t.layer") AND "t.layer BETWEEN 0 AND c.layers - 1" AND WHOLE("t.experts") AND
      "t.experts BETWEEN 0 AND c.experts" AND COUNT("t.tokens"),
      "a layer or a number of experts that the model has not" },
    { "training", 2, false,
      TEXT("t.id") AND
      "length(t.id) BETWEEN 1 AND 64 AND t.id NOT GLOB '*[^0-9A-Za-z_-]*'" AND TEXT("t.sweep")
          AND TEXT("t.model") AND TEXT("t.label") AND TEXT("t.settings") AND
      "json_valid(t.settings)" AND WHOLE("t.started"),
      "a training that is none" },
    { "training_step", 2, false,
      COUNT("t.step") AND "t.step > 0" AND COUNT("t.tokens") AND REAL_OR_NULL("t.loss")
          AND REAL_OR_NULL("t.lr") AND REAL_OR_NULL("t.grad_norm")
              AND REAL_OR_NULL("t.balance_loss") AND REAL_OR_NULL("t.z_loss")
                  AND REAL_OR_NULL("t.experts") AND REAL_OR_NULL("t.seconds"),
      "a step that is none" },
    { "training_heldout", 2, false,
      COUNT("t.step") AND TEXT("t.source") AND REAL_OR_NULL("t.nll") AND COUNT("t.tokens"),
      "a loss that is none" },
    { "recipe", 4, false, TEXT("t.hash") AND TEXT("t.path") AND TEXT("t.text"),
      "a recipe that is no text" },
    { "run", 4, false,
      TEXT("t.id") AND TEXT("t.sweep") AND TEXT("t.command") AND TEXT("t.version")
          AND TEXT("t.revision") AND TEXT("t.libtorch") AND TEXT("t.blas") AND TEXT("t.device")
              AND TEXT("t.driver") AND TEXT("t.host") AND TEXT_OR_NULL("t.shard")
                  AND WHOLE("t.started") AND WHOLE_OR_NULL("t.ended") AND REAL("t.seconds")
                      AND REAL("t.trained") AND COUNT("t.samples") AND COUNT("t.tokens") AND
      "(t.outcome IS NULL OR t.outcome IN ('done', 'failed', "
      "'interrupted'))",
      "a run that is none" },
    { "source", 4, false, TEXT("t.kind") AND TEXT("t.name") AND TEXT("t.hash"),
      "a source that is none" },
    { "cell_source", 4, true, WHOLE("t.source"), "a source that is none" },
    { "cell_run", 4, true, WHOLE("t.run") AND COUNT("t.samples"), "a run that is none" },
    { "plan", 4, false,
      TEXT("t.sweep") AND TEXT("t.id") AND TEXT("t.model") AND TEXT("t.label") AND SMALL("t.k")
          AND TEXT("t.train") AND TEXT("t.task") AND COUNT("t.samples") AND COUNT("t.tokens"),
      "a cell that is none" },
    { "token_experts", 4, true,
      SMALL("t.id") AND COUNT("t.tokens") AND COUNT("t.experts") AND REAL_OR_NULL("t.entropy"),
      "a token's experts that are none" },
    { "overlap", 5, true,
      SMALL("t.doc") AND TEXT("t.other") AND WHOLE("t.layer") AND
      "t.layer BETWEEN 0 AND c.layers - 1" AND COUNT("t.both") AND COUNT("t.ours")
          AND COUNT("t.theirs") AND "t.both <= min(t.ours, t.theirs)",
      "an overlap that is none" },
    { "expert_entropy", 5, true,
      WHOLE("t.layer") AND WHOLE("t.expert") AND
      "t.layer BETWEEN 0 AND c.layers - 1" AND
      "t.expert BETWEEN 0 AND c.experts - 1" AND REAL("t.entropy"),
      "the entropy of an expert that the model has not, or none" },
    { "position_bin", 5, true,
      SMALL("t.bin") AND COUNT("t.pos_lo") AND COUNT("t.pos_hi") AND
      "t.pos_lo < t.pos_hi" AND COUNT("t.tokens") AND COUNT("t.scored")
          AND REAL_OR_NULL("t.nll_mean") AND REAL_OR_NULL("t.nll_se")
              AND REAL_OR_NULL("t.experts_mean") AND REAL_OR_NULL("t.experts_se")
                  AND REAL_OR_NULL("t.used_share") AND REAL_OR_NULL("t.differ"),
      "a bin of positions that is none" },
    { "token_kind", 5, true,
      TEXT("t.kind") AND COUNT("t.tokens") AND REAL_OR_NULL("t.experts_mean") AND REAL_OR_NULL(
          "t.experts_se") AND REAL_OR_NULL("t.entropy_mean") AND REAL_OR_NULL("t.entropy_se"),
      "a kind that is none" },
};

/* Does the query give a row? Then `words` say what is wrong with the table. */
static int none_of(struct store_input *in, const char *sql, const char *table, const char *words,
                   struct buf *err)
{
    struct sqlite3_stmt *st = input_prepare(in, sql, err);
    int rc = st ? input_next(in, st, err) : -1;
    sqlite3_finalize(st);
    return rc < 1 ? rc
                  : fail(err, "%s: its table %s has %s; no seqtopk wrote that", in->store->path,
                         table, words);
}

static int check_one(struct store_input *in, const struct row_check *c, struct buf *err)
{
    char *sql = xasprintf("SELECT 1 FROM main.%s AS t %s WHERE NOT coalesce(%s%s, 0) LIMIT 1",
                          c->table, c->of_cell ? "LEFT JOIN main.cell AS c ON c.n = t.cell" : "",
                          c->of_cell ? "c.n IS NOT NULL AND " : "", c->must);
    int rc = none_of(in, sql, c->table, c->words, err);
    free(sql);
    if (rc)
        return -1;
    sql = xasprintf("PRAGMA main.foreign_key_check(%s)", c->table);
    rc = none_of(in, sql, c->table, "a row that refers to what is not there", err);
    free(sql);
    return rc;
}

/* ---- tokens ---- */

/* The document that the token before was of. */
struct document {
    int64_t cell, doc, pos;
    int layers, experts; /* of its model */
};

static int bad_token(struct store_input *in, struct sqlite3_stmt *st, const char *words,
                     struct buf *err)
{
    return fail(err,
                "%s: its table token has, for document %lld at %lld, %s; no seqtopk wrote that",
                in->store->path, (long long)sqlite3_column_int64(st, 1),
                (long long)sqlite3_column_int64(st, 2), words);
}

/* Is it "8,7,9", `layers` numbers of at most `experts` each, and is their sum `sum`? */
static bool is_by_layer(const char *p, int layers, int experts, int64_t sum)
{
    int64_t all = 0;
    for (int l = 0; l < layers; l++) {
        int v = 0, digits = 0;
        for (; *p >= '0' && *p <= '9' && digits < 6; digits++)
            v = v * 10 + (*p++ - '0');
        if (!digits || v > experts || (l + 1 < layers && *p++ != ','))
            return false;
        all += v;
    }
    return !*p && all == sum;
}

static bool is_real_or_null(struct sqlite3_stmt *st, int col)
{
    int type = sqlite3_column_type(st, col);
    return type == SQLITE_FLOAT || type == SQLITE_NULL;
}

static bool is_experts(struct sqlite3_stmt *st, const struct document *d)
{
    if (sqlite3_column_type(st, 6) == SQLITE_NULL)
        return sqlite3_column_type(st, 7) == SQLITE_NULL;
    if (sqlite3_column_type(st, 6) != SQLITE_INTEGER || sqlite3_column_type(st, 7) != SQLITE_TEXT)
        return false;
    const char *text = (const char *)sqlite3_column_text(st, 7);
    return text && strlen(text) == (size_t)sqlite3_column_bytes(st, 7) &&
           is_by_layer(text, d->layers, d->experts, sqlite3_column_int64(st, 6));
}

/* The document that begins with this token. */
static int find_document(struct store_input *in, struct sqlite3_stmt *st, struct sqlite3_stmt *find,
                         struct document *d, struct buf *err)
{
    *d = (struct document){ sqlite3_column_int64(st, 0), sqlite3_column_int64(st, 1), -1, 0, 0 };
    sqlite3_bind_int64(find, 1, d->cell);
    sqlite3_bind_int64(find, 2, d->doc);
    int rc = input_next(in, find, err);
    if (rc == 1) {
        d->layers = sqlite3_column_int(find, 0);
        d->experts = sqlite3_column_int(find, 1);
    }
    sqlite3_reset(find);
    return rc == 1   ? 0
           : rc == 0 ? bad_token(in, st, "a token of a sample that is not there", err)
                     : -1;
}

static int check_token(struct store_input *in, struct sqlite3_stmt *st, struct document *d,
                       struct buf *err)
{
    int64_t id = sqlite3_column_int64(st, 3);
    if (sqlite3_column_type(st, 2) != SQLITE_INTEGER || sqlite3_column_int64(st, 2) != ++d->pos)
        return bad_token(in, st, "a place that does not come next", err);
    if (sqlite3_column_type(st, 3) != SQLITE_INTEGER || id < 0 || id > INT32_MAX)
        return bad_token(in, st, "an id that is none", err);
    if (!is_real_or_null(st, 4) || !is_real_or_null(st, 5))
        return bad_token(in, st, "a loss or an entropy that is none", err);
    return is_experts(st, d) ? 0 : bad_token(in, st, "experts that its model has not", err);
}

static int check_tokens(struct store_input *in, struct buf *err)
{
    struct document d = { INT64_MIN, -1, -1, 0, 0 };
    struct sqlite3_stmt *st =
        input_prepare(in,
                      "SELECT cell, doc, pos, id, nll, entropy, experts, by_layer FROM main.token"
                      " ORDER BY cell, doc, pos",
                      err);
    struct sqlite3_stmt *find =
        st ? input_prepare(in,
                           "SELECT c.layers, c.experts FROM main.sample AS s JOIN main.cell AS c"
                           " ON c.n = s.cell WHERE s.cell = ?1 AND s.doc = ?2",
                           err)
           : NULL;
    int rc = find ? 0 : -1;
    while (rc == 0 && (rc = input_next(in, st, err)) == 1) {
        bool numbers = sqlite3_column_type(st, 0) == SQLITE_INTEGER &&
                       sqlite3_column_type(st, 1) == SQLITE_INTEGER;
        bool same = sqlite3_column_int64(st, 0) == d.cell && sqlite3_column_int64(st, 1) == d.doc;
        rc = !numbers ? bad_token(in, st, "a cell or a document that is none", err)
             : same   ? 0
                      : find_document(in, st, find, &d, err);
        if (rc == 0)
            rc = check_token(in, st, &d, err);
    }
    sqlite3_finalize(find);
    sqlite3_finalize(st);
    return rc;
}

int input_check_rows(struct store_input *in, struct buf *err)
{
    for (size_t i = 0; i < ARRAY_LEN(checks); i++)
        if (checks[i].since <= in->version && check_one(in, &checks[i], err))
            return -1;
    return check_tokens(in, err);
}
