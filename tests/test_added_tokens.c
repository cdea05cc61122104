/*
 * test_added_tokens.c: added tokens are found before anything else, as Hugging Face's tokenizers
 * finds them. In small.json 'a' is 64, 'b' 65, a space 220; more tokens get the ids from 275.
 */
#include "small_tokenizer.h"

static struct buf err;

static int forget(void **state)
{
    (void)state;
    buf_release(&err);
    return 0;
}

/* The entry of an added token; the options that are named in `set` are true. */
#define ADDED_MAX 8
static const char *entry(int id, const char *content, const char *set)
{
    static char *kept[ADDED_MAX];
    static size_t next;
    static const char *const options[] = { "single_word", "lstrip", "rstrip", "normalized",
                                           "special" };
    json_t *o = json_pack("{s:i, s:s}", "id", id, "content", content);
    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        json_object_set_new(o, options[i], json_boolean(strstr(set, options[i]) != NULL));
    char **place = &kept[next++ % ADDED_MAX];
    free(*place);
    *place = json_dumps(o, 0);
    json_decref(o);
    return *place;
}

static void the_leftmost_and_longest_is_taken(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, "added_tokens 3", entry(275, "<|en", ""),
                                     "added_tokens 4", entry(276, "|>b", ""), NULL);
    assert_ids(t, "<|end|>", "272");
    assert_ids(t, "<|end|>b", "272 65");
    assert_ids(t, "<|en|>b", "275 276");
    assert_ids(t, "a<|end|><|end|>a", "64 272 272 64");
    assert_ids(t, "<|end", "275 67");
    tokenizer_free(t);
}

static void runs_of_spaces_are_tokens(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, NULL);
    assert_ids(t, "    ", "273");
    assert_ids(t, "a   a", "64 274 64");
    // Seven are four and three; of eleven three are left, and with ten a pair remains.
    assert_ids(t, "       a", "273 274 64");
    assert_ids(t, "           a", "273 273 274 64");
    assert_ids(t, "          \n", "273 273 263 198");
    // What is left before a word goes to the word.
    assert_ids(t, "     a", "273 268");
    tokenizer_free(t);
}

static void single_word_needs_no_word_beside_it(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, "added_tokens 3", entry(275, "xyx", "single_word"),
                                     "added_tokens 4", entry(276, "yx", ""), NULL);
    assert_ids(t, "xyx", "275");
    assert_ids(t, " xyx.yx", "220 275 13 276");
    // Nothing shorter is tried within what was found, but behind it the search goes on.
    assert_ids(t, "axyx", "64 87 88 87");
    assert_ids(t, "axyxyx", "64 87 88 87 276");
    tokenizer_free(t);
}

static void what_is_a_word_follows_unicode(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, "added_tokens 3", entry(275, "xy", "single_word"), NULL);
    // A letter, a mark, a digit, an underline, a joiner, a letter in a circle: words.
    static const char *const words[] = { "\xc3\xa9", "\xcc\xa3",     "7",
                                         "_",        "\xe2\x80\x8d", "\xe2\x93\x90" };
    static const char *const others[] = { "-", "\xe2\x82\xac", "\xc2\xa0", "\xc2\xbd" };
    for (size_t i = 0; i < ARRAY_LEN(words) + ARRAY_LEN(others); i++) {
        bool word = i < ARRAY_LEN(words);
        const char *c = word ? words[i] : others[i - ARRAY_LEN(words)];
        for (int before = 0; before < 2; before++) {
            struct buf text = BUF_INIT;
            struct ids ids = { 0 };
            buf_addf(&text, "%s%s%s", before ? c : "", "xy", before ? "" : c);
            assert_int_equal(tokenizer_encode(t, text.s, text.len, &ids, &err), 0);
            bool found = false;
            for (size_t k = 0; k < ids.len; k++)
                found |= ids.v[k] == 275;
            if (found == word)
                fail_msg("'%s' was %s", text.s, found ? "taken" : "not taken");
            free(ids.v);
            buf_release(&text);
        }
    }
    tokenizer_free(t);
}

static void lstrip_and_rstrip_take_the_space_away(void **state)
{
    (void)state;
    struct tokenizer *t =
        small_open(&err, "added_tokens 3", entry(275, "<l>", "lstrip"), "added_tokens 4",
                   entry(276, "<r>", "rstrip"), "added_tokens 5",
                   entry(277, "<n>", "normalized lstrip"), NULL);
    assert_ids(t, "a \t\xe2\x80\x83<l> b", "64 275 220 65");
    assert_ids(t, "a <r> \n\xc2\x85 b", "64 220 276 65");
    assert_ids(t, "  <l>", "275");
    assert_ids(t, "<r>  ", "276");
    assert_ids(t, "a  <n> b", "64 277 220 65");
    // Spaces that one token took are not there for the next.
    assert_ids(t, "<r>  <l>a", "276 275 64");
    // U+180E is no white space any more.
    assert_ids(t, "\xe1\xa0\x8e<l>", "157 254 236 275");
    tokenizer_free(t);
}

static void normalized_says_where_a_token_is_looked_for(void **state)
{
    (void)state;
    struct tokenizer *t =
        small_open(&err, "added_tokens 3", entry(275, "<\xc3\xa9>", ""), "added_tokens 4",
                   entry(276, "[e\xcc\x81]", "normalized"), NULL);
    // Raw: only as it is written.
    assert_ids(t, "<\xc3\xa9>", "275");
    assert_ids(t, "<e\xcc\x81>", "27 270 29");
    // Normalised: both ways, though the file has it the long way.
    assert_ids(t, "[\xc3\xa9]", "276");
    assert_ids(t, "[e\xcc\x81]", "276");
    struct buf out = BUF_INIT;
    assert_int_equal(tokenizer_decode(t, (int32_t[]){ 275, 276 }, 2, &out, &err), 0);
    assert_string_equal(out.s, "<\xc3\xa9>[e\xcc\x81]");
    buf_release(&out);
    tokenizer_free(t);
}

static void a_token_between_text_breaks_the_normal_form(void **state)
{
    (void)state;
    // The accent behind the token does not join the letter before it.
    struct tokenizer *t = small_open(&err, NULL);
    assert_ids(t, "e<|end|>\xcc\x81", "68 272 136 223");
    tokenizer_free(t);
}

static void a_token_of_the_vocabulary_can_be_added_too(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, "added_tokens 3", entry(271, "world", ""),
                                     "added_tokens 4", entry(260, "\xc4\xa0hello", ""), NULL);
    assert_ids(t, "helloworld", "259 271");
    assert_int_equal(tokenizer_size(t), 275);
    // Its content is literal now: no space.
    struct buf out = BUF_INIT;
    assert_int_equal(tokenizer_decode(t, (int32_t[]){ 260 }, 1, &out, &err), 0);
    assert_string_equal(out.s, "\xc4\xa0hello");
    buf_release(&out);
    tokenizer_free(t);
}

static void no_added_tokens_are_fine(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct tokenizer *t = small_open(&err, "added_tokens",
                                         i == 0   ? NULL
                                         : i == 1 ? "null"
                                                  : "[]",
                                         NULL);
        assert_ids(t, "<|end|>", "27 91 68 77 67 91 29");
        assert_int_equal(tokenizer_size(t), 272);
        tokenizer_free(t);
    }
}

static void a_wrong_entry_is_refused(void **state)
{
    (void)state;
    assert_refused("added_tokens 0", "7", "an added token is not an object");
    assert_refused("added_tokens 0 lstrip", NULL, "lstrip is missing");
    assert_refused("added_tokens 0 normalized", "1", "normalized is 1");
    assert_refused("added_tokens 0 content", "\"\"", "the added token with id 272 is empty");
    assert_refused("added_tokens 0 content", "null", "content is null");
    assert_refused("added_tokens 0 id", "-1", "id is -1");
    assert_refused("added_tokens 0 id", "4194304", "id is 4194304");
    assert_refused("added_tokens 0 id", "1e3", "id is 1000.0");
    assert_refused("added_tokens 0 content", "\"a\\u0000b\"", "has a NUL character");
}

static void an_id_that_the_library_would_not_give_is_refused(void **state)
{
    (void)state;
    assert_refused("added_tokens 0 id", "273",
                   "'<|end|>' has id 273, but its place in the file "
                   "gives it 272");
    assert_refused("added_tokens 2 id", "280",
                   "has id 280, but its place in the file gives it 274");
    assert_refused("added_tokens 3", entry(275, "world", ""),
                   "has id 275, but its place in the file "
                   "gives it 271");
    // A hole in the vocabulary makes the first free id one that is taken.
    assert_refused("model vocab world", "272", "the id 272 is there twice");
}

static void a_token_that_is_there_twice_is_refused(void **state)
{
    (void)state;
    assert_refused("added_tokens 3", entry(275, "<|end|>", ""), "'<|end|>' is there twice");
    struct tokenizer *t =
        small_open(&err, "added_tokens 3", entry(275, "\xc3\xa9!", "normalized"), "added_tokens 4",
                   entry(276, "e\xcc\x81!", "normalized"), NULL);
    assert_null(t);
    assert_non_null(strstr(err.s, "is there twice"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_leftmost_and_longest_is_taken, forget),
        cmocka_unit_test_teardown(runs_of_spaces_are_tokens, forget),
        cmocka_unit_test_teardown(single_word_needs_no_word_beside_it, forget),
        cmocka_unit_test_teardown(what_is_a_word_follows_unicode, forget),
        cmocka_unit_test_teardown(lstrip_and_rstrip_take_the_space_away, forget),
        cmocka_unit_test_teardown(normalized_says_where_a_token_is_looked_for, forget),
        cmocka_unit_test_teardown(a_token_between_text_breaks_the_normal_form, forget),
        cmocka_unit_test_teardown(a_token_of_the_vocabulary_can_be_added_too, forget),
        cmocka_unit_test_teardown(no_added_tokens_are_fine, forget),
        cmocka_unit_test_teardown(a_wrong_entry_is_refused, forget),
        cmocka_unit_test_teardown(an_id_that_the_library_would_not_give_is_refused, forget),
        cmocka_unit_test_teardown(a_token_that_is_there_twice_is_refused, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
