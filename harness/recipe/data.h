/*
 * data.h: the documents of a task: JSON lines read, templates filled in, text made into tokens.
 *
 * Prompt and target are made into tokens apart and then joined: so the prompt's tokens are those
 * that a generator would be given, whatever follows. No special token is added anywhere.
 *
 * Invariant: a document that was read has at least two tokens and one that is scored, and fits the
 * context. Errors name the file and the line (from 1); no line is ever left out.
 * Leaves out: where files come from, and what is done with the tokens.
 */
#ifndef DATA_H
#define DATA_H

#include "recipe/task.h"
#include "text/tokenizer.h"

struct document {
    struct ids ids;    /* prompt and target */
    int prompt_tokens; /* the loss is of the tokens from here on; at least 1: token 0 has no loss */
    bool truncated;
};

struct documents {
    struct document *v;
    size_t len, cap;
    size_t truncated; /* how many were cut */
};

/*
 * Without a tokenizer: each line that will be used is JSON and has the fields, as texts that are
 * not empty. Sets `documents` and `data_hash` (of the whole file).
 */
int data_check(struct task *task, struct buf *err) MUST_USE;

/*
 * Reads and tokenizes `task->limit` documents (0: all) for a model with `context` positions. A
 * longer sequence is refused by file and line, or cut where the task says `truncate`: at its end
 * for whole texts, at the prompt's left for prompt and target.
 */
int documents_read(const struct task *task, struct tokenizer *tokenizer, int context,
                   struct documents *out, struct buf *err) MUST_USE;
void documents_release(struct documents *d); /* also after documents_read() has failed */

#endif
