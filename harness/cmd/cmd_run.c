/*
 * cmd_run.c: runs a recipe: everything is checked, then every cell that is not in the database yet
 * is computed. What was interrupted goes on where it stopped.
 */
#include "cmd/cmd.h"
#include "cmd/run_options.h"
#include "run.h"

#include <stdio.h>
#include <unistd.h>

static void report(const struct sweep *s, const struct run_result *r, const char *db)
{
    fprintf(stderr, "%s: %d cell%s computed, %d in the database already, %d failed", s->name,
            r->done, r->done == 1 ? "" : "s", r->there, r->failed);
    if (r->trained)
        fprintf(stderr, "; %d model%s trained", r->trained, r->trained == 1 ? " was" : "s were");
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
    const char *db = NULL, *seconds = NULL;
    bool allowed = false;
    const struct option_spec specs[] = {
        { .name = "--db", .value = &db },
        { .name = "--model", .value = &o.model },
        { .name = "--device", .value = &o.device },
        { .name = "--dtype", .value = &o.dtype },
        { .name = "--limit", .number = &o.limit },
        { .name = "--threads", .number = &run.threads, .most = THREADS_MAX },
        { .name = "--batch", .number = &run.batch, .most = BATCH_MAX },
        { .name = "--checkpoint-seconds", .value = &seconds },
        { .name = "--allow-code-execution", .flag = &allowed },
        { .name = NULL },
    };
    cmd_options(&cmd_run, argc, argv, specs, 1, 1);
    run.checkpoint_seconds = run_checkpoint_seconds(&cmd_run, seconds);
    struct buf err = BUF_INIT, path = BUF_INIT;
    struct sweep *s = sweep_open(argv[1], &o, &err);
    if (!s)
        die(1, "%s", err.s);
    run_device_check(s->device, s->dtype);
    cmd_tools_open(&run.tools, &cmd_run, code_task(s), allowed,
                   sweep_asks_judge(s) && s->judged ? &s->judge : NULL);
    if (sweep_repeats(s))
        warning("cells that differ in the seed alone give the same where nothing is sampled");
    cmd_judge_note(s);
    struct corpora corpora;
    struct courses courses;
    if (corpora_read(&corpora, s, &err) || courses_read(&courses, s, &err))
        die(1, "%s", err.s);
    run_courses_check(&courses);
    struct store *store = run_store_open(db, s->name, &path);
    struct run_result result;
    int rc = sweep_run(s, &corpora, &courses, store, &run, &result, &err);
    store_close(store);
    if (rc)
        die(1, "%s", err.s);
    report(s, &result, path.s);
    free(result.first_error);
    cmd_tools_close(&run.tools);
    corpora_release(&corpora);
    courses_release(&courses);
    buf_release(&path);
    sweep_free(s);
    return result.interrupted ? 130 : 0;
}

const struct cmd cmd_run = {
    .name = "run",
    .args = "RECIPE [--db FILE] [--model M] [--device D] [--dtype T] [--limit N] [--threads N]\n"
            "       [--batch N] [--checkpoint-seconds S] [--allow-code-execution]",
    .help = "run a recipe's cells that are not in the database yet",
    .run = run_run,
};
