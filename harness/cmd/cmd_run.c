/*
 * cmd_run.c: runs a recipe: everything is checked, then every cell that is not in the database yet
 * is computed, by this process or by several. What was interrupted goes on where it stopped.
 */
#include "cmd/cmd.h"
#include "cmd/run_options.h"
#include "run_workers.h"

#include <stdio.h>
#include <unistd.h>

/* The sentence about cells that failed, now or before; false: none did. */
static bool describe_failed(const struct sweep *s, const struct run_result *r, struct buf *out)
{
    if (r->failed)
        buf_addf(out, "%d of %zu cells failed", r->failed, s->ncells);
    if (r->failed && r->failed_before)
        buf_addf(out, ", and %d failed before, which --retry-failed tries again", r->failed_before);
    else if (r->failed_before)
        buf_addf(out, "%d of %zu cells failed before, and only --retry-failed tries them again",
                 r->failed_before, s->ncells);
    const char *first = r->failed ? r->first_error : r->error_before;
    if (out->len)
        buf_addf(out, "; the first: %s", first ? first : "no reason was kept");
    return out->len > 0;
}

/* Says what became of the cells, and returns the exit code. */
static int report(const struct sweep *s, const struct run_result *r, bool fail_fast, const char *db)
{
    struct buf failed = BUF_INIT;
    int left = (int)s->ncells - r->done - r->there - r->failed - r->failed_before;
    fprintf(stderr, "%s: %d cell%s computed, %d in the database already, %d failed", s->name,
            r->done, r->done == 1 ? "" : "s", r->there, r->failed);
    if (r->failed_before)
        fprintf(stderr, ", %d failed before", r->failed_before);
    if (r->trained)
        fprintf(stderr, "; %d model%s trained", r->trained, r->trained == 1 ? " was" : "s were");
    if (r->truncated)
        fprintf(stderr, "; %d document%s cut to fit the model's context", r->truncated,
                r->truncated == 1 ? " was" : "s were");
    if (r->signal)
        fprintf(stderr, "; interrupted, run it again to go on");
    else if (fail_fast && r->failed && left > 0)
        fprintf(stderr, "; ended at the first failure, with %d cell%s left", left,
                left == 1 ? "" : "s");
    fprintf(stderr, "\n");
    printf("%s\n", db);
    bool any = describe_failed(s, r, &failed);
    if (any && !r->signal)
        die(1, "%s", failed.s);
    if (any)
        warning("%s", failed.s);
    buf_release(&failed);
    return r->signal ? 128 + r->signal : 0;
}

/* The first task that runs code; NULL: none does. */
static const char *code_task(const struct sweep *s)
{
    for (size_t i = 0; i < s->ntasks; i++)
        if (task_runs_code(&s->tasks[i]))
            return s->tasks[i].name;
    return NULL;
}

/* Who does the work. */
struct hands {
    struct strings devices; /* of the processes, in turn */
    int processes;
};

static void choose_hands(struct hands *h, const struct sweep *s, int jobs, struct run_options *run)
{
    int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (!h->devices.len)
        strings_add(&h->devices, s->device);
    h->processes = run_processes(&cmd_run, jobs, &h->devices);
    if (h->processes > 1 && sweep_timed(s))
        die(1,
            "run: task %s measures time, and %d processes would slow one another down; say --jobs "
            "1 and one device",
            sweep_timed(s)->name, h->processes);
    if (!run->threads)
        run->threads = cores > h->processes ? cores / h->processes : 1;
}

/* One process has the device to itself; several are made before the database is opened. */
static void prepare_hands(const struct hands *h, const struct crew_spec *spec,
                          struct run_options *run)
{
    struct buf err = BUF_INIT;
    if (h->processes == 1) {
        run_device_check(spec->sweep->device, spec->sweep->dtype);
        run_courses_check(spec->courses);
        return;
    }
    run_devices_check(&h->devices, spec->sweep, spec->courses);
    run->crew = crew_new(spec, &err);
    if (!run->crew)
        die(1, "%s", err.s);
}

/* What the database says of the run. */
static enum outcome_of_run outcome(int rc, const struct run_result *r)
{
    if (rc == 0 && r->signal)
        return RUN_INTERRUPTED;
    return rc || r->failed || r->failed_before ? RUN_FAILED : RUN_DONE;
}

static int run_run(int argc, char **argv)
{
    struct sweep_options o = { 0 };
    struct run_options run = { .batch = 32 };
    struct provenance from;
    struct hands hands = { 0 };
    const char *db = NULL, *seconds = NULL, *devices = NULL, *shard = NULL;
    int jobs = 0;
    bool allowed = false, keep_going = false;
    const struct option_spec specs[] = {
        { .name = "--db", .value = &db },
        { .name = "--model", .value = &o.model },
        { .name = "--device", .value = &devices },
        { .name = "--jobs", .number = &jobs, .most = CREW_MAX },
        { .name = "--dtype", .value = &o.dtype },
        { .name = "--limit", .number = &o.limit },
        { .name = "--threads", .number = &run.threads, .most = THREADS_MAX },
        { .name = "--batch", .number = &run.batch, .most = BATCH_MAX },
        { .name = "--checkpoint-seconds", .value = &seconds },
        { .name = "--allow-code-execution", .flag = &allowed },
        { .name = "--keep-going", .flag = &keep_going },
        { .name = "--fail-fast", .flag = &run.fail_fast },
        { .name = "--retry-failed", .flag = &run.retry_failed },
        { .name = "--shard", .value = &shard },
        { .name = NULL },
    };
    struct buf err = BUF_INIT, path = BUF_INIT, command = BUF_INIT;
    run_signals_begin();
    provenance_command(argc, argv, &command);
    cmd_options(&cmd_run, argc, argv, specs, 1, 1);
    if (keep_going && run.fail_fast)
        die(2, "run: --keep-going and --fail-fast exclude each other; name one");
    run.checkpoint_seconds = run_checkpoint_seconds(&cmd_run, seconds);
    run_devices(&cmd_run, devices, &hands.devices);
    o.device = hands.devices.len ? hands.devices.v[0] : NULL;
    struct sweep *s = sweep_open(argv[1], &o, &err);
    if (!s)
        die(1, "%s", err.s);
    provenance_init(&from, s->name, command.s);
    provenance_plan(&from, s);
    if (shard)
        run_shard_keep(s, shard, SHARD_CELLS, &db, &from);
    choose_hands(&hands, s, jobs, &run);
    from.processes = hands.processes;
    run.provenance = &from;
    cmd_tools_open(&run.tools, &cmd_run, code_task(s), allowed,
                   sweep_asks_judge(s) && s->judged ? &s->judge : NULL);
    if (sweep_repeats(s))
        warning("cells that differ in the seed alone give the same where nothing is sampled");
    cmd_judge_note(s);
    struct corpora corpora;
    struct courses courses;
    if (corpora_read(&corpora, s, &err) || courses_read(&courses, s, &err))
        die(1, "%s", err.s);
    run_store_path(db, s->name, &path);
    struct run_options each = run;
    struct crew_spec spec = {
        s, &corpora, &courses, &each, path.s, &hands.devices, hands.processes
    };
    prepare_hands(&hands, &spec, &run);
    struct store *store = run_store_open(db, s->name, &path);
    struct run_result result = { 0 };
    int rc = provenance_begin(&from, store, s->recipe, &corpora, s->device, &err);
    if (rc == 0)
        rc = sweep_run(s, &corpora, &courses, store, &run, &result, &err);
    provenance_end(store, outcome(rc, &result));
    store_close(store);
    crew_free(run.crew);
    if (rc)
        die(1, "%s", err.s);
    int code = report(s, &result, run.fail_fast, path.s);
    free(result.first_error);
    free(result.error_before);
    cmd_tools_close(&run.tools);
    corpora_release(&corpora);
    courses_release(&courses);
    strings_release(&hands.devices);
    provenance_release(&from);
    buf_release(&command);
    buf_release(&path);
    sweep_free(s);
    return code;
}

const struct cmd cmd_run = {
    .name = "run",
    .args =
        "RECIPE [--db FILE] [--model M] [--device D[,D]...] [--jobs N] [--dtype T] [--limit N]\n"
        "       [--threads N] [--batch N] [--checkpoint-seconds S] [--allow-code-execution]\n"
        "       [--keep-going | --fail-fast] [--retry-failed] [--shard MANIFEST:I]",
    .help = "run a recipe's cells that are not in the database yet",
    .run = run_run,
};
