/*
 * cmd_plan.c: what a recipe would do: every check that needs no weights in memory, and the cells.
 */
#include "cmd/cmd.h"
#include "corpus.h"
#include "recipe/sweep.h"

#include <stdio.h>
#include <string.h>

enum { SHORT_ID = 12 };

static bool has_param(const struct router *r, const char *name)
{
    for (const struct router_param *p = r->params; p->name; p++)
        if (strcmp(p->name, name) == 0)
            return true;
    return false;
}

static void add_row(struct table *t, const struct cell *c)
{
    struct buf others = BUF_INIT;
    router_others(c->router, &c->args, &others);
    table_addf(t, "%.*s", SHORT_ID, c->id);
    table_add(t, c->model->name);
    table_add(t, c->router->name);
    table_add(t, has_param(c->router, "mode") ? router_mode(c->router, &c->args) : NULL);
    table_addf(t, "%d", c->args.K);
    table_addf(t, "%d", c->args.min);
    table_addf(t, "%d", c->args.max);
    table_add(t, others.len ? others.s : NULL);
    table_add(t, c->task->name);
    table_addf(t, "%lld", (long long)c->seed);
    table_addf(t, "%d", c->task->documents);
    buf_release(&others);
}

static void print_summary(const struct sweep *s)
{
    long long documents = 0;
    for (size_t i = 0; i < s->ncells; i++)
        documents += s->cells[i].task->documents;
    fflush(stdout);
    fprintf(stderr, "%s: %zu cell%s, %zu model%s, %zu task%s, %lld documents to score on %s, %s\n",
            s->name, s->ncells, s->ncells == 1 ? "" : "s", s->nmodels, s->nmodels == 1 ? "" : "s",
            s->ntasks, s->ntasks == 1 ? "" : "s", documents, s->device, dtype_name(s->dtype));
}

/* What `run` will want besides the recipe. */
static void print_wants(const struct sweep *s)
{
    for (size_t i = 0; i < s->ntasks; i++)
        if (task_runs_code(&s->tasks[i]))
            warning("%s runs code that a model wrote: run wants --allow-code-execution",
                    s->tasks[i].name);
    cmd_judge_note(s);
}

static int run_plan(int argc, char **argv)
{
    struct sweep_options o = { 0 };
    bool json = false, tsv = false;
    const struct option_spec specs[] = {
        { .name = "--model", .value = &o.model },
        { .name = "--device", .value = &o.device },
        { .name = "--dtype", .value = &o.dtype },
        { .name = "--limit", .number = &o.limit },
        { .name = "--json", .flag = &json },
        { .name = "--tsv", .flag = &tsv },
        { .name = NULL },
    };
    cmd_options(&cmd_plan, argc, argv, specs, 1, 1);
    struct buf err = BUF_INIT;
    struct sweep *s = sweep_open(argv[1], &o, &err);
    struct corpora corpora;
    if (!s || corpora_read(&corpora, s, &err))
        die(1, "%s", err.s);
    static const char *const columns[] = { "id",   "model", "router",     "mode",
                                           "#K",   "#min",  "#max",       "others",
                                           "task", "#seed", "#documents", NULL };
    struct table *t = table_new(columns);
    for (size_t i = 0; i < s->ncells; i++)
        add_row(t, &s->cells[i]);
    table_print(t, json ? TABLE_JSON : tsv ? TABLE_TSV : TABLE_TEXT);
    print_summary(s);
    if (sweep_repeats(s))
        warning("cells that differ in the seed alone give the same where nothing is sampled");
    print_wants(s);
    table_free(t);
    corpora_release(&corpora);
    sweep_free(s);
    return 0;
}

const struct cmd cmd_plan = {
    .name = "plan",
    .args = "RECIPE [--model M] [--device D] [--dtype T] [--limit N] [--json | --tsv]",
    .help = "check a recipe and list its cells, without running anything",
    .run = run_plan,
};
