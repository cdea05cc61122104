/*
 * cmd_plan.c: what a recipe would do: every check that needs no weights in memory, and the cells. Or,
 * with --from, the recipe that a database was made by, byte for byte: it can read no other file, so it
 * is all that there is.
 */
#include "cmd/cmd.h"
#include "corpus.h"
#include "recipe/sweep.h"
#include "run_pretrain.h"
#include "store/store.h"

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

/* The upper bound, or "3/4/64/6" where each layer has its own. */
static void add_most(struct table *t, const struct cell *c)
{
    struct buf text = BUF_INIT;
    for (const struct router_param *p = c->router->params; c->args.nmaxes && p->name; p++)
        if (p->by_layer)
            router_param_text(p, &c->args, "/", &text);
    if (text.len)
        table_add(t, text.s);
    else
        table_addf(t, "%d", c->args.max);
    buf_release(&text);
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
    add_most(t, c);
    table_add(t, others.len ? others.s : NULL);
    table_add(t, c->train);
    table_add(t, c->task->name);
    table_addf(t, "%lld", (long long)c->seed);
    table_addf(t, "%d", c->task->documents);
    buf_release(&others);
}

static struct table *trainings_table(void)
{
    static const char *const columns[] = { "training", "model", "router", "#K",
                                           "#seed",    "state", "train",  NULL };
    return table_new(columns);
}

static void add_training(struct table *t, const struct sweep_training *training, bool there)
{
    struct buf router = BUF_INIT;
    router_label(training->router, &training->args, &router);
    table_addf(t, "%.*s", SHORT_ID, training->id);
    table_add(t, training->model->name);
    table_add(t, router.s);
    if (training->how.nmatryoshka)
        table_add(t, NULL);
    else
        table_addf(t, "%d", training->args.K);
    table_addf(t, "%lld", (long long)training->how.seed);
    table_add(t, there ? "there" : "to be made");
    table_add(t, training->label);
    buf_release(&router);
}

/* The models that the cells need; for people alone, since a cell's row has its training's label. */
static void print_trainings(const struct courses *c)
{
    struct table *t = trainings_table();
    for (size_t i = 0; i < c->sweep->ntrainings; i++)
        add_training(t, c->sweep->trainings[i], c->there[i]);
    if (c->sweep->ntrainings) {
        printf("\n");
        table_print(t, TABLE_TEXT);
    }
    table_free(t);
}

/* A recipe that makes a model from nothing has no cells. */
static int plan_pretrain(struct recipe *r, const struct sweep_options *o, enum table_format format)
{
    struct buf err = BUF_INIT;
    if (o->model || o->dtype || o->limit)
        die(1, "%s: --model, --dtype and --limit go with a sweep, and this is pretrain { ... }",
            r->path);
    struct pretraining *p = pretraining_open(r, o->device ? o->device : "cpu", &err);
    if (!p)
        die(1, "%s", err.s);
    struct table *t = trainings_table();
    add_training(t, pretraining_training(p), pretraining_there(p));
    table_print(t, format);
    table_free(t);
    pretraining_free(p);
    recipe_free(r);
    return 0;
}

static void print_summary(const struct sweep *s, const struct courses *c)
{
    long long documents = 0;
    for (size_t i = 0; i < s->ncells; i++)
        documents += s->cells[i].task->documents;
    fflush(stdout);
    fprintf(stderr, "%s: %zu cell%s, %zu model%s, %zu task%s, %lld documents to score on %s, %s\n",
            s->name, s->ncells, s->ncells == 1 ? "" : "s", s->nmodels, s->nmodels == 1 ? "" : "s",
            s->ntasks, s->ntasks == 1 ? "" : "s", documents, s->device, dtype_name(s->dtype));
    if (s->ntrainings)
        fprintf(stderr, "%s: %zu model%s to be trained, %zu there already\n", s->name,
                courses_left(c), courses_left(c) == 1 ? "" : "s", s->ntrainings - courses_left(c));
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

static int plan_sweep(struct recipe *r, const struct sweep_options *o, enum table_format format)
{
    static const char *const columns[] = { "id",    "model",      "router", "mode",  "#K",
                                           "#min",  "#max",       "others", "train", "task",
                                           "#seed", "#documents", NULL };
    struct buf err = BUF_INIT;
    struct corpora corpora;
    struct courses courses;
    struct sweep *s = sweep_of(r, o, &err);
    if (!s || corpora_read(&corpora, s, &err) || courses_read(&courses, s, &err))
        die(1, "%s", err.s);
    struct table *t = table_new(columns);
    for (size_t i = 0; i < s->ncells; i++)
        add_row(t, &s->cells[i]);
    table_print(t, format);
    if (format == TABLE_TEXT)
        print_trainings(&courses);
    print_summary(s, &courses);
    if (sweep_repeats(s))
        warning("cells that differ in the seed alone give the same where nothing is sampled");
    print_wants(s);
    table_free(t);
    corpora_release(&corpora);
    courses_release(&courses);
    sweep_free(s);
    return 0;
}

/* ---- the recipe of a database ---- */

/* The sweeps whose recipe the database has, by name. */
static void find_sweeps(struct store *s, struct strings *out)
{
    struct buf err = BUF_INIT;
    struct rows *rows = store_query(
        s, &err, "SELECT DISTINCT sweep FROM v_runs WHERE recipe_hash IS NOT NULL ORDER BY sweep");
    int rc = rows ? 0 : -1;
    while (rows && (rc = rows_next(rows, &err)) == 1)
        strings_add(out, rows_text(rows, 0));
    rows_close(rows);
    if (rc)
        die(1, "%s", err.s);
}

/* The one that is asked for, or the only one. */
static const char *choose_sweep(const char *db, const struct strings *sweeps, const char *name)
{
    struct buf known = BUF_INIT;
    if (!sweeps->len)
        die(1, "%s: has no recipe: no run of one was written to it by this version or a later one",
            db);
    for (size_t i = 0; i < sweeps->len; i++) {
        if (name ? strcmp(sweeps->v[i], name) == 0 : sweeps->len == 1)
            return sweeps->v[i];
        buf_addf(&known, "%s%s", i ? ", " : "", sweeps->v[i]);
    }
    if (name)
        die(1, "%s: has no recipe of a sweep %s; there are %s", db, name, known.s);
    die(1, "%s: has recipes of %zu sweeps; --sweep says which: %s", db, sweeps->len, known.s);
}

static int print_recipe(const char *db, const char *name)
{
    struct buf err = BUF_INIT;
    struct strings sweeps = { 0 };
    struct store *s = store_open(db, STORE_READ, &err);
    if (!s)
        die(1, "%s", err.s);
    find_sweeps(s, &sweeps);
    const char *sweep = choose_sweep(db, &sweeps, name);
    struct rows *rows =
        store_query(s, &err,
                    "SELECT c.text, r.command, c.path FROM run AS r JOIN recipe AS c"
                    " ON c.n = r.recipe WHERE r.sweep = ? ORDER BY r.n DESC LIMIT 1",
                    sweep);
    if (!rows || rows_next(rows, &err) != 1 || rows_need(rows, 0, &err) || rows_need(rows, 1, &err))
        die(1, "%s", err.len ? err.s : "the recipe is gone");
    fputs(rows_text(rows, 0), stdout);
    fflush(stdout);
    fprintf(stderr, "%s: was %s, and run last by: %s\n", sweep, rows_text(rows, 2),
            rows_text(rows, 1));
    rows_close(rows);
    store_close(s);
    strings_release(&sweeps);
    return 0;
}

static int run_plan(int argc, char **argv)
{
    struct sweep_options o = { 0 };
    const char *from = NULL, *sweep = NULL;
    bool json = false, tsv = false;
    const struct option_spec specs[] = {
        { .name = "--model", .value = &o.model },
        { .name = "--device", .value = &o.device },
        { .name = "--dtype", .value = &o.dtype },
        { .name = "--limit", .number = &o.limit },
        { .name = "--json", .flag = &json },
        { .name = "--tsv", .flag = &tsv },
        { .name = "--from", .value = &from },
        { .name = "--sweep", .value = &sweep },
        { .name = NULL },
    };
    bool asked = false;
    for (int i = 1; i < argc; i++)
        asked |= strncmp(argv[i], "--from", 6) == 0;
    int given = cmd_options(&cmd_plan, argc, argv, specs, asked ? 0 : 1, 1);
    if (from && (given || o.model || o.device || o.dtype || o.limit || json || tsv))
        die(2, "plan: --from prints the recipe of a database; only --sweep goes with it");
    if (from)
        return print_recipe(from, sweep);
    if (sweep)
        die(2, "plan: --sweep goes with --from");
    struct buf err = BUF_INIT;
    enum table_format format = json ? TABLE_JSON : tsv ? TABLE_TSV : TABLE_TEXT;
    struct recipe *r = recipe_open(argv[1], &o, &err);
    if (!r)
        die(1, "%s", err.s);
    return r->pretrain ? plan_pretrain(r, &o, format) : plan_sweep(r, &o, format);
}

const struct cmd cmd_plan = {
    .name = "plan",
    .args = "RECIPE [--model M] [--device D] [--dtype T] [--limit N] [--json | --tsv]\n"
            "       seqtopk plan --from DB [--sweep NAME]",
    .help = "check a recipe and list its cells without running anything, or print a database's",
    .run = run_plan,
};
