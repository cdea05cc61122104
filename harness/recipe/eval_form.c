/*
 * eval_form.c: see eval_form.h. A form of an eval: its fields, and what they mean together.
 */
#include "recipe/eval_form.h"

#include <stdio.h>
#include <string.h>

enum { COUNT_MAX = 1000, TOKENS_MAX = 1000000, TEMPERATURE_MAX = 100, SHA256_LEN = 64 };

int sha256_check(const struct lua_place *at, const char *sha256, struct buf *err)
{
    if (!sha256 ||
        (strlen(sha256) == SHA256_LEN && strspn(sha256, "0123456789abcdef") == SHA256_LEN))
        return 0;
    return place_fail(at, "sha256", err, "\"%.80s\"; allowed are %d hexadecimal digits, small",
                      sha256, SHA256_LEN);
}

static int any_part(void *ud, bool field, const char *s, size_t len, struct buf *err)
{
    (void)ud, (void)field, (void)s, (void)len, (void)err;
    return 0;
}

int template_check(const struct lua_place *at, const char *key, const char *template,
                   struct buf *err)
{
    if (!template || template_walk(template, any_part, NULL, err) == 0)
        return 0;
    return place_fail(at, key, err, "%s", err->s);
}

int rows_read(lua_State *L, const struct lua_place *at, const struct field *f, void *rows,
              struct buf *err)
{
#define WHOLE(member)                                                                       \
    {                                                                                       \
        .name = #member, .type = FIELD_WHOLE, .offset = offsetof(struct eval_rows, member), \
        .required = true, .lo = 0, .hi = INT32_MAX                                          \
    }
    static const struct field fields[] = {
        { .name = "field",
          .type = FIELD_STRING,
          .offset = offsetof(struct eval_rows, field),
          .required = true },
        WHOLE(from),
        WHOLE(to),
        { .name = NULL },
    };
#undef WHOLE
    struct eval_rows *r = rows;
    struct lua_place place = place_inside(at, f->name, 0, f->name);
    if (table_read(L, &place, fields, r, err) != 0)
        return -1;
    if (r->to < r->from)
        return place_fail(&place, "to", err, "%d is below from, which is %d", r->to, r->from);
    return 0;
}

static int read_shots(lua_State *L, const struct lua_place *at, const struct field *f, void *shots,
                      struct buf *err)
{
    static const char *const draws[] = { [SHOTS_FIRST] = "first", [SHOTS_PYTHON] = "python", NULL };
    static const struct field fields[] = {
        { .name = "file",
          .type = FIELD_STRING,
          .offset = offsetof(struct eval_shots, file),
          .required = true },
        { .name = "sha256", .type = FIELD_STRING, .offset = offsetof(struct eval_shots, sha256) },
        { .name = "rows",
          .type = FIELD_OTHER,
          .offset = offsetof(struct eval_shots, rows),
          .read = rows_read },
        { .name = "count",
          .type = FIELD_WHOLE,
          .offset = offsetof(struct eval_shots, count),
          .required = true,
          .lo = 1,
          .hi = COUNT_MAX },
        { .name = "draw",
          .type = FIELD_WORD,
          .offset = offsetof(struct eval_shots, draw),
          .words = draws },
        { .name = "seed",
          .type = FIELD_WHOLE,
          .offset = offsetof(struct eval_shots, seed),
          .lo = 0,
          .hi = INT32_MAX },
        { .name = "text",
          .type = FIELD_STRING,
          .offset = offsetof(struct eval_shots, text),
          .required = true },
        { .name = NULL },
    };
    struct eval_shots *s = shots;
    struct lua_place place = place_inside(at, f->name, 0, f->name);
    s->seed = -1; // not said
    if (table_read(L, &place, fields, s, err) != 0 || sha256_check(&place, s->sha256, err) != 0 ||
        template_check(&place, "text", s->text, err) != 0)
        return -1;
    if ((s->draw == SHOTS_PYTHON) != (s->seed >= 0))
        return place_fail(&place, "seed", err,
                          "draw = \"python\" needs a seed, and \"first\" has none");
    return 0;
}

static int read_decoding(lua_State *L, const struct lua_place *at, const struct field *f,
                         void *member, struct buf *err)
{
    static const struct field fields[] = {
        { .name = "max_tokens",
          .type = FIELD_WHOLE,
          .offset = offsetof(struct decoding, max_tokens),
          .required = true,
          .lo = 1,
          .hi = TOKENS_MAX },
        { .name = "temperature",
          .type = FIELD_NUMBER,
          .offset = offsetof(struct decoding, temperature),
          .hi = TEMPERATURE_MAX },
        { .name = "top_p",
          .type = FIELD_NUMBER,
          .offset = offsetof(struct decoding, top_p),
          .hi = 1,
          .above = true },
        { .name = "stop", .type = FIELD_STRINGS, .offset = offsetof(struct decoding, stop) },
        { .name = "stop_at_end_text",
          .type = FIELD_FLAG,
          .offset = offsetof(struct decoding, stop_at_end_text) },
        { .name = NULL },
    };
    struct eval_form *form = member;
    struct decoding *d = &form->decoding;
    struct lua_place place = place_inside(at, f->name, 0, f->name);
    form->generates = true;
    d->top_p = 1;
    if (table_read(L, &place, fields, d, err) != 0)
        return -1;
    if (d->temperature == 0 && d->top_p < 1)
        return place_fail(&place, "top_p", err,
                          "%.10g, but at temperature 0 nothing is drawn; say a temperature above 0",
                          d->top_p);
    return 0;
}

static int add_self_test(lua_State *L, const struct lua_place *at, const struct field *f,
                         void *member, struct buf *err)
{
    static const struct field fields[] = {
        { .name = "output",
          .type = FIELD_TEXT,
          .offset = offsetof(struct self_test, output),
          .required = true },
        { .name = "score",
          .type = FIELD_WHOLE,
          .offset = offsetof(struct self_test, score),
          .required = true,
          .hi = 1 },
        { .name = "except",
          .type = FIELD_WHOLES,
          .offset = offsetof(struct self_test, except),
          .hi = INT32_MAX },
        { .name = NULL },
    };
    struct eval_form *form = member;
    ARRAY_GROW(form->self_tests, form->self_tests_cap, form->nself_tests + 1);
    struct self_test *t = &form->self_tests[form->nself_tests++];
    *t = (struct self_test){ 0 };
    struct lua_place place = place_inside(at, f->name, form->nself_tests, f->name);
    if (table_read(L, &place, fields, t, err) != 0)
        return -1;
    return template_check(&place, "output", t->output, err);
}

static int read_self_tests(lua_State *L, const struct lua_place *at, const struct field *f,
                           void *member, struct buf *err)
{
    return list_read(L, at, f, member, add_self_test, err);
}

static const char *const long_prompts[] = {
    [LONG_PROMPT_REFUSE] = "refuse", [LONG_PROMPT_CUT] = "cut", NULL
};

static const struct field form_fields[] = {
    { .name = "version",
      .type = FIELD_WHOLE,
      .offset = offsetof(struct eval_form, version),
      .required = true,
      .lo = 1,
      .hi = 1000000 },
    { .name = "about", .type = FIELD_STRING, .offset = offsetof(struct eval_form, about) },
    { .name = "prompt",
      .type = FIELD_STRING,
      .offset = offsetof(struct eval_form, prompt),
      .required = true },
    { .name = "target", .type = FIELD_STRING, .offset = offsetof(struct eval_form, target) },
    { .name = "shots",
      .type = FIELD_OTHER,
      .offset = offsetof(struct eval_form, shots),
      .read = read_shots },
    { .name = "generate", .type = FIELD_OTHER, .read = read_decoding },
    { .name = "long_prompt",
      .type = FIELD_WORD,
      .offset = offsetof(struct eval_form, long_prompt),
      .words = long_prompts },
    { .name = "measures", .type = FIELD_OTHER, .read = measures_read },
    { .name = "self_test", .type = FIELD_OTHER, .read = read_self_tests },
    { .name = NULL },
};

/* What a form with `target` cannot have, and one with `generate` must. */
static int check_kind(const struct lua_place *at, const struct eval_form *form, struct buf *err)
{
    if (form->generates == (form->target != NULL))
        return place_fail(at, NULL, err,
                          form->target ? "'target' and 'generate' exclude each other"
                                       : "'target' or 'generate' is missing");
    if (form->generates)
        return form->nmeasures ? 0 : place_fail(at, NULL, err, "'measures' is missing");
    const char *idle = form->shots.file                          ? "shots"
                       : form->long_prompt != LONG_PROMPT_REFUSE ? "long_prompt"
                       : form->nmeasures                         ? "measures"
                       : form->nself_tests                       ? "self_test"
                                                                 : NULL;
    if (idle)
        return place_fail(at, idle, err, "goes with 'generate', and this form has 'target'");
    return 0;
}

int form_read(lua_State *L, const struct lua_place *at, struct eval_form *form, struct buf *err)
{
    if (fields_read(L, at, form_fields, form, err) != 0 ||
        template_check(at, "prompt", form->prompt, err) != 0 ||
        template_check(at, "target", form->target, err) != 0)
        return -1;
    return check_kind(at, form, err);
}

void form_release(struct eval_form *form)
{
    for (size_t i = 0; i < form->nmeasures; i++)
        measure_release(&form->measures[i]);
    for (size_t i = 0; i < form->nself_tests; i++) {
        free(form->self_tests[i].output);
        free(form->self_tests[i].except.v);
    }
    strings_release(&form->decoding.stop);
    free(form->measures);
    free(form->self_tests);
    free(form->shots.file);
    free(form->shots.sha256);
    free(form->shots.rows.field);
    free(form->shots.text);
    free(form->name);
    free(form->about);
    free(form->prompt);
    free(form->target);
    *form = (struct eval_form){ 0 };
}
