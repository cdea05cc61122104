/*
 * eval.h: evals/NAME.lua, one file a task: what a document of it is, and how it is put to a model.
 *
 * The file returns a table:
 *
 *     return {
 *       name    = "gsm8k",                -- the file's own name
 *       about   = "one line for `seqtopk list`",
 *       license = "MIT",                  -- of the data
 *       source  = "https://...",          -- where the data come from
 *       file    = "gsm8k/test.jsonl",     -- under the folder of SEQTOPK_DATA, "data" without it
 *       forms   = {                       -- a recipe says "gsm8k/nll"
 *         nll = { version = 1, prompt = "Question: {question}\nAnswer:", target = " {answer}" },
 *       },
 *     }
 *
 * A form is scored by the loss of `target` behind `prompt`. In a template {field} stands for that
 * field of a document's line, {{ and }} for braces. `version` is raised when numbers change.
 *
 * Files are looked for in the folder of SEQTOPK_EVALS, in ./evals, and in ../evals beside the
 * program.
 * Invariant: in a `struct eval` the required keys are set and every template is well formed.
 * Leaves out: the documents themselves (data.h).
 */
#ifndef EVAL_H
#define EVAL_H

#include "recipe/lua_fields.h"

struct eval_form {
    char *name;
    int version;
    char *prompt, *target;
};

struct eval {
    char *path;
    char *name, *about, *license, *source, *file;
    struct eval_form *forms; /* by name */
    size_t nforms, forms_cap;
};

/* `name` is letters, digits, - and _. An unknown one is refused with the list of known ones. */
struct eval *eval_open(const char *name, struct buf *err) MUST_USE;
void eval_free(struct eval *e);

/* The names of all evals, sorted. */
void eval_list(struct strings *out);

/* The folder of SEQTOPK_DATA, or "data". */
const char *eval_data_dir(void);

/*
 * Calls `part` for the pieces of a template in order: text between fields (`field` false) and the
 * names of fields. Stops at the first that does not return 0. -1 and a sentence also where the
 * template is not well formed.
 */
int template_walk(const char *template,
                  int (*part)(void *ud, bool field, const char *s, size_t len, struct buf *err),
                  void *ud, struct buf *err) MUST_USE;

#endif
