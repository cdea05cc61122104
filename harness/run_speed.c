/*
 * run_speed.c: speed { ... }: how long a model takes to read a prompt and to write behind it, and what
 * memory that takes, under each router. See run_impl.h.
 *
 * A turn is one repeat of one cell: `batch` texts of random tokens, the same in every cell, are read at
 * once and then fed token by token; of each step the next token is drawn, greedily, and not used. The
 * cells of a model take turns, A B C A B C, one after the other in one thread with nothing beside
 * it, so that a machine which becomes slower does so for all of them. All use the same decoder, and each
 * had its turns that do not count.
 *
 * What v_samples.extracted has of a turn, each with a "score", is a metric of the cell:
 *   decode_tokens_per_s, prefill_tokens_per_s  with "seconds" and "tokens"; the cell has their median
 *   decode_tokens_per_cpu_s  on the CPU: over the seconds that its one thread had a core, which other
 *                    programs at work on the machine do not make more
 *   cache_bytes      what the routers keep (the Expert Cache) behind the last token, as it is allocated
 *   kv_bytes         keys and values, as they are allocated
 *   cache_share      cache_bytes over kv_bytes
 *   peak_bytes       on a GPU: the most that tensors took at once, weights included, and what the
 *                    routers keep, which is not among them. On the CPU it is absent: what a process has
 *                    of the machine's memory is not given back from turn to turn
 *
 * v_samples.score is decode_tokens_per_s as well, so that `compare` and `table --against` pair the turns of
 * two routers by their repeat.
 *
 * Invariant: only the engine's decode() is inside of what is timed. A turn is stored before the next one.
 * Leaves out: what the texts are worth; several processes, which `run` and `submit` refuse.
 */
#include "run_impl.h"

#include <math.h>
#include <string.h>
#include <time.h>

static const double SHORTEST = 1e-9; /* seconds */

/* The cells of one task that take turns. */
struct timer {
    struct runner *r;
    const struct speed *how;
    struct decoder *decoder;
    struct feed *feeds;       /* [batch] */
    struct sampler *samplers; /* [batch], greedy */
    struct scored scored;     /* of the last step */
};

/* What came of a turn. */
struct turn {
    double prefill, decode; /* seconds */
    double on_core;         /* of `decode`, that this thread was at work */
    int64_t caches, states, peak;
    bool peak_known;
    int32_t *load_tokens; /* [layers, N] */
    double *load_weight;  /* [layers, N] */
};

static void turn_release(struct turn *t)
{
    free(t->load_tokens);
    free(t->load_weight);
    *t = (struct turn){ 0 };
}

/* Seconds that this thread had a core so far. */
static double core_seconds(void)
{
    struct timespec t;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0)
        BUG("the thread has no clock");
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void add_load(const struct scored *s, struct turn *out)
{
    size_t loads = (size_t)s->layers * (size_t)s->experts;
    for (size_t i = 0; i < loads * (size_t)s->nsequences; i++) {
        out->load_tokens[i % loads] += s->load_tokens[i];
        out->load_weight[i % loads] += s->load_weight[i];
    }
}

/* Feeds the tokens `at` to before `at` + n of each text. ids: [batch, prompt_tokens + tokens] */
static int take_step(struct timer *t, const int32_t *ids, int at, int n, struct turn *out,
                     struct buf *err)
{
    const int each = t->how->prompt_tokens + t->how->tokens;
    for (int b = 0; b < t->how->batch; b++)
        t->feeds[b] = (struct feed){ .slot = b,
                                     .ids = ids + (size_t)b * (size_t)each + at,
                                     .tokens = n,
                                     .sampler = &t->samplers[b] };
    double core = core_seconds(), from = now_seconds();
    int rc = t->r->engine->decode(t->decoder, t->feeds, t->how->batch, &t->scored, err);
    *(at ? &out->decode : &out->prefill) += now_seconds() - from;
    out->on_core += at ? core_seconds() - core : 0;
    if (rc == 0)
        add_load(&t->scored, out);
    return rc;
}

/* One turn of the cell, with the tokens of document `doc`. turn_release() also after -1. */
static int take_turn(struct timer *t, const struct cell_run *run, int doc, struct turn *out,
                     struct buf *err)
{
    const struct engine *engine = t->r->engine;
    const struct model_config *c = &run->cell->model->config;
    const int32_t *ids = run->corpus->documents.v[doc].ids.v;
    const int each = t->how->prompt_tokens + t->how->tokens;
    struct router_args args = run->cell->args;
    size_t loads = (size_t)c->layers * (size_t)c->experts;
    args.cutoffs = run->cutoffs;
    *out = (struct turn){ .load_tokens = xcalloc(loads, sizeof(*out->load_tokens)),
                          .load_weight = xcalloc(loads, sizeof(*out->load_weight)) };
    for (int b = 0; b < t->how->batch; b++)
        engine->decoder_begin(t->decoder, b, run->cell->router, &args);
    engine->device_peak(t->r->device, true, &out->peak);
    int rc = take_step(t, ids, 0, t->how->prompt_tokens, out, err);
    for (int at = t->how->prompt_tokens; at < each && rc == 0; at++)
        rc = take_step(t, ids, at, 1, out, err);
    engine->decoder_bytes(t->decoder, &out->caches, &out->states);
    out->peak_known = engine->device_peak(t->r->device, false, &out->peak);
    return rc;
}

/* ---- what is kept of it ---- */

static void add_rate(struct buf *out, const char *name, int64_t tokens, double seconds)
{
    buf_addf(out, "\"%s\": {\"score\": %.17g, \"median\": true, \"tokens\": %lld, ", name,
             (double)tokens / fmax(seconds, SHORTEST), (long long)tokens);
    buf_addf(out, "\"seconds\": %.17g}", seconds);
}

static void describe(const struct speed *how, const struct turn *t, bool cpu, struct buf *out)
{
    const int64_t written = (int64_t)how->batch * how->tokens;
    buf_adds(out, "{");
    add_rate(out, "decode_tokens_per_s", written, t->decode);
    buf_adds(out, ", ");
    add_rate(out, "prefill_tokens_per_s", (int64_t)how->batch * how->prompt_tokens, t->prefill);
    if (cpu) {
        buf_adds(out, ", ");
        add_rate(out, "decode_tokens_per_cpu_s", written, t->on_core);
    }
    buf_addf(out, ", \"cache_bytes\": {\"score\": %lld}, \"kv_bytes\": {\"score\": %lld}",
             (long long)t->states, (long long)t->caches);
    buf_addf(out, ", \"cache_share\": {\"score\": %.17g}", (double)t->states / (double)t->caches);
    const int64_t peak = t->peak + t->states;
    if (t->peak_known)
        buf_addf(out, ", \"peak_bytes\": {\"score\": %lld}", (long long)peak);
    buf_adds(out, "}");
}

static int store_turn(struct timer *t, const struct unit *u, const struct turn *turn,
                      struct buf *err)
{
    struct buf extracted = BUF_INIT;
    describe(t->how, turn, t->r->device.kind == DEVICE_CPU, &extracted);
    struct store_sample sample = {
        .cell_id = u->run->cell->id,
        .doc = unit_document(u, 0),
        .prompt_tokens = t->how->batch * t->how->prompt_tokens,
        .output_tokens = t->how->batch * t->how->tokens,
        .output = "", // what would be drawn is not written
        .extracted = extracted.s,
        .nll = NAN,
        .score = (double)t->how->batch * t->how->tokens / fmax(turn->decode, SHORTEST),
        .load_tokens = turn->load_tokens,
        .load_weight = turn->load_weight,
    };
    int rc = store_sample_add(t->r->store, &sample, err);
    buf_release(&extracted);
    return rc;
}

/* The unit's turn, stored; where it fails, so does its cell. */
static int run_turn(struct timer *t, const struct unit *u, struct buf *err)
{
    struct runner *r = t->r;
    struct turn turn;
    struct buf why = BUF_INIT;
    int failed = take_turn(t, u->run, unit_document(u, 0), &turn, &why);
    int rc = store_begin(r->store, err);
    u->run->seconds += turn.prefill + turn.decode;
    if (rc == 0)
        rc = failed ? run_fail_unit(r, u, why.s, err) : store_turn(t, u, &turn, err);
    if (rc == 0)
        rc = run_unit_done(r, u->run, err);
    if (rc == 0)
        rc = store_commit(r->store, err);
    if (rc)
        store_rollback(r->store);
    run_progress(r, u->tokens);
    turn_release(&turn);
    buf_release(&why);
    return rc;
}

/* ---- turns ---- */

/* The turns that do not count, in turns as well. What fails here fails again where it is kept. */
static void warm_up(struct timer *t, const struct unit *v, size_t n)
{
    struct turn turn;
    struct buf why = BUF_INIT;
    int *taken = xcalloc(t->r->ncells, sizeof(*taken)); // by each cell
    for (int k = 0; k < t->how->warmup; k++)
        for (size_t i = 0; i < n && !run_stopped(); i++) {
            if (taken[v[i].run - t->r->cells] > k)
                continue;
            taken[v[i].run - t->r->cells]++;
            if (take_turn(t, v[i].run, 0, &turn, &why) != 0)
                buf_reset(&why);
            turn_release(&turn);
        }
    free(taken);
    buf_release(&why);
}

/* All of them, then what the complete cells come to, which nobody's turn waits for. */
static int run_turns(struct timer *t, const struct unit *v, size_t n, struct buf *err)
{
    int rc = 0;
    warm_up(t, v, n);
    for (size_t i = 0; i < n && rc == 0 && !run_stopped(); i++)
        if (!v[i].run->error)
            rc = run_turn(t, &v[i], err);
    for (size_t i = 0; i < n && rc == 0; i++)
        rc = run_finish_complete(t->r, v[i].run, err);
    return rc;
}

/* The units v[0 .. n-1] of one task, in the order of their turns. */
static int run_task(struct runner *r, struct model *model, const struct unit *v, size_t n,
                    struct buf *err)
{
    const struct cell *c = v->run->cell;
    struct timer t = { .r = r, .how = &c->task->speed };
    struct buf why = BUF_INIT;
    int rc = 0, batch = t.how->batch;
    t.decoder = r->engine->decoder_open(model, batch, t.how->prompt_tokens + t.how->tokens, &why);
    if (t.decoder) {
        t.feeds = xcalloc((size_t)batch, sizeof(*t.feeds));
        t.samplers = xcalloc((size_t)batch, sizeof(*t.samplers));
        for (int b = 0; b < batch; b++)
            t.samplers[b].top_p = 1;
        rc = run_turns(&t, v, n, err);
    }
    for (size_t i = 0; i < n && !t.decoder && rc == 0; i++)
        rc = run_fail_unit(r, &v[i], why.s, err);
    r->engine->decoder_close(t.decoder);
    scored_release(&t.scored);
    free(t.feeds);
    free(t.samplers);
    buf_release(&why);
    return rc;
}

/* By task and repeat, and within these as the cells are. */
static int by_turn(const void *a, const void *b)
{
    const struct unit *x = a, *y = b;
    const struct task *s = x->run->cell->task, *t = y->run->cell->task;
    if (s != t)
        return s < t ? -1 : 1;
    if (x->doc != y->doc)
        return x->doc < y->doc ? -1 : 1;
    return (x->run > y->run) - (x->run < y->run);
}

int run_speeds(struct runner *r, struct model *model, const struct unit *v, size_t n,
               struct buf *err)
{
    struct unit *turns = xcalloc(n, sizeof(*turns));
    int rc = 0;
    memcpy(turns, v, n * sizeof(*turns));
    qsort(turns, n, sizeof(*turns), by_turn);
    for (size_t first = 0, end; first < n && rc == 0 && !run_stopped(); first = end) {
        for (end = first; end < n && turns[end].run->cell->task == turns[first].run->cell->task;)
            end++;
        rc = run_task(r, model, turns + first, end - first, err);
    }
    free(turns);
    return rc;
}
