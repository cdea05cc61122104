/*
 * sweep.c: see sweep.h.
 */
#include "recipe/sweep.h"
#include "recipe/data.h"
#include "recipe/sweep_cells.h"
#include "recipe/sweep_overlap.h"

#include <string.h>
#include <unistd.h>

/*
 * Name, folder and configuration of one model. Like data, a folder that the recipe names is looked
 * for beside the recipe first.
 */
static int open_model(struct sweep_model *m, const char *recipe, const char *name, struct buf *err)
{
    struct buf dir = BUF_INIT, beside = BUF_INIT;
    const char *slash = recipe ? strrchr(recipe, '/') : NULL;
    m->name = xstrdup(name);
    if (slash && name[0] != '/')
        buf_addf(&beside, "%.*s/%s/config.json", (int)(slash - recipe), recipe, name);
    int rc = 0;
    if (beside.len && access(beside.s, F_OK) == 0)
        buf_addf(&dir, "%.*s/%s", (int)(slash - recipe), recipe, name);
    else
        rc = model_find(name, &dir, err);
    buf_release(&beside);
    m->dir = buf_detach(&dir);
    if (rc == 0)
        rc = config_read(m->dir, &m->config, err);
    return rc;
}

static int open_models(struct sweep *s, const struct recipe *r, const struct sweep_options *o,
                       struct buf *err)
{
    if (!o->model && !r->models.len)
        return place_fail(&r->at, NULL, err, "'models' is missing, and no --model is given");
    size_t n = o->model ? 1 : r->models.len;
    s->models = xcalloc(n, sizeof(*s->models));
    for (size_t i = 0; i < n; i++) {
        s->nmodels = i + 1;
        const char *name = o->model ? o->model : r->models.v[i];
        if (open_model(&s->models[i], o->model ? NULL : r->path, name, err) == 0)
            continue;
        return o->model ? -1 : place_fail(&r->at, "models", err, "%s", err->s);
    }
    return 0;
}

static int open_tasks(struct sweep *s, const struct recipe *r, const struct sweep_options *o,
                      struct buf *err)
{
    int limit = r->limit;
    if (o->limit && (!limit || o->limit < limit))
        limit = o->limit;
    s->tasks = xcalloc(r->ntasks, sizeof(*s->tasks));
    for (size_t i = 0; i < r->ntasks; i++) {
        s->ntasks = i + 1;
        if (task_resolve(&r->tasks[i], limit, &s->tasks[i], err) != 0 ||
            data_check(&s->tasks[i], err) != 0)
            return -1;
    }
    return 0;
}

/* What models are trained on, read once. */
static int open_trainings(struct recipe *r, struct buf *err)
{
    for (size_t i = 0; i < r->ntrains; i++)
        if (r->trains[i].trains && lesson_data_check(&r->trains[i].data, err) != 0)
            return -1;
    return 0;
}

bool device_named(const char *name)
{
    if (strcmp(name, "cpu") == 0 || strcmp(name, "cuda") == 0)
        return true;
    if (strncmp(name, "cuda:", 5) != 0)
        return false;
    size_t digits = strspn(name + 5, "0123456789");
    return digits > 0 && digits <= 3 && name[5 + digits] == '\0';
}

/* What a sentence about a setting begins with: the recipe's line, or the option. */
static int refuse_setting(const struct recipe *r, const char *key, bool from_option,
                          const char *value, const char *allowed, struct buf *err)
{
    if (from_option)
        return fail(err, "--%s %s: allowed is %s", key, value, allowed);
    return place_fail(&r->at, key, err, "\"%.40s\"; allowed is %s", value, allowed);
}

static int choose_place(struct sweep *s, const struct recipe *r, const struct sweep_options *o,
                        struct buf *err)
{
    const char *device = o->device ? o->device : r->device ? r->device : "cpu";
    const char *dtype = o->dtype ? o->dtype : r->dtype ? r->dtype : "float32";
    s->device = xstrdup(device);
    if (!device_named(device))
        return refuse_setting(r, "device", o->device, device, DEVICES_ALLOWED, err);
    if (dtype_parse(dtype, &s->dtype) != 0)
        return refuse_setting(r, "dtype", o->dtype, dtype, "float32, bfloat16 or float16", err);
    return 0;
}

struct sweep *sweep_of(struct recipe *r, const struct sweep_options *o, struct buf *err)
{
    if (r->pretrain) {
        fail(
            err,
            "%s:%d: the recipe returns pretrain { ... }, which `seqtopk train` takes; here it must "
            "end in: return sweep { ... }",
            r->path, r->at.line);
        recipe_free(r);
        return NULL;
    }
    struct sweep *s = xcalloc(1, sizeof(*s));
    s->recipe = r;
    s->path = xstrdup(r->path);
    s->name = xstrdup(r->name);
    s->log_tokens = r->log_tokens == LOG_ALL;
    s->log_expert_entropy = r->log_expert_entropy;
    s->judged = r->judged;
    s->judge = r->judge; // and so are its strings
    r->judge = (struct judge_spec){ 0 };
    bool ok = choose_place(s, r, o, err) == 0 && open_models(s, r, o, err) == 0 &&
              open_tasks(s, r, o, err) == 0 && open_trainings(r, err) == 0 &&
              sweep_make_cells(s, err) == 0;
    if (ok)
        return s;
    sweep_free(s);
    return NULL;
}

struct sweep *sweep_open(const char *path, const struct sweep_options *o, struct buf *err)
{
    struct recipe *r = recipe_open(path, o, err);
    return r ? sweep_of(r, o, err) : NULL;
}

void sweep_free(struct sweep *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->nmodels; i++) {
        config_release(&s->models[i].config);
        cutoffs_release(&s->models[i].cutoffs);
        free(s->models[i].name);
        free(s->models[i].dir);
    }
    for (size_t i = 0; i < s->ntasks; i++)
        task_release(&s->tasks[i]);
    for (size_t i = 0; i < s->ntrainings; i++) {
        free(s->trainings[i]->label);
        free(s->trainings[i]);
    }
    sweep_overlap_free(s);
    judge_spec_release(&s->judge);
    recipe_free(s->recipe);
    free(s->trainings);
    free(s->models);
    free(s->tasks);
    free(s->cells);
    free(s->device);
    free(s->path);
    free(s->name);
    free(s);
}

bool sweep_repeats(const struct sweep *s)
{
    const struct cell *first = NULL;
    for (size_t i = 0; i < s->ncells; i++) {
        const struct cell *c = &s->cells[i];
        bool own_model = c->training && !c->training->said->seeded;
        if (task_samples(c->task) || task_times(c->task) || own_model || c->args.shuffle)
            continue;
        if (!first)
            first = c;
        if (c->seed != first->seed)
            return true;
    }
    return false;
}

const struct task *sweep_timed(const struct sweep *s)
{
    for (size_t i = 0; i < s->ntasks; i++)
        if (task_times(&s->tasks[i]))
            return &s->tasks[i];
    return NULL;
}

bool sweep_asks_judge(const struct sweep *s)
{
    for (size_t i = 0; i < s->ntasks; i++)
        if (task_asks_judge(&s->tasks[i]))
            return true;
    return false;
}
