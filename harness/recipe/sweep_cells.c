/*
 * sweep_cells.c: see sweep_cells.h. All arguments are made and checked first, for every model,
 * training, K and router; then the models' weights are read, and cells get their ids.
 */
#include "recipe/sweep_cells.h"
#include "recipe/cell.h"
#include "recipe/sweep_overlap.h"
#include "recipe/sweep_training.h"

#include <string.h>

enum { CELLS_MAX = 100000, TRAININGS_MAX = 10000 };

/* What is known of the cells before any weight is read. */
struct grid {
    struct sweep *s;
    struct recipe *r;
    struct router_args *args;         /* [models, trains, K, routers]: of what is scored after */
    struct sweep_training *trainings; /* [models, trains, K, routers]; `said` NULL: none() */
};

/* Can the router be used for all tasks? One that looks ahead cannot where a text is generated. */
static int check_tasks(const struct sweep *s, const struct recipe_router *r,
                       const struct router_args *args, struct buf *err)
{
    for (size_t i = 0; i < s->ntasks; i++)
        if (task_decodes(&s->tasks[i]) && !router_decodes(r->router, args)) {
            const char *mode = router_mode(r->router, args);
            return place_fail(&r->at, NULL, err,
                              "%s%sselects over whole sequences and so cannot route a text while "
                              "it is written, as task %s asks; say seqtopk { mode = \"online\", "
                              "prefill = \"global\" } instead",
                              mode, *mode ? " " : "", s->tasks[i].name);
        }
    return 0;
}

/* The model's own cutoffs, for a router that learns and is not trained here. */
static int check_cutoffs(struct sweep_model *m, const struct recipe_router *r,
                         const struct router_args *args, struct buf *err)
{
    const struct cutoffs *c = &m->cutoffs;
    if (!c->v && cutoffs_read(m->dir, m->config.layers, m->config.experts, &m->cutoffs, err) != 0)
        return -1;
    if (!c->v)
        return place_fail(&r->at, NULL, err,
                          "model %s has no cutoffs.json, which training makes; say train = sft { "
                          "..., router = %s() }",
                          m->name, r->router->name);
    if (c->K != args->K)
        return place_fail(&r->at, NULL, err,
                          "the cutoffs of model %s were learnt with K = %d and hold for it alone, "
                          "not for K = %d",
                          m->name, c->K, args->K);
    if (m->cutoffs_hash[0])
        return 0;
    struct buf text = BUF_INIT;
    struct hash *h = hash_new();
    cutoffs_json(c, &text);
    hash_adds(h, text.s);
    hash_hex(h, m->cutoffs_hash);
    hash_free(h);
    buf_release(&text);
    return 0;
}

/* A router that learns decodes what it learnt itself, at the same K. */
static int check_learnt(const struct sweep_training *t, const struct recipe_router *r,
                        const struct router_args *args, struct buf *err)
{
    if (t->router != r->router)
        return place_fail(
            &t->said->at, "router", err,
            "the model trains with %s, and then %s has no cutoffs; allowed is \"same\" "
            "or %s()",
            t->router->name, r->router->name, r->router->name);
    if (t->args.K != args->K)
        return place_fail(&t->said->at, "router", err,
                          "cutoffs that are learnt with K = %d do not hold for K = %d", t->args.K,
                          args->K);
    return 0;
}

/* One model, K and router: the arguments, and those of each training. */
static int make_args(struct grid *g, size_t model, size_t k, size_t router, struct buf *err)
{
    const struct recipe_router *r = &g->r->routers[router];
    struct sweep_model *m = &g->s->models[model];
    size_t each = g->r->K.len * g->r->nrouters, at = k * g->r->nrouters + router;
    struct router_args whole;
    int K = (int)g->r->K.v[k];
    if (cell_args(r, K, m, &whole, err) != 0 || check_tasks(g->s, r, &whole, err) != 0)
        return -1;
    for (size_t i = 0; i < g->r->ntrains; i++) {
        struct recipe_train *said = &g->r->trains[i];
        size_t place = (model * g->r->ntrains + i) * each + at;
        struct sweep_training *t = &g->trainings[place];
        struct router_args *args = &g->args[place];
        int rc = said->trains ? training_resolve(said, r, K, m, t, err) : 0;
        if (rc == 0)
            rc = training_cell_args(said, r, K, m, args, err);
        if (rc == 0 && r->router->learns)
            rc = said->trains ? check_learnt(t, r, args, err) : check_cutoffs(m, r, args, err);
        if (rc)
            return -1;
    }
    return 0;
}

static int make_all_args(struct grid *g, struct buf *err)
{
    for (size_t m = 0; m < g->s->nmodels; m++)
        for (size_t k = 0; k < g->r->K.len; k++) {
            const struct sweep_model *model = &g->s->models[m];
            if (g->r->K.v[k] > model->config.experts)
                return place_fail(&g->r->at, "K", err,
                                  "K = %d is above N = %d, the experts of model %s",
                                  (int)g->r->K.v[k], model->config.experts, model->name);
            for (size_t i = 0; i < g->r->nrouters; i++)
                if (make_args(g, m, k, i, err) != 0)
                    return -1;
        }
    return 0;
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

/* The training's label; where those before it in the recipe have the same one, with its number. */
static char *label_of(const struct recipe *r, const struct sweep_training *t)
{
    struct buf label = BUF_INIT, other = BUF_INIT;
    int number = 1;
    training_label(t, &label);
    for (struct recipe_train *before = r->trains; before != t->said; before++) {
        buf_reset(&other);
        if (before->trains)
            training_label(&(struct sweep_training){ .said = before }, &other);
        number += strcmp(other.s, label.s) == 0;
    }
    if (number > 1)
        buf_addf(&label, " (%d)", number);
    buf_release(&other);
    return buf_detach(&label);
}

/* The training with a seed: one that is there, or a new one. NULL: there are too many. */
static const struct sweep_training *add_training(struct sweep *s, const struct sweep_training *t,
                                                 int64_t seed)
{
    struct sweep_training new = *t;
    if (!t->said->seeded)
        new.how.seed = seed;
    training_identify(&new, s->device);
    for (size_t i = s->ntrainings; i-- > 0;)
        if (strcmp(s->trainings[i]->id, new.id) == 0)
            return s->trainings[i];
    if (s->ntrainings == TRAININGS_MAX)
        return NULL;
    new.label = label_of(s->recipe, &new);
    new.number = s->ntrainings;
    ARRAY_GROW(s->trainings, s->trainings_cap, s->ntrainings + 1);
    struct sweep_training *kept = s->trainings[s->ntrainings++] = xmalloc(sizeof(*kept));
    *kept = new;
    return kept;
}

/* The cell's training, or none. */
static int train_cell(struct sweep *s, const struct sweep_training *t, struct cell *c,
                      struct buf *err)
{
    c->train = "none";
    if (!t->said)
        return 0;
    c->training = add_training(s, t, c->seed);
    if (!c->training)
        return place_fail(&t->said->at, NULL, err, "more than %d models would be trained",
                          TRAININGS_MAX);
    c->train = c->training->label;
    return 0;
}

/* Is the task scored after the training, the recipe's number `train`? */
static bool goes_with(const struct recipe *r, size_t task, size_t train)
{
    const struct recipe_task *t = &r->tasks[task];
    return t->ntrains ? train >= t->train && train - t->train < t->ntrains : train < r->own_trains;
}

/* The cells of one model and training, for all tasks, K, routers and seeds. */
static int add_cells(struct grid *g, size_t model, size_t train, struct buf *err)
{
    static const int64_t only_seed = 0;
    struct sweep *s = g->s;
    const struct recipe *r = g->r;
    const int64_t *seeds = r->seeds.len ? r->seeds.v : &only_seed;
    size_t nseeds = r->seeds.len ? r->seeds.len : 1, each = r->K.len * r->nrouters;
    for (size_t t = 0; t < s->ntasks; t++)
        for (size_t i = 0; i < each && goes_with(r, t, train); i++)
            for (size_t j = 0; j < nseeds; j++) {
                struct cell *c = &s->cells[s->ncells];
                *c = (struct cell){ .model = &s->models[model],
                                    .router = r->routers[i % r->nrouters].router,
                                    .args = g->args[(model * r->ntrains + train) * each + i],
                                    .task = &s->tasks[t],
                                    .seed = seeds[j] };
                if (!task_decodes(c->task))
                    c->overlap = sweep_overlap_of(s, model, train, i / r->nrouters);
                if (train_cell(s, &g->trainings[(model * r->ntrains + train) * each + i], c, err))
                    return -1;
                cell_identify(c, s);
                s->ncells++;
            }
    return 0;
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

/* How many cells there are before doubles are taken out. */
static int count_cells(const struct sweep *s, const struct recipe *r, size_t *n, struct buf *err)
{
    size_t pairs = 0; // of a task and a training
    for (size_t i = 0; i < r->ntasks; i++)
        pairs += r->tasks[i].ntrains ? r->tasks[i].ntrains : r->own_trains;
    const size_t sizes[] = { s->nmodels, pairs, r->K.len, r->nrouters,
                             r->seeds.len ? r->seeds.len : 1 };
    *n = 1;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        if (__builtin_mul_overflow(*n, sizes[i], n) || *n > CELLS_MAX)
            return place_fail(&r->at, NULL, err,
                              "more than %d cells (models x train x tasks x K x routers x seeds)",
                              CELLS_MAX);
    return 0;
}

int sweep_make_cells(struct sweep *s, struct buf *err)
{
    struct recipe *r = s->recipe;
    size_t n;
    if (count_cells(s, r, &n, err) != 0)
        return -1;
    s->cells = xcalloc(n, sizeof(*s->cells));
    size_t each = s->nmodels * r->K.len * r->nrouters;
    struct grid g = { .s = s,
                      .r = r,
                      .args = xcalloc(each * r->ntrains, sizeof(*g.args)),
                      .trainings = xcalloc(each * r->ntrains, sizeof(*g.trainings)) };
    int rc = make_all_args(&g, err);
    if (rc == 0)
        rc = sweep_make_overlap(s, err);
    if (rc == 0)
        rc = hash_models(s, err);
    for (size_t i = 0; rc == 0 && i < s->nmodels * r->ntrains; i++)
        rc = add_cells(&g, i / r->ntrains, i % r->ntrains, err);
    free(g.args);
    free(g.trainings);
    if (rc == 0)
        drop_doubles(s);
    return rc;
}
