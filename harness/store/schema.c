/*
 * schema.c: schema*.sql as strings in the program, so that the program is one file.
 * The paths are from the project's root, where make runs.
 */
#include "store/store_impl.h"

#define INCLUDE(name, file)                        \
    __asm__(".section .rodata\n"                   \
            ".global " name "\n"                   \
            ".type " name ", @object\n" name ":\n" \
            ".incbin \"" file "\"\n"               \
            ".byte 0\n"                            \
            ".size " name ", . - " name "\n"       \
            ".previous\n")

INCLUDE("schema_1_sql", "harness/store/schema.sql");
INCLUDE("schema_2_sql", "harness/store/schema_2.sql");
INCLUDE("schema_3_sql", "harness/store/schema_3.sql");
INCLUDE("schema_4_sql", "harness/store/schema_4.sql");
INCLUDE("schema_5_sql", "harness/store/schema_5.sql");

extern const char schema_1_sql[], schema_2_sql[], schema_3_sql[], schema_4_sql[], schema_5_sql[];
const char *const schema_sql[STORE_VERSION] = { schema_1_sql, schema_2_sql, schema_3_sql,
                                                schema_4_sql, schema_5_sql };
