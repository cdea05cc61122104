/*
 * test_wordmath.c: the problems that evals/wordmath.lua makes: the same everywhere, right, as
 * difficult as their place says, and none of the test set in the training set. Sums are worked out
 * here anew.
 */
#include "recipe/data.h"
#include "recipe/data_file.h"
#include "fixture.h"

#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { TEST = 1000, TRAIN = 20000, FRIENDS = 12 };

/* What was made, once for all tests. */
static struct set {
    struct data_file file;
    json_t **items;
    size_t len, cap;
} sets[2]; // test, train
static struct eval *eval;
static struct buf err = BUF_INIT;

static int keep(void *ud, json_t *object, const char *where, struct buf *e)
{
    struct set *s = ud;
    (void)where, (void)e;
    ARRAY_GROW(s->items, s->cap, s->len + 1);
    s->items[s->len++] = json_incref(object);
    return 0;
}

static int open_sets(void **state)
{
    (void)state;
    eval = eval_open("wordmath", &err);
    for (int i = 0; i < 2; i++)
        if (!eval || data_file_of_eval(&sets[i].file, eval, i == 1, &err) != 0 ||
            data_file_each(&sets[i].file, &(struct eval_rows){ 0 }, 0, keep, &sets[i], &err) != 0)
            BUG("%s (tests run from the project's root)", err.s);
    return 0;
}

static int close_sets(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        for (size_t j = 0; j < sets[i].len; j++)
            json_decref(sets[i].items[j]);
        free(sets[i].items);
        data_file_release(&sets[i].file);
    }
    eval_free(eval);
    buf_release(&err);
    return 0;
}

static const char *text(const json_t *item, const char *field)
{
    const char *s = json_string_value(json_object_get(item, field));
    if (!s)
        fail_msg("no text '%s'", field);
    return s;
}

static int64_t number(const json_t *item, const char *field)
{
    if (!json_is_integer(json_object_get(item, field)))
        fail_msg("no number '%s'", field);
    return json_integer_value(json_object_get(item, field));
}

static void there_are_as_many_as_are_said(void **state)
{
    (void)state;
    assert_int_equal(sets[0].len, TEST);
    assert_int_equal(sets[1].len, TRAIN);
}

/* A change of these changes every number that was ever measured: then raise the forms' versions. */
static void the_same_problems_are_made_everywhere(void **state)
{
    (void)state;
    assert_string_equal(sets[0].file.hash, "033d34363cb6e1d17c6b7fe44a75a417");
    assert_string_equal(sets[1].file.hash, "aa52df0865232f7f7f94f75acb94ddfa");
    const json_t *second = sets[0].items[1];
    assert_string_equal(text(second, "question"),
                        "Jack has 17 cards. Jack loses 2 cards. Ivy has 2 times as many cards as "
                        "Jack. How many cards does Ivy have?");
    assert_string_equal(text(second, "answer"), "Jack has 17 - 2 = <<17-2=15>>15 cards left.\nIvy "
                                                "has 15 * 2 = <<15*2=30>>30 cards.\n#### 30");
}

static void its_place_tells_how_difficult_a_problem_is(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        for (size_t d = 0; d < sets[i].len; d++) {
            const json_t *item = sets[i].items[d];
            assert_int_equal(number(item, "steps"), 1 + d % 4);
            assert_int_equal(number(item, "distractors"), d / 4 % 2);
            assert_int_equal(number(item, "large"), d / 8 % 5 == 4);
            assert_int_equal(number(item, "difficulty"), number(item, "steps") +
                                                             number(item, "distractors") +
                                                             number(item, "large"));
        }
}

/* ---- sums ---- */

/* The value of 12*3/4 and the like, from the left; whole at every step but the last may not be. */
static bool work_out(const char *s, size_t len, long *out)
{
    const char *end = s + len;
    char *p;
    long long value = strtoll(s, &p, 10);
    while (p < end) {
        char op = *p++;
        long long b = strtoll(p, &p, 10);
        if (op == '/' && (b == 0 || value % b != 0))
            return false;
        value = op == '+'   ? value + b
                : op == '-' ? value - b
                : op == '*' ? value * b
                : op == '/' ? value / b
                            : -1;
    }
    *out = (long)value;
    return p == end && len > 0;
}

/* Without its spaces and its dollar, does the text before << end in the sum that is inside? */
static bool is_written_before(const char *line, const char *open, const char *sum, size_t len)
{
    const char *p = open;
    while (p > line && (p[-1] == '$' || p[-1] == ' ' || p[-1] == '='))
        p--;
    size_t left = len;
    for (; p > line && left > 0; p--)
        if (p[-1] != ' ' && p[-1] != sum[--left])
            return false;
    return left == 0;
}

/* Is `n` a number of the text, with no digit beside it? */
static bool has_number(const char *s, long n)
{
    while (*s) {
        if (!isdigit((unsigned char)*s)) {
            s++;
            continue;
        }
        char *end;
        if (strtol(s, &end, 10) == n)
            return true;
        s = end;
    }
    return false;
}

/* Is what the sum takes known: from the problem, from the line before, or a word's meaning? */
static void assert_known(const json_t *item, const char *sum, size_t len, long before)
{
    for (const char *p = sum; p < sum + len;) {
        char *end;
        long n = strtol(p, &end, 10);
        p = end + (end < sum + len);
        bool word = n == 2 || n == 3 || n == 4 || n == 5 || n == 100; // half, a third, ... of
        if (n != before && !word && !has_number(text(item, "question"), n))
            fail_msg("%s\n%s\nwhere is %ld from?", text(item, "question"), text(item, "answer"), n);
    }
}

/* One line: its sum is right and written out; returns what it comes to. */
static long assert_line(const json_t *item, const char *line, size_t len, long before)
{
    const char *open = memmem(line, len, "<<", 2), *close = memmem(line, len, ">>", 2);
    const char *equals = open ? memchr(open, '=', (size_t)(line + len - open)) : NULL;
    long value = 0, result = close ? strtol(equals + 1, NULL, 10) : -1;
    if (!open || !close || !equals || equals > close ||
        !work_out(open + 2, (size_t)(equals - open - 2), &value) || value != result ||
        strtol(close + 2, NULL, 10) != result ||
        !is_written_before(line, open, open + 2, (size_t)(equals - open - 2)))
        fail_msg("%s\n%.*s", text(item, "question"), (int)len, line);
    assert_known(item, open + 2, (size_t)(equals - open - 2), before);
    return result;
}

static void assert_answer(const json_t *item)
{
    long value = -1;
    int lines = 0;
    const char *p = text(item, "answer");
    for (const char *end; strncmp(p, "#### ", 5) != 0; p = end + 1, lines++) {
        end = strchr(p, '\n');
        if (!end)
            fail_msg("no last line: %s", text(item, "answer"));
        value = assert_line(item, p, (size_t)(end - p), value);
    }
    char *end;
    assert_int_equal(strtol(p + 5, &end, 10), value);
    assert_string_equal(end, "");
    assert_in_range(value, 2, number(item, "large") ? 200 : 60);
    assert_int_equal(lines, number(item, "steps"));
}

static void each_answer_is_right_line_by_line(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        for (size_t d = 0; d < sets[i].len; d++)
            assert_answer(sets[i].items[d]);
}

static void texts_are_whole(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        for (size_t d = 0; d < sets[i].len; d++) {
            const char *question = text(sets[i].items[d], "question");
            if (strpbrk(question, "{}\n") || strpbrk(text(sets[i].items[d], "answer"), "{}") ||
                strstr(question, "  ") || question[strlen(question) - 1] != '?')
                fail_msg("%s", question);
        }
}

/* ---- two sets ---- */

/* The kinds of the steps and all sums: what a problem is besides its words. */
static char *key_of(const json_t *item)
{
    struct buf key = BUF_INIT;
    size_t i;
    const json_t *kind;
    json_array_foreach (json_object_get(item, "kinds"), i, kind)
        buf_addf(&key, "%s,", json_string_value(kind));
    for (const char *p = text(item, "answer"); (p = strstr(p, "<<")); p += 2)
        buf_addf(&key, "%.*s;", (int)strcspn(p, ">"), p);
    return buf_detach(&key);
}

static void keys_of(const struct set *s, struct strings *out)
{
    for (size_t i = 0; i < s->len; i++) {
        char *key = key_of(s->items[i]);
        strings_add(out, key);
        free(key);
    }
    strings_sort(out);
}

static void no_test_problem_is_a_training_problem_in_other_words(void **state)
{
    (void)state;
    struct strings test = { 0 }, train = { 0 };
    keys_of(&sets[0], &test);
    keys_of(&sets[1], &train);
    assert_int_equal(test.len, TEST); // and none is there twice
    assert_in_range(train.len, TRAIN / 2, TRAIN);
    for (size_t i = 0, j = 0; i < test.len; i++) {
        while (j < train.len && strcmp(train.v[j], test.v[i]) < 0)
            j++;
        if (j < train.len && strcmp(train.v[j], test.v[i]) == 0)
            fail_msg("in both: %s", test.v[i]);
    }
    strings_release(&test);
    strings_release(&train);
}

static void each_kind_of_step_is_in_both_sets(void **state)
{
    (void)state;
    struct strings kinds[2] = { { 0 } };
    for (int i = 0; i < 2; i++) {
        for (size_t d = 0; d < sets[i].len; d++) {
            size_t k;
            const json_t *kind;
            json_array_foreach (json_object_get(sets[i].items[d], "kinds"), k, kind)
                strings_add(&kinds[i], json_string_value(kind));
        }
        strings_sort(&kinds[i]);
    }
    assert_in_range(kinds[0].len, 12, 100);
    assert_int_equal(kinds[0].len, kinds[1].len);
    for (int i = 0; i < 2; i++)
        strings_release(&kinds[i]);
}

/* ---- as a task ---- */

static void a_limit_takes_the_first_problems(void **state)
{
    (void)state;
    struct task task;
    struct documents docs = { 0 };
    if (task_named("wordmath/0shot", NULL, FRIENDS, &task, &err) != 0 ||
        data_check(&task, &err) != 0 || documents_read(&task, NULL, 0, &docs, &err) != 0)
        fail_msg("%s", err.s);
    assert_null(task.file);
    assert_int_equal(task.documents, FRIENDS);
    assert_string_equal(task.data_hash, sets[0].file.hash);
    assert_int_equal(docs.len, FRIENDS);
    for (size_t d = 0; d < docs.len; d++)
        assert_true(json_equal(docs.v[d].fields, sets[0].items[d]));
    documents_release(&docs);
    task_release(&task);
}

static double score_of(const json_t *item, const char *output, size_t measure)
{
    const struct eval_form *form = &eval->forms[0];
    assert_string_equal(form->name, "0shot");
    struct tools tools = { 0 };
    struct verdict v;
    if (measures_score(&form->measures[measure], 1, &tools, item, output, &v, &err) != 0)
        fail_msg("%s", err.s);
    double score = v.score;
    verdict_release(&v);
    return score;
}

static void its_own_answer_scores_1(void **state)
{
    (void)state;
    for (size_t d = 0; d < TEST; d++) {
        const json_t *item = sets[0].items[d];
        char *answer = xasprintf(" %s", text(item, "answer"));
        assert_true(score_of(item, answer, 0) == 1 && score_of(item, answer, 1) == 1);
        strstr(answer, "####")[3] = ' '; // the number alone
        assert_true(score_of(item, answer, 0) == 0 && score_of(item, answer, 1) == 1);
        assert_true(score_of(item, "", 0) == 0 && score_of(item, "", 1) == 0);
        assert_true(score_of(item, "#### 0", 0) == 0 && score_of(item, "#### 0", 1) == 0);
        free(answer);
    }
}

/* With tiny-olmoe-2k's tokenizer. */
static void most_problems_are_below_200_tokens(void **state)
{
    (void)state;
    struct tokenizer *t = tokenizer_open("results/models/tiny-olmoe-2k/tokenizer.json", &err);
    struct buf line = BUF_INIT;
    size_t shorter = 0, longest = 0, sum = 0;
    if (!t)
        fail_msg("%s", err.s);
    for (size_t d = 0; d < TEST; d++) {
        struct ids ids = { 0 }, answer = { 0 };
        buf_reset(&line);
        buf_addf(&line, "Question: %s\nAnswer:", text(sets[0].items[d], "question"));
        assert_int_equal(tokenizer_encode(t, line.s, line.len, &ids, &err), 0);
        buf_reset(&line);
        buf_addf(&line, " %s", text(sets[0].items[d], "answer"));
        assert_int_equal(tokenizer_encode(t, line.s, line.len, &answer, &err), 0);
        assert_in_range(answer.len, 5, eval->forms[0].decoding.max_tokens - 1);
        size_t tokens = ids.len + answer.len;
        shorter += tokens < 200;
        longest = tokens > longest ? tokens : longest;
        sum += tokens;
        free(ids.v);
        free(answer.v);
    }
    print_message("# %zu tokens on average, %zu at most, %zu of %d below 200\n", sum / TEST,
                  longest, shorter, TEST);
    assert_in_range(shorter, TEST * 9 / 10, TEST);
    assert_in_range(longest, 1, 400);
    buf_release(&line);
    tokenizer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_as_many_as_are_said),
        cmocka_unit_test(the_same_problems_are_made_everywhere),
        cmocka_unit_test(its_place_tells_how_difficult_a_problem_is),
        cmocka_unit_test(each_answer_is_right_line_by_line),
        cmocka_unit_test(texts_are_whole),
        cmocka_unit_test(no_test_problem_is_a_training_problem_in_other_words),
        cmocka_unit_test(each_kind_of_step_is_in_both_sets),
        cmocka_unit_test(a_limit_takes_the_first_problems),
        cmocka_unit_test(its_own_answer_scores_1),
        cmocka_unit_test(most_problems_are_below_200_tokens),
    };
    return cmocka_run_group_tests(tests, open_sets, close_sets);
}
