/*
 * test_merge.c: databases become one: what both have must be the same, halves are united, and what
 * comes from a stranger is looked at before any of it is used.
 */
#include "store/store_merge_impl.h"

#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static struct buf err = BUF_INIT;
static struct merged m;

/* A path in the test's own folder; lives until the eighth call after it. */
static const char *at(const char *name)
{
    static char paths[8][128];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/seqtopk-merge-XXXXXX");
    return mkdtemp(folder) ? chmod(folder, 0755) : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char *line = xasprintf("chmod -R u+w %s && rm -rf %s", folder, folder);
    int rc = system(line);
    free(line);
    buf_release(&err);
    return rc;
}

static void must(int rc)
{
    if (rc)
        fail_msg("%s", err.s);
}

static void says(const char *words)
{
    if (!strstr(err.s, words))
        fail_msg("'%s' does not say '%s'", err.s, words);
}

static struct store *opened(const char *path, enum store_mode mode)
{
    struct store *s = store_open(path, mode, &err);
    if (!s)
        fail_msg("%s", err.s);
    return s;
}

/* ---- databases ---- */

enum { LAYERS = 2, EXPERTS = 4 };

static void begin_cell(struct store *s, const char *id)
{
    struct store_cell c = { .id = id,
                            .sweep = "s",
                            .model = "toy",
                            .router = "seqtopk",
                            .mode = "global",
                            .params = "{}",
                            .task = "nll:t",
                            .device = "cpu",
                            .dtype = "float32",
                            .tokenizer = "aabb",
                            .k = 2,
                            .min = 1,
                            .max = 4,
                            .layers = LAYERS,
                            .experts = EXPERTS };
    enum cell_status was;
    must(store_cell_begin(s, &c, &was, &err));
    must(store_token_text(s, id, 5, "five", 4, &err));
}

/* A document's numbers follow from its own. */
static void add_sample(struct store *s, const char *id, int doc, double nll)
{
    const int32_t ids[] = { 5, 6 + doc }, load[] = { 1, 2, 1, 0, 2, 2, 0, doc };
    const float nlls[] = { NAN, 0.5f }, entropy[] = { 1.5f, 0.25f };
    const uint16_t experts[] = { 2, 2, 1, 3 };
    const double weight[] = { 0.5, 0.25, 1, 0, 0.1, 0.2, 0, 0.3 };
    const double entropies[] = { 1.5, 3.5, 0.25, 0, 1, 2, 0, 0.125 };
    const int64_t overlap[] = { 1, 2, 3, 4, 5, 6 + doc };
    static const char *const others[] = { "topk" };
    struct store_sample one = { .cell_id = id,
                                .doc = doc,
                                .output_tokens = 1,
                                .prompt_tokens = 1,
                                .nll = nll,
                                .nll_tokens = 1,
                                .score = NAN,
                                .tokens = 2,
                                .ids = ids,
                                .token_nll = nlls,
                                .entropy = entropy,
                                .experts = experts,
                                .load_tokens = load,
                                .load_weight = weight,
                                .load_entropy = entropies,
                                .others = others,
                                .nothers = 1,
                                .overlap = overlap };
    must(store_sample_add(s, &one, &err));
}

static void end_cell(struct store *s, const char *id, enum cell_status status)
{
    if (status == CELL_DONE) {
        struct store_bin bin = { -1, 0, 0, 2, 1, 4, 2, 0.5, 0.25 };
        must(store_metric_set(s, id, "nll", 1.25, 0.5, 4, &err));
        must(store_bin_set(s, id, &bin, &err));
        must(store_histogram_set(s, id, 0, 2, 4, &err));
        struct store_position place = { 0, 0, 16, 4, 2, 1.25, 0.5, 2, 0.25, 1, 0.5 };
        must(store_position_set(s, id, &place, &err));
        struct store_kind kind = { "digit", 4, 2, 0.5, 1, 0.25 };
        must(store_kind_set(s, id, &kind, &err));
    }
    must(store_cell_finish(s, id, status, status == CELL_FAILED ? "no room" : NULL, 2.5, &err));
}

/* By sqlite3's own program, as anybody may. */
static void change(const char *path, const char *sql)
{
    char *line = xasprintf("sqlite3 -bail %s \"%s\"", path, sql);
    int rc = system(line);
    free(line);
    assert_int_equal(rc, 0);
}

/* A database with one cell, of the documents `docs`, "0134". */
static const char *database(const char *name, const char *id, const char *docs,
                            enum cell_status status)
{
    const char *path = at(name);
    struct store *s = opened(path, STORE_WRITE);
    begin_cell(s, id);
    for (const char *d = docs; *d; d++)
        add_sample(s, id, *d - '0', 1.25);
    end_cell(s, id, status);
    store_close(s);
    change(path, "UPDATE cell SET started = 1000000");
    return path;
}

static int merge(const char *out, const char *in)
{
    struct store *s = opened(out, STORE_WRITE);
    m = (struct merged){ 0 };
    int rc = store_merge(s, in, &m, &err);
    store_close(s);
    return rc;
}

/* All rows of a query: columns by |, rows by a line break, null as ~. */
static struct buf text = BUF_INIT;
static const char *answer(const char *path, const char *sql)
{
    int rc;
    struct store *s = opened(path, STORE_READ);
    buf_reset(&text);
    struct rows *r = store_query(s, &err, sql);
    if (!r)
        fail_msg("%s", err.s);
    while ((rc = rows_next(r, &err)) == 1) {
        for (int c = 0; c < rows_columns(r); c++)
            buf_addf(&text, "%s%s", c ? "|" : "", rows_null(r, c) ? "~" : rows_text(r, c));
        buf_addc(&text, '\n');
    }
    assert_int_equal(rc, 0);
    rows_close(r);
    store_close(s);
    return text.s;
}

/* Everything that is in it, numbers of rows apart. */
static char *all_of(const char *path)
{
    static const char *const views[] = {
        "SELECT * FROM v_cells ORDER BY 1",
        "SELECT * FROM v_metrics ORDER BY 1, 2",
        "SELECT * FROM v_samples ORDER BY 1, 2",
        "SELECT * FROM v_tokens ORDER BY 1, 2, 3",
        "SELECT * FROM v_entropy_bins ORDER BY 1, 2, 3",
        "SELECT cell_id, layer, expert, tokens, round(weight, 9), round(entropy, 9)"
        " FROM v_expert_load ORDER BY 1, 2, 3",
        "SELECT * FROM v_overlap ORDER BY 1, 2, 3, 4",
        "SELECT * FROM v_position_bins ORDER BY 1, 2",
        "SELECT * FROM v_token_kinds ORDER BY 1, 2",
        "SELECT c.id, layer, h.experts, h.tokens FROM histogram AS h JOIN cell AS c ON c.n = h.cell"
        " ORDER BY 1, 2, 3",
        "SELECT id, samples, tokens FROM cell ORDER BY 1",
        "SELECT * FROM v_trainings ORDER BY 1",
        "SELECT * FROM v_training_steps ORDER BY 1, 2",
        "SELECT * FROM v_training_heldout ORDER BY 1, 2, 3",
        "SELECT * FROM v_recipes ORDER BY 1",
        "SELECT * FROM v_runs ORDER BY 1",
        "SELECT * FROM v_cell_runs ORDER BY 1, 2",
        "SELECT * FROM v_sources ORDER BY 1, 2, 3, 4",
        "SELECT * FROM v_token_experts ORDER BY 1, 2",
        "SELECT p.sweep, p.id, r.hash, p.label FROM plan AS p JOIN recipe AS r ON r.n = p.recipe"
        " ORDER BY 1, 2",
    };
    struct buf all = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(views); i++)
        buf_addf(&all, "-- %zu\n%s", i, answer(path, views[i]));
    return buf_detach(&all);
}

static void same(const char *a, const char *b)
{
    char *x = all_of(a), *y = all_of(b);
    assert_string_equal(x, y);
    free(x);
    free(y);
}

/* The documents of a database's only cell, and its status. */
static void has(const char *path, const char *docs)
{
    assert_string_equal(answer(path,
                               "SELECT group_concat(doc, ''), status, c.samples FROM (SELECT *"
                               " FROM sample ORDER BY doc) AS s JOIN cell AS c ON c.n = s.cell"),
                        docs);
    assert_string_equal(answer(path, "SELECT (SELECT count(*) FROM token) = 2 * count(*)"
                                     " FROM sample"),
                        "1\n");
}

/* ---- tests ---- */

static void a_new_cell_comes_with_all_that_belongs_to_it(void **state)
{
    (void)state;
    const char *a = database("a.db", "c1", "012", CELL_DONE);
    must(merge(at("out.db"), a));
    assert_int_equal(m.added, 1);
    assert_int_equal(m.grown + m.same, 0);
    same(a, at("out.db"));
    assert_string_equal(answer(at("out.db"), "SELECT count(*), count(token) FROM v_tokens"),
                        "6|3\n");
}

static void merged_again_it_stays_as_it_is(void **state)
{
    (void)state;
    const char *a = database("a.db", "c1", "012", CELL_DONE);
    const char *b = database("b.db", "c2", "12", CELL_UNFINISHED);
    must(merge(at("out.db"), a));
    must(merge(at("out.db"), b));
    char *before = all_of(at("out.db"));
    must(merge(at("out.db"), a));
    assert_int_equal(m.same, 1);
    assert_int_equal(m.added + m.grown, 0);
    must(merge(at("out.db"), b));
    assert_int_equal(m.same, 1);
    char *after = all_of(at("out.db"));
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void what_are_no_numbers_may_differ(void **state)
{
    (void)state;
    const char *a = database("a.db", "c1", "01", CELL_DONE);
    const char *b = database("b.db", "c1", "01", CELL_DONE);
    change(b, "UPDATE cell SET seconds = 99, started = 5, device = 'cuda:7', sweep = 'other',"
              " note = 'halved', model = 'elsewhere/toy'");
    must(merge(at("out.db"), a));
    must(merge(at("out.db"), b));
    assert_int_equal(m.same, 1);
    same(a, at("out.db"));
}

static void a_summary_gets_what_an_older_program_did_not_make(void **state)
{
    (void)state;
    must(merge(at("out.db"), database("a.db", "c1", "01", CELL_DONE)));
    const char *b = database("b.db", "c1", "01", CELL_DONE);
    change(b, "INSERT INTO token_experts SELECT n, 5, 2, 6, 0.5 FROM cell;"
              " INSERT INTO metric SELECT n, 'new', 2, NULL, 1 FROM cell");
    must(merge(at("out.db"), b));
    assert_int_equal(m.same, 1);
    same(b, at("out.db"));
}

/* `b` is database "a.db" after `sql`; merging it is refused with `words`, and changes nothing. */
static void differs(const char *sql, const char *words)
{
    const char *b = database("b.db", "c1", "01", CELL_DONE);
    change(b, "DELETE FROM tokenizer WHERE 0");
    struct store *s = opened(b, STORE_WRITE);
    begin_cell(s, "c0"); // one that OUT has not: nothing of the input comes
    add_sample(s, "c0", 0, 1);
    store_close(s);
    change(b, sql);
    assert_int_equal(merge(at("out.db"), b), -1);
    says(words);
    says("out.db");
    says("b.db");
    assert_false(m.broken);
    same(at("a.db"), at("out.db"));
    unlink(b);
}

static void other_numbers_are_named_with_both_files(void **state)
{
    (void)state;
    must(merge(at("out.db"), database("a.db", "c1", "01", CELL_DONE)));
    differs("UPDATE sample SET nll = 1.26 WHERE doc = 1", "cell c1, document 1: nll 1.25 in ");
    says("1.26 in ");
    differs("UPDATE sample SET nll = 1.2500000000001", "nll 1.25 in ");
    differs("UPDATE sample SET output = 'x' WHERE doc = 0",
            "cell c1, document 0: output nothing in ");
    differs("UPDATE token SET entropy = 0.5 WHERE doc = 1 AND pos = 1",
            "cell c1, document 1, token 1: entropy 0.25 in ");
    differs("UPDATE token SET by_layer = '1,2' WHERE pos = 0", "by_layer '2,1' in ");
    differs("UPDATE expert_load SET tokens = 9 WHERE layer = 1 AND expert = 0",
            "cell c1, layer 1, expert 0: tokens 4 in ");
    differs("UPDATE overlap SET both = 0 WHERE doc = 1 AND layer = 1",
            "cell c1, document 1, overlap with topk, layer 1: both 4 in ");
    differs("UPDATE expert_entropy SET entropy = 9 WHERE layer = 1 AND expert = 0",
            "cell c1, entropy of layer 1, expert 0: entropy 2 in ");
    differs("UPDATE position_bin SET differ = 1", "cell c1, bin of positions 0: differ 0.5 in ");
    differs("UPDATE token_kind SET tokens = 5", "cell c1, kind digit: tokens 4 in ");
    differs("UPDATE metric SET value = 1.5", "cell c1, metric nll: value 1.25 in ");
    differs("UPDATE entropy_bin SET tokens = 5",
            "cell c1, entropy by layer -1, bin 0: tokens 4 in");
    differs("UPDATE histogram SET tokens = 5", "histogram of layer 0, experts 2: tokens 4 in");
    differs("UPDATE cell SET k = 4 WHERE id = 'c1'", "cell c1: k 2 in ");
    differs("DELETE FROM token WHERE doc = 1; DELETE FROM sample WHERE doc = 1;"
            " UPDATE cell SET samples = 1 WHERE id = 'c1'",
            "cell c1, document 1: is in ");
}

static void numbers_that_look_the_same_are_told_in_full(void **state)
{
    (void)state;
    must(merge(at("out.db"), database("a.db", "c1", "01", CELL_DONE)));
    differs("UPDATE sample SET nll = 1.2500000000001", "1.2500000000000999 in ");
}

static void sums_may_differ_in_their_last_bits(void **state)
{
    (void)state;
    const char *a = database("a.db", "c1", "01", CELL_DONE);
    const char *b = database("b.db", "c1", "01", CELL_DONE);
    change(b,
           "UPDATE expert_load SET weight = weight * (1 + 1e-12); UPDATE metric SET value = value"
           " * (1 - 1e-12)");
    must(merge(at("out.db"), a));
    must(merge(at("out.db"), b));
    change(b, "UPDATE expert_load SET weight = weight * (1 + 1e-6)");
    assert_int_equal(merge(at("out.db"), b), -1);
    says("weight");
}

static void done_goes_before_unfinished_before_failed(void **state)
{
    static const struct {
        const char *a, *b, *want;
        enum cell_status as, bs;
        int grown;
    } cases[] = {
        { "01", "01", "01|done|2\n", CELL_UNFINISHED, CELL_DONE, 1 },
        { "1", "012", "012|done|3\n", CELL_FAILED, CELL_DONE, 1 },
        { "01", "1", "01|done|2\n", CELL_DONE, CELL_FAILED, 0 },
        { "01", "0", "01|unfinished|2\n", CELL_FAILED, CELL_UNFINISHED, 1 },
        { "0", "01", "01|unfinished|2\n", CELL_UNFINISHED, CELL_FAILED, 1 },
        { "01", "01", "01|failed|2\n", CELL_FAILED, CELL_FAILED, 0 },
        { "", "01", "01|unfinished|2\n", CELL_UNFINISHED, CELL_FAILED, 1 },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        must(merge(at("out.db"), database("a.db", "c1", cases[i].a, cases[i].as)));
        must(merge(at("out.db"), database("b.db", "c1", cases[i].b, cases[i].bs)));
        has(at("out.db"), cases[i].want);
        assert_int_equal(m.grown, cases[i].grown);
        assert_string_equal(answer(at("out.db"), "SELECT (error IS NULL) = (status <> 'failed')"
                                                 " FROM v_cells"),
                            "1\n");
        unlink(at("a.db"));
        unlink(at("b.db"));
        unlink(at("out.db"));
    }
}

static void two_halves_are_united(void **state)
{
    (void)state;
    must(merge(at("out.db"), database("a.db", "c1", "02", CELL_UNFINISHED)));
    must(merge(at("out.db"), database("b.db", "c1", "13", CELL_UNFINISHED)));
    assert_int_equal(m.grown, 1);
    assert_int_equal(m.left_out, 0);
    has(at("out.db"), "0123|unfinished|4\n");
    database("all.db", "c1", "0123", CELL_UNFINISHED);
    change(at("all.db"), "UPDATE cell SET seconds = 5");
    same(at("all.db"), at("out.db"));
    // Each half is there now.
    must(merge(at("out.db"), at("a.db")));
    assert_int_equal(m.same, 1);
    same(at("all.db"), at("out.db"));
}

static void of_halves_that_overlap_the_larger_is_taken(void **state)
{
    (void)state;
    must(merge(at("out.db"), database("a.db", "c1", "01", CELL_UNFINISHED)));
    must(merge(at("out.db"), database("b.db", "c1", "123", CELL_UNFINISHED)));
    has(at("out.db"), "123|unfinished|3\n");
    same(at("b.db"), at("out.db"));
    assert_int_equal(m.left_out, 1);
    assert_true(m.replaced);
    must(merge(at("out.db"), at("a.db")));
    has(at("out.db"), "123|unfinished|3\n");
    assert_int_equal(m.left_out, 1);
    assert_false(m.replaced);
    // What both have must be the same here too.
    change(at("a.db"), "UPDATE sample SET nll = 7 WHERE doc = 1");
    assert_int_equal(merge(at("out.db"), at("a.db")), -1);
    says("cell c1, document 1: nll 1.25 in ");
}

static void a_done_cell_has_all_documents(void **state)
{
    (void)state;
    must(merge(at("out.db"), database("a.db", "c1", "01", CELL_DONE)));
    assert_int_equal(merge(at("out.db"), database("b.db", "c1", "02", CELL_UNFINISHED)), -1);
    says("cell c1: is done in ");
    must(merge(at("two.db"), at("b.db")));
    assert_int_equal(merge(at("two.db"), at("a.db")), -1);
    says("cell c1: is done in ");
    has(at("two.db"), "02|unfinished|2\n");
}

static void a_score_may_come_later(void **state)
{
    (void)state;
    must(merge(at("out.db"), database("a.db", "c1", "01", CELL_UNFINISHED)));
    struct store *s = opened(database("b.db", "c1", "01", CELL_UNFINISHED), STORE_WRITE);
    must(store_sample_score(s, "c1", 1, 0.5, "x", &err));
    store_close(s);
    must(merge(at("out.db"), at("b.db")));
    same(at("b.db"), at("out.db"));
    must(merge(at("out.db"), at("a.db")));
    same(at("b.db"), at("out.db"));
}

/* Nobody measures times twice alike; what else is called after speed is compared. */
static void times_are_not_compared(void **state)
{
    (void)state;
    static const char timed[] = "UPDATE cell SET task = 'speed:long'";
    change(database("a.db", "c1", "01", CELL_UNFINISHED), timed);
    change(database("b.db", "c1", "012", CELL_DONE), timed);
    change(at("b.db"), "UPDATE sample SET score = 7, nll = 2; UPDATE metric SET value = 9");
    must(merge(at("out.db"), at("a.db")));
    must(merge(at("out.db"), at("b.db")));
    same(at("b.db"), at("out.db"));
    must(merge(at("out.db"), at("a.db")));
    same(at("b.db"), at("out.db"));
    for (int i = 0; i < 3; i++)
        change(at(i == 0   ? "a.db"
                  : i == 1 ? "b.db"
                           : "out.db"),
               "UPDATE cell SET task = 'nll:speed:long'");
    assert_int_equal(merge(at("out.db"), at("a.db")), -1);
    says("cell c1, document 0: nll 2 in ");
}

static void add_training(const char *name, int first, int last, double loss)
{
    struct store *s = opened(at(name), STORE_WRITE);
    struct store_training t = { "t1", "s", "toy", "sft", "{\"steps\":4}" };
    must(store_training_begin(s, &t, &err));
    for (int i = first; i <= last; i++) {
        struct store_train_step step = { i, i * 8, loss + i, 1e-3, 1, NAN, 0, 2, 0.1 * first };
        must(store_train_step_set(s, "t1", &step, &err));
    }
    must(store_train_heldout_set(s, "t1", last, "all", 2 * last, 4, &err));
    store_close(s);
}

static void trainings_are_united_by_step(void **state)
{
    (void)state;
    add_training("a.db", 1, 3, 2);
    add_training("b.db", 3, 4, 2);
    must(merge(at("out.db"), at("a.db")));
    must(merge(at("out.db"), at("b.db")));
    assert_string_equal(answer(at("out.db"), "SELECT group_concat(step || ':' || loss, ' ')"
                                             " FROM v_training_steps"),
                        "1:3.0 2:4.0 3:5.0 4:6.0\n");
    assert_string_equal(answer(at("out.db"), "SELECT group_concat(step) FROM v_training_heldout"),
                        "3,4\n");
    add_training("c.db", 4, 4, 2.5);
    assert_int_equal(merge(at("out.db"), at("c.db")), -1);
    says("training t1, step 4: loss 6 in ");
    says("6.5 in ");
}

/* A run of a sweep with a plan; ids have one character each. */
static void add_run(const char *name, const char *id, int started, const char *recipe,
                    const char *plan)
{
    store_close(opened(at(name), STORE_WRITE));
    char *sql = xasprintf(
        "INSERT OR IGNORE INTO recipe (hash, path, text) VALUES ('%s', 'r.lua', 'return');"
        "INSERT INTO run (id, recipe, sweep, command, version, revision, libtorch, blas, device,"
        " driver, host, started, seconds) SELECT '%s', n, 's', 'run', '1', '', '', '', 'cpu', '',"
        " 'h', %d, 1 FROM recipe WHERE hash = '%s';"
        "DELETE FROM plan WHERE sweep = 's';",
        recipe, id, started, recipe);
    change(at(name), sql);
    free(sql);
    for (const char *p = plan; *p; p++) {
        sql = xasprintf("INSERT INTO plan SELECT 's', '%c', n, 'toy', 'topk', 2, 'none', 't', 4, 40"
                        " FROM recipe WHERE hash = '%s'",
                        *p, recipe);
        change(at(name), sql);
        free(sql);
    }
}

#define PLAN                                                                                  \
    "SELECT r.hash, group_concat(p.id, '') FROM plan AS p JOIN recipe AS r ON r.n = p.recipe" \
    " GROUP BY 1"

static void the_newest_runs_plan_is_the_sweeps(void **state)
{
    (void)state;
    add_run("a.db", "r1", 10, "old", "xyz");
    add_run("b.db", "r2", 20, "new", "xw");
    must(merge(at("out.db"), at("a.db")));
    assert_string_equal(answer(at("out.db"), PLAN), "old|xyz\n");
    must(merge(at("out.db"), at("b.db")));
    assert_string_equal(answer(at("out.db"), PLAN), "new|wx\n");
    must(merge(at("out.db"), at("a.db")));
    assert_string_equal(answer(at("out.db"), PLAN), "new|wx\n");
    must(merge(at("two.db"), at("b.db")));
    must(merge(at("two.db"), at("a.db")));
    same(at("two.db"), at("out.db"));
    assert_string_equal(answer(at("out.db"), "SELECT run_id, recipe_hash FROM v_runs ORDER BY 1"),
                        "r1|old\nr2|new\n");
}

static void a_run_that_went_on_has_more(void **state)
{
    (void)state;
    add_run("a.db", "r1", 10, "old", "x");
    must(merge(at("out.db"), at("a.db")));
    change(at("a.db"), "UPDATE run SET seconds = 7, samples = 3, ended = 17, outcome = 'done'");
    must(merge(at("two.db"), at("a.db")));
    must(merge(at("out.db"), at("a.db")));
    same(at("a.db"), at("out.db"));
}

static void runs_and_sources_of_a_cell_come_with_it(void **state)
{
    (void)state;
    static const char refer[] =
        "INSERT INTO source (kind, name, hash) VALUES ('data', 'd', 'aa'), ('weights', 'w', '%s');"
        "INSERT INTO cell_source SELECT c.n, s.n FROM cell AS c, source AS s;"
        "INSERT INTO cell_run SELECT c.n, r.n, c.samples FROM cell AS c, run AS r;"
        "INSERT INTO token_experts SELECT n, 5, 2, 6, 0.5 FROM cell";
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "b.db" : "a.db";
        database(name, "c1", i ? "23" : "01", CELL_UNFINISHED);
        add_run(name, i ? "r2" : "r1", 10, "old", "x");
        char *sql = xasprintf(refer, "bb");
        change(at(name), sql);
        free(sql);
    }
    must(merge(at("out.db"), at("a.db")));
    same(at("a.db"), at("out.db"));
    must(merge(at("out.db"), at("b.db")));
    assert_string_equal(answer(at("out.db"), "SELECT * FROM v_cell_runs ORDER BY 2"),
                        "c1|r1|2\nc1|r2|2\n");
    assert_string_equal(answer(at("out.db"), "SELECT kind, hash FROM v_sources ORDER BY 1"),
                        "data|aa\nweights|bb\n");
    // A summary of a half is none of the whole.
    assert_string_equal(answer(at("out.db"), "SELECT count(*) FROM token_experts"), "0\n");
}

/* ---- the input ---- */

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static void the_input_is_not_written_to(void **state)
{
    (void)state;
    struct buf before = BUF_INIT, after = BUF_INIT;
    const char *a = database("a.db", "c1", "01", CELL_DONE);
    must(read_file(a, 1 << 24, &before, &err));
    must(merge(at("out.db"), a));
    must(read_file(a, 1 << 24, &after, &err));
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.s, after.s, before.len);
    assert_false(exists(at("a.db-wal")) || exists(at("a.db-shm")));
    buf_release(&before);
    buf_release(&after);
}

/* A process that was killed while it wrote left a log, which is a part of the database. */
static void a_log_that_a_killed_run_left_is_read_and_stays(void **state)
{
    (void)state;
    struct buf before = BUF_INIT, after = BUF_INIT;
    pid_t child = fork();
    if (child == 0) {
        struct store *s = opened(at("a.db"), STORE_WRITE);
        begin_cell(s, "c1");
        add_sample(s, "c1", 0, 1.25);
        raise(SIGKILL);
    }
    waitpid(child, NULL, 0);
    must(read_file(at("a.db"), 1 << 24, &before, &err));
    must(read_file(at("a.db-wal"), 1 << 24, &before, &err));
    must(merge(at("out.db"), at("a.db")));
    has(at("out.db"), "0|unfinished|1\n");
    must(read_file(at("a.db"), 1 << 24, &after, &err));
    must(read_file(at("a.db-wal"), 1 << 24, &after, &err));
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.s, after.s, before.len);
    buf_release(&before);
    buf_release(&after);
}

static void an_input_that_is_written_to_is_taken_as_it_was(void **state)
{
    (void)state;
    struct store *s = opened(database("a.db", "c1", "01", CELL_UNFINISHED), STORE_WRITE);
    must(store_begin(s, &err));
    add_sample(s, "c1", 2, 1.25); // not committed
    must(merge(at("out.db"), at("a.db")));
    has(at("out.db"), "01|unfinished|2\n");
    struct store_input *in = store_input_open(at("a.db"), &err);
    assert_non_null(in);
    must(store_commit(s, &err)); // behind the moment at which the input was opened
    struct store *out = opened(at("two.db"), STORE_WRITE);
    must(store_merge_input(out, in, &m, &err));
    store_input_close(in);
    store_close(out);
    has(at("two.db"), "01|unfinished|2\n");
    must(merge(at("two.db"), at("a.db")));
    has(at("two.db"), "012|unfinished|3\n");
    store_close(s);
}

/* Without a write-ahead log, a reader would stand in the writer's way. */
static void where_machines_share_the_files_a_run_need_not_wait(void **state)
{
    (void)state;
    setenv("SEQTOPK_NETWORK_FS", "yes", 1);
    struct store *s = opened(database("a.db", "c1", "01", CELL_UNFINISHED), STORE_WRITE);
    must(store_lock(s, &err));
    struct store_input *in = store_input_open(at("a.db"), &err);
    if (!in)
        fail_msg("%s", err.s);
    add_sample(s, "c1", 2, 1.25);
    struct store *out = opened(at("out.db"), STORE_WRITE);
    must(store_merge_input(out, in, &m, &err));
    store_input_close(in);
    store_close(out);
    store_close(s);
    has(at("out.db"), "01|unfinished|2\n");
    assert_false(exists(at("a.db-wal")));
    unsetenv("SEQTOPK_NETWORK_FS");
}

/* "a.db" after `sql` is refused with `words`. */
static void refused(const char *sql, const char *words)
{
    const char *a = database("a.db", "c1", "01", CELL_DONE);
    add_training("a.db", 1, 2, 2);
    add_run("a.db", "r1", 10, "old", "x");
    must(store_check_foreign(a, &err));
    change(a, sql);
    assert_int_equal(store_check_foreign(a, &err), -1);
    says(words);
    says("a.db: ");
    assert_int_equal(merge(at("out.db"), a), -1);
    assert_string_equal(answer(at("out.db"), "SELECT count(*) FROM cell"), "0\n");
    unlink(a);
}

static void a_schema_that_is_not_ours_is_refused(void **state)
{
    (void)state;
    refused("CREATE TABLE more (x)", "has a table more, which is not in schema version 5");
    refused("CREATE TRIGGER t AFTER INSERT ON cell BEGIN SELECT 1; END", "has a trigger t, which");
    refused("DROP VIEW v_metrics", "has no view v_metrics, which is in schema version 5");
    refused("DROP VIEW v_metrics; CREATE VIEW v_metrics AS SELECT 1 AS cell_id",
            "its view v_metrics is not the one of schema version 5");
    refused("ALTER TABLE sample ADD COLUMN x", "its table sample is not the one");
    refused("PRAGMA user_version = 3", "schema version 3");
}

static void notes_on_a_schema_and_its_blanks_do_not_matter(void **state)
{
    (void)state;
    const char *a = database("a.db", "c1", "01", CELL_DONE);
    change(a, "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(replace(sql,"
              " 'doc ', '-- a note' || char(10) || '  doc /* one */ '), ',', ' , ')"
              " WHERE name = 'sample'");
    must(store_check_foreign(a, &err));
}

static void rows_that_nobody_wrote_are_refused(void **state)
{
    (void)state;
    refused("UPDATE cell SET k = 'two'", "table cell has a number that no cell has");
    refused("UPDATE cell SET samples = 3", "another number of samples than it has");
    refused("UPDATE cell SET id = 'a b'", "a cell's id that is none");
    refused("UPDATE training SET id = CAST(x'610062' AS TEXT)", "a training that is none");
    refused("UPDATE cell SET sweep = x'00'", "a label that is no text");
    refused("UPDATE cell SET layers = -1", "table cell has a number");
    refused("UPDATE cell SET layers = 1", "no seqtopk wrote that");
    refused("UPDATE cell SET note = x'ff'", "a note that is no text");
    refused("UPDATE sample SET doc = -1 WHERE doc = 0", "table sample has a sample that is none");
    refused("UPDATE sample SET nll = 'much'", "table sample has");
    refused("PRAGMA foreign_keys = OFF; UPDATE sample SET cell = 9", "no seqtopk wrote that");
    refused("UPDATE token SET by_layer = '2,1,'",
            "document 0 at 0, experts that its model has not");
    refused("UPDATE token SET by_layer = '3'", "experts that its model has not");
    refused("UPDATE token SET by_layer = '5,0', experts = 5", "experts that its model has not");
    refused("UPDATE token SET experts = 4", "experts that its model has not");
    refused("UPDATE token SET experts = NULL", "experts that its model has not");
    refused("UPDATE token SET entropy = 'x'", "a loss or an entropy that is none");
    refused("UPDATE token SET id = -4", "an id that is none");
    refused("DELETE FROM token WHERE pos = 0", "a place that does not come next");
    refused("UPDATE token SET doc = 7 WHERE doc = 1", "a token of a sample that is not there");
    refused("UPDATE token SET doc = x'00' WHERE doc = 1", "a cell or a document that is none");
    refused("UPDATE expert_load SET tokens = -1", "table expert_load has the load of an expert");
    refused("UPDATE expert_load SET expert = 4 WHERE expert = 3", "table expert_load has");
    refused("UPDATE histogram SET layer = 2", "table histogram has");
    refused("UPDATE entropy_bin SET entropy_lo = 'x'", "table entropy_bin has");
    refused("UPDATE metric SET n = -1", "table metric has a metric that is none");
    refused("UPDATE token_text SET text = NULL", "table token_text has");
    refused("UPDATE training SET settings = '{'", "table training has");
    refused("UPDATE training_step SET step = 0 WHERE step = 1", "table training_step has");
    refused("UPDATE training_heldout SET tokens = -1", "table training_heldout has");
    refused("UPDATE run SET outcome = 'odd'", "table run has a run that is none");
    refused("PRAGMA foreign_keys = OFF; DELETE FROM recipe", "refers to what is not there");
    refused("UPDATE plan SET k = -1", "table plan has a cell that is none");
}

static void damaged_pages_are_found(void **state)
{
    (void)state;
    const char *a = database("a.db", "c1", "0123", CELL_DONE);
    struct buf bytes = BUF_INIT;
    must(read_file(a, 1 << 24, &bytes, &err));
    int found = 0, n = 0;
    // In every page from the second one on: the places of its rows are made odd.
    for (size_t page = 4096; page + 4096 <= bytes.len; page += 4096, n++) {
        struct buf bad = BUF_INIT;
        buf_add(&bad, bytes.s, bytes.len);
        memset(bad.s + page, 0x7f, 64);
        must(write_file(at("bad.db"), bad.s, bad.len, &err));
        int rc = store_check_foreign(at("bad.db"), &err);
        found += rc != 0;
        if (rc)
            says("bad.db: ");
        buf_release(&bad);
    }
    assert_true(n > 20);
    assert_int_equal(found, n);
    buf_release(&bytes);
}

static void a_file_that_never_ends_is_given_up(void **state)
{
    (void)state;
    struct store *s = opened(at("a.db"), STORE_WRITE);
    begin_cell(s, "c1");
    must(store_begin(s, &err));
    for (int doc = 0; doc < 300; doc++)
        add_sample(s, "c1", doc, 1.25);
    must(store_commit(s, &err));
    store_close(s);
    struct store_input *in = store_input_open(at("a.db"), &err);
    if (!in)
        fail_msg("%s", err.s);
    must(input_check_rows(in, &err));
    in->left = 3;
    assert_int_equal(input_check_rows(in, &err), -1);
    says("a.db: takes longer to be read than a database of its size can");
    store_input_close(in);
}

static void an_older_database_is_taken_as_it_is(void **state)
{
    (void)state;
    change(database("a.db", "c1", "01", CELL_DONE),
           "DELETE FROM overlap; DELETE FROM expert_entropy; DELETE FROM position_bin;"
           " DELETE FROM token_kind");
    char *line = xasprintf(
        "cd %s && rm -f 1.db 2.db && for v in 1 2; do for f in 1 2; do [ $f -gt $v ] || cat "
        "\"$OLDPWD\"/harness/store/schema$([ $f = 1 ] || echo _$f).sql; done | sqlite3 $v.db &&"
        " echo \"ATTACH 'a.db' AS a; PRAGMA application_id = %d; PRAGMA user_version = $v;"
        " INSERT INTO tokenizer SELECT * FROM a.tokenizer;"
        " INSERT INTO cell SELECT n, id, sweep, model, router, mode, k, min, max, params, train,"
        " task, seed, device, dtype, layers, experts, tokenizer, status, error, started, seconds,"
        " samples, tokens FROM a.cell; INSERT INTO metric SELECT * FROM a.metric;"
        " INSERT INTO sample SELECT * FROM a.sample; INSERT INTO token SELECT * FROM a.token;"
        " INSERT INTO token_text SELECT * FROM a.token_text; INSERT INTO expert_load SELECT * FROM"
        " a.expert_load; INSERT INTO entropy_bin SELECT * FROM a.entropy_bin; INSERT INTO histogram"
        " SELECT * FROM a.histogram;\" | sqlite3 -bail $v.db || exit 1; done",
        folder, 0x7371746b);
    assert_int_equal(system(line), 0);
    free(line);
    for (int v = 1; v <= 2; v++) {
        must(merge(at("out.db"), at(v == 1 ? "1.db" : "2.db")));
        same(at("a.db"), at("out.db"));
        unlink(at("out.db"));
    }
    // One that was brought up to our version has the same schema as a new one.
    store_close(opened(at("1.db"), STORE_WRITE));
    must(store_check_foreign(at("1.db"), &err));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        TEST(a_new_cell_comes_with_all_that_belongs_to_it),
        TEST(merged_again_it_stays_as_it_is),
        TEST(what_are_no_numbers_may_differ),
        TEST(a_summary_gets_what_an_older_program_did_not_make),
        TEST(other_numbers_are_named_with_both_files),
        TEST(numbers_that_look_the_same_are_told_in_full),
        TEST(sums_may_differ_in_their_last_bits),
        TEST(done_goes_before_unfinished_before_failed),
        TEST(two_halves_are_united),
        TEST(of_halves_that_overlap_the_larger_is_taken),
        TEST(a_done_cell_has_all_documents),
        TEST(a_score_may_come_later),
        TEST(times_are_not_compared),
        TEST(trainings_are_united_by_step),
        TEST(the_newest_runs_plan_is_the_sweeps),
        TEST(a_run_that_went_on_has_more),
        TEST(runs_and_sources_of_a_cell_come_with_it),
        TEST(the_input_is_not_written_to),
        TEST(a_log_that_a_killed_run_left_is_read_and_stays),
        TEST(an_input_that_is_written_to_is_taken_as_it_was),
        TEST(where_machines_share_the_files_a_run_need_not_wait),
        TEST(a_schema_that_is_not_ours_is_refused),
        TEST(notes_on_a_schema_and_its_blanks_do_not_matter),
        TEST(rows_that_nobody_wrote_are_refused),
        TEST(damaged_pages_are_found),
        TEST(a_file_that_never_ends_is_given_up),
        TEST(an_older_database_is_taken_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
