/*
 * task.h: a task of a sweep, resolved: which file, which form, how many documents, how texts are
 * continued.
 *
 * Beside the forms of evals a recipe has three kinds of its own:
 *
 *   nll { file =, field = "text", length =, min_bytes =, limit =, truncate = }
 *                       the loss of whole texts, or of the first `length` tokens of each
 *   continue { file =, field = "text", prompt_tokens =, max_tokens =, min_bytes =, limit =,
 *              temperature = 0, top_p = 1, stop_at_end = false }
 *                       the first `prompt_tokens` tokens of each text are written on, `max_tokens` of
 *                       them: all, so that texts are equally long, unless `stop_at_end` lets the
 *                       model's end token end them. Measured by chrF against the text's own next
 *                       `max_tokens` tokens, which it must have, by what is said again
 *                       (score/repetition.c), and by the loss that the model itself gave to what it
 *                       wrote
 *   speed { prompt_tokens = 128, tokens = 256, batch = 1, repeats = 7, warmup = 1 }
 *                       how long reading and writing take, and how much memory (run_speed.c)
 *
 * Each may have a `name`: nll:NAME, continue:NAME, speed:NAME.
 *
 * Invariant: the data files exist (a task whose eval makes its documents has none, nor has speed), and
 * all that is said of the task is final.
 * Leaves out: reading the files (data.h).
 */
#ifndef TASK_H
#define TASK_H

#include "recipe/eval.h"
#include "recipe/recipe.h"

struct task {
    char *name;                   /* "gsm8k/nll", "nll:texts.jsonl"; where the recipe decodes in
                                     another way, "gsm8k/densemixer-0shot(temperature=0.7)" */
    struct eval *eval;            /* NULL for nll, continue and speed { ... } */
    const struct eval_form *form; /* of the eval, or `own`; NULL for nll and speed { ... } */
    struct eval_form *own;        /* of continue { ... }; else NULL */
    char *text;                   /* nll, continue: the field that is the whole text; else NULL */
    char *file;                   /* JSON lines: one document a line; NULL: they are made */
    const char *sha256;           /* what the file's must be; NULL: any */
    char *shots_file;             /* NULL: no shots */
    struct decoding decoding;     /* the form's, and what the recipe says over it */
    int limit;                    /* documents at most; 0: all */
    int length;         /* nll { ... }: the tokens that are kept of each text, its first; 0: all */
    int min_bytes;      /* nll, continue: shorter texts are not selected */
    int prompt_tokens;  /* continue { ... }: of each text; 0: another task */
    struct speed speed; /* 0 repeats: another task */
    bool truncate;      /* too long a sequence is cut, and counted, instead of refused */

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
/* Is a text's own next part what is written? */
bool task_continues(const struct task *t);
/* Is nothing scored, but the time taken? Each document is one repeat. */
bool task_times(const struct task *t);
/* Do texts grow token by token, so that a router that looks ahead cannot route them? */
bool task_decodes(const struct task *t);
/* Does what is generated hang on the seed? */
bool task_samples(const struct task *t);
/* Must code be run, or a judge be asked, for one of its measures? */
bool task_runs_code(const struct task *t);
bool task_asks_judge(const struct task *t);

#endif
