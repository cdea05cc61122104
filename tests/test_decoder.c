/*
 * test_decoder.c: a text that grows token by token has the numbers and the selections of the same
 * text scored at once, for every causal router, alone and among 32 of mixed lengths.
 */
#include "device.h"
#include "fixture.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { TEXTS = 32, CONTEXT = 512 };

/* One text, and what decoding found of it. */
struct text {
    const struct router *router;
    struct router_args args;
    struct sampler sampler;
    int32_t ids[CONTEXT];
    int prompt, want, tokens; /* tokens of the prompt, of the whole, and so far */
    int fed;
    float nll[CONTEXT], entropy[CONTEXT];
    uint16_t *used;       /* [layers, CONTEXT] */
    int32_t *load_tokens; /* [layers, experts] */
    double *load_weight;  /* [layers, experts] */
    bool begun;
};

static struct model *open_model_in(enum dtype dtype, const char *dir, struct model_config *config)
{
    struct buf err = BUF_INIT;
    struct weights *w = weights_open(dir, &err);
    struct model *m = w ? engine->open(w, device, dtype, &err) : NULL;
    if (!m)
        fail_msg("%s", err.s);
    *config = w->config;
    config->name = NULL;
    weights_close(w);
    buf_release(&err);
    return m;
}

static struct model *open_model(const char *dir, struct model_config *config)
{
    return open_model_in(DTYPE_F32, dir, config);
}

/* Text i of the 32: another router, length and way of drawing each. */
static void make_text(struct text *t, int i, const struct model_config *c)
{
    static const struct {
        const struct router *router;
        int mode, wide, segment, prefill; // wide: 2 has another bound in every layer
    } settings[] = {
        { &router_topk, 0, 0, 0, 0 },     { &router_seqtopk, 1, 0, 0, 0 },
        { &router_seqtopk, 2, 0, 0, 0 },  { &router_seqtopk, 1, 1, 0, 0 },
        { &router_seqtopk, 2, 1, 0, 0 },  { &router_seqtopk, 1, 1, 19, 0 },
        { &router_seqtopk, 1, 0, 0, 1 },  { &router_seqtopk, 2, 1, 0, 1 },
        { &router_seqtopk, 2, 0, 23, 1 }, { &router_topp, 0, 0, 0, 0 },
        { &router_xmoe, 0, 0, 0, 0 },     { &router_seqtopk, 1, 2, 0, 0 },
        { &router_seqtopk, 2, 2, 0, 1 },
    };
    const size_t s = (size_t)i % ARRAY_LEN(settings);
    int N = c->experts, K = 1 + i % (N < 8 ? N - 2 : 8);
    memset(t, 0, sizeof(*t));
    t->router = settings[s].router;
    t->args = (struct router_args){ .K = K,
                                    .N = N,
                                    .mode = settings[s].mode,
                                    .min = settings[s].wide == 1 ? 0 : 1,
                                    .max = settings[s].wide ? N
                                           : K + 2 > N      ? N
                                                            : K + 2,
                                    .segment = settings[s].segment,
                                    .batch = 1,
                                    .prefill = settings[s].prefill,
                                    .p = 0.3,
                                    .threshold = 0.6 };
    for (int l = 0; l < c->layers && settings[s].wide == 2; l++) {
        t->args.maxes[l] = (uint16_t)(l % 2 ? N : K);
        t->args.nmaxes = l + 1;
    }
    t->sampler = (struct sampler){ i % 2 ? 0.0 : 0.9, 0.95, sampler_seed(1, i) };
    int room = c->context < 120 ? c->context : 120;
    t->prompt = 1 + i * 7 % (room / 2);
    t->want = t->prompt + 1 + i * 13 % (room - t->prompt);
    if (i == 5)
        t->want = c->context < CONTEXT ? c->context : CONTEXT; // to the last position
    uint32_t seed = (uint32_t)i + 1;
    for (int p = 0; p < t->prompt; p++) {
        seed = seed * 1664525u + 1013904223u;
        t->ids[p] = (int32_t)((seed >> 8) % (uint32_t)c->vocab);
    }
    t->tokens = t->prompt;
    t->nll[0] = NAN;
    t->used = xcalloc((size_t)c->layers * CONTEXT, sizeof(*t->used));
    t->load_tokens = xcalloc((size_t)(c->layers * N), sizeof(*t->load_tokens));
    t->load_weight = xcalloc((size_t)(c->layers * N), sizeof(*t->load_weight));
}

static void text_release(struct text *t)
{
    free(t->used);
    free(t->load_tokens);
    free(t->load_weight);
}

/* Takes what one step found of a text. */
static void keep(struct text *t, const struct feed *f, const struct scored *s, int sequence)
{
    int from = s->start[sequence];
    for (int i = 0; i < f->tokens; i++) {
        if (i > 0)
            t->nll[t->fed + i] = s->nll[from + i];
        t->entropy[t->fed + i] = s->entropy[from + i];
        for (int l = 0; l < s->layers; l++)
            t->used[l * CONTEXT + t->fed + i] = s->used[l * s->tokens + from + i];
    }
    for (int e = 0; e < s->layers * s->experts; e++) {
        t->load_tokens[e] += s->load_tokens[sequence * s->layers * s->experts + e];
        t->load_weight[e] += s->load_weight[sequence * s->layers * s->experts + e];
    }
    t->fed += f->tokens;
    if (f->sampler) {
        t->nll[t->tokens] = f->next_nll;
        t->ids[t->tokens++] = f->next;
    }
}

/* Decodes all texts with `slots` at a time: whoever is finished makes room for the next. */
static void decode(struct model *m, struct text *texts, int n, int slots)
{
    struct buf err = BUF_INIT;
    struct decoder *d = engine->decoder_open(m, slots, CONTEXT, &err);
    int of[TEXTS], next = 0;
    struct scored s = { 0 };
    for (int i = 0; i < slots; i++)
        of[i] = -1;
    for (;;) {
        struct feed feeds[TEXTS];
        int nfeeds = 0, fed[TEXTS];
        for (int i = 0; i < slots; i++) {
            if (of[i] >= 0 && texts[of[i]].fed == texts[of[i]].want)
                of[i] = -1;
            if (of[i] < 0 && next < n)
                of[i] = next++;
            if (of[i] < 0)
                continue;
            struct text *t = &texts[of[i]];
            if (!t->begun)
                engine->decoder_begin(d, i, t->router, &t->args);
            t->begun = true;
            fed[nfeeds] = of[i];
            feeds[nfeeds++] = (struct feed){ .slot = i,
                                             .ids = t->ids + t->fed,
                                             .tokens = t->tokens - t->fed,
                                             .sampler = t->tokens < t->want ? &t->sampler : NULL };
        }
        if (!nfeeds)
            break;
        if (engine->decode(d, feeds, nfeeds, &s, &err))
            fail_msg("%s", err.s);
        for (int i = 0; i < nfeeds; i++)
            keep(&texts[fed[i]], &feeds[i], &s, i);
    }
    scored_release(&s);
    engine->decoder_close(d);
    buf_release(&err);
}

static void same(float a, float b, float tolerance, int text, const char *what, int pos)
{
    if (!(fabsf(a - b) <= tolerance) && !(isnan(a) && isnan(b)))
        fail_msg("text %d, %s at %d: %.9g and %.9g", text, what, pos, (double)a, (double)b);
}

static void assert_scores_the_same(struct model *m, const struct text *t, int i, float tolerance)
{
    struct buf err = BUF_INIT;
    struct sequence q = { t->ids, t->want };
    struct pool p = { t->router, t->args, 1, t->prompt };
    struct scored s = { 0 };
    if (engine->score(m, &(struct batch){ &q, 1, &p, 1 }, &s, &err))
        fail_msg("%s", err.s);
    assert_int_equal(t->fed, t->want);
    for (int pos = 0; pos < t->want; pos++) {
        same(t->nll[pos], s.nll[pos], tolerance, i, "loss", pos);
        same(t->entropy[pos], s.entropy[pos], tolerance, i, "entropy", pos);
        for (int l = 0; l < s.layers; l++)
            if (t->used[l * CONTEXT + pos] != s.used[l * s.tokens + pos])
                fail_msg("text %d, layer %d, position %d: %d experts and %d", i, l, pos,
                         t->used[l * CONTEXT + pos], s.used[l * s.tokens + pos]);
    }
    // Which experts they were: each has as many of the text's tokens, with as much weight.
    for (int e = 0; e < s.layers * s.experts; e++) {
        if (t->load_tokens[e] != s.load_tokens[e])
            fail_msg("text %d, layer %d, expert %d: %d tokens and %d", i, e / s.experts,
                     e % s.experts, t->load_tokens[e], s.load_tokens[e]);
        same((float)t->load_weight[e], (float)s.load_weight[e], 1e-5f + tolerance * (float)t->want,
             i, "weight of expert", e);
    }
    scored_release(&s);
    buf_release(&err);
}

/* Equal to the bit on a CPU, where the products are our own. */
static float tolerance(void)
{
    return device.kind == DEVICE_CPU ? 0 : 2e-4f;
}

static void decoding_is_scoring(const char *dir, int n, int slots)
{
    struct model_config c;
    struct model *m = open_model(dir, &c);
    struct text *texts = xcalloc((size_t)n, sizeof(*texts));
    for (int i = 0; i < n; i++)
        make_text(&texts[i], i, &c);
    decode(m, texts, n, slots);
    for (int i = 0; i < n; i++) {
        assert_scores_the_same(m, &texts[i], i, tolerance());
        text_release(&texts[i]);
    }
    free(texts);
    engine->close(m);
}

static void step_by_step_is_at_once_in_a_batch_of_32(void **state)
{
    (void)state;
    decoding_is_scoring("results/models/tiny-olmoe-2k", TEXTS, TEXTS);
}

static void step_by_step_is_at_once_alone(void **state)
{
    (void)state;
    decoding_is_scoring("results/models/tiny-olmoe-2k", 9, 1);
}

/* Grouped heads and odd sizes; texts leave and others enter. */
static void step_by_step_is_at_once_in_every_family(void **state)
{
    (void)state;
    decoding_is_scoring("tests/data/golden/olmoe-grouped", TEXTS, 5);
    decoding_is_scoring("tests/data/golden/olmoe-tied", TEXTS, 7);
    decoding_is_scoring("tests/data/golden/qwen2-grouped", TEXTS, 6);
    decoding_is_scoring("tests/data/golden/mixtral-grouped", TEXTS, 6);
    decoding_is_scoring("tests/data/golden/qwen3-grouped", TEXTS, 5);
}

/*
 * In bfloat16 every way to compute rounds otherwise, so this is held against float32: losses of these
 * random tokens are off by 0.04 on average, and one count of experts in twenty is another, whichever
 * way it is. Where a text's states do not know its prompt, a fifth of the counts are others.
 */
static void bfloat16_stays_near(void **state)
{
    (void)state;
    enum { N = 11, LENGTH = 40 };
    struct model_config c;
    struct model *half = open_model_in(DTYPE_BF16, "results/models/tiny-olmoe-2k", &c);
    struct model *whole = open_model("results/models/tiny-olmoe-2k", &c);
    struct text *texts = xcalloc(N, sizeof(*texts));
    double off = 0, other = 0, losses = 0, counts = 0;
    for (int i = 0; i < N; i++) {
        make_text(&texts[i], i, &c);
        texts[i].want = texts[i].prompt + LENGTH / 4;
    }
    decode(half, texts, N, 7);
    for (int i = 0; i < N; i++) {
        struct text *t = &texts[i];
        struct buf err = BUF_INIT;
        struct sequence q = { t->ids, t->want };
        struct pool p = { t->router, t->args, 1, t->prompt };
        struct scored s = { 0 };
        if (engine->score(whole, &(struct batch){ &q, 1, &p, 1 }, &s, &err))
            fail_msg("%s", err.s);
        for (int pos = t->prompt; pos < t->want; pos++, losses++) {
            off += fabs((double)t->nll[pos] - (double)s.nll[pos]);
            for (int l = 0; l < s.layers; l++, counts++)
                other += t->used[l * CONTEXT + pos] != s.used[l * s.tokens + pos];
        }
        scored_release(&s);
        text_release(t);
    }
    if (!(off / losses < 7e-2 && other / counts < 0.1))
        fail_msg("losses are off by %g, and %g of all tokens take more or fewer experts",
                 off / losses, other / counts);
    free(texts);
    engine->close(half);
    engine->close(whole);
}

/* The same text, drawn from the same seed, whatever stands beside it. */
static void neighbours_do_not_change_what_is_drawn(void **state)
{
    (void)state;
    struct model_config c;
    struct model *m = open_model("results/models/tiny-olmoe-2k", &c);
    struct text *together = xcalloc(TEXTS, sizeof(*together)), alone;
    for (int i = 0; i < TEXTS; i++)
        make_text(&together[i], i, &c);
    decode(m, together, TEXTS, 11);
    for (int i = 0; i < TEXTS; i += 9) {
        make_text(&alone, i, &c);
        decode(m, &alone, 1, 1);
        assert_memory_equal(alone.ids, together[i].ids, (size_t)alone.want * sizeof(*alone.ids));
        text_release(&alone);
    }
    for (int i = 0; i < TEXTS; i++)
        text_release(&together[i]);
    free(together);
    engine->close(m);
}

static void a_token_outside_the_vocabulary_is_refused(void **state)
{
    (void)state;
    struct model_config c;
    struct model *m = open_model("results/models/tiny-olmoe-2k", &c);
    struct buf err = BUF_INIT;
    struct decoder *d = engine->decoder_open(m, 2, 40, &err);
    struct router_args a = { .K = 2, .N = 64 };
    struct scored s = { 0 };
    int32_t good[2] = { 1, 2 }, bad[1] = { 8192 };
    struct feed feeds[2] = { { .slot = 1, .ids = good, .tokens = 2 },
                             { .slot = 0, .ids = bad, .tokens = 1 } };
    engine->decoder_begin(d, 0, &router_topk, &a);
    engine->decoder_begin(d, 1, &router_topk, &a);
    assert_int_equal(engine->decode(d, feeds, 2, &s, &err), -1);
    assert_string_equal(err.s, "token id 8192 lies outside the model's vocabulary of 8192");
    engine->decoder_begin(d, 1, &router_topk, &a); // the slot can be used again
    assert_int_equal(engine->decode(d, feeds, 1, &s, &err), 0);
    scored_release(&s);
    engine->decoder_close(d);
    engine->close(m);
    buf_release(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(step_by_step_is_at_once_in_a_batch_of_32),
        cmocka_unit_test(step_by_step_is_at_once_alone),
        cmocka_unit_test(step_by_step_is_at_once_in_every_family),
        cmocka_unit_test(bfloat16_stays_near),
        cmocka_unit_test(neighbours_do_not_change_what_is_drawn),
        cmocka_unit_test(a_token_outside_the_vocabulary_is_refused),
    };
    open_engine_and_device();
    return cmocka_run_group_tests_name("decoder", tests, NULL, NULL);
}
