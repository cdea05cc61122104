/*
 * pretokenize.h: cuts text into the pieces that byte-pair merges do not reach across.
 *
 * Invariant: the pieces, end to end, are the text (with a space before it, or before every piece of
 * an earlier step, where the file says add_prefix_space). Nothing is lost, whatever the length.
 * Leaves out: every step but Split (Isolated) and ByteLevel; the text is taken as valid UTF-8.
 */
#ifndef PRETOKENIZE_H
#define PRETOKENIZE_H

#include "util.h"

#include <jansson.h>

struct pretokenizer;

/* `node` is the value of "pre_tokenizer" of the file `path`, which is only named in errors. */
struct pretokenizer *pretokenizer_new(const char *path, const json_t *node,
                                      struct buf *err) MUST_USE;
void pretokenizer_free(struct pretokenizer *p);

/* Gets each piece in turn; a result other than 0 ends the cutting and is handed on. */
typedef int pretokenize_fn(void *ctx, const char *s, size_t len, struct buf *err);

int pretokenize(struct pretokenizer *p, const char *s, size_t len, pretokenize_fn *each, void *ctx,
                struct buf *err) MUST_USE;

#endif
