/*
 * lesson_data.h: the data that a model is trained on, as a recipe says them:
 *
 *     data = "gsm8k/train"                          -- the training set of evals/gsm8k.lua
 *     data = { "gsm8k/train", limit = 100 }
 *     data = { file = "x.jsonl",                    -- or files = { "x.jsonl", "y.jsonl.gz" }
 *              prompt = "{question}", completion = " {answer}" }       -- templates (template.h)
 *     data = { file = "x.jsonl", text = "t" }       -- the field that is a whole text
 *
 * and beside these
 *
 *     source   = "s",                -- the field that names a line's source; left out: all are one
 *     weights  = { gsm = 0.25 },     -- times that a source's texts come in an epoch; default 1
 *     held_out = 0.01,               -- about this share of the documents is never trained on
 *     limit    = 1000,               -- documents at most: the first of all files together
 *     too_long = "skip",             -- a prompt and completion longer than the training's `length`;
 *                                    -- "refuse", the default, stops there
 *
 * Whole texts are cut into windows where they are longer, so `too_long` does not go with them.
 * Files are looked for beside the recipe, then in the current folder, then under SEQTOPK_DATA.
 *
 * A document is held out where the hash of its text is small: so it is whatever files stand beside
 * it, and in which order, and equal texts are always on the same side. A source of 20 documents or
 * more of which none would be held out gives the one whose hash is smallest.
 *
 * Invariant: after lesson_data_check() every line that will be used is JSON with the fields it needs,
 * no completion and no text is empty, and each weight has its source.
 * Leaves out: tokens, and with them lengths and orders (train/lessons.h).
 */
#ifndef LESSON_DATA_H
#define LESSON_DATA_H

#include "recipe/eval.h"

enum too_long {
    TOO_LONG_REFUSE,
    TOO_LONG_SKIP,
};

enum { HELD_OUT_FROM = 20 }; /* documents of a source that always gives one */

struct lesson_weight {
    char *source;
    double weight; /* 0: the source is never trained on */
};

struct lesson_data_source {
    char *name; /* "" where the data name none */
    double weight;
    size_t documents;
};

/* Zeroes to begin with. May be moved by copying the struct. */
struct lesson_data {
    char *name;                    /* "gsm8k/train"; NULL: `files` */
    struct strings files;          /* as the recipe names them */
    char *prompt, *completion;     /* templates of files, or NULL with `text` */
    char *text;                    /* the field that is a whole text */
    char *source;                  /* the field that names the source, or NULL */
    struct lesson_weight *weights; /* by name */
    size_t nweights, weights_cap;
    double held_out;
    int limit;    /* 0: none */
    int too_long; /* enum too_long */
    /* Where the recipe says it, for lesson_data_check(): borrowed from the recipe. */
    struct lua_place at;
    const char *key; /* whose value a name that stands alone is; NULL: `at` is a table of its own */

    /* Set by lesson_data_check(). */
    struct eval *eval;                  /* of `name` */
    struct strings paths;               /* of `files`, where they were found */
    struct lesson_data_source *sources; /* in the order in which they are first named */
    size_t nsources, sources_cap;
    size_t documents;
    struct strings hashes; /* of the contents, one for each file that was read */
};

/*
 * Reads the value on top of the stack, a name or a table, into the struct lesson_data `member`,
 * which is released with lesson_data_release() also after -1. A reader of fields (struct field).
 */
int recipe_lesson_data_read(lua_State *L, const struct lua_place *at, const struct field *f,
                            void *member, struct buf *err) MUST_USE;
void lesson_data_release(struct lesson_data *d);

/* Reads all of the data, without a tokenizer: see the invariant. Done twice, it checks again. */
int lesson_data_check(struct lesson_data *d, struct buf *err) MUST_USE;

/* Feeds all that decides which lessons come of data that were checked; names of files do not. */
void lesson_data_hash(struct hash *h, const struct lesson_data *d);

/* Appends a short text for people, without templates and folders: "gsm8k/train limit=100". */
void lesson_data_label(const struct lesson_data *d, struct buf *out);

/* Are they whole texts, and not prompts and completions? */
bool lesson_data_is_text(const struct lesson_data *d);

/* A document's texts; all of it lasts as long as the call that it is given to. */
struct lesson_text {
    const struct buf *prompt;     /* empty for a whole text */
    const struct buf *completion; /* or the whole text */
    const char *source;
    const char *where; /* "FILE:LINE" */
};

/*
 * Calls `use` for the documents in order, until it does not return 0. -1 also where a file is no
 * longer the one that was checked.
 */
int lesson_data_each(const struct lesson_data *d,
                     int (*use)(void *ud, const struct lesson_text *text, struct buf *err),
                     void *ud, struct buf *err) MUST_USE;

#endif
