/*
 * cmd_generate.c: `seqtopk generate`: a model continues prompts under a router. One prompt's text is
 * printed as it is; several become JSON lines, in the order of the prompts and, of each, of the seeds.
 * What is finished is printed also where the rest is not: after Ctrl-C, or where a text failed.
 */
#include "cmd/cmd.h"
#include "cmd/prompts.h"
#include "corpus.h"
#include "engine.h"
#include "generate.h"
#include "progress.h"
#include "recipe/recipe_router.h"
#include "run_memory.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_TOKENS = 1000000, MAX_SAMPLES = 1000000 };
#define MAX_TEMPERATURE 100.0

/* The command line, and what it stands for. */
struct asked {
    const char *prompts, *model, *router, *device, *dtype;
    const char *temperature, *top_p, *seed; /* as they stand there; NULL: not said */
    int K, samples, batch, threads;
    int64_t first_seed;
    struct decoding decoding;
    bool json;
};

/* One text on its way. */
struct text {
    struct generation generation;
    const struct prompt *prompt;
    int64_t seed;
    bool done; /* it came out, well or not */
};

struct session {
    const struct asked *asked;
    struct sweep_model model;
    const struct router *router;
    struct router_args args;
    struct prompts prompts;
    struct tokenizer *tokenizer;
    const struct engine *engine;
    struct device device;
    enum dtype dtype;
    struct text *texts; /* [n], prompt after prompt */
    size_t n, printed, failed;
    double seconds;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signal)
{
    (void)signal;
    interrupted = 1;
}

static bool was_interrupted(void)
{
    return interrupted;
}

/* ---- the command line ---- */

/* A number of the command line in [lo, hi], without `lo` itself where `above`. */
static double number(const char *option, const char *text, double lo, double hi, bool above,
                     const char *allowed)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (errno || end == text || *end || *text == ' ' || !(value >= lo && value <= hi) ||
        (above && value == lo))
        die(2, "generate: %s %s: allowed is a number %s", option, text, allowed);
    return value;
}

static int64_t read_seed(const char *text)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || *text < '0' || *text > '9' || value > INT64_C(1) << 53)
        die(2, "generate: --seed %s: allowed is a whole number from 0 to 2^53", text);
    return value;
}

/* What can be said of the options without a model. */
static void check_options(struct asked *a, int operands)
{
    struct decoding *d = &a->decoding;
    if (!operands && !a->prompts)
        die(2, "generate: there is no prompt; give one, or '-' for stdin, or --prompts FILE");
    if (operands && a->prompts)
        die(2, "generate takes prompts or --prompts, not both");
    if (a->temperature)
        d->temperature =
            number("--temperature", a->temperature, 0, MAX_TEMPERATURE, false, "from 0 to 100");
    if (a->top_p)
        d->top_p = number("--top-p", a->top_p, 0, 1, true, "above 0 and at most 1");
    if (a->seed)
        a->first_seed = read_seed(a->seed);
    if (d->temperature == 0 && (a->samples > 1 || d->top_p < 1))
        die(2, "generate: %s: at temperature 0 nothing is drawn; say a --temperature above 0",
            a->samples > 1 ? "--samples" : "--top-p");
    for (size_t i = 0; i < d->stop.len; i++)
        if (!d->stop.v[i][0])
            die(2, "generate: --stop: an empty text, which would stop before the first token");
        else if (utf8_valid(d->stop.v[i], strlen(d->stop.v[i])) != strlen(d->stop.v[i]))
            die(2, "generate: --stop: not a text in UTF-8");
}

/* ---- before weights are loaded ---- */

static int find_model(struct session *s, struct buf *err)
{
    struct buf dir = BUF_INIT;
    s->model.name = xstrdup(s->asked->model);
    int rc = model_find(s->asked->model, &dir, err);
    s->model.dir = buf_detach(&dir);
    return rc ? -1 : config_read(s->model.dir, &s->model.config, err);
}

/* A router that learns has its cutoffs from the model's folder. */
static int find_cutoffs(struct session *s, struct buf *err)
{
    struct cutoffs *c = &s->model.cutoffs;
    if (!s->router->learns)
        return 0;
    if (cutoffs_read(s->model.dir, s->model.config.layers, s->model.config.experts, c, err))
        return -1;
    if (!c->v)
        return fail(err, "--router %s: model %s has no cutoffs.json, which training makes",
                    s->asked->router, s->model.name);
    if (c->K != s->args.K)
        return fail(err,
                    "--k %d: the cutoffs of model %s were learnt with K = %d and hold for it alone",
                    s->args.K, s->model.name, c->K);
    s->args.cutoffs = c->v;
    return 0;
}

static int choose_router(struct session *s, struct buf *err)
{
    const struct model_config *c = &s->model.config;
    int K = s->asked->K ? s->asked->K : c->top_k;
    if (K > c->experts)
        return fail(err, "--k %d: above N = %d, the experts of model %s", K, c->experts,
                    s->model.name);
    if (router_parse("--router", s->asked->router, K, &s->model, &s->router, &s->args, err) ||
        find_cutoffs(s, err))
        return -1;
    if (router_decodes(s->router, &s->args))
        return 0;
    return fail(err,
                "--router %s: selects over whole sequences and so cannot route a text while it is "
                "written; say seqtopk { mode = \"online\", prefill = \"global\" } instead",
                s->asked->router);
}

static int choose_device(struct session *s, struct buf *err)
{
    if (dtype_parse(s->asked->dtype, &s->dtype))
        return fail(err, "--dtype %s: allowed is float32, bfloat16 or float16", s->asked->dtype);
    s->engine = engine_open(err);
    if (!s->engine || s->engine->device_parse(s->asked->device, &s->device, err) ||
        s->engine->device_check(s->device, s->dtype, err))
        return -1;
    return 0;
}

static int prepare(struct session *s, char *const *words, int n, struct buf *err)
{
    if (find_model(s, err) || choose_router(s, err))
        return -1;
    int rc = s->asked->prompts ? prompts_read(&s->prompts, s->asked->prompts, err)
                               : prompts_take(&s->prompts, words, n, err);
    if (rc || !(s->tokenizer = corpus_tokenizer(&s->model, err)) ||
        prompts_encode(&s->prompts, s->tokenizer, s->model.config.context, err))
        return -1;
    return choose_device(s, err);
}

static void make_texts(struct session *s)
{
    size_t samples = (size_t)s->asked->samples;
    s->n = s->prompts.len * samples;
    s->texts = xcalloc(s->n, sizeof(*s->texts));
    for (size_t i = 0; i < s->n; i++) {
        struct text *t = &s->texts[i];
        t->prompt = &s->prompts.v[i / samples];
        t->seed = s->asked->first_seed + (int64_t)(i % samples);
        t->generation = (struct generation){ .prompt = t->prompt->ids.v,
                                             .prompt_tokens = (int)t->prompt->ids.len,
                                             .router = s->router,
                                             .args = s->args,
                                             .decoding = &s->asked->decoding,
                                             .seed = sampler_seed(t->seed, (int64_t)(i / samples)),
                                             .owner = t };
        buf_init(&t->generation.err);
        buf_init(&t->generation.output);
    }
}

/* ---- what came of it ---- */

/* Experts that a text's tokens took, over all of its layers and tokens, the prompt's among them. */
static double experts_of(const struct session *s, const struct generation *g)
{
    size_t n = g->ids.len * (size_t)s->model.config.layers;
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += g->used[i];
    return sum / (double)n;
}

static void print_json(const struct session *s, const struct text *t)
{
    const struct generation *g = &t->generation;
    json_t *o = json_object();
    json_object_set_new(o, "prompt", json_stringn(t->prompt->text.s, t->prompt->text.len));
    json_object_set_new(o, "text", json_stringn(g->output.s, g->output.len));
    json_object_set_new(o, "stop", json_string(stop_reason_name(g->stop)));
    json_object_set_new(o, "tokens", json_integer((json_int_t)g->ids.len - g->prompt_tokens));
    json_object_set_new(o, "experts", json_real(experts_of(s, g)));
    if (s->asked->samples > 1)
        json_object_set_new(o, "seed", json_integer(t->seed));
    json_dumpf(o, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(o);
}

static void print_text(struct session *s, const struct text *t)
{
    if (t->generation.rc) {
        if (!interrupted) {
            warning("%s: %s", t->prompt->where, t->generation.err.s);
            s->failed++;
        }
        return;
    }
    if (s->n > 1 || s->asked->json || s->asked->prompts) {
        print_json(s, t);
    } else {
        fwrite(t->generation.output.s, 1, t->generation.output.len, stdout);
        putchar('\n');
    }
    fflush(stdout);
}

/* Tokens a second, and what routing really cost. */
static void report(const struct session *s)
{
    double written = 0, tokens = 0, experts = 0;
    size_t finished = 0;
    for (size_t i = 0; i < s->n; i++) {
        const struct generation *g = &s->texts[i].generation;
        if (g->rc)
            continue;
        finished++;
        written += (double)g->ids.len - g->prompt_tokens;
        tokens += (double)g->ids.len;
        experts += experts_of(s, g) * (double)g->ids.len;
    }
    if (interrupted)
        fprintf(stderr, "interrupted: %zu of %zu texts are finished\n", finished, s->n);
    if (finished)
        fprintf(stderr,
                "%zu text%s, %.0f tokens in %.2f s: %.1f tokens/s, %.2f experts per token and "
                "layer\n",
                finished, finished == 1 ? "" : "s", written, s->seconds, written / s->seconds,
                experts / tokens);
}

/* ---- the work ---- */

static int at_most(int wanted, size_t n)
{
    return n < (size_t)wanted ? (int)n : wanted;
}

/* Prints texts as soon as all before them are. */
static void write_texts(struct session *s, struct generator *g)
{
    struct progress progress = { 0 };
    struct generation *out;
    double from = now_seconds();
    // Where texts go to a terminal they are the progress.
    bool shown = s->n > 1 && !isatty(STDOUT_FILENO);
    if (shown)
        progress_start_units(&progress, (int64_t)s->n, "texts");
    for (size_t i = 0; i < s->n; i++)
        generator_put(g, &s->texts[i].generation);
    while ((out = generator_take(g)) != NULL) {
        ((struct text *)out->owner)->done = true;
        for (; s->printed < s->n && s->texts[s->printed].done; s->printed++)
            print_text(s, &s->texts[s->printed]);
        progress_add(&progress, 1, 0);
    }
    s->seconds = now_seconds() - from;
    if (shown)
        progress_end(&progress);
}

static int generate(struct session *s, struct buf *err)
{
    struct weights *weights = weights_open(s->model.dir, err);
    struct model *model = NULL;
    int capacity = s->prompts.longest + s->asked->decoding.max_tokens;
    if (weights && memory_check(s->engine, s->device, s->asked->device, &weights->config, s->dtype,
                                capacity, err) == 0)
        model = s->engine->open(weights, s->device, s->dtype, err);
    weights_close(weights);
    if (!model)
        return -1;
    if (s->n == 0)
        BUG("no text to write");
    // One stream of work is enough for a GPU, and none needs more places than there are texts.
    int threads = s->device.kind == DEVICE_CPU ? at_most(s->asked->threads, s->n) : 1;
    int slots = at_most(s->asked->batch, (s->n - 1) / (size_t)threads + 1);
    struct generator_spec spec = { .engine = s->engine,
                                   .model = model,
                                   .config = &s->model.config,
                                   .tokenizer = s->tokenizer,
                                   .threads = threads,
                                   .slots = slots,
                                   .capacity = capacity,
                                   .stopped = was_interrupted };
    struct generator *g = generator_new(&spec, err);
    if (g) {
        // A second one ends the program at once.
        struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        write_texts(s, g);
        generator_free(g);
    }
    s->engine->close(model);
    return g ? 0 : -1;
}

static void session_release(struct session *s)
{
    for (size_t i = 0; i < s->n; i++)
        generation_release(&s->texts[i].generation);
    free(s->texts);
    tokenizer_free(s->tokenizer);
    prompts_release(&s->prompts);
    config_release(&s->model.config);
    cutoffs_release(&s->model.cutoffs);
    free(s->model.name);
    free(s->model.dir);
}

static int run_generate(int argc, char **argv)
{
    struct asked a = { .model = "tiny-olmoe-2k",
                       .router = "topk()",
                       .device = "cpu",
                       .dtype = "float32",
                       .samples = 1,
                       .batch = 32,
                       .threads = (int)sysconf(_SC_NPROCESSORS_ONLN),
                       .decoding = { .max_tokens = 128, .top_p = 1 } };
    const struct option_spec specs[] = {
        { .name = "--prompts", .value = &a.prompts },
        { .name = "--model", .value = &a.model },
        { .name = "--k", .number = &a.K },
        { .name = "--router", .value = &a.router },
        { .name = "--max-tokens", .number = &a.decoding.max_tokens, .most = MAX_TOKENS },
        { .name = "--temperature", .value = &a.temperature },
        { .name = "--top-p", .value = &a.top_p },
        { .name = "--seed", .value = &a.seed },
        { .name = "--samples", .number = &a.samples, .most = MAX_SAMPLES },
        { .name = "--stop", .list = &a.decoding.stop },
        { .name = "--device", .value = &a.device },
        { .name = "--dtype", .value = &a.dtype },
        { .name = "--batch", .number = &a.batch, .most = BATCH_MAX },
        { .name = "--threads", .number = &a.threads, .most = THREADS_MAX },
        { .name = "--json", .flag = &a.json },
        { .name = NULL },
    };
    int operands = cmd_options(&cmd_generate, argc, argv, specs, 0, INT32_MAX);
    check_options(&a, operands);
    struct session s = { .asked = &a };
    struct buf err = BUF_INIT;
    if (prepare(&s, argv + 1, operands, &err))
        die(1, "%s", err.s);
    make_texts(&s);
    if (generate(&s, &err))
        die(1, "%s", err.s);
    report(&s);
    size_t failed = s.failed;
    session_release(&s);
    strings_release(&a.decoding.stop);
    return interrupted ? 130 : failed ? 1 : 0;
}

const struct cmd cmd_generate = {
    .name = "generate",
    .args = "PROMPT... | - | --prompts FILE.jsonl [--model M] [--k K] [--router R]\n"
            "       [--max-tokens N] [--temperature T] [--top-p P] [--seed S] [--samples N]\n"
            "       [--stop TEXT]... [--device D] [--dtype T] [--batch N] [--threads N] [--json]",
    .help = "continue prompts under a router, such as 'seqtopk { mode = \"online\" }'",
    .run = run_generate,
};
