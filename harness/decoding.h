/*
 * decoding.h: how a text is continued: how many tokens, greedy or sampled, and where it ends. Said
 * by a task's form (evals/NAME.lua) or on the command line, done by generate.h.
 */
#ifndef DECODING_H
#define DECODING_H

#include "util.h"

struct decoding {
    int max_tokens;      /* new tokens at most */
    double temperature;  /* 0: greedy; the largest logit, of equal ones the smallest id */
    double top_p;        /* sampled from the smallest set of tokens with this probability; 1: all */
    struct strings stop; /* the text ends before the first of these, which may span tokens and be
                            the text of special ones */
    bool stop_at_end_text; /* also before an end token's text that is spelled with others */
    bool past_end;         /* the model's end tokens end nothing: they are tokens like others */
};

/* Cuts a text that was written elsewhere before its first stop string. false: it has none. */
bool decoding_cut(const struct decoding *d, char *text);

/* Why a text ended; the word for it is what v_samples.stop_reason holds. */
enum stop_reason {
    STOP_EOS,     /* "eos": the model's end token */
    STOP_STRING,  /* "stop" */
    STOP_LENGTH,  /* "length": max_tokens */
    STOP_CONTEXT, /* "context": the model has no more positions */
};
const char *stop_reason_name(enum stop_reason r);

#endif
