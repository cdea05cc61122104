/*
 * program.c: the scorer "program": 1 where the program that a measure makes of an output ends
 * without an exception in the sandbox, else 0.
 */
#include "score/measure.h"
#include "score/sandbox.h"

static int score_program(const struct measure *m, const struct tools *tools, const json_t *doc,
                         const char *output, struct verdict *v, struct buf *err)
{
    (void)output; // v->found is what is left of it
    struct buf program = BUF_INIT;
    struct outcome_of o;
    if (!tools || !tools->sandbox)
        BUG("a program without a sandbox");
    int rc = template_fill(m->program, doc, v->found, &program, err);
    if (rc == 0)
        rc = sandbox_run(tools->sandbox, program.s, program.len, m->milliseconds, &o, err);
    if (rc == 0) {
        v->score = o.outcome == OUTCOME_PASSED;
        v->result = xstrdup(outcome_name(&o));
    }
    buf_release(&program);
    return rc;
}

static const char *const needs[] = { "program", NULL };

const struct scorer scorer_program = {
    .name = "program",
    .help = "runs the output in the sandbox: 1 where it ends without an exception",
    .needs = needs,
    .runs_code = true,
    .score = score_program,
};
