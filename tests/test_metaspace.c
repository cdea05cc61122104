/*
 * test_metaspace.c: tokenizers of the SentencePiece kind: ids and texts against the slow version in
 * scripts/plain_tokenizer.py (which scripts/make-fixtures.py check compares with Hugging Face's
 * library), merges against one more slow version, streams, long texts, and files that are refused.
 */
#include "generate_text.h"
#include "small_tokenizer.h"
#include "text/bpe.h"
#include "skip.h"

#define FOLDER "tests/data/golden/metaspace"

static struct buf err;

static int forget(void **state)
{
    (void)state;
    buf_release(&err);
    return 0;
}

/* The tokenizer of the folder, with changes as small_open() takes them. */
static struct tokenizer *open_it(struct buf *e, ...)
{
    va_list ap;
    va_start(ap, e);
    struct tokenizer *t = small_open_changed(FOLDER "/tokenizer.json", e, ap);
    va_end(ap);
    return t;
}

static void refused(const char *path, const char *json, const char *want)
{
    struct tokenizer *t = open_it(&err, path, json, NULL);
    if (t)
        fail_msg("%s = %s was taken", path, json ? json : "(nothing)");
    if (!strstr(err.s, want))
        fail_msg("'%s' is not in '%s'", want, err.s);
}

/* ---- the golden texts ---- */

static json_t *golden(void)
{
    json_t *texts = json_load_file(FOLDER "/texts.json", JSON_ALLOW_NUL, NULL);
    assert_non_null(texts);
    return texts;
}

static struct tokenizer *open_variant(const json_t *variant)
{
    json_t *root = json_load_file(FOLDER "/tokenizer.json", 0, NULL);
    const char *path;
    json_t *value;
    json_object_foreach (json_object_get(variant, "changes"), path, value) {
        char *s = json_dumps(value, JSON_ENCODE_ANY);
        small_change(root, path, s);
        free(s);
    }
    char *s = json_dumps(root, 0);
    struct tokenizer *t = small_open_text(s, strlen(s), &err);
    if (!t)
        fail_msg("%s", err.s);
    free(s);
    json_decref(root);
    return t;
}

static void check_ids(const char *what, const char *text, const struct ids *ids, const json_t *want)
{
    for (size_t k = 0; k < ids->len && k < json_array_size(want); k++)
        if (ids->v[k] != json_integer_value(json_array_get(want, k)))
            fail_msg("%s, '%s': id %zu is %d", what, text, k, ids->v[k]);
    if (ids->len != json_array_size(want))
        fail_msg("%s, '%s': %zu ids", what, text, ids->len);
}

typedef int encode_fn(struct tokenizer *t, const char *text, size_t len, struct ids *out,
                      struct buf *err);

static void encode(encode_fn *how, struct tokenizer *t, const json_t *text, struct ids *out)
{
    if (how(t, json_string_value(text), json_string_length(text), out, &err) != 0)
        fail_msg("%s", err.s);
}

static void check_decoded(const char *what, struct tokenizer *t, const struct ids *ids,
                          const json_t *want)
{
    struct buf text = BUF_INIT;
    buf_adds(&text, "before");
    assert_int_equal(tokenizer_decode_text(t, ids->v, ids->len, &text, &err), 0);
    if (text.len - 6 != json_string_length(want) ||
        memcmp(text.s + 6, json_string_value(want), text.len - 6) != 0)
        fail_msg("%s: '%s' is decoded to '%s'", what, json_string_value(want), text.s + 6);
    assert_int_equal(text.s[text.len], '\0');
    buf_release(&text);
}

/* Calls `each` for every variant of the file. */
static void each_variant(void each(const char *name, struct tokenizer *t, const json_t *texts,
                                   const json_t *numbers))
{
    json_t *all = golden();
    const json_t *texts = json_object_get(all, "texts");
    const char *name;
    json_t *variant;
    assert_true(json_array_size(texts) > 100);
    assert_int_equal(json_object_size(json_object_get(all, "variants")), 7);
    json_object_foreach (json_object_get(all, "variants"), name, variant) {
        struct tokenizer *t = open_variant(variant);
        each(name, t, texts, json_object_get(variant, "texts"));
        tokenizer_free(t);
    }
    json_decref(all);
}

static void check_variant(const char *name, struct tokenizer *t, const json_t *texts,
                          const json_t *numbers)
{
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_array_get(texts, i), *want = json_array_get(numbers, i);
        const json_t *decoded = json_object_get(want, "decoded"), *more;
        struct ids ids = { 0 }, on = { 0 };
        encode(tokenizer_encode, t, text, &ids);
        check_ids(name, json_string_value(text), &ids, json_object_get(want, "ids"));
        check_decoded(name, t, &ids, json_is_null(decoded) ? text : decoded);
        more = json_object_get(want, json_is_null(json_object_get(want, "more")) ? "ids" : "more");
        encode(tokenizer_encode_more, t, text, &on);
        check_ids("that goes on", json_string_value(text), &on, more);
        free(ids.v);
        free(on.v);
    }
}

static void texts_have_the_ids_of_the_slow_version(void **state)
{
    (void)state;
    each_variant(check_variant);
}

/* What is written behind a prompt of any length, token by token, is the rest of the whole text. */
static void check_streams(const char *name, struct tokenizer *t, const json_t *texts,
                          const json_t *numbers)
{
    (void)numbers;
    for (size_t i = 0; i < json_array_size(texts); i++) {
        struct ids ids = { 0 };
        struct buf whole = BUF_INIT;
        encode(tokenizer_encode, t, json_array_get(texts, i), &ids);
        assert_int_equal(tokenizer_decode_text(t, ids.v, ids.len, &whole, &err), 0);
        for (size_t prompt = 1; prompt < ids.len && prompt < 20; prompt++) {
            struct buf text = BUF_INIT;
            struct written w;
            written_init(&w);
            assert_int_equal(tokenizer_decode_text(t, ids.v, prompt, &text, &err), 0);
            for (size_t k = prompt; k < ids.len; k++)
                written_add(&w, t, ids.v[k]);
            buf_add(&text, w.all.s, w.all.len);
            if (text.len != whole.len || memcmp(text.s, whole.s, text.len) != 0)
                fail_msg("%s: '%s' is streamed as '%s'", name, whole.s, text.s);
            written_release(&w);
            buf_release(&text);
        }
        buf_release(&whole);
        free(ids.v);
    }
}

static void a_stream_behind_a_prompt_is_the_rest_of_the_text(void **state)
{
    (void)state;
    each_variant(check_streams);
}

/* An answer behind a prompt, each encoded for itself: as texts they come back end to end. */
static void what_goes_on_gets_no_space_of_its_own(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        { "Q: the time?\nA:", " 42" }, { "the ti", "me of" }, { "the ", "day" }, { "a", " \n b" },
        { " x", "\xf0\x9f\x98\x80" },  { "the", "<s>" }
    };
    static const char *const schemes[] = { "always", "first", "never", NULL };
    for (size_t s = 0; s < ARRAY_LEN(schemes); s++) {
        char *pre = schemes[s]
                        ? xasprintf("{\"type\": \"Metaspace\", \"replacement\": \"\\u2581\", "
                                    "\"prepend_scheme\": \"%s\", \"split\": false}",
                                    schemes[s])
                        : xstrdup("null");
        struct tokenizer *t = schemes[s] ? open_it(&err, "normalizer", "null", "pre_tokenizer", pre,
                                                   "decoder decoders 3", NULL, NULL)
                                         : open_it(&err, NULL);
        for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
            struct ids ids = { 0 };
            struct buf text = BUF_INIT, want = BUF_INIT;
            const char *a = pairs[i][0], *b = pairs[i][1];
            assert_int_equal(tokenizer_encode(t, a, strlen(a), &ids, &err), 0);
            assert_int_equal(tokenizer_encode_more(t, b, strlen(b), &ids, &err), 0);
            assert_int_equal(tokenizer_decode_text(t, ids.v, ids.len, &text, &err), 0);
            // Without Strip, the space that was put before the first text stays; none is put
            // before a space there is.
            bool spaced = schemes[s] && strcmp(schemes[s], "never") != 0 && *a != ' ';
            buf_addf(&want, "%s%s%s", spaced ? " " : "", a, b);
            assert_string_equal(text.s, want.s);
            buf_release(&text);
            buf_release(&want);
            free(ids.v);
        }
        tokenizer_free(t);
        free(pre);
    }
}

/* ---- merges ---- */

enum { LETTERS = 6, MERGES = 30, PIECES = 256 + LETTERS + MERGES };

/* Three of them are not in the vocabulary, and are their bytes. */
static const char *const letters[] = { "a", "b", "\xe2\x96\x81", "\xc3\xa9", "<", ">" };
static const char *const strange[] = { "c", "\xc3\xa8", "\xf0\x9f\x98\x80" };

static bool is_known(char *const *pieces, int n, const char *piece)
{
    for (int i = 0; i < n; i++)
        if (strcmp(pieces[i], piece) == 0)
            return true;
    return false;
}

/*
 * Pieces by id: the bytes, the letters, and what random merges make of them; of bytes too, where
 * `bytes` says so.
 */
static json_t *random_model(bool bytes, char **pieces, int (*pairs)[3])
{
    json_t *vocab = json_object(), *list = json_array();
    int n = 0, merges = 0;
    for (; n < 256; n++)
        pieces[n] = xasprintf("<0x%02X>", (unsigned)n);
    for (size_t i = 0; i < LETTERS; i++)
        pieces[n++] = xstrdup(letters[i]);
    for (int tries = 0; merges < MERGES && tries < 10000; tries++) {
        static const int some[] = { 'c', 0xc3, 0xa8, 0xf0, 0x9f };
        int pick[2];
        for (int k = 0; k < 2; k++)
            pick[k] = bytes && rand() % 3 == 0 ? some[rand() % 5] : 256 + rand() % (n - 256);
        char *piece = xasprintf("%s%s", pieces[pick[0]], pieces[pick[1]]);
        if (strlen(piece) > 24 || is_known(pieces, n, piece)) {
            free(piece);
            continue;
        }
        json_array_append_new(list, json_pack("[s, s]", pieces[pick[0]], pieces[pick[1]]));
        memcpy(pairs[merges++], (int[]){ pick[0], pick[1], n }, sizeof(pairs[0]));
        pieces[n++] = piece;
    }
    if (merges != MERGES)
        BUG("no model of %d merges was found", MERGES);
    for (int i = 0; i < n; i++)
        json_object_set_new(vocab, pieces[i], json_integer(i));
    return json_pack("{s:s, s:b, s:o, s:o}", "type", "BPE", "byte_fallback", 1, "vocab", vocab,
                     "merges", list);
}

/* One merge at a time, the earliest of the list, the leftmost of the text. */
static size_t slow_merge(int *ids, size_t n, int (*pairs)[3])
{
    for (;;) {
        int rank = 0;
        size_t at = n;
        for (; rank < MERGES && at == n; rank++)
            for (at = 0; at < n; at++)
                if (at + 1 < n && ids[at] == pairs[rank][0] && ids[at + 1] == pairs[rank][1])
                    break;
        if (at == n)
            return n;
        ids[at] = pairs[rank - 1][2];
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof(*ids));
        n--;
    }
}

/* A random text and the ids before any merge. */
static size_t random_text(struct buf *text, int *ids, int len)
{
    size_t n = 0;
    for (int i = 0; i < len; i++) {
        int which = rand() % (LETTERS + (int)ARRAY_LEN(strange));
        if (which < LETTERS) {
            buf_adds(text, letters[which]);
            ids[n++] = 256 + which;
            continue;
        }
        const char *s = strange[which - LETTERS];
        buf_adds(text, s);
        for (; *s; s++)
            ids[n++] = (unsigned char)*s;
    }
    return n;
}

static void merges_are_those_of_the_slow_version(void **state)
{
    (void)state;
    enum { LEN = 60 };
    srand(7);
    for (int round = 0; round < 60; round++) {
        char *pieces[PIECES];
        int pairs[MERGES][3];
        json_t *model = random_model(round % 3 == 2, pieces, pairs);
        struct bpe *b = bpe_new("model", model, &err);
        if (!b)
            fail_msg("%s", err.s);
        for (int k = 0; k < 40; k++) {
            struct buf text = BUF_INIT;
            struct ids ids = { 0 };
            int want[4 * LEN];
            size_t n = random_text(&text, want, 1 + rand() % LEN);
            n = slow_merge(want, n, pairs);
            assert_int_equal(bpe_encode(b, text.s, text.len, &ids, &err), 0);
            assert_int_equal(ids.len, n);
            for (size_t i = 0; i < n; i++)
                if (ids.v[i] != want[i])
                    fail_msg("round %d, '%s': id %zu is %d, not %d", round, text.s, i, ids.v[i],
                             want[i]);
            buf_release(&text);
            free(ids.v);
        }
        bpe_free(b);
        json_decref(model);
        for (int i = 0; i < PIECES; i++)
            free(pieces[i]);
    }
}

static void long_texts_are_merged_in_time(void **state)
{
    (void)state;
    enum { LEN = 1 << 20 };
    static const char *const parts[] = { "a", " ", "\n", "ab", "of the", "\xe4\xb8\xad", "time " };
    struct tokenizer *t = open_it(&err, "added_tokens", "[]", NULL);
    double start = now_seconds();
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        struct ids ids = { 0 };
        struct buf text = BUF_INIT, back = BUF_INIT;
        while (text.len < LEN)
            buf_adds(&text, parts[i]);
        if (tokenizer_encode(t, text.s, text.len, &ids, &err) != 0 ||
            tokenizer_decode_text(t, ids.v, ids.len, &back, &err) != 0)
            fail_msg("%s", err.s);
        assert_int_equal(back.len, text.len);
        assert_memory_equal(back.s, text.s, back.len);
        buf_release(&text);
        buf_release(&back);
        free(ids.v);
    }
    // In quadratic time this would take an hour.
    assert_true(now_seconds() - start < 30 * patience());
    tokenizer_free(t);
}

/* ---- tokens ---- */

static void one_token_may_be_a_part_of_a_character(void **state)
{
    (void)state;
    struct tokenizer *t = open_it(&err, NULL);
    struct buf out = BUF_INIT;
    // U+1F600 without its last byte: 3 is the id of "<0x00>".
    static const int32_t ids[] = { 3 + 0xf0, 3 + 0x9f, 3 + 0x98 };
    assert_int_equal(tokenizer_decode(t, ids, 3, &out, &err), 0);
    assert_string_equal(out.s, "\xf0\x9f\x98");
    assert_int_equal(tokenizer_decode_text(t, NULL, 0, &out, &err), 0);
    assert_int_equal(out.len, 3);
    assert_int_equal(tokenizer_decode_text(t, (int32_t[]){ 3 + ' ', 3 + ' ' }, 2, &out, &err), 0);
    assert_string_equal(out.s, "\xf0\x9f\x98 ");
    buf_release(&out);
    tokenizer_free(t);
}

static void a_special_token_is_told_by_its_id(void **state)
{
    (void)state;
    struct tokenizer *t = open_it(&err, NULL);
    assert_true(tokenizer_special(t, 0) && tokenizer_special(t, 1) && tokenizer_special(t, 2));
    assert_false(tokenizer_special(t, 3));
    assert_ids(t, "<s>", "1");
    tokenizer_free(t);
}

static void an_added_token_is_read_back_like_any_other(void **state)
{
    (void)state;
    static const char entry[] =
        "{\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\":"
        " false, \"rstrip\": false, \"normalized\": false}";
    char *spaced = xasprintf(entry, 419, "\\u2581x\\u2581"),
         *byte = xasprintf(entry, 420, "<0xe2>"), *plus = xasprintf(entry, 421, "<0x+A>"),
         *none = xasprintf(entry, 422, "<0xAG>");
    struct tokenizer *t = open_it(&err, "added_tokens 8", spaced, "added_tokens 9", byte,
                                  "added_tokens 10", plus, "added_tokens 11", none, NULL);
    struct buf out = BUF_INIT;
    if (!t)
        fail_msg("%s", err.s);
    assert_int_equal(tokenizer_decode(t, (int32_t[]){ 419, 420, 421, 422 }, 4, &out, &err), 0);
    assert_string_equal(out.s, " x \xe2\n<0xAG>");
    assert_int_equal(tokenizer_decode_text(t, (int32_t[]){ 423 }, 1, &out, &err), -1);
    assert_non_null(strstr(err.s, "no token has the id 423"));
    buf_release(&out);
    tokenizer_free(t);
    free(spaced);
    free(byte);
    free(plus);
    free(none);
}

/* ---- refusals ---- */

static void text_that_is_not_utf8_is_refused_with_its_byte(void **state)
{
    (void)state;
    struct tokenizer *t = open_it(&err, NULL);
    static const char *const bad[] = { "hello\xff", "hello\xc3", "hello\xed\xa0\x80" };
    struct ids ids = { 0 };
    ids_push(&ids, 7);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(tokenizer_encode(t, bad[i], strlen(bad[i]), &ids, &err), -1);
        assert_non_null(strstr(err.s, "not UTF-8 at byte 5"));
        assert_int_equal(tokenizer_encode_more(t, bad[i], strlen(bad[i]), &ids, &err), -1);
        assert_int_equal(ids.len, 1);
    }
    free(ids.v);
    tokenizer_free(t);
}

static void a_model_of_another_kind_is_refused(void **state)
{
    (void)state;
    refused("model byte_fallback", "false", "model.unk_token is set, which is not supported where");
    refused("model vocab <0x7F>", NULL, "model.vocab has no '<0x7F>'; byte_fallback needs all");
    refused("model dropout", "0.1", "model.dropout is set");
    refused("model continuing_subword_prefix", "\"##\"", "model.continuing_subword_prefix is set");
    refused("model type", "\"Unigram\"", "model.type 'Unigram' is not supported");
    refused("model merges 0", "\"zz a\"", "merge 0: 'zz' is not in the vocabulary");
}

static void another_normalizer_is_refused_by_name(void **state)
{
    (void)state;
    refused("normalizer", "{\"type\": \"NFC\"}", "normalizer 'NFC' is not supported where");
    refused("normalizer", "7", "normalizer 'without a type' is not supported");
    refused("normalizer normalizers", NULL, "normalizers is missing");
    refused("normalizer normalizers 0 prepend", "\"_\"", "Prepend puts something else");
    refused("normalizer normalizers 1 content", "\"_\"", "Replace does something else");
    refused("normalizer normalizers 1 pattern", "{\"Regex\": \" \"}", "Replace does something");
    refused("normalizer normalizers 1", "{\"type\": \"Prepend\", \"prepend\": \"\\u2581\"}",
            "normalizer Prepend is there twice");
    refused("normalizer normalizers 2", "{\"type\": \"Lowercase\"}", "normalizer 'Lowercase' is");
}

static void another_pre_tokenizer_is_refused_by_name(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        { "\"prepend_scheme\": \"often\"", "prepend_scheme is \"often\"; allowed are always" },
        { "\"prepend_scheme\": \"first\", \"add_prefix_space\": false", "says something else" },
        { "\"split\": 1", "split is 1" },
        { "\"replacement\": \"_\"", "replacement is \"_\"; of the pre-tokenizer Metaspace" },
    };
    refused("pre_tokenizer", "{\"type\": \"Digits\"}", "pre-tokenizer 'Digits' is not supported");
    refused("pre_tokenizer", "{\"type\": \"Metaspace\", \"replacement\": \"\\u2581\"}",
            "Metaspace is not supported beside a normalizer");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        // Of two equal keys json_loads() takes the later one.
        char *pre =
            xasprintf("{\"type\": \"Metaspace\", \"replacement\": \"\\u2581\", %s}", bad[i][0]);
        assert_null(open_it(&err, "normalizer", "null", "pre_tokenizer", pre, NULL));
        if (!strstr(err.s, bad[i][1]))
            fail_msg("'%s' is not in '%s'", bad[i][1], err.s);
        free(pre);
    }
}

static void another_decoder_is_refused_by_name(void **state)
{
    (void)state;
    static const char order[] =
        "only the decoder that is a Sequence of Replace, ByteFallback, Fuse";
    refused("decoder", "null", order);
    refused("decoder type", "\"Metaspace\"", order);
    refused("decoder decoders 1", NULL, order);
    refused("decoder decoders 4", "{\"type\": \"Fuse\"}", order);
    refused("decoder decoders 0 content", "\"_\"", "decoder Replace does something else");
    refused("decoder decoders 3 content", "\"_\"", "content is \"_\"; of the decoder Strip");
    refused("decoder decoders 3 start", "2", "start is 2");
    refused("decoder decoders 3 stop", "1", "stop is 1");
}

static void an_older_way_to_say_the_scheme_is_read(void **state)
{
    (void)state;
    struct tokenizer *t = open_it(&err, "normalizer", "null", "pre_tokenizer",
                                  "{\"type\": \"Metaspace\", \"replacement\": \"\\u2581\", "
                                  "\"prepend_scheme\": \"never\", \"add_prefix_space\": false}",
                                  NULL);
    struct tokenizer *u = open_it(&err, "normalizer", "null", "pre_tokenizer",
                                  "{\"type\": \"Metaspace\", \"replacement\": \"\\u2581\", "
                                  "\"add_prefix_space\": true, \"str_rep\": \"\\u2581\"}",
                                  NULL);
    struct ids never = { 0 }, always = { 0 };
    assert_int_equal(tokenizer_encode(t, "\n", 1, &never, &err), 0);
    assert_int_equal(tokenizer_encode(u, "\n", 1, &always, &err), 0);
    assert_int_equal(never.len, 1);
    assert_int_equal(always.len, 2);
    // It splits, where nothing else is said: there is a token for both words.
    assert_int_equal(tokenizer_encode(u, "of the", 6, &always, &err), 0);
    assert_int_equal(always.len, 4);
    free(never.v);
    free(always.v);
    tokenizer_free(t);
    tokenizer_free(u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(texts_have_the_ids_of_the_slow_version, forget),
        cmocka_unit_test_teardown(a_stream_behind_a_prompt_is_the_rest_of_the_text, forget),
        cmocka_unit_test_teardown(what_goes_on_gets_no_space_of_its_own, forget),
        cmocka_unit_test_teardown(merges_are_those_of_the_slow_version, forget),
        cmocka_unit_test_teardown(long_texts_are_merged_in_time, forget),
        cmocka_unit_test_teardown(one_token_may_be_a_part_of_a_character, forget),
        cmocka_unit_test_teardown(a_special_token_is_told_by_its_id, forget),
        cmocka_unit_test_teardown(an_added_token_is_read_back_like_any_other, forget),
        cmocka_unit_test_teardown(text_that_is_not_utf8_is_refused_with_its_byte, forget),
        cmocka_unit_test_teardown(a_model_of_another_kind_is_refused, forget),
        cmocka_unit_test_teardown(another_normalizer_is_refused_by_name, forget),
        cmocka_unit_test_teardown(another_pre_tokenizer_is_refused_by_name, forget),
        cmocka_unit_test_teardown(another_decoder_is_refused_by_name, forget),
        cmocka_unit_test_teardown(an_older_way_to_say_the_scheme_is_read, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
