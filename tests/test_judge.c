/*
 * test_judge.c: a judge is asked over HTTP and as a command, by a server of the test's own that
 * fails in every way there is; and what a measure makes of its replies.
 */
#include "judge_server.h"
#include "score/judge.h"
#include "score/measure.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include "skip.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>

#include <cmocka.h>

static struct server server;
static int fds_before;

static int open_files(void)
{
    int n = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static int start(void **state)
{
    (void)state;
    // A proxy would stand between this test and its server.
    unsetenv("http_proxy");
    unsetenv("all_proxy");
    unsetenv("ALL_PROXY");
    setenv("TEST_KEY", "sk-secret-123", 1);
    fds_before = open_files();
    server_start(&server);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    server_stop(&server);
    return 0;
}

/* ---- helpers ---- */

/* A judge at http://127.0.0.1:PORT/PATH that waits little. */
static struct judge *judge_at(const char *path)
{
    struct buf err = BUF_INIT;
    char *url = xasprintf("http://127.0.0.1:%d/%s", server.port, path);
    struct judge_spec spec = { .url = url,
                               .model = "judge-1",
                               .key_env = "TEST_KEY",
                               .tries = 3,
                               .wait = 0.01,
                               .timeout = 10 };
    if (strcmp(path, "hang") == 0 || strcmp(path, "trickle") == 0)
        spec.timeout = 0.05;
    if (strcmp(path, "hangtwice") == 0)
        spec.timeout = 0.3; // the third answer may be slow on a busy machine
    server_forget(&server);
    struct judge *j = judge_open(&spec, &err);
    if (!j)
        fail_msg("%s", err.s);
    free(url);
    return j;
}

static struct judge *judge_by(const char *command, double timeout)
{
    struct buf err = BUF_INIT;
    struct judge_spec spec = { .command = command, .tries = 2, .wait = 0.01, .timeout = timeout };
    struct judge *j = judge_open(&spec, &err);
    if (!j)
        fail_msg("%s", err.s);
    return j;
}

/* Asks and closes. The reply, or with a '!' in front the error. The caller frees it. */
static char *asked(struct judge *j, const char *user)
{
    struct buf reply = BUF_INIT, err = BUF_INIT;
    int rc = judge_ask(j, "You are a judge.", user, 80, &reply, &err);
    char *said = rc == 0 ? xstrdup(reply.s) : xasprintf("!%s", err.s);
    if (strpbrk(err.s, "\r\n\a") || strstr(said, "sk-secret"))
        fail_msg("not fit to be shown: %s", said);
    if (rc != 0 && reply.len)
        fail_msg("an error and a reply: %s", reply.s);
    judge_close(j);
    buf_release(&reply);
    buf_release(&err);
    return said;
}

/* Checks that `said` has every one of the words, which a NULL ends; frees it. */
static void has(char *said, ...)
{
    va_list ap;
    va_start(ap, said);
    for (const char *words; (words = va_arg(ap, const char *));)
        if (!strstr(said, words))
            fail_msg("'%s' is not in: %s", words, said);
    va_end(ap);
    free(said);
}

/* Checks that `said` is `words`; frees it. An error shows the command: has() would find much. */
static void is(char *said, const char *words)
{
    assert_string_equal(said, words);
    free(said);
}

/* ---- what is accepted ---- */

static void refused(struct judge_spec spec, const char *words)
{
    struct buf err = BUF_INIT;
    struct judge *j = judge_open(&spec, &err);
    assert_null(j);
    if (!strstr(err.s, words))
        fail_msg("'%s' is not in: %s", words, err.s);
    if (strstr(err.s, "hunter2"))
        fail_msg("a secret in: %s", err.s);
    buf_release(&err);
}

static void a_spec_that_means_nothing_is_refused_with_what_is_allowed(void **state)
{
    (void)state;
    const char *u = "http://localhost:1/v1", *m = "m";
    setenv("TEST_EMPTY", "", 1);
    setenv("TEST_LINES", "hunter2\r\nX-Evil: 1", 1);
    unsetenv("TEST_NONE");
    refused((struct judge_spec){ 0 }, "neither url nor command");
    refused((struct judge_spec){ .url = u, .model = m, .command = "cat" }, "both url and command");
    refused((struct judge_spec){ .url = u }, "without model");
    refused((struct judge_spec){ .url = u, .model = "" }, "model is not");
    refused((struct judge_spec){ .url = u, .model = "a\nb" }, "model is not");
    refused((struct judge_spec){ .url = u, .model = "a\xff" }, "model is not");
    refused((struct judge_spec){ .url = "localhost:8000/v1", .model = m }, "http://... or https");
    refused((struct judge_spec){ .url = "ftp://localhost/v1", .model = m }, "http://... or https");
    refused((struct judge_spec){ .url = "file:///etc/passwd", .model = m }, "http://... or https");
    refused((struct judge_spec){ .url = "", .model = m }, "http://... or https");
    refused((struct judge_spec){ .url = "http://me:hunter2@localhost/", .model = m }, "password");
    refused((struct judge_spec){ .url = u, .model = m, .key_env = "TEST_NONE" },
            "TEST_NONE that key_env names is not set");
    refused((struct judge_spec){ .url = u, .model = m, .key_env = "TEST_EMPTY" }, "is empty");
    refused((struct judge_spec){ .url = u, .model = m, .key_env = "TEST_LINES" }, "byte 0x0d");
    refused((struct judge_spec){ .command = " \n" }, "command is empty");
    refused((struct judge_spec){ .command = "cat", .key_env = "TEST_KEY" },
            "key_env goes with url");
    refused((struct judge_spec){ .url = u, .model = m, .tries = -1 }, "1 to 100");
    refused((struct judge_spec){ .url = u, .model = m, .wait = 121 }, "0.001 to 120");
    refused((struct judge_spec){ .url = u, .model = m, .timeout = -1 }, "timeout is -1");
    refused((struct judge_spec){ .url = u, .model = m, .timeout = NAN }, "timeout is nan");
}

static void named(struct judge_spec spec, const char *name)
{
    struct buf err = BUF_INIT;
    struct judge *j = judge_open(&spec, &err);
    assert_non_null(j);
    assert_string_equal(judge_name(j), name);
    judge_close(j);
}

static void a_judge_has_its_models_name_or_the_commands(void **state)
{
    (void)state;
    named((struct judge_spec){ .url = "https://api.example.com/v1", .model = "gpt-4o" }, "gpt-4o");
    named((struct judge_spec){ .command = "cat", .model = "qwen 2" }, "qwen 2");
    named((struct judge_spec){ .command = "  /usr/bin/judge --fast /x" }, "judge");
    named((struct judge_spec){ .command = "./my.sh" }, "my.sh");
    named((struct judge_spec){ .command = "/usr/bin/" }, "/usr/bin/");
}

/* ---- over HTTP ---- */

static void a_request_has_what_the_format_asks_for(void **state)
{
    (void)state;
    has(asked(judge_at("good"), "请评分：“你好”\n\"quoted\" \\ 😀"), "总分是：8.5分", NULL);
    assert_int_equal(server.asked, 1);
    const char *head = server.head.s;
    assert_non_null(strstr(head, "POST /good/chat/completions HTTP/1.1\r\n"));
    assert_non_null(strstr(head, "\r\nAuthorization: Bearer sk-secret-123\r\n"));
    assert_non_null(strstr(head, "\r\nContent-Type: application/json\r\n"));
    assert_null(strstr(head, "Expect:"));
    json_t *got = json_loadb(server.body.s, server.body.len, 0, NULL);
    json_t *want =
        json_pack("{s:s, s:i, s:i, s:[{s:s, s:s}, {s:s, s:s}]}", "model", "judge-1", "max_tokens",
                  80, "temperature", 0, "messages", "role", "system", "content", "You are a judge.",
                  "role", "user", "content", "请评分：“你好”\n\"quoted\" \\ 😀");
    assert_non_null(want);
    assert_true(json_equal(got, want));
    json_decref(got);
    json_decref(want);
}

static void chinese_text_comes_back_as_it_went(void **state)
{
    (void)state;
    is(asked(judge_at("echo"), "预测：甲方\n赔偿１２元。😀"), "预测：甲方\n赔偿１２元。😀");
}

static void without_a_key_or_a_system_text_none_is_sent(void **state)
{
    (void)state;
    struct buf reply = BUF_INIT, err = BUF_INIT;
    char *url = xasprintf("http://127.0.0.1:%d/good/chat/completions/?v=hunter2#x", server.port);
    struct judge *j = judge_open(&(struct judge_spec){ .url = url, .model = "m" }, &err);
    assert_non_null(j);
    server_forget(&server);
    assert_int_equal(judge_ask(j, NULL, "u", 5, &reply, &err), 0);
    // The path is whole already; what is behind it stays.
    assert_non_null(strstr(server.head.s, "POST /good/chat/completions?v=hunter2 HTTP"));
    assert_null(strstr(server.head.s, "Authorization"));
    assert_null(strstr(server.body.s, "system"));
    assert_int_equal(judge_ask(j, "", "u", 5, &reply, &err), 0);
    assert_null(strstr(server.body.s, "system"));
    judge_close(j);
    buf_release(&reply);
    free(url);
}

static void a_query_stays_out_of_sentences(void **state)
{
    (void)state;
    struct buf reply = BUF_INIT, err = BUF_INIT;
    char *url = xasprintf("http://127.0.0.1:%d/404?v=hunter2", server.port);
    struct judge *j = judge_open(&(struct judge_spec){ .url = url, .model = "m" }, &err);
    assert_int_equal(judge_ask(j, NULL, "u", 5, &reply, &err), -1);
    assert_null(strstr(err.s, "hunter2"));
    assert_non_null(strstr(err.s, "/404/chat/completions: HTTP 404: there is no model 'm'"));
    judge_close(j);
    buf_release(&err);
    free(url);
}

/* Failures: how often the server is asked, and words of the sentence. */
static const struct {
    const char *path;
    int asked;
    const char *words;
} failures[] = {
    { "500", 3, "/500/chat/completions: HTTP 500: the GPU is on fire (3 tries)" },
    { "502", 3, "HTTP 502: <html> <head><title>502 Bad Gateway</title></head> (3 tries)" },
    { "408", 3, "HTTP 408: no word of why (3 tries)" },
    { "429", 3, "HTTP 429: slow down (3 tries)" },
    { "429long", 1, "HTTP 429: no quota; it asks for a pause of 3600 s, and 120 s is the longest" },
    { "400", 1, "HTTP 400: max_tokens is not supported" },
    { "401", 1, "HTTP 401: Incorrect API key: [key] is not one of ours" },
    { "404", 1, "HTTP 404: there is no model 'm'" },
    { "302", 1, "HTTP 302: it has moved to http://127.0.0.1" },
    { "hang", 3, "no whole reply within 0.05 s" },
    { "trickle", 3, "no whole reply within 0.05 s" },
    { "gone", 3, "Empty reply" },
    { "cut", 3, "(3 tries)" },
    { "giant", 1, "the reply is longer than 1048576 bytes" },
    { "broken", 1, "the reply is not valid JSON: {\"choices\": [{\"message\"" },
    { "html", 1, "the reply is not valid JSON: <html>Please log in</html>" },
    { "empty", 1, "no choices[0].message.content that is text: {\"choices\": []}" },
    { "number", 1, "no choices[0].message.content that is text" },
    { "error200", 1, "upstream is down" },
    { "null", 1, "the reply has no content (finish_reason: length)" },
    { "blank", 1, "the reply has no content (finish_reason: content_filter)" },
};

static void every_failure_has_its_number_of_tries_and_its_sentence(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        double from = now_seconds();
        char *said = asked(judge_at(failures[i].path), "u");
        double took = now_seconds() - from;
        if (said[0] != '!' || server.asked != failures[i].asked || took > 3)
            fail_msg("%s: asked %d times in %g s: %s", failures[i].path, server.asked, took, said);
        has(said, "!http://127.0.0.1:", failures[i].words, NULL);
    }
}

static void what_passes_is_tried_again_until_it_does(void **state)
{
    (void)state;
    static const char *const paths[] = { "500twice",  "429twice",  "408twice",
                                         "hangtwice", "gonetwice", "cuttwice" };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        char *said = asked(judge_at(paths[i]), "u");
        if (server.asked != 3)
            fail_msg("%s: asked %d times: %s", paths[i], server.asked, said);
        has(said, "总分是：8.5分", NULL);
    }
}

static size_t lines_of(const char *path)
{
    struct buf text = BUF_INIT, err = BUF_INIT;
    size_t n = 0;
    if (read_file(path, 1 << 20, &text, &err))
        fail_msg("%s", err.s);
    for (const char *c = text.s; *c; c++)
        n += *c == '\n';
    buf_release(&text);
    return n;
}

/* It writes a line each time, and replies only where the file `well` is there. */
static void a_judge_that_is_gone_is_not_asked_again_and_again(void **state)
{
    (void)state;
    struct buf err = BUF_INIT, reply = BUF_INIT;
    char dir[] = "/tmp/seqtopk-judge-XXXXXX";
    assert_non_null(mkdtemp(dir));
    char *count = xasprintf("%s/count", dir), *well = xasprintf("%s/well", dir);
    char *command = xasprintf("cat >/dev/null; echo x >>%s; test -e %s && echo 7", count, well);
    struct judge *j = judge_by(command, 5); // two tries
    for (int i = 0; i < 8; i++)
        assert_int_equal(judge_ask(j, NULL, "u", 5, &reply, &err), -1);
    assert_int_equal(lines_of(count), 16);
    assert_int_equal(judge_ask(j, NULL, "u", 5, &reply, &err), -1);
    assert_int_equal(lines_of(count), 17);
    assert_int_equal(write_file(well, "", 0, &err), 0);
    assert_int_equal(judge_ask(j, NULL, "u", 5, &reply, &err), 0);
    assert_int_equal(unlink(well), 0);
    assert_int_equal(judge_ask(j, NULL, "u", 5, &reply, &err), -1);
    assert_int_equal(lines_of(count), 20);
    judge_close(j);
    unlink(count);
    rmdir(dir);
    free(command);
    free(count);
    free(well);
    buf_release(&reply);
    buf_release(&err);
}

static void a_server_that_is_not_there_is_tried_again(void **state)
{
    (void)state;
    struct buf reply = BUF_INIT, err = BUF_INIT;
    struct server gone;
    server_start(&gone);
    server_stop(&gone);
    char *url = xasprintf("http://127.0.0.1:%d/v1", gone.port);
    struct judge *j = judge_open(
        &(struct judge_spec){ .url = url, .model = "m", .tries = 4, .wait = 0.02 }, &err);
    double from = now_seconds();
    assert_int_equal(judge_ask(j, NULL, "u", 5, &reply, &err), -1);
    // 0.02 + 0.04 + 0.08: each wait is twice the one before.
    assert_true(now_seconds() - from >= 0.14);
    assert_non_null(strstr(err.s, "(4 tries)"));
    judge_close(j);
    buf_release(&err);
    free(url);
}

static void retry_after_is_waited_for(void **state)
{
    (void)state;
    double from = now_seconds();
    is(asked(judge_at("429second"), "u"), "总分是：1分");
    assert_true(now_seconds() - from >= 1);
    assert_int_equal(server.asked, 2);
}

static void a_refusal_is_a_reply(void **state)
{
    (void)state;
    is(asked(judge_at("refusal"), "u"), "I will not rate this.");
}

static void a_question_that_is_no_text_is_not_asked(void **state)
{
    (void)state;
    has(asked(judge_at("good"), "a\xff"), "!", "not valid UTF-8", NULL);
    assert_int_equal(server.asked, 0);
}

static void *ask_many(void *arg)
{
    intptr_t wrong = 0;
    for (int i = 0; i < 10; i++) {
        struct buf reply = BUF_INIT, err = BUF_INIT;
        char *question = xasprintf("问题 %d of %lx", i, (unsigned long)pthread_self());
        wrong +=
            judge_ask(arg, "s", question, 80, &reply, &err) != 0 || strcmp(reply.s, question) != 0;
        free(question);
        buf_release(&reply);
        buf_release(&err);
    }
    return (void *)wrong;
}

static void threads_that_ask_at_once_get_each_their_own_reply(void **state)
{
    (void)state;
    struct judge *judges[] = {
        judge_at("echo"), judge_by("sed -e 's/.*\"user\",\"content\":\"//' -e 's/\".*//'", 10)
    };
    for (size_t k = 0; k < ARRAY_LEN(judges); k++) {
        pthread_t threads[8];
        for (size_t i = 0; i < ARRAY_LEN(threads); i++)
            assert_int_equal(pthread_create(&threads[i], NULL, ask_many, judges[k]), 0);
        for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
            void *wrong;
            pthread_join(threads[i], &wrong);
            assert_null(wrong);
        }
        judge_close(judges[k]);
    }
    assert_int_equal(server.asked, 80);
}

/* ---- a command ---- */

static void a_command_reads_the_request_and_writes_the_reply(void **state)
{
    (void)state;
    is(asked(judge_by("cat; echo; echo", 10), "评分 'x'"),
       "{\"model\":\"cat;\",\"max_tokens\":80,\"temperature\":0,\"messages\":"
       "[{\"role\":\"system\",\"content\":\"You are a judge.\"},"
       "{\"role\":\"user\",\"content\":\"评分 'x'\"}]}");
}

static void a_command_need_not_read_its_request(void **state)
{
    (void)state;
    // More than any pipe holds: who writes it into one is killed by SIGPIPE, or waits forever.
    char *question = xmalloc((1 << 19) + 1);
    memset(question, 'x', 1 << 19);
    question[1 << 19] = '\0';
    is(asked(judge_by("echo 总分是：7分", 10), question), "总分是：7分");
    is(asked(judge_by("exec <&-; echo 总分是：7分", 10), question), "总分是：7分");
    is(asked(judge_by("tail -c 5 </dev/stdin", 10), question), "x\"}]}");
    free(question);
}

static void a_command_that_fails_has_its_first_word_of_why(void **state)
{
    (void)state;
    has(asked(judge_by("echo; echo oh no >&2; echo and more >&2; exit 3", 10), "u"),
        "!judge command 'echo; echo oh no", "': exit code 3: oh no (2 tries)", NULL);
    has(asked(judge_by("exit 1", 10), "u"), "exit code 1: no word of why (2 tries)", NULL);
    has(asked(judge_by("kill -9 $$", 10), "u"), "was ended by signal 9 (Killed) (2 tries)", NULL);
    has(asked(judge_by("true", 10), "u"), "it wrote no reply", NULL);
    has(asked(judge_by("printf 'a\\377b'", 10), "u"), "not valid UTF-8", NULL);
    has(asked(judge_by("printf 'a\\000b'", 10), "u"), "not valid UTF-8", NULL);
    has(asked(judge_by("yes", 10), "u"), "longer than 1048576 bytes", NULL);
    has(asked(judge_by("yes >&2", 0.1), "u"), "no reply within 0.1 s (2 tries)", NULL);
    // One try is enough where there is nothing to run.
    char *said = asked(judge_by("/there/is/no/such", 10), "u");
    assert_null(strstr(said, "tries"));
    has(said, "exit code 127: ", "not found", NULL);
}

static void a_command_that_passes_is_tried_again(void **state)
{
    (void)state;
    char path[] = "/tmp/test_judge.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    setenv("T", path, 1);
    is(asked(judge_by("echo x >>$T; test $(wc -l <$T) = 2 && echo 5", 10), "u"), "5");
    unlink(path);
}

/* Whether the process is there and more than a zombie that nobody has waited for yet. */
static bool is_alive(const char *pid)
{
    struct buf text = BUF_INIT, err = BUF_INIT;
    char *path = xasprintf("/proc/%d/status", atoi(pid));
    FILE *f = fopen(path, "r");
    char line[256];
    bool alive = f != NULL;
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, "State:", 6) == 0)
            alive = !strchr("ZX", line[7]);
    if (f)
        fclose(f);
    free(path);
    buf_release(&text);
    buf_release(&err);
    return alive;
}

/* A command that writes the number of a process it started into $T; that process is dead now. */
static void leaves_nothing(const char *command, double timeout, const char *words)
{
    char path[] = "/tmp/test_judge.XXXXXX";
    struct buf pid = BUF_INIT, err = BUF_INIT;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    setenv("T", path, 1);
    double from = now_seconds();
    has(asked(judge_by(command, timeout), "u"), words, NULL);
    assert_true(now_seconds() - from < 5 * patience());
    assert_int_equal(read_file(path, 100, &pid, &err), 0);
    assert_true(atoi(pid.s) > 0);
    for (int i = 0; i < 100 && is_alive(pid.s); i++)
        usleep(10000);
    assert_false(is_alive(pid.s));
    // Nor is there a child that nobody has waited for.
    assert_true(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
    buf_release(&pid);
    unlink(path);
}

static void a_command_that_hangs_is_killed_with_all_it_started(void **state)
{
    (void)state;
    leaves_nothing("(trap '' TERM HUP INT; sleep 60) & echo $! >$T; sleep 60", 0.3,
                   "no reply within 0.3 s (2 tries)");
}

static void what_a_command_leaves_running_is_not_waited_for(void **state)
{
    (void)state;
    leaves_nothing("sleep 60 & echo $! >$T; echo $((2 * 3000))", 10, "6000");
}

/* ---- the measure ---- */

static struct measure measure_of(const char *parse)
{
    struct buf err = BUF_INIT;
    struct measure m = { .name = xstrdup("judged"),
                         .scorer = scorer_find("judge"),
                         .system = xstrdup("标准：{{严格}}"),
                         .user = xstrdup("预测：{output}\n参考：{raw_answers[0]}"),
                         .parse = xstrdup(parse),
                         .out_of = 10,
                         .max_tokens = 80 };
    if (measure_prepare(&m, &err) != 0)
        fail_msg("%s", err.s);
    return m;
}

/* What comes of a judge that says `reply` (or that is asked at `path`, where reply is NULL). */
static struct verdict verdict_of(struct measure *m, const char *path, const char *reply)
{
    struct verdict v;
    struct buf err = BUF_INIT;
    json_t *doc = json_pack("{s:[s, s]}", "raw_answers", "甲", "乙");
    char *command = xasprintf("printf '%%s' '%s'", reply ? reply : "");
    struct tools tools = { .judge = reply ? judge_by(command, 10) : judge_at(path) };
    if (measures_score(m, 1, &tools, doc, "答", &v, &err) != 0)
        fail_msg("%s", err.s);
    judge_close(tools.judge);
    free(command);
    json_decref(doc);
    return v;
}

static const char chinese[] = "总分是：(\\d+\\.\\d+|\\d+)分";

static void a_judges_number_becomes_a_fraction(void **state)
{
    (void)state;
    static const struct {
        const char *reply;
        double score; /* -1: unparsed */
    } cases[] = {
        { "扣分点：无。总分是：8.5分", 0.85 },
        { "总分是：10分。总分是：3分", 1 },
        { "总分是：0分", 0 },
        { "总分是：０９.５分", 0.95 }, // full-width, as Python's \d and float() have it
        { "总分是：11分", -1 },
        { "总分是：10.01分", -1 },
        { "总分是: 8分", -1 },
        { "总分是：٣分", -1 },
        { "很好", -1 },
    };
    struct measure m = measure_of(chinese);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct verdict v = verdict_of(&m, NULL, cases[i].reply);
        bool unparsed = cases[i].score < 0;
        if (v.unparsed != unparsed || v.score != (unparsed ? 0 : cases[i].score))
            fail_msg("%s: %g, unparsed %d", cases[i].reply, v.score, v.unparsed);
        assert_string_equal(v.reply, cases[i].reply);
        assert_null(v.failure);
        verdict_release(&v);
    }
    measure_release(&m);
}

static void what_is_no_number_is_none(void **state)
{
    (void)state;
    static const char *const replies[] = { "0x5", "inf", "nan",   "-3", "+3",
                                           " 3",  "3 ",  "1.2.3", ".",  "1e1" };
    struct measure m = measure_of("^(.*)$");
    m.out_of = 100;
    struct verdict v = verdict_of(&m, NULL, "70.5");
    assert_true(v.score == 70.5 / 100 && !v.unparsed);
    verdict_release(&v);
    for (size_t i = 0; i < ARRAY_LEN(replies); i++) {
        v = verdict_of(&m, NULL, replies[i]);
        if (!v.unparsed || v.score != 0)
            fail_msg("'%s' is read as %g", replies[i], v.score);
        verdict_release(&v);
    }
    measure_release(&m);
}

static void the_templates_make_the_question(void **state)
{
    (void)state;
    struct measure m = measure_of(chinese);
    struct verdict v = verdict_of(&m, "good", NULL);
    assert_true(v.score == 0.85 && !v.unparsed);
    json_t *got = json_loadb(server.body.s, server.body.len, 0, NULL), *messages;
    messages = json_object_get(got, "messages");
    json_t *want = json_pack("[{s:s, s:s}, {s:s, s:s}]", "role", "system", "content",
                             "标准：{严格}", "role", "user", "content", "预测：答\n参考：甲");
    assert_true(json_equal(messages, want));
    json_decref(got);
    json_decref(want);
    verdict_release(&v);
    measure_release(&m);
}

static void prose_scores_nothing_and_says_so(void **state)
{
    (void)state;
    struct measure m = measure_of(chinese);
    static const char *const paths[] = { "prose", "refusal" };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct verdict v = verdict_of(&m, paths[i], NULL);
        assert_true(v.score == 0 && v.unparsed && v.reply && !v.failure);
        verdict_release(&v);
    }
    measure_release(&m);
}

static void a_judge_that_cannot_be_asked_leaves_no_score(void **state)
{
    (void)state;
    struct measure m = measure_of(chinese);
    static const char *const paths[] = { "500", "null", "broken" };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        struct verdict v = verdict_of(&m, paths[i], NULL);
        assert_true(isnan(v.score) && !v.unparsed && !v.reply);
        assert_non_null(strstr(v.failure, paths[i]));
        verdict_release(&v);
    }
    measure_release(&m);
}

static void a_measure_needs_a_question_and_a_way_to_read_the_reply(void **state)
{
    (void)state;
    struct buf err = BUF_INIT;
    struct measure m = { .scorer = &scorer_judge, .user = xstrdup("u") };
    assert_int_equal(measure_prepare(&m, &err), -1);
    assert_string_equal(err.s, "judge needs `parse`");
    m.parse = xstrdup("(1)");
    assert_int_equal(measure_prepare(&m, &err), -1);
    assert_string_equal(err.s, "judge needs `out_of`");
    m.out_of = 10;
    assert_int_equal(measure_prepare(&m, &err), -1);
    assert_string_equal(err.s, "judge needs `max_tokens`");
    m.max_tokens = 9;
    assert_int_equal(measure_prepare(&m, &err), 0);
    measure_release(&m);
    buf_release(&err);
}

static void a_template_with_an_unknown_field_is_an_error(void **state)
{
    (void)state;
    struct buf err = BUF_INIT;
    struct verdict v;
    struct measure m = measure_of(chinese);
    json_t *doc = json_object();
    struct tools tools = { .judge = judge_at("good") };
    assert_int_equal(measures_score(&m, 1, &tools, doc, "x", &v, &err), -1);
    assert_non_null(strstr(err.s, "raw_answers"));
    assert_int_equal(server.asked, 0);
    verdict_release(&v);
    measure_release(&m);
    judge_close(tools.judge);
    json_decref(doc);
    buf_release(&err);
}

/* ---- at the end ---- */

static void no_file_is_left_open(void **state)
{
    (void)state;
    server_stop(&server);
    assert_int_equal(open_files(), fds_before);
    server_start(&server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_spec_that_means_nothing_is_refused_with_what_is_allowed),
        cmocka_unit_test(a_judge_has_its_models_name_or_the_commands),
        cmocka_unit_test(a_request_has_what_the_format_asks_for),
        cmocka_unit_test(chinese_text_comes_back_as_it_went),
        cmocka_unit_test(without_a_key_or_a_system_text_none_is_sent),
        cmocka_unit_test(a_query_stays_out_of_sentences),
        cmocka_unit_test(every_failure_has_its_number_of_tries_and_its_sentence),
        cmocka_unit_test(what_passes_is_tried_again_until_it_does),
        cmocka_unit_test(a_judge_that_is_gone_is_not_asked_again_and_again),
        cmocka_unit_test(a_server_that_is_not_there_is_tried_again),
        cmocka_unit_test(retry_after_is_waited_for),
        cmocka_unit_test(a_refusal_is_a_reply),
        cmocka_unit_test(a_question_that_is_no_text_is_not_asked),
        cmocka_unit_test(threads_that_ask_at_once_get_each_their_own_reply),
        cmocka_unit_test(a_command_reads_the_request_and_writes_the_reply),
        cmocka_unit_test(a_command_need_not_read_its_request),
        cmocka_unit_test(a_command_that_fails_has_its_first_word_of_why),
        cmocka_unit_test(a_command_that_passes_is_tried_again),
        cmocka_unit_test(a_command_that_hangs_is_killed_with_all_it_started),
        cmocka_unit_test(what_a_command_leaves_running_is_not_waited_for),
        cmocka_unit_test(a_judges_number_becomes_a_fraction),
        cmocka_unit_test(what_is_no_number_is_none),
        cmocka_unit_test(the_templates_make_the_question),
        cmocka_unit_test(prose_scores_nothing_and_says_so),
        cmocka_unit_test(a_judge_that_cannot_be_asked_leaves_no_score),
        cmocka_unit_test(a_measure_needs_a_question_and_a_way_to_read_the_reply),
        cmocka_unit_test(a_template_with_an_unknown_field_is_an_error),
        cmocka_unit_test(no_file_is_left_open),
    };
    return cmocka_run_group_tests_name("judge", tests, start, stop);
}
