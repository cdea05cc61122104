/*
 * test_eval.c: every eval of the project opens, and one that is wrong is refused by file and line.
 */
#include "recipe/eval.h"
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *dir;
static struct buf err = BUF_INIT;

static int enter(void **state)
{
    (void)state;
    dir = fixture_dir();
    unsetenv("SEQTOPK_EVALS");
    return 0;
}

static int leave(void **state)
{
    (void)state;
    unsetenv("SEQTOPK_EVALS");
    fixture_remove(dir);
    buf_release(&err);
    return 0;
}

static void each_eval_of_the_project_opens(void **state)
{
    (void)state;
    struct strings names = { 0 };
    eval_list(&names);
    assert_in_range(names.len, 1, 100);
    for (size_t i = 0; i < names.len; i++) {
        struct eval *e = eval_open(names.v[i], &err);
        if (!e)
            fail_msg("%s", err.s);
        assert_string_equal(e->name, names.v[i]);
        assert_in_range(e->nforms + (e->train.prompt != NULL), 1, 100);
        eval_free(e);
    }
    strings_release(&names);
}

static struct eval *must_open(const char *name)
{
    struct eval *e = eval_open(name, &err);
    if (!e)
        fail_msg("%s", err.s);
    return e;
}

static const struct eval_form *form_of(const struct eval *e, const char *name)
{
    for (size_t i = 0; i < e->nforms; i++)
        if (strcmp(e->forms[i].name, name) == 0)
            return &e->forms[i];
    fail_msg("%s has no form %s", e->name, name);
    return NULL;
}

static void gsm8k_is_as_the_protocol_says(void **state)
{
    (void)state;
    struct eval *e = must_open("gsm8k");
    assert_string_equal(e->file, "gsm8k/test.jsonl");
    const struct eval_form *f = form_of(e, "nll");
    assert_string_equal(f->prompt, "Question: {question}\nAnswer:");
    assert_string_equal(f->target, " {answer}");
    assert_false(f->generates);
    f = form_of(e, "lmeval-5shot");
    assert_true(f->generates);
    assert_null(f->target);
    assert_string_equal(f->shots.file, "gsm8k/train.jsonl");
    assert_string_equal(f->shots.text, "Question: {question}\nAnswer: {answer}\n\n");
    assert_int_equal(f->shots.count, 5);
    assert_int_equal(f->shots.draw, SHOTS_PYTHON);
    assert_int_equal(f->shots.seed, 1234);
    assert_int_equal(f->decoding.max_tokens, 256);
    assert_true(f->decoding.temperature == 0 && f->decoding.top_p == 1);
    assert_int_equal(f->decoding.stop.len, 3);
    assert_string_equal(f->decoding.stop.v[0], "Question:");
    assert_true(f->decoding.stop_at_end_text);
    assert_false(form_of(e, "densemixer-0shot")->decoding.stop_at_end_text);
    assert_int_equal(f->long_prompt, LONG_PROMPT_CUT);
    assert_int_equal(f->nmeasures, 2);
    assert_string_equal(f->measures[1].name, "flexible_extract");
    assert_int_equal(f->measures[1].take, TAKE_LAST);
    assert_true(f->measures[1].strip);
    eval_free(e);
}

static void humaneval_and_mbpp_test_themselves(void **state)
{
    (void)state;
    static const char *const names[][3] = { { "humaneval", "lmeval", "{canonical_solution}" },
                                            { "mbpp", "lmeval-3shot", "{code}" } };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct eval *e = must_open(names[i][0]);
        const struct eval_form *f = form_of(e, names[i][1]);
        assert_int_equal(f->nself_tests, 2);
        assert_string_equal(f->self_tests[0].output, names[i][2]);
        assert_int_equal(f->self_tests[0].score, 1);
        assert_string_equal(f->self_tests[1].output, "");
        assert_int_equal(f->self_tests[1].score, 0);
        assert_true(f->measures[0].scorer->runs_code);
        assert_int_equal(f->measures[0].milliseconds, 3000);
        eval_free(e);
    }
}

static void assert_golden(const struct eval *e, const struct eval_form *f, const struct measure *m,
                          const struct golden *g)
{
    struct buf found = BUF_INIT;
    int rc = measure_find(m, g->output, &found, &err);
    if ((rc > 0) != (g->found != NULL) || (g->found && strcmp(found.s, g->found) != 0))
        fail_msg("%s/%s %s: in \"%s\" is found %s, and not %s", e->name, f->name, m->name,
                 g->output, rc > 0 ? found.s : "nothing", g->found ? g->found : "nothing");
    buf_release(&found);
}

/* The cases that stand in the evals themselves. */
static void each_golden_case_finds_what_it_says(void **state)
{
    (void)state;
    struct strings names = { 0 };
    int seen = 0;
    eval_list(&names);
    for (size_t i = 0; i < names.len; i++) {
        struct eval *e = must_open(names.v[i]);
        for (size_t f = 0; f < e->nforms; f++)
            for (size_t m = 0; m < e->forms[f].nmeasures; m++)
                for (size_t g = 0; g < e->forms[f].measures[m].ngolden; g++, seen++)
                    assert_golden(e, &e->forms[f], &e->forms[f].measures[m],
                                  &e->forms[f].measures[m].golden[g]);
        eval_free(e);
    }
    assert_in_range(seen, 20, 1000);
    strings_release(&names);
}

static void assert_downloaded(const char *list, const char *file, const char *sha256)
{
    if (!file)
        return;
    char *both = xasprintf(" %s %s ", file, sha256 ? sha256 : "?");
    if (!strstr(list, both))
        fail_msg("scripts/data-sets has no%s", both);
    free(both);
}

static void each_file_is_the_one_that_is_downloaded(void **state)
{
    (void)state;
    struct strings names = { 0 };
    struct buf list = BUF_INIT;
    if (read_file("scripts/data-sets", 1 << 20, &list, &err) != 0)
        fail_msg("%s", err.s);
    eval_list(&names);
    for (size_t i = 0; i < names.len; i++) {
        struct eval *e = must_open(names.v[i]);
        assert_downloaded(list.s, e->file, e->sha256);
        assert_downloaded(list.s, e->train.file, e->train.sha256);
        for (size_t f = 0; f < e->nforms; f++)
            assert_downloaded(list.s, e->forms[f].shots.file, e->forms[f].shots.sha256);
        eval_free(e);
    }
    strings_release(&names);
    buf_release(&list);
}

/* The score of an output whose reference is `answer`, by measure `m` of gsm8k/`form`. */
static void assert_scores(const char *form, size_t m, const char *output, const char *answer,
                          double want)
{
    struct eval *e = must_open("gsm8k");
    const struct eval_form *f = form_of(e, form);
    struct tools tools = { 0 };
    struct verdict v;
    json_t *doc = json_pack("{s:s}", "answer", answer);
    if (measures_score(&f->measures[m], 1, &tools, doc, output, &v, &err) != 0)
        fail_msg("%s", err.s);
    if (v.score != want)
        fail_msg("gsm8k/%s: \"%s\" for \"%s\" gets %g", form, output, answer, v.score);
    verdict_release(&v);
    json_decref(doc);
    eval_free(e);
}

static void gsm8k_scores_as_the_protocols_do(void **state)
{
    (void)state;
    static const char answer[] = "9 + 9 = <<9+9=18>>18\n#### 18";
    static const char million[] = "1\n#### 1,000,000";
    assert_scores("lmeval-5shot", 0, " It is 18.\n#### 18", answer, 1);
    assert_scores("lmeval-5shot", 0, "#### $18", answer, 0);
    assert_scores("lmeval-5shot", 1, "#### $18", answer, 1);
    assert_scores("lmeval-5shot", 1, "it is 18.00", answer, 0);
    assert_scores("lmeval-5shot", 1, "it is 18.", answer, 1);
    assert_scores("lmeval-5shot", 1, "total 1,000,000!", million, 1);
    assert_scores("lmeval-cot-8shot", 0, "The answer is 18.", answer, 1);
    assert_scores("lmeval-cot-8shot", 0, "The answer is 18", answer, 0);
    assert_scores("lmeval-cot-8shot", 1, "The answer is 18", answer, 1);
    assert_scores("densemixer-0shot", 0, "so -18", answer, 1);
    assert_scores("densemixer-0shot", 0, "so 18.0", answer, 0);
    assert_scores("densemixer-0shot", 0, "so 1.8", answer, 1);
    assert_scores("densemixer-0shot", 0, "1,000,000", million, 1);
    assert_scores("densemixer-0shot", 0, "none", answer, 0);
}

/* An empty output of Summary and Law is scored as None. */
static void nothing_becomes_none(void **state)
{
    (void)state;
    struct eval *e = must_open("law");
    const struct measure *m = &form_of(e, "esft")->measures[0];
    struct buf found = BUF_INIT;
    assert_int_equal(measure_find(m, " \n ", &found, &err), 1);
    assert_string_equal(found.s, "None");
    buf_reset(&found);
    assert_int_equal(measure_find(m, "\n 判决 如下 \n\n", &found, &err), 1);
    assert_string_equal(found.s, "判决 如下");
    assert_true(m->characters);
    buf_release(&found);
    eval_free(e);
}

/* A long row of spaces inside of a text costs its length, not its square. */
static void spaces_inside_of_a_text_take_no_time(void **state)
{
    (void)state;
    enum { SPACES = 200000 };
    static const char *const names[] = { "law", "summary" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct eval *e = must_open(names[i]);
        struct buf text = BUF_INIT, found = BUF_INIT;
        buf_adds(&text, " \n判");
        for (int j = 0; j < SPACES; j++)
            buf_addc(&text, j % 80 ? ' ' : '\n');
        buf_adds(&text, "决\n ");
        if (measure_find(&form_of(e, "esft")->measures[0], text.s, &found, &err) != 1)
            fail_msg("%s: %s", names[i], err.s);
        assert_int_equal(found.len, text.len - 4);
        buf_release(&text);
        buf_release(&found);
        eval_free(e);
    }
}

static void an_unknown_eval_lists_the_known_ones(void **state)
{
    (void)state;
    assert_null(eval_open("gsm9k", &err));
    assert_non_null(
        strstr(err.s, "there is no task 'gsm9k'; known are codealpaca, gsm8k, "
                      "humaneval, law, mbpp, summary, wordmath (looked for NAME.lua in evals, "));
    assert_null(eval_open("../evals/gsm8k", &err));
    assert_non_null(strstr(err.s, "there is no task '../evals/gsm8k'"));
    assert_null(eval_open("", &err));
    assert_non_null(strstr(err.s, "there is no task ''"));
}

/* e.lua with `text` must be refused with "e.lua" and `want`. */
static void assert_refused(const char *text, const char *want)
{
    fixture_text(dir, "e.lua", text);
    setenv("SEQTOPK_EVALS", dir, 1);
    struct eval *e = eval_open("e", &err);
    char *sentence = xasprintf("%s/e.lua%s", dir, want);
    if (e || strcmp(err.s, sentence) != 0)
        fail_msg("%s\n  says    %s\n  and not %s", text, e ? "nothing" : err.s, sentence);
    free(sentence);
}

/* The same with any sentence that names e.lua and a line from 4 to 6. */
static void assert_refused_at(const char *text)
{
    fixture_text(dir, "e.lua", text);
    setenv("SEQTOPK_EVALS", dir, 1);
    struct eval *e = eval_open("e", &err);
    const char *said = e ? NULL : strstr(err.s, "/e.lua:");
    if (!said || said[7] < '4' || said[7] > '6' || !strstr(said, "measures[1]"))
        fail_msg("%s\n  says    %s", text, e ? "nothing" : err.s);
}

#define HEAD "return { name = 'e', about = 'a', license = 'l', source = 's', file = 'f',\n"
#define FORMS(form) HEAD "forms = {\nx = " form "} }"

static void a_wrong_eval_is_refused_by_line(void **state)
{
    (void)state;
    assert_refused("return 3", ": the file must return a table");
    assert_refused("return { name = 'e' }", ":1: eval: 'about' is missing");
    assert_refused(HEAD "shots = 5 }", ":2: eval.shots: unknown key; allowed are name, about, "
                                       "license, source, file, sha256, rows, generated, train, "
                                       "forms");
    assert_refused(HEAD "forms = 3 }",
                   ":2: eval.forms: a table of forms is needed: { nll = { ... } "
                   "}");
    assert_refused(HEAD "forms = {} }",
                   ":2: eval.forms: at least one form is needed: { nll = { ... } }");
    assert_refused(HEAD "forms = { { } } }",
                   ":2: forms: a form's name has a character that is no letter, digit, - or _");
    assert_refused(FORMS("{ version = 0, prompt = 'p', target = 't' }"),
                   ":3: x.version: 0; allowed is a whole number from 1 to 1000000");
    assert_refused(FORMS("{ version = 1,\ntarget = 't' }"), ":3: x: 'prompt' is missing");
    assert_refused(FORMS("{ version = 1,\nprompt = 'a {b', target = 't' }"),
                   ":4: x.prompt: a '{' without 'field}' behind it; a brace itself is written {{");
    assert_refused(FORMS("{ version = 1, prompt = '{}', target = 't' }"),
                   ":3: x.prompt: a '{' without 'field}' behind it; a brace itself is written {{");
    assert_refused(FORMS("{ version = 1, prompt = 'p', target = 'a } b' }"),
                   ":3: x.target: a '}' without a '{'; a brace itself is written }}");
    assert_refused(FORMS("{ version = 1, prompt = '{a{b}}', target = 't' }"),
                   ":3: x.prompt: a '{' without 'field}' behind it; a brace itself is written {{");
    assert_refused("return { name = 'f', about = 'a', license = 'l', source = 's', file = 'f',\n"
                   "forms = { x = { version = 1, prompt = 'p', target = 't' } } }",
                   ":1: eval.name: \"f\"; the file's own name is needed, \"e\"");
    assert_refused("local t = { name = 'e' }\nreturn {\nname = 'f', about = 'a', license = 'l',\n"
                   "source = 's', file = 'f', forms = { x = { version = 1, prompt = 'p', target = "
                   "'t' } } }",
                   ":3: eval.name: \"f\"; the file's own name is needed, \"e\"");
    assert_refused("return sweep {}", ":1: unknown name 'sweep'");
    assert_refused(HEAD "forms = {\nx = 3 } }",
                   ":3: forms.x: a form is a table { version =, prompt =, target = } or { version "
                   "=, prompt =, generate =, measures = }");
    assert_refused(HEAD "sha256 = '12', forms = {} }", // the forms are read first
                   ":2: eval.forms: at least one form is needed: { nll = { ... } }");
    assert_refused(HEAD
                   "\nsha256 = 'A0', forms = { x = { version = 1, prompt = 'p', target = 't' } "
                   "} }",
                   ":3: eval.sha256: \"A0\"; allowed are 64 hexadecimal digits, small");
    assert_refused(HEAD "rows = { field = 'n', from = 5,\nto = 4 }, forms = {} }",
                   ":3: rows.to: 4 is below from, which is 5");
    assert_refused(HEAD "rows = {\nfrom = 'n' }, forms = {} }", ":2: rows: 'field' is missing");
    assert_refused(HEAD "rows = 7, forms = {} }",
                   ":2: rows: 7; allowed is a table { field =, from =, to = }");
}

/* An eval without `file`, with `more` in it. */
#define BARE(more) "return { name = 'e', about = 'a', license = 'l', source = 's',\n" more " }"
#define ONE_FORM "forms = { x = { version = 1, prompt = 'p', target = 't' } }"
#define MAKES "items = function() end"

static void wrong_training_sets_are_refused_by_line(void **state)
{
    (void)state;
    assert_refused(BARE("train = { prompt = 'p', completion = 'c' }"),
                   ":2: train: 'file' is missing, or 'train' in 'generated'");
    assert_refused(BARE("train = {\nfile = 'f', completion = 'c' }"),
                   ":2: train: 'prompt' is missing");
    assert_refused(BARE("train = { file = 'f', prompt = 'p' }"),
                   ":2: train: 'completion' is missing");
    assert_refused(BARE("train = { file = 'f', prompt = 'p',\ncompletion = '' }"),
                   ":3: train.completion: an empty text");
    assert_refused(BARE("train = { file = 'f', prompt = 'p',\ncompletion = '{' }"),
                   ":3: train.completion: a '{' without 'field}' behind it; a brace itself is "
                   "written {{");
    assert_refused(BARE("train = { file = 'f',\nprompt = '}', completion = 'c' }"),
                   ":3: train.prompt: a '}' without a '{'; a brace itself is written }}");
    assert_refused(BARE("train = { file = 'f', sha256 = 'x', prompt = 'p', completion = 'c' }"),
                   ":2: train.sha256: \"x\"; allowed are 64 hexadecimal digits, small");
    assert_refused(BARE("train = { file = 'f', target = 't', prompt = 'p', completion = 'c' }"),
                   ":2: train.target: unknown key; allowed are file, sha256, rows, prompt, "
                   "completion");
    assert_refused(BARE("train = 'f'"), ":2: train: the text \"f\"; allowed is a table { file =, "
                                        "sha256 =, rows =, prompt =, completion = }");
    assert_refused(BARE("train = { file = 'f', rows = { field = 'n', from = 2, to = 1 },\n"
                        "prompt = 'p', completion = 'c' }"),
                   ":2: rows.to: 1 is below from, which is 2");
}

static void wrong_sources_of_documents_are_refused_by_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { BARE(ONE_FORM), ":1: eval: 'file' is missing, or 'generated' in its place" },
        { BARE("file = 'f'"), ":1: eval: 'forms' is missing" },
        { BARE("generated = { test = 2, " MAKES " }"), ":1: eval: 'forms' is missing" },
        { BARE(""), ":1: eval: 'forms' is missing" },
        { BARE("file = 'f',\ngenerated = { test = 2, " MAKES " }, " ONE_FORM),
          ":3: eval.generated: 'file' and 'generated' exclude each other" },
        { BARE("sha256 = '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef',\n"
               "generated = { test = 2, " MAKES " }, " ONE_FORM),
          ":2: eval.sha256: goes with 'file', and there is none" },
        { BARE("generated = { test = 2, " MAKES " },\n"
               "rows = { field = 'n', from = 1, to = 2 }, " ONE_FORM),
          ":3: eval.rows: goes with 'file', and there is none" },
        { BARE("generated = { test = 0, " MAKES " }, " ONE_FORM),
          ":2: generated.test: 0; allowed is a whole number from 1 to 1000000" },
        { BARE("generated = { train = 2, " MAKES " }, " ONE_FORM),
          ":2: generated: 'test' is missing" },
        { BARE("generated = { test = 2 }, " ONE_FORM), ":2: generated: 'items' is missing" },
        { BARE("generated = { test = 2,\nitems = { 1 } }, " ONE_FORM),
          ":3: generated.items: a table; allowed is function(split, count) ... end" },
        { BARE("generated = 2, " ONE_FORM),
          ":2: generated: 2; allowed is a table { test =, train =, items = }" },
        { BARE("generated = { test = 2, train = 3, " MAKES " }, " ONE_FORM),
          ":1: eval: 'train' is missing: { prompt =, completion = } for the 3 items that "
          "'generated' has for it" },
        { BARE("generated = { test = 2, train = 3, " MAKES " }, " ONE_FORM ",\n"
               "train = { file = 'f', prompt = 'p', completion = 'c' }"),
          ":3: train.file: 'generated' makes the training set's items" },
        { BARE("generated = { test = 2, train = 3, " MAKES " }, " ONE_FORM ",\n"
               "train = { rows = { field = 'n', from = 1, to = 2 }, prompt = 'p', completion = 'c' "
               "}"),
          ":3: train.rows: goes with 'file', and there is none" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_refused(cases[i][0], cases[i][1]);
}

static void an_eval_may_have_a_training_set_alone_or_of_its_own(void **state)
{
    (void)state;
    setenv("SEQTOPK_EVALS", dir, 1);
    fixture_text(dir, "e.lua", BARE("train = { file = 'f', prompt = 'p', completion = 'c' }"));
    struct eval *e = must_open("e");
    assert_null(e->file);
    assert_int_equal(e->nforms, 0);
    assert_string_equal(e->train.file, "f");
    eval_free(e);
    fixture_text(dir, "e.lua",
                 BARE("generated = { test = 2, " MAKES " }, " ONE_FORM
                      ", train = { file = 'f', prompt = 'p', completion = 'c' }"));
    e = must_open("e");
    assert_int_equal(e->generated.test, 2);
    assert_int_equal(e->generated.train, 0);
    assert_non_null(e->generated.code);
    assert_string_equal(e->train.file, "f");
    eval_free(e);
}

static void training_sets_are_put_as_their_tasks_are(void **state)
{
    (void)state;
    struct eval *e = must_open("gsm8k");
    assert_string_equal(e->train.file, "gsm8k/train.jsonl");
    assert_string_equal(e->train.prompt, form_of(e, "densemixer-0shot")->prompt);
    assert_string_equal(e->train.completion, " {answer}");
    eval_free(e);
    e = must_open("mbpp");
    assert_string_equal(e->train.prompt, form_of(e, "lmeval-3shot")->prompt);
    assert_int_equal(e->train.rows.from, 601);
    assert_int_equal(e->train.rows.to, 974);
    eval_free(e);
    e = must_open("wordmath");
    assert_null(e->train.file);
    assert_string_equal(e->train.prompt, form_of(e, "0shot")->prompt);
    eval_free(e);
}

/* A form that generates, with `more` in it. */
#define GENERATES(more) \
    FORMS("{ version = 1, prompt = 'p', generate = { max_tokens = 9 },\n" more "}")
#define MEASURE(more) GENERATES("measures = {\n{ 'exact', reference = 'r',\n" more "} }")

static void a_wrong_form_is_refused_by_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { FORMS("{ version = 1,\nprompt = 'p' }"), ":3: x: 'target' or 'generate' is missing" },
        { GENERATES("target = 't'"), ":3: x: 'target' and 'generate' exclude each other" },
        { GENERATES(""), ":3: x: 'measures' is missing" },
        { FORMS("{ version = 1, prompt = 'p', target = 't',\n['long_prompt'] = 'cut' }"),
          ":4: x.long_prompt: goes with 'generate', and this form has 'target'" },
        { GENERATES("long_prompt = 'short'"),
          ":4: x.long_prompt: the text \"short\"; allowed is \"refuse\" or \"cut\"" },
        { FORMS(
              "{ version = 1, prompt = 'p', target = 't',\nmeasures = { { 'chrf', reference = 'r' "
              "} } }"),
          ":4: x.measures: goes with 'generate', and this form has 'target'" },
        { FORMS("{ version = 1, prompt = 'p', generate = { stop = 'x' } }"),
          ":3: generate: 'max_tokens' is missing" },
        { FORMS("{ version = 1, prompt = 'p', generate = {\nmax_tokens = 1, temperature = -1 } }"),
          ":4: generate.temperature: -1; allowed is a number from 0 to 100" },
        { FORMS("{ version = 1, prompt = 'p', generate = { max_tokens = 1,\ntop_p = 0 } }"),
          ":4: generate.top_p: 0; allowed is a number above 0, up to 1" },
        { FORMS("{ version = 1, prompt = 'p', generate = { max_tokens = 1,\ntop_p = 0.5 } }"),
          ":4: generate.top_p: 0.5, but at temperature 0 nothing is drawn; say a temperature above "
          "0" },
        { FORMS("{ version = 1, prompt = 'p', generate = { max_tokens = 1, stop = { '' } } }"),
          ":3: generate.stop: an empty text" },
        { GENERATES("shots = { file = 'f', count = 5, draw = 'python', text = 't' }"),
          ":4: shots.seed: draw = \"python\" needs a seed, and \"first\" has none" },
        { GENERATES("shots = { file = 'f', count = 5, seed = 1, text = 't' }"),
          ":4: shots.seed: draw = \"python\" needs a seed, and \"first\" has none" },
        { GENERATES("shots = { file = 'f', count = 0,\ntext = 't' }"),
          ":4: shots.count: 0; allowed is a whole number from 1 to 1000" },
        { GENERATES("shots = { file = 'f', count = 1,\ntext = '{' }"),
          ":5: shots.text: a '{' without 'field}' behind it; a brace itself is written {{" },
        { GENERATES(
              "measures = {\n{ 'exact', reference = 'r' } },\nself_test = { { output = '{a' , "
              "score = 1 } }"),
          ":6: self_test.output: a '{' without 'field}' behind it; a brace itself is written {{" },
        { GENERATES("measures = {\n{ 'exact', reference = 'r' } },\nself_test = { { output = '' , "
                    "score = 1 },\n{ output = '', score = 2 } }"),
          ":7: self_test.score: 2; allowed is a whole number from 0 to 1" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_refused(cases[i][0], cases[i][1]);
}

static void a_wrong_measure_is_refused_by_line(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { GENERATES("measures = {\n{ 'bleu' } }"),
          ":5: measures[1]: the text \"bleu\"; allowed is \"exact\" or \"rouge_l\" or \"chrf\" or "
          "\"program\" or \"judge\" or \"repetition\" or \"distinct\"" },
        { GENERATES("measures = {\n{ 'exact' } }"), ":5: measures[1]: exact needs `reference`" },
        { GENERATES("measures = {\n{ name = 'x' } }"), ":5: measures[1]: '[1]' is missing" },
        { GENERATES("measures = { 'exact', reference = 'r' }"),
          ":4: x.measures: a list { ... } has no keys, but here is the text \"reference\"" },
        { GENERATES("measures = { 'exact' }"), // of the keys that it may have only the first few
          NULL },
        { MEASURE("extract = 'x'"), NULL },
        { MEASURE("find = '('"), NULL },
        { MEASURE("characters = true"),
          ":6: measures[1].characters: has no effect here; it goes with rouge_l" },
        { MEASURE("ngram = 2"),
          ":6: measures[1].ngram: has no effect here; it goes with repetition distinct" },
        { MEASURE("take = 'last'"), ":6: measures[1].take: has no effect here; it goes with find" },
        { MEASURE("normalise = { ',', '' }"),
          ":6: measures[1].normalise: the text \",\"; allowed is a list of pairs { { \"FIND\", "
          "\"WITH\" }, ... }" },
        { MEASURE("before = { { ',', '' },\n{ ',' } }"), ":7: before: '[2]' is missing" },
        { MEASURE("name = 'a b'"),
          ":6: measures[1].name: \"a b\"; allowed are letters, digits, -, _ and @" },
        { MEASURE("golden = { { found = 'x' } }"), ":6: golden: 'output' is missing" },
        { MEASURE("} , { 'chrf', reference = '{r'"),
          ":6: measures[2].reference: a '{' without 'field}' behind it; a brace itself is written "
          "{{" },
        { MEASURE("} , { 'exact',\nreference = 'r'"),
          ":6: measures[2].name: two measures are called \"exact\"" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        if (cases[i][1])
            assert_refused(cases[i][0], cases[i][1]);
        else // where the rest of the sentence is others' words, or long
            assert_refused_at(cases[i][0]);
}

static int collect(void *ud, bool field, const char *s, size_t len, struct buf *e)
{
    (void)e;
    buf_addf(ud, "%s(%.*s)", field ? "F" : "T", (int)len, s);
    return 0;
}

static void a_template_is_cut_into_texts_and_fields(void **state)
{
    (void)state;
    struct buf got = BUF_INIT;
    assert_int_equal(template_walk("{{a}} {b}{c} d{{", collect, &got, &err), 0);
    assert_string_equal(got.s, "T({)T(a})T( )F(b)F(c)T( d{)");
    buf_reset(&got);
    assert_int_equal(template_walk("", collect, &got, &err), 0);
    assert_string_equal(got.s, "");
    assert_int_equal(template_walk("{a", collect, &got, &err), -1);
    assert_int_equal(template_walk("{", collect, &got, &err), -1);
    assert_int_equal(template_walk("}", collect, &got, &err), -1);
    buf_release(&got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_eval_of_the_project_opens, enter, leave),
        cmocka_unit_test_setup_teardown(gsm8k_is_as_the_protocol_says, enter, leave),
        cmocka_unit_test_setup_teardown(humaneval_and_mbpp_test_themselves, enter, leave),
        cmocka_unit_test_setup_teardown(each_golden_case_finds_what_it_says, enter, leave),
        cmocka_unit_test_setup_teardown(each_file_is_the_one_that_is_downloaded, enter, leave),
        cmocka_unit_test_setup_teardown(gsm8k_scores_as_the_protocols_do, enter, leave),
        cmocka_unit_test_setup_teardown(nothing_becomes_none, enter, leave),
        cmocka_unit_test_setup_teardown(spaces_inside_of_a_text_take_no_time, enter, leave),
        cmocka_unit_test_setup_teardown(a_wrong_form_is_refused_by_line, enter, leave),
        cmocka_unit_test_setup_teardown(a_wrong_measure_is_refused_by_line, enter, leave),
        cmocka_unit_test_setup_teardown(an_unknown_eval_lists_the_known_ones, enter, leave),
        cmocka_unit_test_setup_teardown(a_wrong_eval_is_refused_by_line, enter, leave),
        cmocka_unit_test_setup_teardown(wrong_training_sets_are_refused_by_line, enter, leave),
        cmocka_unit_test_setup_teardown(wrong_sources_of_documents_are_refused_by_line, enter,
                                        leave),
        cmocka_unit_test_setup_teardown(an_eval_may_have_a_training_set_alone_or_of_its_own, enter,
                                        leave),
        cmocka_unit_test_setup_teardown(training_sets_are_put_as_their_tasks_are, enter, leave),
        cmocka_unit_test_setup_teardown(a_template_is_cut_into_texts_and_fields, enter, leave),
    };
    return cmocka_run_group_tests_name("eval", tests, NULL, NULL);
}
