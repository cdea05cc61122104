/*
 * skip.h: leaving a test that cannot run here, by name, so that it is counted: scripts/run-tests
 * prints the list. cmocka's own skip() prints "not ok ... # SKIP" in TAP (1.1.5), which prove takes
 * for a failure.
 */
#ifndef SKIP_H
#define SKIP_H

#include <stdio.h>
#include <stdlib.h>

#define SKIP(...)                                                     \
    do {                                                              \
        const char *list_ = getenv("SEQTOPK_SKIPS");                  \
        FILE *to_ = list_ ? fopen(list_, "a") : NULL;                 \
        for (FILE *f_ = stdout; f_; f_ = f_ == stdout ? to_ : NULL) { \
            fprintf(f_, "# SKIP %s: ", __func__);                     \
            fprintf(f_, __VA_ARGS__);                                 \
            fputc('\n', f_);                                          \
        }                                                             \
        if (to_)                                                      \
            fclose(to_);                                              \
        return;                                                       \
    } while (0)

/*
 * What a test's bound on time is multiplied by: 1, or what SEQTOPK_SLOW says where the test runs under
 * a tool that makes it slower.
 */
static inline double patience(void)
{
    const char *slow = getenv("SEQTOPK_SLOW");
    return slow && atof(slow) > 1 ? atof(slow) : 1;
}

#endif
