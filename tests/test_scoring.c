/*
 * test_scoring.c: one output scored as a job for workers, many at once.
 */
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
static struct task task;

static int enter(void **state)
{
    (void)state;
    struct buf err = BUF_INIT, path = BUF_INIT;
    static const char eval[] =
        "return { name = 'sums', about = 'x', license = 'x', source = 'x', file = 'sums.jsonl',\n"
        "  forms = { one = { version = 1, about = 'x', prompt = '{q}', generate = { max_tokens = 3 "
        "},\n"
        "    measures = { { 'exact', name = 'number', find = '[0-9]+', take = 'last',\n"
        "                   reference = '{a}' },\n"
        "                 { 'chrf', name = 'chrf', reference = '{a}' } } } } }\n";
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
        rc = task_named("sums/one", NULL, 0, &task, &err);
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
    assert_null(workers_poll(w));
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_score_every_output_once),
        cmocka_unit_test(a_document_without_the_field_fails_its_own_job),
    };
    return cmocka_run_group_tests_name("scoring", tests, enter, leave);
}
