/*
 * bench_gpu.c: our side of `make bench-gpu`; tests/bench_gpu.py is the other. Both open the same
 * folder of random weights, are given the same token ids, and print a line MEASURE <tab> VALUE <tab>
 * UNIT for each repetition; scripts/bench-gpu runs them in turns.
 *
 *   bench_gpu DEVICE DTYPE DIR JOB ...     the jobs one behind the other, on a model opened once
 *
 *   decode ROUTER BATCH PROMPT NEW REPEATS
 *       decode-ROUTER-BATCH-PROMPT: new tokens/s, the prompt's time counted in
 *       step-ROUTER-BATCH-PROMPT: ms of a step alone
 *       memory-ROUTER-BATCH-PROMPT: MB of the GPU
 *   score ROUTER SEQUENCES TOKENS REPEATS
 *       score-ROUTER-SEQUENCES-TOKENS: tokens/s
 *   train ROUTER SEQUENCES TOKENS REPEATS
 *       train-ROUTER-SEQUENCES-TOKENS: tokens/s, forward and backward; the last job
 *       update-ROUTER-SEQUENCES-TOKENS: ms of the step of adamw8bit that follows, its norm counted in
 *       memory-train: MB of the GPU, the step of adamw8bit counted in
 *
 * ROUTER: topk, or online, which is seqtopk { mode = "online" } with its default bounds; K is the
 * model's own. BATCH texts at once, all of one length.
 */
#include "engine.h"
#include "sample.h"
#include "trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct engine *engine;
static struct device device;
static enum dtype dtype;
static struct weights *weights;
static struct model *model;
static const struct router *router;
static struct router_args args;
static char *job; /* "topk-32-128" */

/* As tests/bench_gpu.py draws them. */
static int32_t *random_ids(int n)
{
    int32_t *ids = xmalloc((size_t)n * sizeof(*ids));
    uint32_t seed = 1;
    for (int i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = (int32_t)((seed >> 8) % (uint32_t)weights->config.vocab);
    }
    return ids;
}

static double median(double *v, int n)
{
    for (int i = 1; i < n; i++)
        for (int j = i; j > 0 && v[j] < v[j - 1]; j--) {
            double t = v[j];
            v[j] = v[j - 1];
            v[j - 1] = t;
        }
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* What the driver says that all processes use of the first GPU, MB; 0: there is
 * no driver to ask. */
static double memory_used(void)
{
    double mb = 0;
    FILE *f = device.kind == DEVICE_CPU ? NULL
                                        : popen("nvidia-smi --query-gpu=memory.used "
                                                "--format=csv,noheader,nounits",
                                                "r");
    if (f && fscanf(f, "%lf", &mb) != 1)
        mb = 0;
    if (f)
        pclose(f);
    return mb;
}

/* ---- decoding ---- */

struct writing {
    struct decoder *d;
    struct feed *feeds;
    struct sampler *samplers;
    int32_t *next; /* [batch] */
    struct scored scored;
    int batch;
};

static void writing_step(struct writing *w)
{
    struct buf err = BUF_INIT;
    if (engine->decode(w->d, w->feeds, w->batch, &w->scored, &err))
        die(1, "%s", err.s);
}

/* Every text's prompt, then `new` tokens, the first of which the prompt gives.
 * step_ms: [new - 1] */
static void write_texts(struct writing *w, const int32_t *ids, int prompt, int new, double *step_ms)
{
    for (int i = 0; i < w->batch; i++) {
        w->samplers[i] = (struct sampler){ 0, 1, 0 };
        w->feeds[i] =
            (struct feed){ i, ids + (size_t)i * (size_t)prompt, prompt, &w->samplers[i], 0, 0 };
        engine->decoder_begin(w->d, i, router, &args);
    }
    writing_step(w);
    for (int t = 0; t + 1 < new; t++) {
        double from = now_seconds();
        for (int i = 0; i < w->batch; i++) {
            w->next[i] = w->feeds[i].next;
            w->feeds[i].ids = &w->next[i];
            w->feeds[i].tokens = 1;
        }
        writing_step(w);
        step_ms[t] = (now_seconds() - from) * 1e3;
    }
}

static void bench_decode(char **argv)
{
    const int batch = atoi(argv[0]), prompt = atoi(argv[1]), new = atoi(argv[2]);
    struct buf err = BUF_INIT;
    struct writing w = { .batch = batch };
    w.d = engine->decoder_open(model, batch, prompt + new, &err);
    if (!w.d)
        die(1, "%s", err.s);
    w.feeds = xcalloc((size_t)batch, sizeof(*w.feeds));
    w.samplers = xcalloc((size_t)batch, sizeof(*w.samplers));
    w.next = xcalloc((size_t)batch, sizeof(*w.next));
    int32_t *ids = random_ids(batch * prompt);
    double *step_ms = xcalloc((size_t) new, sizeof(*step_ms));
    for (int r = -1; r < atoi(argv[3]); r++) {
        double from = now_seconds();
        write_texts(&w, ids, prompt, new, step_ms);
        double seconds = now_seconds() - from;
        if (r < 0)
            continue;
        printf("decode-%s\t%.2f\ttokens/s\n", job, batch * new / seconds);
        printf("step-%s\t%.4f\tms\n", job, median(step_ms, new - 1));
    }
    printf("memory-%s\t%.0f\tMB\n", job, memory_used());
    scored_release(&w.scored);
    engine->decoder_close(w.d);
    free(step_ms);
    free(ids);
    free(w.next);
    free(w.samplers);
    free(w.feeds);
}

/* ---- scoring and training ---- */

struct sequences {
    int32_t *ids;
    struct sequence *sequences;
    struct pool *pools;
    int *loss_from;
    struct batch batch;
};

static struct sequences sequences_new(int n, int tokens)
{
    struct sequences s = { .ids = random_ids(n * tokens),
                           .sequences = xcalloc((size_t)n, sizeof(*s.sequences)),
                           .pools = xcalloc((size_t)n, sizeof(*s.pools)),
                           .loss_from = xcalloc((size_t)n, sizeof(*s.loss_from)) };
    for (int i = 0; i < n; i++) {
        s.sequences[i] = (struct sequence){ s.ids + (size_t)i * (size_t)tokens, tokens };
        s.pools[i] = (struct pool){ router, args, 1, 0 };
        s.loss_from[i] = 1;
    }
    s.batch = (struct batch){ s.sequences, n, s.pools, n };
    return s;
}

static void sequences_free(struct sequences *s)
{
    free(s->ids);
    free(s->sequences);
    free(s->pools);
    free(s->loss_from);
}

static void bench_score(char **argv)
{
    const int n = atoi(argv[0]), tokens = atoi(argv[1]);
    struct buf err = BUF_INIT;
    struct sequences s = sequences_new(n, tokens);
    struct scored out = { 0 };
    for (int r = -2; r < atoi(argv[2]); r++) {
        double from = now_seconds(), sum = 0;
        if (engine->score(model, &s.batch, &out, &err))
            break;
        double seconds = now_seconds() - from;
        if (r >= 0)
            printf("score-%s\t%.1f\ttokens/s\n", job, n * tokens / seconds);
        for (int t = 0; t < n * tokens; t++)
            sum += t % tokens ? (double)out.nll[t] : 0;
        if (r == 0)
            printf("score-loss\t%.4f\tnats\n", sum / (n * (tokens - 1)));
    }
    if (err.len)
        die(1, "%s", err.s);
    scored_release(&out);
    sequences_free(&s);
}

static void bench_train(char **argv)
{
    const int n = atoi(argv[0]), tokens = atoi(argv[1]);
    const struct training how = { .beta1 = 0.9,
                                  .beta2 = 0.999,
                                  .only = TRAIN_ALL,
                                  .dtype = dtype,
                                  .optimiser = OPTIMISER_ADAMW8BIT };
    struct buf err = BUF_INIT;
    struct sequences s = sequences_new(n, tokens);
    struct piece piece = { .batch = s.batch,
                           .loss_from = s.loss_from,
                           .nll_weight = 1.0 / ((double)n * (tokens - 1)) };
    struct piece_result out = { 0 };
    engine->close(model); // there may be no room for both
    model = NULL;
    bool steps = true;
    struct trainer *t = engine->trainer->open(weights, device, &how, 1, &err);
    for (int r = -2; t && r < atoi(argv[2]); r++) {
        double from = now_seconds(), norm;
        if (engine->trainer->gradient(t, 0, &piece, &out, &err))
            break;
        double seconds = now_seconds() - from;
        // Each pass is the first of its step, as on the other side; the step itself, of nothing,
        // shows what memory all of it takes, and how long.
        double begun = now_seconds();
        if (steps &&
            (engine->trainer->add(t, 1, &err) || engine->trainer->step(t, 0, 0, &norm, &err))) {
            warning("bench_gpu: no step was done, so passes add up: %s", err.s);
            buf_reset(&err);
            steps = false;
        }
        double update = now_seconds() - begun;
        if (r >= 0)
            printf("train-%s\t%.1f\ttokens/s\n", job, n * tokens / seconds);
        if (r >= 0 && steps)
            printf("update-%s\t%.2f\tms\n", job, update * 1e3);
        if (r == 0)
            printf("train-loss\t%.4f\tnats\n", out.nll * piece.nll_weight);
    }
    if (err.len)
        die(1, "%s", err.s);
    printf("memory-train\t%.0f\tMB\n", memory_used());
    piece_result_release(&out);
    engine->trainer->close(t);
    sequences_free(&s);
}

static void choose_router(const char *name)
{
    const struct model_config *c = &weights->config;
    args = (struct router_args){ .K = c->top_k, .N = c->experts };
    router = &router_topk;
    if (strcmp(name, "online") == 0) {
        router = &router_seqtopk;
        args.mode = 1;
        args.min = 1;
        args.max = c->top_k + 2 < c->experts ? c->top_k + 2 : c->experts;
    } else if (strcmp(name, "topk") != 0) {
        die(2, "bench_gpu: router %s; topk and online are timed", name);
    }
}

/* Does the job at argv; returns how many words it is. */
static int do_job(int argc, char **argv)
{
    static const struct {
        const char *name;
        int nargs;
        void (*run)(char **);
    } modes[] = { { "decode", 4, bench_decode },
                  { "score", 3, bench_score },
                  { "train", 3, bench_train } };
    struct buf err = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (argc < modes[i].nargs + 2 || strcmp(argv[0], modes[i].name) != 0)
            continue;
        choose_router(argv[1]);
        job = xasprintf("%s-%s-%s", argv[1], argv[2], argv[3]);
        if (!model && !(model = engine->open(weights, device, dtype, &err)))
            die(1, "%s", err.s);
        modes[i].run(argv + 2);
        free(job);
        return modes[i].nargs + 2;
    }
    die(2, "bench_gpu: %s: see tests/bench_gpu.c", argv[0]);
}

int main(int argc, char **argv)
{
    struct buf err = BUF_INIT;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 5)
        die(2, "bench_gpu DEVICE DTYPE DIR JOB ...: see tests/bench_gpu.c");
    dtype = strcmp(argv[2], "bfloat16") == 0 ? DTYPE_BF16 : DTYPE_F32;
    engine = engine_open(&err);
    if (!engine || engine->device_parse(argv[1], &device, &err))
        die(1, "%s", err.s);
    weights = weights_open(argv[3], &err);
    if (!weights)
        die(1, "%s", err.s);
    for (int i = 4; i < argc;)
        i += do_job(argc - i, argv + i);
    engine->close(model);
    weights_close(weights);
    return 0;
}
