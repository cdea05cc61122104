/*
 * recipe_train.c: see recipe_train.h.
 */
#include "recipe/recipe_train.h"
#include "recipe/recipe_words.h"

#include <string.h>

enum {
    BATCH_SEQUENCES_MAX = 65536,
    LENGTH_MAX = 1 << 24,
    FACTOR_MAX = 1000000,
    PRUNE_TEXTS_MAX = 1000000,
};

void recipe_train_defaults(struct recipe_train *t, bool pretrains)
{
    *t = (struct recipe_train){ .trains = true, .pretrains = pretrains };
    t->how = (struct training){
        .schedule = pretrains ? SCHEDULE_COSINE : SCHEDULE_LINEAR,
        .warmup = 0.03,
        .batch = 16,
        .micro_tokens = 2048,
        .weight_decay = pretrains ? 0.1 : 0,
        .beta1 = 0.9,
        .beta2 = pretrains ? 0.95 : 0.999,
        .clip = 1,
        .only = TRAIN_ALL,
        .loss_on = -1, // hangs on the data
        .dtype = DTYPE_F32,
        .save = DTYPE_F32,
    };
}

void recipe_train_release(struct recipe_train *t)
{
    free(t->name);
    lesson_data_release(&t->data);
    recipe_router_release(&t->router);
}

static int read_steps(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    const struct field whole = { .name = f->name, .type = FIELD_WHOLE, .lo = 1, .hi = INT32_MAX };
    int steps;
    if (field_read_value(L, at, &whole, &steps, err) != 0)
        return -1;
    *(int64_t *)member = steps;
    return 0;
}

/* As a sweep's seeds, but one alone. member: the struct recipe_train */
static int read_seed(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                     struct buf *err)
{
    struct recipe_train *t = member;
    const struct field wholes = {
        .name = f->name, .type = FIELD_WHOLES, .lo = 0, .hi = INT64_C(1) << 53
    };
    struct wholes seeds = { 0 };
    if (lua_type(L, -1) == LUA_TTABLE)
        return field_refuse(L, at, f, "one whole number; `seeds` of the sweep is a list", err);
    int rc = field_read_value(L, at, &wholes, &seeds, err);
    if (rc == 0) {
        t->how.seed = seeds.v[0];
        t->seeded = true;
    }
    free(seeds.v);
    return rc;
}

static int read_dtype(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    const struct field word = { .name = f->name, .type = FIELD_WORD, .words = training_dtypes };
    int index;
    if (field_read_value(L, at, &word, &index, err) != 0)
        return -1;
    *(enum dtype *)member = (enum dtype)index;
    return 0;
}

/* member: the struct training */
static int read_betas(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    static const struct field fields[] = {
        { .name = "[1]",
          .type = FIELD_NUMBER,
          .offset = offsetof(struct training, beta1),
          .hi = 1 },
        { .name = "[2]",
          .type = FIELD_NUMBER,
          .offset = offsetof(struct training, beta2),
          .hi = 1 },
        { .name = NULL },
    };
    static const char allowed[] = "two numbers from 0 to below 1, such as { 0.9, 0.999 }";
    struct training *how = member;
    if (lua_type(L, -1) != LUA_TTABLE || lua_rawlen(L, -1) != 2)
        return field_refuse(L, at, f, allowed, err);
    struct lua_place place = place_inside(at, f->name, 0, f->name);
    if (fields_read(L, &place, fields, how, err) != 0)
        return -1;
    if (how->beta1 < 1 && how->beta2 < 1)
        return 0;
    return place_fail(at, f->name, err, "{ %g, %g }; allowed is %s", how->beta1, how->beta2,
                      allowed);
}

/* member: the struct recipe_train */
static int read_router(lua_State *L, const struct lua_place *at, const struct field *f,
                       void *member, struct buf *err)
{
    struct recipe_train *t = member;
    const struct made *m = made_top(L);
    bool same = lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "same") == 0;
    if (same && !t->pretrains)
        return 0;
    if (!m || m->kind != MADE_ROUTER)
        return field_refuse(L, at, f,
                            t->pretrains
                                ? "a router, such as topk() or seqtopk { max = K + 2 }"
                                : "\"same\" or a router, such as topk() or seqtopk { max = K + 2 }",
                            err);
    t->routed = true;
    return recipe_router_read(L, at, &t->router, err);
}

/* member: the struct training */
static int read_matryoshka(lua_State *L, const struct lua_place *at, const struct field *f,
                           void *member, struct buf *err)
{
    static const char *const per[] = { "step", "layer", NULL };
    struct said {
        struct wholes K;
        int per;
    } said = { 0 };
    static const struct field fields[] = {
        { .name = "K",
          .type = FIELD_WHOLES,
          .offset = offsetof(struct said, K),
          .required = true,
          .lo = 1,
          .hi = 65535 },
        { .name = "per", .type = FIELD_WORD, .offset = offsetof(struct said, per), .words = per },
        { .name = NULL },
    };
    struct training *how = member;
    struct lua_place place = place_inside(at, f->name, 0, f->name);
    int rc = table_read(L, &place, fields, &said, err);
    if (rc == 0 && said.K.len > MATRYOSHKA_MAX)
        rc = place_fail(&place, "K", err, "a list of %zu numbers; allowed are %d at most",
                        said.K.len, MATRYOSHKA_MAX);
    if (rc == 0) {
        how->nmatryoshka = (int)said.K.len;
        how->matryoshka_by_layer = said.per == 1;
        for (size_t i = 0; i < said.K.len; i++)
            how->matryoshka[i] = (int)said.K.v[i];
    }
    free(said.K.v);
    return rc;
}

/* member: the struct training */
static int read_prune(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    static const struct field fields[] = {
        { .name = "share",
          .type = FIELD_NUMBER,
          .offset = offsetof(struct training, prune),
          .required = true,
          .hi = 1,
          .above = true },
        { .name = "texts",
          .type = FIELD_WHOLE,
          .offset = offsetof(struct training, prune_texts),
          .lo = 1,
          .hi = PRUNE_TEXTS_MAX },
        { .name = NULL },
    };
    struct training *how = member;
    struct lua_place place = place_inside(at, f->name, 0, f->name);
    how->prune_texts = PRUNE_TEXTS;
    return table_read(L, &place, fields, how, err);
}

/* A share, or "anneal". member: the struct training */
static int read_online(lua_State *L, const struct lua_place *at, const struct field *f,
                       void *member, struct buf *err)
{
    struct training *how = member;
    if (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), "anneal") == 0) {
        how->online_anneal = true;
        return 0;
    }
    double share = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    if (!(share >= 0 && share <= 1))
        return field_refuse(L, at, f, "a share of the steps from 0 to 1, or \"anneal\"", err);
    how->online = share;
    return 0;
}

#define HOW(member) offsetof(struct recipe_train, how.member)
#define NUMBER(field, member, most)                                                \
    {                                                                              \
        .name = (field), .type = FIELD_NUMBER, .offset = HOW(member), .hi = (most) \
    }
#define WHOLE(field, member, least, most)                                                        \
    {                                                                                            \
        .name = (field), .type = FIELD_WHOLE, .offset = HOW(member), .lo = (least), .hi = (most) \
    }
#define WORD(field, member, list)                                                   \
    {                                                                               \
        .name = (field), .type = FIELD_WORD, .offset = HOW(member), .words = (list) \
    }
#define OTHER(field, at, reader)                                               \
    {                                                                          \
        .name = (field), .type = FIELD_OTHER, .offset = (at), .read = (reader) \
    }

/* In the order in which they are read, which is the order of complaints. */
static const struct field train_fields[] = {
    { .name = "data",
      .type = FIELD_OTHER,
      .offset = offsetof(struct recipe_train, data),
      .read = recipe_lesson_data_read,
      .required = true },
    OTHER("steps", HOW(steps), read_steps),
    { .name = "epochs", .type = FIELD_NUMBER, .offset = HOW(epochs), .hi = 1000000, .above = true },
    { .name = "lr", .type = FIELD_NUMBER, .offset = HOW(lr), .hi = 1, .required = true },
    WORD("schedule", schedule, training_schedules),
    NUMBER("warmup", warmup, INT32_MAX),
    WHOLE("batch", batch, 1, BATCH_SEQUENCES_MAX),
    WHOLE("length", length, 2, LENGTH_MAX),
    WHOLE("micro_tokens", micro_tokens, 1, LENGTH_MAX),
    NUMBER("weight_decay", weight_decay, 1),
    OTHER("betas", offsetof(struct recipe_train, how), read_betas),
    NUMBER("clip", clip, FACTOR_MAX),
    OTHER("router", 0, read_router),
    NUMBER("balance_loss", balance_loss, FACTOR_MAX),
    NUMBER("z_loss", z_loss, FACTOR_MAX),
    WORD("train_only", only, training_parts),
    WORD("loss_on", loss_on, training_losses),
    OTHER("matryoshka", offsetof(struct recipe_train, how), read_matryoshka),
    OTHER("online", offsetof(struct recipe_train, how), read_online),
    OTHER("prune", offsetof(struct recipe_train, how), read_prune),
    OTHER("seed", 0, read_seed),
    OTHER("dtype", HOW(dtype), read_dtype),
    OTHER("save", HOW(save), read_dtype),
    WORD("optimiser", optimiser, training_optimisers),
    { .name = "checkpointing", .type = FIELD_FLAG, .offset = HOW(checkpointing) },
};

_Static_assert(ARRAY_LEN(train_fields) == RECIPE_TRAIN_FIELDS, "recipe_train.h counts the fields");

void recipe_train_fields(size_t offset, struct field *out)
{
    for (size_t i = 0; i < ARRAY_LEN(train_fields); i++) {
        out[i] = train_fields[i];
        out[i].offset += offset;
    }
}

static int check_warmup(const struct recipe_train *t, struct buf *err)
{
    double warmup = t->how.warmup;
    if (warmup >= 1 && warmup != (double)(int64_t)warmup)
        return place_fail(
            &t->at, "warmup", err,
            "%.10g; allowed is a share of the steps below 1, or a whole number of them", warmup);
    if (t->how.steps && warmup > (double)t->how.steps)
        return place_fail(&t->at, "warmup", err, "%.10g is more than the %lld steps", warmup,
                          (long long)t->how.steps);
    return 0;
}

int recipe_train_check(struct recipe_train *t, struct buf *err)
{
    bool whole_texts = lesson_data_is_text(&t->data);
    if (t->pretrains && t->how.prune > 0)
        return place_fail(&t->at, "prune", err,
                          "a model that is made from nothing has no loads yet; allowed is prune "
                          "in an sft of a sweep");
    if (t->how.steps && t->how.epochs > 0)
        return place_fail(&t->at, "epochs", err, "`steps` is said too; allowed is one of them");
    if (!t->how.steps && !(t->how.epochs > 0))
        return place_fail(&t->at, NULL, err, "'steps' or 'epochs' is missing");
    if (t->how.loss_on == LOSS_COMPLETION && whole_texts)
        return place_fail(&t->at, "loss_on", err,
                          "\"completion\", but the data are whole texts, which have none; allowed "
                          "is \"all\"");
    if (t->how.loss_on < 0)
        t->how.loss_on = whole_texts || t->pretrains ? LOSS_ALL : LOSS_COMPLETION;
    return check_warmup(t, err);
}

/* A name stands in tables and in conditions on them, beside "none" and the labels of settings. */
static int check_name(const struct recipe_train *t, struct buf *err)
{
    enum { MOST = 64 };
    if (!t->name)
        return 0;
    size_t plain = strspn(t->name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                   "0123456789-_. ");
    if (!t->name[plain] && plain > 0 && plain <= MOST && strcmp(t->name, "none") != 0 &&
        strncmp(t->name, "sft ", 4) != 0)
        return 0;
    return place_fail(&t->at, "name", err,
                      "\"%.80s\"; allowed are letters, digits, blanks, -, _ and ., at most %d of "
                      "them, but not none, nor sft at the beginning",
                      t->name, MOST);
}

int recipe_train_read(lua_State *L, const struct lua_place *at, const struct field *f,
                      struct recipe_train *t, struct buf *err)
{
    struct field fields[RECIPE_TRAIN_FIELDS + 2] = { 0 };
    const struct made *m = made_top(L);
    recipe_train_defaults(t, false);
    if (!m || (m->kind != MADE_NONE && m->kind != MADE_SFT))
        return field_refuse(L, at, f, "none() or sft { data = ..., steps = ..., lr = ... }", err);
    t->at = made_place(at, m);
    t->trains = m->kind == MADE_SFT;
    if (t->trains) { // else no field is allowed
        recipe_train_fields(0, fields);
        fields[RECIPE_TRAIN_FIELDS] = (struct field){
            .name = "name", .type = FIELD_STRING, .offset = offsetof(struct recipe_train, name)
        };
    }
    made_push_table(L);
    int rc = fields_read(L, &t->at, fields, t, err);
    lua_pop(L, 1);
    if (rc == 0)
        rc = check_name(t, err);
    return rc == 0 && t->trains ? recipe_train_check(t, err) : rc;
}
