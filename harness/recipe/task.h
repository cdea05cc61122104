/*
 * task.h: a task of a sweep, resolved: which file, which form, how many documents, how texts are
 * continued.
 *
 * Invariant: the data files exist (a task whose eval makes its documents has none), and all that is
 * said of the task is final.
 * Leaves out: reading the files (data.h).
 */
#ifndef TASK_H
#define TASK_H

#include "recipe/eval.h"
#include "recipe/recipe.h"

struct task {
    char *name;                   /* "gsm8k/nll", "nll:texts.jsonl"; where the recipe decodes in
                                     another way, "gsm8k/densemixer-0shot(temperature=0.7)" */
    struct eval *eval;            /* NULL for nll { ... } */
    const struct eval_form *form; /* of the eval; NULL for nll { ... } */
    char *text;                   /* nll { ... }: the field that is the whole text; else NULL */
    char *file;                   /* JSON lines: one document a line; NULL: the eval makes them */
    const char *sha256;           /* what the file's must be; NULL: any */
    char *shots_file;             /* NULL: no shots */
    struct decoding decoding;     /* the form's, and what the recipe says over it */
    int limit;                    /* documents at most; 0: all */
    int length;    /* nll { ... }: the tokens that are kept of each text, its first; 0: all */
    int min_bytes; /* nll { ... }: shorter texts are not selected */
    bool truncate; /* too long a sequence is cut, and counted, instead of refused */

    /* Set by data_check(). */
    int documents; /* that will be read: those of the file, or `limit` where that is less */
    char data_hash[33], shots_hash[33]; /* of the files' texts; "": no shots */
};

/*
 * Fills in `out` (released by task_release() also after -1). Files are looked for beside the
 * recipe, in the current folder and under SEQTOPK_DATA; those of evals there alone. `limit`: 0, or what
 * holds for every task.
 */
int task_resolve(const struct recipe_task *spec, int limit, struct task *out,
                 struct buf *err) MUST_USE;
/* The same without a recipe: "gsm8k/nll". `file` NULL: the task's own. */
int task_named(const char *name, const char *file, int limit, struct task *out,
               struct buf *err) MUST_USE;
/* For texts that are there already: no prompt will be made, and the shots' file may be missing. */
int task_of_texts(const char *name, const char *file, int limit, struct task *out,
                  struct buf *err) MUST_USE;
void task_release(struct task *t);

/*
 * The eval of a task's name as a recipe says it, TASK/FORM, and the form in it; NULL: no such task.
 * What stands in brackets behind the name of a task that was resolved is no part of it.
 */
struct eval *task_eval(const char *name, const struct eval_form **form, struct buf *err) MUST_USE;

/* Is a text generated and measured? Else a loss is scored. */
bool task_generates(const struct task *t);
/* Does what is generated hang on the seed? */
bool task_samples(const struct task *t);
/* Must code be run, or a judge be asked, for one of its measures? */
bool task_runs_code(const struct task *t);
bool task_asks_judge(const struct task *t);

#endif
