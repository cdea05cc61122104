/*
 * judge.h: a language model that rates texts: an OpenAI-compatible endpoint through libcurl, or a
 * command that reads the request on stdin and writes its reply to stdout.
 *
 * Source of the format: OpenAI's chat completions, POST {"model", "max_tokens", "temperature": 0,
 * "messages": [{"role", "content"}]}, reply choices[0].message.content. A command gets the same
 * object on stdin and writes the reply's text.
 *
 * Invariant: what was asked and not answered is an error with its cause, never a score. The key is
 * sent to the url's host alone and stands in no sentence.
 * Leaves out: what is asked and how a number is read from the reply (measure.h); models that want
 * max_completion_tokens, or another temperature (they answer 400 and say so).
 */
#ifndef JUDGE_H
#define JUDGE_H

#include "util.h"

/* As a recipe or the command line says it; either url and model, or command. Strings borrowed. */
struct judge_spec {
    const char *url;     /* "http://localhost:8000/v1", or all of .../chat/completions */
    const char *model;   /* for a command: its name in the metric; NULL: the command's first word */
    const char *key_env; /* name of the environment variable with the key; NULL: none is sent */
    const char *command; /* run by /bin/sh */
    // 0 is what was not said, and nobody can say 0.
    int tries;      /* at most 100; not said: 5 */
    double wait;    /* seconds before the second try, doubled each time up to 120; not said: 1 */
    double timeout; /* seconds for one try; not said: 60 */
};

struct judge;
/* Copies the spec; checks it (a url without model, a key that is not set), asks nothing. */
struct judge *judge_open(const struct judge_spec *spec, struct buf *err) MUST_USE;
void judge_close(struct judge *j);
const char *judge_name(const struct judge *j);
/* Once `stopped` is true, what is under way ends at once, as a failure. NULL: never. */
void judge_stop_when(struct judge *j, bool (*stopped)(void));

/*
 * One question; the reply's text is appended. Threads may ask side by side. -1: `err` says what
 * came of the last try.
 *
 * Tried again, with back-off, after a time-out, a connection that failed or broke, 408, 429, 5xx,
 * and a command that ended with an exit code (but 126 and 127: it could not be run) or by a signal.
 * A Retry-After is waited for; one of more than two minutes ends the tries. All else (400, 401,
 * 404, a redirect, what is no chat completion, more than 1 MiB) is final. Where the eight questions
 * before had no reply in all of their tries, the next ones get one try each.
 *
 * A refusal is a reply: its text. A message without any content is none: the model spent max_tokens
 * on its thoughts, or a filter took the reply away. Nor is a command's empty output; line ends at
 * the end of its output are not of the reply.
 */
int judge_ask(struct judge *j, const char *system, const char *user, int max_tokens,
              struct buf *reply, struct buf *err) MUST_USE;

#endif
