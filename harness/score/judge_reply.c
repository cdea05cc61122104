/*
 * judge_reply.c: what a chat endpoint sent: the text of its reply, or what it says of an error.
 *
 * Only choices[0].message is looked at; what else servers add (reasoning, usage, logprobs) is let
 * be. A refusal is a reply: its text takes the content's place. No content at all is none, with
 * `finish_reason` in the sentence: a reasoning model that spent all of max_tokens on its thoughts
 * has not rated anything.
 */
#include "json.h"
#include "score/judge_impl.h"

#include <string.h>

enum { WORDS = 200 }; /* bytes of foreign text in a sentence */

/* Length of the key at `s`, 0 where something else is there. */
static size_t key_at(const struct judge *j, const char *s, size_t len)
{
    size_t n = j->key ? strlen(j->key) : 0;
    return n && n <= len && memcmp(s, j->key, n) == 0 ? n : 0;
}

void judge_words(const struct judge *j, const char *text, size_t len, struct buf *out)
{
    struct buf line = BUF_INIT;
    bool space = false;
    for (size_t i = 0, n; i < len && line.len <= WORDS; i += n) {
        unsigned char c = (unsigned char)text[i];
        size_t key = key_at(j, text + i, len - i);
        size_t most = len - i < 4 ? len - i : 4;
        n = 1;
        if (c <= ' ' || c == 127) {
            space = line.len > 0;
            continue;
        }
        if (space)
            buf_addc(&line, ' ');
        space = false;
        if (key) {
            buf_adds(&line, "[key]");
            n = key;
            continue;
        }
        while (n < most && ((unsigned char)text[i + n] & 0xc0) == 0x80)
            n++;
        if (utf8_valid(text + i, n) == n)
            buf_add(&line, text + i, n);
        else
            buf_addc(&line, '?');
    }
    bool cut = line.len > WORDS;
    size_t keep = cut ? utf8_valid(line.s, WORDS) : line.len;
    buf_add(out, line.s, keep);
    buf_adds(out, cut ? "..." : "");
    buf_release(&line);
}

/* {"error": {"message": "..."}}, {"error": "..."}, {"message": "..."} or {"detail": "..."}. */
static const char *message_of(const json_t *root)
{
    const json_t *error = json_object_get(root, "error");
    const json_t *const places[] = { json_object_get(error, "message"), error,
                                     json_object_get(root, "message"),
                                     json_object_get(root, "detail") };
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (json_is_string(places[i]) && json_string_length(places[i]))
            return json_string_value(places[i]);
    return NULL;
}

void judge_reply_message(const struct judge *j, const struct buf *body, struct buf *out)
{
    json_t *root = json_loadb(body->s, body->len, 0, NULL);
    const char *message = message_of(root);
    if (message)
        judge_words(j, message, strlen(message), out);
    else
        judge_words(j, body->s, body->len, out);
    if (out->len == 0)
        buf_adds(out, "no word of why");
    json_decref(root);
}

static int refuse(const struct judge *j, const struct buf *body, const char *what, struct buf *err)
{
    struct buf words = BUF_INIT;
    judge_reply_message(j, body, &words);
    fail(err, "%s: %s: %s", j->shown, what, words.s);
    buf_release(&words);
    return -1;
}

/* What a message without content says instead: its refusal, or nothing. */
static int without_content(const struct judge *j, const json_t *choice, const json_t *message,
                           struct buf *reply, struct buf *err)
{
    const json_t *refusal = json_object_get(message, "refusal");
    const char *reason = json_string_value(json_object_get(choice, "finish_reason"));
    struct buf words = BUF_INIT;
    if (json_is_string(refusal) && json_string_length(refusal)) {
        buf_adds(reply, json_string_value(refusal));
        return 0;
    }
    judge_words(j, reason ? reason : "none", strlen(reason ? reason : "none"), &words);
    fail(err, "%s: the reply has no content (finish_reason: %s)", j->shown, words.s);
    buf_release(&words);
    return -1;
}

int judge_reply_text(const struct judge *j, const struct buf *body, struct buf *reply,
                     struct buf *err)
{
    json_t *root = json_loadb(body->s, body->len, 0, NULL);
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *message = json_object_get(choice, "message");
    const json_t *content = json_object_get(message, "content");
    int rc = 0;
    if (!root)
        rc = refuse(j, body, "the reply is not valid JSON", err);
    else if (!json_is_object(message) ||
             (content && !json_is_string(content) && !json_is_null(content)))
        rc = refuse(j, body, "the reply has no choices[0].message.content that is text", err);
    else if (json_is_string(content) && json_string_length(content))
        buf_adds(reply, json_string_value(content));
    else
        rc = without_content(j, choice, message, reply, err);
    json_decref(root);
    return rc;
}
