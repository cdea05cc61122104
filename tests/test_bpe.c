/*
 * test_bpe.c: merges against a slow and simple version, both ways of writing them, ignore_merges,
 * long pieces, and models that are refused.
 */
#include "small_tokenizer.h"
#include "text/bpe.h"
#include "skip.h"

static struct buf err;

static int forget(void **state)
{
    (void)state;
    buf_release(&err);
    return 0;
}

/* ---- the oracle ---- */

/*
 * A random model over the letters a to d: `merges` pairs of pieces that exist, one after the other.
 * Ids are drawn so that they say nothing about the rank. The pieces go to `pieces` by id.
 */
static json_t *random_model(int merges, char **pieces, int (*pairs)[3])
{
    json_t *vocab = json_object(), *list = json_array();
    int n = 0;
    for (; n < 4; n++)
        pieces[n] = xasprintf("%c", 'a' + n);
    for (int tries = 0; n < 4 + merges && tries < 1000; tries++) {
        int a = rand() % n, b = rand() % n;
        char *piece = xasprintf("%s%s", pieces[a], pieces[b]);
        bool there = false;
        for (int i = 0; i < n; i++)
            there |= strcmp(pieces[i], piece) == 0;
        if (there) {
            free(piece);
            continue;
        }
        json_array_append_new(list, json_sprintf("%s %s", pieces[a], pieces[b]));
        memcpy(pairs[n - 4], (int[]){ a, b, n }, sizeof(pairs[0]));
        pieces[n++] = piece;
    }
    if (n != 4 + merges)
        BUG("no model of %d merges was found", merges);
    for (int i = 0; i < n; i++)
        json_object_set_new(vocab, pieces[i], json_integer(1000 - i));
    return json_pack("{s:s, s:o, s:o}", "type", "BPE", "vocab", vocab, "merges", list);
}

/* One merge at a time, the earliest of the list, the leftmost of the text. */
static size_t slow_merge(int *ids, size_t n, int (*pairs)[3], int merges)
{
    for (;;) {
        int rank = 0;
        size_t at = n;
        for (; rank < merges && at == n; rank++)
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

static void merges_are_those_of_the_slow_version(void **state)
{
    (void)state;
    enum { MERGES = 24, LEN = 90 };
    srand(7);
    for (int round = 0; round < 40; round++) {
        char *pieces[4 + MERGES];
        int pairs[MERGES][3];
        json_t *model = random_model(MERGES, pieces, pairs);
        struct bpe *b = bpe_new("model", model, &err);
        assert_non_null(b);
        for (int k = 0; k < 40; k++) {
            char s[LEN];
            int want[LEN];
            size_t len = 1 + (size_t)rand() % LEN, n;
            for (size_t i = 0; i < len; i++)
                s[i] = (char)('a' + (want[i] = rand() % (2 + round % 3)));
            n = slow_merge(want, len, pairs, MERGES);
            // The second time, what is short comes from the cache.
            for (int again = 0; again < 2; again++) {
                struct ids ids = { 0 };
                assert_int_equal(bpe_encode(b, s, len, &ids, &err), 0);
                assert_int_equal(ids.len, n);
                for (size_t i = 0; i < n; i++)
                    assert_int_equal(ids.v[i], 1000 - want[i]);
                free(ids.v);
            }
        }
        bpe_free(b);
        json_decref(model);
        for (int i = 0; i < 4 + MERGES; i++)
            free(pieces[i]);
    }
}

/* ---- what a file can say ---- */

static void merges_can_be_written_as_pairs(void **state)
{
    (void)state;
    struct tokenizer *t =
        small_open(&err, "model merges",
                   "[[\"h\", \"e\"], [\"l\", \"l\"], [\"he\", \"ll\"], [\"hell\", \"o\"],"
                   " [\"\\u0120\", \"hello\"]]",
                   NULL);
    assert_ids(t, "hello hello hell aa", "259 260 220 258 220 64 64");
    tokenizer_free(t);
}

static void the_version_line_of_older_files_is_no_merge(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, "model merges", "[\"#version: 0.2\", \"h e\"]", NULL);
    assert_ids(t, "hell", "256 75 75");
    tokenizer_free(t);
}

static void of_a_merge_that_comes_twice_the_later_counts(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, "model merges", "[\"a b\", \"b c\", \"a b\"]", NULL);
    assert_ids(t, "abc", "64 264");
    tokenizer_free(t);
}

static void ignore_merges_takes_a_piece_whole(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, "model ignore_merges", "true", NULL);
    assert_ids(t, "world", "271");
    assert_ids(t, "cab abc", "269 268 264");
    // With a space the piece is another one, and no token.
    assert_ids(t, " world hello", "220 86 78 81 75 67 260");
    assert_ids(t, "worlds", "86 78 81 75 67 82");
    tokenizer_free(t);
}

static void options_that_are_not_set_are_fine(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, "model dropout", "0.0", "model unk_token", "null",
                                     "model continuing_subword_prefix", "null",
                                     "model end_of_word_suffix", NULL, "model byte_fallback", NULL,
                                     "model fuse_unk", "true", "model ignore_merges", NULL, NULL);
    assert_ids(t, "hello", "259");
    tokenizer_free(t);
}

static void options_that_are_set_are_refused_by_name(void **state)
{
    (void)state;
    assert_refused("model dropout", "0.1", "model.dropout is set");
    assert_refused(
        "model unk_token", "\"<unk>\"",
        "model.unk_token is set, which is not supported where byte_fallback is not true");
    assert_refused("model continuing_subword_prefix", "\"##\"",
                   "model.continuing_subword_prefix is set");
    assert_refused("model end_of_word_suffix", "\"</w>\"", "model.end_of_word_suffix is set");
    assert_refused("model byte_fallback", "1", "byte_fallback is 1");
    assert_refused("model byte_fallback", "true", "model.vocab has no '<0x00>'");
    assert_refused("model ignore_merges", "\"yes\"", "ignore_merges is \"yes\"");
    assert_refused("model surprise", "1", "model.surprise is not known");
    assert_refused("model type", "\"Unigram\"", "model.type 'Unigram' is not supported; BPE is");
    assert_refused("model type", NULL, "type is missing");
}

static void a_wrong_vocabulary_is_refused(void **state)
{
    (void)state;
    assert_refused("model vocab", NULL, "model.vocab is not an object");
    assert_refused("model vocab", "{}", "model.vocab is not an object");
    assert_refused("model vocab", "[\"a\"]", "model.vocab is not an object");
    assert_refused("model vocab world", "270", "the id 270 is there twice");
    assert_refused("model vocab world", "-1", "the id of 'world' is not a number from 0");
    assert_refused("model vocab world", "4194304", "the id of 'world' is not a number from 0");
    assert_refused("model vocab world", "99999999999999", "the id of 'world'");
    assert_refused("model vocab world", "\"271\"", "the id of 'world'");
    assert_refused("model vocab world", "271.0", "the id of 'world'");
    static const char twice[] =
        "{\"version\": \"1.0\", \"model\": {\"vocab\": {\"a\": 0, \"a\": 1}}}";
    assert_null(small_open_text(twice, sizeof(twice) - 1, &err));
    assert_non_null(strstr(err.s, "duplicate object key"));
}

static void a_wrong_merge_is_refused(void **state)
{
    (void)state;
    assert_refused("model merges", NULL, "model.merges is not an array");
    assert_refused("model merges", "\"a b\"", "model.merges is not an array");
    assert_refused("model merges 0", "\"ab\"", "merge 0 is neither");
    assert_refused("model merges 1", "\"a b c\"", "merge 1 is neither");
    assert_refused("model merges 1", "[\"a\"]", "merge 1 is neither");
    assert_refused("model merges 1", "[\"a\", \"b\", \"c\"]", "merge 1 is neither");
    assert_refused("model merges 1", "[\"a\", 7]", "merge 1 is neither");
    assert_refused("model merges 1", "7", "merge 1 is neither");
    assert_refused("model merges 1", "\"a \"", "merge 1 has an empty half");
    assert_refused("model merges 1", "[\"\", \"a\"]", "merge 1 has an empty half");
    assert_refused("model merges 2", "\"xy a\"", "merge 2: 'xy' is not in the vocabulary");
    assert_refused("model merges 2", "\"a xy\"", "merge 2: 'xy' is not in the vocabulary");
    assert_refused("model merges 2", "\"x y\"", "merge 2: 'xy' is not in the vocabulary");
}

static void a_byte_without_a_token_is_refused(void **state)
{
    (void)state;
    struct tokenizer *t = small_open(&err, "model vocab q", NULL, "model vocab qq", "80", NULL);
    struct ids ids = { 0 };
    assert_non_null(t);
    assert_int_equal(tokenizer_encode(t, "hello hello q", 13, &ids, &err), -1);
    assert_non_null(strstr(err.s, "has no token for the byte 0x71"));
    assert_int_equal(ids.len, 0);
    free(ids.v);
    assert_ids(t, "hello", "259");
    tokenizer_free(t);
}

static void an_entry_that_is_not_written_in_bytes_stands_for_itself(void **state)
{
    (void)state;
    struct tokenizer *t =
        small_open(&err, "model vocab world", NULL, "model vocab \xe4\xb8\xad", "271", NULL);
    struct buf out = BUF_INIT;
    assert_int_equal(tokenizer_decode(t, (int32_t[]){ 271 }, 1, &out, &err), 0);
    assert_string_equal(out.s, "\xe4\xb8\xad");
    assert_ids(t, "\xe4\xb8\xad", "160 116 255");
    buf_release(&out);
    tokenizer_free(t);
}

/* ---- length ---- */

static void a_megabyte_without_a_break_is_merged_in_time(void **state)
{
    (void)state;
    enum { LEN = 1 << 20 };
    struct tokenizer *t = small_open(&err, "added_tokens", "[]", NULL);
    static const char letters[] = "a \n.\t7";
    char *s = xmalloc(LEN);
    double start = now_seconds();
    for (const char *c = letters; *c; c++) {
        struct ids ids = { 0 };
        struct buf back = BUF_INIT;
        memset(s, *c, LEN);
        if (tokenizer_encode(t, s, LEN, &ids, &err) != 0 ||
            tokenizer_decode(t, ids.v, ids.len, &back, &err) != 0)
            fail_msg("%s", err.s);
        assert_int_equal(ids.len, *c == 'a' ? LEN / 4 : *c == ' ' ? LEN / 2 : LEN);
        assert_int_equal(back.len, LEN);
        assert_memory_equal(back.s, s, LEN);
        free(ids.v);
        buf_release(&back);
    }
    // In quadratic time this would take an hour.
    assert_true(now_seconds() - start < 30 * patience());
    free(s);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(merges_are_those_of_the_slow_version, forget),
        cmocka_unit_test_teardown(merges_can_be_written_as_pairs, forget),
        cmocka_unit_test_teardown(the_version_line_of_older_files_is_no_merge, forget),
        cmocka_unit_test_teardown(of_a_merge_that_comes_twice_the_later_counts, forget),
        cmocka_unit_test_teardown(ignore_merges_takes_a_piece_whole, forget),
        cmocka_unit_test_teardown(options_that_are_not_set_are_fine, forget),
        cmocka_unit_test_teardown(options_that_are_set_are_refused_by_name, forget),
        cmocka_unit_test_teardown(a_wrong_vocabulary_is_refused, forget),
        cmocka_unit_test_teardown(a_wrong_merge_is_refused, forget),
        cmocka_unit_test_teardown(a_byte_without_a_token_is_refused, forget),
        cmocka_unit_test_teardown(an_entry_that_is_not_written_in_bytes_stands_for_itself, forget),
        cmocka_unit_test_teardown(a_megabyte_without_a_break_is_merged_in_time, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
