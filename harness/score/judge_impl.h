/*
 * judge_impl.h: what judge.c shares with its two ways to ask: judge_http.c and judge_command.c; for
 * these files and judge_reply.c only.
 *
 * Invariant: no sentence that leaves judge.c holds the key.
 */
#ifndef JUDGE_IMPL_H
#define JUDGE_IMPL_H

#include "score/judge.h"

enum {
    REPLY_BYTES = 1 << 20, /* a longer reply is none */
    LONGEST_WAIT = 120,    /* seconds between two tries */
};

struct curl_slist;

struct judge {
    char *name;    /* in the metric and in requests */
    char *shown;   /* how sentences begin: the url without its query, or the command */
    char *command; /* NULL: asked over HTTP */
    char *url;     /* all of it */
    char *key;     /* NULL: none */
    struct curl_slist *headers;
    int tries;
    double wait, timeout;
    bool (*stopped)(void); /* NULL: never */
    int in_a_row;          /* questions without a reply, of all threads; atomic */
};

/* What else there is to say of a try that failed. */
struct attempt {
    bool again;   /* another one may do better */
    double pause; /* seconds that the server asks to wait before */
};

/* Has the caller asked for an end? Tries look at it all the time. */
bool judge_stopped(const struct judge *j);

/* Looks at the url and the key, and sets what asking needs. */
int judge_http_open(struct judge *j, const struct judge_spec *spec, struct buf *err) MUST_USE;
void judge_http_close(struct judge *j);

/* One try. `reply` gets the reply's text, or -1. */
int judge_http_try(const struct judge *j, const struct buf *request, struct buf *reply,
                   struct attempt *a, struct buf *err) MUST_USE;
int judge_command_try(const struct judge *j, const struct buf *request, struct buf *reply,
                      struct attempt *a, struct buf *err) MUST_USE;

/* The text of a chat completion. -1: `body` is none, or the model said nothing. */
int judge_reply_text(const struct judge *j, const struct buf *body, struct buf *reply,
                     struct buf *err) MUST_USE;

/* What a server says of an error: its message, or else the body's first words; on one line. */
void judge_reply_message(const struct judge *j, const struct buf *body, struct buf *out);

/* Appends the first words of a text that may be anything, on one line, without the key. */
void judge_words(const struct judge *j, const char *text, size_t len, struct buf *out);

#endif
