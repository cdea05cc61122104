/*
 * dtype.h: the number formats that weights come in.
 */
#ifndef DTYPE_H
#define DTYPE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum dtype {
    DTYPE_F32,
    DTYPE_BF16,
    DTYPE_F16,
    DTYPE_F64, /* of arithmetic alone, for tests of gradients: no file and no option has it */
};

const char *dtype_name(enum dtype d);               /* "float32", "bfloat16", "float16" */
int dtype_parse(const char *name, enum dtype *out); /* -1: no such name */
size_t dtype_size(enum dtype d);                    /* bytes */

#ifdef __cplusplus
}
#endif
#endif
