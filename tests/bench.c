/*
 * bench.c: times the hot paths after a warm-up and prints each measurement on a line of its own:
 * name, value, unit. `make bench` runs it side by side with bench.py and takes the medians.
 *
 *   bench score MODEL_DIR SEQUENCES TOKENS REPEATS   tokens/s under TopK, all cores
 *   bench online                                     ns a token of Online SeqTopK, by position
 */
#include "engine.h"
#include "routers/expert_cache.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct engine *engine;

static uint32_t draw(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

struct worker {
    pthread_t thread;
    struct model *model;
    struct batch batch;
};

static void *work(void *arg)
{
    struct worker *w = arg;
    struct scored s = { 0 };
    struct buf err = BUF_INIT;
    if (engine->score(w->model, &w->batch, &s, &err))
        die(1, "%s", err.s);
    scored_release(&s);
    return NULL;
}

/* `n` sequences of `tokens` tokens, shared out to the cores; tokens/s of each repetition. */
static void bench_score(const char *dir, int n, int tokens, int repeats)
{
    struct buf err = BUF_INIT;
    struct weights *weights = weights_open(dir, &err);
    struct model *m =
        weights ? engine->open(weights, (struct device){ DEVICE_CPU, 0 }, DTYPE_F32, &err) : NULL;
    if (!m)
        die(1, "%s", err.s);
    int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    cores = cores > n ? n : cores;
    int32_t *ids = xmalloc((size_t)n * (size_t)tokens * sizeof(*ids));
    struct sequence *sequences = xcalloc((size_t)n, sizeof(*sequences));
    struct pool *pools = xcalloc((size_t)n, sizeof(*pools));
    struct worker *workers = xcalloc((size_t)cores, sizeof(*workers));
    uint32_t seed = 1;
    for (int i = 0; i < n * tokens; i++)
        ids[i] = (int32_t)(draw(&seed) % (uint32_t)weights->config.vocab);
    for (int i = 0; i < n; i++) {
        sequences[i] = (struct sequence){ ids + i * tokens, tokens };
        pools[i].router = &router_topk;
        pools[i].args.K = weights->config.top_k;
        pools[i].args.N = weights->config.experts;
        pools[i].sequences = 1;
    }
    for (int r = -2; r < repeats; r++) {
        double from = now_seconds();
        for (int w = 0; w < cores; w++) {
            int first = n * w / cores, share = n * (w + 1) / cores - first;
            workers[w].model = m;
            workers[w].batch = (struct batch){ sequences + first, share, pools + first, share };
            pthread_create(&workers[w].thread, NULL, work, &workers[w]);
        }
        for (int w = 0; w < cores; w++)
            pthread_join(workers[w].thread, NULL);
        if (r >= 0)
            printf("score\t%.1f\ttokens/s\n", n * tokens / (now_seconds() - from));
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("resident\t%.1f\tMB\n", (double)usage.ru_maxrss / 1024);
    free(workers);
    free(pools);
    free(sequences);
    free(ids);
    engine->close(m);
    weights_close(weights);
}

/* Rows of a softmax over random logits. rows: [n, N] */
static void fill_rows(float *rows, int n, int N, uint32_t *seed)
{
    for (int i = 0; i < n; i++) {
        float sum = 0, *row = rows + (size_t)i * (size_t)N;
        for (int e = 0; e < N; e++)
            sum += row[e] = expf(4.0f * (float)draw(seed) / 16777216.0f);
        for (int e = 0; e < N; e++)
            row[e] /= sum;
    }
}

/* The cost of one token after 1k, 16k and 128k others, whole selection included. */
static void bench_online(void)
{
    enum { N = 64, STEP = 512, END = 131072 };
    static float rows[STEP * N];
    struct router_args a = { .K = 8, .N = N, .mode = 1, .min = 1, .max = 10 };
    struct router_state *state = router_seqtopk.open(&a);
    struct selection sel = { 0 };
    uint32_t seed = 7;
    for (int t = 0; t < END; t += STEP) {
        fill_rows(rows, STEP, N, &seed);
        selection_reset(&sel);
        double from = now_seconds();
        router_seqtopk.select(&a, state, rows, STEP, &sel);
        double ns = (now_seconds() - from) * 1e9 / STEP;
        int end = t + STEP;
        // The eight blocks before each of the three positions, or what there is of them.
        if (end <= 1024 || (end > 16384 - 8 * STEP && end <= 16384) || end > END - 8 * STEP)
            printf("online-%dk\t%.1f\tns/token\n", end <= 1024 ? 1 : end <= 16384 ? 16 : 128, ns);
    }
    router_seqtopk.close(state);
    selection_release(&sel);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "online") == 0) {
        bench_online();
        return 0;
    }
    if (argc != 6 || strcmp(argv[1], "score") != 0)
        die(2, "bench score MODEL_DIR SEQUENCES TOKENS REPEATS, or bench online");
    struct buf err = BUF_INIT;
    engine = engine_open(&err);
    if (!engine)
        die(1, "%s", err.s);
    bench_score(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]));
    return 0;
}
