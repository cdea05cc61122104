/*
 * eval.c: the input is evals/x.lua: a task with its templates, measures and regular expressions.
 *
 * The limits are those of recipe.c. Leaves out: running the function of `generated`, which has limits
 * of its own and whose items the program keeps.
 */
#include "lua_limits.h"

#include "recipe/eval.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct buf err = BUF_INIT;
    setenv("SEQTOPK_EVALS", fuzz_dir(), 1);
    fuzz_file("x.lua", data, len);
    struct eval *e = eval_open("x", &err);
    if (!e)
        fuzz_said(&err);
    else if (!e->nforms && !e->train.prompt)
        BUG("neither a form nor a training set");
    eval_free(e);
    return 0;
}
