/*
 * judge.c: see judge.h. What both ways to ask have in common: the spec, the request, the tries.
 */
#include "score/judge_impl.h"

#include <jansson.h>
#include <math.h>
#include <string.h>
#include <time.h>

enum { TRIES = 5, WAIT = 1, TIMEOUT = 60 };

/* `*out` is the value, or its default where it is 0. */
static int number(const char *name, double value, double standard, double lo, double hi,
                  double *out, struct buf *err)
{
    *out = value == 0 ? standard : value;
    if (!(*out >= lo && *out <= hi)) // NaN neither
        return fail(err, "judge: %s is %g; %g to %g is allowed", name, *out, lo, hi);
    return 0;
}

/* A name stands in metrics and tables: it is a word or some, on one line. */
static bool fit_for_name(const char *s)
{
    size_t len = strlen(s);
    if (len == 0 || utf8_valid(s, len) != len)
        return false;
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 127)
            return false;
    return true;
}

/* The base name of the command's first word. */
static char *command_name(const char *command)
{
    const char *word = command + strspn(command, " \t\n");
    size_t len = strcspn(word, " \t\n");
    const char *slash = memrchr(word, '/', len);
    bool folder = slash && slash + 1 == word + len;
    const char *name = slash && !folder ? slash + 1 : word;
    return xstrndup(name, (size_t)(word + len - name));
}

static int open_command(struct judge *j, const struct judge_spec *spec, struct buf *err)
{
    if (spec->key_env)
        return fail(err, "judge: key_env goes with url; a command has the whole environment");
    j->command = xstrdup(spec->command);
    j->name = spec->model ? xstrdup(spec->model) : command_name(spec->command);
    if (!*j->name)
        return fail(err, "judge: command is empty; a line for /bin/sh is allowed");
    struct buf words = BUF_INIT;
    judge_words(j, j->command, strlen(j->command), &words);
    j->shown = xasprintf("judge command '%s'", words.s);
    buf_release(&words);
    return 0;
}

static int open_spec(struct judge *j, const struct judge_spec *spec, struct buf *err)
{
    double tries;
    if (!spec->url && !spec->command)
        return fail(err, "judge: neither url nor command is given; one of them is needed");
    if (spec->url && spec->command)
        return fail(err, "judge: both url and command are given; one of them is allowed");
    if (spec->url && !spec->model)
        return fail(err, "judge: url is given without model; the server needs a model's name");
    if (number("tries", spec->tries, TRIES, 1, 100, &tries, err) != 0 ||
        number("wait", spec->wait, WAIT, 0.001, LONGEST_WAIT, &j->wait, err) != 0 ||
        number("timeout", spec->timeout, TIMEOUT, 0.001, 86400, &j->timeout, err) != 0)
        return -1;
    j->tries = (int)tries;
    if (spec->model && !fit_for_name(spec->model))
        return fail(err, "judge: model is not one line of text that is not empty");
    if (spec->command) {
        if (open_command(j, spec, err) != 0)
            return -1;
    } else {
        j->name = xstrdup(spec->model);
        if (judge_http_open(j, spec, err) != 0)
            return -1;
    }
    if (!fit_for_name(j->name))
        return fail(err, "judge: the command's first word is no name; model gives it one");
    return 0;
}

struct judge *judge_open(const struct judge_spec *spec, struct buf *err)
{
    struct judge *j = xcalloc(1, sizeof(*j));
    if (open_spec(j, spec, err) == 0)
        return j;
    judge_close(j);
    return NULL;
}

void judge_close(struct judge *j)
{
    if (!j)
        return;
    judge_http_close(j);
    free(j->name);
    free(j->shown);
    free(j->command);
    free(j->url);
    free(j->key);
    free(j);
}

const char *judge_name(const struct judge *j)
{
    return j->name;
}

void judge_stop_when(struct judge *j, bool (*stopped)(void))
{
    j->stopped = stopped;
}

static void add_message(json_t *messages, const char *role, const char *content)
{
    json_array_append_new(messages, json_pack("{s:s, s:s}", "role", role, "content", content));
}

static int make_request(const struct judge *j, const char *system, const char *user, int max_tokens,
                        struct buf *out, struct buf *err)
{
    const char *const texts[] = { system ? system : "", user };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        if (utf8_valid(texts[i], strlen(texts[i])) != strlen(texts[i]))
            return fail(err, "%s: the question is not valid UTF-8, so it was not asked", j->shown);
    json_t *messages = json_array();
    if (system && *system)
        add_message(messages, "system", system);
    add_message(messages, "user", user);
    json_t *request = json_pack("{s:s, s:i, s:i, s:o}", "model", j->name, "max_tokens", max_tokens,
                                "temperature", 0, "messages", messages);
    char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
    if (!text)
        BUG("a request of %zu bytes does not become JSON", strlen(user));
    buf_adds(out, text);
    free(text);
    json_decref(request);
    return 0;
}

bool judge_stopped(const struct judge *j)
{
    return j->stopped && j->stopped();
}

/* In slices, so that an end that is asked for is seen. */
static void pause_for(const struct judge *j, double seconds)
{
    const double slice = 0.05;
    double until = now_seconds() + seconds, left;
    while ((left = until - now_seconds()) > 0 && !judge_stopped(j)) {
        struct timespec t = { .tv_nsec = (long)(1e9 * fmin(left, slice)) };
        nanosleep(&t, NULL);
    }
}

/*
 * After PATIENCE questions without a reply the judge is most likely gone, and to try each again would
 * only take hours: the next ones get one try, until one is replied to.
 */
static int tries_for(const struct judge *j)
{
    enum { PATIENCE = 8 };
    return __atomic_load_n(&j->in_a_row, __ATOMIC_RELAXED) < PATIENCE ? j->tries : 1;
}

/* The tries. What a failed one said is in `err`. */
static int ask(const struct judge *j, const struct buf *request, struct buf *reply, struct buf *err)
{
    const int tries = tries_for(j);
    double wait = j->wait;
    for (int i = 1;; i++) {
        struct attempt a = { 0 };
        struct buf text = BUF_INIT;
        int rc = j->command ? judge_command_try(j, request, &text, &a, err)
                            : judge_http_try(j, request, &text, &a, err);
        if (rc == 0)
            buf_add(reply, text.s, text.len);
        buf_release(&text);
        if (rc == 0)
            return 0;
        // To come back earlier than asked would be refused again, and is not polite.
        if (a.again && a.pause > LONGEST_WAIT)
            return fail(err, "%s; it asks for a pause of %g s, and %d s is the longest", err->s,
                        a.pause, LONGEST_WAIT);
        if (!a.again || i == tries || judge_stopped(j))
            return i > 1 ? fail(err, "%s (%d tries)", err->s, i) : -1;
        pause_for(j, a.pause > wait ? a.pause : wait);
        if (judge_stopped(j))
            return fail(err, "%s (%d tries, then the run was stopped)", err->s, i);
        wait = fmin(2 * wait, LONGEST_WAIT);
    }
}

int judge_ask(struct judge *j, const char *system, const char *user, int max_tokens,
              struct buf *reply, struct buf *err)
{
    struct buf request = BUF_INIT;
    int rc = make_request(j, system, user, max_tokens, &request, err);
    if (rc == 0)
        rc = ask(j, &request, reply, err);
    if (rc == 0)
        __atomic_store_n(&j->in_a_row, 0, __ATOMIC_RELAXED);
    else
        __atomic_add_fetch(&j->in_a_row, 1, __ATOMIC_RELAXED);
    buf_release(&request);
    return rc;
}
