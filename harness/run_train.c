/*
 * run_train.c: see run_train.h.
 */
#include "run_train.h"

#include "corpus.h"
#include "recipe/sweep_training.h"
#include "run_impl.h"
#include "run_memory.h"
#include "train/checkpoint.h"

#include <string.h>

/* Between the first step and the last, this many times, the loss of what is held out is taken. */
enum { HELD_OUT_TIMES = 10 };
enum { GPU_THREADS = 8 };

/* ---- lessons ---- */

static struct lessons *lessons_of(const struct courses *c, const struct sweep_model *model,
                                  const struct recipe_train *said)
{
    const struct sweep *s = c->sweep;
    size_t m = (size_t)(model - s->models), t = (size_t)(said - s->recipe->trains);
    return &c->lessons[m * s->recipe->ntrains + t];
}

static int32_t end_token(const struct model_config *c)
{
    return c->neos ? c->eos[0] : -1;
}

int training_check(const struct sweep_training *t, const struct lessons *lessons, struct buf *err)
{
    int64_t steps = train_steps(&t->how, lessons);
    if (t->how.warmup <= (double)steps)
        return 0;
    return place_fail(&t->said->at, "warmup", err,
                      "%.10g is more than the %lld step%s of %.10g epochs", t->how.warmup,
                      (long long)steps, steps == 1 ? "" : "s", t->how.epochs);
}

static int read_lessons(const struct sweep_training *t, struct lessons *out, struct buf *err)
{
    const struct model_config *config = &t->model->config;
    struct tokenizer *tokenizer = corpus_tokenizer(t->model, err);
    int rc = tokenizer ? lessons_read(&t->said->data, tokenizer, end_token(config), &t->how,
                                      config->context, out, err)
                       : -1;
    tokenizer_free(tokenizer);
    return rc ? rc : training_check(t, out, err);
}

int courses_read(struct courses *c, const struct sweep *s, struct buf *err)
{
    *c = (struct courses){ .sweep = s };
    c->lessons = xcalloc(s->nmodels * s->recipe->ntrains, sizeof(*c->lessons));
    c->there = xcalloc(s->ntrainings ? s->ntrainings : 1, sizeof(*c->there));
    for (size_t i = 0; i < s->ntrainings; i++) {
        const struct sweep_training *t = s->trainings[i];
        struct lessons *lessons = lessons_of(c, t->model, t->said);
        struct buf dir = BUF_INIT;
        int rc = checkpoint_find(checkpoint_root(), t->id, &c->there[i], &dir, err);
        buf_release(&dir);
        // Trainings that differ in router, K and seed have the same lessons.
        if (rc == 0 && !c->there[i] && !lessons->len)
            rc = read_lessons(t, lessons, err);
        if (rc)
            return -1;
    }
    return 0;
}

void courses_release(struct courses *c)
{
    for (size_t i = 0; c->lessons && i < c->sweep->nmodels * c->sweep->recipe->ntrains; i++)
        lessons_release(&c->lessons[i]);
    free(c->lessons);
    free(c->there);
    *c = (struct courses){ 0 };
}

size_t courses_left(const struct courses *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->sweep->ntrainings; i++)
        n += !c->there[i];
    return n;
}

/* ---- one training ---- */

int training_threads(struct device device, int threads)
{
    return device.kind != DEVICE_CPU && threads > GPU_THREADS ? GPU_THREADS : threads;
}

/* What made it, and how many steps that is: of epochs only the lessons tell. */
static void add_about(const struct sweep_training *t, const char *device,
                      const struct lessons *lessons, struct buf *out)
{
    training_about(t, device, out);
    out->s[--out->len] = '\0'; // the brace at its end
    buf_addf(out, ",\"all_steps\":%lld}", (long long)train_steps(&t->how, lessons));
}

int training_make(const struct sweep_training *t, const char *sweep, const char *device,
                  const struct lessons *lessons, const struct train_place *place,
                  struct train_result *result, struct buf *dir, struct buf *err)
{
    struct buf about = BUF_INIT;
    const char *root = checkpoint_root();
    bool found = false;
    *result = (struct train_result){ 0 };
    if (checkpoint_find(root, t->id, &found, dir, err))
        return -1;
    result->there = found;
    if (found) {
        checkpoint_remove_states(root, t->id);
        return 0;
    }
    if (!lessons->len)
        return fail(err, "%s was there when this began, and is gone; run it again", dir->s);
    struct buf why = BUF_INIT;
    if (memory_check_training(place->engine, place->device, device, &t->model->config, &t->how,
                              &why)) {
        fail(err, "%s, %s: %s", t->model->name, t->label, why.s);
        buf_release(&why);
        return -1;
    }
    add_about(t, device, lessons, &about);
    struct train_task task = {
        .id = t->id,
        .label = t->label,
        .sweep = sweep,
        .model = t->model->name,
        .about = about.s,
        .base = t->model->dir,
        .root = root,
        .training = &t->how,
        .router = t->router,
        .args = t->args,
        .drawn = t->how.nmatryoshka ? t->drawn : NULL,
        .lessons = lessons,
        .device = place->device,
        .threads = place->threads,
        .checkpoint_seconds = place->checkpoint_seconds,
        .heldout_every = train_steps(&t->how, lessons) / HELD_OUT_TIMES,
    };
    int rc = train_model(&task, place->engine, place->store, run_interrupted, result, err);
    buf_release(&about);
    return rc ? fail(err, "%s, %s", t->model->name, err->s) : 0;
}

int course_train(const struct courses *c, const struct sweep_training *t,
                 const struct train_place *place, struct train_result *result, struct buf *dir,
                 struct buf *err)
{
    const struct sweep *s = c->sweep;
    return training_make(t, s->name, s->device, lessons_of(c, t->model, t->said), place, result,
                         dir, err);
}

/* ---- all of a sweep ---- */

void sweep_train(const struct courses *c, const struct train_place *place,
                 void (*made)(const char *dir), struct train_totals *totals)
{
    struct run_signals signals;
    struct buf dir = BUF_INIT, err = BUF_INIT;
    *totals = (struct train_totals){ 0 };
    run_signals_catch(&signals);
    for (size_t i = 0; i < c->sweep->ntrainings && !run_interrupted(); i++) {
        const struct sweep_training *t = c->sweep->trainings[i];
        struct train_result result;
        buf_reset(&dir);
        if (course_train(c, t, place, &result, &dir, &err)) {
            totals->failed++;
            strings_add(&totals->errors, err.s);
        } else if (!result.interrupted) {
            result.there ? totals->there++ : totals->trained++;
            made(dir.s);
        }
    }
    totals->interrupted = run_interrupted();
    run_signals_release(&signals);
    buf_release(&dir);
    buf_release(&err);
}

/* ---- the order of cells ---- */

struct placed {
    size_t group, at;
};

static int by_group(const void *a, const void *b)
{
    const struct placed *x = a, *y = b;
    if (x->group != y->group)
        return x->group < y->group ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* The number of a training, or one behind them for each model without. */
static size_t weights_number(const struct sweep *s, const struct cell *c)
{
    return c->training ? c->training->number : s->ntrainings + (size_t)(c->model - s->models);
}

void cells_by_training(const struct sweep *s, const struct cell **out)
{
    struct placed *placed = xcalloc(s->ncells + 1, sizeof(*placed));
    size_t nweights = s->ntrainings + s->nmodels;
    size_t *first = xcalloc(nweights, sizeof(*first)); // the first cell with such weights, from 1
    for (size_t i = 0; i < s->ncells; i++) {
        size_t *at = &first[weights_number(s, &s->cells[i])];
        *at = *at ? *at : i + 1;
        placed[i] = (struct placed){ *at, i };
    }
    qsort(placed, s->ncells, sizeof(*placed), by_group);
    for (size_t i = 0; i < s->ncells; i++)
        out[i] = &s->cells[placed[i].at];
    free(first);
    free(placed);
}
