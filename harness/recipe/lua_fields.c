/*
 * lua_fields.c: see lua_fields.h.
 */
#include "recipe/lua_fields.h"

#include <stdio.h>
#include <string.h>

enum {
    LIST_MAX = 100000,
    SHOWN = 40 /* bytes of a string that an error message shows */
};

void value_describe(lua_State *L, struct buf *out)
{
    size_t len;
    const char *text;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        text = lua_tolstring(L, -1, &len);
        len = utf8_valid(text, len < SHOWN ? len : SHOWN);
        buf_adds(out, "the text \"");
        for (size_t i = 0; i < len; i++)
            buf_addc(out, (unsigned char)text[i] < ' ' ? ' ' : text[i]);
        buf_adds(out, "\"");
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, -1))
            buf_addf(out, "%lld", (long long)lua_tointeger(L, -1));
        else
            buf_addf(out, "%.10g", lua_tonumber(L, -1));
        break;
    case LUA_TBOOLEAN:
        buf_adds(out, lua_toboolean(L, -1) ? "true" : "false");
        break;
    case LUA_TFUNCTION:
        buf_adds(out, "a function that is not called; write NAME { ... } or NAME()");
        break;
    case LUA_TUSERDATA:
        if (lua_getmetatable(L, -1)) {
            lua_pushstring(L, "__name");
            lua_rawget(L, -2);
            buf_adds(out, lua_isstring(L, -1) ? lua_tostring(L, -1) : "a userdata");
            lua_pop(L, 2);
        }
        break;
    default:
        buf_addf(out, "a %s", lua_typename(L, lua_type(L, -1)));
    }
}

int field_refuse(lua_State *L, const struct lua_place *at, const struct field *f,
                 const char *allowed, struct buf *err)
{
    struct buf is = BUF_INIT;
    value_describe(L, &is);
    place_fail(at, f->name, err, "%s; allowed is %s", is.s, allowed);
    buf_release(&is);
    return -1;
}

static int read_string(lua_State *L, const struct lua_place *at, const struct field *f,
                       const char **out, struct buf *err)
{
    if (lua_type(L, -1) != LUA_TSTRING)
        return field_refuse(L, at, f, "a text", err);
    size_t len;
    *out = lua_tolstring(L, -1, &len);
    if (len == 0 && f->type != FIELD_TEXT)
        return place_fail(at, f->name, err, "an empty text");
    if (strlen(*out) != len || utf8_valid(*out, len) != len)
        return place_fail(at, f->name, err, "not a text in UTF-8");
    return 0;
}

static int read_whole(lua_State *L, const struct lua_place *at, const struct field *f, int64_t *out,
                      struct buf *err)
{
    int is_whole = 0;
    if (lua_type(L, -1) == LUA_TNUMBER)
        *out = lua_tointegerx(L, -1, &is_whole);
    if (is_whole && *out >= f->lo && *out <= f->hi)
        return 0;
    char allowed[80];
    snprintf(allowed, sizeof(allowed), "a whole number from %lld to %lld", (long long)f->lo,
             (long long)f->hi);
    return field_refuse(L, at, f, allowed, err);
}

static int read_number(lua_State *L, const struct lua_place *at, const struct field *f, double *out,
                       struct buf *err)
{
    double lo = (double)f->lo, hi = (double)f->hi;
    if (lua_type(L, -1) == LUA_TNUMBER) {
        *out = lua_tonumber(L, -1);
        if (*out >= lo && *out <= hi && !(f->above && *out == lo)) // false for what is no number
            return 0;
    }
    char allowed[80];
    snprintf(allowed, sizeof(allowed),
             f->above ? "a number above %.10g, up to %.10g" : "a number from %.10g to %.10g", lo,
             hi);
    return field_refuse(L, at, f, allowed, err);
}

static int read_word(lua_State *L, const struct lua_place *at, const struct field *f, int *out,
                     struct buf *err)
{
    struct buf allowed = BUF_INIT;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
    for (int i = 0; f->words[i]; i++) {
        if (text && strcmp(text, f->words[i]) == 0) {
            *out = i;
            buf_release(&allowed);
            return 0;
        }
        buf_addf(&allowed, "%s\"%s\"", i ? " or " : "", f->words[i]);
    }
    field_refuse(L, at, f, allowed.s, err);
    buf_release(&allowed);
    return -1;
}

static int add_string(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    const char *text;
    if (read_string(L, at, f, &text, err) != 0)
        return -1;
    strings_add(member, text);
    return 0;
}

static int add_whole(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                     struct buf *err)
{
    struct wholes *list = member;
    int64_t value = 0;
    if (read_whole(L, at, f, &value, err) != 0)
        return -1;
    ARRAY_GROW(list->v, list->cap, list->len + 1);
    list->v[list->len++] = value;
    return 0;
}

int list_read(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
              int (*read)(lua_State *L, const struct lua_place *at, const struct field *f,
                          void *member, struct buf *err),
              struct buf *err)
{
    if (lua_type(L, -1) != LUA_TTABLE)
        return read(L, at, f, member, err);
    lua_Unsigned len = lua_rawlen(L, -1);
    if (len > LIST_MAX)
        return place_fail(at, f->name, err, "a list of more than %d elements", LIST_MAX);
    lua_Unsigned seen = 0;
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1), seen++) {
        if (lua_isinteger(L, -2))
            continue;
        lua_pop(L, 1);
        struct buf is = BUF_INIT;
        value_describe(L, &is);
        lua_pop(L, 1);
        place_fail(at, f->name, err, "a list { ... } has no keys, but here is %s", is.s);
        buf_release(&is);
        return -1;
    }
    if (seen == 0)
        return place_fail(at, f->name, err, "an empty list; at least one element is needed");
    if (seen != len)
        return place_fail(at, f->name, err, "a list with a hole (nil) in it");
    for (lua_Unsigned i = 1; i <= len; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        int rc = read(L, at, f, member, err);
        lua_pop(L, 1);
        if (rc != 0)
            return -1;
    }
    return 0;
}

int field_read_value(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                     struct buf *err)
{
    const char *text;
    int64_t whole = 0;
    switch (f->type) {
    case FIELD_STRING:
    case FIELD_TEXT:
        if (read_string(L, at, f, &text, err) != 0)
            return -1;
        free(*(char **)member);
        *(char **)member = xstrdup(text);
        return 0;
    case FIELD_WORD:
        return read_word(L, at, f, member, err);
    case FIELD_WHOLE:
        if (read_whole(L, at, f, &whole, err) != 0)
            return -1;
        *(int *)member = (int)whole;
        return 0;
    case FIELD_NUMBER:
        return read_number(L, at, f, member, err);
    case FIELD_FLAG:
        if (lua_type(L, -1) != LUA_TBOOLEAN)
            return field_refuse(L, at, f, "true or false", err);
        *(bool *)member = lua_toboolean(L, -1);
        return 0;
    case FIELD_STRINGS:
        return list_read(L, at, f, member, add_string, err);
    case FIELD_WHOLES:
        return list_read(L, at, f, member, add_whole, err);
    case FIELD_OTHER:
        return f->read(L, at, f, member, err);
    }
    BUG("field type %d", (int)f->type);
}

/* 1 for "[1]", the first value without a key; 0 for a field with a key. */
static int position(const struct field *f)
{
    return f->name[0] == '[' ? f->name[1] - '0' : 0;
}

/* The field of the key on top of the stack; NULL: there is none. */
static const struct field *find_field(lua_State *L, const struct field *fields)
{
    for (const struct field *f = fields; f->name; f++) {
        if (position(f)
                ? lua_isinteger(L, -1) && lua_tointeger(L, -1) == position(f)
                : lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), f->name) == 0)
            return f;
    }
    return NULL;
}

static int unknown_key(lua_State *L, const struct lua_place *at, const struct field *fields,
                       struct buf *err)
{
    struct buf allowed = BUF_INIT;
    for (const struct field *f = fields; f->name; f++)
        if (!position(f))
            buf_addf(&allowed, "%s%s", allowed.len ? ", " : "", f->name);
    if (!allowed.len)
        buf_adds(&allowed, "none");
    if (lua_type(L, -1) == LUA_TSTRING) {
        const char *key = lua_tostring(L, -1);
        bool plain = utf8_valid(key, strlen(key)) == strlen(key) && strlen(key) <= SHOWN;
        place_fail(at, plain ? key : NULL, err, "unknown key; allowed are %s", allowed.s);
    } else {
        place_fail(at, NULL, err, "a value without a key; allowed keys are %s", allowed.s);
    }
    buf_release(&allowed);
    return -1;
}

int fields_read(lua_State *L, const struct lua_place *at, const struct field *fields, void *out,
                struct buf *err)
{
    for (lua_pushnil(L); lua_next(L, -2);) {
        lua_pop(L, 1);
        if (!find_field(L, fields)) {
            unknown_key(L, at, fields, err);
            lua_pop(L, 1);
            return -1;
        }
    }
    for (const struct field *f = fields; f->name; f++) {
        if (position(f))
            lua_rawgeti(L, -1, position(f));
        else {
            lua_pushstring(L, f->name);
            lua_rawget(L, -2);
        }
        int rc = 0;
        if (!lua_isnil(L, -1))
            rc = field_read_value(L, at, f, (char *)out + f->offset, err);
        else if (f->required)
            rc = place_fail(at, NULL, err, "'%s' is missing", f->name);
        lua_pop(L, 1);
        if (rc != 0)
            return -1;
    }
    return 0;
}

int table_read(lua_State *L, const struct lua_place *at, const struct field *fields, void *out,
               struct buf *err)
{
    if (lua_type(L, -1) == LUA_TTABLE)
        return fields_read(L, at, fields, out, err);
    struct buf allowed = BUF_INIT, is = BUF_INIT;
    for (const struct field *each = fields; each->name; each++)
        buf_addf(&allowed, "%s%s%s", each == fields ? "{ " : ", ", position(each) ? "" : each->name,
                 position(each) ? "..." : " =");
    value_describe(L, &is);
    place_fail(at, NULL, err, "%s; allowed is a table %s }", is.s, allowed.s);
    buf_release(&allowed);
    buf_release(&is);
    return -1;
}
