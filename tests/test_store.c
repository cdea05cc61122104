/*
 * test_store.c: what goes in comes out through the public views; whatever is wrong with the file, the
 * disk or another program gives one sentence and leaves nothing half written.
 */
#include "store/store.h"
#include "skip.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static struct buf err = BUF_INIT;

/* A path in the test's own folder; lives until the fourth call after it. */
static const char *in_folder(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/seqtopk-store-XXXXXX");
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

/* Opens and must succeed. */
static struct store *opened(const char *path, enum store_mode mode)
{
    struct store *s = store_open(path, mode, &err);
    if (!s)
        fail_msg("%s", err.s);
    return s;
}

static void must(int rc)
{
    if (rc)
        fail_msg("%s", err.s);
}

/* Opens and must fail, with a sentence that has the path and `words`. */
static void refused(const char *path, enum store_mode mode, const char *words)
{
    struct store *s = store_open(path, mode, &err);
    assert_null(s);
    if (!strstr(err.s, path) || !strstr(err.s, words))
        fail_msg("'%s' does not say '%s' of %s", err.s, words, path);
}

static void says(const char *words)
{
    if (!strstr(err.s, words))
        fail_msg("'%s' does not say '%s'", err.s, words);
}

/* All rows of a query as text: columns by |, rows by a line break, null as ~. */
static struct buf answer_text = BUF_INIT;
static const char *answer(struct store *s, const char *sql)
{
    int rc;
    buf_reset(&answer_text);
    struct rows *r = store_query(s, &err, sql);
    if (!r)
        fail_msg("%s", err.s);
    while ((rc = rows_next(r, &err)) == 1) {
        for (int c = 0; c < rows_columns(r); c++)
            buf_addf(&answer_text, "%s%s", c ? "|" : "", rows_null(r, c) ? "~" : rows_text(r, c));
        buf_addc(&answer_text, '\n');
    }
    assert_int_equal(rc, 0);
    rows_close(r);
    return answer_text.s;
}

static const struct store_cell a_cell = {
    .id = "c1",
    .sweep = "bounds",
    .model = "toy",
    .router = "seqtopk",
    .mode = "global",
    .params = "{\"mode\":\"global\"}",
    .train = "none",
    .task = "nll:texts.jsonl",
    .device = "cpu",
    .dtype = "float32",
    .tokenizer = "aabb",
    .k = 2,
    .min = 1,
    .max = 3,
    .layers = 2,
    .experts = 3,
    .seed = 7,
};

static const int32_t the_ids[] = { 5, 6, 5 };
static const float the_nll[] = { NAN, 0.5f, 1.5f }, the_entropy[] = { 2.25f, 1.0f, 0.5f };
static const uint16_t the_experts[] = { 1, 2, 3, /* layer 1 */ 10, 0, 2 };
static const int32_t the_load[] = { 3, 2, 1, /* layer 1 */ 12, 0, 0 };
static const double the_weight[] = { 1.5, 0.5, 0.25, 2, 0, 0 };

static struct store_sample a_sample(int doc)
{
    return (struct store_sample){ .cell_id = "c1",
                                  .doc = doc,
                                  .prompt_tokens = 1,
                                  .output_tokens = 2,
                                  .stop_reason = "end",
                                  .output = "two\n'words'",
                                  .extracted = "[1]",
                                  .nll = 2,
                                  .nll_tokens = 2,
                                  .score = NAN,
                                  .tokens = 3,
                                  .ids = the_ids,
                                  .token_nll = the_nll,
                                  .entropy = the_entropy,
                                  .experts = the_experts,
                                  .load_tokens = the_load,
                                  .load_weight = the_weight };
}

/* A database with the cell and `docs` samples. */
static struct store *filled(const char *path, int docs)
{
    enum cell_status was;
    struct store *s = opened(path, STORE_WRITE);
    must(store_cell_begin(s, &a_cell, &was, &err));
    assert_int_equal(was, CELL_NEW);
    for (int d = 0; d < docs; d++) {
        struct store_sample p = a_sample(d);
        must(store_sample_add(s, &p, &err));
    }
    return s;
}

/* ---- what goes in comes out ---- */

static void the_views_have_the_promised_columns_in_the_promised_order(void **state)
{
    (void)state;
    static const char *const promised[][2] = {
        { "v_cells", "cell_id sweep model router mode k min max params train task seed device "
                     "dtype status error started seconds note" },
        { "v_recipes", "recipe_hash path text" },
        { "v_runs", "run_id sweep recipe_hash command version revision libtorch blas device driver "
                    "host shard started ended outcome seconds samples tokens" },
        { "v_cell_runs", "cell_id run_id samples" },
        { "v_sources", "cell_id kind name hash" },
        { "v_metrics", "cell_id metric value stderr n" },
        { "v_samples", "cell_id doc prompt_tokens output_tokens stop_reason nll nll_tokens output "
                       "extracted score error" },
        { "v_tokens", "cell_id doc pos token_id token nll entropy experts experts_by_layer" },
        { "v_entropy_bins",
          "cell_id layer bin entropy_lo entropy_hi tokens experts_mean experts_sd" },
        { "v_expert_load", "cell_id layer expert tokens weight entropy" },
        { "v_overlap", "cell_id doc other layer both ours theirs" },
        { "v_position_bins", "cell_id bin pos_lo pos_hi tokens scored nll_mean nll_se experts_mean "
                             "experts_se used_share differ" },
        { "v_token_kinds", "cell_id kind tokens experts_mean experts_se entropy_mean entropy_se" },
        { "v_trainings", "training_id sweep model label settings started" },
        { "v_training_steps", "training_id step tokens loss lr grad_norm balance_loss z_loss "
                              "experts seconds" },
        { "v_training_heldout", "training_id step source nll tokens" },
        { "v_recipes", "recipe_hash path text" },
        { "v_runs", "run_id sweep recipe_hash command version revision libtorch blas device driver "
                    "host shard started ended outcome seconds samples tokens" },
        { "v_cell_runs", "cell_id run_id samples" },
        { "v_sources", "cell_id kind name hash" },
        { "v_token_experts", "cell_id token_id token tokens experts entropy" },
    };
    struct store *s = filled(in_folder("a.db"), 0);
    for (size_t i = 0; i < ARRAY_LEN(promised); i++) {
        struct buf names = BUF_INIT;
        char *sql = xasprintf("SELECT * FROM %s", promised[i][0]);
        struct rows *r = store_query(s, &err, sql);
        for (int c = 0; c < rows_columns(r); c++)
            buf_addf(&names, "%s%s", c ? " " : "", rows_name(r, c));
        assert_string_equal(names.s, promised[i][1]);
        rows_close(r);
        buf_release(&names);
        free(sql);
    }
    assert_string_equal(
        answer(s, "SELECT group_concat(name) FROM sqlite_master WHERE type = 'view'"),
        "v_metrics,v_samples,v_tokens,v_entropy_bins,v_trainings,"
        "v_training_steps,v_training_heldout,v_cells,v_recipes,v_runs,v_cell_runs,v_sources,"
        "v_token_experts,v_overlap,v_position_bins,v_token_kinds,v_expert_load\n");
    store_close(s);
}

static void a_cell_comes_out_as_it_went_in(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 1);
    must(store_cell_finish(s, "c1", CELL_UNFINISHED, NULL, 1.25, &err));
    must(store_cell_finish(s, "c1", CELL_DONE, NULL, 2, &err));
    assert_string_equal(
        answer(s, "SELECT cell_id, sweep, model, router, mode, k, min, max, params, train, task,"
                  " seed, device, dtype, status, error, seconds FROM v_cells"),
        "c1|bounds|toy|seqtopk|global|2|1|3|{\"mode\":\"global\"}|none|nll:texts.jsonl|7|cpu|"
        "float32|done|~|3.25\n");
    assert_string_equal(answer(s, "SELECT started GLOB '20[0-9][0-9]-[01][0-9]-[0-3][0-9]T*Z',"
                                  " abs(strftime('%s', started) - strftime('%s', 'now')) < 100"
                                  " FROM v_cells"),
                        "1|1\n");
    store_close(s);
}

static void what_a_router_has_not_is_null(void **state)
{
    (void)state;
    enum cell_status was;
    struct store_cell c = a_cell;
    c.mode = "";
    c.params = c.train = c.tokenizer = NULL;
    c.min = c.max = -1;
    struct store *s = opened(in_folder("a.db"), STORE_WRITE);
    must(store_cell_begin(s, &c, &was, &err));
    assert_string_equal(answer(s, "SELECT mode, min, max, params, train FROM v_cells"),
                        "~|~|~|{}|none\n");
    store_close(s);
}

static void a_sample_and_its_tokens_come_out_as_they_went_in(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 1);
    must(store_token_text(s, "c1", 5, "a \"b\"", 5, &err));
    must(store_token_text(s, "c1", 5, "other", 5, &err)); // the first stays
    assert_string_equal(answer(s, "SELECT * FROM v_samples"),
                        "c1|0|1|2|end|2.0|2|two\n'words'|[1]|~|~\n");
    assert_string_equal(answer(s, "SELECT * FROM v_tokens ORDER BY pos"),
                        "c1|0|0|5|a \"b\"|~|2.25|5.5|[1,10]\n"
                        "c1|0|1|6|~|0.5|1.0|1.0|[2,0]\n"
                        "c1|0|2|5|a \"b\"|1.5|0.5|2.5|[3,2]\n");
    store_close(s);
}

static void a_sample_without_logs_has_no_tokens(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 0);
    struct store_sample p = { .cell_id = "c1",
                              .doc = 4,
                              .prompt_tokens = 1,
                              .output_tokens = 9,
                              .nll = NAN,
                              .score = 1,
                              .error = "too long" };
    must(store_sample_add(s, &p, &err));
    assert_string_equal(answer(s, "SELECT * FROM v_samples"), "c1|4|1|9|~|~|0|~|~|1.0|too long\n");
    assert_string_equal(answer(s, "SELECT count(*) FROM v_tokens"), "0\n");
    assert_string_equal(answer(s, "SELECT count(*) FROM v_expert_load"), "0\n");
    store_close(s);
}

static void tokens_without_experts_have_null_there(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 0);
    struct store_sample p = { .cell_id = "c1", .tokens = 1, .ids = the_ids, .nll = 0, .score = 0 };
    must(store_sample_add(s, &p, &err));
    assert_string_equal(
        answer(s, "SELECT token_id, nll, entropy, experts, experts_by_layer FROM v_tokens"),
        "5|~|~|~|~\n");
    store_close(s);
}

static void the_load_adds_up_over_samples_and_has_the_dead_experts(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 2);
    assert_string_equal(answer(s, "SELECT * FROM v_expert_load"),
                        "c1|0|0|6|3.0|~\nc1|0|1|4|1.0|~\nc1|0|2|2|0.5|~\n"
                        "c1|1|0|24|4.0|~\nc1|1|1|0|0.0|~\nc1|1|2|0|0.0|~\n");
    store_close(s);
}

static void what_was_compared_comes_out_and_entropies_add_up(void **state)
{
    (void)state;
    static const char *const others[] = { "topk", "seqtopk_global" };
    static const int64_t overlap[2 * 2 * 3] = { 3, 4, 5, 6, 7, 8, 1, 2, 3, 0, 0, 9 };
    static const int32_t load[6] = { 2, 0, 1, 0, 0, 4 };
    static const double entropy[6] = { 3, 0, 0.5, 0, 0, 1 };
    struct store *s = filled(in_folder("a.db"), 0);
    struct store_sample p = { .cell_id = "c1",
                              .nll = 0,
                              .score = NAN,
                              .load_tokens = load,
                              .load_entropy = entropy,
                              .others = others,
                              .nothers = 2,
                              .overlap = overlap };
    for (p.doc = 0; p.doc < 2; p.doc++)
        must(store_sample_add(s, &p, &err));
    assert_string_equal(answer(s, "SELECT doc, other, layer, both, ours, theirs FROM v_overlap"
                                  " WHERE doc = 1 ORDER BY other, layer"),
                        "1|seqtopk_global|0|1|2|3\n1|seqtopk_global|1|0|0|9\n"
                        "1|topk|0|3|4|5\n1|topk|1|6|7|8\n");
    assert_string_equal(answer(s, "SELECT layer, expert, tokens, entropy FROM v_expert_load"
                                  " WHERE tokens > 0 OR expert = 1 ORDER BY 1, 2"),
                        "0|0|4|1.5\n0|1|0|~\n0|2|2|0.5\n1|1|0|~\n1|2|8|0.25\n");
    store_close(s);
}

static void places_and_kinds_come_out_and_go_with_the_summary(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 0);
    struct store_position p = { 1, 16, 32, 99, 98, 2.5, 0.25, 3, NAN, 1.125, 0.5 };
    struct store_kind k = { "digit", 12, 2.5, 0.5, 1.5, NAN };
    must(store_position_set(s, "c1", &p, &err));
    must(store_kind_set(s, "c1", &k, &err));
    k.tokens = 13;
    must(store_kind_set(s, "c1", &k, &err));
    assert_string_equal(answer(s, "SELECT * FROM v_position_bins"),
                        "c1|1|16|32|99|98|2.5|0.25|3.0|~|1.125|0.5\n");
    assert_string_equal(answer(s, "SELECT * FROM v_token_kinds"), "c1|digit|13|2.5|0.5|1.5|~\n");
    must(store_summary_clear(s, "c1", &err));
    assert_string_equal(answer(s, "SELECT (SELECT count(*) FROM v_position_bins) + count(*) FROM"
                                  " v_token_kinds"),
                        "0\n");
    store_close(s);
}

static void metrics_and_bins_come_out_and_can_be_set_again(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 0);
    struct store_bin b = { .layer = -1,
                           .bin = 0,
                           .lo = 0.5,
                           .hi = 1,
                           .tokens = 9,
                           .experts_mean = 2,
                           .experts_sd = NAN,
                           .experts_se = 0.25 };
    must(store_metric_set(s, "c1", "nll", 3, 1, 1, &err));
    must(store_metric_set(s, "c1", "nll", 2.5, NAN, 10, &err));
    must(store_bin_set(s, "c1", &b, &err));
    b.layer = 1;
    b.bin = 3;
    must(store_bin_set(s, "c1", &b, &err));
    must(store_histogram_set(s, "c1", 0, 2, 11, &err));
    assert_string_equal(answer(s, "SELECT * FROM v_metrics"), "c1|nll|2.5|~|10\n");
    assert_string_equal(answer(s, "SELECT * FROM v_entropy_bins"),
                        "c1|~|0|0.5|1.0|9|2.0|~\nc1|1|3|0.5|1.0|9|2.0|~\n");
    must(store_summary_clear(s, "c1", &err));
    assert_string_equal(answer(s, "SELECT count(*) FROM v_entropy_bins"), "0\n");
    assert_string_equal(answer(s, "SELECT count(*) FROM histogram"), "0\n");
    assert_string_equal(answer(s, "SELECT count(*) FROM v_metrics"), "0\n");
    store_close(s);
}

static void a_token_that_is_a_part_of_a_character_is_a_blob(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 1);
    must(store_token_text(s, "c1", 5, "\xe2\x82", 2, &err));
    must(store_token_text(s, "c1", 6, "a\0b", 3, &err));
    assert_string_equal(answer(s, "SELECT typeof(token), hex(token) FROM v_tokens"),
                        "blob|E282\ntext|610062\nblob|E282\n");
    store_close(s);
}

static void the_text_of_tokens_is_kept_once_for_a_tokenizer(void **state)
{
    (void)state;
    enum cell_status was;
    struct store *s = filled(in_folder("a.db"), 1);
    struct store_cell same = a_cell, other = a_cell;
    same.id = "c2";
    other.id = "c3";
    other.tokenizer = "ccdd";
    must(store_cell_begin(s, &same, &was, &err));
    must(store_cell_begin(s, &other, &was, &err));
    must(store_token_text(s, "c1", 5, "five", 4, &err));
    struct store_sample p = a_sample(0);
    p.tokens = 1;
    p.cell_id = "c2";
    must(store_sample_add(s, &p, &err));
    p.cell_id = "c3";
    must(store_sample_add(s, &p, &err));
    assert_string_equal(answer(s, "SELECT cell_id, token FROM v_tokens WHERE pos = 0"),
                        "c1|five\nc2|five\nc3|~\n");
    store_close(s);
}

/* ---- cells begin, end and begin again ---- */

static const struct store_training a_training = {
    .id = "t1",
    .sweep = "tuned",
    .model = "toy",
    .label = "sft, 3 steps",
    .settings = "{\"lr\":0.001}",
};

static void a_training_comes_out_as_it_went_in(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 0);
    struct store_train_step t = { .step = 1,
                                  .tokens = 4096,
                                  .loss = 2.5,
                                  .lr = 0.001,
                                  .grad_norm = 1.5,
                                  .balance_loss = 1.25,
                                  .z_loss = NAN,
                                  .experts = 2,
                                  .seconds = 0.5 };
    struct store_training again = a_training;
    again.label = "another";
    must(store_training_begin(s, &a_training, &err));
    must(store_training_begin(s, &again, &err));
    assert_string_equal(answer(s, "SELECT training_id, sweep, model, label, settings, "
                                  "length(started), abs(strftime('%s', started) - "
                                  "strftime('%s', 'now')) < 100 FROM v_trainings"),
                        "t1|tuned|toy|sft, 3 steps|{\"lr\":0.001}|20|1\n");
    must(store_train_step_set(s, "t1", &t, &err));
    t.step = 2;
    t.loss = NAN;
    must(store_train_step_set(s, "t1", &t, &err));
    // A training that goes on does some steps again.
    t.loss = 2.25;
    t.tokens = 8192;
    must(store_train_step_set(s, "t1", &t, &err));
    assert_string_equal(answer(s, "SELECT * FROM v_training_steps"),
                        "t1|1|4096|2.5|0.001|1.5|1.25|~|2.0|0.5\n"
                        "t1|2|8192|2.25|0.001|1.5|1.25|~|2.0|0.5\n");
    must(store_train_heldout_set(s, "t1", 0, "", 12, 4, &err));
    must(store_train_heldout_set(s, "t1", 2, "books", 10, 4, &err));
    must(store_train_heldout_set(s, "t1", 2, "books", 9, 4, &err));
    must(store_train_heldout_set(s, "t1", 2, "code", NAN, 0, &err));
    assert_string_equal(answer(s, "SELECT * FROM v_training_heldout"),
                        "t1|0||12.0|4\nt1|2|books|9.0|4\nt1|2|code|~|0\n");
    store_close(s);
}

static void losses_of_a_training_that_is_not_there_are_refused(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 0);
    struct store_train_step t = { .step = 1, .loss = 2 };
    assert_int_equal(store_train_step_set(s, "t9", &t, &err), -1);
    says("a.db: there is no training t9");
    assert_int_equal(store_train_heldout_set(s, "t9", 1, "books", 1, 1, &err), -1);
    says("a.db: there is no training t9");
    must(store_training_begin(s, &a_training, &err));
    must(store_begin(s, &err));
    must(store_train_step_set(s, "t1", &t, &err));
    assert_int_equal(store_train_step_set(s, "t9", &t, &err), -1);
    must(store_commit(s, &err));
    assert_string_equal(answer(s, "SELECT training_id, step FROM v_training_steps"), "t1|1\n");
    store_close(s);
}

static void a_cell_is_taken_up_where_it_was_left(void **state)
{
    (void)state;
    enum cell_status was;
    bool present[4] = { false };
    struct store *s = filled(in_folder("a.db"), 0);
    struct store_sample one = a_sample(1), nine = a_sample(9);
    must(store_sample_add(s, &one, &err));
    must(store_sample_add(s, &nine, &err));
    store_close(s);
    s = opened(in_folder("a.db"), STORE_WRITE);
    must(store_cell_begin(s, &a_cell, &was, &err));
    assert_int_equal(was, CELL_UNFINISHED);
    must(store_cell_samples(s, "c1", present, 4, &err));
    assert_true(!present[0] && present[1] && !present[2] && !present[3]);
    store_close(s);
}

static void a_failed_cell_keeps_its_sentence_until_it_begins_again(void **state)
{
    (void)state;
    enum cell_status was;
    struct store *s = filled(in_folder("a.db"), 0);
    must(store_cell_finish(s, "c1", CELL_FAILED, "no memory", 1, &err));
    assert_string_equal(answer(s, "SELECT status, error FROM v_cells"), "failed|no memory\n");
    must(store_cell_begin(s, &a_cell, &was, &err));
    assert_int_equal(was, CELL_FAILED);
    assert_string_equal(answer(s, "SELECT status, error FROM v_cells"), "unfinished|~\n");
    store_close(s);
}

static void a_done_cell_stays_done(void **state)
{
    (void)state;
    enum cell_status was;
    struct store *s = filled(in_folder("a.db"), 0);
    must(store_cell_status(s, "c2", &was, &err));
    assert_int_equal(was, CELL_NEW);
    must(store_cell_finish(s, "c1", CELL_DONE, NULL, 1, &err));
    must(store_cell_begin(s, &a_cell, &was, &err));
    assert_int_equal(was, CELL_DONE);
    must(store_cell_status(s, "c1", &was, &err));
    assert_int_equal(was, CELL_DONE);
    store_close(s);
}

static void a_cell_of_another_shape_is_refused(void **state)
{
    (void)state;
    enum cell_status was;
    struct store_cell c = a_cell;
    struct store *s = filled(in_folder("a.db"), 0);
    c.layers = 3;
    assert_int_equal(store_cell_begin(s, &c, &was, &err), -1);
    says("cell c1 is there with 2 layers of 3 experts, not 3 of 3");
    store_close(s);
}

static void a_cell_that_is_not_there_is_named(void **state)
{
    (void)state;
    bool present[1];
    struct store *s = filled(in_folder("a.db"), 0);
    struct store_sample p = a_sample(0);
    p.cell_id = "c9";
    assert_int_equal(store_sample_add(s, &p, &err), -1);
    says("there is no cell c9");
    assert_int_equal(store_metric_set(s, "c9", "nll", 1, 1, 1, &err), -1);
    says("there is no cell c9");
    assert_int_equal(store_cell_samples(s, "c9", present, 1, &err), -1);
    assert_int_equal(store_cell_finish(s, "c9", CELL_DONE, NULL, 1, &err), -1);
    says("there is no cell c9");
    store_close(s);
}

static void a_document_that_is_there_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 1);
    struct store_sample p = a_sample(0);
    assert_int_equal(store_sample_add(s, &p, &err), -1);
    says("cell c1 has document 0 already");
    assert_string_equal(answer(s, "SELECT tokens FROM v_expert_load LIMIT 1"), "3\n");
    assert_string_equal(answer(s, "SELECT samples, tokens FROM cell"), "1|3\n");
    store_close(s);
}

/* ---- transactions ---- */

static void what_is_rolled_back_was_never_there(void **state)
{
    (void)state;
    enum cell_status was;
    struct store *s = opened(in_folder("a.db"), STORE_WRITE);
    must(store_begin(s, &err));
    assert_true(store_in_transaction(s));
    must(store_cell_begin(s, &a_cell, &was, &err));
    struct store_sample p = a_sample(0);
    must(store_sample_add(s, &p, &err));
    store_rollback(s);
    assert_false(store_in_transaction(s));
    assert_string_equal(answer(s, "SELECT count(*) FROM v_cells"), "0\n");
    // The store must not remember the cell's number.
    assert_int_equal(store_sample_add(s, &p, &err), -1);
    says("there is no cell c1");
    store_close(s);
}

static void a_score_can_come_after_its_sample(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 0);
    struct store_sample p = { .cell_id = "c1", .doc = 90, .output = "x", .nll = NAN, .score = NAN };
    must(store_sample_add(s, &p, &err));
    assert_string_equal(answer(s, "SELECT output, extracted, score FROM v_samples WHERE doc = 90"),
                        "x|~|~\n");
    must(store_sample_score(s, "c1", 90, 0.5, "{}", &err));
    assert_string_equal(answer(s, "SELECT output, extracted, score FROM v_samples WHERE doc = 90"),
                        "x|{}|0.5\n");
    must(store_sample_score(s, "c1", 90, NAN, "{}", &err));
    assert_string_equal(answer(s, "SELECT score FROM v_samples WHERE doc = 90"), "~\n");
    assert_int_equal(store_sample_score(s, "c1", 91, 1, "{}", &err), -1);
    assert_non_null(strstr(err.s, "cell c1 has no document 91"));
    assert_int_equal(store_sample_score(s, "c9", 90, 1, "{}", &err), -1);
    store_close(s);
}

static void a_failed_sample_leaves_the_rest_of_the_transaction(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 1);
    struct store_sample p = a_sample(1);
    must(store_begin(s, &err));
    must(store_sample_add(s, &p, &err));
    assert_int_equal(store_sample_add(s, &p, &err), -1);
    p.doc = 2;
    must(store_sample_add(s, &p, &err));
    must(store_commit(s, &err));
    assert_string_equal(answer(s, "SELECT group_concat(doc) FROM v_samples"), "0,1,2\n");
    assert_string_equal(answer(s, "SELECT tokens FROM v_expert_load LIMIT 1"), "9\n");
    store_close(s);
}

static void what_was_not_committed_is_gone_after_closing(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 1);
    struct store_sample p = a_sample(1);
    must(store_begin(s, &err));
    must(store_sample_add(s, &p, &err));
    store_close(s);
    s = opened(in_folder("a.db"), STORE_READ);
    assert_string_equal(answer(s, "SELECT count(*) FROM v_samples"), "1\n");
    store_close(s);
}

/* ---- reading ---- */

static void a_query_takes_its_arguments_as_values(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 1);
    struct rows *r = store_query(s, &err,
                                 "SELECT doc + 0.5, nll, score FROM v_samples"
                                 " WHERE cell_id = ? AND stop_reason = ?",
                                 "c1", "end");
    assert_int_equal(rows_next(r, &err), 1);
    assert_true(rows_double(r, 0) == 0.5 && rows_int(r, 1) == 2);
    assert_true(rows_null(r, 2) && isnan(rows_double(r, 2)) && rows_text(r, 2) == NULL);
    assert_int_equal(rows_next(r, &err), 0);
    rows_close(r);
    r = store_query(s, &err, "SELECT * FROM v_samples WHERE cell_id = ?", "' OR '1");
    assert_int_equal(rows_next(r, &err), 0);
    rows_close(r);
    store_close(s);
}

static void a_query_can_only_read(void **state)
{
    (void)state;
    static const char *const writes[] = { "DELETE FROM cell", "SELECT 1; DELETE FROM cell",
                                          "PRAGMA user_version = 9", "" };
    struct store *s = filled(in_folder("a.db"), 1);
    for (size_t i = 0; i < ARRAY_LEN(writes); i++) {
        assert_null(store_query(s, &err, writes[i]));
        says("a.db: only one statement, and one that reads");
    }
    assert_null(store_query(s, &err, "SELECT x FROM v_cells"));
    says("a.db: no such column: x");
    assert_string_equal(answer(s, "SELECT count(*) FROM v_samples"), "1\n");
    store_close(s);
}

static void cells_are_chosen_by_any_condition_and_come_in_order(void **state)
{
    (void)state;
    static const struct {
        const char *id, *router;
        int k;
    } cells[] = { { "a", "batchtopk", 4 },
                  { "b", "topk", 2 },
                  { "c", "seqtopk", 4 },
                  { "d", "topk", 4 },
                  { "e", "topk", 8 } };
    enum cell_status was;
    struct buf ids = BUF_INIT;
    struct store *s = opened(in_folder("a.db"), STORE_WRITE);
    for (size_t i = 0; i < ARRAY_LEN(cells); i++) {
        struct store_cell c = a_cell;
        c.id = cells[i].id;
        c.router = cells[i].router;
        c.k = cells[i].k;
        must(store_cell_begin(s, &c, &was, &err));
    }
    struct rows *r = store_cells(s, NULL, &err);
    while (rows_next(r, &err) == 1)
        buf_adds(&ids, rows_text(r, 0));
    rows_close(r);
    assert_string_equal(ids.s, "edcab");
    r = store_cells(s, "k = 4 AND router LIKE '%topk' -- not all", &err);
    buf_reset(&ids);
    while (rows_next(r, &err) == 1)
        buf_adds(&ids, rows_text(r, 0));
    rows_close(r);
    assert_string_equal(ids.s, "dca");
    buf_release(&ids);
    store_close(s);
}

static void a_condition_that_is_none_gets_one_sentence(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        { "kk = 8", "no such column: kk" },
        { "k = ", "syntax error" },
        { "k = 8)", "syntax error" },
        { "1); DELETE FROM cell; --", "only one statement" },
        { "k = ?", "has a ?" },
        { "/* k", "error" },
        { "", "syntax error" },
        { "'", "unrecognized token" },
    };
    struct store *s = filled(in_folder("a.db"), 0);
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        struct rows *r = store_cells(s, wrong[i][0], &err);
        if (r)
            fail_msg("'%s' was accepted", wrong[i][0]);
        says("the condition on cells: ");
        if (i != 5)
            says(wrong[i][1]);
    }
    store_close(s);
}

static void no_view_of_one_cell_walks_over_all_cells(void **state)
{
    (void)state;
    static const char *const views[] = { "v_metrics",         "v_samples",     "v_tokens",
                                         "v_entropy_bins",    "v_expert_load", "v_training_steps",
                                         "v_training_heldout" };
    struct store *s = filled(in_folder("a.db"), 1);
    for (size_t i = 0; i < ARRAY_LEN(views); i++) {
        char *sql = xasprintf("EXPLAIN QUERY PLAN SELECT * FROM %s WHERE %s_id = 'c1'", views[i],
                              strstr(views[i], "training") ? "training" : "cell");
        if (strstr(answer(s, sql), "SCAN") || !strstr(answer(s, sql), "SEARCH"))
            fail_msg("%s: %s", views[i], answer(s, sql));
        free(sql);
    }
    store_close(s);
}

static void a_reader_sees_what_a_writer_commits_and_leaves_no_file_behind(void **state)
{
    (void)state;
    struct store *w = filled(in_folder("a.db"), 1);
    struct store *r = opened(in_folder("a.db"), STORE_READ);
    struct store_sample p = a_sample(1);
    must(store_begin(w, &err));
    must(store_sample_add(w, &p, &err));
    assert_string_equal(answer(r, "SELECT count(*) FROM v_samples"), "1\n");
    must(store_commit(w, &err));
    assert_string_equal(answer(r, "SELECT count(*) FROM v_samples"), "2\n");
    store_close(w);
    store_close(r);
    assert_int_equal(access(in_folder("a.db"), F_OK), 0);
    assert_int_equal(access(in_folder("a.db-wal"), F_OK), -1);
    assert_int_equal(access(in_folder("a.db-shm"), F_OK), -1);
}

static void nothing_can_be_written_through_a_reader(void **state)
{
    (void)state;
    store_close(filled(in_folder("a.db"), 0));
    struct store *s = opened(in_folder("a.db"), STORE_READ);
    struct store_sample p = a_sample(0);
    assert_int_equal(store_sample_add(s, &p, &err), -1);
    says("a.db: cannot be written");
    store_close(s);
}

/* ---- files that are wrong ---- */

static void write_text(const char *path, const char *text)
{
    must(write_file(path, text, strlen(text), &err));
}

/* Runs SQL on a file with the sqlite3 library's shell, as another program would. */
static void run_sqlite(const char *path, const char *sql)
{
    char *line = xasprintf("sqlite3 %s \"%s\" >%s/out 2>&1", path, sql, folder);
    if (system(line) != 0)
        fail_msg("failed: %s", line);
    free(line);
}

static bool have_sqlite_shell(void)
{
    return system("command -v sqlite3 >/dev/null 2>&1") == 0;
}

static void a_file_that_is_not_sqlite_is_refused_and_stays(void **state)
{
    (void)state;
    struct buf text = BUF_INIT;
    const char *path = in_folder("notes.db");
    write_text(path, "these are my notes, not a database; they are longer than a header of SQLite "
                     "is, which has a hundred bytes, and must stay as they are\n");
    refused(path, STORE_READ, "is not a seqtopk database, nor any SQLite database");
    refused(path, STORE_WRITE, "is not a seqtopk database, nor any SQLite database");
    must(read_file(path, 1000, &text, &err));
    assert_true(strncmp(text.s, "these are my notes", 18) == 0);
    write_text(path, "short");
    refused(path, STORE_WRITE, "is not a seqtopk database, nor any SQLite database");
    buf_release(&text);
}

static void a_database_of_another_program_is_refused_and_stays(void **state)
{
    (void)state;
    struct buf before = BUF_INIT, after = BUF_INIT;
    const char *path = in_folder("other.db");
    if (!have_sqlite_shell())
        SKIP("no sqlite3 to make another program's database with");
    run_sqlite(path, "CREATE TABLE mine (x); INSERT INTO mine VALUES (1)");
    must(read_file(path, 100000, &before, &err));
    refused(path, STORE_READ, "is not a seqtopk database but one of another program");
    refused(path, STORE_WRITE, "is not a seqtopk database but one of another program");
    must(read_file(path, 100000, &after, &err));
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.s, after.s, before.len);
    run_sqlite(path, "DROP TABLE mine; PRAGMA application_id = 77");
    refused(path, STORE_WRITE, "one of another program");
    buf_release(&before);
    buf_release(&after);
}

static void a_newer_schema_is_refused_with_both_versions(void **state)
{
    (void)state;
    const char *path = in_folder("a.db");
    if (!have_sqlite_shell())
        SKIP("no sqlite3 to change the version with");
    store_close(filled(path, 1));
    run_sqlite(path, "PRAGMA user_version = 6");
    refused(path, STORE_READ, "its schema is version 6, this program knows version 5");
    refused(path, STORE_WRITE, "its schema is version 6, this program knows version 5");
    run_sqlite(path, "PRAGMA user_version = 0");
    refused(path, STORE_READ, "its schema is version 0, this program needs version 1 to 5");
    refused(path, STORE_WRITE, "its schema is version 0, this program needs version 1 to 5");
}

/* A database of version 1, by its own schema's text. */
static void make_version_1(const char *path)
{
    char *line = xasprintf("sqlite3 %s <tests/data/store-v1.sql >%s/out 2>&1", path, folder);
    if (system(line) != 0)
        fail_msg("failed: %s", line);
    free(line);
}

/* All that version 1 knows, through its views. */
static char *content_of(struct store *s)
{
    static const char *const views[] = { "v_cells",  "v_metrics",      "v_samples",
                                         "v_tokens", "v_entropy_bins", "v_expert_load" };
    struct buf all = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(views); i++) {
        char *sql = xasprintf("SELECT * FROM %s", views[i]);
        buf_addf(&all, "%s:\n%s", views[i], answer(s, sql));
        free(sql);
    }
    return buf_detach(&all);
}

static void an_older_schema_can_be_read_and_stays(void **state)
{
    (void)state;
    const char *path = in_folder("v1.db");
    if (!have_sqlite_shell())
        SKIP("no sqlite3 to make a database of version 1 with");
    make_version_1(path);
    struct store *s = opened(path, STORE_READ);
    assert_string_equal(answer(s, "SELECT cell_id, status, note FROM v_cells"), "c1|done|~\n");
    assert_string_equal(answer(s, "SELECT count(*), min(pid) FROM process"), "0|~\n");
    assert_string_equal(answer(s, "SELECT count(*), min(training_id || sweep || model || label || "
                                  "settings || started) FROM v_trainings"),
                        "0|~\n");
    assert_string_equal(answer(s, "SELECT count(*), max(step + tokens + loss + lr + grad_norm + "
                                  "balance_loss + z_loss + experts + seconds) FROM "
                                  "v_training_steps WHERE training_id = 't1'"),
                        "0|~\n");
    assert_string_equal(answer(s, "SELECT count(*), max(step + source + nll + tokens) FROM "
                                  "v_training_heldout WHERE training_id = 't1'"),
                        "0|~\n");
    assert_int_equal(store_train_heldout_set(s, "t1", 1, "", 1, 1, &err), -1);
    store_close(s);
    run_sqlite(path, "PRAGMA user_version");
    struct buf said = BUF_INIT;
    must(read_file(in_folder("out"), 100, &said, &err));
    assert_string_equal(said.s, "1\n");
    buf_release(&said);
}

static void an_older_schema_is_brought_up_and_keeps_everything(void **state)
{
    (void)state;
    const char *path = in_folder("v1.db");
    enum cell_status was;
    if (!have_sqlite_shell())
        SKIP("no sqlite3 to make a database of version 1 with");
    make_version_1(path);
    struct store *s = opened(path, STORE_READ);
    char *before = content_of(s);
    store_close(s);
    s = opened(path, STORE_WRITE);
    char *after = content_of(s);
    assert_string_equal(before, after);
    assert_string_equal(answer(s, "PRAGMA user_version"), "5\n");
    must(store_training_begin(s, &a_training, &err));
    must(store_cell_begin(s, &a_cell, &was, &err));
    assert_int_equal(was, CELL_DONE);
    store_close(s);
    s = opened(path, STORE_WRITE);
    assert_string_equal(answer(s, "SELECT training_id FROM v_trainings"), "t1\n");
    // It is now what a new one is.
    struct store *new = filled(in_folder("new.db"), 0);
    static const char schema[] = "SELECT type, name, sql FROM sqlite_master ORDER BY name";
    char *ours = xstrdup(answer(s, schema));
    assert_string_equal(ours, answer(new, schema));
    store_close(new);
    store_close(s);
    free(ours);
    free(before);
    free(after);
}

/* Opens the database for writing in a child in which no file may grow beyond `bytes`, or it dies. */
static bool dies_while_opening(const char *path, rlim_t bytes)
{
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit none = { 0, 0 };
        setrlimit(RLIMIT_CORE, &none);
        struct rlimit limit = { bytes, bytes };
        setrlimit(RLIMIT_FSIZE, &limit);
        _exit(store_open(path, STORE_WRITE, &err) ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ)
        return true;
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return false;
}

static void killed_while_it_is_brought_up_a_database_stays_what_it_was(void **state)
{
    (void)state;
    const char *path = in_folder("v1.db");
    int killed = 0;
    bool dies = true;
    if (!have_sqlite_shell())
        SKIP("no sqlite3 to make a database of version 1 with");
    make_version_1(path);
    // Somebody who reads meanwhile: the file that readers and writers share is there already.
    struct store *s = opened(path, STORE_READ);
    char *before = content_of(s);
    for (rlim_t bytes = 2000; dies && bytes < 200000; bytes += 2000) {
        dies = dies_while_opening(path, bytes);
        killed += dies;
        assert_string_equal(answer(s, "PRAGMA user_version"), dies ? "1\n" : "5\n");
        assert_string_equal(
            answer(s,
                   "SELECT count(*) FROM sqlite_master WHERE name LIKE '%training%' AND sql <> ''"),
            dies ? "0\n" : "6\n");
        char *after = content_of(s);
        assert_string_equal(before, after);
        free(after);
    }
    assert_false(dies);
    assert_true(killed > 5);
    store_close(s);
    free(before);
}

static void a_damaged_database_is_refused(void **state)
{
    (void)state;
    const char *path = in_folder("a.db");
    store_close(filled(path, 1));
    char garbage[3000];
    memset(garbage, 0xa5, sizeof(garbage));
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, garbage, sizeof(garbage), 100), sizeof(garbage));
    close(fd);
    refused(path, STORE_READ, "damaged");
    refused(path, STORE_WRITE, "damaged");
}

static void a_database_that_was_cut_short_is_refused_and_stays(void **state)
{
    (void)state;
    const char *path = in_folder("a.db");
    struct stat st;
    store_close(filled(path, 20));
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size % 4096, 0);
    const off_t sizes[] = { st.st_size - 1, st.st_size - 4095, st.st_size - 4096, 5000 };
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        assert_int_equal(truncate(path, sizes[i]), 0);
        char *words = xasprintf("was cut short: it has %lld bytes, and a database that begins as "
                                "it does has at least %lld",
                                (long long)sizes[i], (long long)st.st_size);
        refused(path, STORE_READ, words);
        refused(path, STORE_WRITE, words);
        free(words);
        struct stat now;
        assert_int_equal(stat(path, &now), 0);
        assert_int_equal(now.st_size, sizes[i]);
    }
}

/* A log that is not in the file yet has the rest of it. */
static void a_database_whose_log_has_its_end_is_not_cut_short(void **state)
{
    (void)state;
    const char *path = in_folder("a.db"), *copy = in_folder("b.db");
    struct store *s = filled(path, 3);
    run_sqlite(path, "VACUUM"); // writes every page into the log
    char *line = xasprintf("cp %s %s && cp %s-wal %s-wal && truncate -s -100 %s", path, copy, path,
                           copy, copy);
    assert_int_equal(system(line), 0);
    store_close(s);
    struct store *r = opened(copy, STORE_READ);
    assert_string_equal(answer(r, "SELECT count(*) FROM v_samples"), "3\n");
    store_close(r);
    free(line);
}

static void a_new_database_is_whole_without_its_log(void **state)
{
    (void)state;
    const char *path = in_folder("a.db"), *copy = in_folder("b.db");
    struct store *s = opened(path, STORE_WRITE);
    char *line = xasprintf("cp %s %s && [ $(ls %s | wc -l) -le 4 ]", path, copy, folder);
    assert_int_equal(system(line), 0);
    struct store *r = opened(copy, STORE_READ);
    assert_string_equal(answer(r, "SELECT count(*) FROM v_cells"), "0\n");
    assert_string_equal(answer(r, "SELECT * FROM pragma_journal_mode"), "wal\n");
    store_close(r);
    store_close(s);
    struct stat st;
    mode_t mask = umask(0);
    umask(mask);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0666 & ~mask);
    free(line);
}

static void a_link_to_nothing_is_filled_where_it_leads(void **state)
{
    (void)state;
    assert_int_equal(symlink("there.db", in_folder("link.db")), 0);
    store_close(filled(in_folder("link.db"), 1));
    struct stat st;
    assert_int_equal(lstat(in_folder("link.db"), &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(lstat(in_folder("there.db"), &st), 0);
    assert_true(S_ISREG(st.st_mode));
}

static void what_is_not_there_or_not_a_file_is_named(void **state)
{
    (void)state;
    refused(in_folder("none.db"), STORE_READ, "No such file");
    assert_int_equal(access(in_folder("none.db"), F_OK), -1);
    refused(in_folder("no/folder.db"), STORE_WRITE, "No such file");
    refused(folder, STORE_READ, "is a folder");
    refused(folder, STORE_WRITE, "is a folder");
    refused("/dev/null", STORE_WRITE, "is not a regular file");
    assert_null(store_open("", STORE_WRITE, &err));
    says("name is empty");
}

static void an_empty_file_is_nothing_to_read_but_can_be_filled(void **state)
{
    (void)state;
    const char *path = in_folder("empty.db");
    write_text(path, "");
    refused(path, STORE_READ, "is empty");
    store_close(filled(path, 1));
    store_close(opened(path, STORE_READ));
}

static void a_sample_that_fails_half_way_leaves_no_half_of_it(void **state)
{
    (void)state;
    if (!have_sqlite_shell())
        SKIP("no sqlite3 to take a table away with");
    struct store *s = filled(in_folder("a.db"), 0);
    struct store_sample good = a_sample(0), bad = a_sample(1);
    good.load_tokens = NULL;
    run_sqlite(in_folder("a.db"), "DROP VIEW v_expert_load; DROP TABLE expert_load");
    must(store_begin(s, &err));
    must(store_sample_add(s, &good, &err));
    assert_int_equal(store_sample_add(s, &bad, &err), -1);
    says("a.db: no such table");
    must(store_commit(s, &err));
    assert_int_equal(store_sample_add(s, &bad, &err), -1);
    assert_string_equal(answer(s, "SELECT group_concat(doc) FROM v_samples"), "0\n");
    assert_string_equal(answer(s, "SELECT count(*) FROM v_tokens"), "3\n");
    store_close(s);
}

/* ---- places that are wrong ---- */

/* Does `body` without root's rights, in this process. */
static void as_nobody(void (*body)(void))
{
    bool root = geteuid() == 0;
    if (root && seteuid(65534) != 0)
        SKIP("cannot give up root's rights");
    body();
    if (root) {
        assert_int_equal(seteuid(0), 0);
        prctl(PR_SET_DUMPABLE, 1); // or the leak checker cannot look at us
    }
}

static void write_in_a_read_only_folder(void)
{
    refused(in_folder("new.db"), STORE_WRITE, "cannot be made: Permission denied");
    refused(in_folder("a.db"), STORE_WRITE,
            "cannot be written: the file or its folder is read-only");
    struct store *s = store_open(in_folder("a.db"), STORE_READ, &err);
    assert_non_null(s);
    assert_string_equal(answer(s, "SELECT count(*) FROM v_samples"), "2\n");
    store_close(s);
}

static void a_read_only_folder_can_be_read_and_refuses_writing(void **state)
{
    (void)state;
    store_close(filled(in_folder("a.db"), 2));
    assert_int_equal(chmod(in_folder("a.db"), 0444), 0);
    assert_int_equal(chmod(folder, 0555), 0);
    as_nobody(write_in_a_read_only_folder);
    assert_int_equal(chmod(folder, 0755), 0);
    assert_int_equal(access(in_folder("new.db"), F_OK), -1);
}

static void read_what_may_not_be_read(void)
{
    refused(in_folder("a.db"), STORE_READ, "cannot be opened");
}

static void a_file_that_may_not_be_read_is_named(void **state)
{
    (void)state;
    store_close(filled(in_folder("a.db"), 2));
    assert_int_equal(chmod(in_folder("a.db"), 0), 0);
    as_nobody(read_what_may_not_be_read);
    assert_int_equal(chmod(in_folder("a.db"), 0644), 0);
}

static void a_name_with_signs_of_a_uri_is_a_plain_name(void **state)
{
    (void)state;
    const char *path = in_folder("a?mode=memory#%41.db");
    store_close(filled(path, 1));
    assert_int_equal(access(path, F_OK), 0);
    struct store *s = opened(path, STORE_READ);
    assert_string_equal(answer(s, "SELECT count(*) FROM v_samples"), "1\n");
    store_close(s);
}

/* The disk is full: here, no file may grow beyond some size. */
static void limit_files(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void a_full_disk_takes_the_sample_back(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 3);
    struct store_sample p = a_sample(3);
    char *output = xmalloc(1000001);
    memset(output, 'x', 1000000);
    output[1000000] = '\0';
    p.output = output;
    signal(SIGXFSZ, SIG_IGN);
    limit_files(300000);
    int alone = store_sample_add(s, &p, &err);
    struct buf sentence = BUF_INIT;
    buf_adds(&sentence, err.s);
    must(store_begin(s, &err));
    struct store_sample small = a_sample(4);
    int within =
        store_sample_add(s, &small, &err) || store_sample_add(s, &p, &err) || store_commit(s, &err);
    store_rollback(s);
    limit_files(RLIM_INFINITY);
    assert_int_equal(alone, -1);
    assert_true(within != 0);
    assert_non_null(strstr(sentence.s, "a.db: "));
    says("a.db: cannot be read or written: File too large");
    assert_string_equal(answer(s, "SELECT group_concat(doc) FROM v_samples"), "0,1,2\n");
    assert_string_equal(answer(s, "SELECT count(*) FROM v_tokens"), "9\n");
    must(store_sample_add(s, &p, &err)); // there is room again
    store_close(s);
    free(output);
    buf_release(&sentence);
}

static void a_full_disk_leaves_an_older_schema_as_it_was(void **state)
{
    (void)state;
    const char *path = in_folder("v1.db");
    if (!have_sqlite_shell())
        SKIP("no sqlite3 to make a database of version 1 with");
    make_version_1(path);
    struct store *r = opened(path, STORE_READ); // so that the files beside it are there
    assert_string_equal(answer(r, "SELECT count(*) FROM v_samples"), "2\n");
    signal(SIGXFSZ, SIG_IGN);
    limit_files(20000);
    struct store *s = store_open(path, STORE_WRITE, &err);
    limit_files(RLIM_INFINITY);
    assert_null(s);
    says("v1.db: cannot be read or written: File too large");
    assert_string_equal(answer(r, "PRAGMA user_version"), "1\n");
    assert_string_equal(answer(r, "SELECT count(*) FROM v_samples"), "2\n");
    store_close(opened(path, STORE_WRITE)); // there is room again
    assert_string_equal(answer(r, "PRAGMA user_version"), "5\n");
    store_close(r);
}

static void a_second_writer_waits_and_then_says_so(void **state)
{
    (void)state;
    struct store *one = filled(in_folder("a.db"), 1);
    struct store *two = opened(in_folder("a.db"), STORE_WRITE);
    struct store_sample p = a_sample(1);
    must(store_begin(one, &err));
    must(store_sample_add(one, &p, &err));
    double start = now_seconds();
    assert_int_equal(store_begin(two, &err), -1);
    double waited = now_seconds() - start;
    says("a.db: another program has held it for more than 5 seconds");
    assert_true(waited > 4 && waited < 30);
    must(store_commit(one, &err));
    p.doc = 2;
    must(store_sample_add(two, &p, &err));
    store_close(one);
    assert_string_equal(answer(two, "SELECT group_concat(doc) FROM v_samples"), "0,1,2\n");
    store_close(two);
}

static void two_programs_that_make_the_same_database_both_succeed(void **state)
{
    (void)state;
    enum { PROGRAMS = 4 };
    pid_t pid[PROGRAMS];
    for (int i = 0; i < PROGRAMS; i++) {
        pid[i] = fork();
        if (pid[i] == 0) {
            enum cell_status was;
            struct store_cell c = a_cell;
            const char *const ids[PROGRAMS] = { "c1", "c2", "c3", "c4" };
            c.id = ids[i];
            struct store *s = store_open(in_folder("a.db"), STORE_WRITE, &err);
            _exit(s && store_cell_begin(s, &c, &was, &err) == 0 ? 0 : 1);
        }
    }
    for (int i = 0; i < PROGRAMS; i++) {
        int status;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_int_equal(status, 0);
    }
    struct store *s = opened(in_folder("a.db"), STORE_READ);
    assert_string_equal(answer(s, "SELECT count(*) FROM v_cells"), "4\n");
    store_close(s);
}

static void a_note_is_shown_with_its_cell(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 1);
    assert_string_equal(answer(s, "SELECT note FROM v_cells"), "~\n");
    must(store_cell_note(s, "c1", "an earlier one", &err));
    must(store_cell_note(s, "c1", "done in halves", &err));
    assert_string_equal(answer(s, "SELECT note FROM v_cells"), "done in halves\n");
    assert_int_equal(store_cell_note(s, "c9", "of nobody", &err), -1);
    says("a.db: there is no cell c9");
    store_close(s);
}

static void what_processes_do_is_kept_until_it_is_cleared(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 0);
    must(store_process_set(s, 0, 100, "cuda:0", "waits", &err));
    must(store_process_set(s, 1, 101, "cuda:1", "a cell", &err));
    must(store_process_set(s, 0, 100, "cuda:0", "two cells", &err));
    assert_string_equal(answer(s, "SELECT n, pid, device, doing FROM process ORDER BY n"),
                        "0|100|cuda:0|two cells\n1|101|cuda:1|a cell\n");
    must(store_processes_clear(s, &err));
    assert_string_equal(answer(s, "SELECT count(*) FROM process"), "0\n");
    store_close(s);
}

/* Adds `n` samples, each in a transaction that takes a while, and says how that went. */
static int add_samples(struct store_turn *turn, int from, int n)
{
    struct store *s = store_open(in_folder("a.db"), STORE_WRITE, &err);
    int rc = s ? 0 : -1;
    if (s)
        store_share(s, turn);
    for (int i = from; i < from + n && rc == 0; i++) {
        struct store_sample p = a_sample(i);
        rc = store_begin(s, &err);
        usleep(40000);
        rc = rc || store_sample_add(s, &p, &err) || store_commit(s, &err);
        rc = rc || store_cell_finish(s, "c1", CELL_UNFINISHED, NULL, 1, &err);
    }
    store_close(s);
    return rc ? 1 : 0;
}

static void processes_that_share_a_turn_wait_as_long_as_it_takes(void **state)
{
    (void)state;
    enum { PROCESSES = 6, EACH = 25 };
    pid_t pid[PROCESSES];
    struct store_turn *turn = store_turn_new(&err);
    store_close(filled(in_folder("a.db"), 0));
    for (int i = 0; i < PROCESSES; i++)
        if ((pid[i] = fork()) == 0)
            _exit(add_samples(turn, 10 + EACH * i, EACH));
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_int_equal(status, 0);
    }
    struct store *s = opened(in_folder("a.db"), STORE_READ);
    assert_string_equal(answer(s, "SELECT count(*) FROM v_samples WHERE doc >= 10"), "150\n");
    store_close(s);
    store_turn_free(turn);
}

static void who_dies_with_the_turn_loses_it(void **state)
{
    (void)state;
    struct store_turn *turn = store_turn_new(&err);
    store_close(filled(in_folder("a.db"), 1));
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct store *s = store_open(in_folder("a.db"), STORE_WRITE, &err);
        struct store_sample p = a_sample(1);
        store_share(s, turn);
        if (store_begin(s, &err) || store_sample_add(s, &p, &err))
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    double start = now_seconds();
    struct store *s = opened(in_folder("a.db"), STORE_WRITE);
    struct store_sample p = a_sample(2);
    store_share(s, turn);
    must(store_sample_add(s, &p, &err));
    assert_true(now_seconds() - start < 3);
    assert_string_equal(answer(s, "SELECT group_concat(doc) FROM v_samples"), "0,2\n");
    store_close(s);
    store_turn_free(turn);
}

static void the_lock_stays_while_a_copy_of_its_descriptor_is_open(void **state)
{
    (void)state;
    struct store *s = filled(in_folder("a.db"), 0);
    assert_false(store_is_locked(in_folder("a.db")));
    must(store_lock(s, &err));
    int copy = dup(store_lock_fd(s));
    store_close(s);
    assert_true(store_is_locked(in_folder("a.db")));
    s = opened(in_folder("a.db"), STORE_WRITE);
    assert_int_equal(store_lock(s, &err), -1);
    says("a.db: another run is at work on it");
    close(copy);
    must(store_lock(s, &err));
    store_close(s);
}

/* A run with a recipe, which is under way in the database. */
static struct store *running(const char *path, const char *id, const char *recipe)
{
    enum cell_status was;
    struct store *s = opened(path, STORE_WRITE);
    must(store_cell_begin(s, &a_cell, &was, &err));
    const struct store_run run = { .id = id,
                                   .from = now_seconds() - 10,
                                   .sweep = "bounds",
                                   .command = "seqtopk run b.lua",
                                   .version = "1",
                                   .revision = "abc",
                                   .device = "",
                                   .host = "here",
                                   .recipe_path = "b.lua",
                                   .recipe_text = recipe };
    must(store_run_begin(s, &run, &err));
    return s;
}

static void add(struct store *s, int doc)
{
    struct store_sample p = a_sample(doc);
    must(store_sample_add(s, &p, &err));
}

#define COUNTED                                                          \
    "SELECT r.samples, r.tokens, c.samples, r.seconds BETWEEN 10 AND 60" \
    " FROM v_runs AS r LEFT JOIN v_cell_runs AS c USING (run_id)"

static void a_run_counts_what_was_committed_through_its_handle(void **state)
{
    (void)state;
    struct store *s = running(in_folder("a.db"), "r1", "return 1");
    assert_string_equal(answer(s, COUNTED), "0|0|~|0\n");
    add(s, 0);
    assert_string_equal(answer(s, COUNTED), "1|3|1|1\n");
    must(store_begin(s, &err));
    add(s, 1);
    add(s, 2);
    must(store_commit(s, &err));
    assert_string_equal(answer(s, COUNTED), "3|9|3|1\n");
    must(store_begin(s, &err));
    add(s, 3);
    store_rollback(s);
    add(s, 4);
    struct store_sample again = a_sample(1);
    assert_int_equal(store_sample_add(s, &again, &err), -1);
    assert_string_equal(answer(s, COUNTED), "4|12|4|1\n");
    must(store_run_end(s, "done", &err));
    add(s, 5); // of nobody's run
    assert_string_equal(answer(s, COUNTED), "4|12|4|1\n");
    assert_string_equal(answer(s, "SELECT outcome, ended IS NOT NULL, libtorch FROM v_runs"),
                        "done|1|\n");
    store_close(s);
}

static void a_run_that_is_killed_has_what_it_committed(void **state)
{
    (void)state;
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        struct store *s = running(in_folder("a.db"), "r1", "return 1");
        add(s, 0);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    struct store *s = opened(in_folder("a.db"), STORE_WRITE);
    assert_string_equal(answer(s, COUNTED), "1|3|1|1\n");
    assert_string_equal(answer(s, "SELECT outcome, ended FROM v_runs"), "~|~\n");
    // Another process of the run goes on with it.
    must(store_run_join(s, "r1", now_seconds() - 20, &err));
    add(s, 1);
    assert_string_equal(answer(s, COUNTED), "2|6|2|1\n");
    assert_int_equal(store_run_join(s, "r2", 0, &err), -1);
    says("a.db: there is no run r2");
    store_close(s);
}

static void seconds_of_training_are_told_apart(void **state)
{
    (void)state;
    struct store *s = running(in_folder("a.db"), "r1", "return 1");
    double start = now_seconds();
    store_run_trains(s, 0.5);
    usleep(200000);
    store_run_trains(s, 0);
    double trained = (now_seconds() - start) / 2;
    usleep(100000);
    add(s, 0);
    char *sql = xasprintf("SELECT trained BETWEEN 0.1 AND %.6f FROM run", trained);
    assert_string_equal(answer(s, sql), "1\n");
    free(sql);
    store_close(s);
}

static void a_run_names_each_of_its_devices_once(void **state)
{
    (void)state;
    struct store *s = running(in_folder("a.db"), "r1", "return 1");
    must(store_run_engine(s, "2.11", "MKL", "H100, cuda:10", "550.1", &err));
    must(store_run_engine(s, "2.11", "MKL", "H100, cuda:1", "550.1", &err));
    must(store_run_engine(s, "2.11", "MKL", "H100, cuda:1", "", &err));
    must(store_run_engine(s, "2.11", "MKL", "", "", &err));
    assert_string_equal(answer(s, "SELECT libtorch, blas, device, driver FROM v_runs"),
                        "2.11|MKL|H100, cuda:10, H100, cuda:1|550.1\n");
    store_close(s);
}

static void a_plan_takes_the_place_of_the_former_one_of_its_sweep(void **state)
{
    (void)state;
    const struct store_plan plan[] = { { "c1", "toy", "topk", "none", "t", 2, 5, 50 },
                                       { "c2", "toy", "topk", "none", "t", 4, 5, 50 } };
    struct store *s = running(in_folder("a.db"), "r1", "return 1");
    must(store_plan_set(s, plan, 2, &err));
    must(store_run_end(s, "done", &err));
    store_close(s);
    s = running(in_folder("a.db"), "r2", "return 2");
    must(store_plan_set(s, plan + 1, 1, &err));
    assert_string_equal(answer(s, "SELECT p.sweep, p.id, p.k, p.samples, p.tokens, c.text"
                                  " FROM plan AS p JOIN recipe AS c ON c.n = p.recipe"),
                        "bounds|c2|4|5|50|return 2\n");
    must(store_run_end(s, "done", &err));
    store_close(s);
    store_close(running(in_folder("a.db"), "r3", "return 1"));
    s = opened(in_folder("a.db"), STORE_READ);
    assert_string_equal(answer(s, "SELECT count(*) FROM v_recipes"), "2\n");
    assert_string_equal(answer(s, "SELECT group_concat(text) FROM v_runs JOIN v_recipes"
                                  " USING (recipe_hash)"),
                        "return 1,return 2,return 1\n");
    store_close(s);
}

static void what_was_read_for_a_cell_stands_there_once(void **state)
{
    (void)state;
    const struct store_source v[] = { { "weights", "toy", "aa" }, { "data", "x.jsonl", "bb" } };
    struct store *s = running(in_folder("a.db"), "r1", "return 1");
    must(store_cell_sources(s, "c1", v, 2, &err));
    must(store_cell_sources(s, "c1", v, 1, &err));
    assert_string_equal(answer(s, "SELECT * FROM v_sources ORDER BY kind"),
                        "c1|data|x.jsonl|bb\nc1|weights|toy|aa\n");
    // A run that only began with a cell is one of those that worked on it.
    assert_string_equal(answer(s, "SELECT * FROM v_cell_runs"), "c1|r1|0\n");
    assert_int_equal(store_cell_sources(s, "c9", v, 1, &err), -1);
    says("there is no cell c9");
    store_close(s);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_views_have_the_promised_columns_in_the_promised_order),
        TEST(a_cell_comes_out_as_it_went_in),
        TEST(what_a_router_has_not_is_null),
        TEST(a_sample_and_its_tokens_come_out_as_they_went_in),
        TEST(a_sample_without_logs_has_no_tokens),
        TEST(tokens_without_experts_have_null_there),
        TEST(the_load_adds_up_over_samples_and_has_the_dead_experts),
        TEST(what_was_compared_comes_out_and_entropies_add_up),
        TEST(places_and_kinds_come_out_and_go_with_the_summary),
        TEST(metrics_and_bins_come_out_and_can_be_set_again),
        TEST(a_token_that_is_a_part_of_a_character_is_a_blob),
        TEST(the_text_of_tokens_is_kept_once_for_a_tokenizer),
        TEST(a_training_comes_out_as_it_went_in),
        TEST(losses_of_a_training_that_is_not_there_are_refused),
        TEST(a_cell_is_taken_up_where_it_was_left),
        TEST(a_failed_cell_keeps_its_sentence_until_it_begins_again),
        TEST(a_done_cell_stays_done),
        TEST(a_cell_of_another_shape_is_refused),
        TEST(a_cell_that_is_not_there_is_named),
        TEST(a_document_that_is_there_is_refused_and_changes_nothing),
        TEST(what_is_rolled_back_was_never_there),
        TEST(a_score_can_come_after_its_sample),
        TEST(a_failed_sample_leaves_the_rest_of_the_transaction),
        TEST(what_was_not_committed_is_gone_after_closing),
        TEST(a_query_takes_its_arguments_as_values),
        TEST(a_query_can_only_read),
        TEST(cells_are_chosen_by_any_condition_and_come_in_order),
        TEST(a_condition_that_is_none_gets_one_sentence),
        TEST(no_view_of_one_cell_walks_over_all_cells),
        TEST(a_reader_sees_what_a_writer_commits_and_leaves_no_file_behind),
        TEST(nothing_can_be_written_through_a_reader),
        TEST(a_file_that_is_not_sqlite_is_refused_and_stays),
        TEST(a_database_of_another_program_is_refused_and_stays),
        TEST(a_newer_schema_is_refused_with_both_versions),
        TEST(an_older_schema_can_be_read_and_stays),
        TEST(an_older_schema_is_brought_up_and_keeps_everything),
        TEST(killed_while_it_is_brought_up_a_database_stays_what_it_was),
        TEST(a_damaged_database_is_refused),
        TEST(a_database_that_was_cut_short_is_refused_and_stays),
        TEST(a_database_whose_log_has_its_end_is_not_cut_short),
        TEST(a_new_database_is_whole_without_its_log),
        TEST(a_link_to_nothing_is_filled_where_it_leads),
        TEST(a_sample_that_fails_half_way_leaves_no_half_of_it),
        TEST(what_is_not_there_or_not_a_file_is_named),
        TEST(an_empty_file_is_nothing_to_read_but_can_be_filled),
        TEST(a_read_only_folder_can_be_read_and_refuses_writing),
        TEST(a_file_that_may_not_be_read_is_named),
        TEST(a_name_with_signs_of_a_uri_is_a_plain_name),
        TEST(a_full_disk_takes_the_sample_back),
        TEST(a_full_disk_leaves_an_older_schema_as_it_was),
        TEST(a_second_writer_waits_and_then_says_so),
        TEST(two_programs_that_make_the_same_database_both_succeed),
        TEST(a_note_is_shown_with_its_cell),
        TEST(what_processes_do_is_kept_until_it_is_cleared),
        TEST(processes_that_share_a_turn_wait_as_long_as_it_takes),
        TEST(who_dies_with_the_turn_loses_it),
        TEST(the_lock_stays_while_a_copy_of_its_descriptor_is_open),
        TEST(a_run_counts_what_was_committed_through_its_handle),
        TEST(a_run_that_is_killed_has_what_it_committed),
        TEST(seconds_of_training_are_told_apart),
        TEST(a_run_names_each_of_its_devices_once),
        TEST(a_plan_takes_the_place_of_the_former_one_of_its_sweep),
        TEST(what_was_read_for_a_cell_stands_there_once),
    };
    int rc = cmocka_run_group_tests_name("store", tests, NULL, NULL);
    buf_release(&answer_text);
    return rc;
}
