/*
 * tools.c: opens the sandbox and the judge for the commands that measure texts; see cmd.h.
 */
#include "cmd/cmd.h"
#include "recipe/sweep.h"
#include "score/judge.h"
#include "score/measure.h"
#include "score/sandbox.h"

void cmd_tools_open(struct tools *t, const struct cmd *c, const char *task, bool allowed,
                    const struct judge_spec *judge)
{
    struct buf err = BUF_INIT;
    *t = (struct tools){ 0 };
    if (task && !allowed)
        die(1,
            "%s: task %s runs code that a model wrote, in a sandbox; say --allow-code-execution if "
            "it shall",
            c->name, task);
    if (task && !(t->sandbox = sandbox_open(&err)))
        die(1, "%s: task %s: %s", c->name, task, err.s);
    if (judge && !(t->judge = judge_open(judge, &err)))
        die(1, "%s: %s", c->name, err.s);
    buf_release(&err);
}

void cmd_tools_close(struct tools *t)
{
    sandbox_close(t->sandbox);
    judge_close(t->judge);
}

void cmd_judge_note(const struct sweep *s)
{
    for (size_t i = 0; i < s->ntasks && !s->judged; i++)
        if (task_asks_judge(&s->tasks[i]))
            warning("%s has no judge, and so no judge's score: judge = { url =, model = } or { "
                    "command = } in the recipe names one",
                    s->tasks[i].name);
}
