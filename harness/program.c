/*
 * program.c: see program.h. `make` writes version.h into its build folder, and that alone is compiled
 * anew when the commit is another.
 */
#include "program.h"

#if __has_include("version.h")
#include "version.h"
#else
#define SEQTOPK_REVISION "" // somebody compiles this file without make
#endif

const char program_version[] = "0.1";
const char program_revision[] = SEQTOPK_REVISION;
