/*
 * eval.h: evals/NAME.lua, one file a task: what a document of it is, how it is put to a model, and
 * how what comes back is scored.
 *
 * The file returns a table:
 *
 *     return {
 *       name    = "gsm8k",                -- the file's own name
 *       about   = "one line for `seqtopk list`",
 *       license = "MIT",                  -- of the data
 *       source  = "https://...",          -- where the data come from
 *       file    = "gsm8k/test.jsonl",     -- under the folder of SEQTOPK_DATA, "data" without it:
 *                                         -- JSON lines, an array of objects (.json), or either
 *                                         -- behind gzip (.gz)
 *       sha256  = "3730d3...",            -- of the file as it should be; left out: not checked
 *       rows    = { field = "task_id", from = 11, to = 510 },  -- only these lines; left out: all
 *       train   = {                       -- what models are trained on: "gsm8k/train"; left out:
 *                                         -- there is none
 *         file = "gsm8k/train.jsonl", sha256 = "17f347...", rows = ...,
 *         prompt = "Question: {question}\nAnswer:", completion = " {answer}",
 *       },
 *       forms   = {                       -- a recipe says "gsm8k/nll"
 *         nll = { version = 1, prompt = "Question: {question}\nAnswer:", target = " {answer}" },
 *         ["lmeval-5shot"] = {
 *           version = 1, about = "one line: whose protocol",
 *           prompt = "Question: {question}\nAnswer:",
 *           shots = { file = "gsm8k/train.jsonl", sha256 = "17f347...", count = 5,
 *                     draw = "python", seed = 1234,   -- or "first", the default: the first `count`
 *                     text = "Question: {question}\nAnswer: {answer}\n\n" },
 *           generate = { max_tokens = 256, stop = { "Question:" }, temperature = 0, top_p = 1,
 *                        stop_at_end_text = true },  -- see struct decoding
 *           long_prompt = "cut",          -- on the left, to context - max_tokens; or "refuse"
 *           measures = { { "exact", name = "strict_match", find = "...", take = "first",
 *                          reference = "{answer}", normalise = { { ",", "" } }, ... } },
 *           self_test = { { output = "{canonical_solution}", score = 1, except = { 7 } },
 *                         { output = "", score = 0 } },
 *         },
 *       },
 *     }
 *
 * A form with `target` is scored by the loss of `target` behind `prompt`; one with `generate` by
 * its measures (score/measure.h) of what the model writes behind shots and prompt. In a template
 * {field} stands for that field of a document's line (template_fill()). `version` is raised when
 * numbers change. The trainer puts the end token behind a completion.
 *
 * In the place of files, a function may make the items:
 *
 *       generated = {
 *         test = 1000, train = 20000,     -- how many; without `train`, there is no training set
 *         items = function(split, count)  -- "test" or "train"; a list of `count` tables
 *           return { { question = "2 + 2?", answer = "4", steps = 1 }, ... }
 *         end,
 *       },
 *       train = { prompt = ..., completion = ... },  -- and no file
 *
 * It runs in the sandbox of lua_sandbox.h, with more time and memory than the file itself. A field
 * is a text, a whole number, true or false, or a list of these: no number with a point, which would
 * be written by the rounding of a machine. What it returns becomes JSON lines (eval_items.h) and goes
 * the way of a file. An eval may have a training set and no forms.
 *
 * Files are looked for in the folder of SEQTOPK_EVALS, in ./evals, and in ../evals beside the
 * program.
 * Invariant: in a `struct eval` the required keys are set, every template is well formed and every
 * measure prepared; there is a form or a training set; forms have one source of documents, a file
 * or a function, and so has the training set.
 * Leaves out: the documents themselves (data.h).
 */
#ifndef EVAL_H
#define EVAL_H

#include "decoding.h"
#include "recipe/lua_fields.h"
#include "score/measure.h"

/*
 * The lines of a file whose whole number `field` lies in [from, to]; field NULL: all lines. Of these
 * those whose text `text` has `min_bytes` at least; 0: whatever it has.
 */
struct eval_rows {
    char *field;
    int from, to;
    const char *text; /* borrowed */
    int min_bytes;
};

enum shots_draw {
    SHOTS_FIRST,  /* the first `count`, for every document */
    SHOTS_PYTHON, /* random.Random(seed).sample(lines, count), one generator for all documents in
                     their order */
};

struct eval_shots {
    char *file, *sha256; /* file NULL: no shots */
    struct eval_rows rows;
    int count, draw, seed;
    char *text; /* template */
};

/* The `output` template's measure by every document, and the score it must have. */
struct self_test {
    char *output;
    int score;
    struct wholes except; /* documents, from 0, that are known to score another, or sometimes do */
};

struct eval_form {
    char *name, *about;
    int version;
    char *prompt;
    char *target; /* NULL where the form generates */
    struct eval_shots shots;
    bool generates;
    struct decoding decoding;
    int long_prompt; /* enum long_prompt */
    struct measure *measures;
    size_t nmeasures, measures_cap;
    struct self_test *self_tests; /* of the first measure */
    size_t nself_tests, self_tests_cap;
};
enum long_prompt {
    LONG_PROMPT_REFUSE,
    LONG_PROMPT_CUT,
};

/* Prompts and completions to train on. */
struct eval_train {
    char *file, *sha256; /* file NULL: the eval's function makes the items */
    struct eval_rows rows;
    char *prompt, *completion; /* templates; prompt NULL: the eval has no training set */
};

/* Items that a function of the eval's file makes. */
struct eval_generated {
    int test, train; /* how many; test 0: there is no such function. train 0: no training set */
    char *code;      /* the eval's whole file, which eval_items() runs again; else NULL */
};

struct eval {
    char *path;
    char *name, *about, *license, *source;
    char *file, *sha256; /* file NULL: the documents are generated, or there are no forms */
    struct eval_rows rows;
    struct eval_generated generated;
    struct eval_train train;
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

#endif
