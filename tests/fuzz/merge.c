/*
 * merge.c: a stranger's database is merged with one of ours. The input changes one that this program
 * wrote, or is a whole file (which begins with "SQLite format 3").
 *
 * The first byte says how: 'v' puts odd values into rows, four bytes each: table, column, row, value;
 * 's' does so to a database whose schema has no checks, so that what SQLite would have refused comes
 * too, and then gives it our schema again; 'b' sets bytes of the file, four each: three of the place,
 * one of the value; 'c' cuts the file at the place that three bytes say; 'q' runs the rest as SQL.
 * Whatever comes of it, ours must be sound afterwards, and what it had must be there.
 */
#include "databases.h"

#include "store/store_merge.h"

static struct buf theirs = BUF_INIT, loose = BUF_INIT, ours = BUF_INIT;

static const char *const values[] = {
    "NULL",
    "-1",
    "0",
    "1",
    "2",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "0.5",
    "9e999",
    "''",
    "'x'",
    "'done'",
    "'failed'",
    "'unfinished'",
    "'{}'",
    "'2,2'",
    "'2,2,'",
    "zeroblob(3)",
    "x'ff00fe'",
    "CAST(x'610062' AS TEXT)",
    "printf('%.*c', 3000, 'y')",
    "'nll'",
    "'f123456789abcdef0123456789abcdef'",
};

/* ---- the databases ---- */

static void add_cell(struct store *s, const char *id, int first, int n, bool done)
{
    struct buf err = BUF_INIT;
    enum cell_status was;
    struct store_cell c = { .id = id,
                            .sweep = "s",
                            .model = "m",
                            .router = "topk",
                            .params = "{}",
                            .task = "nll:t",
                            .device = "cpu",
                            .dtype = "float32",
                            .k = 2,
                            .min = -1,
                            .max = -1,
                            .layers = 2,
                            .experts = 4,
                            .tokenizer = "h" };
    const int32_t ids[] = { 1, 2 }, load[] = { 1, 1, 1, 1, 2, 2, 0, 0 };
    const float nll[] = { 0, 1 };
    const uint16_t experts[] = { 2, 2, 2, 2 };
    const double weight[8] = { 1 };
    must(store_cell_begin(s, &c, &was, &err), &err);
    for (int doc = first; doc < first + n; doc++) {
        struct store_sample one = { .cell_id = id,
                                    .doc = doc,
                                    .nll = 1,
                                    .nll_tokens = 1,
                                    .score = 1,
                                    .tokens = 2,
                                    .ids = ids,
                                    .token_nll = nll,
                                    .entropy = nll,
                                    .experts = experts,
                                    .load_tokens = load,
                                    .load_weight = weight };
        must(store_sample_add(s, &one, &err), &err);
    }
    struct store_bin bin = { 0, 0, 0, 1, 0.5, 2, 2, 0.5, 0.1 };
    if (done)
        must(store_metric_set(s, id, "nll", 1, 0.1, n, &err) || store_bin_set(s, id, &bin, &err) ||
                 store_histogram_set(s, id, 0, 2, 2, &err),
             &err);
    must(store_token_text(s, id, 1, "a", 1, &err) ||
             store_cell_finish(s, id, done ? CELL_DONE : CELL_UNFINISHED, NULL, 1, &err),
         &err);
}

static void add_training(struct store *s, int step)
{
    struct buf err = BUF_INIT;
    struct store_training t = { "t1", "s", "m", "sft", "{\"steps\":2}" };
    struct store_train_step one = { step, 8, 2.5, 1e-3, 1, 0, 0, 2, 0.1 };
    must(store_training_begin(s, &t, &err) || store_train_step_set(s, "t1", &one, &err) ||
             store_train_heldout_set(s, "t1", step, "all", 2, 1, &err),
         &err);
}

static const char provenance[] =
    "INSERT INTO recipe (hash, path, text) VALUES ('rr', 'r.lua', 'return');"
    "INSERT INTO run (id, recipe, sweep, command, version, revision, libtorch, blas, device, "
    "driver,"
    " host, started, seconds) VALUES ('r%d', 1, 's', 'c', '1', '', '', '', '', '', '', %d, 1);"
    "INSERT INTO source (kind, name, hash) VALUES ('data', 'd', 'dd');"
    "INSERT INTO cell_source SELECT n, 1 FROM cell; INSERT INTO cell_run SELECT n, 1, 1 FROM cell;"
    "INSERT INTO plan VALUES ('s', 'p%d', 1, 'm', 'topk', 2, 'none', 't', 1, 10);"
    "INSERT INTO token_experts SELECT n, 1, 2, 4, 0.5 FROM cell; PRAGMA journal_mode = DELETE";

/* In both: a done cell, and one whose halves are of other documents; one cell is theirs alone. */
static void make_one(const char *path, int which, struct buf *out)
{
    struct buf err = BUF_INIT;
    sqlite3 *db;
    struct store *s = store_open(path, STORE_WRITE, &err);
    must(!s, &err);
    add_cell(s, "0123456789abcdef0123456789abcdef", 0, 2, true);
    add_cell(s, "f123456789abcdef0123456789abcdef", which * 2, 2, false);
    if (which)
        add_cell(s, "e123456789abcdef0123456789abcdef", 0, 1, true);
    add_training(s, which + 1);
    store_close(s);
    char *sql = sqlite3_mprintf(provenance, which, which, which);
    sqlite3_open(path, &db);
    exec(db, sql);
    sqlite3_free(sql);
    sqlite3_close(db);
    must(read_file(path, 1 << 24, out, &err), &err);
}

/* Their schema without its checks: its text, and how SQLite reads it. */
static void make_loose(const char *path)
{
    struct buf err = BUF_INIT;
    sqlite3 *db;
    sqlite3_open(path, &db);
    exec(db, "CREATE TABLE kept AS SELECT name, sql FROM sqlite_master WHERE type = 'table'");
    loosen(db);
    sqlite3_close(db);
    must(read_file(path, 1 << 24, &loose, &err), &err);
    unlink(path);
}

static void make_all(void)
{
    char *path = fuzz_path("made.db");
    make_one(path, 0, &ours);
    unlink(path);
    make_one(path, 1, &theirs);
    make_loose(path);
    free(path);
}

/* ---- changes ---- */

static const char *const tables[] = {
    "cell",         "metric",    "sample",   "token",         "token_text",       "expert_load",
    "entropy_bin",  "histogram", "training", "training_step", "training_heldout", "tokenizer",
    "recipe",       "run",       "source",   "cell_source",   "cell_run",         "plan",
    "token_experts"
};
static const struct choices choices = { tables, ARRAY_LEN(tables), values, ARRAY_LEN(values) };

static sqlite3 *open_copy(const char *path, const struct buf *content)
{
    sqlite3 *db;
    fuzz_file("in.db", content->s, content->len);
    if (sqlite3_open(path, &db) != SQLITE_OK)
        BUG("%s", path);
    exec(db, "PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY");
    return db;
}

static void write_values(const char *path, const uint8_t *data, size_t len, bool unchecked)
{
    sqlite3 *db = open_copy(path, unchecked ? &loose : &theirs);
    exec(db, "BEGIN");
    for (; len >= 4; data += 4, len -= 4)
        change(db, &choices, data);
    exec(db, "COMMIT");
    if (unchecked)
        exec(db,
             "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = (SELECT k.sql FROM kept"
             " AS k WHERE k.name = sqlite_master.name) WHERE type = 'table' AND name <> 'kept';"
             "DROP TABLE kept");
    sqlite3_close(db);
}

static int stop_soon(void *arg)
{
    int *left = arg;
    return --*left < 0;
}

static void write_sql(const char *path, const uint8_t *data, size_t len)
{
    int left = 200;
    char *sql = xstrndup((const char *)data, len);
    sqlite3 *db = open_copy(path, &theirs);
    // It may change this file alone.
    sqlite3_limit(db, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_limit(db, SQLITE_LIMIT_LENGTH, 1 << 20);
    sqlite3_progress_handler(db, 1000, stop_soon, &left);
    sqlite3_exec(db, sql, NULL, NULL, NULL);
    sqlite3_close_v2(db);
    free(sql);
}

/* ---- what must hold ---- */

/* What ours had at first, and what no database of ours may be. */
static void check_ours(const char *path, bool merged)
{
    static const char *const holds[] = {
        "SELECT count(*) = 2 FROM v_cells WHERE sweep = 's' AND model = 'm'"
        " AND cell_id IN ('0123456789abcdef0123456789abcdef', 'f123456789abcdef0123456789abcdef')",
        "SELECT count(*) >= 2 AND min(nll) = 1 AND max(nll) = 1 FROM v_samples"
        " WHERE cell_id = '0123456789abcdef0123456789abcdef'",
        "SELECT count(*) = 0 FROM cell AS c WHERE samples <> (SELECT count(*) FROM sample AS s"
        " WHERE s.cell = c.n)",
        "SELECT count(*) = 1 FROM v_training_steps WHERE training_id = 't1' AND step = 1"
        " AND loss = 2.5",
        "SELECT count(*) >= 1 FROM v_runs",
        "SELECT count(*) = 0 FROM pragma_foreign_key_check",
        "SELECT integrity_check = 'ok' FROM pragma_integrity_check",
    };
    sqlite3 *db;
    sqlite3_open(path, &db);
    for (size_t i = 0; i < ARRAY_LEN(holds); i++) {
        sqlite3_stmt *st = NULL;
        if (sqlite3_prepare_v2(db, holds[i], -1, &st, NULL) != SQLITE_OK ||
            sqlite3_step(st) != SQLITE_ROW || !sqlite3_column_int(st, 0))
            BUG("after a merge that %s this does not hold: %s", merged ? "was done" : "was refused",
                holds[i]);
        sqlite3_finalize(st);
    }
    sqlite3_close(db);
}

/* Merged twice: the second time there is nothing left to do. */
static void merge_twice(const char *in, const char *out)
{
    struct buf err = BUF_INIT, said = BUF_INIT;
    struct merged first = { 0 }, second = { 0 };
    fuzz_file("out.db", ours.s, ours.len);
    struct store *s = store_open(out, STORE_WRITE, &err);
    must(!s, &err);
    int rc = store_merge(s, in, &first, &err);
    buf_adds(&said, err.s);
    if (rc)
        fuzz_said(&err);
    if (first.broken)
        BUG("what passed the check broke our database: %s", said.s);
    if (rc == 0 && store_merge(s, in, &second, &err))
        BUG("merged once, and refused then: %s", err.s);
    if (rc == 0 && (second.added || second.grown))
        BUG("merged twice, %d new and %d grown the second time", (int)second.added,
            (int)second.grown);
    store_close(s);
    check_ours(out, rc == 0);
    buf_release(&said);
    buf_release(&err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static char *in, *out;
    if (!in) {
        in = fuzz_path("in.db");
        out = fuzz_path("out.db");
        make_all();
    }
    char how = len ? (char)data[0] : '\0';
    if (how == 'v' || how == 's')
        write_values(in, data + 1, len - 1, how == 's');
    else if (how == 'q')
        write_sql(in, data + 1, len - 1);
    else if (how == 'b' || how == 'c')
        write_bytes("in.db", &theirs, data + 1, len - 1, how == 'c');
    else
        fuzz_file("in.db", data, len);
    merge_twice(in, out);
    return 0;
}
