/*
 * bench.c: times the hot paths after a warm-up and prints each measurement on a line of its own:
 * name, value, unit. `make bench` runs it side by side with bench.py and takes the medians.
 *
 *   bench score MODEL_DIR SEQUENCES TOKENS REPEATS   tokens/s under TopK, all cores
 *   bench online                                     ns a token of Online SeqTopK, by position
 *   bench decode MODEL_DIR PROMPTS MAX_TOKENS BATCH OUT
 *       new tokens/s of greedy decoding under TopK, BATCH texts at a time on each core, no stop
 *       strings. PROMPTS has a line {"ids": [...]} each, OUT gets the same with what was written
 *   bench train MODEL_DIR SEQUENCES TOKENS STEPS     tokens/s of each step of training under TopK,
 *       forward, backward and AdamW, all tokens counted, all cores; and seconds for 100 such steps
 *   bench sandbox PROGRAMS                           programs/s that pass, all cores
 *
 * and what the others work on, or came to:
 *
 *   bench prompts MODEL_DIR COUNT [FILE]   the first prompts of gsm8k/densemixer-0shot (of FILE)
 *   bench scores DB                        tokens and score of a run of gsm8k/densemixer-0shot
 */
#include "engine.h"
#include "generate.h"
#include "json.h"
#include "recipe/data.h"
#include "recipe/data_file.h"
#include "routers/expert_cache.h"
#include "score/sandbox.h"
#include "store/results.h"
#include "trainer.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TASK "gsm8k/densemixer-0shot"

static const struct engine *engine;

static int cores(void)
{
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
}

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

static struct model *open_model(const char *dir, struct weights **weights)
{
    struct buf err = BUF_INIT;
    struct model *m = NULL;
    engine = engine_open(&err);
    *weights = engine ? weights_open(dir, &err) : NULL;
    if (*weights)
        m = engine->open(*weights, (struct device){ DEVICE_CPU, 0 }, DTYPE_F32, &err);
    if (!m)
        die(1, "%s", err.s);
    return m;
}

/* Sequences of random tokens, shared out to the cores; tokens/s of each repetition. */
static void bench_score(char **argv)
{
    const int n = atoi(argv[1]), tokens = atoi(argv[2]), repeats = atoi(argv[3]);
    struct weights *weights;
    struct model *m = open_model(argv[0], &weights);
    int nworkers = cores() > n ? n : cores();
    int32_t *ids = xmalloc((size_t)n * (size_t)tokens * sizeof(*ids));
    struct sequence *sequences = xcalloc((size_t)n, sizeof(*sequences));
    struct pool *pools = xcalloc((size_t)n, sizeof(*pools));
    struct worker *workers = xcalloc((size_t)nworkers, sizeof(*workers));
    uint32_t seed = 1;
    for (int i = 0; i < n * tokens; i++)
        ids[i] = (int32_t)(draw(&seed) % (uint32_t)weights->config.vocab);
    for (int i = 0; i < n; i++) {
        sequences[i] = (struct sequence){ ids + (size_t)i * (size_t)tokens, tokens };
        pools[i].router = &router_topk;
        pools[i].args.K = weights->config.top_k;
        pools[i].args.N = weights->config.experts;
        pools[i].sequences = 1;
    }
    for (int r = -2; r < repeats; r++) {
        double from = now_seconds();
        for (int w = 0; w < nworkers; w++) {
            int first = n * w / nworkers, share = n * (w + 1) / nworkers - first;
            workers[w].model = m;
            workers[w].batch = (struct batch){ sequences + first, share, pools + first, share };
            pthread_create(&workers[w].thread, NULL, work, &workers[w]);
        }
        for (int w = 0; w < nworkers; w++)
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

/* ---- training ---- */

/* A step's batch: sequences of random tokens, the pieces that they are cut into, and who takes them. */
struct lesson {
    const struct trainer_functions *trainer;
    struct trainer *t;
    int32_t *ids;
    struct sequence *sequences;
    struct pool *pools;
    int *loss_from;
    struct piece *pieces;
    int npieces;
};

static void lesson_make(struct lesson *l, const struct model_config *c, int n, int tokens, int each)
{
    uint32_t seed = 1;
    l->ids = xmalloc((size_t)n * (size_t)tokens * sizeof(*l->ids));
    l->sequences = xcalloc((size_t)n, sizeof(*l->sequences));
    l->pools = xcalloc((size_t)n, sizeof(*l->pools));
    l->loss_from = xcalloc((size_t)n, sizeof(*l->loss_from));
    l->pieces = xcalloc((size_t)n, sizeof(*l->pieces));
    l->npieces = 0;
    for (int i = 0; i < n * tokens; i++)
        l->ids[i] = (int32_t)(draw(&seed) % (uint32_t)c->vocab);
    for (int i = 0; i < n; i++) {
        l->sequences[i] = (struct sequence){ l->ids + (size_t)i * (size_t)tokens, tokens };
        l->pools[i] = (struct pool){ &router_topk, { .K = c->top_k, .N = c->experts }, 1, 0 };
        l->loss_from[i] = 1;
    }
    for (int i = 0; i < n; i += each) {
        int share = n - i < each ? n - i : each;
        l->pieces[l->npieces++] =
            (struct piece){ .batch = { l->sequences + i, share, l->pools + i, share },
                            .loss_from = l->loss_from + i,
                            .nll_weight = 1.0 / ((double)n * (tokens - 1)),
                            .aux_weight = (double)share / n };
    }
}

static void lesson_release(struct lesson *l)
{
    free(l->ids);
    free(l->sequences);
    free(l->pools);
    free(l->loss_from);
    free(l->pieces);
}

struct learner {
    pthread_t thread;
    const struct lesson *lesson;
    int slot, piece;
    double nll;
};

static void *learn(void *arg)
{
    struct learner *w = arg;
    struct piece_result r = { 0 };
    struct buf err = BUF_INIT;
    const struct lesson *l = w->lesson;
    if (l->trainer->gradient(l->t, w->slot, &l->pieces[w->piece], &r, &err))
        die(1, "%s", err.s);
    w->nll = r.nll;
    piece_result_release(&r);
    return NULL;
}

/* One step; returns its loss. */
static double lesson_step(const struct lesson *l, int slots, struct learner *learners)
{
    struct buf err = BUF_INIT;
    double norm, loss = 0;
    for (int from = 0; from < l->npieces; from += slots) {
        int n = l->npieces - from < slots ? l->npieces - from : slots;
        for (int i = 0; i < n; i++) {
            learners[i].lesson = l;
            learners[i].slot = i;
            learners[i].piece = from + i;
            pthread_create(&learners[i].thread, NULL, learn, &learners[i]);
        }
        for (int i = 0; i < n; i++) {
            pthread_join(learners[i].thread, NULL);
            loss += learners[i].nll * l->pieces[0].nll_weight;
        }
        if (l->trainer->add(l->t, n, &err))
            die(1, "%s", err.s);
    }
    if (l->trainer->step(l->t, 1e-4, 1, &norm, &err))
        die(1, "%s", err.s);
    return loss;
}

static void bench_train(char **argv)
{
    enum { PIECE = 2048 }; // tokens, about
    const int n = atoi(argv[1]), tokens = atoi(argv[2]), steps = atoi(argv[3]), slots = cores();
    const struct training how = {
        .beta1 = 0.9, .beta2 = 0.999, .weight_decay = 0.01, .only = TRAIN_ALL, .dtype = DTYPE_F32
    };
    struct buf err = BUF_INIT;
    struct lesson l = { 0 };
    struct weights *weights = weights_open(argv[0], &err);
    engine = weights ? engine_open(&err) : NULL;
    l.trainer = engine ? engine->trainer : NULL;
    l.t = engine ? l.trainer->open(weights, (struct device){ DEVICE_CPU, 0 }, &how, slots, &err)
                 : NULL;
    if (!l.t)
        die(1, "%s", err.s);
    struct learner *learners = xcalloc((size_t)slots, sizeof(*learners));
    lesson_make(&l, &weights->config, n, tokens, PIECE > tokens ? PIECE / tokens : 1);
    double seconds = 0;
    lesson_step(&l, slots, learners); // to warm up
    for (int s = 0; s < steps; s++) {
        double from = now_seconds(), loss = lesson_step(&l, slots, learners);
        double step = now_seconds() - from;
        seconds += step;
        printf("train\t%.1f\ttokens/s\n", n * tokens / step);
        if (s == 0)
            printf("train-loss\t%.5f\tnats\n", loss); // after the step of the warm-up
    }
    printf("train-100\t%.1f\ts\n", seconds / steps * 100);
    free(learners);
    lesson_release(&l);
    l.trainer->close(l.t);
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
static void bench_online(char **argv)
{
    (void)argv;
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

struct programs {
    pthread_t thread;
    struct sandbox *sandbox;
    int n;
};

static void *run_programs(void *arg)
{
    struct programs *p = arg;
    struct buf err = BUF_INIT;
    struct outcome_of o;
    static const char program[] = "def f(x):\n    return x + 1\nassert f(1) == 2\n";
    for (int i = 0; i < p->n; i++)
        if (sandbox_run(p->sandbox, program, strlen(program), 3000, &o, &err) != 0)
            die(1, "%s", err.s);
        else if (o.outcome != OUTCOME_PASSED)
            die(1, "a program that is right: %s", outcome_name(&o));
    return NULL;
}

/* From a process of half a gigabyte, as one with a model is: starting a child may not copy that. */
static void bench_sandbox(char **argv)
{
    enum { THREADS = 64 };
    const int n = atoi(argv[0]), threads = cores() > THREADS ? THREADS : cores();
    const size_t resident = (size_t)512 << 20;
    struct programs programs[THREADS];
    struct buf err = BUF_INIT;
    struct sandbox *s = sandbox_open(&err);
    if (!s)
        die(1, "%s", err.s);
    char *memory = xmalloc(resident);
    memset(memory, 1, resident);
    double from = now_seconds();
    for (int i = 0; i < threads; i++) {
        programs[i].sandbox = s;
        programs[i].n = n * (i + 1) / threads - n * i / threads;
        pthread_create(&programs[i].thread, NULL, run_programs, &programs[i]);
    }
    for (int i = 0; i < threads; i++)
        pthread_join(programs[i].thread, NULL);
    printf("sandbox\t%.1f\tprograms/s\n", n / (now_seconds() - from));
    free(memory);
    sandbox_close(s);
}

/* ---- decoding ---- */

/* A prompt, and what is written behind it. */
struct text {
    struct ids prompt;
    struct generation generation;
};

struct texts {
    struct text *v;
    size_t len, cap;
};

static int add_prompt(void *ud, json_t *object, const char *where, struct buf *err)
{
    struct texts *x = ud;
    struct json_in in = { object, where, err };
    const json_t *ids;
    if (json_need_array(&in, "ids", &ids) != 0)
        return -1;
    ARRAY_GROW(x->v, x->cap, x->len + 1);
    struct text *t = &x->v[x->len++];
    *t = (struct text){ 0 };
    for (size_t i = 0; i < json_array_size(ids); i++)
        ids_push(&t->prompt, (int32_t)json_integer_value(json_array_get(ids, i)));
    return 0;
}

static struct texts read_prompts(const char *path)
{
    struct buf err = BUF_INIT;
    struct data_file file;
    struct texts x = { 0 };
    if (data_file_read(&file, path, NULL, &err) != 0 ||
        data_file_each(&file, &(struct eval_rows){ 0 }, 0, add_prompt, &x, &err) != 0)
        die(1, "%s", err.s);
    data_file_release(&file);
    return x;
}

/* Continues the first n texts; returns how many tokens were written. */
static int64_t write_texts(struct generator *g, const struct model_config *c, struct texts *x,
                           size_t n, int max_tokens)
{
    const struct decoding greedy = { .max_tokens = max_tokens, .top_p = 1 };
    int64_t tokens = 0;
    for (size_t i = 0; i < n; i++) {
        struct text *t = &x->v[i];
        generation_release(&t->generation);
        t->generation = (struct generation){ .prompt = t->prompt.v,
                                             .prompt_tokens = (int)t->prompt.len,
                                             .router = &router_topk,
                                             .args = { .K = c->top_k, .N = c->experts },
                                             .decoding = &greedy };
        generator_put(g, &t->generation);
    }
    for (struct generation *t; (t = generator_take(g)) != NULL;) {
        if (t->rc)
            die(1, "%s", t->err.s);
        tokens += (int64_t)t->ids.len - t->prompt_tokens;
    }
    return tokens;
}

static void print_ids(FILE *to, const int32_t *ids, size_t n)
{
    fputs("{\"ids\": [", to);
    for (size_t i = 0; i < n; i++)
        fprintf(to, "%s%d", i ? ", " : "", (int)ids[i]);
    fputs("]}\n", to);
}

static void bench_decode(char **argv)
{
    struct buf err = BUF_INIT;
    struct weights *weights;
    struct model *m = open_model(argv[0], &weights);
    struct texts x = read_prompts(argv[1]);
    char *path = xasprintf("%s/tokenizer.json", argv[0]);
    struct generator_spec spec = { .engine = engine,
                                   .model = m,
                                   .config = &weights->config,
                                   .tokenizer = tokenizer_open(path, &err),
                                   .threads = cores(),
                                   .slots = atoi(argv[3]),
                                   .capacity = weights->config.context };
    struct generator *g = spec.tokenizer ? generator_new(&spec, &err) : NULL;
    FILE *out = fopen(argv[4], "w");
    if (!g || !out)
        die(1, "%s", g ? strerror(errno) : err.s);
    write_texts(g, spec.config, &x, x.len < 8 ? x.len : 8, 16); // to warm up
    double from = now_seconds();
    int64_t tokens = write_texts(g, spec.config, &x, x.len, atoi(argv[2]));
    printf("decode-%zu\t%.1f\ttokens/s\n", x.len, (double)tokens / (now_seconds() - from));
    for (size_t i = 0; i < x.len; i++) {
        struct generation *t = &x.v[i].generation;
        print_ids(out, t->ids.v + t->prompt_tokens, t->ids.len - (size_t)t->prompt_tokens);
        generation_release(t);
        free(x.v[i].prompt.v);
    }
    if (fclose(out) != 0)
        die(1, "%s: %s", argv[4], strerror(errno));
    free(x.v);
    generator_free(g);
    tokenizer_free((struct tokenizer *)spec.tokenizer);
    free(path);
    engine->close(m);
    weights_close(weights);
}

static void print_prompts(char **argv)
{
    struct buf err = BUF_INIT;
    struct task task;
    struct documents d;
    struct weights *weights = weights_open(argv[0], &err);
    char *path = xasprintf("%s/tokenizer.json", argv[0]);
    struct tokenizer *tokenizer = weights ? tokenizer_open(path, &err) : NULL;
    if (!tokenizer || task_named(TASK, argv[2], atoi(argv[1]), &task, &err) != 0 ||
        documents_read(&task, tokenizer, weights->config.context, &d, &err) != 0)
        die(1, "%s", err.s);
    for (size_t i = 0; i < d.len; i++)
        print_ids(stdout, d.v[i].ids.v, d.v[i].ids.len);
    documents_release(&d);
    task_release(&task);
    tokenizer_free(tokenizer);
    free(path);
    weights_close(weights);
}

static void print_scores(char **argv)
{
    struct buf err = BUF_INIT;
    struct results r = { 0 };
    struct store *s = store_open(argv[0], STORE_READ, &err);
    if (!s || results_read(s, NULL, &r, &err) != 0)
        die(1, "%s", err.s);
    const struct result_metric *score = r.len ? result_metric(r.v, "exact_match") : NULL;
    const struct result_metric *tokens = r.len ? result_metric(r.v, "output_tokens") : NULL;
    if (!score || !tokens)
        die(1, "%s: no cell of " TASK " is done", argv[0]);
    printf("gsm8k-items\t%lld\titems\n", (long long)score->n);
    printf("gsm8k-tokens\t%.0f\ttokens\n", tokens->value * (double)tokens->n);
    printf("gsm8k-score\t%.5f\texact match\n", score->value);
    printf("gsm8k-stderr\t%.5f\texact match\n", score->stderr_);
    results_release(&r);
    store_close(s);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int min, max; // of its words
        void (*run)(char **argv);
    } modes[] = {
        { "score", 4, 4, bench_score },     { "online", 0, 0, bench_online },
        { "train", 4, 4, bench_train },     { "decode", 5, 5, bench_decode },
        { "sandbox", 1, 1, bench_sandbox }, { "prompts", 2, 3, print_prompts },
        { "scores", 1, 1, print_scores },
    };
    for (size_t i = 0; i < ARRAY_LEN(modes) && argc > 1; i++)
        if (strcmp(argv[1], modes[i].name) == 0 && argc - 2 >= modes[i].min &&
            argc - 2 <= modes[i].max) {
            modes[i].run(argv + 2);
            return 0;
        }
    die(2, "bench score, online, train, decode, sandbox, prompts or scores; bench.c says what each "
           "takes");
}
