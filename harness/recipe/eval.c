/*
 * eval.c: see eval.h.
 */
#include "recipe/eval_form.h"
#include "recipe/lua_sandbox.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

/* Reads the form on top of the stack, whose name is `name`. */
static int read_form(lua_State *L, const struct lua_place *forms, const char *name,
                     struct eval *eval, struct buf *err)
{
    if (!*name || name[strspn(name, EVAL_NAME_CHARS)])
        return place_fail(forms, NULL, err,
                          "a form's name has a character that is no letter, digit, - or _");
    if (lua_type(L, -1) != LUA_TTABLE)
        return place_fail(forms, name, err,
                          "a form is a table { version =, prompt =, target = } or { version =, "
                          "prompt =, generate =, measures = }");
    struct lua_place at = place_inside(forms, name, 0, name);
    ARRAY_GROW(eval->forms, eval->forms_cap, eval->nforms + 1);
    struct eval_form *form = &eval->forms[eval->nforms++];
    *form = (struct eval_form){ .name = xstrdup(name) };
    return form_read(L, &at, form, err);
}

static int by_form_name(const void *a, const void *b)
{
    return strcmp(((const struct eval_form *)a)->name, ((const struct eval_form *)b)->name);
}

static int read_forms(lua_State *L, const struct lua_place *at, const struct field *f, void *member,
                      struct buf *err)
{
    struct eval *eval = member;
    if (lua_type(L, -1) != LUA_TTABLE)
        return place_fail(at, f->name, err, "a table of forms is needed: { nll = { ... } }");
    struct lua_place forms = place_inside(at, f->name, 0, f->name);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (read_form(L, &forms, name, eval, err) != 0) {
            lua_pop(L, 2);
            return -1;
        }
    }
    if (eval->nforms == 0)
        return place_fail(at, f->name, err, "at least one form is needed: { nll = { ... } }");
    qsort(eval->forms, eval->nforms, sizeof(*eval->forms), by_form_name);
    return 0;
}

static const struct field eval_fields[] = {
    { .name = "name",
      .type = FIELD_STRING,
      .offset = offsetof(struct eval, name),
      .required = true },
    { .name = "about",
      .type = FIELD_STRING,
      .offset = offsetof(struct eval, about),
      .required = true },
    { .name = "license",
      .type = FIELD_STRING,
      .offset = offsetof(struct eval, license),
      .required = true },
    { .name = "source",
      .type = FIELD_STRING,
      .offset = offsetof(struct eval, source),
      .required = true },
    { .name = "file", .type = FIELD_STRING, .offset = offsetof(struct eval, file) },
    { .name = "sha256", .type = FIELD_STRING, .offset = offsetof(struct eval, sha256) },
    { .name = "rows",
      .type = FIELD_OTHER,
      .offset = offsetof(struct eval, rows),
      .read = rows_read },
    { .name = "generated",
      .type = FIELD_OTHER,
      .offset = offsetof(struct eval, generated),
      .read = generated_read },
    { .name = "train",
      .type = FIELD_OTHER,
      .offset = offsetof(struct eval, train),
      .read = train_read },
    { .name = "forms", .type = FIELD_OTHER, .read = read_forms },
    { .name = NULL },
};

/* The folders that may hold evals, in the order in which they are tried. */
static void find_places(struct strings *out)
{
    const char *env = getenv("SEQTOPK_EVALS");
    if (env && *env)
        strings_add(out, env);
    strings_add(out, "evals");
    struct buf project = BUF_INIT;
    if (project_dir(&project))
        strings_addf(out, "%s/evals", project.s);
    buf_release(&project);
}

void eval_list(struct strings *out)
{
    struct strings places = { 0 };
    find_places(&places);
    for (size_t i = 0; i < places.len; i++) {
        DIR *d = opendir(places.v[i]);
        for (struct dirent *e; d && (e = readdir(d));) {
            size_t len = strspn(e->d_name, EVAL_NAME_CHARS);
            if (len == 0 || strcmp(e->d_name + len, ".lua") != 0)
                continue;
            strings_addf(out, "%.*s", (int)len, e->d_name);
        }
        if (d)
            closedir(d);
    }
    strings_sort(out);
    strings_release(&places);
}

const char *eval_data_dir(void)
{
    const char *env = getenv("SEQTOPK_DATA");
    return env && *env ? env : "data";
}

static int not_found(const char *name, const struct strings *places, struct buf *err)
{
    struct strings known = { 0 };
    struct buf list = BUF_INIT, looked = BUF_INIT;
    eval_list(&known);
    for (size_t i = 0; i < known.len; i++)
        buf_addf(&list, "%s%s", i ? ", " : "", known.v[i]);
    for (size_t i = 0; i < places->len; i++)
        buf_addf(&looked, "%s%s", i ? ", " : "", places->v[i]);
    fail(err, "there is no task '%.80s'; known are %s (looked for NAME.lua in %s)", name,
         known.len ? list.s : "none", looked.s);
    strings_release(&known);
    buf_release(&list);
    buf_release(&looked);
    return -1;
}

static int find_file(const char *name, char **path, struct buf *err)
{
    struct strings places = { 0 };
    find_places(&places);
    *path = NULL;
    bool plain = *name && !name[strspn(name, EVAL_NAME_CHARS)];
    for (size_t i = 0; plain && !*path && i < places.len; i++) {
        *path = xasprintf("%s/%s.lua", places.v[i], name);
        if (access(*path, F_OK) != 0) {
            free(*path);
            *path = NULL;
        }
    }
    int rc = *path ? 0 : not_found(name, &places, err);
    strings_release(&places);
    return rc;
}

static int read_eval(struct lua_sandbox *s, struct eval *eval, const char *name, struct buf *err)
{
    lua_State *L = lua_sandbox_state(s);
    if (lua_sandbox_run(s, err) != 0)
        return -1;
    if (lua_type(L, -1) != LUA_TTABLE)
        return fail(err, "%s: the file must return a table", eval->path);
    struct lua_place at = { eval->path, lua_sandbox_text(s), 0, "eval", NULL };
    if (fields_read(L, &at, eval_fields, eval, err) != 0 ||
        sha256_check(&at, eval->sha256, err) != 0 || eval_data_check(&at, eval, err) != 0)
        return -1;
    if (eval->generated.test)
        eval->generated.code = xstrdup(lua_sandbox_text(s));
    if (strcmp(eval->name, name) != 0)
        return place_fail(&at, "name", err, "\"%.80s\"; the file's own name is needed, \"%s\"",
                          eval->name, name);
    return 0;
}

struct eval *eval_open(const char *name, struct buf *err)
{
    struct eval *eval = xcalloc(1, sizeof(*eval));
    struct lua_sandbox *s = NULL;
    int rc = find_file(name, &eval->path, err);
    if (rc == 0 && !(s = lua_sandbox_open(eval->path, &lua_limits_default, err)))
        rc = -1;
    if (rc == 0)
        rc = read_eval(s, eval, name, err);
    lua_sandbox_close(s);
    if (rc == 0)
        return eval;
    eval_free(eval);
    return NULL;
}

void eval_free(struct eval *e)
{
    if (!e)
        return;
    for (size_t i = 0; i < e->nforms; i++)
        form_release(&e->forms[i]);
    free(e->forms);
    free(e->path);
    free(e->name);
    free(e->about);
    free(e->license);
    free(e->source);
    free(e->file);
    free(e->sha256);
    free(e->rows.field);
    free(e->generated.code);
    train_release(&e->train);
    free(e);
}
