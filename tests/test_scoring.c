/*
 * test_scoring.c: one output scored as a job for workers, many at once.
 */
#include "score/sandbox_impl.h"
#include "scoring.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { OUTPUTS = 200 };

/* The eval of a test's own, and a task of it. */
static char folder[] = "/tmp/seqtopk-scoring-XXXXXX";
static struct task task, code;

static int enter(void **state)
{
    (void)state;
    struct buf err = BUF_INIT, path = BUF_INIT;
    static const char eval[] =
        "return { name = 'sums', about = 'x', license = 'x', source = 'x', file = 'sums.jsonl',\n"
        "  forms = { one = { version = 1, about = 'x', prompt = '{q}', generate = { max_tokens = 3 "
        "},\n"
        "    measures = { { 'exact', name = 'number', find = '[0-9]+|^(a+)+$', take = 'last',\n"
        "                   reference = '{a}' },\n"
        "                 { 'chrf', name = 'chrf', reference = '{a}' } } },\n"
        "    runs = { version = 1, about = 'x', prompt = '{q}', generate = { max_tokens = 3 },\n"
        "    measures = { { 'exact', name = 'number', find = '[0-9]+', reference = '{a}' },\n"
        "                 { 'program', name = 'runs', program = '{output}',\n"
        "                   milliseconds = 1000 } } } } }\n";
    if (!mkdtemp(folder))
        return -1;
    setenv("SEQTOPK_EVALS", folder, 1);
    setenv("SEQTOPK_DATA", folder, 1);
    buf_addf(&path, "%s/sums.lua", folder);
    int rc = write_file(path.s, eval, strlen(eval), &err);
    buf_reset(&path);
    buf_addf(&path, "%s/sums.jsonl", folder);
    if (rc == 0)
        rc = write_file(path.s, "{\"q\": \"?\", \"a\": \"7\"}\n", 21, &err);
    if (rc == 0)
        rc = task_named("sums/one", NULL, 0, &task, &err) ||
             task_named("sums/runs", NULL, 0, &code, &err);
    if (rc)
        print_error("%s\n", err.s);
    buf_release(&path);
    buf_release(&err);
    return rc;
}

static int leave(void **state)
{
    (void)state;
    struct buf line = BUF_INIT;
    task_release(&task);
    task_release(&code);
    buf_addf(&line, "rm -r %s", folder);
    int rc = system(line.s);
    buf_release(&line);
    return rc;
}

static void workers_score_every_output_once(void **state)
{
    (void)state;
    static struct scoring s[OUTPUTS];
    static char output[OUTPUTS][32];
    static bool seen[OUTPUTS];
    const struct tools tools = { 0 };
    json_t *doc = json_pack("{s:s}", "a", "7");
    struct workers *w = workers_new(3);
    int n = 0;
    for (int i = 0; i < OUTPUTS; i++) {
        snprintf(output[i], sizeof(output[i]), "perhaps %d", i % 10);
        scoring_init(&s[i], &task, doc, output[i], &tools);
        workers_put(w, &s[i].job);
    }
    for (struct job *j; (j = workers_take(w)); n++) {
        struct scoring *one = (struct scoring *)j;
        int i = (int)(one - s);
        assert_int_equal(j->rc, 0);
        assert_false(seen[i]);
        seen[i] = true;
        assert_true(one->score == (i % 10 == 7));
        assert_non_null(
            strstr(one->extracted.s, i % 10 == 7 ? "\"found\": \"7\"" : "\"score\": 0"));
        assert_non_null(strstr(one->extracted.s, "\"chrf\": {\"score\""));
    }
    assert_int_equal(n, OUTPUTS);
    workers_free(w);
    struct outcomes o = { 0 };
    struct buf err = BUF_INIT;
    for (int i = 0; i < OUTPUTS; i++) {
        assert_int_equal(outcomes_add(&o, s[i].score, s[i].extracted.s, &err), 0);
        scoring_release(&s[i]);
    }
    assert_string_equal(o.v[0].name, "score");
    struct estimate e = outcomes_estimate(&o.v[0]);
    assert_true(fabs(e.value - 0.1) < 1e-12 && e.n == OUTPUTS);
    assert_true(fabs(e.stderr_ - sqrt(0.1 * 0.9 / (OUTPUTS - 1))) < 1e-12);
    outcomes_release(&o);
    json_decref(doc);
    buf_release(&err);
}

static const struct outcome_metric *metric_of(const struct outcomes *o, const char *name)
{
    for (size_t i = 0; i < o->len; i++)
        if (strcmp(o->v[i].name, name) == 0)
            return &o->v[i];
    return NULL;
}

/* The output of which nothing is found is in both shares, although all of it is compared; the one
 * that could not be searched is in neither, nor in the mean. */
static void the_share_without_an_answer_is_of_what_was_searched(void **state)
{
    (void)state;
    static const struct {
        const char *output, *has, *has_not;
    } cases[] = {
        { "it is 7", "\"found\": \"7\"", "\"none\"" },
        { "seven", "\"found\": \"seven\", \"none\": true", "\"failure\"" },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", "\"failure\"",
          "\"found\"" },
    };
    const struct tools tools = { 0 };
    struct measure *m = task.eval->forms[0].measures;
    const int otherwise = m->otherwise;
    struct outcomes o = { 0 };
    struct buf err = BUF_INIT;
    json_t *doc = json_pack("{s:s}", "a", "7");
    m->otherwise = OTHERWISE_WHOLE;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scoring s;
        scoring_init(&s, &task, doc, cases[i].output, &tools);
        assert_int_equal(s.job.work(&s.job, &s.job.err), 0);
        if (!strstr(s.extracted.s, cases[i].has))
            fail_msg("%s: no %s", s.extracted.s, cases[i].has);
        json_t *all = json_loads(s.extracted.s, 0, NULL);
        char *number = json_dumps(json_object_get(all, "number"), 0);
        assert_null(strstr(number, cases[i].has_not));
        free(number);
        json_decref(all);
        assert_int_equal(outcomes_add(&o, s.score, s.extracted.s, &err), 0);
        scoring_release(&s);
    }
    static const char *const shares[] = { "number_no_answer", "no_answer", "number", "score" };
    for (size_t i = 0; i < ARRAY_LEN(shares); i++) {
        const struct outcome_metric *share = metric_of(&o, shares[i]);
        assert_non_null(share);
        struct estimate e = outcomes_estimate(share);
        if (e.value != 0.5 || e.n != 2)
            fail_msg("%s: %g of %d", shares[i], e.value, (int)e.n);
    }
    assert_true(outcomes_estimate(metric_of(&o, "number_failed")).value == 1);
    m->otherwise = otherwise;
    outcomes_release(&o);
    json_decref(doc);
    buf_release(&err);
}

static void a_document_without_the_field_fails_its_own_job(void **state)
{
    (void)state;
    const struct tools tools = { 0 };
    json_t *doc = json_object();
    struct scoring s;
    scoring_init(&s, &task, doc, "7", &tools);
    assert_int_equal(s.job.work(&s.job, &s.job.err), -1);
    assert_non_null(strstr(s.job.err.s, "number: "));
    assert_true(isnan(s.score));
    scoring_release(&s);
    json_decref(doc);
}

/* A sandbox that cannot be set up, at any time. */
static void a_broken_sandbox_is_a_failure_that_another_time_may_mend(void **state)
{
    (void)state;
    struct sandbox broken = { .null = -1 };
    const struct tools tools = { .sandbox = &broken };
    json_t *doc = json_pack("{s:s}", "a", "7");
    struct buf why = BUF_INIT, err = BUF_INIT;
    struct scoring s;
    strings_add(&broken.argv, "/nowhere/bwrap");
    scoring_init(&s, &code, doc, "7", &tools);
    assert_int_equal(s.job.work(&s.job, &s.job.err), 0);
    assert_true(s.score == 1);
    assert_int_equal(outcome_failure(s.extracted.s, &why, &err), 1);
    assert_memory_equal(why.s, "runs: ", 6);
    assert_non_null(strstr(why.s, "could not be started"));
    scoring_release(&s);
    json_decref(doc);
    strings_release(&broken.argv);
    buf_release(&why);
    buf_release(&err);
}

static void verdicts_that_stand_are_not_made_again(void **state)
{
    (void)state;
    static const char before[] = "{\"number\": {\"score\": 0.25, \"found\": \"kept\"},"
                                 " \"chrf\": {\"failure\": \"HTTP 500\", \"again\": true}}";
    const struct tools tools = { 0 };
    json_t *doc = json_pack("{s:s}", "a", "7");
    struct buf why = BUF_INIT, err = BUF_INIT;
    struct scoring s;
    scoring_init(&s, &task, doc, "7", &tools);
    assert_int_equal(scoring_keep(&s, before, &err), 0);
    assert_int_equal(s.job.work(&s.job, &s.job.err), 0);
    assert_true(s.score == 0.25);
    assert_string_equal(s.extracted.s, "{\"number\": {\"score\": 0.25, \"found\": \"kept\"},"
                                       " \"chrf\": {\"score\": 1}}");
    assert_int_equal(outcome_failure(s.extracted.s, &why, &err), 0);
    scoring_release(&s);
    // Without `again` it is the text's own fault, and would be so every time.
    assert_int_equal(outcome_failure("{\"a\": {\"failure\": \"too many steps\"}}", &why, &err), 0);
    assert_int_equal(outcome_failure("[1]", &why, &err), -1);
    json_decref(doc);
    buf_release(&why);
    buf_release(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_score_every_output_once),
        cmocka_unit_test(the_share_without_an_answer_is_of_what_was_searched),
        cmocka_unit_test(a_document_without_the_field_fails_its_own_job),
        cmocka_unit_test(a_broken_sandbox_is_a_failure_that_another_time_may_mend),
        cmocka_unit_test(verdicts_that_stand_are_not_made_again),
    };
    return cmocka_run_group_tests_name("scoring", tests, enter, leave);
}
