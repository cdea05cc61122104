/*
 * task_own.h: the tasks that a recipe makes without an eval, continue { ... } and speed { ... }: what
 * they are called, how they are measured, and their documents. task.h says what they do. Used by
 * task.c and data.c only.
 *
 * Leaves out: files and their lines, which are read as those of nll { ... } (data.c).
 */
#ifndef TASK_OWN_H
#define TASK_OWN_H

#include "recipe/data.h"

/* Name, form and decoding of what continues texts; the file is the caller's. */
int task_own_continue(const struct recipe_task *spec, struct task *out, struct buf *err) MUST_USE;
/* Name, which begins with STORE_TIMED, and what is timed. */
void task_own_speed(const struct recipe_task *spec, struct task *out);
void task_own_release(struct task *t);

/* Sets what data_check() does. */
void task_own_speed_check(struct task *t);

/* Are there positions for prompt and what is written? */
int task_own_fits(const struct task *t, int context, struct buf *err) MUST_USE;

/*
 * The document of a text to be continued, whose `ids` are the whole text: they become the prompt, and
 * `fields` has the text of what follows, "continuation". A text that has fewer tokens than both is
 * refused.
 */
int task_own_cut(const struct task *t, const struct tokenizer *tokenizer, struct document *d,
                 const char *where, struct buf *err) MUST_USE;

/*
 * One document a repeat: the tokens of `batch` texts, one behind the other, drawn from the whole
 * vocabulary by the repeat's number alone. So every router is given the same, on every machine.
 */
void task_own_speed_documents(const struct task *t, const struct tokenizer *tokenizer,
                              struct documents *out);

#endif
