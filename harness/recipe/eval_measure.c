/*
 * eval_measure.c: see eval_form.h. The measures of a form; what they do with their fields is said in
 * score/measure.h.
 */
#include "recipe/eval_form.h"

#include <stdio.h>
#include <string.h>

enum {
    WORD_LEN = 64,
    MILLISECONDS_MAX = 600000,
    OUT_OF_MAX = 1000000,
    REPLY_MAX = 100000,
    MILLISECONDS = 3000, /* defaults: as human-eval has it, ... */
    OUT_OF = 10,         /* ... and as judges are mostly asked */
    REPLY_TOKENS = 512
};

static int add_rewrite(lua_State *L, const struct lua_place *at, const struct field *f,
                       void *member, struct buf *err)
{
    static const struct field fields[] = {
        { .name = "[1]",
          .type = FIELD_STRING,
          .offset = offsetof(struct rewrite, find),
          .required = true },
        { .name = "[2]",
          .type = FIELD_TEXT,
          .offset = offsetof(struct rewrite, with),
          .required = true },
        { .name = NULL },
    };
    struct rewrites *list = member;
    if (lua_type(L, -1) != LUA_TTABLE)
        return field_refuse(L, at, f, "a list of pairs { { \"FIND\", \"WITH\" }, ... }", err);
    ARRAY_GROW(list->v, list->cap, list->len + 1);
    struct rewrite *r = &list->v[list->len++];
    *r = (struct rewrite){ 0 };
    struct lua_place place = place_inside(at, f->name, list->len, f->name);
    return fields_read(L, &place, fields, r, err);
}

static int read_rewrites(lua_State *L, const struct lua_place *at, const struct field *f,
                         void *member, struct buf *err)
{
    return list_read(L, at, f, member, add_rewrite, err);
}

static int add_golden(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    static const struct field fields[] = {
        { .name = "output",
          .type = FIELD_TEXT,
          .offset = offsetof(struct golden, output),
          .required = true },
        { .name = "found", .type = FIELD_TEXT, .offset = offsetof(struct golden, found) },
        { .name = NULL },
    };
    struct measure *m = member;
    ARRAY_GROW(m->golden, m->golden_cap, m->ngolden + 1);
    struct golden *g = &m->golden[m->ngolden++];
    *g = (struct golden){ 0 };
    struct lua_place place = place_inside(at, f->name, m->ngolden, f->name);
    return table_read(L, &place, fields, g, err);
}

static int read_golden(lua_State *L, const struct lua_place *at, const struct field *f,
                       void *member, struct buf *err)
{
    return list_read(L, at, f, member, add_golden, err);
}

static int read_scorer(lua_State *L, const struct lua_place *at, const struct field *f,
                       void *member, struct buf *err)
{
    struct measure *m = member;
    struct buf known = BUF_INIT;
    for (const struct scorer *const *s = scorers; *s; s++)
        buf_addf(&known, "%s\"%s\"", s == scorers ? "" : " or ", (*s)->name);
    m->scorer = lua_type(L, -1) == LUA_TSTRING ? scorer_find(lua_tostring(L, -1)) : NULL;
    int rc = m->scorer ? 0 : field_refuse(L, at, f, known.s, err);
    buf_release(&known);
    return rc;
}

#define MEMBER(member, kind) \
    .name = #member, .type = FIELD_##kind, .offset = offsetof(struct measure, member)

static const struct field measure_fields[] = {
    { .name = "[1]", .type = FIELD_OTHER, .read = read_scorer, .required = true },
    { MEMBER(name, STRING) },
    { MEMBER(before, OTHER), .read = read_rewrites },
    { MEMBER(find, STRING) },
    { MEMBER(take, WORD),
      .words = (const char *const[]){ [TAKE_FIRST] = "first", [TAKE_LAST] = "last", NULL } },
    { MEMBER(otherwise, WORD),
      .words =
          (const char *const[]){ [OTHERWISE_NONE] = "none", [OTHERWISE_WHOLE] = "whole", NULL } },
    { MEMBER(strip, FLAG) },
    { MEMBER(reference, STRING) },
    { MEMBER(normalise, OTHER), .read = read_rewrites },
    { MEMBER(ignore_case, FLAG) },
    { MEMBER(characters, FLAG) },
    { MEMBER(program, STRING) },
    { MEMBER(milliseconds, WHOLE), .lo = 1, .hi = MILLISECONDS_MAX },
    { MEMBER(system, STRING) },
    { MEMBER(user, STRING) },
    { MEMBER(parse, STRING) },
    { MEMBER(out_of, WHOLE), .lo = 1, .hi = OUT_OF_MAX },
    { MEMBER(max_tokens, WHOLE), .lo = 1, .hi = REPLY_MAX },
    { MEMBER(ngram, WHOLE), .lo = 1, .hi = NGRAM_MAX },
    { .name = "golden", .type = FIELD_OTHER, .read = read_golden },
    { .name = NULL },
};

/* Keys that only some scorers look at; and those that only say more of `find`. */
static const struct {
    const char *key, *goes_with;
} particular[] = {
    { "reference", "exact rouge_l chrf" },
    { "normalise", "exact" },
    { "ignore_case", "exact" },
    { "characters", "rouge_l" },
    { "program", "program" },
    { "milliseconds", "program" },
    { "system", "judge" },
    { "user", "judge" },
    { "parse", "judge" },
    { "out_of", "judge" },
    { "max_tokens", "judge" },
    { "ngram", "repetition distinct" },
    { "take", "find" },
    { "otherwise", "find" },
};

static bool among(const char *words, const char *word)
{
    size_t len = strlen(word);
    for (const char *p = words; (p = strstr(p, word)); p += len)
        if ((p == words || p[-1] == ' ') && (p[len] == ' ' || !p[len]))
            return true;
    return false;
}

/* A key without an effect is a mistake. The measure's table is on top of the stack. */
static int check_keys(lua_State *L, const struct lua_place *at, const struct measure *m,
                      struct buf *err)
{
    for (size_t i = 0; i < ARRAY_LEN(particular); i++) {
        const char *key = particular[i].key, *with = particular[i].goes_with;
        lua_pushstring(L, key);
        bool said = lua_rawget(L, -2) != LUA_TNIL;
        lua_pop(L, 1);
        if (said && !among(with, m->scorer->name) && !(m->find && among(with, "find")))
            return place_fail(at, key, err, "has no effect here; it goes with %s", with);
    }
    return 0;
}

/* A metric's name: unlike others of the form, and made of plain characters, as in "pass@1". */
static int check_name(const struct lua_place *at, const struct eval_form *form, struct buf *err)
{
    const struct measure *m = &form->measures[form->nmeasures - 1];
    if (m->name[strspn(m->name, EVAL_NAME_CHARS "@")])
        return place_fail(at, "name", err, "\"%.80s\"; allowed are letters, digits, -, _ and @",
                          m->name);
    for (size_t i = 0; i + 1 < form->nmeasures; i++)
        if (strcmp(form->measures[i].name, m->name) == 0)
            return place_fail(at, "name", err, "two measures are called \"%.80s\"", m->name);
    return 0;
}

static int check_templates(const struct lua_place *at, const struct measure *m, struct buf *err)
{
    return template_check(at, "reference", m->reference, err) ||
                   template_check(at, "program", m->program, err) ||
                   template_check(at, "system", m->system, err) ||
                   template_check(at, "user", m->user, err)
               ? -1
               : 0;
}

static int add_measure(lua_State *L, const struct lua_place *at, const struct field *f,
                       void *member, struct buf *err)
{
    struct eval_form *form = member;
    ARRAY_GROW(form->measures, form->measures_cap, form->nmeasures + 1);
    struct measure *m = &form->measures[form->nmeasures++];
    *m = (struct measure){ .milliseconds = MILLISECONDS,
                           .out_of = OUT_OF,
                           .max_tokens = REPLY_TOKENS };
    char word[WORD_LEN];
    snprintf(word, sizeof(word), "measures[%zu]", form->nmeasures);
    struct lua_place place = place_inside(at, f->name, form->nmeasures, word);
    if (table_read(L, &place, measure_fields, m, err) != 0)
        return -1;
    if (check_keys(L, &place, m, err) != 0)
        return -1;
    if (!m->name)
        m->name = xstrdup(m->scorer->name);
    if (check_name(&place, form, err) != 0 || check_templates(&place, m, err) != 0)
        return -1;
    return measure_prepare(m, err) == 0 ? 0 : place_fail(&place, NULL, err, "%s", err->s);
}

int measures_read(lua_State *L, const struct lua_place *at, const struct field *f, void *form,
                  struct buf *err)
{
    return list_read(L, at, f, form, add_measure, err);
}
