/*
 * test_data.c: lines into documents, and every line that is none refused by its number. The
 * tokenizer is tests/data/tokenizer/small.json, in which "hello", " hello" and "ab" are one token.
 */
#include "recipe/data.h"
#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static char *dir;
static struct buf err = BUF_INIT;
static struct tokenizer *tokenizer;
static struct documents docs;

static int open_all(void **state)
{
    (void)state;
    tokenizer = tokenizer_open("tests/data/tokenizer/small.json", &err);
    if (!tokenizer)
        BUG("%s (tests run from the project's root)", err.s);
    dir = fixture_dir();
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    tokenizer_free(tokenizer);
    fixture_remove(dir);
    return 0;
}

static int forget(void **state)
{
    (void)state;
    documents_release(&docs);
    buf_release(&err);
    return 0;
}

/* The file's texts as whole texts, or with `prompt` and `target` as templates. */
static struct task make_task(const char *lines, size_t len, const char *prompt, const char *target)
{
    fixture_file(dir, "d.jsonl", lines, len);
    struct task t = { .file = xasprintf("%s/d.jsonl", dir),
                      .text = prompt ? NULL : xstrdup("text") };
    t.prompt = prompt ? xstrdup(prompt) : NULL;
    t.target = target ? xstrdup(target) : NULL;
    return t;
}

static int read_task(struct task *t, int context)
{
    documents_release(&docs);
    int rc = documents_read(t, tokenizer, context, &docs, &err);
    task_release(t);
    return rc;
}

static void must_read(const char *lines)
{
    struct task t = make_task(lines, strlen(lines), NULL, NULL);
    if (read_task(&t, 100) != 0)
        fail_msg("%s", err.s);
}

/* Whole texts: both data_check() (where `early`) and documents_read() refuse with `want`. */
static void assert_refused_len(const char *lines, size_t len, bool early, const char *want)
{
    char *sentence = xasprintf("%s/d.jsonl%s", dir, want);
    struct task t = make_task(lines, len, NULL, NULL);
    assert_int_equal(data_check(&t, &err), early ? -1 : 0);
    if (early)
        assert_string_equal(err.s, sentence);
    assert_int_equal(read_task(&t, 10), -1);
    assert_string_equal(err.s, sentence);
    free(sentence);
}

static void assert_refused(const char *lines, bool early, const char *want)
{
    assert_refused_len(lines, strlen(lines), early, want);
}

static void assert_ids_are(const struct document *d, int n, const int32_t *want)
{
    assert_int_equal(d->ids.len, n);
    assert_memory_equal(d->ids.v, want, (size_t)n * sizeof(*want));
}

static void each_line_is_a_document(void **state)
{
    (void)state;
    must_read("{\"text\": \"hello hello\"}\n{\"id\": 3, \"text\": \"ab hello abc\"}");
    assert_int_equal(docs.len, 2);
    assert_ids_are(&docs.v[0], 2, (int32_t[]){ 259, 260 });
    assert_int_equal(docs.v[0].prompt_tokens, 1);
    assert_false(docs.v[0].truncated);
    assert_int_equal(docs.v[1].ids.v[0], 265);
    assert_int_equal(docs.truncated, 0);
    must_read("{\"text\": \"hello hello\"}\r\n"); // as Windows ends lines
    assert_int_equal(docs.len, 1);
    must_read("{\"text\": \"caf\\u00e9 \\ud83d\\ude00\"}\n");
    assert_int_equal(docs.len, 1);
}

static void prompt_and_target_are_tokenized_apart(void **state)
{
    (void)state;
    const char *line = "{\"q\": \"hello a\", \"r\": \"b\"}\n";
    struct task t = make_task(line, strlen(line), "{q}", "{r}");
    if (read_task(&t, 100) != 0)
        fail_msg("%s", err.s);
    // "ab" at the seam would be the one token 265.
    assert_ids_are(&docs.v[0], 3, (int32_t[]){ 259, 268, 65 });
    assert_int_equal(docs.v[0].prompt_tokens, 2);
    t = make_task(line, strlen(line), "{{{r}}}a", " {q}{{}}");
    if (read_task(&t, 100) != 0)
        fail_msg("%s", err.s);
    struct buf text = BUF_INIT;
    assert_int_equal(tokenizer_decode(tokenizer, docs.v[0].ids.v, docs.v[0].ids.len, &text, &err),
                     0);
    assert_string_equal(text.s, "{b}a hello a{}");
    buf_release(&text);
    assert_int_equal(docs.v[0].prompt_tokens, 4);
}

static void a_limit_takes_the_first_lines_and_reads_no_further(void **state)
{
    (void)state;
    const char *lines = "{\"text\": \"ab ab\"}\n{\"text\": \"ab hello\"}\nthis is no JSON\n";
    struct task t = make_task(lines, strlen(lines), NULL, NULL);
    t.limit = 2;
    assert_int_equal(data_check(&t, &err), 0);
    assert_int_equal(t.documents, 2);
    assert_int_equal(strlen(t.data_hash), 32);
    assert_int_equal(read_task(&t, 100), 0);
    assert_int_equal(docs.len, 2);
    t = make_task(lines, strlen("{\"text\": \"ab ab\"}"), NULL, NULL); // no line end at the end
    t.limit = 7;
    assert_int_equal(data_check(&t, &err), 0);
    assert_int_equal(t.documents, 1);
    task_release(&t);
}

static void a_line_that_is_no_document_is_refused_by_number(void **state)
{
    (void)state;
    static const char good[] = "{\"text\": \"ab ab\"}\n";
#define BEHIND(line) "{\"text\": \"ab ab\"}\n" line "\n"
    assert_refused(BEHIND("{\"text\": \"ab"), true,
                   ":2: not valid JSON: premature end of input near '\"ab'");
    assert_refused(BEHIND("[1]"), true, ":2: a JSON object is needed, but this is an array");
    assert_refused(BEHIND("{\"txt\": \"ab\"}"), true, ":2: text is missing; a string is allowed");
    assert_refused(BEHIND("{\"text\": 7}"), true, ":2: text is 7; a string is allowed");
    assert_refused(BEHIND("{\"text\": null}"), true, ":2: text is null; a string is allowed");
    assert_refused(BEHIND(""), true, ":2: an empty line; each line is a JSON object");
    assert_refused(BEHIND("\r"), true, ":2: an empty line; each line is a JSON object");
    assert_refused(BEHIND("{\"text\": \"\"}"), true,
                   ":2: 'text' is an empty text; a loss needs at least two tokens");
    assert_refused(BEHIND("{\"text\": \"a\xff\"}"), true, ":2: byte 12 of the line is not UTF-8");
    assert_refused(BEHIND("{\"text\": \"hello\"}"), false,
                   ":2: a text of 1 token; a loss needs at least two");
    assert_refused("", true, ": an empty file; each line is a document");
    assert_refused_len("{\"text\": \"a\0b\"}", 14, true,
                       ":1: not valid JSON: control character 0x0 near '\"a'");
    must_read(good);
}

static void a_text_longer_than_the_context_is_refused_or_cut(void **state)
{
    (void)state;
    const char *lines = "{\"text\": \"ab hello\"}\n{\"text\": \"ab hello hello hello\"}\n";
    char *want = xasprintf("%s/d.jsonl:2: 4 tokens are more than the model's 3; the recipe may say "
                           "truncate = true",
                           dir);
    struct task t = make_task(lines, strlen(lines), NULL, NULL);
    assert_int_equal(read_task(&t, 3), -1);
    assert_string_equal(err.s, want);
    t = make_task(lines, strlen(lines), NULL, NULL);
    assert_int_equal(read_task(&t, 4), 0); // just fits
    assert_int_equal(docs.truncated, 0);
    t = make_task(lines, strlen(lines), NULL, NULL);
    t.truncate = true;
    assert_int_equal(read_task(&t, 3), 0);
    assert_int_equal(docs.truncated, 1);
    assert_false(docs.v[0].truncated);
    assert_true(docs.v[1].truncated);
    assert_ids_are(&docs.v[1], 3, (int32_t[]){ 265, 260, 260 });
    assert_int_equal(docs.v[1].prompt_tokens, 1);
    free(want);
}

static void a_long_prompt_is_cut_at_its_left(void **state)
{
    (void)state;
    const char *line = "{\"q\": \"ab hello hello\", \"r\": \"ab hello\"}\n";
    struct task t = make_task(line, strlen(line), "{q}", "{r}");
    assert_int_equal(read_task(&t, 4), -1);
    assert_non_null(strstr(err.s, ":1: 5 tokens are more than the model's 4"));
    t = make_task(line, strlen(line), "{q}", "{r}");
    t.truncate = true;
    assert_int_equal(read_task(&t, 3), 0);
    assert_ids_are(&docs.v[0], 3, (int32_t[]){ 260, 265, 260 });
    assert_int_equal(docs.v[0].prompt_tokens, 1);
    assert_int_equal(docs.truncated, 1);
    t = make_task(line, strlen(line), "{q}", "{r}");
    t.truncate = true;
    assert_int_equal(read_task(&t, 2), -1);
    assert_non_null(strstr(err.s, ":1: the answer alone has 2 tokens, and the model takes 2 with "
                                  "at least one of the prompt"));
}

static void a_template_names_the_field_that_is_missing(void **state)
{
    (void)state;
    const char *line = "{\"q\": \"hello\", \"r\": \"\"}\n";
    struct task t = make_task(line, strlen(line), "{q} {who}", "{r}");
    assert_int_equal(data_check(&t, &err), -1);
    assert_non_null(strstr(err.s, "d.jsonl:1: who is missing; a string is allowed"));
    task_release(&t);
    t = make_task(line, strlen(line), "{q}", "{r}");
    assert_int_equal(data_check(&t, &err), -1);
    assert_non_null(strstr(err.s, "d.jsonl:1: the answer to be scored is an empty text"));
    task_release(&t);
    t = make_task(line, strlen(line), "{r}", "{q}");
    assert_int_equal(data_check(&t, &err), -1);
    assert_non_null(strstr(err.s, "d.jsonl:1: the prompt is an empty text"));
    task_release(&t);
}

static void a_context_of_one_token_and_a_missing_file_are_refused(void **state)
{
    (void)state;
    struct task t = make_task("", 0, NULL, NULL);
    assert_int_equal(read_task(&t, 1), -1);
    assert_non_null(strstr(err.s, "a model with 1 positions"));
    t = make_task("", 0, NULL, NULL);
    unlink(t.file);
    assert_int_equal(data_check(&t, &err), -1);
    assert_non_null(strstr(err.s, "d.jsonl: No such file or directory"));
    assert_int_equal(read_task(&t, 10), -1);
    assert_non_null(strstr(err.s, "d.jsonl: No such file or directory"));
}

static void the_hash_is_of_the_whole_file(void **state)
{
    (void)state;
    const char *lines = "{\"text\": \"ab ab\"}\n{\"text\": \"ab\"}\n";
    struct task a = make_task(lines, strlen(lines), NULL, NULL);
    a.limit = 1;
    assert_int_equal(data_check(&a, &err), 0);
    struct task b = make_task(lines, strlen(lines) - 1, NULL, NULL);
    b.limit = 1;
    assert_int_equal(data_check(&b, &err), 0);
    assert_string_not_equal(a.data_hash, b.data_hash);
    task_release(&a);
    task_release(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_line_is_a_document, forget),
        cmocka_unit_test_teardown(prompt_and_target_are_tokenized_apart, forget),
        cmocka_unit_test_teardown(a_limit_takes_the_first_lines_and_reads_no_further, forget),
        cmocka_unit_test_teardown(a_line_that_is_no_document_is_refused_by_number, forget),
        cmocka_unit_test_teardown(a_text_longer_than_the_context_is_refused_or_cut, forget),
        cmocka_unit_test_teardown(a_long_prompt_is_cut_at_its_left, forget),
        cmocka_unit_test_teardown(a_template_names_the_field_that_is_missing, forget),
        cmocka_unit_test_teardown(a_context_of_one_token_and_a_missing_file_are_refused, forget),
        cmocka_unit_test_teardown(the_hash_is_of_the_whole_file, forget),
    };
    return cmocka_run_group_tests_name("data", tests, open_all, close_all);
}
