/*
 * eval_form.h: the parts of evals/NAME.lua, each read against its field table: forms, shots,
 * decoding, measures, the training set, what is generated. Used by eval.c and task_own.c only.
 */
#ifndef EVAL_FORM_H
#define EVAL_FORM_H

#include "recipe/eval.h"

#define EVAL_NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

/* Reads the form on top of the stack, which stands at `at`. After -1 it is released all the same. */
int form_read(lua_State *L, const struct lua_place *at, struct eval_form *form,
              struct buf *err) MUST_USE;
void form_release(struct eval_form *form);

/* Readers of fields (struct field); member: the struct they are in. */
int rows_read(lua_State *L, const struct lua_place *at, const struct field *f, void *rows,
              struct buf *err) MUST_USE;
int train_read(lua_State *L, const struct lua_place *at, const struct field *f, void *train,
               struct buf *err) MUST_USE;
int generated_read(lua_State *L, const struct lua_place *at, const struct field *f, void *generated,
                   struct buf *err) MUST_USE;
int measures_read(lua_State *L, const struct lua_place *at, const struct field *f, void *form,
                  struct buf *err) MUST_USE;

/* Does what the eval at `at` says of its data fit together: file, forms, `generated`, `train`? */
int eval_data_check(const struct lua_place *at, const struct eval *e, struct buf *err) MUST_USE;
void train_release(struct eval_train *t);

/* Is it a SHA-256 in small hexadecimal digits? NULL is. */
int sha256_check(const struct lua_place *at, const char *sha256, struct buf *err) MUST_USE;
int template_check(const struct lua_place *at, const char *key, const char *template,
                   struct buf *err) MUST_USE;

#endif
