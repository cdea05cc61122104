/*
 * judge_http.c: one question to an OpenAI-compatible endpoint, through libcurl.
 *
 * The key goes to one host, in one header: redirects are not followed, and a url that has a
 * password in it is refused. Every try has a handle of its own, so threads share nothing.
 * Leaves out: keeping connections open between questions; against the seconds that a judge
 * thinks, a handshake is little.
 */
#include "score/judge_impl.h"

#include <curl/curl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <time.h>

enum { CONNECT_SECONDS = 10 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode started;

static void start_curl(void)
{
    started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* ---- url and key ---- */

/* The url's path is made to end in /chat/completions, where it does not yet. */
static void complete_path(CURLU *u)
{
    static const char end[] = "/chat/completions";
    char *path = NULL;
    if (curl_url_get(u, CURLUPART_PATH, &path, 0) != CURLUE_OK)
        BUG("a url without a path");
    size_t len = strlen(path), n = strlen(end);
    while (len && path[len - 1] == '/')
        len--;
    bool whole = len >= n && memcmp(path + len - n, end, n) == 0;
    char *all = xasprintf("%.*s%s", (int)len, path, whole ? "" : end);
    if (curl_url_set(u, CURLUPART_PATH, all, 0) != CURLUE_OK)
        BUG("the path '%s' is none", all);
    free(all);
    curl_free(path);
}

static char *whole_url(CURLU *u)
{
    char *url = NULL;
    if (curl_url_get(u, CURLUPART_URL, &url, 0) != CURLUE_OK)
        BUG("a url that was read cannot be written");
    char *copy = xstrdup(url);
    curl_free(url);
    return copy;
}

static bool has_part(CURLU *u, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(u, part, &text, 0) == CURLUE_OK;
    curl_free(text);
    return has;
}

static bool is_http(CURLU *u)
{
    char *scheme = NULL;
    bool http = curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(scheme);
    return http;
}

static int open_url(struct judge *j, const char *url, struct buf *err)
{
    CURLU *u = curl_url();
    int rc = 0;
    if (!u)
        return fail(err, "judge: out of memory");
    if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK || !is_http(u)) {
        struct buf words = BUF_INIT;
        judge_words(j, url, strlen(url), &words);
        rc = fail(err, "judge: url is '%s'; http://... or https://... is allowed", words.s);
        buf_release(&words);
    } else if (has_part(u, CURLUPART_USER) || has_part(u, CURLUPART_PASSWORD)) {
        rc = fail(err, "judge: url has a user's name or password in it; only a key is sent, from "
                       "the variable that key_env names");
    } else {
        complete_path(u);
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
        j->url = whole_url(u);
        // A query may hold a secret, so sentences leave it out.
        curl_url_set(u, CURLUPART_QUERY, NULL, 0);
        j->shown = whole_url(u);
    }
    curl_url_cleanup(u);
    return rc;
}

static int open_key(struct judge *j, const char *variable, struct buf *err)
{
    const char *key = getenv(variable);
    if (!key || !*key)
        return fail(err, "judge: the variable %s that key_env names is %s", variable,
                    key ? "empty" : "not set");
    for (const char *p = key; *p; p++)
        if (*p <= ' ' || *p > '~')
            return fail(err,
                        "judge: the variable %s has a byte 0x%02x; a key is letters, digits "
                        "and signs, without blanks",
                        variable, (unsigned char)*p);
    j->key = xstrdup(key);
    return 0;
}

static int add_header(struct judge *j, const char *line, struct buf *err)
{
    struct curl_slist *more = curl_slist_append(j->headers, line);
    if (!more)
        return fail(err, "judge: out of memory");
    j->headers = more;
    return 0;
}

int judge_http_open(struct judge *j, const struct judge_spec *spec, struct buf *err)
{
    pthread_once(&once, start_curl);
    if (started != CURLE_OK)
        return fail(err, "judge: libcurl does not start: %s", curl_easy_strerror(started));
    if (open_url(j, spec->url, err) != 0 ||
        (spec->key_env && open_key(j, spec->key_env, err) != 0) ||
        add_header(j, "Content-Type: application/json", err) != 0 ||
        // Else a long question waits a second for leave to be sent.
        add_header(j, "Expect:", err) != 0)
        return -1;
    if (!j->key)
        return 0;
    char *line = xasprintf("Authorization: Bearer %s", j->key);
    int rc = add_header(j, line, err);
    free(line);
    return rc;
}

void judge_http_close(struct judge *j)
{
    curl_slist_free_all(j->headers);
    j->headers = NULL;
}

/* ---- one try ---- */

/* What a transfer leaves behind. */
struct transfer {
    struct buf body;
    bool too_long;
    char words[CURL_ERROR_SIZE];
};

/* libcurl ends a transfer of which less was taken than there was. */
static size_t take(char *data, size_t one, size_t n, void *ud)
{
    struct transfer *t = ud;
    (void)one; // always 1
    if (t->body.len + n > REPLY_BYTES) {
        t->too_long = true;
        return 0;
    }
    buf_add(&t->body, data, n);
    return n;
}

/* 0 where every option was taken. */
/* libcurl asks about once a second, and more often while something moves. */
static int look_for_end(void *judge, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    (void)a, (void)b, (void)c, (void)d;
    return judge_stopped(judge); // not 0: the transfer is broken off
}

static int set_up(CURL *h, const struct judge *j, const struct buf *request, struct transfer *t)
{
    long ms = (long)(1000 * j->timeout + 0.5), connect = 1000L * CONNECT_SECONDS;
    int bad = 0;
    bad |= (int)curl_easy_setopt(h, CURLOPT_URL, j->url);
    bad |= (int)curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    bad |= (int)curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
    bad |= (int)curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    bad |= (int)curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, ms);
    bad |= (int)curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, ms < connect ? ms : connect);
    bad |= (int)curl_easy_setopt(h, CURLOPT_USERAGENT, "seqtopk");
    bad |= (int)curl_easy_setopt(h, CURLOPT_HTTPHEADER, j->headers);
    bad |= (int)curl_easy_setopt(h, CURLOPT_POST, 1L);
    bad |= (int)curl_easy_setopt(h, CURLOPT_POSTFIELDS, request->s);
    bad |= (int)curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->len);
    bad |= (int)curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, take);
    bad |= (int)curl_easy_setopt(h, CURLOPT_WRITEDATA, t);
    bad |= (int)curl_easy_setopt(h, CURLOPT_ERRORBUFFER, t->words);
    bad |= (int)curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    bad |= (int)curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, look_for_end);
    bad |= (int)curl_easy_setopt(h, CURLOPT_XFERINFODATA, j);
    return bad;
}

/*
 * Without signals libcurl leaves SIGPIPE as it is, and a server that hangs up could end the
 * program: it is held back while a transfer runs, and taken where one came.
 */
static CURLcode perform(CURL *h)
{
    sigset_t pipe, before, pending;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    sigpending(&pending);
    bool was_there = sigismember(&pending, SIGPIPE) == 1;
    CURLcode code = curl_easy_perform(h);
    sigpending(&pending);
    if (!was_there && sigismember(&pending, SIGPIPE) == 1)
        sigtimedwait(&pipe, NULL, &(struct timespec){ 0 });
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return code;
}

/* Failures of a network, which may be gone in a moment; not those of names, certificates, urls. */
static bool passes(CURLcode code)
{
    static const CURLcode passing[] = { CURLE_OPERATION_TIMEDOUT,   CURLE_COULDNT_CONNECT,
                                        CURLE_COULDNT_RESOLVE_HOST, CURLE_COULDNT_RESOLVE_PROXY,
                                        CURLE_GOT_NOTHING,          CURLE_PARTIAL_FILE,
                                        CURLE_SEND_ERROR,           CURLE_RECV_ERROR,
                                        CURLE_SSL_CONNECT_ERROR,    CURLE_HTTP2,
                                        CURLE_HTTP2_STREAM };
    for (size_t i = 0; i < ARRAY_LEN(passing); i++)
        if (passing[i] == code)
            return true;
    return false;
}

static int broken(const struct judge *j, const struct transfer *t, CURLcode code, struct attempt *a,
                  struct buf *err)
{
    struct buf words = BUF_INIT;
    if (t->too_long)
        return fail(err, "%s: the reply is longer than %d bytes", j->shown, REPLY_BYTES);
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return fail(err, "%s: stopped before it replied", j->shown);
    a->again = passes(code);
    const char *text = *t->words ? t->words : curl_easy_strerror(code);
    judge_words(j, text, strlen(text), &words);
    if (code == CURLE_OPERATION_TIMEDOUT)
        fail(err, "%s: no whole reply within %g s (%s)", j->shown, j->timeout, words.s);
    else
        fail(err, "%s: %s", j->shown, words.s);
    buf_release(&words);
    return -1;
}

/* A status that is not of success. */
static int refused(const struct judge *j, CURL *h, const struct transfer *t, long status,
                   struct attempt *a, struct buf *err)
{
    struct buf words = BUF_INIT;
    curl_off_t pause = 0;
    char *elsewhere = NULL;
    a->again = status == 408 || status == 429 || status >= 500;
    if (curl_easy_getinfo(h, CURLINFO_RETRY_AFTER, &pause) == CURLE_OK)
        a->pause = (double)pause;
    curl_easy_getinfo(h, CURLINFO_REDIRECT_URL, &elsewhere);
    if (elsewhere) {
        judge_words(j, elsewhere, strlen(elsewhere), &words);
        fail(err, "%s: HTTP %ld: it has moved to %s, which is not followed; url may name it",
             j->shown, status, words.s);
    } else {
        judge_reply_message(j, &t->body, &words);
        fail(err, "%s: HTTP %ld: %s", j->shown, status, words.s);
    }
    buf_release(&words);
    return -1;
}

int judge_http_try(const struct judge *j, const struct buf *request, struct buf *reply,
                   struct attempt *a, struct buf *err)
{
    struct transfer t = { .body = BUF_INIT };
    long status = 0;
    int rc;
    CURL *h = curl_easy_init();
    if (!h)
        return fail(err, "%s: libcurl has no memory", j->shown);
    if (set_up(h, j, request, &t) != 0)
        BUG("libcurl does not take an option");
    CURLcode code = perform(h);
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK)
        rc = broken(j, &t, code, a, err);
    else if (status < 200 || status > 299)
        rc = refused(j, h, &t, status, a, err);
    else
        rc = judge_reply_text(j, &t.body, reply, err);
    curl_easy_cleanup(h);
    buf_release(&t.body);
    return rc;
}
