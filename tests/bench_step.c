/*
 * bench_step.c: milliseconds of a decoding step on a GPU, for models of a given shape with random
 * weights, made in the GPU's memory without files:
 *
 *     bench-step [--shape olmoe|qwen2_moe|qwen3_moe|mixtral|tiny] [--batch 1,32] [--position 256,4096]
 *               [--steps 60] [--no-overlap] [--no-graph]
 *
 * One line for each batch, position and router: medians, tokens a second, how many experts a token
 * took and the bytes of weights, keys and values that a step read (of experts those that were taken),
 * both on average, and what share of 3.0 TB/s that is, and the Expert Cache's cost beside topk.
 * Leaves out: prompts, tokenizer, database; `make bench` times those.
 */
#include "cuda_device.h"
#include "cuda/step.h"
#include "routers/router.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct named_shape {
    const char *name;
    struct step_shape shape;
    int K;
    bool norms; // of queries and keys, each of all heads together
} shapes[] = {
    { "olmoe",
      { .layers = 16,
        .hidden = 2048,
        .heads = 16,
        .kv_heads = 16,
        .head_dim = 128,
        .vocab = 50304,
        .context = 8192,
        .experts = 64,
        .expert_ffn = 1024,
        .eps = 1e-5f,
        .half = true },
      8,
      true },
    { "qwen2_moe",
      { .layers = 24,
        .hidden = 2048,
        .heads = 16,
        .kv_heads = 16,
        .head_dim = 128,
        .vocab = 151936,
        .context = 8192,
        .experts = 60,
        .expert_ffn = 1408,
        .shared_ffn = 5632,
        .eps = 1e-6f,
        .half = true },
      4,
      false },
    { "qwen3_moe", // of 30B-A3B a quarter of the layers
      { .layers = 12,
        .hidden = 2048,
        .heads = 32,
        .kv_heads = 4,
        .head_dim = 128,
        .vocab = 151936,
        .context = 8192,
        .experts = 128,
        .expert_ffn = 768,
        .eps = 1e-6f,
        .half = true,
        .norm_heads = true,
        .normalise = true },
      8,
      false },
    { "mixtral", // of 8x7B a quarter of the layers
      { .layers = 8,
        .hidden = 4096,
        .heads = 32,
        .kv_heads = 8,
        .head_dim = 128,
        .vocab = 32000,
        .context = 8192,
        .experts = 8,
        .expert_ffn = 14336,
        .eps = 1e-5f,
        .half = true,
        .normalise = true },
      2,
      false },
    { "tiny",
      { .layers = 2,
        .hidden = 64,
        .heads = 4,
        .kv_heads = 2,
        .head_dim = 16,
        .vocab = 300,
        .context = 8192,
        .experts = 16,
        .expert_ffn = 32,
        .shared_ffn = 48,
        .eps = 1e-5f,
        .half = true },
      4,
      false },
};

enum { SAMPLE = 1 << 24, MOST_NUMBERS = 8 };

/* Random values that all tensors are filled from. */
static uint16_t *sample;

static void make_sample(void)
{
    uint32_t seed = 1;
    sample = xmalloc(SAMPLE * sizeof(*sample));
    for (size_t i = 0; i < SAMPLE; i++) {
        seed = seed * 1664525u + 1013904223u;
        float x = ((float)(seed >> 8) / (1 << 23) - 1) * 0.03f;
        uint32_t bits;
        memcpy(&bits, &x, sizeof(bits));
        sample[i] = (uint16_t)(bits >> 16);
    }
}

static size_t made;

/* bfloat16 on the device, up to 0.03 either way. */
static void *random_values(int64_t count)
{
    char *p = cuda_device_new(NULL, (size_t)count * 2);
    for (int64_t at = 0; at < count; at += SAMPLE)
        cuda_device_put(p + at * 2, sample,
                        (size_t)(count - at < SAMPLE ? count - at : SAMPLE) * 2);
    made += (size_t)count * 2;
    return p;
}

static void *ones(int64_t count)
{
    uint16_t *v = xmalloc((size_t)count * 2);
    for (int64_t i = 0; i < count; i++)
        v[i] = 0x3f80;
    void *p = cuda_device_new(v, (size_t)count * 2);
    free(v);
    return p;
}

static struct step_layer random_layer(const struct step_spec *spec, bool norms)
{
    const struct step_shape *s = &spec->shape;
    int64_t d = s->hidden, N = s->experts, F = s->expert_ffn, Fs = s->shared_ffn;
    int64_t q = (int64_t)s->heads * s->head_dim, kv = (int64_t)s->kv_heads * s->head_dim;
    int64_t cache = (int64_t)spec->slots * spec->capacity * kv;
    return (struct step_layer){
        .attn_norm = ones(d),
        .qkv = random_values((q + 2 * kv) * d),
        .q_norm = s->norm_heads ? ones(s->head_dim)
                  : norms       ? ones(q)
                                : NULL,
        .k_norm = s->norm_heads ? ones(s->head_dim)
                  : norms       ? ones(kv)
                                : NULL,
        .o = random_values(d * q),
        .ffn_norm = ones(d),
        .router = random_values(N * d),
        .gate_up = random_values(N * 2 * F * d),
        .down = random_values(N * d * F),
        .shared_gate_up = Fs ? random_values(2 * Fs * d) : NULL,
        .shared_down = Fs ? random_values(d * Fs) : NULL,
        .shared_gate = Fs ? random_values(d) : NULL,
        .keys = random_values(cache),
        .values = random_values(cache),
    };
}

static const float *angles(const struct step_shape *s, float (*f)(float))
{
    size_t half = (size_t)s->head_dim / 2, n = (size_t)s->context * half;
    float *v = xmalloc(n * sizeof(*v));
    for (size_t i = 0; i < n; i++)
        v[i] = f((float)(i / half) * powf(10000, -(float)(i % half) / (float)half));
    const float *p = cuda_device_new(v, n * sizeof(*v));
    free(v);
    return p;
}

/* Scores [tokens, N] on the device, spread as those of the random model are. */
static float *random_scores(int tokens, const struct step_shape *s)
{
    const int N = s->experts;
    const float spread =
        0.03f * sqrtf((float)s->hidden); // four uniform numbers come near a normal one
    float *v = xmalloc((size_t)tokens * (size_t)N * sizeof(*v));
    for (int t = 0; t < tokens; t++) {
        float sum = 0, *row = v + (size_t)t * (size_t)N;
        for (int e = 0; e < N; e++) {
            float x = 0;
            for (int i = 0; i < 4; i++)
                x += (float)rand() / (float)RAND_MAX - 0.5f;
            sum += row[e] = expf(x * spread);
        }
        for (int e = 0; e < N; e++)
            row[e] /= sum;
    }
    float *p = cuda_device_new(v, (size_t)tokens * (size_t)N * sizeof(*v));
    free(v);
    return p;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What is timed. */
struct bench {
    struct step_spec spec;
    struct step *step;
    float *scores;
    int K, steps;
    double topk; /* ms of the last run with topk */
};

static void check(int rc, struct buf *err)
{
    if (rc)
        die(1, "%s", err->s);
}

/* Texts with `position` random tokens behind them. */
static void begin(struct bench *b, int batch, int position, const struct router *r,
                  const struct router_args *args)
{
    struct buf err = BUF_INIT;
    struct step_prompt *prompts = xcalloc((size_t)batch, sizeof(*prompts));
    for (int i = 0; i < batch; i++) {
        check(step_begin(b->step, i, r, args, NULL, &err), &err);
        prompts[i] = (struct step_prompt){ i, 0, position };
    }
    check(step_prompts(b->step, prompts, batch, NULL, &err), &err);
    for (int l = 0; l < b->spec.shape.layers; l++)
        check(step_prompt_scores(b->step, l, b->scores, NULL, &err), &err);
    free(prompts);
}

/* Bytes that the last step read; adds the experts that a token took. */
static double bytes_read(const struct bench *b, int batch, int position, double *taken)
{
    const struct step_shape *s = &b->spec.shape;
    double d = s->hidden, q = s->heads * s->head_dim, kv = s->kv_heads * s->head_dim, values = 0;
    for (int l = 0; l < s->layers; l++)
        for (int e = 0; e < s->experts; e++) {
            int texts = 0;
            for (int i = 0; i < batch; i++)
                texts += step_scores(b->step, l, i)[e] >= 0;
            values += texts ? 3 * d * s->expert_ffn : 0;
            *taken += (double)texts / batch / s->layers;
        }
    values +=
        s->layers * (d * (2 * q + 2 * kv + s->experts) + 3 * d * s->shared_ffn) + d * s->vocab;
    return 2 * (values + (double)batch * s->layers * 2 * kv * position);
}

static void run(struct bench *b, int batch, int position, const struct router *r,
                const struct router_args *args, const char *name)
{
    struct buf err = BUF_INIT;
    struct step_text texts[STEP_TEXTS];
    double *ms = xcalloc((size_t)b->steps, sizeof(*ms)), taken = 0, bytes = 0;
    begin(b, batch, position, r, args);
    for (int i = 0; i < batch; i++)
        texts[i] = (struct step_text){ .slot = i, .position = position, .id = i };
    for (int t = -5; t < b->steps; t++) {
        double start = now_seconds();
        check(step_run(b->step, texts, batch, NULL, &err), &err);
        if (t >= 0) {
            ms[t] = (now_seconds() - start) * 1e3;
            bytes += bytes_read(b, batch, texts[0].position, &taken) / b->steps;
        }
        for (int i = 0; i < batch; i++) {
            texts[i].id = texts[i].next;
            texts[i].position++;
        }
    }
    qsort(ms, (size_t)b->steps, sizeof(*ms), by_value);
    double median = ms[b->steps / 2];
    b->topk = r == &router_topk ? median : b->topk;
    printf("%5d %8d  %-14s %8.3f %8.3f %8.3f %10.0f %8.2f %7.2f %6.0f%% %+7.1f%%\n", batch,
           position, name, median, ms[b->steps / 10], ms[b->steps * 9 / 10], batch / median * 1e3,
           taken / b->steps, bytes / 1e9, bytes / 3.0e12 / (median / 1e3) * 100,
           (median / b->topk - 1) * 100);
    fflush(stdout);
    free(ms);
}

static void run_all(struct bench *b, int batch, int position)
{
    const int N = b->spec.shape.experts, K = b->K;
    struct router_args args = { .K = K, .N = N, .mode = 1, .min = 1, .max = K + 2 < N ? K + 2 : N };
    // As many experts as topk takes: what differs is the choice of them.
    struct router_args each = { .K = K, .N = N, .mode = 1, .min = K, .max = K };
    struct router_args wide = { .K = K, .N = N, .mode = 1, .min = 0, .max = N };
    run(b, batch, position, &router_topk, &args, "topk");
    run(b, batch, position, &router_seqtopk, &args, "online");
    run(b, batch, position, &router_seqtopk, &wide, "online, wide");
    run(b, batch, position, &router_seqtopk, &each, "online, K each");
    run(b, batch, position, &router_topk, &args, "topk again");
}

static int numbers(const char *text, int *out)
{
    int n = 0;
    for (char *end; n < MOST_NUMBERS && *text; text = *end ? end + 1 : end) {
        out[n] = (int)strtol(text, &end, 10);
        if (end == text || out[n++] < 1 || (*end && *end != ','))
            die(2, "'%s' are no numbers from 1 on with commas between", text);
    }
    return n;
}

static void open_bench(struct bench *b, const struct named_shape *s, int slots, int capacity)
{
    struct buf err = BUF_INIT;
    struct step_layer *layers = xcalloc((size_t)s->shape.layers, sizeof(*layers));
    b->spec.shape = s->shape;
    b->spec.slots = slots;
    b->spec.capacity = capacity;
    b->spec.shape.context = capacity;
    b->K = s->K;
    make_sample();
    for (int i = 0; i < s->shape.layers; i++)
        layers[i] = random_layer(&b->spec, s->norms);
    b->spec.layers = layers;
    b->spec.ends.embedding = random_values((int64_t)s->shape.vocab * s->shape.hidden);
    b->spec.ends.norm = ones(s->shape.hidden);
    b->spec.ends.head = random_values((int64_t)s->shape.vocab * s->shape.hidden);
    b->spec.ends.cos = angles(&b->spec.shape, cosf);
    b->spec.ends.sin = angles(&b->spec.shape, sinf);
    b->scores = random_scores(capacity, &s->shape);
    b->step = step_open(&b->spec, &err);
    if (!b->step)
        die(1, "%s", err.s);
    printf("%s: %.2f GB of weights, keys and values; %.3f GB beside them\n", s->name,
           (double)made / 1e9, (double)step_bytes(&b->spec) / 1e9);
    free(layers);
}

static const struct named_shape *shape_named(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++)
        if (strcmp(shapes[i].name, name) == 0)
            return &shapes[i];
    die(2, "shape '%s' is unknown; there are olmoe, qwen2_moe, qwen3_moe, mixtral and tiny", name);
}

static int largest(const int *v, int n)
{
    int most = 0;
    for (int i = 0; i < n; i++)
        most = v[i] > most ? v[i] : most;
    return most;
}

int main(int argc, char **argv)
{
    struct bench b = { .steps = 60 };
    int batches[MOST_NUMBERS] = { 1, 32 }, positions[MOST_NUMBERS] = { 256, 4096 };
    int nbatches = 2, npositions = 2;
    const struct named_shape *shape = &shapes[0];
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--no-overlap") == 0)
            b.spec.no_overlap = true;
        else if (strcmp(argv[i], "--no-graph") == 0)
            b.spec.no_graph = true;
        else if (strcmp(argv[i], "--batch") == 0)
            nbatches = numbers(value, batches), i++;
        else if (strcmp(argv[i], "--position") == 0)
            npositions = numbers(value, positions), i++;
        else if (strcmp(argv[i], "--steps") == 0)
            b.steps = atoi(value) > 0 ? atoi(value) : 1, i++;
        else if (strcmp(argv[i], "--shape") == 0)
            shape = shape_named(value), i++;
        else
            die(2, "'%s' is unknown; see the head of tests/bench_step.c", argv[i]);
    }
    const int most = largest(batches, nbatches);
    if (most > STEP_TEXTS)
        die(2, "a batch of %d; allowed is up to %d", most, STEP_TEXTS);
    open_bench(&b, shape, most, largest(positions, npositions) + b.steps + 16);
    printf("batch position  router           median    tenth    ninth   tokens/s  experts      GB"
           " of limit over topk\n");
    for (int i = 0; i < npositions; i++)
        for (int j = 0; j < nbatches; j++)
            run_all(&b, batches[j], positions[i]);
    step_close(b.step);
    return 0;
}
