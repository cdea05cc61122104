/*
 * run_shards_plan.c: which of a sweep's cells and models go to which shard, by what they are likely to
 * cost; and a sweep with all but one shard's taken out. See run_shards.h.
 *
 * A cost is in millions of multiplications, so that a large model's cells weigh more than a small
 * one's; a token that is written costs as much as several that are read.
 */
#include "run_shards.h"

#include "corpus.h"

#include <errno.h>
#include <string.h>

/* What a token that is written costs beside one that is read, about; and one that is learnt from. */
enum { WRITTEN = 8, LEARNT = 3 };
/* Multiplications for which a parameter is opened, about: a GPU does more of them meanwhile. */
static const double opening_cpu = 100, opening_gpu = 1e5;

/* ---- costs ---- */

/* Weights that are multiplied with where `experts` of each layer's are. */
static double weights_with(const struct model_config *c, double experts)
{
    double h = c->hidden, attention = 2 * h * c->head_dim * (c->heads + c->kv_heads);
    double ffn = 3 * h * (c->expert_ffn * experts + c->shared_ffn) + h * c->experts;
    return c->layers * (attention + ffn) + h * c->vocab;
}

/* At least 1: what costs nothing would all go to one shard. */
static int64_t in_millions(double products)
{
    double cost = products / 1e6 + 1;
    return cost < 1e15 ? (int64_t)cost : (int64_t)1e15;
}

static int64_t open_cost(const struct sweep *s, const struct model_config *c)
{
    double each = strncmp(s->device, "cuda", 4) == 0 ? opening_gpu : opening_cpu;
    return in_millions(weights_with(c, c->experts) * each);
}

static int64_t cell_cost(const struct cell *c, const struct corpus *corpus)
{
    const struct documents *d = &corpus->documents;
    double tokens = 0, written = 0;
    for (size_t i = 0; i < d->len; i++)
        tokens += (double)d->v[i].ids.len;
    if (task_generates(c->task))
        written = (double)d->len * c->task->decoding.max_tokens;
    return in_millions((tokens + written * WRITTEN) * weights_with(&c->model->config, c->args.K));
}

static int64_t training_cost(const struct courses *c, const struct sweep_training *t)
{
    const struct sweep *s = c->sweep;
    size_t model = (size_t)(t->model - s->models), said = (size_t)(t->said - s->recipe->trains);
    const struct lessons *l = &c->lessons[model * s->recipe->ntrains + said];
    double sequences = (double)train_steps(&t->how, l) * t->how.batch;
    double each = l->len ? (double)l->tokens / (double)l->len : 0;
    return in_millions(sequences * each * LEARNT * weights_with(&t->model->config, t->args.K));
}

/* ---- a plan ---- */

/* What is to be dealt, and where each came from. */
struct pile {
    struct shard_item *items;
    size_t *from; /* [n]: number of the cell or of the training */
    size_t n;
    double cost;
};

struct planner {
    struct shards *out;
    const struct sweep *s;
    const struct courses *courses;
    int64_t *open; /* [trainings, models]: of each kind of weights */
    bool *wanted;  /* [trainings]: cells wait for it */
    struct pile plain, late, makers;
};

static void pile_init(struct pile *p, size_t most)
{
    p->items = xcalloc(most + 1, sizeof(*p->items));
    p->from = xcalloc(most + 1, sizeof(*p->from));
}

static void pile_add(struct pile *p, size_t set, int64_t cost, size_t from)
{
    p->items[p->n] = (struct shard_item){ set, cost };
    p->from[p->n++] = from;
    p->cost += (double)cost;
}

static size_t model_set(const struct planner *p, const struct sweep_model *m)
{
    return p->s->ntrainings + (size_t)(m - p->s->models);
}

static void sort_out(struct planner *p, const struct corpora *corpora, const bool *done)
{
    const struct sweep *s = p->s;
    for (size_t i = 0; i < s->ntrainings; i++)
        p->open[i] = open_cost(s, &s->trainings[i]->model->config);
    for (size_t i = 0; i < s->nmodels; i++)
        p->open[s->ntrainings + i] = open_cost(s, &s->models[i].config);
    for (size_t i = 0; i < s->ncells; i++) {
        const struct cell *c = &s->cells[i];
        bool waits = c->training && !p->courses->there[c->training->number];
        if (done && done[i])
            continue;
        if (waits)
            p->wanted[c->training->number] = true;
        pile_add(waits ? &p->late : &p->plain,
                 c->training ? c->training->number : model_set(p, c->model),
                 cell_cost(c, corpora_find(corpora, c)), i);
    }
    for (size_t i = 0; i < s->ntrainings; i++)
        if (p->wanted[i])
            pile_add(&p->makers, model_set(p, s->trainings[i]->model),
                     training_cost(p->courses, s->trainings[i]), i);
}

/* Deals a pile to so many shards, `first` and those behind it; returns how many it took. */
static size_t deal_pile(struct planner *p, const struct pile *pile, size_t shards, size_t first)
{
    const struct sweep *s = p->s;
    struct shards *o = p->out;
    size_t *shard = xcalloc(pile->n + 1, sizeof(*shard));
    size_t used =
        shards_make(pile->items, pile->n, p->open, s->ntrainings + s->nmodels, shards, shard);
    for (size_t i = 0; i < pile->n; i++) {
        struct shard_line l = { .shard = first + shard[i] };
        if (pile == &p->makers) {
            memcpy(l.id, s->trainings[pile->from[i]]->id, sizeof(l.id));
            ARRAY_GROW(o->trainings, o->trainings_cap, o->ntrainings + 1);
            o->trainings[o->ntrainings++] = l;
            continue;
        }
        const struct cell *c = &s->cells[pile->from[i]];
        memcpy(l.id, c->id, sizeof(l.id));
        if (c->training)
            memcpy(l.training, c->training->id, sizeof(l.training));
        ARRAY_GROW(o->cells, o->cells_cap, o->ncells + 1);
        o->cells[o->ncells++] = l;
    }
    free(shard);
    return used;
}

/* How many of the tasks begin at once, where others wait for models that are made meanwhile. */
static size_t plain_tasks(const struct planner *p, size_t tasks)
{
    double all = p->plain.cost + p->late.cost + p->makers.cost;
    size_t n = (size_t)((double)tasks * p->plain.cost / all + 0.5);
    if (!p->plain.n || !p->late.n)
        return tasks;
    return n < 1 || tasks < 2 ? 1 : n < tasks ? n : tasks - 1;
}

void shards_plan(struct shards *out, const struct sweep *s, const struct corpora *corpora,
                 const struct courses *courses, const bool *done, size_t tasks)
{
    struct planner p = { .out = out, .s = s, .courses = courses };
    *out = (struct shards){ .sweep = xstrdup(s->name) };
    p.open = xcalloc(s->ntrainings + s->nmodels, sizeof(*p.open));
    p.wanted = xcalloc(s->ntrainings + 1, sizeof(*p.wanted));
    pile_init(&p.plain, s->ncells);
    pile_init(&p.late, s->ncells);
    pile_init(&p.makers, s->ntrainings);
    sort_out(&p, corpora, done);
    size_t begin = plain_tasks(&p, tasks);
    size_t rest = p.plain.n && tasks > begin ? tasks - begin : p.plain.n ? 1 : tasks;
    out->plain = deal_pile(&p, &p.plain, begin, 0);
    out->late = deal_pile(&p, &p.late, rest, out->plain);
    out->makers = deal_pile(&p, &p.makers, rest, 0);
    free(p.open);
    free(p.wanted);
    const struct pile *const piles[] = { &p.plain, &p.late, &p.makers };
    for (size_t i = 0; i < ARRAY_LEN(piles); i++) {
        free(piles[i]->items);
        free(piles[i]->from);
    }
}

/* ---- one shard ---- */

void shard_store_path(const char *manifest, enum shard_kind kind, size_t number, struct buf *out)
{
    const char *slash = strrchr(manifest, '/');
    buf_add(out, manifest, slash ? (size_t)(slash - manifest) + 1 : 0);
    buf_addf(out, "%s-%02zu.db", kind == SHARD_CELLS ? "shard" : "models", number);
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct shard_line *)a)->id, ((const struct shard_line *)b)->id);
}

static struct shard_line *find(const struct shard_line *v, size_t n, const char *id)
{
    struct shard_line key;
    memcpy(key.id, id, sizeof(key.id));
    return n ? bsearch(&key, v, n, sizeof(*v), by_id) : NULL;
}

/* Leaves in `v` what the shard has, sorted by id, each once. Returns how many. */
static size_t pick(struct shard_line *v, size_t n, size_t shard)
{
    size_t has = 0, kept = 0;
    for (size_t i = 0; i < n; i++)
        if (v[i].shard == shard)
            v[has++] = v[i];
    if (has)
        qsort(v, has, sizeof(*v), by_id);
    for (size_t i = 0; i < has; i++)
        if (!kept || strcmp(v[kept - 1].id, v[i].id) != 0)
            v[kept++] = v[i];
    return kept;
}

/* Takes out the cells that are not among `v`; those that are there are marked in `seen`. */
static void keep_cells(struct sweep *s, const struct shard_line *v, size_t n, bool *seen)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->ncells; i++) {
        const struct shard_line *l = find(v, n, s->cells[i].id);
        if (!l)
            continue;
        seen[l - v] = true;
        s->cells[kept++] = s->cells[i];
    }
    s->ncells = kept;
}

/* The same for trainings: of models that are to be made, or that the cells that are left need. */
static void keep_trainings(struct sweep *s, const struct shard_line *v, size_t n, bool *seen)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->ntrainings; i++) {
        struct sweep_training *t = s->trainings[i];
        const struct shard_line *l = find(v, n, t->id);
        bool needed = l != NULL;
        for (size_t j = 0; j < s->ncells && !needed; j++)
            needed = s->cells[j].training == t;
        if (l)
            seen[l - v] = true;
        if (needed) {
            t->number = kept;
            s->trainings[kept++] = t;
        } else {
            free(t->label);
            free(t);
        }
    }
    s->ntrainings = kept;
}

static int keep(struct sweep *s, struct shards *all, const char *path, enum shard_kind kind,
                size_t number, struct buf *err)
{
    bool cells = kind == SHARD_CELLS;
    size_t shards = cells ? all->plain + all->late : all->makers, unknown = SIZE_MAX;
    struct shard_line *v = cells ? all->cells : all->trainings;
    if (number >= shards)
        return fail(err, "%s: has no shard %zu of %s; %s", path, number, cells ? "cells" : "models",
                    shards ? "they are counted from 0" : "there is none to be made");
    size_t n = pick(v, cells ? all->ncells : all->ntrainings, number);
    bool *seen = xcalloc(n + 1, sizeof(*seen));
    keep_cells(s, v, cells ? n : 0, seen);
    keep_trainings(s, v, cells ? 0 : n, seen);
    for (size_t i = n; i-- > 0;)
        if (!seen[i])
            unknown = i;
    free(seen);
    return unknown == SIZE_MAX
               ? 0
               : fail(err,
                      "%s: shard %zu has the %s %.12s, which %s has not: the recipe, its data or "
                      "the options are others than when it was submitted; submit it again",
                      path, number, cells ? "cell" : "model", v[unknown].id, s->path);
}

int shard_keep(struct sweep *s, const char *shard, enum shard_kind kind, struct buf *db,
               struct buf *err)
{
    enum { DIGITS_MAX = 6 };
    struct shards all = { 0 };
    const char *colon = strrchr(shard, ':'), *digits = colon ? colon + 1 : "";
    size_t len = strlen(digits);
    if (len == 0 || len > DIGITS_MAX || strspn(digits, "0123456789") != len || colon == shard)
        return fail(err, "--shard %s: a manifest and a number are needed, FILE:I", shard);
    size_t number = strtoul(digits, NULL, 10);
    char *path = xstrndup(shard, (size_t)(colon - shard));
    int rc = shards_read(&all, path, err);
    if (rc == 0)
        rc = keep(s, &all, path, kind, number, err);
    if (rc == 0)
        shard_store_path(path, kind, number, db);
    shards_release(&all);
    free(path);
    return rc;
}
