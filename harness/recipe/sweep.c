/*
 * sweep.c: see sweep.h.
 */
#include "recipe/sweep.h"
#include "recipe/cell.h"
#include "recipe/data.h"

#include <string.h>
#include <unistd.h>

enum { CELLS_MAX = 100000 };

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

/* Reads all of the weights: the only slow step, so it comes after every other check. */
static int hash_models(struct sweep *s, struct buf *err)
{
    for (size_t i = 0; i < s->nmodels; i++) {
        struct sweep_model *m = &s->models[i];
        if (weights_hash(m->dir, m->weights_hash, err) != 0 ||
            tokenizer_hash(m->dir, m->tokenizer_hash, err) != 0)
            return -1;
    }
    return 0;
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

static bool device_named(const char *name)
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
        return refuse_setting(r, "device", o->device, device, "cpu, cuda or cuda:NUMBER", err);
    if (dtype_parse(dtype, &s->dtype) != 0)
        return refuse_setting(r, "dtype", o->dtype, dtype, "float32, bfloat16 or float16", err);
    return 0;
}

/* Can the router be used for all tasks? One that looks ahead cannot where a text is generated. */
static int check_tasks(const struct sweep *s, const struct recipe_router *r,
                       const struct router_args *args, struct buf *err)
{
    for (size_t i = 0; i < s->ntasks; i++)
        if (task_generates(&s->tasks[i]) && !router_decodes(r->router, args)) {
            const char *mode = router_mode(r->router, args);
            return place_fail(&r->at, NULL, err,
                              "%s%sselects over whole sequences and so cannot route a text while "
                              "it is written, as task %s asks; say seqtopk { mode = \"online\", "
                              "prefill = \"global\" } instead",
                              mode, *mode ? " " : "", s->tasks[i].name);
        }
    return 0;
}

/* The routers' arguments for one model and one K, checked. args: [routers] */
static int make_args(const struct sweep *s, const struct sweep_model *m, const struct recipe *r,
                     int K, struct router_args *args, struct buf *err)
{
    if (K > m->config.experts)
        return place_fail(&r->at, "K", err, "K = %d is above N = %d, the experts of model %s", K,
                          m->config.experts, m->name);
    for (size_t i = 0; i < r->nrouters; i++)
        if (cell_args(&r->routers[i], K, m, &args[i], err) != 0 ||
            check_tasks(s, &r->routers[i], &args[i], err) != 0)
            return -1;
    return 0;
}

/* The cells of one model: tasks, K, routers, seeds. `args` is [K, routers]. */
static void add_cells(struct sweep *s, const struct sweep_model *m, const struct recipe *r,
                      const struct router_args *args)
{
    static const int64_t only_seed = 0;
    const int64_t *seeds = r->seeds.len ? r->seeds.v : &only_seed;
    size_t nseeds = r->seeds.len ? r->seeds.len : 1;
    for (size_t t = 0; t < s->ntasks; t++)
        for (size_t i = 0; i < r->K.len * r->nrouters; i++)
            for (size_t j = 0; j < nseeds; j++) {
                struct cell *c = &s->cells[s->ncells++];
                *c = (struct cell){ .model = m,
                                    .router = r->routers[i % r->nrouters].router,
                                    .args = args[i],
                                    .task = &s->tasks[t],
                                    .seed = seeds[j],
                                    .train = "none" };
                cell_identify(c, s);
            }
}

static int by_id(const void *a, const void *b)
{
    const struct cell *x = *(struct cell *const *)a, *y = *(struct cell *const *)b;
    int order = strcmp(x->id, y->id);
    return order ? order : (x > y) - (x < y);
}

/* Takes out cells that are the same as an earlier one; the order stays. */
static void drop_doubles(struct sweep *s)
{
    struct cell **sorted = xcalloc(s->ncells, sizeof(*sorted));
    for (size_t i = 0; i < s->ncells; i++)
        sorted[i] = &s->cells[i];
    qsort(sorted, s->ncells, sizeof(*sorted), by_id);
    for (size_t i = s->ncells; i-- > 1;)
        if (strcmp(sorted[i]->id, sorted[i - 1]->id) == 0)
            sorted[i]->model = NULL; // marks it
    free(sorted);
    size_t kept = 0;
    for (size_t i = 0; i < s->ncells; i++)
        if (s->cells[i].model)
            s->cells[kept++] = s->cells[i];
    s->ncells = kept;
}

static int make_cells(struct sweep *s, const struct recipe *r, struct buf *err)
{
    const size_t sizes[] = { s->nmodels, s->ntasks, r->K.len, r->nrouters,
                             r->seeds.len ? r->seeds.len : 1 };
    size_t n = 1;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        if (__builtin_mul_overflow(n, sizes[i], &n) || n > CELLS_MAX)
            return place_fail(&r->at, NULL, err,
                              "more than %d cells (models x tasks x K x routers x seeds)",
                              CELLS_MAX);
    s->cells = xcalloc(n, sizeof(*s->cells));
    size_t each = r->K.len * r->nrouters;
    struct router_args *args = xcalloc(s->nmodels * each, sizeof(*args)); // [models, K, routers]
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s->nmodels * r->K.len; i++)
        rc = make_args(s, &s->models[i / r->K.len], r, (int)r->K.v[i % r->K.len],
                       args + i * r->nrouters, err);
    if (rc == 0)
        rc = hash_models(s, err);
    for (size_t m = 0; rc == 0 && m < s->nmodels; m++)
        add_cells(s, &s->models[m], r, args + m * each);
    free(args);
    if (rc == 0)
        drop_doubles(s);
    return rc;
}

struct sweep *sweep_open(const char *path, const struct sweep_options *o, struct buf *err)
{
    struct recipe *r = recipe_open(path, err);
    if (!r)
        return NULL;
    struct sweep *s = xcalloc(1, sizeof(*s));
    s->path = xstrdup(path);
    s->name = xstrdup(r->name);
    buf_init(&s->text);
    buf_adds(&s->text, r->text.s);
    s->log_tokens = r->log_tokens == LOG_ALL;
    s->judged = r->judged;
    s->judge = r->judge; // and so are its strings
    r->judge = (struct judge_spec){ 0 };
    bool ok = choose_place(s, r, o, err) == 0 && open_models(s, r, o, err) == 0 &&
              open_tasks(s, r, o, err) == 0 && make_cells(s, r, err) == 0;
    recipe_free(r);
    if (ok)
        return s;
    sweep_free(s);
    return NULL;
}

void sweep_free(struct sweep *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->nmodels; i++) {
        config_release(&s->models[i].config);
        free(s->models[i].name);
        free(s->models[i].dir);
    }
    for (size_t i = 0; i < s->ntasks; i++)
        task_release(&s->tasks[i]);
    judge_spec_release(&s->judge);
    buf_release(&s->text);
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
        if (task_samples(c->task))
            continue;
        if (!first)
            first = c;
        if (c->seed != first->seed)
            return true;
    }
    return false;
}

bool sweep_runs_code(const struct sweep *s)
{
    for (size_t i = 0; i < s->ntasks; i++)
        if (task_runs_code(&s->tasks[i]))
            return true;
    return false;
}

bool sweep_asks_judge(const struct sweep *s)
{
    for (size_t i = 0; i < s->ntasks; i++)
        if (task_asks_judge(&s->tasks[i]))
            return true;
    return false;
}
