/*
 * recipe_lesson_data.c: what a recipe says of the data that a model is trained on, and what of it
 * goes together; see lesson_data.h. Files are not looked at.
 */
#include "recipe/lesson_data.h"
#include "recipe/eval_form.h"

#include <string.h>

enum { WEIGHTS_MAX = 1000 };

#define WEIGHT_LEAST 1e-6
#define WEIGHT_MOST 1000
#define HELD_OUT_MOST 0.5

static int read_one_file(lua_State *L, const struct lua_place *at, const struct field *f,
                         void *member, struct buf *err)
{
    char *file = NULL;
    struct field one = { .name = f->name, .type = FIELD_STRING };
    if (field_read_value(L, at, &one, &file, err) != 0)
        return -1;
    strings_add(member, file);
    free(file);
    return 0;
}

/* Several files; `file` stands before `files` in the field table. */
static int read_files(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    if (((struct strings *)member)->len)
        return place_fail(at, f->name, err, "say file or files, not both");
    return list_read(L, at, f, member, read_one_file, err);
}

static int compare_weights(const void *a, const void *b)
{
    return strcmp(((const struct lesson_weight *)a)->source,
                  ((const struct lesson_weight *)b)->source);
}

/* The weight on top of the stack, whose source is the key below it. */
static int add_weight(lua_State *L, const struct lua_place *at, struct lesson_data *d,
                      struct buf *err)
{
    size_t len = 0;
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tolstring(L, -2, &len) : NULL;
    if (!name || !len || strlen(name) != len || utf8_valid(name, len) != len)
        return place_fail(at, NULL, err, "each weight has its source's name, as in { gsm = 0.25 }");
    if (d->nweights == WEIGHTS_MAX)
        return place_fail(at, NULL, err, "more than %d sources", WEIGHTS_MAX);
    double weight = 0;
    struct field f = { .name = name, .type = FIELD_NUMBER, .hi = WEIGHT_MOST };
    if (field_read_value(L, at, &f, &weight, err) != 0)
        return -1;
    if (weight > 0 && weight < WEIGHT_LEAST)
        return place_fail(at, name, err, "%.10g; allowed is 0, for never, or %.10g and more",
                          weight, WEIGHT_LEAST);
    ARRAY_GROW(d->weights, d->weights_cap, d->nweights + 1);
    d->weights[d->nweights++] = (struct lesson_weight){ xstrndup(name, len), weight };
    return 0;
}

static int read_weights(lua_State *L, const struct lua_place *at, const struct field *f,
                        void *member, struct buf *err)
{
    struct lesson_data *d = member;
    if (lua_type(L, -1) != LUA_TTABLE)
        return field_refuse(L, at, f, "a table { SOURCE = times in an epoch, ... }", err);
    struct lua_place place = place_inside(at, f->name, 0, f->name);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        if (add_weight(L, &place, d, err) != 0) {
            lua_pop(L, 2);
            return -1;
        }
    if (d->nweights == 0)
        return place_fail(&place, NULL, err, "an empty table; at least one source is needed");
    qsort(d->weights, d->nweights, sizeof(*d->weights), compare_weights);
    return 0;
}

static const char *const too_long_words[] = { "refuse", "skip", NULL };

#define STRING(word, member)                                                                  \
    {                                                                                         \
        .name = (word), .type = FIELD_STRING, .offset = offsetof(struct lesson_data, member), \
    }
static const struct field fields[] = {
    STRING("[1]", name),
    { .name = "file",
      .type = FIELD_OTHER,
      .offset = offsetof(struct lesson_data, files),
      .read = read_one_file },
    { .name = "files",
      .type = FIELD_OTHER,
      .offset = offsetof(struct lesson_data, files),
      .read = read_files },
    STRING("prompt", prompt),
    STRING("completion", completion),
    STRING("text", text),
    STRING("source", source),
    { .name = "weights", .type = FIELD_OTHER, .read = read_weights },
    { .name = "held_out",
      .type = FIELD_NUMBER,
      .offset = offsetof(struct lesson_data, held_out),
      .lo = -INT32_MAX,
      .hi = INT32_MAX }, // check_together() says what is allowed
    { .name = "limit",
      .type = FIELD_WHOLE,
      .offset = offsetof(struct lesson_data, limit),
      .lo = 1,
      .hi = INT32_MAX },
    { .name = "too_long",
      .type = FIELD_WORD,
      .offset = offsetof(struct lesson_data, too_long),
      .words = too_long_words },
    { .name = NULL },
};
#undef STRING

/* What may not stand beside the name of a training set; NULL: nothing of it is there. */
static const char *beside_name(const struct lesson_data *d)
{
    return d->files.len    ? "file"
           : d->prompt     ? "prompt"
           : d->completion ? "completion"
           : d->text       ? "text"
                           : NULL;
}

static int check_kind(const struct lesson_data *d, struct buf *err)
{
    const struct lua_place *at = &d->at;
    if (d->name) {
        const char *key = beside_name(d);
        return key ? place_fail(at, key, err, "does not go with \"%.80s\", which says it itself",
                                d->name)
                   : 0;
    }
    if (!d->files.len)
        return place_fail(at, NULL, err,
                          "no data; allowed are the name of a training set, { \"gsm8k/train\" }, "
                          "and file = ... or files = { ... }");
    if (d->text && (d->prompt || d->completion))
        return place_fail(at, "text", err,
                          "a line is a whole text, or a prompt and a completion, not both");
    if (!d->text && !(d->prompt && d->completion))
        return place_fail(at, NULL, err,
                          "say text = the field that is a whole text, or both prompt = and "
                          "completion = , such as \"{question}\" and \" {answer}\"");
    return 0;
}

static int check_together(const struct lesson_data *d, struct buf *err)
{
    const struct lua_place *at = &d->at;
    if (check_kind(d, err) != 0 || template_check(at, "prompt", d->prompt, err) != 0 ||
        template_check(at, "completion", d->completion, err) != 0)
        return -1;
    if (d->nweights && !d->source)
        return place_fail(at, "weights", err,
                          "weights are by source; say which field names it, as in source = \"s\"");
    if (d->held_out < 0 || d->held_out > HELD_OUT_MOST)
        return place_fail(at, "held_out", err,
                          "%.10g; allowed is a share of the documents from 0 to %.10g", d->held_out,
                          HELD_OUT_MOST);
    if (d->text && d->too_long == TOO_LONG_SKIP)
        return place_fail(at, "too_long", err,
                          "whole texts are cut into windows of the training's length, and none is "
                          "too long");
    return 0;
}

int recipe_lesson_data_read(lua_State *L, const struct lua_place *at, const struct field *f,
                            void *member, struct buf *err)
{
    struct lesson_data *d = member;
    d->at = *at;
    if (lua_type(L, -1) == LUA_TSTRING) {
        struct field name = { .name = f->name, .type = FIELD_STRING };
        d->key = f->name;
        return field_read_value(L, at, &name, &d->name, err);
    }
    if (lua_type(L, -1) != LUA_TTABLE)
        return field_refuse(L, at, f,
                            "the name of a training set, such as \"gsm8k/train\", or a table "
                            "{ file = ... }",
                            err);
    d->at = place_inside(at, f->name, 0, f->name);
    return fields_read(L, &d->at, fields, d, err) == 0 ? check_together(d, err) : -1;
}
