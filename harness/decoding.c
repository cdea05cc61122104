/*
 * decoding.c: see decoding.h.
 */
#include "decoding.h"

const char *stop_reason_name(enum stop_reason r)
{
    static const char *const names[] = { "eos", "stop", "length", "context" };
    return names[r];
}
