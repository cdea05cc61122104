/*
 * work.c: see work.h.
 */
#include "work.h"

#include "splitmix.h"

/* Tokens that a document may come to: with a text that is written, to its longest. */
static int64_t document_tokens(const struct cell_run *run, const struct document *d)
{
    const struct task *t = run->cell->task;
    int64_t tokens = (int64_t)d->ids.len;
    if (!task_generates(t))
        return tokens;
    int64_t context = run->cell->model->config.context;
    tokens += t->decoding.max_tokens;
    return tokens < context ? tokens : context;
}

/* What the seed draws: each order of the documents is as likely as any other (Fisher and Yates). */
static int *draw_order(int n, int64_t seed)
{
    uint64_t state = splitmix_mix((uint64_t)seed + 1);
    int *order = xcalloc((size_t)n + 1, sizeof(*order));
    for (int i = 0; i < n; i++) {
        int at = (int)(splitmix_next(&state) % (uint64_t)(i + 1));
        order[i] = order[at];
        order[at] = i;
    }
    return order;
}

int unit_document(const struct unit *u, int i)
{
    return u->run->order ? u->run->order[u->doc + i] : u->doc + i;
}

void units_add(struct units *units, struct cell_run *run, const bool *present)
{
    const struct documents *d = &run->corpus->documents;
    const struct router_args *a = &run->cell->args;
    bool pooled = run->cell->router->scope(a) == SCOPE_BATCH;
    int total = (int)d->len;
    if (a->shuffle)
        run->order = draw_order(total, run->cell->seed);
    for (int doc = 0, docs; doc < total; doc += docs) {
        docs = !pooled ? 1 : a->batch < total - doc ? a->batch : total - doc;
        struct unit u = { run, doc, docs, 0 };
        if (present[unit_document(&u, 0)])
            continue;
        for (int i = 0; i < docs; i++)
            u.tokens += document_tokens(run, &d->v[unit_document(&u, i)]);
        ARRAY_GROW(units->v, units->cap, units->len + 1);
        units->v[units->len++] = u;
        run->units_left++;
    }
}

/* Lays the batch's sequences and pools out. */
static void fill_batch(struct work *w, int sequences)
{
    struct batch *b = &w->batch;
    w->sequences = xcalloc((size_t)sequences, sizeof(*w->sequences));
    w->pools = xcalloc(w->nunits, sizeof(*w->pools));
    *b = (struct batch){ w->sequences, 0, w->pools, (int)w->nunits };
    for (size_t i = 0; i < w->nunits; i++) {
        const struct unit *u = &w->units[i];
        w->pools[i] =
            (struct pool){ u->run->cell->router, u->run->cell->args, u->docs,
                           u->run->corpus->documents.v[unit_document(u, 0)].prompt_tokens };
        w->pools[i].args.cutoffs = u->run->cutoffs;
        for (int d = 0; d < u->docs; d++) {
            const struct ids *ids = &u->run->corpus->documents.v[unit_document(u, d)].ids;
            w->sequences[b->nsequences++] = (struct sequence){ ids->v, (int)ids->len };
        }
    }
}

/* What the cells want beyond what is always found. */
static void want(struct work *w)
{
    const struct cell_run *first = w->units[0].run;
    w->wanted = (struct wanted){ .load_entropy = first->expert_entropy, .nothers = first->nothers };
    if (!first->expert_entropy && !first->nothers)
        return;
    w->others = xcalloc(w->nunits, sizeof(*w->others));
    for (size_t i = 0; i < w->nunits; i++)
        w->others[i] = w->units[i].run->cell->overlap;
    w->wanted.others = w->others;
    w->scored.wanted = &w->wanted;
}

static int score(struct job *job, struct buf *err)
{
    struct work *w = (struct work *)job;
    return w->engine->score(w->model, &w->batch, &w->scored, err);
}

struct work *work_new(const struct engine *engine, struct model *model, const struct unit *units,
                      size_t *at, size_t end)
{
    return work_new_most(engine, model, units, at, end, BATCH_TOKENS);
}

struct work *work_new_most(const struct engine *engine, struct model *model,
                           const struct unit *units, size_t *at, size_t end, int64_t most)
{
    struct work *w = xcalloc(1, sizeof(*w));
    w->job.work = score;
    w->engine = engine;
    w->model = model;
    size_t cap = 0;
    int sequences = 0;
    buf_init(&w->job.err);
    for (; *at < end; ++*at) {
        const struct unit *u = &units[*at];
        if (u->run->error)
            continue;
        if (w->nunits && w->tokens + u->tokens > most)
            break;
        ARRAY_GROW(w->units, cap, w->nunits + 1);
        w->units[w->nunits++] = *u;
        w->tokens += u->tokens;
        sequences += u->docs;
    }
    if (!w->nunits) {
        work_free(w);
        return NULL;
    }
    fill_batch(w, sequences);
    want(w);
    return w;
}

void work_free(struct work *w)
{
    scored_release(&w->scored);
    buf_release(&w->job.err);
    free(w->others);
    free(w->units);
    free(w->sequences);
    free(w->pools);
    free(w);
}

size_t work_split(const struct work *w, struct work **parts)
{
    size_t n = 0;
    for (size_t i = 0; i < w->nunits; i++) {
        size_t at = 0;
        struct work *part = work_new(w->engine, w->model, &w->units[i], &at, 1);
        if (part)
            parts[n++] = part;
    }
    return n;
}
