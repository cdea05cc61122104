/*
 * cmd_train.c: trains models: all that a sweep's cells need, without scoring any of them, or the one
 * that a recipe with pretrain { ... } makes from nothing. Prints the folder of each.
 */
#include "cmd/run_options.h"
#include "engine.h"
#include "recipe/recipe_pretrain.h"
#include "run_pretrain.h"
#include "train/held_out.h"

#include <stdio.h>
#include <unistd.h>

struct train_options {
    struct sweep_options sweep;
    const char *db;
    const char *shard;
    int threads;
    double checkpoint_seconds;
    const char *held_out;
    struct buf command;
};

static void print_folder(const char *dir)
{
    printf("%s\n", dir);
    fflush(stdout);
}

/* The run of a recipe begins in the database, and where anything is to be trained, the engine opens. */
static void begin(const struct provenance *from, const struct recipe *r, const char *device,
                  bool trains, struct train_place *place)
{
    struct buf err = BUF_INIT;
    if (provenance_begin(from, place->store, r, NULL, device, &err))
        die(1, "%s", err.s);
    if (!trains)
        return;
    place->engine = engine_open(&err);
    if (!place->engine || place->engine->device_parse(device, &place->device, &err) ||
        provenance_engine(place->store, place->engine, place->device, &err)) {
        provenance_end(place->store, RUN_FAILED);
        die(1, "%s", err.s);
    }
    place->threads = training_threads(place->device, place->threads);
}

static enum outcome_of_run outcome(bool interrupted, bool failed)
{
    return interrupted ? RUN_INTERRUPTED : failed ? RUN_FAILED : RUN_DONE;
}

/* Says what became of a sweep's models, and returns the exit code. */
static int report(const char *name, struct train_totals *t)
{
    fprintf(stderr, "%s: %d model%s trained, %d there already, %d failed%s\n", name, t->trained,
            t->trained == 1 ? "" : "s", t->there, t->failed,
            t->interrupted ? "; interrupted, run it again to go on" : "");
    for (size_t i = 1; i < t->errors.len; i++)
        warning("%s", t->errors.v[i]);
    if (t->failed && !t->interrupted)
        die(1, "%d training%s failed; the first: %s", t->failed, t->failed == 1 ? "" : "s",
            t->errors.v[0]);
    if (t->failed)
        warning("%s", t->errors.v[0]);
    return t->interrupted ? 128 + run_signal() : 0;
}

static int train_sweep(struct recipe *r, const struct train_options *o)
{
    struct buf err = BUF_INIT, db = BUF_INIT;
    struct train_totals totals;
    struct provenance from;
    struct courses courses;
    struct sweep *s = sweep_of(r, &o->sweep, &err);
    if (!s)
        die(1, "%s", err.s);
    const char *to = o->db;
    provenance_init(&from, s->name, o->command.s);
    if (o->shard)
        run_shard_keep(s, o->shard, SHARD_MODELS, &to, &from);
    if (!s->ntrainings)
        die(1, "%s: nothing to train; the sweep says no train = sft { ... }", s->path);
    if (courses_read(&courses, s, &err))
        die(1, "%s", err.s);
    run_courses_check(&courses);
    struct train_place place = { .threads = o->threads,
                                 .checkpoint_seconds = o->checkpoint_seconds };
    place.store = run_store_open(to, s->name, &db);
    begin(&from, s->recipe, s->device, courses_left(&courses) > 0, &place);
    sweep_train(&courses, &place, print_folder, &totals);
    provenance_end(place.store, outcome(totals.interrupted, totals.failed > 0));
    store_close(place.store);
    int code = report(s->name, &totals);
    strings_release(&totals.errors);
    courses_release(&courses);
    provenance_release(&from);
    sweep_free(s);
    buf_release(&db);
    return code;
}

/* Instead of training: the documents that are held out, for other models to be scored on. */
static int write_held_out(struct recipe *r, const char *path)
{
    struct buf err = BUF_INIT;
    size_t n;
    if (lesson_data_check(&r->pretrain->train.data, &err) ||
        held_out_write(&r->pretrain->train.data, path, &n, &err))
        die(1, "%s: %s", r->path, err.s);
    fprintf(stderr, "%s: %zu documents are held out\n", r->pretrain->name, n);
    printf("%s\n", path);
    recipe_free(r);
    return 0;
}

static int train_pretrain(struct recipe *r, const struct train_options *o)
{
    const char *device = o->sweep.device ? o->sweep.device : "cpu";
    struct buf err = BUF_INIT, db = BUF_INIT;
    struct pretraining *p = pretraining_open(r, device, &err);
    struct train_result result = { 0 };
    struct provenance from;
    if (!p)
        die(1, "%s", err.s);
    run_device_check(device, r->pretrain->train.how.dtype);
    struct train_place place = { .threads = o->threads,
                                 .checkpoint_seconds = o->checkpoint_seconds };
    provenance_init(&from, r->pretrain->name, o->command.s);
    place.store = run_store_open(o->db, r->pretrain->name, &db);
    begin(&from, r, device, !pretraining_there(p), &place);
    int rc = pretraining_run(p, &place, &result, &err);
    provenance_end(place.store, outcome(result.interrupted, rc != 0));
    store_close(place.store);
    provenance_release(&from);
    if (rc)
        die(1, "%s", err.s);
    fprintf(stderr, "%s: %s\n", r->pretrain->name,
            result.interrupted ? "interrupted, run it again to go on"
            : result.there     ? "it was there already"
                               : "the model was trained");
    if (!result.interrupted)
        print_folder(pretraining_dir(p));
    pretraining_free(p);
    recipe_free(r);
    buf_release(&db);
    return result.interrupted ? 128 + run_signal() : 0;
}

static int run_train(int argc, char **argv)
{
    struct train_options o = { 0 };
    const char *seconds = NULL;
    const struct option_spec specs[] = {
        { .name = "--db", .value = &o.db },
        { .name = "--model", .value = &o.sweep.model },
        { .name = "--device", .value = &o.sweep.device },
        { .name = "--threads", .number = &o.threads, .most = THREADS_MAX },
        { .name = "--checkpoint-seconds", .value = &seconds },
        { .name = "--held-out", .value = &o.held_out },
        { .name = "--shard", .value = &o.shard },
        { .name = NULL },
    };
    run_signals_begin();
    buf_init(&o.command);
    provenance_command(argc, argv, &o.command);
    cmd_options(&cmd_train, argc, argv, specs, 1, 1);
    o.checkpoint_seconds = run_checkpoint_seconds(&cmd_train, seconds);
    struct buf err = BUF_INIT;
    struct recipe *r = recipe_open(argv[1], &o.sweep, &err);
    if (!r)
        die(1, "%s", err.s);
    if (r->pretrain && o.sweep.model)
        die(1, "%s: pretrain { ... } makes its model from nothing; --model goes with a sweep",
            argv[1]);
    if (r->pretrain && o.shard)
        die(1, "%s: pretrain { ... } makes one model; --shard goes with a sweep", argv[1]);
    if (o.held_out && !r->pretrain)
        die(1, "%s: --held-out goes with a recipe that ends in pretrain { ... }", argv[1]);
    if (o.held_out && (o.db || o.sweep.device || o.threads || seconds))
        die(2,
            "train: --held-out writes texts and trains nothing; other options do not go with it");
    if (o.held_out)
        return write_held_out(r, o.held_out);
    if (!o.threads)
        o.threads = (int)sysconf(_SC_NPROCESSORS_ONLN);
    return r->pretrain ? train_pretrain(r, &o) : train_sweep(r, &o);
}

const struct cmd cmd_train = {
    .name = "train",
    .args = "RECIPE [--db FILE] [--model M] [--device D] [--threads N] [--checkpoint-seconds S]\n"
            "       [--held-out FILE] [--shard MANIFEST:I]",
    .help = "train the models of a recipe that are not there yet, and print their folders",
    .run = run_train,
};
