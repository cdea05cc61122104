/*
 * parity.c: do two databases of one recipe agree, of which the CPU computed one and a GPU the other?
 * tests/t_gpu.sh runs it.
 *
 *   parity RECIPE DEVICE ONE.db DEVICE TWO.db
 *
 * ONE is the CPU's. Its cells are computed here again, which must give its counts, and its losses within
 * 1e-5: so all scores are known that its routers saw, and every pair of a token and an expert that they
 * took. TWO says how many experts each token took in each layer, and how many tokens each expert had in
 * each layer of a cell, with the sum of their scores. How the two are held against each other:
 *
 *   - Where TWO took the same pairs, both kinds of counts are the same, and the sums within 5e-6 a pair.
 *   - A pair that differs moves the count of its token, or of its expert, or both. Each count that is
 *     moved by n must have n pairs there that are at a tie: which ONE's router would take, or leave, if
 *     one score of that token were another by 1e-6. Any other difference is a fault.
 *   - As many pairs differ as the counts of a layer's tokens, or of its experts, are off by in sum,
 *     whichever is more. One that leaves and one that comes in its place are two.
 *   - From a tie on, the two compute different things. In later layers, tokens from it on are not
 *     compared, whose states it reaches; of a router that sees whole texts, no token of the text (of a
 *     batch, of the batch); of strict, whose budget goes on, none behind it in the same layer either.
 *     The experts' counts of a cell are compared up to its first layer with a tie. What is not compared
 *     is counted, and more than a quarter of all pairs is a fault.
 *   - Losses of tokens that are predicted where nothing has differed are within 2e-4.
 *
 * Prints a line for each router, and one for all, as TAP's diagnostics; exit 1 where there is a fault.
 * Leaves out: pairs that are exchanged so that all counts stay and all sums nearly do.
 */
#include "corpus.h"
#include "engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double tie = 1e-6, weight_off = 5e-6, loss_off = 2e-4;
enum { FAULTS_TOLD = 20 };

static const struct engine *engine;
static int faults;

PRINTF(1, 2) static void fault(const char *fmt, ...)
{
    va_list ap;
    if (faults++ >= FAULTS_TOLD)
        return;
    va_start(ap, fmt);
    printf("# parity: ");
    vprintf(fmt, ap);
    putchar('\n');
    va_end(ap);
}

/* ---- what a database says of a cell ---- */

struct kept {
    int tokens, layers, N;
    float *nll;     /* [tokens] */
    int *used;      /* [tokens, layers] */
    int64_t *load;  /* [layers, N] */
    double *weight; /* [layers, N] */
};

static void kept_release(struct kept *k)
{
    free(k->nll);
    free(k->used);
    free(k->load);
    free(k->weight);
}

static struct rows *ask(struct store *s, const char *sql, const char *id)
{
    struct buf err = BUF_INIT;
    struct rows *r = store_query(s, &err, sql, id);
    if (!r)
        die(1, "%s", err.s);
    return r;
}

static bool next(struct rows *r)
{
    struct buf err = BUF_INIT;
    int rc = rows_next(r, &err);
    if (rc < 0)
        die(1, "%s", err.s);
    return rc == 1;
}

static void read_tokens(struct store *s, const char *id, struct kept *k)
{
    struct rows *r = ask(s,
                         "SELECT nll, experts_by_layer FROM v_tokens WHERE cell_id = ?"
                         " ORDER BY doc, pos",
                         id);
    int t = 0;
    for (; next(r); t++) {
        if (t == k->tokens)
            die(1, "%s: cell %s has more than %d tokens", store_path(s), id, k->tokens);
        k->nll[t] = (float)rows_double(r, 0);
        const char *at = rows_text(r, 1);
        char *end;
        for (int l = 0; l < k->layers; l++, at = end)
            k->used[t * k->layers + l] = (int)strtol(at + 1, &end, 10); // behind '[' or ','
    }
    rows_close(r);
    if (t != k->tokens)
        die(1, "%s: cell %s has %d tokens, not %d", store_path(s), id, t, k->tokens);
}

static void read_cell(struct store *s, const char *id, struct kept *k)
{
    size_t rows = (size_t)k->tokens, loads = (size_t)k->layers * (size_t)k->N;
    k->nll = xcalloc(rows, sizeof(*k->nll));
    k->used = xcalloc(rows * (size_t)k->layers, sizeof(*k->used));
    k->load = xcalloc(loads, sizeof(*k->load));
    k->weight = xcalloc(loads, sizeof(*k->weight));
    read_tokens(s, id, k);
    struct rows *r =
        ask(s, "SELECT layer, expert, tokens, weight FROM v_expert_load WHERE cell_id = ?", id);
    while (next(r)) {
        int64_t i = rows_int(r, 0) * k->N + rows_int(r, 1);
        k->load[i] = rows_int(r, 2);
        k->weight[i] = rows_double(r, 3);
    }
    rows_close(r);
}

/* ---- the same cell computed here, with all that its routers see ---- */

/* Of tokens that are numbered through all documents of the cell. */
struct caught {
    const struct cell *cell;
    const struct corpus *corpus;
    struct batch batch;
    struct sequence *sequences;
    struct pool *pools;
    int tokens, layers, N, npools;
    int *start;       /* [documents + 1] */
    int *pool_start;  /* [pools + 1] */
    int *doc, *pool;  /* [tokens] */
    float *scores;    /* [layers, tokens, N]; logits where the router wants them */
    bool *taken;      /* [layers, tokens, N] */
    int64_t selected; /* tokens so far, layer after layer */
};

/* A router that does what another one does, and writes it down. */
static struct caught *catching;
static struct router catcher;

static void catch_select(const struct router_args *a, struct router_state *state,
                         const float *scores, int T, struct selection *out)
{
    struct caught *c = catching;
    size_t N = (size_t)c->N, at = (size_t)c->selected * N, pair = out->pairs, first = out->tokens;
    if (c->selected + T > (int64_t)c->layers * c->tokens)
        BUG("%s is asked for too many tokens", c->cell->router->name);
    memcpy(c->scores + at, scores, (size_t)T * N * sizeof(*scores));
    c->cell->router->select(a, state, scores, T, out);
    for (size_t t = 0; t < (size_t)T && !out->error; t++)
        for (int i = 0; i < out->count[first + t]; i++)
            c->taken[at + t * N + (size_t)out->expert[pair++]] = true;
    c->selected += T;
}

static void caught_release(struct caught *c)
{
    free(c->sequences);
    free(c->pools);
    free(c->start);
    free(c->pool_start);
    free(c->doc);
    free(c->pool);
    free(c->scores);
    free(c->taken);
}

/* Documents and pools, as a run makes them (work.c). */
static void lay_out(struct caught *c)
{
    const struct documents *d = &c->corpus->documents;
    const struct router *router = c->cell->router;
    int each = router->scope(&c->cell->args) == SCOPE_BATCH ? c->cell->args.batch : 1;
    c->sequences = xcalloc(d->len, sizeof(*c->sequences));
    c->pools = xcalloc(d->len, sizeof(*c->pools));
    c->start = xcalloc(d->len + 1, sizeof(*c->start));
    c->pool_start = xcalloc(d->len + 1, sizeof(*c->pool_start));
    for (size_t i = 0; i < d->len; i++) {
        c->sequences[i] = (struct sequence){ d->v[i].ids.v, (int)d->v[i].ids.len };
        c->start[i + 1] = c->start[i] + (int)d->v[i].ids.len;
        if (i % (size_t)each == 0)
            c->pools[c->npools++] =
                (struct pool){ &catcher, c->cell->args, 0, d->v[i].prompt_tokens };
        struct pool *p = &c->pools[c->npools - 1];
        p->args.cutoffs = router->learns ? c->cell->model->cutoffs.v : NULL;
        p->sequences++;
        c->pool_start[c->npools] = c->start[i + 1];
    }
    c->tokens = c->start[d->len];
    c->doc = xcalloc((size_t)c->tokens, sizeof(*c->doc));
    c->pool = xcalloc((size_t)c->tokens, sizeof(*c->pool));
    for (int t = 0, doc = 0, pool = 0; t < c->tokens; t++) {
        doc += t == c->start[doc + 1];
        pool += t == c->pool_start[pool + 1];
        c->doc[t] = doc;
        c->pool[t] = pool;
    }
    c->batch = (struct batch){ c->sequences, (int)d->len, c->pools, c->npools };
}

static void compute(struct caught *c, const struct cell *cell, const struct corpus *corpus,
                    struct model *model, struct scored *out)
{
    struct buf err = BUF_INIT;
    *c = (struct caught){ .cell = cell,
                          .corpus = corpus,
                          .layers = cell->model->config.layers,
                          .N = cell->model->config.experts };
    lay_out(c);
    size_t all = (size_t)c->layers * (size_t)c->tokens * (size_t)c->N;
    c->scores = xcalloc(all, sizeof(*c->scores));
    c->taken = xcalloc(all, sizeof(*c->taken));
    catcher = *cell->router;
    catcher.select = catch_select;
    catching = c;
    if (engine->score(model, &c->batch, out, &err))
        die(1, "%s", err.s);
    if (c->selected != (int64_t)c->layers * c->tokens)
        BUG("%s was asked for %lld tokens", cell->router->name, (long long)c->selected);
}

static bool took(const struct caught *c, int layer, int t, int e)
{
    return c->taken[((size_t)layer * (size_t)c->tokens + (size_t)t) * (size_t)c->N + (size_t)e];
}

/* ---- ties ---- */

/* What moves a score by `by`: that, or what moves the logit so that its softmax moves so. */
static float moved(const struct caught *c, const float *row, int e, double by)
{
    if (!c->cell->router->logits)
        return fmaxf(0, (float)((double)row[e] + by));
    double sum = 0;
    for (int i = 0; i < c->N; i++)
        sum += exp((double)row[i] - (double)row[e]);
    double s = 1 / sum;
    return (float)((double)row[e] + by / fmax(s * (1 - s), 1e-12));
}

/* Does the router take (t, e) of a pool's scores? pool: [to - from, N] */
static bool takes(const struct caught *c, int layer, const float *pool, int from, int to, int t,
                  int e)
{
    const struct router *r = c->cell->router;
    struct router_args args = c->pools[c->pool[t]].args;
    if (args.cutoffs)
        args.cutoffs += (size_t)layer * (size_t)c->N;
    struct router_state *state = r->open ? r->open(&args) : NULL;
    struct selection s = { 0 };
    int prompt = c->pools[c->pool[t]].prompt, T = to - from;
    int first = r->scope(&args) == SCOPE_PROMPT && prompt < T ? prompt : T;
    r->select(&args, state, pool, first, &s);
    if (first < T)
        r->select(&args, state, pool + (size_t)first * (size_t)c->N, T - first, &s);
    bool found = false;
    size_t pair = 0;
    for (int i = 0; i < t - from; i++)
        pair += (size_t)s.count[i];
    for (int i = 0; i < s.count[t - from]; i++)
        found |= s.expert[pair + (size_t)i] == e;
    selection_release(&s);
    if (r->close)
        r->close(state);
    return found;
}

/* Would another decision about (t, e) follow, if a score of the token were another by `by`? */
static bool at_tie(const struct caught *c, int layer, int t, int e, double by)
{
    size_t N = (size_t)c->N;
    bool alone = c->cell->router->scope(&c->cell->args) == SCOPE_TOKEN, was = took(c, layer, t, e);
    int from = alone ? t : c->pool_start[c->pool[t]];
    int to = alone ? t + 1 : c->pool_start[c->pool[t] + 1], best = 0;
    const float *scores = c->scores + ((size_t)layer * (size_t)c->tokens + (size_t)from) * N;
    float *pool = xmalloc((size_t)(to - from) * N * sizeof(*pool));
    memcpy(pool, scores, (size_t)(to - from) * N * sizeof(*pool));
    float *row = pool + (size_t)(t - from) * N;
    const float *old = scores + (size_t)(t - from) * N;
    for (int i = 1; i < c->N; i++)
        best = old[i] > old[best] ? i : best;
    row[e] = moved(c, old, e, was ? -by : by);
    bool other = takes(c, layer, pool, from, to, t, e) != was;
    // Where a router sums the better scores up, theirs decide.
    for (int sign = -1; sign <= 1 && !other; sign += 2) {
        row[e] = old[e];
        row[best] = moved(c, old, best, sign * by);
        other = takes(c, layer, pool, from, to, t, e) != was;
    }
    free(pool);
    return other;
}

/* For people: how far a pair is from a tie, within a factor of two. */
static double distance(const struct caught *c, int layer, int t, int e)
{
    double by = tie;
    while (by < 1 && !at_tie(c, layer, t, e, by))
        by *= 2;
    return by;
}

/* ---- the two held against each other ---- */

struct tally {
    int64_t pairs, compared, differ, ties, losses, tokens;
    double loss,
        weight; /* the largest difference: of a loss, and of an expert's weight by its pairs */
};

struct judged {
    const struct caught *c;
    const struct kept *one, *two;
    bool *dead;    /* [tokens]: the two compute different things there by now */
    bool *flipped; /* [tokens]: in this layer */
    int ndead;
    struct tally *tally;
};

static void kill_from(struct judged *j, int t)
{
    const struct caught *c = j->c;
    enum router_scope scope = c->cell->router->scope(&c->cell->args);
    int from = t, to = c->start[c->doc[t] + 1];
    if (scope == SCOPE_SEQUENCE)
        from = c->start[c->doc[t]];
    if (scope == SCOPE_BATCH) {
        from = c->pool_start[c->pool[t]];
        to = c->pool_start[c->pool[t] + 1];
    }
    for (int i = from; i < to; i++) {
        j->ndead += !j->dead[i];
        j->dead[i] = true;
    }
}

static void told(const struct judged *j, int layer, int t, int e, int64_t off, int found)
{
    const struct caught *c = j->c;
    struct buf label = BUF_INIT;
    int worst_t = t, worst_e = e;
    double near = 2;
    // The pair that is the nearest to a tie of those that could be the one.
    for (int i = t >= 0 ? t : 0; i < (t >= 0 ? t + 1 : c->tokens); i++)
        for (int k = e >= 0 ? e : 0; k < (e >= 0 ? e + 1 : c->N); k++) {
            if (j->dead[i] || took(c, layer, i, k) != (off < 0) || faults >= FAULTS_TOLD)
                continue;
            double d = distance(c, layer, i, k);
            if (d < near) {
                near = d;
                worst_t = i;
                worst_e = k;
            }
        }
    router_label(c->cell->router, &c->cell->args, &label);
    fault("cell %.8s (%s, %s, K = %d, %s), layer %d, %s %d: the count is off by %lld, and %d pairs "
          "are "
          "at a tie; the nearest, token %d of document %d with expert %d, is %.2g from one",
          c->cell->id, c->cell->model->name, label.s, c->cell->args.K, c->cell->task->name, layer,
          t >= 0 ? "token" : "expert", t >= 0 ? t - c->start[c->doc[t]] : e, (long long)off, found,
          worst_t >= 0 ? worst_t - c->start[c->doc[worst_t]] : -1,
          worst_t >= 0 ? c->doc[worst_t] : -1, worst_e, near);
    buf_release(&label);
}

/* A token's count is off: are there as many pairs at ties? */
static int64_t judge_token(struct judged *j, int layer, int t, int off)
{
    const struct caught *c = j->c;
    int found = 0;
    for (int e = 0; e < c->N; e++)
        found += took(c, layer, t, e) == (off < 0) && at_tie(c, layer, t, e, tie);
    j->flipped[t] = true;
    if (found < abs(off))
        told(j, layer, t, -1, off, found);
    return found < abs(off) ? 0 : abs(off);
}

/* The same of an expert. Tokens that are at fault are flipped, or all that may be. */
static int64_t judge_expert(struct judged *j, int layer, int e, int64_t off)
{
    const struct caught *c = j->c;
    int found = 0, known = 0;
    bool *here = xcalloc((size_t)c->tokens, sizeof(*here));
    for (int t = 0; t < c->tokens; t++) {
        here[t] = took(c, layer, t, e) == (off < 0) && at_tie(c, layer, t, e, tie);
        found += here[t];
        known += here[t] && j->flipped[t];
    }
    for (int t = 0; t < c->tokens && known < llabs(off); t++)
        j->flipped[t] |= here[t];
    free(here);
    if (found < llabs(off))
        told(j, layer, -1, e, off, found);
    return found < llabs(off) ? 0 : llabs(off);
}

/* Sums of an expert's scores, in a layer where all counts are the same. */
static void judge_weights(struct judged *j, int layer)
{
    for (int e = 0; e < j->c->N; e++) {
        int i = layer * j->c->N + e;
        double off = fabs(j->one->weight[i] - j->two->weight[i]);
        double each = off / (j->one->load[i] ? (double)j->one->load[i] : 1);
        j->tally->weight = fmax(j->tally->weight, each);
        if (!(each <= weight_off))
            fault("cell %.8s, layer %d, expert %d: %lld pairs weigh %.9g and %.9g", j->c->cell->id,
                  layer, e, (long long)j->one->load[i], j->one->weight[i], j->two->weight[i]);
    }
}

static void judge_layer(struct judged *j, int layer)
{
    const struct caught *c = j->c;
    struct tally *n = j->tally;
    bool strict = strcmp(router_mode(c->cell->router, &c->cell->args), "strict") == 0;
    bool whole = j->ndead == 0;
    int64_t rows = 0, columns = 0, tied_rows = 0, tied_columns = 0;
    memset(j->flipped, 0, (size_t)c->tokens * sizeof(*j->flipped));
    for (int t = 0; t < c->tokens; t++) {
        int one = j->one->used[t * c->layers + layer],
            off = j->two->used[t * c->layers + layer] - one;
        n->pairs += one;
        if (j->dead[t])
            continue;
        n->compared += one;
        rows += abs(off);
        tied_rows += off ? judge_token(j, layer, t, off) : 0;
        if (off && strict)
            kill_from(j, t);
    }
    for (int e = 0; e < c->N && whole && j->ndead == 0; e++) {
        int64_t off = j->two->load[layer * c->N + e] - j->one->load[layer * c->N + e];
        columns += llabs(off);
        tied_columns += off ? judge_expert(j, layer, e, off) : 0;
    }
    if (whole && rows + columns == 0)
        judge_weights(j, layer);
    n->differ += rows > columns ? rows : columns;
    n->ties += rows > columns ? tied_rows : tied_columns;
    for (int t = 0; t < c->tokens; t++)
        if (j->flipped[t] && !j->dead[t])
            kill_from(j, t);
}

static void judge_losses(struct judged *j)
{
    const struct caught *c = j->c;
    j->tally->tokens += c->tokens;
    for (int t = 1; t < c->tokens; t++) {
        if (c->doc[t] != c->doc[t - 1] || j->dead[t - 1])
            continue;
        double off = fabs((double)j->one->nll[t] - (double)j->two->nll[t]);
        j->tally->losses++;
        j->tally->loss = fmax(j->tally->loss, off);
        if (!(off <= loss_off))
            fault("cell %.8s, document %d, loss of token %d: %.6f and %.6f", c->cell->id, c->doc[t],
                  t - c->start[c->doc[t]], (double)j->one->nll[t], (double)j->two->nll[t]);
    }
}

/* Is the first database what the CPU computes? */
static bool is_ours(const struct caught *c, const struct kept *one, const struct scored *s)
{
    bool same = true;
    for (int t = 0; t < c->tokens; t++)
        same &= c->start[c->doc[t]] == t || fabsf(s->nll[t] - one->nll[t]) <= 1e-5f;
    for (int l = 0; l < c->layers; l++) {
        int64_t *load = xcalloc((size_t)c->N, sizeof(*load));
        for (int t = 0; t < c->tokens; t++) {
            int used = 0;
            for (int e = 0; e < c->N; e++) {
                used += took(c, l, t, e);
                load[e] += took(c, l, t, e);
            }
            same &= used == one->used[t * c->layers + l];
        }
        for (int e = 0; e < c->N; e++)
            same &= load[e] == one->load[l * c->N + e];
        free(load);
    }
    if (!same)
        fault("cell %.8s: the first database has not what the CPU computes", c->cell->id);
    return same;
}

static void judge(struct store *const *stores, const struct cell *const *cells,
                  const struct corpus *corpus, struct model *model, struct tally *n)
{
    struct caught c;
    struct scored s = { 0 };
    struct kept kept[2];
    compute(&c, cells[0], corpus, model, &s);
    for (int i = 0; i < 2; i++) {
        kept[i] = (struct kept){ .tokens = c.tokens, .layers = c.layers, .N = c.N };
        read_cell(stores[i], cells[i]->id, &kept[i]);
    }
    struct judged j = { .c = &c, .one = &kept[0], .two = &kept[1], .tally = n };
    j.dead = xcalloc((size_t)c.tokens, sizeof(*j.dead));
    j.flipped = xcalloc((size_t)c.tokens, sizeof(*j.flipped));
    if (is_ours(&c, &kept[0], &s)) {
        for (int l = 0; l < c.layers; l++)
            judge_layer(&j, l);
        judge_losses(&j);
    }
    free(j.dead);
    free(j.flipped);
    kept_release(&kept[0]);
    kept_release(&kept[1]);
    scored_release(&s);
    caught_release(&c);
}

/* ---- all cells ---- */

static void add(struct tally *to, const struct tally *n)
{
    to->pairs += n->pairs;
    to->compared += n->compared;
    to->differ += n->differ;
    to->ties += n->ties;
    to->losses += n->losses;
    to->tokens += n->tokens;
    to->loss = fmax(to->loss, n->loss);
    to->weight = fmax(to->weight, n->weight);
}

static void print(const char *label, const struct tally *n)
{
    printf(
        "# %-30s %8lld pairs, %lld differ, %lld of them at ties; %lld pairs behind these; %lld of "
        "%lld tokens' losses within %.1e, weights within %.1e a pair\n",
        label, (long long)n->pairs, (long long)n->differ, (long long)n->ties,
        (long long)(n->pairs - n->compared), (long long)n->losses, (long long)n->tokens, n->loss,
        n->weight);
}

static struct model *open_model(const char *dir)
{
    struct buf err = BUF_INIT;
    struct weights *w = weights_open(dir, &err);
    struct model *m = w ? engine->open(w, (struct device){ DEVICE_CPU, 0 }, DTYPE_F32, &err) : NULL;
    if (!m)
        die(1, "%s", err.s);
    weights_close(w);
    return m;
}

struct line {
    char *label;
    struct tally tally;
};

/* Of all bounds of a router's together. */
static struct line *line_of(struct line *lines, size_t *n, const struct cell *cell)
{
    const char *mode = router_mode(cell->router, &cell->args);
    struct buf label = BUF_INIT, others = BUF_INIT;
    struct line *line = NULL;
    router_others(cell->router, &cell->args, &others);
    buf_addf(&label, "%s%s%s%s%s", cell->router->name, *mode ? " " : "", mode,
             others.len ? " " : "", others.len ? others.s : "");
    for (size_t i = 0; i < *n && !line; i++)
        if (strcmp(lines[i].label, label.s) == 0)
            line = &lines[i];
    if (!line) {
        line = &lines[(*n)++];
        *line = (struct line){ .label = xstrdup(label.s) };
    }
    buf_release(&label);
    buf_release(&others);
    return line;
}

static void judge_all(struct sweep *const *sweeps, const struct corpora *corpora,
                      struct store *const *stores)
{
    struct line *lines = xcalloc(sweeps[0]->ncells, sizeof(*lines));
    struct tally all = { 0 };
    struct model *model = NULL;
    size_t n = 0;
    for (size_t i = 0; i < sweeps[0]->ncells; i++) {
        const struct cell *cells[2] = { &sweeps[0]->cells[i], &sweeps[1]->cells[i] };
        struct tally one = { 0 };
        if (i == 0 || cells[0]->model != cells[0][-1].model) {
            if (model)
                engine->close(model);
            model = open_model(cells[0]->model->dir);
        }
        judge(stores, cells, corpora_find(corpora, cells[0]), model, &one);
        add(&line_of(lines, &n, cells[0])->tally, &one);
        add(&all, &one);
    }
    engine->close(model);
    for (size_t i = 0; i < n; i++) {
        print(lines[i].label, &lines[i].tally);
        free(lines[i].label);
    }
    free(lines);
    print("all", &all);
    if (all.compared * 4 < all.pairs * 3)
        fault("more than a quarter of all pairs lie behind a tie");
}

int main(int argc, char **argv)
{
    struct buf err = BUF_INIT;
    struct sweep *sweeps[2];
    struct store *stores[2];
    struct corpora corpora;
    if (argc != 6)
        die(2, "parity RECIPE DEVICE ONE.db DEVICE TWO.db");
    for (int i = 0; i < 2; i++) {
        sweeps[i] = sweep_open(argv[1], &(struct sweep_options){ .device = argv[2 + 2 * i] }, &err);
        stores[i] = sweeps[i] ? store_open(argv[3 + 2 * i], STORE_READ, &err) : NULL;
        if (!stores[i])
            die(1, "%s", err.s);
    }
    engine = engine_open(&err);
    if (!engine || corpora_read(&corpora, sweeps[0], &err))
        die(1, "%s", err.s);
    if (sweeps[0]->ncells != sweeps[1]->ncells)
        die(1, "%s: %zu cells and %zu", argv[1], sweeps[0]->ncells, sweeps[1]->ncells);
    judge_all(sweeps, &corpora, stores);
    corpora_release(&corpora);
    for (int i = 0; i < 2; i++) {
        store_close(stores[i]);
        sweep_free(sweeps[i]);
    }
    buf_release(&err);
    return faults ? 1 : 0;
}
