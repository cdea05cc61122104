/*
 * program.c: the scorer "program": 1 where the program that a measure makes of an output ends
 * without an exception in the sandbox, else 0. Where the sandbox itself breaks twice, there is no
 * score, and why stands in `failure`.
 */
#include "score/measure.h"
#include "score/sandbox.h"

/* A sandbox that broke is tried once more: a machine that is short of processes is so for moments. */
static void run(const struct measure *m, struct sandbox *sandbox, const struct buf *program,
                struct verdict *v)
{
    struct outcome_of o;
    struct buf why = BUF_INIT;
    int rc = sandbox_run(sandbox, program->s, program->len, m->milliseconds, &o, &why);
    if (rc) {
        buf_reset(&why);
        rc = sandbox_run(sandbox, program->s, program->len, m->milliseconds, &o, &why);
    }
    if (rc == 0) {
        v->score = o.outcome == OUTCOME_PASSED;
        v->result = xstrdup(outcome_name(&o));
    } else {
        v->failure = buf_detach(&why);
        v->again = true;
    }
    buf_release(&why);
}

static int score_program(const struct measure *m, const struct tools *tools, const json_t *doc,
                         struct verdict *v, struct buf *err)
{
    struct buf program = BUF_INIT;
    if (!tools || !tools->sandbox)
        BUG("a program without a sandbox");
    int rc = template_fill(m->program, doc, v->found, &program, err);
    if (rc == 0)
        run(m, tools->sandbox, &program, v);
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
