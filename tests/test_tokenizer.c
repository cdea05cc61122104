/*
 * test_tokenizer.c: real tokenizers against their reference ids, every odd text there and back, and
 * files that are refused. Added tokens, merges and patterns have tests of their own.
 */
#include "skip.h"
#include "small_tokenizer.h"

#include <utf8proc.h>

static struct buf err;

static int forget(void **state)
{
    (void)state;
    buf_release(&err);
    return 0;
}

/* ---- real tokenizers ---- */

/* The folder of a model: the one that is shipped, else that of the shared models; or NULL. */
static char *model_dir(const char *model)
{
    const char *shared = getenv("SEQTOPK_SHARED");
    char *dirs[] = { xasprintf("results/models/%s", model),
                     xasprintf("%s/models/%s", shared ? shared : "../shared", model) };
    char *found = NULL;
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        char *file = xasprintf("%s/reference.json", dirs[i]);
        if (!found && access(file, R_OK) == 0)
            found = xstrdup(dirs[i]);
        free(file);
        free(dirs[i]);
    }
    return found;
}

/* What comes back is the text in normal form C. */
static void check_round_trip(struct tokenizer *t, const char *s, size_t len)
{
    utf8proc_uint8_t *want = NULL;
    utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)s, (utf8proc_ssize_t)len, &want,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    assert_true(n >= 0);
    struct ids ids = { 0 };
    struct buf back = BUF_INIT;
    if (tokenizer_encode(t, s, len, &ids, &err) != 0 ||
        tokenizer_decode(t, ids.v, ids.len, &back, &err) != 0)
        fail_msg("%s", err.s);
    assert_int_equal(back.len, n);
    assert_memory_equal(back.s, want, back.len);
    free(want);
    free(ids.v);
    buf_release(&back);
}

static void check_reference(struct tokenizer *t, const json_t *reference)
{
    const json_t *texts = json_object_get(reference, "texts");
    assert_int_equal(json_array_size(texts), 8);
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_object_get(json_array_get(texts, i), "text");
        const json_t *want = json_object_get(json_array_get(texts, i), "ids");
        struct ids ids = { 0 };
        assert_int_equal(
            tokenizer_encode(t, json_string_value(text), json_string_length(text), &ids, &err), 0);
        assert_int_equal(ids.len, json_array_size(want));
        for (size_t k = 0; k < ids.len; k++)
            assert_int_equal(ids.v[k], json_integer_value(json_array_get(want, k)));
        check_round_trip(t, json_string_value(text), json_string_length(text));
        free(ids.v);
    }
}

static void check_model(const char *model)
{
    char *dir = model_dir(model);
    if (!dir)
        SKIP("no model %s in results/models or in SEQTOPK_SHARED", model);
    char *file = xasprintf("%s/tokenizer.json", dir);
    struct tokenizer *t = tokenizer_open(file, &err);
    if (!t)
        fail_msg("%s", err.s);
    assert_int_equal(tokenizer_size(t), 8192);
    free(file);
    file = xasprintf("%s/reference.json", dir);
    json_t *reference = json_load_file(file, 0, NULL);
    assert_non_null(reference);
    check_reference(t, reference);
    json_decref(reference);
    tokenizer_free(t);
    free(file);
    free(dir);
}

static void tiny_olmoe_gives_the_reference_ids(void **state)
{
    (void)state;
    check_model("tiny-olmoe-2k");
}

static void tiny_qwen2moe_gives_the_reference_ids(void **state)
{
    (void)state;
    check_model("tiny-qwen2moe-2k");
}

/* tests/data/golden/tokens.json: odd texts, and what Hugging Face's own library makes of them. */
static void check_odd_texts(const char *model)
{
    char *dir = model_dir(model);
    if (!dir)
        SKIP("no model %s in results/models or in SEQTOPK_SHARED", model);
    char *file = xasprintf("%s/tokenizer.json", dir);
    struct tokenizer *t = tokenizer_open(file, &err);
    if (!t)
        fail_msg("%s", err.s);
    json_t *golden = json_load_file("tests/data/golden/tokens.json", JSON_ALLOW_NUL, NULL);
    const json_t *texts = json_object_get(golden, model);
    assert_true(json_array_size(texts) > 20);
    for (size_t i = 0; i < json_array_size(texts); i++) {
        const json_t *text = json_object_get(json_array_get(texts, i), "text");
        const json_t *want = json_object_get(json_array_get(texts, i), "ids");
        struct ids ids = { 0 };
        if (tokenizer_encode(t, json_string_value(text), json_string_length(text), &ids, &err))
            fail_msg("text %zu: %s", i, err.s);
        for (size_t k = 0; k < ids.len && k < json_array_size(want); k++)
            if (ids.v[k] != json_integer_value(json_array_get(want, k)))
                fail_msg("%s, text %zu (%s): id %zu is %d", model, i, json_string_value(text), k,
                         ids.v[k]);
        assert_int_equal(ids.len, json_array_size(want));
        free(ids.v);
    }
    json_decref(golden);
    tokenizer_free(t);
    free(file);
    free(dir);
}

static void odd_texts_have_the_ids_that_the_library_gives(void **state)
{
    (void)state;
    check_odd_texts("tiny-olmoe-2k");
    check_odd_texts("tiny-qwen2moe-2k");
}

/* ---- there and back ---- */

static void odd_texts_come_back_in_normal_form(void **state)
{
    (void)state;
    static const struct {
        const char *s;
        size_t len;
    } texts[] = {
#define TEXT(s) { s, sizeof(s) - 1 }
        TEXT(""),
        TEXT("a"),
        TEXT("\0"),
        TEXT("a\0b\0\0 c"),
        TEXT("\x01\x02\x1b[31m\x7f\xc2\x80\xc2\x85\xc2\xa0"),
        TEXT("e\xcc\x81 \xcc\x81\xcc\x81 q\xcc\x87\xcc\xa3 \xe1\xba\x9b\xcc\xa3"),
        TEXT("\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab \xe2\x84\xab \xef\xac\x81 \xe2\x84\xa6"),
        TEXT("\xe4\xb8\xad\xe6\x96\x87\xef\xbc\x8c\xe6\xb5\x8b\xe8\xaf\x95 \xf0\xa0\x80\x80"),
        TEXT("\xf0\x9f\x91\xa9\xe2\x80\x8d\xf0\x9f\x91\xa7 \xf0\x9f\x87\xa9\xf0\x9f\x87\xaa!"),
        TEXT("  \t\t \r\n\r\n   \n x   \xe2\x80\x83\xe2\x80\xa8\xe1\xa0\x8e\xe3\x80\x80  "),
        TEXT("      "),
        TEXT("I'm you'LL he'd 'tis ''s"),
        TEXT("def f(x):\n    return x+1  # \xe2\x88\x91\r\n"),
        TEXT("<|end|><|end|>a <|end| >\xef\xbb\xbf<|endoftext|>"),
        TEXT("\xef\xbf\xbd\xef\xbf\xbf\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80"),
#undef TEXT
    };
    static const char split[] =
        "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"Split\", \"pattern\": "
        "{\"Regex\": \"(?i:'s|'ll)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}| "
        "?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"}, "
        "\"behavior\": \"Isolated\", \"invert\": false}, {\"type\": \"ByteLevel\", "
        "\"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": false}]}";
    struct tokenizer *gpt2 = small_open(&err, NULL);
    struct tokenizer *qwen = small_open(&err, "pre_tokenizer", split, NULL);
    assert_non_null(gpt2);
    assert_non_null(qwen);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        check_round_trip(gpt2, texts[i].s, texts[i].len);
        check_round_trip(qwen, texts[i].s, texts[i].len);
    }
    tokenizer_free(gpt2);
    tokenizer_free(qwen);
}

static void ids_are_those_worked_out_by_hand(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, NULL);
    assert_ids(t, "", "");
    assert_ids(t, "hello hello", "259 260");
    // The earlier merge goes first, not the leftmost: bc before ab, ab before ca.
    assert_ids(t, "abc cab", "64 264 220 66 265");
    // A space before a word goes to the word, those before it stay together.
    assert_ids(t, "a  hello\n", "64 220 260 198");
    // Not in normal form and in it: the same ids.
    assert_ids(t, "e\xcc\x81", "270");
    assert_ids(t, "\xc3\xa9", "270");
    assert_ids(t, "world", "86 78 81 75 67");
    tokenizer_free(t);
}

static void without_a_normalizer_text_stays_as_it_is(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, "normalizer", "null", NULL);
    assert_ids(t, "e\xcc\x81", "68 136 223");
    tokenizer_free(t);
}

static void one_token_may_be_a_part_of_a_character(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, NULL);
    struct buf out = BUF_INIT;
    assert_int_equal(tokenizer_decode(t, (int32_t[]){ 271, 136 }, 2, &out, &err), 0);
    assert_string_equal(out.s, "world\xcc");
    assert_int_equal(tokenizer_decode(t, NULL, 0, &out, &err), 0);
    assert_int_equal(out.len, 6);
    buf_release(&out);
    tokenizer_free(t);
}

/* ---- refusals ---- */

static void text_that_is_not_utf8_is_refused_with_its_byte(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, NULL);
    static const char *const bad[] = { "hello\xff", "hello\xc3", "hello\xed\xa0\x80",
                                       "hello\xc0\x80 ", "hello\xf4\x90\x80\x80" };
    struct ids ids = { 0 };
    ids_push(&ids, 7);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(tokenizer_encode(t, bad[i], strlen(bad[i]), &ids, &err), -1);
        assert_non_null(strstr(err.s, "not UTF-8 at byte 5"));
        assert_int_equal(ids.len, 1);
    }
    free(ids.v);
    tokenizer_free(t);
}

static void an_id_that_no_token_has_is_refused(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, "model vocab world", "300", "added_tokens", "[]", NULL);
    struct buf out = BUF_INIT;
    assert_int_equal(tokenizer_size(t), 301);
    static const int32_t bad[] = { -1, 271, 301, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char *want = xasprintf("no token has the id %d; ids go from 0 to 300", bad[i]);
        assert_int_equal(tokenizer_decode(t, (int32_t[]){ 0, bad[i] }, 2, &out, &err), -1);
        assert_non_null(strstr(err.s, want));
        assert_int_equal(out.len, 0);
        free(want);
    }
    tokenizer_free(t);
}

static void files_of_another_kind_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const bad[][2] = { { "", "not valid JSON" },
                                          { "{\"version\": \"1.0\"", "not valid JSON" },
                                          { "[1, 2]", "an array" },
                                          { "{}", "version is missing" } };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_null(small_open_text(bad[i][0], strlen(bad[i][0]), &err));
        assert_non_null(strstr(err.s, bad[i][1]));
    }
    assert_null(tokenizer_open("no/such/tokenizer.json", &err));
    assert_non_null(strstr(err.s, "no/such/tokenizer.json: No such file"));
}

static void what_is_not_supported_is_refused_by_name(void **state)
{
    (void)state;
    assert_refused("version", "\"2.0\"", "version is \"2.0\"; only \"1.0\"");
    assert_refused("normalizer", "{\"type\": \"Lowercase\"}", "normalizer 'Lowercase' is not");
    assert_refused("normalizer", "{\"type\": \"NFKC\"}", "normalizer 'NFKC' is not");
    assert_refused("normalizer", "\"NFC\"", "normalizer is \"NFC\"; only null and the type NFC");
    assert_refused("decoder", "null", "decoder is null; only the type ByteLevel");
    assert_refused("decoder", "{\"type\": \"WordPiece\"}", "decoder 'WordPiece' is not");
    assert_refused("pre_tokenizer", "null", "no pre-tokenizer with a type");
    assert_refused("pre_tokenizer type", "\"Metaspace\"", "'Metaspace' is not supported");
    assert_refused("model", NULL, "model is missing");
    assert_refused("model", "[]", "model is []");
    assert_refused("added_tokens", "{}", "added_tokens is {}");
}

static void parts_that_add_or_cut_tokens_are_ignored(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(
        &err, "post_processor", "{\"type\": \"TemplateProcessing\", \"single\": []}", "truncation",
        "{\"max_length\": 2}", "padding", "{\"strategy\": {\"Fixed\": 9}}", NULL);
    assert_ids(t, "hello hello hello", "259 260 260");
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(tiny_olmoe_gives_the_reference_ids, forget),
        cmocka_unit_test_teardown(tiny_qwen2moe_gives_the_reference_ids, forget),
        cmocka_unit_test_teardown(odd_texts_have_the_ids_that_the_library_gives, forget),
        cmocka_unit_test_teardown(odd_texts_come_back_in_normal_form, forget),
        cmocka_unit_test_teardown(ids_are_those_worked_out_by_hand, forget),
        cmocka_unit_test_teardown(without_a_normalizer_text_stays_as_it_is, forget),
        cmocka_unit_test_teardown(one_token_may_be_a_part_of_a_character, forget),
        cmocka_unit_test_teardown(text_that_is_not_utf8_is_refused_with_its_byte, forget),
        cmocka_unit_test_teardown(an_id_that_no_token_has_is_refused, forget),
        cmocka_unit_test_teardown(files_of_another_kind_are_refused_by_name, forget),
        cmocka_unit_test_teardown(what_is_not_supported_is_refused_by_name, forget),
        cmocka_unit_test_teardown(parts_that_add_or_cut_tokens_are_ignored, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
