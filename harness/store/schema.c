/*
 * schema.c: schema.sql as a string in the program, so that the program is one file.
 * The path is from the project's root, where make runs.
 */
#include "store/store_impl.h"

__asm__(".section .rodata\n"
        ".global schema_sql\n"
        ".type schema_sql, @object\n"
        "schema_sql:\n"
        ".incbin \"harness/store/schema.sql\"\n"
        ".byte 0\n"
        ".size schema_sql, . - schema_sql\n"
        ".previous\n");
