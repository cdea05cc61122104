/*
 * run_options.c: see run_options.h.
 */
#include "cmd/run_options.h"
#include "engine.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* A machine that was lost holds its locks until the file server notices, after 90 s with NFS. */
enum { PREDECESSOR_SECONDS = 120 };
enum { CHECKPOINT_SECONDS = 300, CHECKPOINT_SECONDS_MAX = 1000000 };

void run_store_path(const char *db, const char *name, struct buf *path)
{
    struct buf err = BUF_INIT;
    if (!db && make_dirs("results", &err))
        die(1, "%s", err.s);
    if (db)
        buf_adds(path, db);
    else
        buf_addf(path, "results/%s.db", name);
}

struct store *run_store_open(const char *db, const char *name, struct buf *path)
{
    struct buf err = BUF_INIT;
    if (!path->len)
        run_store_path(db, name, path);
    struct store *store = store_open(path->s, STORE_WRITE, &err);
    // A run that was killed left its processes there; this one may have none.
    if (!store || store_lock(store, &err) || store_processes_clear(store, &err))
        die(1, "%s", err.s);
    buf_release(&err);
    return store;
}

/* The shard among those of its kind. `shard` was found good. */
static char *shard_text(const char *shard, enum shard_kind kind)
{
    struct shards all;
    struct buf err = BUF_INIT;
    const char *colon = strrchr(shard, ':');
    char *path = xstrndup(shard, (size_t)(colon - shard));
    if (shards_read(&all, path, &err))
        die(1, "%s", err.s);
    size_t n = kind == SHARD_CELLS ? all.plain + all.late : all.makers;
    char *text = xasprintf("%lu of %zu", strtoul(colon + 1, NULL, 10) + 1, n);
    shards_release(&all);
    free(path);
    return text;
}

/* A task that is started again may come while the one before it is still about to end. */
static void await_predecessor(const struct sweep *s, const char *db)
{
    struct buf err = BUF_INIT;
    if (store_is_locked(db))
        fprintf(stderr, "%s: waiting for the run before this one, which is still at work on %s\n",
                s->name, db);
    if (store_await(db, PREDECESSOR_SECONDS, &err))
        die(1, "%s", err.s);
    buf_release(&err);
}

void run_shard_keep(struct sweep *s, const char *shard, enum shard_kind kind, const char **db,
                    struct provenance *p)
{
    static struct buf path = BUF_INIT;
    struct buf err = BUF_INIT;
    buf_reset(&path);
    if (shard_keep(s, shard, kind, &path, &err))
        die(1, "%s", err.s);
    p->shard = shard_text(shard, kind);
    if (!*db)
        *db = path.s;
    await_predecessor(s, *db);
    buf_release(&err);
}

double run_checkpoint_seconds(const struct cmd *c, const char *text)
{
    char *end;
    if (!text)
        return CHECKPOINT_SECONDS;
    if (strcmp(text, "never") == 0)
        return INFINITY;
    double seconds = strtod(text, &end);
    if (end == text || *end || text[0] == ' ' || !(seconds >= 0) ||
        seconds > CHECKPOINT_SECONDS_MAX)
        die(2, "%s: --checkpoint-seconds %s: a number from 0 to %d is needed, or never", c->name,
            text, CHECKPOINT_SECONDS_MAX);
    return seconds;
}

/* Can the device compute in this format? */
static int check_device(const char *device, enum dtype dtype, struct buf *err)
{
    struct device parsed;
    if (strcmp(device, "cpu") == 0 && dtype == DTYPE_F32)
        return 0;
    const struct engine *engine = engine_open(err);
    return !engine || engine->device_parse(device, &parsed, err) ||
                   engine->device_check(parsed, dtype, err)
               ? -1
               : 0;
}

void run_device_check(const char *device, enum dtype dtype)
{
    struct buf err = BUF_INIT;
    if (check_device(device, dtype, &err))
        die(1, "%s", err.s);
}

void run_courses_check(const struct courses *c)
{
    for (size_t i = 0; i < c->sweep->ntrainings; i++)
        if (!c->there[i])
            run_device_check(c->sweep->device, c->sweep->trainings[i]->how.dtype);
}

/* ---- several of them ---- */

/* "cuda" is the first GPU, whatever it is called. */
static const char *full_name(const char *device)
{
    return strcmp(device, "cuda") == 0 ? "cuda:0" : device;
}

void run_devices(const struct cmd *c, const char *text, struct strings *out)
{
    for (const char *p = text; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
        char *name = xstrndup(p, strcspn(p, ","));
        if (!device_named(name))
            die(1, "--device %s: allowed is " DEVICES_ALLOWED ", or several of them with commas",
                name);
        for (size_t i = 0; i < out->len; i++)
            if (strcmp(full_name(out->v[i]), full_name(name)) == 0)
                die(1, "--device %s: %s stands twice; --jobs says how many processes there are",
                    text, full_name(name));
        strings_add(out, name);
        free(name);
    }
    for (size_t i = 0; i < out->len; i++)
        if (out->len > 1 && strcmp(out->v[i], "cpu") == 0)
            die(2, "%s: --device %s: the CPU and GPUs round differently; name GPUs alone", c->name,
                text);
}

int run_processes(const struct cmd *c, int jobs, const struct strings *devices)
{
    if (!jobs)
        return (int)devices->len;
    if (jobs < (int)devices->len)
        die(2, "%s: --jobs %d: there are %zu devices, and each needs a process", c->name, jobs,
            devices->len);
    return jobs;
}

/* In a process of its own: the sentence of what is wrong goes to `to`. */
NORETURN static void check_all(const struct strings *devices, const struct sweep *s,
                               const struct courses *c, int to)
{
    struct buf err = BUF_INIT;
    int rc = 0;
    for (size_t d = 0; d < devices->len && rc == 0; d++) {
        rc = check_device(devices->v[d], s->dtype, &err);
        for (size_t i = 0; i < s->ntrainings && rc == 0; i++)
            if (!c->there[i])
                rc = check_device(devices->v[d], s->trainings[i]->how.dtype, &err);
    }
    _exit(rc == 0 ? 0 : write(to, err.s, err.len) == (ssize_t)err.len ? 1 : 2);
}

void run_devices_check(const struct strings *devices, const struct sweep *s,
                       const struct courses *c)
{
    struct buf said = BUF_INIT;
    char text[512];
    int ends[2], status;
    pid_t pid = pipe(ends) == 0 ? fork() : -1;
    if (pid < 0)
        die(1, "no process could be made to look at the devices: %s", strerror(errno));
    if (pid == 0)
        check_all(devices, s, c, ends[1]);
    close(ends[1]);
    for (ssize_t n; (n = read(ends[0], text, sizeof(text))) > 0;)
        buf_add(&said, text, (size_t)n);
    close(ends[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (status != 0)
        die(1, "%s", said.len ? said.s : "the process that looked at the devices was ended");
    buf_release(&said);
}
