/*
 * dtype.c: see dtype.h.
 */
#include "dtype.h"

#include <string.h>

static const char *const names[] = { "float32", "bfloat16", "float16", "float64" };

const char *dtype_name(enum dtype d)
{
    return names[d];
}

int dtype_parse(const char *name, enum dtype *out)
{
    for (int i = 0; i < 3; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum dtype)i;
            return 0;
        }
    }
    return -1;
}

size_t dtype_size(enum dtype d)
{
    return d == DTYPE_F64 ? 8 : d == DTYPE_F32 ? 4 : 2;
}
