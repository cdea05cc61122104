/*
 * run_tokenizer.h: the tokenizer of a model that is made from nothing: one that is there, or one that
 * is trained, once for all models that are made with the same texts and size.
 *
 * Leaves out: how a tokenizer is trained (text/bpe_train.h).
 */
#ifndef RUN_TOKENIZER_H
#define RUN_TOKENIZER_H

#include "recipe/recipe_pretrain.h"
#include "text/tokenizer.h"

/*
 * The path of the tokenizer that `p` says, and the hash of what decides it: of the file that is
 * there, or of texts, which were checked, and size. A file that is not found is refused.
 */
int pretrain_tokenizer_find(const struct recipe_pretrain *p, const char *root, char **path,
                            char hash[33], struct buf *err) MUST_USE;

/* Opens it; one that is to be trained and is not there is made first. */
struct tokenizer *pretrain_tokenizer_open(const struct recipe_pretrain *p, const char *path,
                                          struct buf *err) MUST_USE;

/* The id of the special token `text`. */
int pretrain_end_token(const struct recipe_pretrain *p, struct tokenizer *t, const char *path,
                       int32_t *out, struct buf *err) MUST_USE;

#endif
