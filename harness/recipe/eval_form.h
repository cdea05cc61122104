/*
 * eval_form.h: the parts of evals/NAME.lua, each read against its field table: forms, shots,
 * decoding, measures. Used by eval.c only.
 */
#ifndef EVAL_FORM_H
#define EVAL_FORM_H

#include "recipe/eval.h"

#define EVAL_NAME_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"

/* Reads the form on top of the stack, which stands at `at`. After -1 it is released all the same. */
int form_read(lua_State *L, const struct lua_place *at, struct eval_form *form,
              struct buf *err) MUST_USE;
void form_release(struct eval_form *form);

/* Readers of fields (struct field), for `rows` and `measures`; member: the struct they are in. */
int rows_read(lua_State *L, const struct lua_place *at, const struct field *f, void *rows,
              struct buf *err) MUST_USE;
int measures_read(lua_State *L, const struct lua_place *at, const struct field *f, void *form,
                  struct buf *err) MUST_USE;

/* Is it a SHA-256 in small hexadecimal digits? NULL is. */
int sha256_check(const struct lua_place *at, const char *sha256, struct buf *err) MUST_USE;
int template_check(const struct lua_place *at, const char *key, const char *template,
                   struct buf *err) MUST_USE;

#endif
