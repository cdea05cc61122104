/*
 * cmd_submit.c: `seqtopk submit`: a sweep as jobs of Slurm. Everything is checked as `plan` does; what
 * is left of the sweep is cut into shards, and the manifest and the scripts are written into a folder
 * beside the database, DIR/NAME.shards, where the shards' databases and the jobs' logs come too. The
 * last job merges them into DIR/NAME.db.
 *
 * Invariant: the jobs of one call are all submitted, or those that were are taken back.
 * Leaves out: what the scripts say (submit_script.h), and who gets which cell (run_shards.h).
 */
#include "cmd/cmd.h"
#include "cmd/run_options.h"
#include "cmd/slurm.h"
#include "cmd/submit_script.h"
#include "corpus.h"
#include "run_shards.h"
#include "store/store.h"

#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct submit_options {
    struct sweep_options sweep;
    struct submit to; /* what sbatch is told */
    const char *db, *seconds;
    int tasks, batch;
    struct strings sbatch;
    bool allowed, retry_failed, dry_run, no_merge;
};

/* ---- what is done ---- */

/* Marks the cells that the database has. One that cannot be read now tells nothing. */
static void mark_done(const char *path, const struct sweep *s, bool *done)
{
    struct buf err = BUF_INIT;
    struct store *store = access(path, R_OK) == 0 ? store_open(path, STORE_READ, &err) : NULL;
    for (size_t i = 0; store && i < s->ncells; i++) {
        enum cell_status status;
        if (!done[i] && store_cell_status(store, s->cells[i].id, &status, &err) == 0)
            done[i] = status == CELL_DONE;
    }
    store_close(store);
    buf_release(&err);
}

/* Of an earlier call: its shards' databases, and the merged one. */
static size_t find_done(const struct sweep *s, const char *folder, const char *merged, bool *done)
{
    glob_t files = { 0 };
    struct buf pattern = BUF_INIT;
    size_t n = 0;
    buf_addf(&pattern, "%s/shard-*.db", folder);
    mark_done(merged, s, done);
    if (glob(pattern.s, 0, NULL, &files) == 0)
        for (size_t i = 0; i < files.gl_pathc; i++)
            mark_done(files.gl_pathv[i], s, done);
    globfree(&files);
    buf_release(&pattern);
    for (size_t i = 0; i < s->ncells; i++)
        n += done[i];
    return n;
}

/* ---- what the jobs are told ---- */

static void add_both(struct strings *run, struct strings *train, const char *name,
                     const char *value)
{
    if (value) {
        strings_add(run, name);
        strings_add(run, value);
    }
    if (value && train) {
        strings_add(train, name);
        strings_add(train, value);
    }
}

/* What was said here of the work, said to the jobs. */
static void pass_words(const struct submit_options *o, const struct sweep *s, struct strings *run,
                       struct strings *train)
{
    struct buf devices = BUF_INIT;
    bool gpu = strcmp(s->device, "cpu") != 0;
    for (int i = 0; gpu && i < o->to.gpus && o->to.gpus > 1; i++)
        buf_addf(&devices, "%scuda:%d", i ? "," : "", i);
    add_both(run, train, "--model", o->sweep.model);
    add_both(run, NULL, "--device", devices.len ? devices.s : o->sweep.device);
    add_both(train, NULL, "--device", o->sweep.device);
    add_both(run, NULL, "--dtype", o->sweep.dtype);
    add_both(run, train, "--checkpoint-seconds", o->seconds);
    if (o->sweep.limit) {
        strings_add(run, "--limit");
        strings_addf(run, "%d", o->sweep.limit);
    }
    if (o->batch) {
        strings_add(run, "--batch");
        strings_addf(run, "%d", o->batch);
    }
    if (o->allowed)
        strings_add(run, "--allow-code-execution");
    if (o->retry_failed)
        strings_add(run, "--retry-failed");
    buf_release(&devices);
}

/* The settings that the program reads: a site's Slurm may pass on none. */
static void pass_environment(struct strings *out)
{
    static const char *const names[] = { "SEQTOPK_MODELS", "SEQTOPK_EVALS", "SEQTOPK_DATA",
                                         "SEQTOPK_TRAINED" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (getenv(names[i]))
            strings_addf(out, "%s=%s", names[i], getenv(names[i]));
}

static void check_tasks(const struct submit_options *o, const struct sweep *s)
{
    for (size_t i = 0; i < s->ntasks && !o->allowed; i++)
        if (task_runs_code(&s->tasks[i]))
            die(1,
                "submit: task %s runs code that a model wrote, in a sandbox; say "
                "--allow-code-execution if it shall",
                s->tasks[i].name);
    if (sweep_timed(s))
        die(1,
            "submit: task %s measures time, which shards on several machines cannot do side by "
            "side; "
            "say `seqtopk run` on the machine that is to be measured",
            sweep_timed(s)->name);
    if (o->to.gpus && strcmp(s->device, "cpu") == 0)
        warning("each task gets %d GPU%s and computes on the CPU; --device cuda uses them",
                o->to.gpus, o->to.gpus == 1 ? "" : "s");
}

/* ---- scripts ---- */

static char *script_path(const char *folder, enum submit_job job)
{
    return xasprintf("%s/%s.sh", folder, submit_job_name(job));
}

/* All of them are made before one is written: what cannot stand in one is said first. */
static void make_scripts(const struct submit *t, struct buf scripts[JOB_COUNT])
{
    struct buf err = BUF_INIT;
    for (int job = 0; job < JOB_COUNT; job++) {
        buf_init(&scripts[job]);
        if (submit_has(t, job) && submit_script(t, job, &scripts[job], &err))
            die(1, "submit: %s", err.s);
    }
    buf_release(&err);
}

static void print_scripts(const struct submit *t, const char *folder,
                          const struct buf scripts[JOB_COUNT])
{
    const char *ids[JOB_COUNT] = { NULL };
    for (int job = 0; job < JOB_COUNT; job++) {
        struct buf wait = BUF_INIT;
        if (!submit_has(t, job))
            continue;
        char *path = script_path(folder, job);
        submit_dependency(job, ids, &wait);
        printf("%s# ---- %s%s%s ----\n%s", job ? "\n" : "", path,
               wait.len ? ", submitted with --dependency=" : "", wait.s, scripts[job].s);
        ids[job] = submit_job_name(job);
        free(path);
        buf_release(&wait);
    }
}

static void write_files(const struct submit *t, const char *folder,
                        const struct buf scripts[JOB_COUNT], const struct shards *shards)
{
    struct buf err = BUF_INIT, text = BUF_INIT;
    shards_text(shards, &text);
    if (make_dirs(folder, &err) || write_file(t->manifest, text.s, text.len, &err))
        die(1, "%s", err.s);
    for (int job = 0; job < JOB_COUNT; job++) {
        char *path = script_path(folder, job);
        if (submit_has(t, job) && write_file(path, scripts[job].s, scripts[job].len, &err))
            die(1, "%s", err.s);
        free(path);
    }
    buf_release(&text);
    buf_release(&err);
}

/* Submits one after the other, since each must know the numbers of those that it waits for. */
static void submit_all(const struct submit *t, const char *folder)
{
    struct buf ids[JOB_COUNT], err = BUF_INIT;
    const char *known[JOB_COUNT] = { NULL };
    for (int job = 0; job < JOB_COUNT; job++) {
        struct buf wait = BUF_INIT;
        buf_init(&ids[job]);
        if (!submit_has(t, job))
            continue;
        char *path = script_path(folder, job);
        submit_dependency(job, known, &wait);
        if (slurm_submit(path, wait.s, &ids[job], &err)) {
            bool all = true;
            for (int i = 0; i < job; i++)
                all = (!known[i] || slurm_cancel(known[i])) && all;
            die(1, "submit: %s%s", err.s,
                all ? "" : "; a job that was submitted before it could not be taken back");
        }
        known[job] = ids[job].s;
        free(path);
        buf_release(&wait);
    }
    for (int job = 0; job < JOB_COUNT; job++) {
        if (known[job])
            printf("%s %s\n", submit_job_name(job), known[job]);
        buf_release(&ids[job]);
    }
}

/* ---- the command ---- */

/* A name by what is in it: jobs that wait keep theirs when the sweep is submitted anew. */
static void name_manifest(const struct shards *shards, const char *folder, struct buf *out)
{
    struct buf text = BUF_INIT;
    struct hash *h = hash_new();
    char hex[33];
    shards_text(shards, &text);
    hash_adds(h, text.s);
    hash_hex(h, hex);
    hash_free(h);
    buf_addf(out, "%s/manifest-%.8s", folder, hex);
    buf_release(&text);
}

static void say_shards(const struct shards *s, size_t done)
{
    fprintf(stderr, "%s: %zu cell%s in %zu shard%s", s->sweep, s->ncells, s->ncells == 1 ? "" : "s",
            s->plain + s->late, s->plain + s->late == 1 ? "" : "s");
    if (s->ntrainings)
        fprintf(stderr, ", of which %zu wait%s for %zu model%s to be trained", s->late,
                s->late == 1 ? "s" : "", s->ntrainings, s->ntrainings == 1 ? "" : "s");
    fprintf(stderr, "; %zu cell%s done already\n", done, done == 1 ? " is" : "s are");
}

/* Fills in the rest of `o->to`, and does it. */
static void submit_shards(struct submit_options *o, const struct sweep *s,
                          const struct shards *shards, const char *folder, const char *merged)
{
    struct strings run = { 0 }, train = { 0 }, environment = { 0 };
    struct buf program = BUF_INIT, manifest = BUF_INIT, scripts[JOB_COUNT];
    char *cwd = getcwd(NULL, 0);
    if (!cwd)
        die(1, "submit: the folder that it was started in is gone");
    program_dir(&program);
    buf_adds(&program, "/seqtopk");
    name_manifest(shards, folder, &manifest);
    pass_words(o, s, &run, &train);
    pass_environment(&environment);
    struct submit *t = &o->to;
    t->sweep = s->name, t->program = program.s, t->folder = cwd, t->recipe = s->path;
    t->manifest = manifest.s, t->merged = o->no_merge ? NULL : merged, t->sbatch = &o->sbatch;
    t->environment = &environment, t->run_words = &run, t->train_words = &train;
    t->plain = shards->plain, t->late = shards->late, t->makers = shards->makers;
    make_scripts(t, scripts);
    if (o->dry_run) {
        print_scripts(t, folder, scripts);
    } else {
        write_files(t, folder, scripts, shards);
        submit_all(t, folder);
    }
    for (int i = 0; i < JOB_COUNT; i++)
        buf_release(&scripts[i]);
    strings_release(&run);
    strings_release(&train);
    strings_release(&environment);
    buf_release(&program);
    buf_release(&manifest);
    free(cwd);
}

static void submit_sweep(struct submit_options *o, const char *recipe)
{
    struct buf err = BUF_INIT, folder = BUF_INIT, merged = BUF_INIT;
    struct corpora corpora;
    struct courses courses;
    struct shards shards;
    struct sweep *s = sweep_open(recipe, &o->sweep, &err);
    if (!s)
        die(1, "%s", err.s);
    check_tasks(o, s);
    if (corpora_read(&corpora, s, &err) || courses_read(&courses, s, &err))
        die(1, "%s", err.s);
    buf_addf(&folder, "%s/%s.shards", o->db ? o->db : "results", s->name);
    buf_addf(&merged, "%s/%s.db", o->db ? o->db : "results", s->name);
    bool *done = xcalloc(s->ncells + 1, sizeof(*done));
    size_t ndone = find_done(s, folder.s, merged.s, done);
    shards_plan(&shards, s, &corpora, &courses, done, (size_t)o->tasks);
    say_shards(&shards, ndone);
    if (shards.ncells)
        submit_shards(o, s, &shards, folder.s, merged.s);
    else
        fprintf(stderr, "%s: nothing is left to be submitted\n", s->name);
    free(done);
    shards_release(&shards);
    corpora_release(&corpora);
    courses_release(&courses);
    sweep_free(s);
    buf_release(&folder);
    buf_release(&merged);
}

static int run_submit(int argc, char **argv)
{
    struct submit_options o = { .tasks = 1 };
    const struct option_spec specs[] = {
        { .name = "--partition", .value = &o.to.partition },
        { .name = "--tasks", .number = &o.tasks, .most = SHARDS_MAX },
        { .name = "--gpus-per-task", .number = &o.to.gpus, .most = 64 },
        { .name = "--cpus-per-task", .number = &o.to.cpus, .most = THREADS_MAX },
        { .name = "--time", .value = &o.to.time },
        { .name = "--mem", .value = &o.to.mem },
        { .name = "--account", .value = &o.to.account },
        { .name = "--sbatch", .list = &o.sbatch },
        { .name = "--db", .value = &o.db },
        { .name = "--dry-run", .flag = &o.dry_run },
        { .name = "--no-merge", .flag = &o.no_merge },
        { .name = "--model", .value = &o.sweep.model },
        { .name = "--device", .value = &o.sweep.device },
        { .name = "--dtype", .value = &o.sweep.dtype },
        { .name = "--limit", .number = &o.sweep.limit },
        { .name = "--batch", .number = &o.batch, .most = BATCH_MAX },
        { .name = "--checkpoint-seconds", .value = &o.seconds },
        { .name = "--allow-code-execution", .flag = &o.allowed },
        { .name = "--retry-failed", .flag = &o.retry_failed },
        { .name = NULL },
    };
    struct buf err = BUF_INIT;
    cmd_options(&cmd_submit, argc, argv, specs, 1, 1);
    run_checkpoint_seconds(&cmd_submit, o.seconds);
    if (!o.dry_run && slurm_find(&err))
        die(1, "submit: %s", err.s);
    submit_sweep(&o, argv[1]);
    strings_release(&o.sbatch);
    buf_release(&err);
    return 0;
}

const struct cmd cmd_submit = {
    .name = "submit",
    .args =
        "RECIPE [--partition P] [--tasks N] [--gpus-per-task N] [--cpus-per-task N] [--time T]\n"
        "       [--mem M] [--account A] [--sbatch OPTIONS]... [--db DIR] [--dry-run] [--no-merge]\n"
        "       [--model M] [--device D] [--dtype T] [--limit N] [--batch N]\n"
        "       [--checkpoint-seconds S] [--allow-code-execution] [--retry-failed]",
    .help = "run a recipe's cells as jobs of Slurm, in shards, and merge them",
    .run = run_submit,
};
