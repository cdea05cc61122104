/*
 * lua_fields.h: a Lua table read against a field table: which keys there are, of what type, in
 * what range. What does not fit is refused with file, line, key and what is allowed.
 *
 * The line of a key is found in the source: from the line of the constructor's call on, the key
 * inside its braces that stands before a '='. Where it is not found (a table built in a loop), the
 * constructor's line is given.
 *
 * Invariant: values are read with raw access, so nothing of Lua runs and nothing fails half-way:
 * after -1 the members already read are set, and the caller's release function frees them.
 * Leaves out: what the values mean together.
 */
#ifndef LUA_FIELDS_H
#define LUA_FIELDS_H

#include "util.h"

#include <lua.h>

/* Where in a Lua file a table stands. All strings are borrowed. */
struct lua_place {
    const char *path;
    const char *text; /* the whole source */
    int line;         /* of the constructor's call; 0: the table that the file returns */
    const char *word; /* the constructor, "seqtopk"; or what else the table is called */
    const char *from; /* where in `text` the table begins; NULL: found by line and word; "": it is
                         not seen in the source */
};

/* Fails with "PATH:LINE: WORD.KEY: ...", or without ".KEY" where `key` is NULL. */
int place_fail(const struct lua_place *at, const char *key, struct buf *err, const char *fmt, ...)
    PRINTF(4, 5);

/* The line where `key` is given a value in the table at `at`; at->line where it is not seen. */
int place_line(const struct lua_place *at, const char *key);

/*
 * The place of a table inside the one at `at`: the value of `key`, or where `n` is not 0 the n-th
 * element (from 1) of the list that is its value. `word`: what it is called.
 */
struct lua_place place_inside(const struct lua_place *at, const char *key, size_t n,
                              const char *word);

struct wholes {
    int64_t *v;
    size_t len, cap;
};

enum field_type {
    FIELD_STRING,  /* char *, not empty */
    FIELD_TEXT,    /* char *, may be empty */
    FIELD_WORD,    /* int: index into `words` */
    FIELD_WHOLE,   /* int, in [lo, hi] */
    FIELD_NUMBER,  /* double, in [lo, hi] */
    FIELD_FLAG,    /* bool */
    FIELD_STRINGS, /* struct strings: a list, or one string */
    FIELD_WHOLES,  /* struct wholes: a list, or one number; each in [lo, hi] */
    FIELD_OTHER,   /* `read` reads the value on top of the stack */
};

struct field {
    const char *name; /* "[1]" is the first value without a key, "[2]" the second */
    enum field_type type;
    size_t offset; /* of the member in the struct that is filled in */
    bool required;
    int64_t lo, hi;
    bool above;               /* a number: `lo` itself is not allowed */
    const char *const *words; /* ended by NULL */
    int (*read)(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                struct buf *err);
};

/*
 * Reads the table on top of the stack into `out`, whose members hold the defaults; `fields` is
 * ended by a NULL name. The table stays on the stack.
 */
int fields_read(lua_State *L, const struct lua_place *at, const struct field *fields, void *out,
                struct buf *err) MUST_USE;

/* Reads the value on top of the stack as field `f` says, into `member` (f->offset is not used). */
int field_read_value(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                     struct buf *err) MUST_USE;

/* The same where the value on top of the stack may be something else than a table. */
int table_read(lua_State *L, const struct lua_place *at, const struct field *fields, void *out,
               struct buf *err) MUST_USE;

/*
 * Calls `read` for each element of the value on top of the stack, which is a list that is not
 * empty or, where it is no table, the only element itself.
 */
int list_read(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
              int (*read)(lua_State *L, const struct lua_place *at, const struct field *f,
                          void *member, struct buf *err),
              struct buf *err) MUST_USE;

/* Fails with "...: WHAT-IT-IS; allowed is ALLOWED" of the value on top of the stack. */
int field_refuse(lua_State *L, const struct lua_place *at, const struct field *f,
                 const char *allowed, struct buf *err);

/* Says in a few words what the value on top of the stack is: the text "x", a table, 3.5. */
void value_describe(lua_State *L, struct buf *out);

#endif
