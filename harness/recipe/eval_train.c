/*
 * eval_train.c: see eval_form.h. Where an eval's data come from besides a file of documents: the
 * training set, and what a function makes; and what all of it means together.
 */
#include "recipe/eval_form.h"

#include <string.h>

enum { ITEMS_MAX = 1000000 };

int train_read(lua_State *L, const struct lua_place *at, const struct field *f, void *train,
               struct buf *err)
{
    static const struct field fields[] = {
        { .name = "file", .type = FIELD_STRING, .offset = offsetof(struct eval_train, file) },
        { .name = "sha256", .type = FIELD_STRING, .offset = offsetof(struct eval_train, sha256) },
        { .name = "rows",
          .type = FIELD_OTHER,
          .offset = offsetof(struct eval_train, rows),
          .read = rows_read },
        { .name = "prompt",
          .type = FIELD_STRING,
          .offset = offsetof(struct eval_train, prompt),
          .required = true },
        { .name = "completion",
          .type = FIELD_STRING,
          .offset = offsetof(struct eval_train, completion),
          .required = true },
        { .name = NULL },
    };
    struct eval_train *t = train;
    struct lua_place place = place_inside(at, f->name, 0, f->name);
    if (table_read(L, &place, fields, t, err) != 0 || sha256_check(&place, t->sha256, err) != 0 ||
        template_check(&place, "prompt", t->prompt, err) != 0)
        return -1;
    return template_check(&place, "completion", t->completion, err);
}

void train_release(struct eval_train *t)
{
    free(t->file);
    free(t->sha256);
    free(t->rows.field);
    free(t->prompt);
    free(t->completion);
    *t = (struct eval_train){ 0 };
}

/* The function is called where data are read (eval_items.h); here it is only seen to be one. */
static int see_function(lua_State *L, const struct lua_place *at, const struct field *f,
                        void *member, struct buf *err)
{
    (void)member;
    if (lua_type(L, -1) == LUA_TFUNCTION)
        return 0;
    return field_refuse(L, at, f, "function(split, count) ... end", err);
}

int generated_read(lua_State *L, const struct lua_place *at, const struct field *f, void *generated,
                   struct buf *err)
{
    static const struct field fields[] = {
        { .name = "test",
          .type = FIELD_WHOLE,
          .offset = offsetof(struct eval_generated, test),
          .required = true,
          .lo = 1,
          .hi = ITEMS_MAX },
        { .name = "train",
          .type = FIELD_WHOLE,
          .offset = offsetof(struct eval_generated, train),
          .lo = 1,
          .hi = ITEMS_MAX },
        { .name = "items", .type = FIELD_OTHER, .read = see_function, .required = true },
        { .name = NULL },
    };
    struct lua_place place = place_inside(at, f->name, 0, f->name);
    return table_read(L, &place, fields, generated, err);
}

/* What goes with a file only. */
static int refuse_idle(const struct lua_place *at, const char *sha256, const struct eval_rows *rows,
                       struct buf *err)
{
    if (!sha256 && !rows->field)
        return 0;
    return place_fail(at, sha256 ? "sha256" : "rows", err, "goes with 'file', and there is none");
}

static int check_documents(const struct lua_place *at, const struct eval *e, struct buf *err)
{
    if (e->file && e->generated.test)
        return place_fail(at, "generated", err, "'file' and 'generated' exclude each other");
    if (!e->file && refuse_idle(at, e->sha256, &e->rows, err) != 0)
        return -1;
    bool data = e->file || e->generated.test;
    if (e->nforms == 0)
        return data || !e->train.prompt ? place_fail(at, NULL, err, "'forms' is missing") : 0;
    return data ? 0 : place_fail(at, NULL, err, "'file' is missing, or 'generated' in its place");
}

int eval_data_check(const struct lua_place *at, const struct eval *e, struct buf *err)
{
    if (check_documents(at, e, err) != 0)
        return -1;
    struct lua_place train = place_inside(at, "train", 0, "train");
    if (!e->train.prompt) {
        if (e->generated.train == 0)
            return 0;
        return place_fail(at, NULL, err,
                          "'train' is missing: { prompt =, completion = } for the %d items that "
                          "'generated' has for it",
                          e->generated.train);
    }
    if (!e->train.file && refuse_idle(&train, e->train.sha256, &e->train.rows, err) != 0)
        return -1;
    if (e->train.file && e->generated.train)
        return place_fail(&train, "file", err, "'generated' makes the training set's items");
    if (e->train.file || e->generated.train)
        return 0;
    return place_fail(&train, NULL, err, "'file' is missing, or 'train' in 'generated'");
}
