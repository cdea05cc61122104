/*
 * source.c: takes the .torchscript files into the program, so that it needs no file to find.
 */
#include "models/source.h"

#define SOURCE(name)                                             \
    __asm__(".section .rodata\n"                                 \
            ".global source_" #name "\n"                         \
            "source_" #name ":\n"                                \
            ".incbin \"harness/models/" #name ".torchscript\"\n" \
            ".byte 0\n"                                          \
            ".previous\n")

SOURCE(decoder);
SOURCE(ends);
SOURCE(olmoe);
SOURCE(qwen2_moe);
SOURCE(mixtral);
SOURCE(qwen3_moe);
