/*
 * test_measure.c: the golden cases of the three GSM8K protocols, each as the measure that an eval
 * says it by; what a measure may lack; what a text says again; and verdicts as the database holds them.
 */
#include "score/judge.h"
#include "score/measure.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct buf err, out;

static int forget(void **state)
{
    (void)state;
    buf_release(&err);
    buf_release(&out);
    return 0;
}

/* ---- measures ---- */

/* A measure in constants; lists end with a NULL. */
struct spec {
    const struct scorer *scorer; /* NULL: exact */
    const char *find;
    int take, otherwise;
    bool strip, ignore_case;
    const char *reference, *parse;
    const char *before[4][2], *normalise[6][2];
};

static char *copy(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

static void add_rewrites(struct rewrites *to, const char *const (*from)[2])
{
    for (; (*from)[0]; from++) {
        ARRAY_GROW(to->v, to->cap, to->len + 1);
        to->v[to->len++] = (struct rewrite){ copy((*from)[0]), copy((*from)[1]), NULL };
    }
}

static struct measure measure_of(const struct spec *s)
{
    struct measure m = { .name = xstrdup("it"),
                         .scorer = s->scorer ? s->scorer : &scorer_exact,
                         .find = copy(s->find),
                         .take = s->take,
                         .otherwise = s->otherwise,
                         .strip = s->strip,
                         .ignore_case = s->ignore_case,
                         .reference = copy(s->reference),
                         .parse = copy(s->parse) };
    add_rewrites(&m.before, s->before);
    add_rewrites(&m.normalise, s->normalise);
    return m;
}

static struct measure prepared(const struct spec *s)
{
    struct measure m = measure_of(s);
    if (measure_prepare(&m, &err) != 0)
        fail_msg("%s", err.s);
    return m;
}

/* ---- the protocols ---- */

#define LMEVAL_NORMALISE                                   \
    {                                                      \
        { ",", "" }, { "\\$", "" }, { "(?s).*#### ", "" }, \
        {                                                  \
            "\\.$", ""                                     \
        }                                                  \
    }

static const struct spec strict = { .find = "#### (-?[0-9.,]+)",
                                    .strip = true,
                                    .reference = "{answer}",
                                    .normalise = LMEVAL_NORMALISE,
                                    .ignore_case = true };
static const struct spec flexible = { .find = "(-?[$0-9.,]{2,})|(-?[0-9]+)",
                                      .take = TAKE_LAST,
                                      .strip = true,
                                      .reference = "{answer}",
                                      .normalise = LMEVAL_NORMALISE,
                                      .ignore_case = true };
/* The unescaped dot at its end is the protocol's own. */
static const struct spec cot = { .find = "The answer is (-?[0-9.,]+).",
                                 .strip = true,
                                 .reference = "{answer}",
                                 .normalise = LMEVAL_NORMALISE,
                                 .ignore_case = true };
/* Python's string.punctuation goes away on both sides. */
static const struct spec densemixer = { .before = { { "(\\d),(\\d)", "$1$2" } },
                                        .find = "[-+]?\\d*\\.\\d+|\\d+",
                                        .take = TAKE_LAST,
                                        .otherwise = OTHERWISE_WHOLE,
                                        .reference = "{answer}",
                                        .normalise = { { "(?s).*#### ", "" },
                                                       { "[!-/:-@\\[-`{-~]", "" } },
                                        .ignore_case = true };

/* `compared` NULL: no answer. The reference is that of a document of GSM8K. */
struct golden_case {
    const struct spec *spec;
    const char *output, *found, *compared, *reference;
    double score;
};

static void check_case(const struct golden_case *c)
{
    struct measure m = prepared(c->spec);
    struct verdict v;
    json_t *doc = json_object();
    char *answer = xasprintf("She sold 2 of <<9*2=18>>18.\n#### %s", c->reference);
    json_object_set_new(doc, "answer", json_string(answer));
    if (measures_score(&m, 1, NULL, doc, c->output, &v, &err) != 0)
        fail_msg("%s", err.s);
    if (!c->found != !v.found || (v.found && strcmp(v.found, c->found) != 0))
        fail_msg("\"%s\": found %s, not %s", c->output, v.found ? v.found : "nothing",
                 c->found ? c->found : "nothing");
    if (c->compared)
        assert_string_equal(v.compared, c->compared);
    else
        assert_null(v.compared);
    if (v.score != c->score)
        fail_msg("\"%s\": score %g, not %g", c->output, v.score, c->score);
    verdict_release(&v);
    measure_release(&m);
    json_decref(doc);
    free(answer);
}

static void lmeval_s_two_extractors_meet_the_golden_cases(void **state)
{
    (void)state;
    const struct golden_case cases[] = {
        { &strict, "#### $18", NULL, NULL, "18", 0 },
        { &flexible, "#### $18", "$18", "18", "18", 1 },
        { &strict, "#### 5\nor\n#### 6", "5", "5", "5", 1 },
        { &flexible, "#### 5\nor\n#### 6", "6", "6", "5", 0 },
        { &flexible, "It is 18. So it goes...", "...", "..", "18", 0 },
        { &flexible, "3-5", "-5", "-5", "5", 0 },
        { &flexible, "total 1,000,000!", "1,000,000", "1000000", "1,000,000", 1 },
        { &flexible, "2.5.", "2.5.", "2.5", "2.5", 1 },
        { &strict, "#### 18.00", "18.00", "18.00", "18", 0 },
        { &strict, "so\n#### 1,018.", "1,018.", "1018", "1,018", 1 },
        { &strict, "#### -7", "-7", "-7", "-7", 1 },
        { &strict, "The answer is 18", NULL, NULL, "18", 0 },
        { &strict, "", NULL, NULL, "18", 0 },
        { &flexible, "none at all", NULL, NULL, "18", 0 },
        { &flexible, "a single 7 is found", "7", "7", "7", 1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_case(&cases[i]);
}

static void the_chain_of_thought_extractor_backtracks_as_python_s(void **state)
{
    (void)state;
    const struct golden_case cases[] = {
        { &cot, "The answer is 18", "1", "1", "18", 0 },
        { &cot, "The answer is 18\n\nQ: next", "1", "1", "18", 0 },
        { &cot, "The answer is 8", NULL, NULL, "8", 0 },
        { &cot, "The answer is 8\n", NULL, NULL, "8", 0 },
        { &cot, "The answer is 18.", "18", "18", "18", 1 },
        { &cot, "The answer is 18. Done", "18.", "18", "18", 1 },
        { &cot, "The answer is 1,800 eggs", "1,800", "1800", "1800", 1 },
        { &cot, "The answer is 5. The answer is 6.", "5.", "5", "5", 1 },
        { &cot, "The answer is $18.", NULL, NULL, "18", 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_case(&cases[i]);
}

static void densemixer_s_extractor_loses_signs_and_dots(void **state)
{
    (void)state;
    const struct golden_case cases[] = {
        { &densemixer, "It is 18.", "18", "18", "18", 1 },
        { &densemixer, "It is 18.0", "18.0", "180", "18", 0 },
        { &densemixer, "It is 18.0", "18.0", "180", "180", 1 },
        { &densemixer, "It is -5", "5", "5", "-5", 1 },
        { &densemixer, "It is -5.0", "-5.0", "50", "50", 1 },
        { &densemixer, "1,234,567 in all", "1234567", "1234567", "1,234,567", 1 },
        { &densemixer, "3 then 4 then .5", ".5", "5", "5", 1 },
        { &densemixer, "None, I Think!", "None, I Think!", "none i think", "18", 0 },
        { &densemixer, "", "", "", "18", 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_case(&cases[i]);
}

/* ---- finding ---- */

static int find(const struct spec *s, const char *output)
{
    struct measure m = prepared(s);
    buf_reset(&out);
    buf_adds(&out, ">");
    int rc = measure_find(&m, output, &out, &err);
    measure_release(&m);
    return rc;
}

static void white_space_at_the_ends_goes_where_it_is_said(void **state)
{
    (void)state;
    const struct spec keep = { .reference = "{a}" }, strip = { .reference = "{a}", .strip = true };
    const struct spec group = { .reference = "{a}", .strip = true, .find = "x(.*)y" };
    assert_int_equal(find(&keep, " a\n"), 1);
    assert_string_equal(out.s, "> a\n");
    assert_int_equal(find(&strip, "\xe3\x80\x80 a b\n"), 1);
    assert_string_equal(out.s, ">a b");
    assert_int_equal(find(&strip, " \n "), 1);
    assert_string_equal(out.s, ">");
    assert_int_equal(find(&group, "x  7 y"), 1);
    assert_string_equal(out.s, ">7");
}

static void rewrites_come_in_their_order_before_the_search(void **state)
{
    (void)state;
    const struct spec s = { .reference = "{a}",
                            .before = { { "a", "b" }, { "b+", "<$$>" }, { "\\A\\z", "None" } },
                            .find = "<.*" };
    assert_int_equal(find(&s, "xaby"), 1);
    assert_string_equal(out.s, "><$>y");
    assert_int_equal(find(&s, "xy"), 0);
    assert_string_equal(out.s, ">");
    const struct spec none = { .reference = "{a}", .before = { { "\\A\\s*\\z", "None" } } };
    assert_int_equal(find(&none, " \n"), 1);
    assert_string_equal(out.s, ">None");
}

static void a_search_without_end_leaves_no_score_and_says_so(void **state)
{
    (void)state;
    const char *text = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab";
    const struct spec specs[] = { { .reference = "{a}", .find = "^(a+)+$" },
                                  { .reference = "{a}", .before = { { "^(a+)+$", "" } } },
                                  { .reference = "{a}", .normalise = { { "^(a+)+$", "" } } } };
    json_t *doc = json_pack("{s:s}", "a", "x");
    for (size_t i = 0; i < ARRAY_LEN(specs); i++) {
        struct measure m = prepared(&specs[i]);
        struct verdict v;
        assert_int_equal(measures_score(&m, 1, NULL, doc, text, &v, &err), 0);
        assert_true(isnan(v.score));
        assert_non_null(strstr(v.failure, "gave up"));
        buf_reset(&out);
        verdicts_json(&m, &v, 1, NULL, &out);
        assert_non_null(strstr(out.s, "\"failure\": \"the regular expression"));
        assert_null(strstr(out.s, "score"));
        // Whether there is an answer is known where the search came to its end, and only there.
        assert_null(strstr(out.s, "found"));
        verdict_release(&v);
        measure_release(&m);
    }
    json_decref(doc);
}

/* ---- what is refused ---- */

static const char *refusal(const struct spec *s)
{
    struct measure m = measure_of(s);
    assert_int_equal(measure_prepare(&m, &err), -1);
    measure_release(&m);
    return err.s;
}

static void a_measure_that_lacks_something_is_refused(void **state)
{
    (void)state;
    assert_string_equal(refusal(&(struct spec){ .scorer = &scorer_rouge_l }),
                        "rouge_l needs `reference`");
    assert_string_equal(refusal(&(struct spec){ .scorer = &scorer_exact }),
                        "exact needs `reference`");
    assert_string_equal(refusal(&(struct spec){ .scorer = &scorer_chrf }),
                        "chrf needs `reference`");
    assert_string_equal(refusal(&(struct spec){ .scorer = &scorer_program }),
                        "program needs `program`");
}

static void a_bad_pattern_is_refused_by_its_key(void **state)
{
    (void)state;
    assert_string_equal(refusal(&(struct spec){ .reference = "{a}", .find = "(" }),
                        "`find`: \"(\" is no regular expression: missing closing parenthesis, at "
                        "byte 1");
    assert_string_equal(refusal(&(struct spec){ .reference = "{a}", .before = { { "(", "" } } }),
                        "`before`: \"(\" is no regular expression: missing closing parenthesis, at "
                        "byte 1");
    assert_string_equal(
        refusal(&(struct spec){ .reference = "{a}", .normalise = { { ",", "" }, { "a", "$1" } } }),
        "`normalise`: \"$1\": \"a\" has no group 1");
    assert_string_equal(refusal(&(struct spec){ .reference = "{a}", .parse = "\\d+" }),
                        "`parse`: \"\\d+\" has no group; the score is what group 1 matches");
}

/* {output} in a reference is a field like any other: what instruction data call the answer. */
static void a_reference_knows_nothing_of_the_output(void **state)
{
    (void)state;
    const struct scorer *const with[] = { &scorer_exact, &scorer_rouge_l, &scorer_chrf };
    json_t *doc = json_pack("{s:s, s:s}", "instruction", "Say it.", "output", "the true answer");
    json_t *none = json_pack("{s:s}", "instruction", "Say it.");
    for (size_t i = 0; i < ARRAY_LEN(with); i++) {
        struct measure m = prepared(&(struct spec){ .scorer = with[i], .reference = "{output}" });
        struct verdict v;
        assert_int_equal(measures_score(&m, 1, NULL, doc, "the true answer", &v, &err), 0);
        assert_true(v.score == 1);
        verdict_release(&v);
        assert_int_equal(measures_score(&m, 1, NULL, doc, "zzz", &v, &err), 0);
        assert_true(v.score == 0);
        verdict_release(&v);
        assert_int_equal(measures_score(&m, 1, NULL, none, "zzz", &v, &err), -1);
        assert_string_equal(err.s, "it: no field 'output'; there is instruction");
        verdict_release(&v);
        measure_release(&m);
    }
    json_decref(doc);
    json_decref(none);
}

static void a_field_that_the_document_has_not_is_named(void **state)
{
    (void)state;
    struct measure m = prepared(&(struct spec){ .reference = "{answer}" });
    struct verdict v;
    json_t *doc = json_pack("{s:s}", "text", "x");
    assert_int_equal(measures_score(&m, 1, NULL, doc, "y", &v, &err), -1);
    assert_string_equal(err.s, "it: no field 'answer'; there is text");
    verdict_release(&v);
    measure_release(&m);
    json_decref(doc);
}

static void scorers_are_found_by_name(void **state)
{
    (void)state;
    assert_ptr_equal(scorer_find("exact"), &scorer_exact);
    assert_ptr_equal(scorer_find("judge"), &scorer_judge);
    assert_null(scorer_find("Exact"));
    for (const struct scorer *const *s = scorers; *s; s++) {
        assert_ptr_equal(scorer_find((*s)->name), *s);
        assert_true((*s)->needs && (*s)->score && *(*s)->help);
    }
}

/* ---- verdicts ---- */

static int score_third(const struct measure *m, const struct tools *tools, const json_t *doc,
                       struct verdict *v, struct buf *why)
{
    (void)m, (void)tools, (void)doc, (void)why;
    v->score = 0.25;
    v->result = xstrdup(v->found);
    return 0;
}

static const char *const needs_nothing[] = { NULL };
static const struct scorer with_code = {
    .name = "with_code", .needs = needs_nothing, .runs_code = true, .score = score_third
};
static const struct scorer with_judge = {
    .name = "with_judge", .needs = needs_nothing, .asks_judge = true, .score = score_third
};
static const struct scorer plain = { .name = "plain",
                                     .needs = needs_nothing,
                                     .score = score_third };

static void what_has_no_tool_is_not_scored(void **state)
{
    (void)state;
    struct measure m[2] = { prepared(&(struct spec){ .scorer = &with_code, .find = "x" }),
                            prepared(&(struct spec){ .scorer = &with_judge, .find = "x" }) };
    const struct tools none = { 0 }, *const tools[] = { NULL, &none };
    for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
        struct verdict v[2];
        buf_reset(&out);
        assert_int_equal(measures_score(m, 2, tools[i], NULL, "x", v, &err), 0);
        assert_true(isnan(v[0].score) && isnan(v[1].score));
        verdicts_json(m, v, 2, tools[i], &out);
        assert_string_equal(out.s, "{}");
        measure_metric(&m[1], tools[i], &out);
        assert_string_equal(out.s, "{}it");
        verdict_release(&v[0]);
        verdict_release(&v[1]);
    }
    measure_release(&m[0]);
    measure_release(&m[1]);
}

static void a_judge_is_in_the_metric_s_name(void **state)
{
    (void)state;
    struct measure m = prepared(&(struct spec){ .scorer = &with_judge });
    struct verdict v;
    struct judge *judge =
        judge_open(&(struct judge_spec){ .command = "true", .model = "gpt-4o-mini" }, &err);
    if (!judge)
        fail_msg("%s", err.s);
    const struct tools tools = { .judge = judge };
    buf_reset(&out);
    measure_metric(&m, &tools, &out);
    assert_string_equal(out.s, "it:gpt-4o-mini");
    buf_reset(&out);
    assert_int_equal(measures_score(&m, 1, &tools, NULL, "x", &v, &err), 0);
    verdicts_json(&m, &v, 1, &tools, &out);
    assert_string_equal(out.s, "{\"it:gpt-4o-mini\": {\"score\": 0.25, \"result\": \"x\"}}");
    verdict_release(&v);
    measure_release(&m);
    judge_close(judge);
}

static void verdicts_are_json_in_the_measures_order(void **state)
{
    (void)state;
    struct measure m[3] = { prepared(&strict), prepared(&flexible),
                            prepared(&(struct spec){ .scorer = &plain }) };
    struct verdict v[3];
    json_t *doc = json_pack("{s:s}", "answer", "#### 18");
    free(m[0].name);
    m[0].name = xstrdup("strict_match");
    free(m[1].name);
    m[1].name = xstrdup("flexible_extract");
    buf_reset(&out);
    assert_int_equal(measures_score(m, 3, NULL, doc, "It is \"$18\"\n\xff", v, &err), 0);
    verdicts_json(m, v, 3, NULL, &out);
    assert_string_equal(
        out.s, "{\"strict_match\": {\"score\": 0, \"found\": null}, "
               "\"flexible_extract\": {\"score\": 1, \"found\": \"$18\", \"compared\": "
               "\"18\", \"with\": \"18\"}, "
               "\"it\": {\"score\": 0.25, \"result\": \"It is \\\"$18\\\"\\n\xef\xbf\xbd\"}}");
    for (size_t i = 0; i < 3; i++) {
        verdict_release(&v[i]);
        measure_release(&m[i]);
    }
    json_decref(doc);
}

/* The whole text is compared, but it was not found. */
static void no_answer_is_none_though_the_whole_text_stands_in_for_it(void **state)
{
    (void)state;
    static const struct {
        const char *output, *json;
    } cases[] = {
        { "It is 18", "{\"it\": {\"score\": 1, \"found\": \"18\", \"compared\": \"18\", "
                      "\"with\": \"18\"}}" },
        { "Eighteen!", "{\"it\": {\"score\": 0, \"found\": \"Eighteen!\", \"none\": true, "
                       "\"compared\": \"eighteen\", \"with\": \"18\"}}" },
        { "", "{\"it\": {\"score\": 0, \"found\": \"\", \"none\": true, \"compared\": \"\", "
              "\"with\": \"18\"}}" },
    };
    struct measure m = prepared(&densemixer);
    json_t *doc = json_pack("{s:s}", "answer", "#### 18");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct verdict v;
        assert_int_equal(measures_score(&m, 1, NULL, doc, cases[i].output, &v, &err), 0);
        assert_int_equal(v.none, i > 0);
        buf_reset(&out);
        verdicts_json(&m, &v, 1, NULL, &out);
        assert_string_equal(out.s, cases[i].json);
        verdict_release(&v);
    }
    measure_release(&m);
    json_decref(doc);
}

static void a_reply_without_a_number_is_kept(void **state)
{
    (void)state;
    struct measure m = prepared(&(struct spec){ .scorer = &plain });
    struct verdict v;
    verdict_init(&v);
    v.reply = xstrdup("I would say \xe4\xb8\xad \xff");
    v.unparsed = true;
    buf_reset(&out);
    verdicts_json(&m, &v, 1, NULL, &out);
    assert_string_equal(out.s, "{\"it\": {\"reply\": \"I would say \xe4\xb8\xad \xef\xbf\xbd\", "
                               "\"unparsed\": true}}");
    verdict_release(&v);
    assert_true(isnan(v.score) && !v.reply && !v.unparsed);
    measure_release(&m);
}

/* ---- tokens ---- */

/* The score of runs of n tokens; `written` NULL: the text came without tokens. */
static double of_tokens(const struct scorer *scorer, int n, const struct ids *written)
{
    struct measure m = { .name = xstrdup("it"), .scorer = scorer, .ngram = n };
    const struct tools tools = { .written = written };
    struct verdict v;
    if (measure_prepare(&m, &err) != 0 ||
        measures_score(&m, 1, &tools, NULL, "unused", &v, &err) != 0)
        fail_msg("%s", err.s);
    double score = v.score;
    verdict_release(&v);
    measure_release(&m);
    return score;
}

#define IDS(...)                                \
    (&(struct ids){ (int32_t[]){ __VA_ARGS__ }, \
                    sizeof((int32_t[]){ __VA_ARGS__ }) / sizeof(int32_t), 0 })

static void a_run_counts_as_said_again_where_it_stood_before(void **state)
{
    (void)state;
    // 1 2 3 4 | 2 3 4 1 | 3 4 1 2 | 4 1 2 3 | 1 2 3 4 | 2 3 4 5: one of six stood before.
    const struct ids *text = IDS(1, 2, 3, 4, 1, 2, 3, 4, 5);
    assert_float_equal(of_tokens(&scorer_repetition, 4, text), 1.0 / 6, 1e-15);
    assert_float_equal(of_tokens(&scorer_distinct, 4, text), 5.0 / 6, 1e-15);
    assert_float_equal(of_tokens(&scorer_distinct, 1, text), 5.0 / 9, 1e-15);
    assert_float_equal(of_tokens(&scorer_distinct, 2, text), 5.0 / 8, 1e-15);
    // Runs that overlap themselves; ids of 0, with which nothing is filled up.
    assert_float_equal(of_tokens(&scorer_repetition, 4, IDS(7, 7, 7, 7, 7, 7)), 2.0 / 3, 1e-15);
    assert_float_equal(of_tokens(&scorer_distinct, 2, IDS(0, 0, 1, 0, 0)), 3.0 / 4, 1e-15);
    assert_true(of_tokens(&scorer_repetition, 8, IDS(1, 2, 3, 4, 5, 6, 7, 8)) == 0);
}

static void a_text_without_a_run_has_no_score(void **state)
{
    (void)state;
    assert_true(isnan(of_tokens(&scorer_repetition, 4, IDS(1, 2, 3))));
    assert_true(isnan(of_tokens(&scorer_distinct, 2, IDS(1))));
    assert_true(isnan(of_tokens(&scorer_distinct, 1, NULL)));
    assert_true(isnan(of_tokens(&scorer_repetition, 4, NULL)));
    assert_true(isnan(of_tokens(&scorer_repetition, 1, &(struct ids){ 0 })));
}

static void what_counts_runs_is_told_how_long_they_are(void **state)
{
    (void)state;
    struct measure m = { .name = xstrdup("it"), .scorer = &scorer_distinct };
    assert_int_equal(measure_prepare(&m, &err), -1);
    assert_string_equal(err.s, "distinct needs `ngram`");
    measure_release(&m);
}

int main(void)
{
    buf_init(&err);
    buf_init(&out);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lmeval_s_two_extractors_meet_the_golden_cases),
        cmocka_unit_test(the_chain_of_thought_extractor_backtracks_as_python_s),
        cmocka_unit_test(densemixer_s_extractor_loses_signs_and_dots),
        cmocka_unit_test(white_space_at_the_ends_goes_where_it_is_said),
        cmocka_unit_test(rewrites_come_in_their_order_before_the_search),
        cmocka_unit_test(a_search_without_end_leaves_no_score_and_says_so),
        cmocka_unit_test(a_measure_that_lacks_something_is_refused),
        cmocka_unit_test(a_bad_pattern_is_refused_by_its_key),
        cmocka_unit_test(a_reference_knows_nothing_of_the_output),
        cmocka_unit_test(a_field_that_the_document_has_not_is_named),
        cmocka_unit_test(scorers_are_found_by_name),
        cmocka_unit_test(what_has_no_tool_is_not_scored),
        cmocka_unit_test(a_judge_is_in_the_metric_s_name),
        cmocka_unit_test(verdicts_are_json_in_the_measures_order),
        cmocka_unit_test(no_answer_is_none_though_the_whole_text_stands_in_for_it),
        cmocka_unit_test(a_reply_without_a_number_is_kept),
        cmocka_unit_test(a_run_counts_as_said_again_where_it_stood_before),
        cmocka_unit_test(a_text_without_a_run_has_no_score),
        cmocka_unit_test(what_counts_runs_is_told_how_long_they_are),
    };
    return cmocka_run_group_tests_name("measure", tests, NULL, forget);
}
