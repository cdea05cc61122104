/*
 * run_options.c: see run_options.h.
 */
#include "cmd/run_options.h"
#include "engine.h"

#include <string.h>

enum { CHECKPOINT_SECONDS = 300, CHECKPOINT_SECONDS_MAX = 1000000 };

struct store *run_store_open(const char *db, const char *name, struct buf *path)
{
    struct buf err = BUF_INIT;
    if (!db && make_dirs("results", &err))
        die(1, "%s", err.s);
    if (db)
        buf_adds(path, db);
    else
        buf_addf(path, "results/%s.db", name);
    struct store *store = store_open(path->s, STORE_WRITE, &err);
    if (!store || store_lock(store, &err))
        die(1, "%s", err.s);
    buf_release(&err);
    return store;
}

double run_checkpoint_seconds(const struct cmd *c, const char *text)
{
    char *end;
    if (!text)
        return CHECKPOINT_SECONDS;
    double seconds = strtod(text, &end);
    if (end == text || *end || text[0] == ' ' || !(seconds >= 0) ||
        seconds > CHECKPOINT_SECONDS_MAX)
        die(2, "%s: --checkpoint-seconds %s: a number from 0 to %d is needed", c->name, text,
            CHECKPOINT_SECONDS_MAX);
    return seconds;
}

void run_device_check(const char *device, enum dtype dtype)
{
    struct buf err = BUF_INIT;
    struct device parsed;
    if (strcmp(device, "cpu") == 0 && dtype == DTYPE_F32)
        return;
    const struct engine *engine = engine_open(&err);
    if (!engine || engine->device_parse(device, &parsed, &err) ||
        engine->device_check(parsed, dtype, &err))
        die(1, "%s", err.s);
}

void run_courses_check(const struct courses *c)
{
    for (size_t i = 0; i < c->sweep->ntrainings; i++)
        if (!c->there[i])
            run_device_check(c->sweep->device, c->sweep->trainings[i]->how.dtype);
}
