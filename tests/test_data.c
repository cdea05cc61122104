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
    struct task t = { .file = xasprintf("%s/d.jsonl", dir) };
    if (!prompt) {
        t.text = xstrdup("text");
        return t;
    }
    t.eval = xcalloc(1, sizeof(*t.eval));
    t.eval->name = xstrdup("e");
    t.eval->forms = xcalloc(1, sizeof(*t.eval->forms));
    t.eval->nforms = 1;
    t.eval->forms[0] = (struct eval_form){ .name = xstrdup("f"), .prompt = xstrdup(prompt) };
    if (target)
        t.eval->forms[0].target = xstrdup(target);
    t.eval->forms[0].generates = !target;
    t.form = &t.eval->forms[0];
    return t;
}

/* A task that generates `max_tokens` tokens behind `prompt`. */
static struct task make_generating(const char *lines, const char *prompt, int max_tokens)
{
    struct task t = make_task(lines, strlen(lines), prompt, NULL);
    t.name = xstrdup("e/f");
    t.decoding.max_tokens = max_tokens;
    return t;
}

/* Two shots from a file of lines {"n": 0}, {"n": 1}, ... */
static void add_shots(struct task *t, int lines, const char *text)
{
    struct buf all = BUF_INIT;
    for (int i = 0; i < lines; i++)
        buf_addf(&all, "{\"n\": %d}\n", i);
    fixture_text(dir, "shots.jsonl", all.s);
    buf_release(&all);
    t->shots_file = xasprintf("%s/shots.jsonl", dir);
    t->eval->forms[0].shots = (struct eval_shots){ .file = xstrdup("shots.jsonl"),
                                                   .text = xstrdup(text),
                                                   .count = 2,
                                                   .draw = SHOTS_PYTHON,
                                                   .seed = 1 };
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

static void a_target_behind_its_prompt_gets_no_space_of_its_own(void **state)
{
    (void)state;
    struct tokenizer *small = tokenizer;
    tokenizer = tokenizer_open("tests/data/golden/metaspace/tokenizer.json", &err);
    const char *line = "{\"q\": \"the time\", \"r\": \"of day\"}\n";
    struct task t = make_task(line, strlen(line), "{q}", " {r}");
    struct buf text = BUF_INIT;
    int rc = tokenizer ? read_task(&t, 100) : -1;
    if (rc == 0)
        rc = tokenizer_decode_text(tokenizer, docs.v[0].ids.v, docs.v[0].ids.len, &text, &err);
    tokenizer_free(tokenizer);
    tokenizer = small;
    if (rc != 0)
        fail_msg("%s", err.s);
    assert_string_equal(text.s, "the time of day");
    buf_release(&text);
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
    assert_non_null(strstr(err.s, "d.jsonl:1: "));
    assert_non_null(strstr(err.s, "who"));
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

static void assert_text(const struct document *d, const char *want)
{
    struct buf text = BUF_INIT;
    assert_int_equal(tokenizer_decode(tokenizer, d->ids.v, d->ids.len, &text, &err), 0);
    assert_string_equal(text.s, want);
    buf_release(&text);
}

static void shots_and_prompt_are_one_text(void **state)
{
    (void)state;
    // "ab" at the seam is one token, as it is not where a target begins.
    const char *lines = "{\"q\": \"b\"}\n{\"q\": \"b hello\"}\n";
    struct task t = make_generating(lines, "{q}", 5);
    add_shots(&t, 40, "{n}a");
    assert_int_equal(data_check(&t, &err), 0);
    assert_int_equal(strlen(t.shots_hash), 32);
    assert_int_equal(read_task(&t, 100), 0);
    // random.Random(1): sample(range(40), 2) twice
    assert_text(&docs.v[0], "8a36ab");
    assert_text(&docs.v[1], "4a16ab hello");
    assert_int_equal(docs.v[0].ids.v[docs.v[0].ids.len - 1], 265);
    assert_int_equal(docs.v[0].prompt_tokens, docs.v[0].ids.len);
    assert_string_equal(json_string_value(json_object_get(docs.v[1].fields, "q")), "b hello");
    t = make_generating(lines, "{q}", 5);
    add_shots(&t, 40, "{m}");
    assert_int_equal(data_check(&t, &err), -1);
    assert_non_null(strstr(err.s, "shots.jsonl:1: "));
    task_release(&t);
}

static void a_long_prompt_is_refused_or_leaves_room_for_new_tokens(void **state)
{
    (void)state;
    const char *lines = "{\"q\": \"ab\"}\n{\"q\": \"ab hello hello a\"}\n";
    struct task t = make_generating(lines, "{q}", 2);
    assert_int_equal(read_task(&t, 5), 0); // one new token has room, if not two
    assert_int_equal(docs.truncated, 0);
    t = make_generating(lines, "{q}", 2);
    assert_int_equal(read_task(&t, 4), -1);
    assert_non_null(strstr(err.s, "d.jsonl:2: a prompt of 4 tokens leaves no room for a new one in "
                                  "the model's 4; the recipe may say task { \"e/f\", truncate = "
                                  "true }, which cuts it at its left"));
    t = make_generating(lines, "{q}", 2);
    t.truncate = true;
    assert_int_equal(read_task(&t, 5), 0);
    assert_int_equal(docs.truncated, 1);
    assert_text(&docs.v[0], "ab");
    assert_text(&docs.v[1], " hello hello a");
    assert_int_equal(docs.v[1].prompt_tokens, 3);
    assert_true(docs.v[1].truncated);
    t = make_generating(lines, "{q}", 3);
    t.truncate = true;
    assert_int_equal(read_task(&t, 3), -1);
    assert_non_null(strstr(err.s, "e/f: long prompts are cut to leave room for max_tokens = 3, and "
                                  "the model has only 3 positions; the recipe may say task { "
                                  "\"e/f\", max_tokens = ... }"));
}

static void a_length_keeps_the_first_tokens_and_min_bytes_selects(void **state)
{
    (void)state;
    const char lines[] =
        "{\"text\": \"ab\"}\n{\"text\": \"abbaab\"}\n{\"text\": \"hello hello\"}\n";
    struct task t = make_task(lines, sizeof(lines) - 1, NULL, NULL);
    t.name = xstrdup("nll:d.jsonl");
    t.length = 2, t.min_bytes = 6;
    assert_int_equal(data_check(&t, &err), 0);
    assert_int_equal(t.documents, 2);
    assert_int_equal(documents_read(&t, tokenizer, 9, &docs, &err), 0);
    assert_int_equal(docs.len, 2);
    assert_int_equal(docs.v[0].ids.len, 2);
    assert_text(&docs.v[1], "hello hello");
    assert_int_equal(docs.truncated, 0);
    documents_release(&docs);
    t.length = 3;
    assert_int_equal(documents_read(&t, tokenizer, 9, &docs, &err), -1);
    assert_non_null(strstr(err.s, "d.jsonl:3: 2 tokens are fewer than length = 3; min_bytes = ... "
                                  "leaves shorter texts out"));
    documents_release(&docs);
    assert_int_equal(documents_read(&t, tokenizer, 2, &docs, &err), -1);
    assert_string_equal(err.s, "nll:d.jsonl: length = 3 is more than the 2 positions of the model");
    t.min_bytes = 100;
    assert_int_equal(data_check(&t, &err), -1);
    assert_non_null(strstr(err.s, "d.jsonl: no line has 100 bytes of text in 'text'"));
    task_release(&t);
}

static void rows_select_lines_and_documents_count_from_0(void **state)
{
    (void)state;
    const char *lines = "{\"id\": 1, \"q\": 7}\n{\"id\": 3, \"q\": \"ab\"}\n"
                        "{\"id\": 2, \"q\": \"hello\"}\n{\"id\": 4, \"q\": \"b\"}\n";
    struct task t = make_generating(lines, "{q}", 2);
    t.eval->rows = (struct eval_rows){ .field = xstrdup("id"), .from = 2, .to = 3 };
    assert_int_equal(data_check(&t, &err), 0);
    assert_int_equal(t.documents, 2);
    assert_int_equal(read_task(&t, 9), 0);
    assert_int_equal(docs.len, 2);
    assert_text(&docs.v[0], "ab");
    assert_text(&docs.v[1], "hello");
    t = make_generating(lines, "{q}", 2);
    t.eval->rows = (struct eval_rows){ .field = xstrdup("id"), .from = 2, .to = 4 };
    t.limit = 2;
    assert_int_equal(data_check(&t, &err), 0);
    assert_int_equal(t.documents, 2);
    task_release(&t);
    t = make_generating(lines, "{q}", 2);
    t.eval->rows = (struct eval_rows){ .field = xstrdup("id"), .from = 5, .to = 6 };
    assert_int_equal(data_check(&t, &err), -1);
    assert_non_null(strstr(err.s, "d.jsonl: no line has 'id' from 5 to 6"));
    free(t.eval->rows.field);
    t.eval->rows.field = xstrdup("q");
    assert_int_equal(data_check(&t, &err), -1);
    assert_non_null(strstr(err.s, "d.jsonl:2: q is \"ab\"; "));
    task_release(&t);
}

static void what_scores_an_output_must_be_there_before_the_run(void **state)
{
    (void)state;
    const char *lines = "{\"q\": \"ab\", \"a\": 1}\n{\"q\": \"ab\"}\n";
    static const size_t members[] = { offsetof(struct measure, reference),
                                      offsetof(struct measure, program),
                                      offsetof(struct measure, system),
                                      offsetof(struct measure, user) };
    for (size_t i = 0; i <= ARRAY_LEN(members); i++) {
        struct task t = make_generating(lines, "{q}", 2);
        struct eval_form *form = &t.eval->forms[0];
        if (i < ARRAY_LEN(members)) {
            form->measures = xcalloc(1, sizeof(*form->measures));
            form->nmeasures = 1;
            *(char **)((char *)form->measures + members[i]) = xstrdup(i ? "{output} {a}" : "{a}");
        } else {
            form->self_tests = xcalloc(1, sizeof(*form->self_tests));
            form->nself_tests = 1;
            form->self_tests[0].output = xstrdup("{a}");
        }
        assert_int_equal(data_check(&t, &err), -1);
        assert_non_null(strstr(err.s, "d.jsonl:2: "));
        t.limit = 1;
        assert_int_equal(data_check(&t, &err), 0);
        task_release(&t);
    }
}

/* Instruction data call the reference answer `output`. */
static void a_field_called_output_is_the_reference_s_alone(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        size_t offset;
    } keys[] = { { "program", offsetof(struct measure, program) },
                 { "system", offsetof(struct measure, system) },
                 { "user", offsetof(struct measure, user) } };
    const char *lines = "{\"q\": \"a\"}\n{\"q\": \"ab\", \"output\": \"b\"}\n";
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        struct task t = make_generating(lines, "{q}", 2);
        struct measure *m = xcalloc(1, sizeof(*m));
        t.eval->forms[0].measures = m;
        t.eval->forms[0].nmeasures = 1;
        m->name = xstrdup("it");
        char **template = (char **)((char *)m + keys[i].offset);
        *template = xstrdup("{output}");
        assert_int_equal(data_check(&t, &err), -1);
        char *want = xasprintf("%s/d.jsonl:2: {output} in `%s` of the measure it is what the model "
                               "wrote, and the line has a field 'output' too; give the field "
                               "another name",
                               dir, keys[i].key);
        assert_string_equal(err.s, want);
        free(*template); // without {output} in it the field may be there
        *template = xstrdup("{q}");
        assert_int_equal(data_check(&t, &err), 0);
        free(want);
        task_release(&t);
    }
}

static void a_reference_of_the_output_is_a_field(void **state)
{
    (void)state;
    struct task t =
        make_generating("{\"q\": \"ab\", \"output\": \"b\"}\n{\"q\": \"a\"}\n", "{q}", 2);
    struct measure *m = xcalloc(1, sizeof(*m));
    t.eval->forms[0].measures = m;
    t.eval->forms[0].nmeasures = 1;
    m->name = xstrdup("it");
    m->reference = xstrdup("{output}");
    assert_int_equal(data_check(&t, &err), -1);
    assert_non_null(strstr(err.s, "d.jsonl:2: no field 'output'; there is q"));
    t.limit = 1;
    assert_int_equal(data_check(&t, &err), 0);
    task_release(&t);
}

/* {"text": "ab ab"} and a line end, by `gzip -n`. */
static const unsigned char packed[] = { 0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03,
                                        0xab, 0x56, 0x2a, 0x49, 0xad, 0x28, 0x51, 0xb2, 0x52, 0x50,
                                        0x4a, 0x4c, 0x52, 0x48, 0x4c, 0x52, 0xaa, 0xe5, 0x02, 0x00,
                                        0x4a, 0x2f, 0x0f, 0xde, 0x12, 0x00, 0x00, 0x00 };

static int check_packed(const void *bytes, size_t len, const char *sha256)
{
    fixture_file(dir, "d.jsonl.gz", bytes, len);
    struct task t = { .file = xasprintf("%s/d.jsonl.gz", dir), .text = xstrdup("text") };
    t.sha256 = sha256;
    int rc = data_check(&t, &err);
    if (rc == 0) {
        t.sha256 = NULL;
        rc = read_task(&t, 9);
    } else {
        task_release(&t);
    }
    return rc;
}

static void a_file_behind_gzip_is_unpacked_whole(void **state)
{
    (void)state;
    if (check_packed(packed, sizeof(packed), NULL) != 0)
        fail_msg("%s", err.s);
    assert_int_equal(docs.len, 1);
    assert_text(&docs.v[0], "ab ab");
    unsigned char twice[2 * sizeof(packed)]; // one file behind the other is a file, too
    memcpy(twice, packed, sizeof(packed));
    memcpy(twice + sizeof(packed), packed, sizeof(packed));
    assert_int_equal(check_packed(twice, sizeof(twice), NULL), 0);
    assert_int_equal(docs.len, 2);
    for (size_t len = 0; len < sizeof(packed); len++) {
        assert_int_equal(check_packed(packed, len, NULL), -1);
        assert_non_null(strstr(err.s, "d.jsonl.gz: the gzip file is cut short"));
    }
    twice[20] ^= 0x55;
    assert_int_equal(check_packed(twice, sizeof(packed), NULL), -1);
    assert_non_null(strstr(err.s, "d.jsonl.gz: not a gzip file, or a broken one"));
    assert_int_equal(check_packed("{\"text\": \"ab ab\"}", 17, NULL), -1);
    assert_non_null(strstr(err.s, "d.jsonl.gz: not a gzip file, or a broken one"));
}

static void a_wrong_sum_is_told_with_both(void **state)
{
    (void)state;
    static const char right[] = "e769b8e64cb36212a738f525c1f90e9679fa7a83b334e6e6e8c52a24b1a06d7d";
    static const char wrong[] = "0000000000000000000000000000000000000000000000000000000000000000";
    assert_int_equal(check_packed(packed, sizeof(packed), right), 0);
    assert_int_equal(check_packed(packed, sizeof(packed), wrong), -1);
    char *want = xasprintf("%s/d.jsonl.gz: its SHA-256 is %s, and should be %s; scripts/fetch-data "
                           "gets it anew",
                           dir, right, wrong);
    assert_string_equal(err.s, want);
    free(want);
}

static void without_a_tokenizer_there_are_fields_and_no_tokens(void **state)
{
    (void)state;
    struct task t = make_generating("{\"q\": \"ab\"}\n", "{q}", 2);
    assert_int_equal(documents_read(&t, NULL, 0, &docs, &err), 0);
    assert_int_equal(docs.len, 1);
    assert_int_equal(docs.v[0].ids.len, 0);
    assert_non_null(json_object_get(docs.v[0].fields, "q"));
    task_release(&t);
}

/* Is the real data there? SEQTOPK_DATA then names it. */
static bool real_data(void)
{
    const char *shared = getenv("SEQTOPK_SHARED");
    char *data = xasprintf("%s/data", shared ? shared : "../shared");
    bool there = access(data, R_OK) == 0;
    setenv("SEQTOPK_DATA", data, 1);
    free(data);
    return there;
}

/* Every form of the project's evals. */
static void the_real_data_are_as_the_evals_say(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int documents;
    } tasks[] = {
        { "gsm8k/nll", 1319 },
        { "gsm8k/lmeval-5shot", 1319 },
        { "gsm8k/densemixer-0shot", 1319 },
        { "humaneval/nll", 164 },
        { "humaneval/lmeval", 164 },
        { "mbpp/nll", 500 },
        { "mbpp/lmeval-3shot", 500 },
        { "summary/nll", 100 },
        { "summary/esft", 100 },
        { "law/nll", 100 },
        { "law/esft", 100 },
    };
    if (!real_data())
        SKIP("no data in SEQTOPK_SHARED");
    for (size_t i = 0; i < ARRAY_LEN(tasks); i++) {
        struct task t;
        if (task_named(tasks[i].name, NULL, 0, &t, &err) != 0 || data_check(&t, &err) != 0)
            fail_msg("%s: %s", tasks[i].name, err.s);
        assert_int_equal(t.documents, tasks[i].documents);
        task_release(&t);
    }
}

/* The MBPP protocol's words around a task's fields. */
static void add_mbpp(struct buf *out, const json_t *line, bool shot)
{
    const json_t *tests = json_object_get(line, "test_list");
    buf_addf(out,
             "You are an expert Python programmer, and here is your task: %s Your code should pass "
             "these tests:\n\n%s\n%s\n%s\n[BEGIN]\n",
             json_string_value(json_object_get(line, "text")),
             json_string_value(json_array_get(tests, 0)),
             json_string_value(json_array_get(tests, 1)),
             json_string_value(json_array_get(tests, 2)));
    if (shot)
        buf_addf(out, "%s\n[DONE]\n\n", json_string_value(json_object_get(line, "code")));
}

/* The tasks 2, 3 and 4, and then 11; line n of the file is task n. */
static void the_prompt_of_mbpp_is_the_protocols(void **state)
{
    (void)state;
    struct task t;
    if (!real_data())
        SKIP("no data in SEQTOPK_SHARED");
    if (task_named("mbpp/lmeval-3shot", NULL, 1, &t, &err) != 0)
        fail_msg("%s", err.s);
    struct buf lines = BUF_INIT, want = BUF_INIT;
    assert_int_equal(read_file(t.file, 1 << 20, &lines, &err), 0);
    const char *at = lines.s;
    for (int number = 1; number <= 11; number++, at += strcspn(at, "\n") + 1) {
        json_t *line = json_loadb(at, strcspn(at, "\n"), 0, NULL);
        if (number == 11 || (number >= 2 && number <= 4))
            add_mbpp(&want, line, number < 11);
        json_decref(line);
    }
    assert_int_equal(read_task(&t, 1 << 20), 0);
    assert_text(&docs.v[0], want.s);
    assert_non_null(strstr(want.s, "\r\n"));
    buf_release(&lines);
    buf_release(&want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_line_is_a_document, forget),
        cmocka_unit_test_teardown(prompt_and_target_are_tokenized_apart, forget),
        cmocka_unit_test_teardown(a_target_behind_its_prompt_gets_no_space_of_its_own, forget),
        cmocka_unit_test_teardown(a_limit_takes_the_first_lines_and_reads_no_further, forget),
        cmocka_unit_test_teardown(a_line_that_is_no_document_is_refused_by_number, forget),
        cmocka_unit_test_teardown(a_text_longer_than_the_context_is_refused_or_cut, forget),
        cmocka_unit_test_teardown(a_long_prompt_is_cut_at_its_left, forget),
        cmocka_unit_test_teardown(a_template_names_the_field_that_is_missing, forget),
        cmocka_unit_test_teardown(a_context_of_one_token_and_a_missing_file_are_refused, forget),
        cmocka_unit_test_teardown(the_hash_is_of_the_whole_file, forget),
        cmocka_unit_test_teardown(shots_and_prompt_are_one_text, forget),
        cmocka_unit_test_teardown(a_long_prompt_is_refused_or_leaves_room_for_new_tokens, forget),
        cmocka_unit_test_teardown(rows_select_lines_and_documents_count_from_0, forget),
        cmocka_unit_test_teardown(what_scores_an_output_must_be_there_before_the_run, forget),
        cmocka_unit_test_teardown(a_field_called_output_is_the_reference_s_alone, forget),
        cmocka_unit_test_teardown(a_reference_of_the_output_is_a_field, forget),
        cmocka_unit_test_teardown(a_length_keeps_the_first_tokens_and_min_bytes_selects, forget),
        cmocka_unit_test_teardown(a_file_behind_gzip_is_unpacked_whole, forget),
        cmocka_unit_test_teardown(a_wrong_sum_is_told_with_both, forget),
        cmocka_unit_test_teardown(without_a_tokenizer_there_are_fields_and_no_tokens, forget),
        cmocka_unit_test_teardown(the_real_data_are_as_the_evals_say, forget),
        cmocka_unit_test_teardown(the_prompt_of_mbpp_is_the_protocols, forget),
    };
    return cmocka_run_group_tests_name("data", tests, open_all, close_all);
}
