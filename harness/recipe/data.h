/*
 * data.h: the documents of a task: JSON lines read, templates filled in, text made into tokens.
 *
 * Where a loss is scored, prompt and target are made into tokens apart and then joined: so the
 * prompt's tokens are those that a generator would be given, whatever follows. Where a text is
 * generated, shots and prompt are one text. No special token is added anywhere.
 *
 * Invariant: a document that was read fits the context; with a loss it has at least two tokens and
 * one that is scored, else one token and room for a new one. Documents are counted from 0 among
 * the lines that the task selects. Errors name the file and the line (from 1); no line is ever
 * left out.
 * Leaves out: where files come from, and what is done with the tokens.
 */
#ifndef DATA_H
#define DATA_H

#include "recipe/task.h"
#include "text/tokenizer.h"

struct document {
    struct ids ids;    /* prompt and target; where a text is generated, shots and prompt */
    int prompt_tokens; /* the loss is of the tokens from here on; at least 1: token 0 has no loss.
                          Where a text is generated: all of `ids` */
    bool truncated;
    json_t *fields; /* where a text is generated: the line, for the task's measures; else NULL */
};

struct documents {
    struct document *v;
    size_t len, cap;
    size_t truncated; /* how many were cut */
};

/*
 * Without a tokenizer: the file's sum is right, each line that will be used is JSON, and every
 * template can be filled in from it (prompts and targets with some text). Sets `documents`,
 * `data_hash` and `shots_hash`.
 */
int data_check(struct task *task, struct buf *err) MUST_USE;

/*
 * Reads and tokenizes `task->limit` documents (0: all) for a model with `context` positions. A
 * longer sequence is refused by file and line, or cut where the task says `truncate`: at its end
 * for whole texts, at the prompt's left for prompt and target, and to context - max_tokens at the
 * left for a prompt behind which a text is generated. Without a tokenizer (NULL) documents have
 * their fields and no tokens.
 */
int documents_read(const struct task *task, struct tokenizer *tokenizer, int context,
                   struct documents *out, struct buf *err) MUST_USE;
void documents_release(struct documents *d); /* also after documents_read() has failed */

#endif
