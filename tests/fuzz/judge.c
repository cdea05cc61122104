/*
 * judge.c: the input is what a judge's endpoint sent, a chat completion or an error.
 *
 * The key, "s3cret", stands in no sentence that is made of it.
 */
#include "fuzz.h"

#include "score/judge_impl.h"

static void keep_secret(const struct buf *sentence)
{
    if (strstr(sentence->s, "s3cret"))
        BUG("the key stands in: %s", sentence->s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char key[] = "s3cret", shown[] = "http://judge";
    const struct judge j = { .shown = shown, .key = key };
    struct buf body = BUF_INIT, reply = BUF_INIT, err = BUF_INIT, message = BUF_INIT;
    buf_add(&body, data, len);
    if (judge_reply_text(&j, &body, &reply, &err) != 0) {
        keep_secret(&err);
        fuzz_said(&err);
    }
    judge_reply_message(&j, &body, &message);
    keep_secret(&message);
    fuzz_said(&message);
    buf_release(&reply);
    buf_release(&body);
    return 0;
}
