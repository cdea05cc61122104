/*
 * recipe_tasks.c: see recipe_tasks.h.
 */
#include "recipe/recipe_tasks.h"
#include "recipe/recipe_words.h"

#include <string.h>

enum {
    TOKENS_MAX = 1000000,
    TEMPERATURE_MAX = 100,
    TRIES_MAX = 100,
    WAIT_MAX = 120,
    TIMEOUT_MAX = 3600
};

/* What speed { ... } times where it does not say. */
static const struct speed usual_speed = { .prompt_tokens = 128,
                                          .tokens = 256,
                                          .batch = 1,
                                          .repeats = SPEED_REPEATS,
                                          .warmup = SPEED_WARMUP };
enum { BATCH_MAX = 4096, REPEATS_MAX = 1000 };

/* What every kind of task may say of its documents. */
#define HOW_MUCH_FIELDS                                                                          \
    { .name = "limit",                                                                           \
      .type = FIELD_WHOLE,                                                                       \
      .offset = offsetof(struct recipe_task, limit),                                             \
      .lo = 1,                                                                                   \
      .hi = INT32_MAX },                                                                         \
    {                                                                                            \
        .name = "truncate", .type = FIELD_FLAG, .offset = offsetof(struct recipe_task, truncate) \
    }

/* `train` of a task, which may be any element of a sweep's. */
static int read_own_train(lua_State *L, const struct lua_place *at, const struct field *f,
                          void *member, struct buf *err)
{
    struct recipe_task *t = member;
    t->train = t->recipe->ntrains;
    int rc = list_read(L, at, f, t->recipe, recipe_add_train, err);
    t->ntrains = t->recipe->ntrains - t->train;
    return rc;
}

#define TRAIN_FIELD                                                  \
    {                                                                \
        .name = "train", .type = FIELD_OTHER, .read = read_own_train \
    }

/* What is said of texts in a file. */
#define TEXT_FIELDS                                                                              \
    { .name = "file",                                                                            \
      .type = FIELD_STRING,                                                                      \
      .offset = offsetof(struct recipe_task, file),                                              \
      .required = true },                                                                        \
        { .name = "field", .type = FIELD_STRING, .offset = offsetof(struct recipe_task, text) }, \
        { .name = "name", .type = FIELD_STRING, .offset = offsetof(struct recipe_task, label) }, \
    {                                                                                            \
        .name = "min_bytes", .type = FIELD_WHOLE,                                                \
        .offset = offsetof(struct recipe_task, min_bytes), .lo = 1, .hi = INT32_MAX              \
    }

/* How a text is written, said over a form's decoding. */
#define DRAWING_FIELDS                                                                        \
    { .name = "temperature",                                                                  \
      .type = FIELD_NUMBER,                                                                   \
      .offset = offsetof(struct recipe_task, temperature),                                    \
      .hi = TEMPERATURE_MAX },                                                                \
    {                                                                                         \
        .name = "top_p", .type = FIELD_NUMBER, .offset = offsetof(struct recipe_task, top_p), \
        .hi = 1, .above = true                                                                \
    }

static const struct field nll_fields[] = {
    TEXT_FIELDS,
    HOW_MUCH_FIELDS,
    { .name = "length",
      .type = FIELD_WHOLE,
      .offset = offsetof(struct recipe_task, length),
      .lo = 2,
      .hi = TOKENS_MAX },
    TRAIN_FIELD,
    { .name = NULL },
};

static const struct field continue_fields[] = {
    TEXT_FIELDS,
    { .name = "limit",
      .type = FIELD_WHOLE,
      .offset = offsetof(struct recipe_task, limit),
      .lo = 1,
      .hi = INT32_MAX },
    { .name = "prompt_tokens",
      .type = FIELD_WHOLE,
      .offset = offsetof(struct recipe_task, prompt_tokens),
      .required = true,
      .lo = 1,
      .hi = TOKENS_MAX },
    { .name = "max_tokens",
      .type = FIELD_WHOLE,
      .offset = offsetof(struct recipe_task, max_tokens),
      .required = true,
      .lo = 1,
      .hi = TOKENS_MAX },
    DRAWING_FIELDS,
    { .name = "stop_at_end",
      .type = FIELD_FLAG,
      .offset = offsetof(struct recipe_task, stop_at_end) },
    TRAIN_FIELD,
    { .name = NULL },
};

#define SPEED_FIELD(member, least, most)                                                  \
    {                                                                                     \
        .name = #member, .type = FIELD_WHOLE,                                             \
        .offset = offsetof(struct recipe_task, speed.member), .lo = (least), .hi = (most) \
    }
static const struct field speed_fields[] = {
    { .name = "name", .type = FIELD_STRING, .offset = offsetof(struct recipe_task, label) },
    SPEED_FIELD(prompt_tokens, 1, TOKENS_MAX),
    SPEED_FIELD(tokens, 1, TOKENS_MAX),
    SPEED_FIELD(batch, 1, BATCH_MAX),
    SPEED_FIELD(repeats, 1, REPEATS_MAX),
    SPEED_FIELD(warmup, 0, REPEATS_MAX),
    TRAIN_FIELD,
    { .name = NULL },
};

static const struct field task_fields[] = {
    { .name = "[1]",
      .type = FIELD_STRING,
      .offset = offsetof(struct recipe_task, name),
      .required = true },
    { .name = "file", .type = FIELD_STRING, .offset = offsetof(struct recipe_task, file) },
    HOW_MUCH_FIELDS,
    { .name = "max_tokens",
      .type = FIELD_WHOLE,
      .offset = offsetof(struct recipe_task, max_tokens),
      .lo = 1,
      .hi = TOKENS_MAX },
    DRAWING_FIELDS,
    TRAIN_FIELD,
    { .name = NULL },
};

/* What the constructor of a task takes; NULL: it makes none. */
static const struct field *fields_of(enum made_kind kind)
{
    return kind == MADE_NLL        ? nll_fields
           : kind == MADE_TASK     ? task_fields
           : kind == MADE_CONTINUE ? continue_fields
           : kind == MADE_SPEED    ? speed_fields
                                   : NULL;
}

/* A task's own name is plain, and no other task's. */
static int check_label(const struct recipe *r, const struct recipe_task *t, struct buf *err)
{
    if (!t->label)
        return 0;
    for (const struct recipe_task *other = r->tasks; other != t; other++)
        if (other->label && strcmp(other->label, t->label) == 0)
            return place_fail(&t->at, "name", err, "\"%s\" is the name of another task already",
                              t->label);
    return recipe_check_name(&t->at, t->label, err);
}

static int add_task(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                    struct buf *err)
{
    struct recipe *recipe = member;
    const struct made *m = made_top(L);
    bool named = lua_type(L, -1) == LUA_TSTRING;
    const struct field *fields = named || !m ? NULL : fields_of(m->kind);
    if (!named && !fields)
        return field_refuse(L, at, f,
                            "the name of a task, such as \"gsm8k/nll\", task { ... }, "
                            "nll { file = ... }, continue { file = ... } or speed { ... }",
                            err);
    ARRAY_GROW(recipe->tasks, recipe->tasks_cap, recipe->ntasks + 1);
    struct recipe_task *t = &recipe->tasks[recipe->ntasks++];
    *t = (struct recipe_task){ .temperature = -1,
                               .recipe = recipe,
                               .at = named ? *at : made_place(at, m) };
    if (named) {
        struct field name = { .name = f->name, .type = FIELD_STRING };
        return field_read_value(L, at, &name, &t->name, err);
    }
    if (m->kind == MADE_NLL || m->kind == MADE_CONTINUE)
        t->text = xstrdup("text");
    if (m->kind == MADE_SPEED)
        t->speed = usual_speed;
    made_push_table(L);
    int rc = fields_read(L, &t->at, fields, t, err);
    lua_pop(L, 1);
    return rc == 0 ? check_label(recipe, t, err) : -1;
}

int recipe_read_tasks(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    return list_read(L, at, f, member, add_task, err);
}

int recipe_read_judge(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
#define STRING(member)                                                                       \
    {                                                                                        \
        .name = #member, .type = FIELD_STRING, .offset = offsetof(struct judge_spec, member) \
    }
    static const struct field fields[] = {
        STRING(url),
        STRING(model),
        STRING(key_env),
        STRING(command),
        { .name = "tries",
          .type = FIELD_WHOLE,
          .offset = offsetof(struct judge_spec, tries),
          .lo = 1,
          .hi = TRIES_MAX },
        { .name = "wait",
          .type = FIELD_NUMBER,
          .offset = offsetof(struct judge_spec, wait),
          .hi = WAIT_MAX,
          .above = true },
        { .name = "timeout",
          .type = FIELD_NUMBER,
          .offset = offsetof(struct judge_spec, timeout),
          .hi = TIMEOUT_MAX,
          .above = true },
        { .name = NULL },
    };
#undef STRING
    struct recipe *r = member;
    r->judged = true;
    struct lua_place place = place_inside(at, f->name, 0, f->name);
    return table_read(L, &place, fields, &r->judge, err);
}

void judge_spec_release(struct judge_spec *spec)
{
    free((void *)spec->url);
    free((void *)spec->model);
    free((void *)spec->key_env);
    free((void *)spec->command);
    *spec = (struct judge_spec){ 0 };
}
