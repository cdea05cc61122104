/*
 * cmd_list.c: what a recipe can name: routers with their parameters, tasks, training sets, and models.
 */
#include "recipe/cell.h"
#include "cmd/cmd.h"
#include "recipe/eval.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void add_param(struct table *t, const struct router *r, const struct router_param *p)
{
    struct buf allowed = BUF_INIT, def = BUF_INIT;
    if (p->choices) {
        for (size_t i = 0; p->choices[i]; i++)
            buf_addf(&allowed, "%s%s", i ? " | " : "", p->choices[i]);
        buf_adds(&def, p->choices[p->def.c]);
    } else if (p->real) {
        buf_addf(&allowed, "above %d, up to %d", p->lo.c, p->hi.c);
        real_text(p->real_def, &def);
    } else {
        affine_text(p->lo, &allowed);
        buf_adds(&allowed, " to ");
        affine_text(p->hi, &allowed);
        affine_text(p->def, &def);
    }
    table_add(t, r->name);
    table_add(t, p->name);
    table_add(t, allowed.s);
    table_add(t, def.s);
    table_add(t, p->help);
    buf_release(&allowed);
    buf_release(&def);
}

static struct table *list_routers(void)
{
    static const char *const columns[] = {
        "router", "parameter", "allowed", "default", "what", NULL
    };
    struct table *t = table_new(columns);
    for (const struct router *const *r = routers; *r; r++) {
        table_add(t, (*r)->name);
        for (int i = 0; i < 3; i++)
            table_add(t, NULL);
        table_add(t, (*r)->help);
        for (const struct router_param *p = (*r)->params; p->name; p++)
            add_param(t, *r, p);
    }
    return t;
}

/* Is the file there, under the folder of SEQTOPK_DATA? NULL: none is needed. */
static bool data_there(const char *file)
{
    if (!file)
        return true;
    char *path = xasprintf("%s/%s", eval_data_dir(), file);
    bool there = access(path, R_OK) == 0;
    free(path);
    return there;
}

/* Where the data are; `file` NULL: the eval makes them. */
static void add_data(struct table *t, const struct eval *e, const char *file)
{
    if (file)
        table_addf(t, "%s/%s", eval_data_dir(), file);
    else
        table_addf(t, "made by %s", e->path);
}

static void add_form(struct table *t, const struct eval *e, const struct eval_form *f)
{
    table_addf(t, "%s/%s", e->name, f->name);
    table_addf(t, "%d", f->version);
    add_data(t, e, e->file);
    table_add(t, data_there(e->file) && data_there(f->shots.file) ? "yes" : "no");
    table_add(t, e->license);
    table_add(t, f->about ? f->about : e->about);
}

static void add_forms(struct table *t, const struct eval *e)
{
    for (size_t i = 0; i < e->nforms; i++)
        add_form(t, e, &e->forms[i]);
}

static void add_training_set(struct table *t, const struct eval *e)
{
    if (!e->train.prompt)
        return;
    table_addf(t, "%s/train", e->name);
    add_data(t, e, e->train.file);
    table_add(t, data_there(e->train.file) ? "yes" : "no");
    table_add(t, e->license);
    table_add(t, e->about);
}

/* `add` puts what an eval has into the table. */
static struct table *list_evals(const char *const *columns,
                                void (*add)(struct table *t, const struct eval *e))
{
    struct table *t = table_new(columns);
    struct strings names = { 0 };
    struct buf err = BUF_INIT;
    eval_list(&names);
    for (size_t i = 0; i < names.len; i++) {
        struct eval *e = eval_open(names.v[i], &err);
        if (e)
            add(t, e);
        else
            warning("%s", err.s);
        eval_free(e);
    }
    buf_release(&err);
    strings_release(&names);
    return t;
}

static struct table *list_tasks(void)
{
    static const char *const columns[] = { "task",    "#version", "data", "there",
                                           "license", "what",     NULL };
    return list_evals(columns, add_forms);
}

static struct table *list_training_sets(void)
{
    static const char *const columns[] = { "training set", "data", "there", "license", "of", NULL };
    return list_evals(columns, add_training_set);
}

static void add_model(struct table *t, const char *name)
{
    struct buf dir = BUF_INIT, err = BUF_INIT;
    struct model_config c = { 0 };
    if (model_find(name, &dir, &err) == 0 && config_read(dir.s, &c, &err) == 0) {
        table_add(t, name);
        table_add(t, family_name(c.family));
        table_addf(t, "%d", c.layers);
        table_addf(t, "%d", c.experts);
        table_addf(t, "%d", c.top_k);
        table_addf(t, "%d", c.context);
        table_add(t, dir.s);
    } else {
        warning("%s", err.s);
    }
    config_release(&c);
    buf_release(&dir);
    buf_release(&err);
}

static struct table *list_models(void)
{
    static const char *const columns[] = { "model", "family",   "#layers", "#N",
                                           "#K",    "#context", "folder",  NULL };
    struct table *t = table_new(columns);
    struct strings names = { 0 };
    model_list(&names);
    for (size_t i = 0; i < names.len; i++)
        add_model(t, names.v[i]);
    strings_release(&names);
    return t;
}

static const struct {
    const char *name, *about;
    struct table *(*make)(void);
} sections[] = {
    { "routers", "ROUTERS: in a recipe NAME { PARAMETER = VALUE, ... }; K and N may be used",
      list_routers },
    { "tasks", "TASKS: in a recipe \"NAME\"; besides them, nll { file = \"texts.jsonl\" }",
      list_tasks },
    { "training-sets",
      "TRAINING SETS: in a recipe sft { data = \"NAME\" }; besides them, files of its own",
      list_training_sets },
    { "models",
      "MODELS: under SEQTOPK_MODELS, models and results/models, here and in the project; or a "
      "folder",
      list_models },
};

static int run_list(int argc, char **argv)
{
    bool json = false, tsv = false, any = false;
    const struct option_spec specs[] = {
        { .name = "--json", .flag = &json },
        { .name = "--tsv", .flag = &tsv },
        { .name = NULL },
    };
    const char *only = cmd_options(&cmd_list, argc, argv, specs, 0, 1) ? argv[1] : NULL;
    if (!only && (json || tsv))
        die(2, "list --json and --tsv take one of: routers, tasks, training-sets, models");
    for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
        if (only && strcmp(only, sections[i].name) != 0)
            continue;
        if (!only)
            printf("%s%s\n", any ? "\n" : "", sections[i].about);
        any = true;
        struct table *t = sections[i].make();
        table_print(t, json ? TABLE_JSON : tsv ? TABLE_TSV : TABLE_TEXT);
        table_free(t);
    }
    if (!any)
        die(2, "list knows no '%s'; it knows routers, tasks, training-sets, models", only);
    return 0;
}

const struct cmd cmd_list = {
    .name = "list",
    .args = "[routers | tasks | training-sets | models] [--json | --tsv]",
    .help = "the routers, tasks, training sets and models that a recipe can name",
    .run = run_list,
};
