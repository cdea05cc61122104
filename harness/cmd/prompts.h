/*
 * prompts.h: what `generate` continues: prompts of the command line, of stdin, or of a file of
 * lines {"prompt": "..."}.
 *
 * Invariant: a prompt that was encoded has a token and leaves room for one in the context. Errors
 * name the prompt, or its file and line.
 */
#ifndef PROMPTS_H
#define PROMPTS_H

#include "text/tokenizer.h"

struct prompt {
    struct buf text;
    char *where; /* what sentences call it: "prompt 1", "stdin", "FILE:LINE" */
    struct ids ids;
};

struct prompts {
    struct prompt *v;
    size_t len, cap;
    int longest; /* tokens of the longest one, once encoded */
};

/* words: [n], as they are, but for "-", which is all of stdin. prompts_release() also after -1. */
int prompts_take(struct prompts *p, char *const *words, int n, struct buf *err) MUST_USE;
int prompts_read(struct prompts *p, const char *path, struct buf *err) MUST_USE;
int prompts_encode(struct prompts *p, struct tokenizer *t, int context, struct buf *err) MUST_USE;
void prompts_release(struct prompts *p);

#endif
