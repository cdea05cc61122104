/*
 * test_summary.c: the metrics and bins of a cell are those that plain SQL and plain loops over its
 * public rows give. `test_summary FILE [MODELS [DOCUMENTS]]` instead writes a made-up sweep.
 */
#include "fake.h"
#include "skip.h"
#include "stats_ranked.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#define NEAR(a, b, eps) assert_true(fabs((double)(a) - (double)(b)) <= (eps))

static char path[64];
static struct store *db;
static struct buf err = BUF_INIT;

static void must(int rc)
{
    if (rc)
        fail_msg("%s", err.s);
}

static int open_store(void **state)
{
    (void)state;
    strcpy(path, "/tmp/seqtopk-summary-XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    db = store_open(path, STORE_WRITE, &err);
    return db ? 0 : -1;
}

static int close_store(void **state)
{
    (void)state;
    store_close(db);
    buf_release(&err);
    return unlink(path);
}

/* The number in the first row and column; NaN where null or no row. */
static double number(const char *sql)
{
    struct rows *r = store_query(db, &err, sql);
    if (!r)
        fail_msg("%s", err.s);
    double v = rows_next(r, &err) == 1 ? rows_double(r, 0) : NAN;
    rows_close(r);
    return v;
}

static double metric(const char *name, const char *column)
{
    char *sql = xasprintf("SELECT %s FROM v_metrics WHERE metric = '%s'", column, name);
    double v = number(sql);
    free(sql);
    return v;
}

/* There is such a metric (its value may be null). */
static bool has_metric(const char *name)
{
    return !isnan(metric(name, "n"));
}

static void begin_cell(const char *router, int layers, int experts, int k)
{
    enum cell_status was;
    const struct store_cell c = { .id = "c",
                                  .sweep = "s",
                                  .model = "m",
                                  .router = router,
                                  .task = "t",
                                  .device = "cpu",
                                  .dtype = "float32",
                                  .k = k,
                                  .min = -1,
                                  .max = -1,
                                  .layers = layers,
                                  .experts = experts };
    must(store_cell_begin(db, &c, &was, &err));
}

/* A document of `tokens` tokens with 2 layers; token t of document d has these numbers. */
static float entropy_of(int d, int t)
{
    return (float)((d * 7 + t * 5) % 11) / 4;
}

static uint16_t experts_of(int d, int t, int layer)
{
    return (uint16_t)(1 + (d + t * (layer + 2) + ((d * 7 + t * 5) % 11 > 5 ? 2 : 0)) % 4);
}

static void add_document(int d, int tokens)
{
    int32_t ids[64] = { 0 };
    float entropy[64];
    uint16_t experts[128];
    for (int t = 0; t < tokens; t++) {
        ids[t] = (d + t * t) % 6;
        entropy[t] = entropy_of(d, t);
        for (int l = 0; l < 2; l++)
            experts[l * tokens + t] = experts_of(d, t, l);
    }
    struct store_sample p = { .cell_id = "c",
                              .doc = d,
                              .prompt_tokens = 1,
                              .output_tokens = tokens - 1,
                              .nll = 2.0 * tokens + d,
                              .nll_tokens = tokens - 1,
                              .score = NAN,
                              .tokens = tokens,
                              .ids = ids,
                              .entropy = entropy,
                              .experts = experts };
    must(store_sample_add(db, &p, &err));
}

static const int lengths[] = { 5, 9, 4, 40, 7, 12 };

static void fill(void)
{
    begin_cell("seqtopk", 2, 3, 2);
    for (int d = 0; d < (int)ARRAY_LEN(lengths); d++)
        add_document(d, lengths[d]);
    must(cell_summarise(db, "c", &err));
}

static void loss_and_perplexity_are_by_scored_token(void **state)
{
    (void)state;
    double y[6], x[6];
    fill();
    for (int d = 0; d < 6; d++) {
        x[d] = lengths[d] - 1;
        y[d] = 2.0 * lengths[d] + d;
    }
    struct estimate e = ratio_of_sums(y, x, 6);
    NEAR(metric("nll", "value"), e.value, 1e-12);
    NEAR(metric("nll", "stderr"), e.stderr_, 1e-12);
    assert_true(metric("nll", "n") == 71);
    NEAR(metric("ppl", "value"), exp(e.value), 1e-9);
    NEAR(metric("ppl", "stderr"), exp(e.value) * e.stderr_, 1e-9);
    assert_true(metric("documents", "value") == 6);
}

static void means_are_those_of_the_public_rows(void **state)
{
    (void)state;
    fill();
    NEAR(metric("entropy", "value"), number("SELECT avg(entropy) FROM v_tokens"), 1e-12);
    NEAR(metric("experts", "value"), number("SELECT avg(experts) FROM v_tokens"), 1e-12);
    NEAR(metric("experts_share", "value"),
         number("SELECT sum(experts) / (2.0 * count(*))"
                " FROM v_tokens"),
         1e-12);
    NEAR(metric("experts_layer_1", "value"),
         number("SELECT avg(json_extract(experts_by_layer, '$[1]')) FROM v_tokens"), 1e-12);
    assert_true(metric("experts", "n") == 77);
    assert_true(metric("experts", "stderr") > 0);
}

static void first_and_last_are_the_quarters_of_each_sequence(void **state)
{
    (void)state;
    fill();
    // T of a document is its number of rows; a quarter is rounded up.
    const char *first = "SELECT avg(experts) FROM v_tokens AS t WHERE pos <"
                        " ((SELECT count(*) FROM v_tokens AS u WHERE u.doc = t.doc) + 3) / 4";
    const char *last =
        "SELECT avg(experts) FROM v_tokens AS t, (SELECT doc, count(*) AS n FROM"
        " v_tokens GROUP BY doc) AS u WHERE u.doc = t.doc AND pos >= n - (n + 3) / 4";
    NEAR(metric("experts_first", "value"), number(first), 1e-12);
    NEAR(metric("experts_last", "value"), number(last), 1e-12);
    assert_true(metric("experts_first", "n") == 2 + 3 + 1 + 10 + 2 + 3);
    assert_true(metric("experts_last", "n") == metric("experts_first", "n"));
}

static void correlations_are_those_of_the_tokens(void **state)
{
    (void)state;
    float x[128], y[3][128];
    int32_t doc[128];
    size_t n = 0;
    fill();
    for (int d = 0; d < 6; d++)
        for (int t = 0; t < lengths[d]; t++, n++) {
            x[n] = entropy_of(d, t);
            y[1][n] = experts_of(d, t, 0);
            y[2][n] = experts_of(d, t, 1);
            y[0][n] = (y[1][n] + y[2][n]) / 2;
            doc[n] = d;
        }
    static const char *const names[] = { "spearman", "spearman_layer_0", "spearman_layer_1" };
    struct ranked *r = ranked_new(x, doc, n);
    for (int i = 0; i < 3; i++) {
        struct estimate e = ranked_spearman(r, y[i]);
        NEAR(metric(names[i], "value"), e.value, 1e-12);
        NEAR(metric(names[i], "stderr"), e.stderr_, 1e-12);
        assert_true(metric(names[i], "n") == (double)n);
    }
    ranked_free(r);
}

static void bins_cover_all_tokens_of_each_layer(void **state)
{
    (void)state;
    fill();
    assert_true(number("SELECT count(DISTINCT coalesce(layer, -1)) FROM v_entropy_bins") == 3);
    assert_true(number("SELECT sum(tokens) FROM v_entropy_bins WHERE layer IS NULL") == 77);
    assert_true(number("SELECT sum(tokens) FROM v_entropy_bins WHERE layer = 1") == 77);
    NEAR(number("SELECT sum(tokens * experts_mean) / 77 FROM v_entropy_bins WHERE layer IS NULL"),
         metric("experts", "value"), 1e-12);
    // Each bin again from the tokens between its ends.
    NEAR(number("SELECT max(abs(experts_mean - (SELECT avg(experts) FROM v_tokens AS t WHERE"
                " t.entropy BETWEEN entropy_lo AND entropy_hi))) FROM v_entropy_bins"
                " WHERE layer IS NULL"),
         0, 1e-12);
}

static void the_histogram_counts_each_token_and_layer(void **state)
{
    (void)state;
    fill();
    assert_true(number("SELECT sum(tokens) FROM histogram WHERE layer = 0") == 77);
    assert_true(number("SELECT tokens FROM histogram WHERE layer = 1 AND experts = 3") ==
                number("SELECT count(*) FROM v_tokens WHERE experts_by_layer LIKE '[_,3]'"));
    assert_true(number("SELECT count(*) FROM histogram WHERE tokens = 0") == 0);
}

static void each_token_has_what_its_occurrences_drew(void **state)
{
    (void)state;
    fill();
    must(cell_summarise(db, "c", &err));
    assert_true(number("SELECT count(*) FROM v_token_experts") > 1);
    // Both ways round: what plain SQL makes of the tokens, and no row beside it.
    const char *rows = "SELECT token_id, count(*) AS n, round(avg(experts), 9) AS e,"
                       " round(avg(entropy), 5) AS h FROM v_tokens GROUP BY token_id";
    const char *ours = "SELECT token_id, tokens, round(experts, 9), round(entropy, 5)"
                       " FROM v_token_experts";
    char *sql = xasprintf("SELECT (SELECT count(*) FROM (SELECT * FROM (%s) EXCEPT %s)) +"
                          " (SELECT count(*) FROM (%s EXCEPT SELECT * FROM (%s)))",
                          rows, ours, ours, rows);
    assert_true(number(sql) == 0);
    free(sql);
}

static void bins_of_positions_are_those_of_the_tokens(void **state)
{
    (void)state;
    fill();
    // All documents are longer than 16 together, and none is longer than 64.
    assert_true(number("SELECT count(*) FROM v_position_bins") ==
                number("SELECT count(DISTINCT max(0, pos >= 16) + (pos >= 32)) FROM v_tokens"));
    assert_true(number("SELECT sum(tokens) FROM v_position_bins") == 77);
    static const char of_bin[] = " FROM v_tokens AS t WHERE t.pos >= b.pos_lo AND t.pos < b.pos_hi";
    static const char *const same[][2] = {
        { "tokens", "count(*)" },
        { "experts_mean", "avg(experts)" },
        { "differ", "avg((json_extract(experts_by_layer, '$[0]') <> 2) +"
                    " (json_extract(experts_by_layer, '$[1]') <> 2)) / 2.0" },
    };
    for (size_t i = 0; i < ARRAY_LEN(same); i++) {
        char *sql = xasprintf("SELECT max(abs(%s - (SELECT %s%s))) FROM v_position_bins AS b",
                              same[i][0], same[i][1], of_bin);
        NEAR(number(sql), 0, 1e-12);
        free(sql);
    }
    NEAR(number("SELECT max(abs(used_share - (SELECT avg(experts) / 2 FROM v_tokens AS t WHERE"
                " t.pos < b.pos_hi))) FROM v_position_bins AS b"),
         0, 1e-12);
    NEAR(metric("differ", "value"), number("SELECT sum(differ * tokens) / 77 FROM v_position_bins"),
         1e-12);
    assert_true(number("SELECT min(experts_se) FROM v_position_bins WHERE bin = 0") > 0);
}

static void losses_of_a_prompt_count_in_no_bin(void **state)
{
    (void)state;
    const float nll[] = { NAN, 8, 1, 2, 3 };
    const float entropy[] = { 1, 1, 1, 1, 1 };
    const int32_t ids[] = { 0, 0, 0, 0, 0 };
    const uint16_t experts[] = { 1, 2, 1, 2, 1 };
    begin_cell("r", 1, 4, 2);
    struct store_sample p = { .cell_id = "c",
                              .prompt_tokens = 2,
                              .nll = 6,
                              .nll_tokens = 3,
                              .score = NAN,
                              .tokens = 5,
                              .ids = ids,
                              .token_nll = nll,
                              .entropy = entropy,
                              .experts = experts };
    must(store_sample_add(db, &p, &err));
    p.doc = 2;
    p.prompt_tokens = 4;
    must(store_sample_add(db, &p, &err));
    must(cell_summarise(db, "c", &err));
    assert_true(number("SELECT scored FROM v_position_bins") == 4);
    NEAR(number("SELECT nll_mean FROM v_position_bins"), (1 + 2 + 3 + 3) / 4.0, 1e-12);
    NEAR(metric("differ", "value"), 0.6, 1e-12);
}

static void kinds_draw_what_their_tokens_draw(void **state)
{
    (void)state;
    fill();
    must(store_token_text(db, "c", 0, " the", 4, &err));
    must(store_token_text(db, "c", 1, "7", 1, &err));
    must(store_token_text(db, "c", 2, "42", 2, &err));
    must(store_token_text(db, "c", 3, "\xff", 1, &err)); // 4 and 5 have none
    must(cell_summarise(db, "c", &err));
    assert_true(number("SELECT count(*) FROM v_token_kinds") == 3);
    assert_true(number("SELECT tokens FROM v_token_kinds WHERE kind = 'digit'") ==
                number("SELECT count(*) FROM v_tokens WHERE token_id IN (1, 2)"));
    NEAR(number("SELECT experts_mean FROM v_token_kinds WHERE kind = 'digit'"),
         number("SELECT avg(experts) FROM v_tokens WHERE token_id IN (1, 2)"), 1e-12);
    NEAR(number("SELECT entropy_mean FROM v_token_kinds WHERE kind = 'function'"),
         number("SELECT avg(entropy) FROM v_tokens WHERE token_id = 0"), 1e-12);
    assert_true(number("SELECT experts_se FROM v_token_kinds WHERE kind = 'other'") > 0);
}

static void correlation_is_told_within_documents_and_between(void **state)
{
    (void)state;
    // Within each of three documents experts rise with entropy; between them they fall.
    begin_cell("r", 1, 64, 2);
    for (int d = 0; d < 3; d++) {
        float entropy[4];
        uint16_t experts[4];
        const int32_t ids[4] = { 0 };
        for (int t = 0; t < 4; t++) {
            entropy[t] = (float)(10 * d + t);
            experts[t] = (uint16_t)(30 - 10 * d + t);
        }
        struct store_sample p = { .cell_id = "c",
                                  .doc = d,
                                  .prompt_tokens = 1,
                                  .score = NAN,
                                  .tokens = 4,
                                  .ids = ids,
                                  .entropy = entropy,
                                  .experts = experts };
        must(store_sample_add(db, &p, &err));
    }
    must(cell_summarise(db, "c", &err));
    NEAR(metric("spearman_within", "value"), 1, 1e-12);
    assert_true(metric("spearman_within", "n") == 3);
    NEAR(metric("spearman_between", "value"), -1, 1e-12);
    assert_true(metric("spearman", "value") < 0);
}

static void overlap_is_told_by_layer_and_in_all(void **state)
{
    (void)state;
    static const char *const others[] = { "topk", "seqtopk_global" };
    begin_cell("r", 2, 4, 2);
    for (int d = 0; d < 2; d++) {
        const int64_t overlap[] = { 1, 2, 3, 4, 4, 4, 0, 5, 5, 1, 1, 1 + d };
        struct store_sample p = { .cell_id = "c",
                                  .doc = d,
                                  .score = NAN,
                                  .others = others,
                                  .nothers = 2,
                                  .overlap = overlap };
        must(store_sample_add(db, &p, &err));
    }
    must(cell_summarise(db, "c", &err));
    NEAR(metric("overlap_topk", "value"), 5.0 / 8, 1e-12);
    NEAR(metric("overlap_topk_layer_0", "value"), 0.25, 1e-12);
    NEAR(metric("overlap_topk_layer_1", "value"), 1, 1e-12);
    NEAR(metric("overlap_seqtopk_global_layer_1", "value"), 2.0 / 3, 1e-12);
    assert_true(metric("overlap_topk", "n") == 16);
}

static void the_load_gives_its_entropy_and_the_dead(void **state)
{
    (void)state;
    const int32_t load[] = { 2, 2, 0, /* layer 1 */ 1, 1, 1 };
    begin_cell("topk", 2, 3, 1);
    struct store_sample p = { .cell_id = "c", .nll = 1, .nll_tokens = 1, .load_tokens = load };
    must(store_sample_add(db, &p, &err));
    must(cell_summarise(db, "c", &err));
    NEAR(metric("load_entropy_layer_0", "value"), log(2) / log(3), 1e-12);
    NEAR(metric("load_entropy_layer_1", "value"), 1, 1e-12);
    NEAR(metric("load_entropy", "value"), (1 + log(2) / log(3)) / 2, 1e-12);
    NEAR(metric("dead_experts", "value"), 1.0 / 6, 1e-12);
    assert_true(metric("load_entropy", "n") == 7);
    // Its one token was not logged: 7 pairs in 2 layers, without an error by document.
    assert_true(metric("experts", "value") == 3.5 && metric("experts_share", "value") == 3.5);
    assert_true(metric("experts", "n") == 1 && isnan(metric("experts", "stderr")));
    assert_false(has_metric("experts_first"));
}

static void logged_tokens_say_what_was_used_and_the_load_does_not(void **state)
{
    (void)state;
    const int32_t ids[] = { 1, 2 }, load[] = { 9, 9, 9 };
    const float entropy[] = { 1, 2 };
    const uint16_t experts[] = { 1, 2 };
    begin_cell("seqtopk", 1, 3, 2);
    struct store_sample p = { .cell_id = "c",
                              .nll = 1,
                              .nll_tokens = 1,
                              .tokens = 2,
                              .ids = ids,
                              .entropy = entropy,
                              .experts = experts,
                              .load_tokens = load };
    must(store_sample_add(db, &p, &err));
    must(cell_summarise(db, "c", &err));
    assert_true(metric("experts", "value") == 1.5 && metric("experts_share", "value") == 0.75);
}

static void what_was_not_logged_is_absent(void **state)
{
    (void)state;
    begin_cell("topk", 2, 3, 1);
    struct store_sample p = { .cell_id = "c", .nll = 1, .nll_tokens = 1 };
    must(store_sample_add(db, &p, &err));
    must(cell_summarise(db, "c", &err));
    assert_true(number("SELECT count(*) FROM v_metrics") == 3); // nll, ppl, documents
    assert_true(number("SELECT count(*) FROM v_entropy_bins") == 0);
    assert_false(has_metric("experts") || has_metric("spearman") || has_metric("load_entropy"));
}

static void a_router_that_never_varies_has_no_correlation_but_its_row(void **state)
{
    (void)state;
    const int32_t ids[] = { 1, 2, 3 };
    const float entropy[] = { 1, 2, 3 };
    const uint16_t experts[] = { 2, 2, 2 };
    begin_cell("topk", 1, 3, 2);
    struct store_sample p = { .cell_id = "c",
                              .nll = 1,
                              .nll_tokens = 2,
                              .tokens = 3,
                              .ids = ids,
                              .entropy = entropy,
                              .experts = experts };
    must(store_sample_add(db, &p, &err));
    must(cell_summarise(db, "c", &err));
    assert_true(has_metric("spearman") && isnan(metric("spearman", "value")));
    assert_true(metric("experts_share", "value") == 1);
    assert_true(isnan(metric("experts", "stderr"))); // one document
}

static void samples_with_an_error_do_not_count(void **state)
{
    (void)state;
    begin_cell("topk", 1, 1, 1);
    struct store_sample good = { .cell_id = "c", .nll = 6, .nll_tokens = 3 };
    struct store_sample bad = {
        .cell_id = "c", .doc = 1, .nll = 99, .nll_tokens = 1, .error = "x"
    };
    must(store_sample_add(db, &good, &err));
    must(store_sample_add(db, &bad, &err));
    must(cell_summarise(db, "c", &err));
    assert_true(metric("nll", "value") == 2 && metric("documents", "value") == 1);
}

static void positions_without_entropy_are_left_to_the_other_metrics(void **state)
{
    (void)state;
    const int32_t ids[] = { 1, 2, 3 };
    const float entropy[] = { 1, NAN, 3 };
    const uint16_t experts[] = { 1, 2, 3 };
    begin_cell("seqtopk", 1, 3, 2);
    struct store_sample p = { .cell_id = "c",
                              .nll = 1,
                              .nll_tokens = 2,
                              .tokens = 3,
                              .ids = ids,
                              .entropy = entropy,
                              .experts = experts };
    must(store_sample_add(db, &p, &err));
    must(cell_summarise(db, "c", &err));
    assert_true(metric("entropy", "n") == 2 && metric("entropy", "value") == 2);
    assert_true(metric("experts", "n") == 3 && metric("spearman", "n") == 2);
}

/* A text that was written and scored. */
static void add_output(int doc, int tokens, const char *stop, double score, const char *extracted)
{
    struct store_sample p = { .cell_id = "c",
                              .doc = doc,
                              .prompt_tokens = 3,
                              .output_tokens = tokens,
                              .stop_reason = stop,
                              .output = "x",
                              .extracted = extracted,
                              .nll = NAN,
                              .score = score };
    must(store_sample_add(db, &p, &err));
}

static void scores_are_means_over_texts(void **state)
{
    (void)state;
    begin_cell("topk", 1, 3, 2);
    add_output(
        0, 10, "stop", 1,
        "{\"a\": {\"score\": 1, \"found\": \"x\"}, \"b:j\": {\"score\": 0.5, \"reply\": \"5\"}}");
    add_output(1, 20, "length", 0,
               "{\"a\": {\"score\": 0, \"found\": null}, \"b:j\": {\"score\": 0, \"reply\": \"?\", "
               "\"unparsed\": true}}");
    add_output(2, 30, "context", 0,
               "{\"a\": {\"score\": 0, \"found\": \"y\"}, \"b:j\": {\"failure\": \"HTTP 500\"}}");
    add_output(4, 40, "eos", 1, "{\"a\": {\"score\": 1, \"found\": \"x\"}}");
    must(cell_summarise(db, "c", &err));
    assert_true(metric("score", "value") == 0.5 && metric("a", "value") == 0.5);
    // The sample standard deviation over sqrt(n).
    NEAR(metric("score", "stderr"), sqrt(1.0 / 3) / 2, 1e-12);
    assert_true(metric("score", "n") == 4 && metric("no_answer", "value") == 0.25);
    assert_true(metric("a_no_answer", "value") == 0.25 && !has_metric("b:j_no_answer"));
    assert_true(metric("b:j", "value") == 0.25 && metric("b:j", "n") == 2);
    assert_true(metric("b:j_unparsed", "value") == 0.5 && metric("b:j_unparsed", "n") == 2);
    assert_true(metric("b:j_failed", "value") == 1 && metric("b:j_failed", "n") == 1);
    assert_true(metric("truncated", "value") == 0.5 && metric("output_tokens", "value") == 25);
    assert_false(has_metric("nll"));
    assert_true(metric("documents", "value") == 4);
}

static void what_is_no_verdict_is_refused(void **state)
{
    (void)state;
    begin_cell("topk", 1, 3, 2);
    add_output(0, 10, "stop", 1, "[1]");
    assert_int_equal(cell_summarise(db, "c", &err), -1);
    assert_non_null(strstr(err.s, "extracted"));
}

static void summarising_again_changes_nothing(void **state)
{
    (void)state;
    fill();
    double metrics = number("SELECT count(*) FROM v_metrics");
    double bins = number("SELECT sum(experts_mean) + count(*) FROM v_entropy_bins");
    must(store_begin(db, &err));
    must(cell_summarise(db, "c", &err)); // in a transaction that is open
    must(store_commit(db, &err));
    assert_true(number("SELECT count(*) FROM v_metrics") == metrics);
    assert_true(number("SELECT sum(experts_mean) + count(*) FROM v_entropy_bins") == bins);
}

static void a_metric_that_is_no_more_goes(void **state)
{
    (void)state;
    begin_cell("topk", 1, 3, 2);
    add_output(0, 10, "stop", NAN, "{\"b:j\": {\"failure\": \"HTTP 500\", \"again\": true}}");
    must(cell_summarise(db, "c", &err));
    assert_true(metric("b:j_failed", "value") == 1 && !has_metric("b:j"));
    must(
        store_sample_score(db, "c", 0, 0.5, "{\"b:j\": {\"score\": 0.5, \"reply\": \"5\"}}", &err));
    must(cell_summarise(db, "c", &err));
    assert_true(metric("b:j", "value") == 0.5 && !has_metric("b:j_failed"));
}

static void a_cell_that_is_not_there_is_named(void **state)
{
    (void)state;
    assert_int_equal(cell_summarise(db, "zz", &err), -1);
    assert_non_null(strstr(err.s, "there is no cell zz"));
}

/* Spoils the database as its own program would not; false where there is no sqlite3 for it. */
static bool run_sql(const char *sql)
{
    char *line = xasprintf("sqlite3 %s \"%s\"", path, sql);
    bool ok = system(line) == 0;
    free(line);
    return ok;
}

static void rows_that_make_no_sense_are_refused_by_place(void **state)
{
    (void)state;
    static const char *const spoilt[][2] = {
        { "UPDATE token SET by_layer = '1,2,3' WHERE doc = 2 AND pos = 1",
          "document 2, position 1: '1,2,3' is not a number for each of 2 layers" },
        { "UPDATE token SET by_layer = '1,' WHERE doc = 2 AND pos = 1", "'1,' is not a number" },
        { "UPDATE token SET by_layer = '99999,1' WHERE doc = 2 AND pos = 1", "'99999,1' is not" },
        { "UPDATE token SET by_layer = NULL WHERE doc = 2 AND pos = 1",
          "document 2 has experts at some positions only" },
        { "UPDATE token SET by_layer = '1,1'; UPDATE token SET doc = 1 << 40 WHERE doc = 5",
          "position" },
        { "UPDATE token SET doc = 5 WHERE doc > 5; INSERT INTO expert_load VALUES (1, 7, 0, 1, 1)",
          "load for expert 0 of layer 7" },
        { "UPDATE cell SET layers = -4", "has -4 layers of 3 experts" },
    };
    fill();
    for (size_t i = 0; i < ARRAY_LEN(spoilt); i++) {
        if (!run_sql(spoilt[i][0]))
            SKIP("no sqlite3 to spoil the database with");
        assert_int_equal(cell_summarise(db, "c", &err), -1);
        if (!strstr(err.s, spoilt[i][1]) || !strstr(err.s, path))
            fail_msg("'%s' does not say '%s'", err.s, spoilt[i][1]);
    }
}

static void a_made_up_sweep_is_whole(void **state)
{
    (void)state;
    must(fake_sweep(path, 1, 3, &err));
    assert_true(number("SELECT count(*) FROM v_cells WHERE status = 'done'") == 42);
    // The budget of `global` is met exactly in every layer.
    assert_true(number("SELECT count(*) FROM v_cells JOIN v_metrics USING (cell_id) WHERE"
                       " mode = 'global' AND metric LIKE 'experts_layer_%' AND value <> k") == 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_store, close_store)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(loss_and_perplexity_are_by_scored_token),
        TEST(means_are_those_of_the_public_rows),
        TEST(first_and_last_are_the_quarters_of_each_sequence),
        TEST(correlations_are_those_of_the_tokens),
        TEST(bins_cover_all_tokens_of_each_layer),
        TEST(the_histogram_counts_each_token_and_layer),
        TEST(each_token_has_what_its_occurrences_drew),
        TEST(bins_of_positions_are_those_of_the_tokens),
        TEST(losses_of_a_prompt_count_in_no_bin),
        TEST(kinds_draw_what_their_tokens_draw),
        TEST(correlation_is_told_within_documents_and_between),
        TEST(overlap_is_told_by_layer_and_in_all),
        TEST(the_load_gives_its_entropy_and_the_dead),
        TEST(logged_tokens_say_what_was_used_and_the_load_does_not),
        TEST(what_was_not_logged_is_absent),
        TEST(a_router_that_never_varies_has_no_correlation_but_its_row),
        TEST(samples_with_an_error_do_not_count),
        TEST(positions_without_entropy_are_left_to_the_other_metrics),
        TEST(scores_are_means_over_texts),
        TEST(what_is_no_verdict_is_refused),
        TEST(summarising_again_changes_nothing),
        TEST(a_metric_that_is_no_more_goes),
        TEST(a_cell_that_is_not_there_is_named),
        TEST(rows_that_make_no_sense_are_refused_by_place),
        TEST(a_made_up_sweep_is_whole),
    };
    if (argc > 1) {
        if (fake_sweep(argv[1], argc > 2 ? atoi(argv[2]) : 1, argc > 3 ? atoi(argv[3]) : 12, &err))
            die(1, "%s", err.s);
        return 0;
    }
    return cmocka_run_group_tests_name("summary", tests, NULL, NULL);
}
