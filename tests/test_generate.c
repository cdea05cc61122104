/*
 * test_generate.c: texts that are continued many at once: where they end, that neighbours and the
 * order of the queue change nothing, and that one that fails takes no other with it.
 */
#include "fixture.h"
#include "engine.h"
#include "generate_text.h"
#include "generate.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { TEXTS = 40 };

static const char dir[] = "results/models/tiny-olmoe-2k";
static const struct engine *engine;
static struct model_config config;
static struct model *model;
static struct tokenizer *tokenizer;

static int open_all(void **state)
{
    (void)state;
    struct buf err = BUF_INIT;
    char path[256];
    snprintf(path, sizeof(path), "%s/tokenizer.json", dir);
    tokenizer = tokenizer_open(path, &err);
    struct weights *w = weights_open(dir, &err);
    engine = engine_open(&err);
    if (engine && w)
        model = engine->open(w, (struct device){ DEVICE_CPU, 0 }, DTYPE_F32, &err);
    if (!model || !tokenizer || config_read(dir, &config, &err))
        fail_msg("%s", err.s);
    weights_close(w);
    buf_release(&err);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    engine->close(model);
    tokenizer_free(tokenizer);
    config_release(&config);
    return 0;
}

static const struct model_config *used_config = &config;

static struct generator *generator(const struct engine *e, int threads, int slots,
                                   bool (*stopped)(void))
{
    struct buf err = BUF_INIT;
    struct generator *g = generator_new(&(struct generator_spec){ .engine = e,
                                                                  .model = model,
                                                                  .config = used_config,
                                                                  .tokenizer = tokenizer,
                                                                  .threads = threads,
                                                                  .slots = slots,
                                                                  .capacity = 512,
                                                                  .stopped = stopped },
                                        &err);
    if (!g)
        fail_msg("%s", err.s);
    return g;
}

/* A text and what it owns of its request. */
struct asked {
    struct generation g;
    struct ids prompt;
    struct decoding decoding;
};

static void ask(struct asked *a, const char *prompt, int max_tokens)
{
    struct buf err = BUF_INIT;
    *a = (struct asked){ .decoding = { .max_tokens = max_tokens, .top_p = 1 } };
    assert_int_equal(tokenizer_encode(tokenizer, prompt, strlen(prompt), &a->prompt, &err), 0);
    a->g = (struct generation){ .prompt = a->prompt.v,
                                .prompt_tokens = (int)a->prompt.len,
                                .router = &router_topk,
                                .args = { .K = 8, .N = 64 },
                                .decoding = &a->decoding,
                                .owner = a };
    buf_init(&a->g.err);
    buf_init(&a->g.output);
}

static void asked_release(struct asked *a)
{
    generation_release(&a->g);
    strings_release(&a->decoding.stop);
    free(a->prompt.v);
}

/* One text by itself. */
static void write_by(const struct engine *e, struct asked *a)
{
    struct generator *g = generator(e, 1, 1, NULL);
    generator_put(g, &a->g);
    assert_ptr_equal(generator_take(g), &a->g);
    assert_null(generator_take(g));
    generator_free(g);
    if (a->g.rc)
        fail_msg("%s", a->g.err.s);
}

static void write_alone(struct asked *a)
{
    write_by(engine, a);
}

static const char question[] =
    "Question: Tom has 3 apples and buys 4 more. How many apples has he?\nAnswer:";

static void a_text_ends_at_its_limit(void **state)
{
    (void)state;
    struct asked a;
    ask(&a, question, 5);
    write_alone(&a);
    assert_int_equal(a.g.stop, STOP_LENGTH);
    assert_int_equal(a.g.ids.len, a.prompt.len + 5);
    assert_memory_equal(a.g.ids.v, a.prompt.v, a.prompt.len * sizeof(*a.prompt.v));
    assert_true(isnan(a.g.nll[0]));
    for (size_t t = 1; t < a.g.ids.len; t++)
        assert_true(a.g.nll[t] >= 0 && a.g.entropy[t] >= 0);
    for (size_t i = 0; i < (size_t)config.layers * a.g.ids.len; i++)
        assert_int_equal(a.g.used[i], 8);
    int64_t pairs = 0;
    for (int i = 0; i < config.layers * config.experts; i++)
        pairs += a.g.load_tokens[i];
    assert_int_equal(pairs, 8 * config.layers * (int64_t)a.g.ids.len);
    asked_release(&a);
}

static void the_end_token_ends_a_text_and_is_no_part_of_it(void **state)
{
    (void)state;
    struct asked a;
    ask(&a, question, 300);
    write_alone(&a);
    assert_int_equal(a.g.stop, STOP_EOS);
    assert_int_equal(a.g.ids.v[a.g.ids.len - 1], config.eos[0]);
    assert_null(strstr(a.g.output.s, "<|"));
    assert_non_null(strstr(a.g.output.s, "####"));
    asked_release(&a);
}

static void the_context_ends_a_text(void **state)
{
    (void)state;
    struct asked a;
    struct buf prompt = BUF_INIT;
    for (int i = 0; i < 160; i++)
        buf_addf(&prompt, " apple %d", i % 7);
    ask(&a, prompt.s, 2000);
    assert_in_range(a.prompt.len, 100, 511);
    a.decoding.temperature = 3; // never ends by itself, or hardly
    a.g.seed = 12;
    write_alone(&a);
    assert_int_equal(a.g.stop, STOP_CONTEXT);
    assert_int_equal(a.g.ids.len, 512);
    asked_release(&a);
    buf_release(&prompt);
}

/* Every text between two places of the output, so that some of them begin and end inside tokens. */
static void stop_strings_may_lie_anywhere_in_tokens(void **state)
{
    (void)state;
    struct asked whole;
    ask(&whole, question, 60);
    write_alone(&whole);
    const struct buf *text = &whole.g.output;
    assert_true(text->len > 60);
    for (size_t len = 1; len < 30; len += 14)
        for (size_t from = 5; from + len < 60; from += 13) {
            struct asked a;
            char *stop = xstrndup(text->s + from, len);
            ask(&a, question, 60);
            strings_add(&a.decoding.stop, "this never comes");
            strings_add(&a.decoding.stop, stop);
            write_alone(&a);
            const char *first = strstr(text->s, stop);
            assert_int_equal(a.g.stop, STOP_STRING);
            assert_int_equal(a.g.output.len, first - text->s);
            assert_memory_equal(a.g.output.s, text->s, a.g.output.len);
            assert_true(a.g.ids.len <= whole.g.ids.len);
            asked_release(&a);
            free(stop);
        }
    asked_release(&whole);
}

static void the_first_of_several_stop_strings_counts(void **state)
{
    (void)state;
    struct asked whole, a;
    ask(&whole, question, 60);
    write_alone(&whole);
    ask(&a, question, 60);
    char *late = xstrndup(whole.g.output.s + 20, 6), *early = xstrndup(whole.g.output.s + 19, 3);
    strings_add(&a.decoding.stop, late);
    strings_add(&a.decoding.stop, early);
    write_alone(&a);
    assert_int_equal(a.g.output.len, strstr(whole.g.output.s, early) - whole.g.output.s);
    free(late);
    free(early);
    asked_release(&whole);
    asked_release(&a);
}

/* The model's folder with another end token, "<|padding|>", which it never writes. */
static void read_other_end(struct model_config *out)
{
    struct buf err = BUF_INIT;
    char *copy = fixture_dir(), *from = xasprintf("%s/config.json", dir);
    struct buf text = BUF_INIT;
    assert_int_equal(read_file(from, 1 << 20, &text, &err), 0);
    fixture_text(copy, "config.json", text.s);
    fixture_text(copy, "generation_config.json", "{\"eos_token_id\": 1}");
    if (config_read(copy, out, &err))
        fail_msg("%s", err.s);
    assert_int_equal(out->neos, 1);
    assert_int_equal(out->eos[0], 1);
    buf_release(&text);
    free(from);
    fixture_remove(copy);
}

static void a_special_token_is_a_stop_string_too(void **state)
{
    (void)state;
    struct model_config other;
    struct asked ended, on, stopped, past;
    read_other_end(&other);
    ask(&ended, question, 300);
    write_alone(&ended);
    assert_int_equal(ended.g.stop, STOP_EOS);
    int more = (int)(ended.g.ids.len - ended.prompt.len) + 3;
    ask(&past, question, more);
    past.decoding.past_end = true;
    write_alone(&past);
    used_config = &other;
    ask(&on, question, more);
    write_alone(&on);
    ask(&stopped, question, more);
    strings_add(&stopped.decoding.stop, "</s>");
    strings_add(&stopped.decoding.stop, "<|endoftext|>");
    write_alone(&stopped);
    used_config = &config;
    // The token ends nothing by itself; and as a stop it ends the text where it did as end token.
    assert_int_equal(on.g.stop, STOP_LENGTH);
    assert_int_equal(past.g.stop, STOP_LENGTH);
    assert_int_equal(past.g.ids.len, on.g.ids.len);
    assert_memory_equal(past.g.ids.v, on.g.ids.v, on.g.ids.len * sizeof(*on.g.ids.v));
    assert_int_equal(stopped.g.stop, STOP_STRING);
    assert_int_equal(stopped.g.ids.len, ended.g.ids.len);
    assert_string_equal(stopped.g.output.s, ended.g.output.s);
    asked_release(&ended);
    asked_release(&on);
    asked_release(&stopped);
    asked_release(&past);
    config_release(&other);
}

/* An engine whose model writes these tokens, whatever it is asked. */
static struct ids script;
static size_t script_at;

static int decode_a_script(struct decoder *d, struct feed *feeds, int n, struct scored *out,
                           struct buf *err)
{
    int rc = engine->decode(d, feeds, n, out, err);
    for (int i = 0; i < n; i++)
        feeds[i].next = script.v[script_at++ % script.len];
    return rc;
}

static void spell(const char *part)
{
    struct buf err = BUF_INIT;
    assert_int_equal(tokenizer_encode(tokenizer, part, strlen(part), &script, &err), 0);
}

static void an_end_token_s_text_ends_a_text_where_that_is_asked(void **state)
{
    (void)state;
    struct engine scripted = *engine;
    struct asked a;
    scripted.decode = decode_a_script;
    spell("It is 7.");
    spell("<|");
    spell("endoftext");
    spell("|>");
    spell(" More.");
    for (size_t i = 0; i < script.len; i++)
        assert_false(tokenizer_special(tokenizer, script.v[i]));
    for (int asked = 0; asked < 2; asked++) {
        script_at = 0;
        ask(&a, question, (int)script.len);
        a.decoding.stop_at_end_text = asked;
        write_by(&scripted, &a);
        assert_int_equal(a.g.stop, asked ? STOP_STRING : STOP_LENGTH);
        assert_string_equal(a.g.output.s, asked ? "It is 7." : "It is 7.<|endoftext|> More.");
        asked_release(&a);
    }
    free(script.v);
    script = (struct ids){ 0 };
}

/* Writes the parts, and stops as the generator does. Returns how many were written. */
static size_t write_parts(const char *const *parts, const char *stop, struct buf *shown)
{
    struct written w;
    struct strings stops = { 0 };
    size_t n = 0;
    bool stopped = false;
    written_init(&w);
    strings_add(&stops, "never");
    strings_add(&stops, stop);
    for (; parts[n] && !stopped; n++) {
        spell(parts[n]);
        for (size_t i = 0; i < script.len && !stopped; i++) {
            written_add(&w, tokenizer, script.v[i]);
            stopped = written_stop(&w, &stops, NULL);
        }
        script.len = 0;
    }
    buf_reset(shown);
    buf_add(shown, w.shown.s, w.shown.len);
    strings_release(&stops);
    written_release(&w);
    return n;
}

static void what_is_shown_is_cut_where_the_stop_string_begins(void **state)
{
    (void)state;
#define PAD "<|padding|>"
#define END "<|endoftext|>"
    static const struct {
        const char *parts[6], *stop, *shown;
        size_t written;
    } cases[] = {
        { { "one", PAD, " two", END, " three" }, "<|endoftext|>", "one two", 4 },
        { { "one", PAD, " two", END, " three" }, "none", "one two three", 5 },
        { { "one", PAD, " two", END, " three" }, " two", "one", 3 },
        { { "one", PAD, " two", END, " three" }, "two<|endoftext|>", "one ", 4 },
        { { "one", PAD, " two", END, " three" }, "ding|> tw", "one", 3 },
        { { "one", PAD, " two", END, " three" }, "one two", "", 3 },
        { { "one", PAD, " two", PAD, " three" }, "e t", "on", 3 },
        { { "one", PAD, PAD, " two", END }, PAD PAD, "one", 3 },
        { { PAD, "one", END }, PAD, "", 1 },
        { { "<", "|padding", "|>", PAD }, PAD, "", 3 },
    };
#undef PAD
#undef END
    struct buf shown = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t n = write_parts(cases[i].parts, cases[i].stop, &shown);
        if (n != cases[i].written || strcmp(shown.s, cases[i].shown) != 0)
            fail_msg("stop \"%s\": %zu parts and \"%s\", not %zu and \"%s\"", cases[i].stop, n,
                     shown.s, cases[i].written, cases[i].shown);
    }
    buf_release(&shown);
    free(script.v);
    script = (struct ids){ 0 };
}

/* Forty texts of many kinds. */
static void ask_many(struct asked *a)
{
    for (int i = 0; i < TEXTS; i++) {
        char prompt[200];
        snprintf(prompt, sizeof(prompt), "Question: Ann has %d %s.%s\nAnswer:", i,
                 i % 3 ? "pens" : "red books and a very long list of other things",
                 i % 4 ? " How many are they?" : "");
        ask(&a[i], prompt, 1 + i * 17 % 60);
        a[i].decoding.temperature = i % 2 ? 0.8 : 0;
        a[i].decoding.top_p = 0.9;
        a[i].g.seed = sampler_seed(3, i);
        if (i % 3 == 1) {
            a[i].g.router = &router_seqtopk;
            a[i].g.args = (struct router_args){
                .K = 2 + i % 5, .N = 64, .mode = 1 + i % 2, .max = 64, .prefill = i % 2
            };
        }
    }
}

static void write_many(struct asked *a, const struct engine *e, int threads, int slots)
{
    struct generator *g = generator(e, threads, slots, NULL);
    int n = 0;
    for (int i = 0; i < TEXTS; i++)
        generator_put(g, &a[i].g);
    while (generator_take(g))
        n++;
    assert_int_equal(n, TEXTS);
    generator_free(g);
}

static void assert_same_text(const struct generation *a, const struct generation *b)
{
    assert_int_equal(a->rc, b->rc);
    assert_int_equal(a->stop, b->stop);
    assert_int_equal(a->ids.len, b->ids.len);
    assert_memory_equal(a->ids.v, b->ids.v, a->ids.len * sizeof(*a->ids.v));
    assert_memory_equal(a->used, b->used, (size_t)config.layers * a->ids.len * sizeof(*a->used));
    assert_string_equal(a->output.s, b->output.s);
}

static void the_batch_changes_nothing(void **state)
{
    (void)state;
    static struct asked a[TEXTS], b[TEXTS];
    ask_many(a);
    ask_many(b);
    write_many(a, engine, 1, 32);
    write_many(b, engine, 2, 3);
    for (int i = 0; i < TEXTS; i++) {
        assert_int_equal(a[i].g.rc, 0);
        assert_same_text(&a[i].g, &b[i].g);
        asked_release(&a[i]);
        asked_release(&b[i]);
    }
}

/* Of an engine that cannot take a prompt which begins with token 4242. */
static int decode_that_fails(struct decoder *d, struct feed *feeds, int n, struct scored *out,
                             struct buf *err)
{
    for (int i = 0; i < n; i++)
        if (feeds[i].tokens > 1 && feeds[i].ids[0] == 4242) {
            buf_reset(err);
            buf_adds(err, "a router gave NaN");
            return -1;
        }
    return engine->decode(d, feeds, n, out, err);
}

static void a_text_that_fails_takes_no_other_with_it(void **state)
{
    (void)state;
    static struct asked a[TEXTS], b[TEXTS];
    struct engine broken = *engine;
    broken.decode = decode_that_fails;
    ask_many(a);
    ask_many(b);
    b[11].prompt.v[0] = b[12].prompt.v[0] = 4242;
    write_many(a, engine, 1, 32);
    write_many(b, &broken, 1, 16);
    for (int i = 0; i < TEXTS; i++) {
        if (i == 11 || i == 12) {
            assert_int_equal(b[i].g.rc, -1);
            assert_string_equal(b[i].g.err.s, "a router gave NaN");
        } else {
            assert_same_text(&a[i].g, &b[i].g);
        }
        asked_release(&a[i]);
        asked_release(&b[i]);
    }
}

/* Of an engine whose memory has room for decoders of `room` slots, and for a step of half of them. */
static int room, opened;

static struct decoder *open_where_there_is_room(struct model *m, int slots, int capacity,
                                                struct buf *err)
{
    struct decoder *d = NULL;
    if (slots > room)
        buf_addf(err, "out of memory: no room for %d texts", slots);
    else
        d = engine->decoder_open(m, slots, capacity, err);
    opened = slots;
    return d;
}

static int decode_where_there_is_room(struct decoder *d, struct feed *feeds, int n,
                                      struct scored *out, struct buf *err)
{
    if (opened > room / 2) {
        room = room > 3 ? room : 0; // what went wrong left nothing for another decoder
        buf_reset(err);
        buf_addf(err, "out of memory: a step of %d texts", n);
        return -1;
    }
    return engine->decode(d, feeds, n, out, err);
}

static void where_memory_is_short_fewer_texts_have_their_keys_and_values_in_it(void **state)
{
    (void)state;
    static struct asked a[TEXTS], b[TEXTS];
    struct engine tight = *engine;
    tight.decoder_open = open_where_there_is_room;
    tight.decode = decode_where_there_is_room;
    room = 16;
    ask_many(a);
    ask_many(b);
    write_many(a, engine, 1, 32);
    write_many(b, &tight, 1, 16);
    assert_int_equal(opened, 8);
    for (int i = 0; i < TEXTS; i++) {
        assert_int_equal(a[i].g.rc, 0);
        assert_same_text(&a[i].g, &b[i].g);
        asked_release(&a[i]);
        asked_release(&b[i]);
    }
}

static void where_there_is_no_memory_left_every_text_says_so(void **state)
{
    (void)state;
    static struct asked a[TEXTS];
    struct engine tight = *engine;
    tight.decoder_open = open_where_there_is_room;
    tight.decode = decode_where_there_is_room;
    room = 3;
    ask_many(a);
    write_many(a, &tight, 1, 3);
    for (int i = 0; i < TEXTS; i++) {
        assert_int_equal(a[i].g.rc, -1);
        assert_string_equal(a[i].g.err.s, "out of memory: no room for 1 texts");
        asked_release(&a[i]);
    }
}

static int steps;

static bool after_some_steps(void)
{
    return ++steps > 20;
}

static void a_generator_that_is_stopped_gives_all_back(void **state)
{
    (void)state;
    static struct asked a[TEXTS];
    struct generator *g = generator(engine, 1, 8, after_some_steps);
    int n = 0, finished = 0;
    ask_many(a);
    steps = 0;
    for (int i = 0; i < TEXTS; i++)
        generator_put(g, &a[i].g);
    for (struct generation *t; (t = generator_take(g)); n++)
        finished += t->rc == 0;
    assert_int_equal(n, TEXTS);
    assert_in_range(finished, 1, TEXTS - 8);
    generator_free(g);
    for (int i = 0; i < TEXTS; i++)
        asked_release(&a[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_ends_at_its_limit),
        cmocka_unit_test(the_end_token_ends_a_text_and_is_no_part_of_it),
        cmocka_unit_test(the_context_ends_a_text),
        cmocka_unit_test(stop_strings_may_lie_anywhere_in_tokens),
        cmocka_unit_test(the_first_of_several_stop_strings_counts),
        cmocka_unit_test(a_special_token_is_a_stop_string_too),
        cmocka_unit_test(an_end_token_s_text_ends_a_text_where_that_is_asked),
        cmocka_unit_test(what_is_shown_is_cut_where_the_stop_string_begins),
        cmocka_unit_test(the_batch_changes_nothing),
        cmocka_unit_test(a_text_that_fails_takes_no_other_with_it),
        cmocka_unit_test(where_memory_is_short_fewer_texts_have_their_keys_and_values_in_it),
        cmocka_unit_test(where_there_is_no_memory_left_every_text_says_so),
        cmocka_unit_test(a_generator_that_is_stopped_gives_all_back),
    };
    return cmocka_run_group_tests_name("generate", tests, open_all, close_all);
}
