/*
 * task.c: see task.h.
 */
#include "recipe/task.h"
#include "recipe/eval.h"

#include <string.h>
#include <unistd.h>

/* The file a recipe names: beside the recipe, or else in the current folder. */
static int find_file(const struct recipe_task *spec, char **out, struct buf *err)
{
    const char *slash = strrchr(spec->at.path, '/');
    char *beside = NULL;
    if (slash && spec->file[0] != '/')
        beside = xasprintf("%.*s/%s", (int)(slash - spec->at.path), spec->at.path, spec->file);
    if (beside && access(beside, F_OK) == 0) {
        *out = beside;
        return 0;
    }
    if (access(spec->file, F_OK) == 0)
        *out = xstrdup(spec->file);
    else
        place_fail(&spec->at, "file", err, "%s: no such file%s%s", spec->file,
                   beside ? ", nor is there " : "", beside ? beside : "");
    free(beside);
    return *out ? 0 : -1;
}

/* The file an eval names. */
static int find_data(const struct recipe_task *spec, const char *key, const char *file, char **out,
                     struct buf *err)
{
    *out = xasprintf("%s/%s", eval_data_dir(), file);
    if (access(*out, F_OK) == 0)
        return 0;
    const char *env = getenv("SEQTOPK_DATA");
    return place_fail(&spec->at, key, err,
                      "%s: %s is missing; its folder is what SEQTOPK_DATA says (%s), \"data\" "
                      "where it says nothing",
                      spec->name, *out, env && *env ? env : "nothing now");
}

static int unknown_form(const struct recipe_task *spec, const char *key, const struct eval *eval,
                        struct buf *err)
{
    struct buf known = BUF_INIT;
    for (size_t i = 0; i < eval->nforms; i++)
        buf_addf(&known, "%s%s/%s", i ? ", " : "", eval->name, eval->forms[i].name);
    place_fail(&spec->at, key, err, "there is no task '%.80s'; known of %s are %s", spec->name,
               eval->name, known.s);
    buf_release(&known);
    return -1;
}

/* A task of evals/: its form's templates, and the file unless the recipe names another. */
static int resolve_named(const struct recipe_task *spec, struct task *out, struct buf *err)
{
    const char *key = strcmp(spec->at.word, "task") == 0 ? NULL : "tasks";
    const char *slash = strchr(spec->name, '/');
    if (!slash)
        return place_fail(&spec->at, key, err,
                          "'%.80s' is no task; its name is TASK/FORM, such as "
                          "gsm8k/nll",
                          spec->name);
    char *name = xstrndup(spec->name, (size_t)(slash - spec->name));
    struct eval *eval = eval_open(name, err);
    free(name);
    if (!eval)
        return place_fail(&spec->at, key, err, "%s", err->s);
    const struct eval_form *form = NULL;
    for (size_t i = 0; i < eval->nforms; i++)
        if (strcmp(eval->forms[i].name, slash + 1) == 0)
            form = &eval->forms[i];
    int rc = form ? 0 : unknown_form(spec, key, eval, err);
    if (rc == 0)
        rc = spec->file ? find_file(spec, &out->file, err)
                        : find_data(spec, key, eval->file, &out->file, err);
    if (rc == 0) {
        out->name = xstrdup(spec->name);
        out->prompt = xstrdup(form->prompt);
        out->target = xstrdup(form->target);
        out->version = form->version;
    }
    eval_free(eval);
    return rc;
}

int task_resolve(const struct recipe_task *spec, int limit, struct task *out, struct buf *err)
{
    *out = (struct task){ .limit = spec->limit, .truncate = spec->truncate };
    if (limit && (!out->limit || limit < out->limit))
        out->limit = limit;
    if (spec->name)
        return resolve_named(spec, out, err);
    const char *base = strrchr(spec->file, '/');
    out->name = xasprintf("nll:%s", base ? base + 1 : spec->file);
    out->text = xstrdup(spec->text);
    out->version = 1;
    return find_file(spec, &out->file, err);
}

void task_release(struct task *t)
{
    free(t->name);
    free(t->file);
    free(t->text);
    free(t->prompt);
    free(t->target);
    *t = (struct task){ 0 };
}
