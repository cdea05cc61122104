/*
 * task.h: a task of a sweep, resolved: which file, which templates, how many documents.
 *
 * Invariant: the data file exists, and its name, templates and limit are final.
 * Leaves out: reading the file (data.h).
 */
#ifndef TASK_H
#define TASK_H

#include "recipe/recipe.h"

struct task {
    char *name;    /* "gsm8k/nll", or "nll:texts.jsonl" */
    char *file;    /* JSONL: one document a line */
    char *text;    /* nll: the field that is the whole text ("text"); else NULL */
    char *prompt;  /* template of the prompt, {field} filled in; NULL where `text` is set */
    char *target;  /* template of what is scored behind the prompt */
    int version;   /* raised when the numbers change */
    int limit;     /* documents at most; 0: all */
    bool truncate; /* too long a sequence is cut, and counted, instead of refused */

    /* Set by data_check(). */
    int documents; /* that will be read: those of the file, or `limit` where that is less */
    char data_hash[33];
};

/*
 * Fills in `out` (released by task_release() also after -1). Files are looked for beside the
 * recipe, then in the current folder; those of evals under SEQTOPK_DATA. `limit`: 0, or what
 * holds for every task.
 */
int task_resolve(const struct recipe_task *spec, int limit, struct task *out,
                 struct buf *err) MUST_USE;
void task_release(struct task *t);

#endif
