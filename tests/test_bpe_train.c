/*
 * test_bpe_train.c: the trained tokenizer is that of a slow and plain trainer, and to the byte that of
 * Hugging Face's `tokenizers`; it reads every text back; bad input gets one sentence.
 *
 * tests/data/golden/bpe-train: texts, and the tokenizer that BpeTrainer of `tokenizers` 0.23.2 made of
 * them with vocab_size 380 and min_frequency 2.
 */
#include "text/bpe_train.h"
#include "text/tokenizer.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define GOLDEN "tests/data/golden/bpe-train/"

static struct buf err = BUF_INIT, trained = BUF_INIT;

static int forget(void **state)
{
    (void)state;
    buf_release(&err);
    buf_release(&trained);
    return 0;
}

/* ---- training ---- */

/* Texts for bpe_train(), which may hold NUL; `order` -1: from the last to the first. */
struct texts {
    struct buf *v;
    size_t n, next;
    int order;
};

static int next_text(void *ctx, const char **text, size_t *len, struct buf *e)
{
    struct texts *t = ctx;
    (void)e;
    if (t->next == t->n)
        return 0;
    const struct buf *b = &t->v[t->order < 0 ? t->n - 1 - t->next : t->next];
    t->next++;
    *text = b->s;
    *len = b->len;
    return 1;
}

static void add_text(struct texts *t, const char *s, size_t len)
{
    t->v = xrealloc(t->v, t->n + 1, sizeof(*t->v));
    buf_init(&t->v[t->n]);
    buf_add(&t->v[t->n++], s, len);
}

static void texts_release(struct texts *t)
{
    for (size_t i = 0; i < t->n; i++)
        buf_release(&t->v[i]);
    free(t->v);
}

/* Trains on the texts into `trained`. */
static struct bpe_trained train(struct texts *t, int size, int64_t min_frequency)
{
    struct bpe_training how = { size, min_frequency };
    struct bpe_trained out;
    t->next = 0;
    buf_reset(&trained);
    if (bpe_train(&how, next_text, t, &trained, &out, &err))
        fail_msg("%s", err.s);
    assert_int_equal(out.texts, t->n);
    return out;
}

static struct texts golden_texts(void)
{
    struct texts t = { 0 };
    json_t *list = json_load_file(GOLDEN "texts.json", JSON_ALLOW_NUL, NULL), *text;
    size_t i;
    assert_true(json_array_size(list) > 30);
    json_array_foreach (list, i, text)
        add_text(&t, json_string_value(text), json_string_length(text));
    json_decref(list);
    return t;
}

/* What was trained, opened as any tokenizer is. */
static struct tokenizer *opened(void)
{
    char path[] = "/tmp/seqtopk-bpe-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && close(fd) == 0);
    assert_int_equal(write_file(path, trained.s, trained.len, &err), 0);
    struct tokenizer *t = tokenizer_open(path, &err);
    unlink(path);
    if (!t)
        fail_msg("%s", err.s);
    return t;
}

/* ---- the slow trainer ---- */

enum { TOKENS_MAX = 600, WORD_MAX = 64, WORDS_MAX = 1000 };

/* Words that are counted anew for each merge. Their letters are a to z; a space goes before. */
struct slow {
    int word[WORDS_MAX][WORD_MAX], len[WORDS_MAX];
    size_t n;
    char *token[TOKENS_MAX]; /* as the file has it */
    int ntokens, left[TOKENS_MAX], right[TOKENS_MAX], nmerges;
};

/* The ids of the bytes here: '!' is 2, and the space is the 33rd that is not printable. */
static int id_of(char c)
{
    return c == ' ' ? 2 + 188 + 32 : 2 + c - '!';
}

static void slow_text(struct slow *s, const char *text)
{
    for (const char *p = text; *p;) {
        const char *end = p + 1 + strcspn(p + 1, " ");
        assert_true(s->n < WORDS_MAX && end - p < WORD_MAX);
        for (; p < end; p++)
            s->word[s->n][s->len[s->n]++] = id_of(*p);
        s->n++;
    }
}

/* The most frequent pair, the smallest among equals; how often it comes. */
static int slow_best(const struct slow *s, int *left, int *right)
{
    static int count[TOKENS_MAX][TOKENS_MAX];
    int best = 0;
    memset(count, 0, sizeof(count));
    for (size_t w = 0; w < s->n; w++)
        for (int i = 0; i + 1 < s->len[w]; i++)
            count[s->word[w][i]][s->word[w][i + 1]]++;
    for (int a = 0; a < s->ntokens; a++)
        for (int b = 0; b < s->ntokens; b++)
            if (count[a][b] > best) {
                best = count[a][b];
                *left = a;
                *right = b;
            }
    return best;
}

/*
 * Pairs that overlap themselves ("aaa") are counted at each place, as everywhere, and merged from the
 * left.
 */
static void slow_merge(struct slow *s, int left, int right, int id)
{
    for (size_t w = 0; w < s->n; w++) {
        int n = 0;
        for (int i = 0; i < s->len[w]; i++) {
            bool here = i + 1 < s->len[w] && s->word[w][i] == left && s->word[w][i + 1] == right;
            s->word[w][n++] = here ? id : s->word[w][i];
            i += here;
        }
        s->len[w] = n;
    }
}

static void slow_train(struct slow *s, int size, int min_frequency)
{
    int left, right;
    s->ntokens = BPE_SIZE_MIN;
    for (char c = 'a'; c <= 'z'; c++)
        s->token[id_of(c)] = xasprintf("%c", c);
    s->token[id_of(' ')] = xstrdup("\xc4\xa0");
    while (s->ntokens < size && slow_best(s, &left, &right) >= min_frequency) {
        assert_true(s->ntokens < TOKENS_MAX);
        s->token[s->ntokens] = xasprintf("%s%s", s->token[left], s->token[right]);
        s->left[s->nmerges] = left;
        s->right[s->nmerges++] = right;
        slow_merge(s, left, right, s->ntokens++);
    }
}

static void slow_free(struct slow *s)
{
    for (int i = 0; i < TOKENS_MAX; i++)
        free(s->token[i]);
    free(s);
}

/* Is `trained` what the slow trainer has? */
static void same_as_slow(const struct slow *s)
{
    json_t *root = json_loadb(trained.s, trained.len, 0, NULL);
    const json_t *model = json_object_get(root, "model"),
                 *merges = json_object_get(model, "merges");
    const json_t *vocab = json_object_get(model, "vocab");
    assert_int_equal(json_object_size(vocab), s->ntokens);
    assert_int_equal(json_array_size(merges), s->nmerges);
    for (int i = 0; i < s->nmerges; i++) {
        const json_t *pair = json_array_get(merges, (size_t)i);
        assert_string_equal(json_string_value(json_array_get(pair, 0)), s->token[s->left[i]]);
        assert_string_equal(json_string_value(json_array_get(pair, 1)), s->token[s->right[i]]);
        int id = BPE_SIZE_MIN + i;
        assert_int_equal(json_integer_value(json_object_get(vocab, s->token[id])), id);
    }
    json_decref(root);
}

static uint32_t seed;
static unsigned drawn(unsigned below)
{
    seed = seed * 1664525 + 1013904223;
    return (seed >> 16) % below;
}

/* Words of few letters, so that pairs overlap and are equally frequent. */
static struct texts random_texts(struct slow *s, unsigned letters)
{
    struct texts t = { 0 };
    for (int i = 0; i < 12; i++) {
        struct buf text = BUF_INIT;
        for (unsigned w = 3 + drawn(8); w > 0; w--) {
            for (unsigned n = 1 + drawn(11); n > 0; n--)
                buf_addc(&text, (char)('a' + drawn(letters)));
            if (w > 1)
                buf_addc(&text, ' ');
        }
        slow_text(s, text.s);
        add_text(&t, text.s, text.len);
        buf_release(&text);
    }
    return t;
}

/* ---- tests ---- */

static void merges_are_those_of_a_slow_and_plain_trainer(void **state)
{
    (void)state;
    static const int sizes[] = { BPE_SIZE_MIN, BPE_SIZE_MIN + 1, 290, 500 };
    for (seed = 1; seed <= 12; seed++) {
        uint32_t keep = seed;
        struct slow *s = xcalloc(1, sizeof(*s));
        struct texts t = random_texts(s, 1 + keep % 4);
        int size = sizes[keep % 4], min_frequency = 1 + (int)(keep / 4) % 3;
        slow_train(s, size, min_frequency);
        struct bpe_trained out = train(&t, size, min_frequency);
        assert_int_equal(out.size, s->ntokens);
        same_as_slow(s);
        texts_release(&t);
        slow_free(s);
        seed = keep;
    }
}

static void the_file_is_that_of_the_library_to_the_byte(void **state)
{
    (void)state;
    struct buf want = BUF_INIT;
    struct texts t = golden_texts();
    struct bpe_trained out = train(&t, 380, BPE_FREQUENCY);
    assert_int_equal(out.size, 380);
    assert_int_equal(read_file(GOLDEN "tokenizer.json", 1 << 20, &want, &err), 0);
    assert_int_equal(trained.len, want.len);
    assert_memory_equal(trained.s, want.s, want.len);
    buf_release(&want);
    texts_release(&t);
}

static void the_order_of_the_texts_does_not_matter(void **state)
{
    (void)state;
    struct texts t = golden_texts();
    train(&t, 380, 2);
    char *before = xstrdup(trained.s);
    t.order = -1;
    train(&t, 380, 2);
    assert_string_equal(trained.s, before);
    free(before);
    texts_release(&t);
}

static void every_text_comes_back(void **state)
{
    (void)state;
    struct texts t = golden_texts();
    train(&t, 380, 2);
    struct tokenizer *k = opened();
    assert_int_equal(tokenizer_size(k), 380);
    size_t bytes = 0, tokens = 0;
    // Each character alone, too: all bytes that UTF-8 has are there.
    for (int c = 1; c < 0xd800; c += c < 0x300 ? 1 : 97) {
        char one[4] = { (char)c };
        if (c >= 0x800)
            snprintf(one, sizeof(one), "%c%c%c", 0xe0 | c >> 12, 0x80 | ((c >> 6) & 0x3f),
                     0x80 | (c & 0x3f));
        else if (c >= 0x80)
            snprintf(one, sizeof(one), "%c%c", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
        add_text(&t, one, strlen(one));
    }
    for (size_t i = 0; i < t.n; i++) {
        struct ids ids = { 0 }, again = { 0 };
        struct buf back = BUF_INIT;
        assert_int_equal(tokenizer_encode(k, t.v[i].s, t.v[i].len, &ids, &err), 0);
        assert_int_equal(tokenizer_decode(k, ids.v, ids.len, &back, &err), 0);
        // Normal form C changes a text once.
        assert_int_equal(tokenizer_encode(k, back.s, back.len, &again, &err), 0);
        assert_int_equal(again.len, ids.len);
        if (i >= 7 && i < 37) {
            assert_string_equal(back.s, t.v[i].s);
            bytes += back.len;
            tokens += ids.len;
        }
        free(ids.v);
        free(again.v);
        buf_release(&back);
    }
    assert_true(3 * tokens < bytes);
    tokenizer_free(k);
    texts_release(&t);
}

static void special_tokens_and_bytes_have_their_ids(void **state)
{
    (void)state;
    struct texts t = golden_texts();
    train(&t, BPE_SIZE_MIN, 2);
    struct tokenizer *k = opened();
    assert_int_equal(tokenizer_size(k), BPE_SIZE_MIN);
    assert_true(tokenizer_special(k, BPE_END) && tokenizer_special(k, BPE_PADDING));
    assert_false(tokenizer_special(k, 2));
    struct buf text = BUF_INIT;
    const int32_t some[] = { BPE_END, BPE_PADDING, 2, 95, 190, 222, 223 };
    assert_int_equal(tokenizer_decode(k, some, ARRAY_LEN(some), &text, &err), 0);
    // The last printable byte of ASCII; the first one that is not printable is NUL.
    assert_int_equal(text.len, 13 + 11 + 5);
    assert_memory_equal(text.s, "<|endoftext|><|padding|>!~\0 \x7f", text.len);
    buf_reset(&text);
    for (int32_t id = 2; id < BPE_SIZE_MIN; id++)
        assert_int_equal(tokenizer_decode(k, &id, 1, &text, &err), 0);
    bool seen[256] = { false };
    assert_int_equal(text.len, 256);
    for (size_t i = 0; i < 256; i++) {
        assert_false(seen[(unsigned char)text.s[i]]);
        seen[(unsigned char)text.s[i]] = true;
    }
    buf_release(&text);
    tokenizer_free(k);
    texts_release(&t);
}

static void a_vocabulary_ends_where_no_pair_is_left(void **state)
{
    (void)state;
    struct texts t = { 0 };
    add_text(&t, "low lower", 9);
    add_text(&t, "", 0);
    add_text(&t, "low", 3);
    // "low" twice, " lower" once: l-o comes three times, lo-w then too.
    struct bpe_trained out = train(&t, 1000, 3);
    assert_int_equal(out.size, BPE_SIZE_MIN + 2);
    assert_int_equal(out.texts, 3);
    assert_int_equal(out.bytes, 12);
    assert_int_equal(out.words, 2);
    assert_int_equal(train(&t, 1000, 4).size, BPE_SIZE_MIN);
    assert_int_equal(train(&t, 1000, 1).size, BPE_SIZE_MIN + 5);
    texts_release(&t);
}

/* ---- bad input ---- */

static void refused(int size, int64_t min_frequency, struct texts *t, const char *words)
{
    struct bpe_training how = { size, min_frequency };
    t->next = 0;
    buf_reset(&trained);
    buf_adds(&trained, "as it was");
    assert_int_equal(bpe_train(&how, next_text, t, &trained, NULL, &err), -1);
    if (!strstr(err.s, words))
        fail_msg("'%s' does not say '%s'", err.s, words);
    assert_string_equal(trained.s, "as it was");
}

static void what_cannot_be_trained_is_refused(void **state)
{
    (void)state;
    struct texts t = { 0 };
    refused(300, 2, &t, "there is no text to train a tokenizer on");
    add_text(&t, "", 0);
    refused(300, 2, &t, "there is no text to train a tokenizer on");
    add_text(&t, "good", 4);
    refused(257, 2, &t, "a tokenizer of 257 tokens cannot be trained; 258 to 4194304 are allowed");
    refused(4194305, 2, &t, "a tokenizer of 4194305 tokens cannot be trained");
    refused(300, 0, &t, "min_frequency is 0; 1 or more is allowed");
    add_text(&t,
             "b\xff"
             "d",
             3);
    refused(300, 2, &t, "text 3 to train a tokenizer on: it is not UTF-8 at byte 1");
    texts_release(&t);
}

static int failing_text(void *ctx, const char **text, size_t *len, struct buf *e)
{
    int *calls = ctx;
    *text = "some text";
    *len = 9;
    if (++*calls < 3)
        return 1;
    buf_adds(e, "texts.jsonl:3: no field 't'");
    return -1;
}

static void texts_that_fail_say_so_themselves(void **state)
{
    (void)state;
    int calls = 0;
    struct bpe_training how = { 300, 2 };
    assert_int_equal(bpe_train(&how, failing_text, &calls, &trained, NULL, &err), -1);
    assert_string_equal(err.s, "texts.jsonl:3: no field 't'");
    assert_int_equal(trained.len, 0);
}

#define TEST(name) cmocka_unit_test_teardown(name, forget)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(merges_are_those_of_a_slow_and_plain_trainer),
        TEST(the_file_is_that_of_the_library_to_the_byte),
        TEST(the_order_of_the_texts_does_not_matter),
        TEST(every_text_comes_back),
        TEST(special_tokens_and_bytes_have_their_ids),
        TEST(a_vocabulary_ends_where_no_pair_is_left),
        TEST(what_cannot_be_trained_is_refused),
        TEST(texts_that_fail_say_so_themselves),
    };
    return cmocka_run_group_tests_name("bpe_train", tests, NULL, NULL);
}
