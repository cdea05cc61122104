/*
 * decoding.c: see decoding.h.
 */
#include "decoding.h"

#include <string.h>

bool decoding_cut(const struct decoding *d, char *text)
{
    bool cut = false;
    for (size_t i = 0; i < d->stop.len; i++) {
        char *at = *d->stop.v[i] ? strstr(text, d->stop.v[i]) : NULL;
        if (at) {
            *at = '\0';
            cut = true;
        }
    }
    return cut;
}

const char *stop_reason_name(enum stop_reason r)
{
    static const char *const names[] = { "eos", "stop", "length", "context" };
    return names[r];
}
