/*
 * judge_server.h: a chat endpoint on 127.0.0.1 that does as the path says: /good/chat/completions
 * answers well, /hang never. For tests of who asks it.
 *
 * Invariant: every connection has a thread of its own and is closed after one answer. Server stops
 * wait for all of them, so nothing is left behind.
 * Leaves out: HTTP beyond one POST with a Content-Length, and TLS.
 */
#ifndef JUDGE_SERVER_H
#define JUDGE_SERVER_H

#include "util.h"

#include <arpa/inet.h>
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SERVER_CONNECTIONS = 256 };

struct server {
    int fd, port;
    pthread_t thread, connections[SERVER_CONNECTIONS];
    int nconnections;
    pthread_mutex_t lock;
    // Of the requests since server_forget():
    int asked;
    struct buf head, body; /* of the last one */
};

struct connection {
    struct server *server;
    int fd;
    struct buf head, body; /* what was asked */
    int turn;              /* the how-manieth it is, from 1 */
};

static void send_all(int fd, const char *s, size_t len)
{
    while (len) {
        ssize_t n = send(fd, s, len, MSG_NOSIGNAL);
        if (n <= 0)
            return;
        s += n;
        len -= (size_t)n;
    }
}

/* A whole answer; `headers` are lines that end in \r\n, and may have a length that is not true. */
static void answer(const struct connection *c, const char *status, const char *headers,
                   const char *body)
{
    struct buf b = BUF_INIT;
    buf_addf(&b, "HTTP/1.1 %s\r\nContent-Type: application/json\r\nConnection: close\r\n%s", status,
             headers);
    if (!strstr(headers, "Content-Length"))
        buf_addf(&b, "Content-Length: %zu\r\n", strlen(body));
    buf_addf(&b, "\r\n%s", body);
    send_all(c->fd, b.s, b.len);
    buf_release(&b);
}

/* A reply as OpenAI's servers shape it, with the keys that nobody here looks at. */
static void answer_reply(const struct connection *c, const char *content)
{
    json_t *root =
        json_pack("{s:s, s:s, s:i, s:s, s:[{s:i, s:{s:s, s:s, s:n, s:[], s:s}, s:n, s:s}],"
                  " s:{s:i, s:i, s:i, s:{s:i}}, s:s, s:n}",
                  "id", "chatcmpl-1", "object", "chat.completion", "created", 1700000000, "model",
                  "judge-1-2024", "choices", "index", 0, "message", "role", "assistant", "content",
                  content, "refusal", "annotations", "reasoning_content", "Let me see: 3/10?",
                  "logprobs", "finish_reason", "stop", "usage", "prompt_tokens", 19,
                  "completion_tokens", 10, "total_tokens", 29, "completion_tokens_details",
                  "reasoning_tokens", 0, "service_tier", "default", "system_fingerprint");
    char *text = json_dumps(root, 0);
    answer(c, "200 OK", "", text ? text : "");
    free(text);
    json_decref(root);
}

/* The question itself, so that who asked can compare. */
static void answer_echo(const struct connection *c)
{
    json_t *root = json_loadb(c->body.s, c->body.len, 0, NULL);
    json_t *messages = json_object_get(root, "messages");
    json_t *last = json_array_get(messages, json_array_size(messages) - 1);
    const char *content = json_string_value(json_object_get(last, "content"));
    answer_reply(c, content ? content : "no content was asked");
    json_decref(root);
}

static void wait_for_hangup(int fd)
{
    char c;
    struct pollfd p = { .fd = fd, .events = POLLIN };
    if (poll(&p, 1, 5000) > 0)
        (void)!read(fd, &c, 1);
}

static void answer_trickle(const struct connection *c)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
    struct pollfd p = { .fd = c->fd, .events = POLLIN };
    send_all(c->fd, head, strlen(head));
    for (int i = 0; i < 500 && poll(&p, 1, 10) == 0; i++)
        send_all(c->fd, " ", 1);
}

static void answer_giant(const struct connection *c)
{
    char *body = xmalloc((3 << 20) + 1);
    memset(body, ' ', 3 << 20);
    body[3 << 20] = '\0';
    answer(c, "200 OK", "", body);
    free(body);
}

/* The key of whoever asks, thrown back at them. */
static void answer_401(const struct connection *c)
{
    const char *key = strstr(c->head.s, "Authorization: Bearer ");
    char *body = xasprintf("{\"error\": {\"message\": \"Incorrect API key:\\n\\n%.*s\\u0007 is not "
                           "one of ours\", \"type\": \"invalid_request_error\"}}",
                           key ? (int)strcspn(key + 22, "\r") : 4, key ? key + 22 : "none");
    answer(c, "401 Unauthorized", "", body);
    free(body);
}

static void answer_elsewhere(const struct connection *c)
{
    char *line = xasprintf("Location: http://127.0.0.1:%d/good/x\r\n", c->server->port);
    answer(c, "302 Found", line, "");
    free(line);
}

/* Plain answers by path. */
static const struct {
    const char *path, *status, *headers, *body;
} plain_answers[] = {
    { "500", "500 Internal Server Error", "",
      "{\"error\": {\"message\": \"the GPU is on fire\"}}" },
    { "502", "502 Bad Gateway", "", "<html>\r\n<head><title>502 Bad Gateway</title></head>" },
    { "408", "408 Request Timeout", "", "" },
    { "429", "429 Too Many Requests", "", "{\"error\": \"slow down\"}" },
    { "429long", "429 Too Many Requests", "Retry-After: 3600\r\n", "{\"message\": \"no quota\"}" },
    { "400", "400 Bad Request", "", "{\"detail\": \"max_tokens is not supported\"}" },
    { "404", "404 Not Found", "", "{\"error\": {\"message\": \"there is no model 'm'\"}}" },
    { "broken", "200 OK", "", "{\"choices\": [{\"message\": {\"content\": \"5" },
    { "html", "200 OK", "", "<html>Please log in</html>" },
    { "empty", "200 OK", "", "{\"choices\": []}" },
    { "number", "200 OK", "", "{\"choices\": [{\"message\": {\"content\": 5}}]}" },
    { "error200", "200 OK", "", "{\"error\": {\"message\": \"upstream is down\", \"code\": 502}}" },
    { "null", "200 OK", "",
      "{\"choices\": [{\"finish_reason\": \"length\", \"message\": {\"role\": \"assistant\", "
      "\"content\": null, \"reasoning_content\": \"Hm, 8 or 9?\"}}]}" },
    { "blank", "200 OK", "",
      "{\"choices\": [{\"finish_reason\": \"content_filter\", \"message\": {\"content\": "
      "\"\"}}]}" },
    { "refusal", "200 OK", "",
      "{\"choices\": [{\"finish_reason\": \"stop\", \"message\": {\"role\": \"assistant\", "
      "\"content\": null, \"refusal\": \"I will not rate this.\"}}]}" },
    { "cut", "200 OK", "Content-Length: 5000\r\n", "{\"choices\": [{\"mess" },
};

static void answer_by(const struct connection *c, const char *path)
{
    // NAMEtwice: that twice, then a good reply.
    size_t len = strcspn(path, "/ ");
    bool twice = len > 5 && memcmp(path + len - 5, "twice", 5) == 0;
    len -= twice ? 5 : 0;
    char *name = xstrndup(path, len);
    if (strcmp(name, "good") == 0 || (twice && c->turn > 2))
        answer_reply(c, "扣分点：遗漏时间。\n总分是：8.5分");
    else if (strcmp(name, "prose") == 0)
        answer_reply(c, "I think that this is rather good.");
    else if (strcmp(name, "echo") == 0)
        answer_echo(c);
    else if (strcmp(name, "hang") == 0)
        wait_for_hangup(c->fd);
    else if (strcmp(name, "trickle") == 0)
        answer_trickle(c);
    else if (strcmp(name, "giant") == 0)
        answer_giant(c);
    else if (strcmp(name, "401") == 0)
        answer_401(c);
    else if (strcmp(name, "302") == 0)
        answer_elsewhere(c);
    else if (strcmp(name, "429second") == 0 && c->turn == 1)
        answer(c, "429 Too Many Requests", "Retry-After: 1\r\n", "");
    else if (strcmp(name, "429second") == 0)
        answer_reply(c, "总分是：1分");
    for (size_t i = 0; i < ARRAY_LEN(plain_answers) && !(twice && c->turn > 2); i++)
        if (strcmp(name, plain_answers[i].path) == 0)
            answer(c, plain_answers[i].status, plain_answers[i].headers, plain_answers[i].body);
    free(name); // "gone" and all others: closed without a word
}

/* Reads one request; false: there is none. */
static bool read_request(struct connection *c)
{
    char chunk[65536];
    struct buf all = BUF_INIT;
    const char *end = NULL, *line;
    size_t want = 0;
    ssize_t n;
    while ((!end || all.len < want) && (n = recv(c->fd, chunk, sizeof(chunk), 0)) > 0) {
        buf_add(&all, chunk, (size_t)n);
        end = strstr(all.s, "\r\n\r\n");
        line = strcasestr(all.s, "\r\nContent-Length:");
        if (end)
            want = (size_t)(end + 4 - all.s) + (line ? strtoul(line + 17, NULL, 10) : 0);
    }
    bool whole = end && all.len >= want;
    if (whole) {
        buf_add(&c->head, all.s, (size_t)(end + 4 - all.s));
        buf_adds(&c->body, end + 4);
    }
    buf_release(&all);
    return whole;
}

static void *serve_one(void *arg)
{
    struct connection *c = arg;
    struct server *s = c->server;
    if (read_request(c)) {
        pthread_mutex_lock(&s->lock);
        c->turn = ++s->asked;
        buf_reset(&s->head);
        buf_reset(&s->body);
        buf_add(&s->head, c->head.s, c->head.len);
        buf_add(&s->body, c->body.s, c->body.len);
        pthread_mutex_unlock(&s->lock);
        answer_by(c, c->head.s + strcspn(c->head.s, "/") + 1);
    }
    close(c->fd);
    buf_release(&c->head);
    buf_release(&c->body);
    free(c);
    return NULL;
}

static void *serve(void *arg)
{
    struct server *s = arg;
    for (int fd; (fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        struct connection *c = xcalloc(1, sizeof(*c));
        *c = (struct connection){ .server = s, .fd = fd, .head = BUF_INIT, .body = BUF_INIT };
        if (s->nconnections == SERVER_CONNECTIONS ||
            pthread_create(&s->connections[s->nconnections++], NULL, serve_one, c) != 0)
            BUG("a test has too many connections");
    }
    return NULL;
}

static void server_start(struct server *s)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    socklen_t len = sizeof(at);
    *s = (struct server){ .head = BUF_INIT, .body = BUF_INIT };
    pthread_mutex_init(&s->lock, NULL);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->fd < 0 || bind(s->fd, (struct sockaddr *)&at, len) != 0 || listen(s->fd, 64) != 0 ||
        getsockname(s->fd, (struct sockaddr *)&at, &len) != 0)
        BUG("no server can be started on 127.0.0.1");
    s->port = ntohs(at.sin_port);
    if (pthread_create(&s->thread, NULL, serve, s) != 0)
        BUG("no thread for the server");
}

static void server_forget(struct server *s)
{
    pthread_mutex_lock(&s->lock);
    s->asked = 0;
    buf_reset(&s->head);
    buf_reset(&s->body);
    pthread_mutex_unlock(&s->lock);
}

static void server_stop(struct server *s)
{
    shutdown(s->fd, SHUT_RDWR); // accept() returns
    pthread_join(s->thread, NULL);
    for (int i = 0; i < s->nconnections; i++)
        pthread_join(s->connections[i], NULL);
    close(s->fd);
    pthread_mutex_destroy(&s->lock);
    buf_release(&s->head);
    buf_release(&s->body);
}

#endif
