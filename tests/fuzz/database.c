/*
 * database.c: a database that is not what this program wrote. The input changes one that it did
 * write, or is a whole file (which begins with "SQLite format 3").
 *
 * The first byte says how: 'v' puts odd values into tables whose checks were taken away, four bytes
 * each: table, column, row, value; 'b' sets bytes of the file, four each: three of the place, one of
 * the value; 'c' cuts the file at the place that three bytes say. Then all that reads is tried: the
 * public views, the cells with their metrics, the figures.
 * Leaves out: merging it with one of ours (merge.c).
 */
#include "databases.h"

#include "cmd/figure.h"
#include "cmd/figure_training.h"
#include "store/results.h"

static struct buf plain = BUF_INIT, loose = BUF_INIT; // as it was written; and without its checks

static const char *const values[] = {
    "NULL",
    "-1",
    "0",
    "1",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "-1e-320",
    "9e999",
    "''",
    "'x'",
    "'done'",
    "'topk'",
    "'{}'",
    "'[1'",
    "'{\"max\":[]}'",
    "'8,7,x'",
    "zeroblob(3)",
    "x'ff00fe'",
    "printf('%.*c', 3000, 'y')",
    "'nll'",
    "'{\"mode\":3,\"min\":null}'",
};

static void add_cell(struct store *s, const char *id, int k)
{
    struct buf err = BUF_INIT;
    enum cell_status was;
    struct store_cell c = { .id = id,
                            .sweep = "s",
                            .model = "m",
                            .router = "seqtopk",
                            .mode = "online",
                            .params = "{\"mode\":\"online\",\"min\":1,\"max\":4}",
                            .train = "none",
                            .task = "nll:t",
                            .device = "cpu",
                            .dtype = "float32",
                            .k = k,
                            .min = 1,
                            .max = 4,
                            .layers = 2,
                            .experts = 4,
                            .tokenizer = "h" };
    const int32_t ids[] = { 1, 2 }, load[] = { 1, 1, 1, 1, 2, 2, 0, 0 };
    const float nll[] = { 0, 1 }, entropy[] = { 0.5, 1 };
    const uint16_t experts[] = { 2, 2, 1, 3 };
    const double weight[8] = { 1 };
    struct store_sample one = { .cell_id = id,
                                .output_tokens = 2,
                                .nll = 1,
                                .nll_tokens = 1,
                                .score = 1,
                                .tokens = 2,
                                .ids = ids,
                                .token_nll = nll,
                                .entropy = entropy,
                                .experts = experts,
                                .load_tokens = load,
                                .load_weight = weight,
                                .output = "text" };
    must(store_cell_begin(s, &c, &was, &err) || store_sample_add(s, &one, &err) ||
             store_token_text(s, id, 1, "a", 1, &err) ||
             store_metric_set(s, id, "nll", 1, 0.1, 1, &err),
         &err);
    for (int layer = -1; layer < 2; layer++) {
        struct store_bin bin = { layer, 0, 0, 1, 0.5, 2, 2, 0.5, 0.1 };
        must(store_bin_set(s, id, &bin, &err), &err);
        if (layer >= 0)
            must(store_histogram_set(s, id, layer, 2, 2, &err), &err);
    }
    must(store_cell_finish(s, id, CELL_DONE, NULL, 1, &err), &err);
}

static void add_training(struct store *s)
{
    struct buf err = BUF_INIT;
    struct store_training t = { "t1", "s", "m", "sft", "{\"steps\":2}" };
    struct store_train_step step = { 1, 8, 2.5, 1e-3, 1, 0, 0, 2, 0.1 };
    must(store_training_begin(s, &t, &err) || store_train_step_set(s, "t1", &step, &err) ||
             store_train_heldout_set(s, "t1", 1, "all", 2, 1, &err),
         &err);
}

static void make_both(void)
{
    struct buf err = BUF_INIT;
    char *path = fuzz_path("made.db");
    struct store *s = store_open(path, STORE_WRITE, &err);
    must(!s, &err);
    add_cell(s, "0123456789abcdef0123456789abcdef", 2);
    add_cell(s, "f123456789abcdef0123456789abcdef", 1);
    add_training(s);
    store_close(s);
    sqlite3 *db;
    sqlite3_open(path, &db);
    exec(db, "PRAGMA journal_mode = DELETE");
    sqlite3_close(db);
    must(read_file(path, 1 << 24, &plain, &err), &err);
    sqlite3_open(path, &db);
    loosen(db);
    sqlite3_close(db);
    must(read_file(path, 1 << 24, &loose, &err), &err);
    unlink(path);
    free(path);
}

static const char *const tables[] = { "cell",        "metric",        "sample",
                                      "token",       "token_text",    "expert_load",
                                      "entropy_bin", "histogram",     "training",
                                      "tokenizer",   "training_step", "training_heldout" };
static const struct choices choices = { tables, ARRAY_LEN(tables), values, ARRAY_LEN(values) };

static void write_values(const char *path, const uint8_t *data, size_t len)
{
    sqlite3 *db;
    fuzz_file("f.db", loose.s, loose.len);
    if (sqlite3_open(path, &db) != SQLITE_OK)
        BUG("%s", path);
    exec(db, "PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY;"
             "BEGIN");
    for (; len >= 4; data += 4, len -= 4)
        change(db, &choices, data);
    exec(db, "COMMIT");
    sqlite3_close(db);
}

static void read_view(struct store *s, const char *view, struct buf *err)
{
    char *sql = xasprintf("SELECT * FROM %s LIMIT 1000", view);
    struct rows *r = store_query(s, err, sql);
    int rc = r ? 0 : -1;
    while (r && (rc = rows_next(r, err)) == 1)
        for (int c = 0; c < rows_columns(r); c++) {
            const char *text = rows_text(r, c);
            fuzz_touch(text, text ? strlen(text) : 0);
            (void)rows_int(r, c);
            (void)rows_double(r, c);
        }
    if (rc)
        fuzz_said(err);
    rows_close(r);
    free(sql);
}

static void draw(struct store *s, const struct results *all, struct buf *err)
{
    struct figures figures = { 0 };
    struct curves curves = { 0 };
    struct buf out = BUF_INIT;
    if (figures_build(s, all, "f", &figures, err) != 0)
        fuzz_said(err);
    for (size_t i = 0; i < figures.len; i++) {
        figure_data(&figures.v[i], &out);
        figure_script(&figures.v[i], &out);
    }
    figures_release(&figures);
    if (curves_read(s, &curves, err) != 0)
        fuzz_said(err);
    else
        curves_data(&curves, &out);
    curves_release(&curves);
    buf_release(&out);
}

static void read_all(const char *path, struct buf *err)
{
    static const char *const views[] = { "v_cells",     "v_metrics",        "v_samples",
                                         "v_tokens",    "v_entropy_bins",   "v_expert_load",
                                         "v_trainings", "v_training_steps", "v_training_heldout" };
    struct results all = { 0 };
    struct store *s = store_open(path, STORE_READ, err);
    if (!s) {
        fuzz_said(err);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(views); i++)
        read_view(s, views[i], err);
    if (results_read(s, NULL, &all, err) != 0)
        fuzz_said(err);
    else
        draw(s, &all, err);
    results_release(&all);
    store_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buf err = BUF_INIT;
    char *path = fuzz_path("f.db");
    if (!plain.len)
        make_both();
    if (len && data[0] == 'v')
        write_values(path, data + 1, len - 1);
    else if (len && (data[0] == 'b' || data[0] == 'c'))
        write_bytes("f.db", &plain, data + 1, len - 1, data[0] == 'c');
    else
        fuzz_file("f.db", data, len);
    read_all(path, &err);
    buf_release(&err);
    free(path);
    return 0;
}
