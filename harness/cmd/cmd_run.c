/*
 * cmd_run.c: runs a recipe: everything is checked, then every cell that is not in the database yet
 * is computed. What was interrupted goes on where it stopped.
 */
#include "cmd/cmd.h"
#include "engine.h"
#include "run.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Where results go unless --db says so: results/NAME.db. */
static void default_db(const struct sweep *s, struct buf *path)
{
    struct buf err = BUF_INIT;
    if (make_dirs("results", &err))
        die(1, "%s", err.s);
    buf_addf(path, "results/%s.db", s->name);
    buf_release(&err);
}

/* Before the database is made. There is always a CPU, and asking for it costs nothing. */
static void check_device(const struct sweep *s)
{
    struct buf err = BUF_INIT;
    struct device device;
    if (strcmp(s->device, "cpu") == 0 && s->dtype == DTYPE_F32)
        return;
    const struct engine *engine = engine_open(&err);
    if (!engine || engine->device_parse(s->device, &device, &err) ||
        engine->device_check(device, s->dtype, &err))
        die(1, "%s", err.s);
}

static void report(const struct sweep *s, const struct run_result *r, const char *db)
{
    fprintf(stderr, "%s: %d cell%s computed, %d in the database already, %d failed", s->name,
            r->done, r->done == 1 ? "" : "s", r->there, r->failed);
    if (r->truncated)
        fprintf(stderr, "; %d document%s cut to fit the model's context", r->truncated,
                r->truncated == 1 ? " was" : "s were");
    fprintf(stderr, "%s\n", r->interrupted ? "; interrupted, run it again to go on" : "");
    printf("%s\n", db);
    if (r->failed)
        die(1, "%d of %zu cells failed; the first: %s", r->failed, s->ncells, r->first_error);
}

/* The first task that runs code; NULL: none does. */
static const char *code_task(const struct sweep *s)
{
    for (size_t i = 0; i < s->ntasks; i++)
        if (task_runs_code(&s->tasks[i]))
            return s->tasks[i].name;
    return NULL;
}

static int run_run(int argc, char **argv)
{
    struct sweep_options o = { 0 };
    struct run_options run = { .threads = (int)sysconf(_SC_NPROCESSORS_ONLN), .batch = 32 };
    const char *db = NULL;
    bool allowed = false;
    const struct option_spec specs[] = {
        { .name = "--db", .value = &db },
        { .name = "--model", .value = &o.model },
        { .name = "--device", .value = &o.device },
        { .name = "--dtype", .value = &o.dtype },
        { .name = "--limit", .number = &o.limit },
        { .name = "--threads", .number = &run.threads, .most = THREADS_MAX },
        { .name = "--batch", .number = &run.batch, .most = BATCH_MAX },
        { .name = "--allow-code-execution", .flag = &allowed },
        { .name = NULL },
    };
    cmd_options(&cmd_run, argc, argv, specs, 1, 1);
    struct buf err = BUF_INIT, path = BUF_INIT;
    struct sweep *s = sweep_open(argv[1], &o, &err);
    if (!s)
        die(1, "%s", err.s);
    check_device(s);
    cmd_tools_open(&run.tools, &cmd_run, code_task(s), allowed,
                   sweep_asks_judge(s) && s->judged ? &s->judge : NULL);
    if (sweep_repeats(s))
        warning("cells that differ in the seed alone give the same where nothing is sampled");
    cmd_judge_note(s);
    struct corpora corpora;
    if (corpora_read(&corpora, s, &err))
        die(1, "%s", err.s);
    if (db)
        buf_adds(&path, db);
    else
        default_db(s, &path);
    struct store *store = store_open(path.s, STORE_WRITE, &err);
    if (!store || store_lock(store, &err))
        die(1, "%s", err.s);
    struct run_result result;
    int rc = sweep_run(s, &corpora, store, &run, &result, &err);
    store_close(store);
    if (rc)
        die(1, "%s", err.s);
    report(s, &result, path.s);
    free(result.first_error);
    cmd_tools_close(&run.tools);
    corpora_release(&corpora);
    buf_release(&path);
    sweep_free(s);
    return result.interrupted ? 130 : 0;
}

const struct cmd cmd_run = {
    .name = "run",
    .args = "RECIPE [--db FILE] [--model M] [--device D] [--dtype T] [--limit N] [--threads N]\n"
            "       [--batch N] [--allow-code-execution]",
    .help = "run a recipe's cells that are not in the database yet",
    .run = run_run,
};
