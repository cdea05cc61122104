/*
 * lua_limits.h: for the targets whose input is Lua: a file has a hundredth of the usual instructions,
 * so that one which never ends costs milliseconds, and what it took is measured from outside.
 *
 * It is linked with --wrap for the three functions below, so that nothing in the program knows of it.
 * Invariant: a run that takes more memory or time than its limits (and as much again, for blocks that
 * move and for a slow machine) ends the program.
 */
#ifndef LUA_LIMITS_H
#define LUA_LIMITS_H

#include "fuzz.h"

#include "recipe/lua_sandbox.h"

#include <time.h>

/* Of clang's sanitizer/allocator_interface.h, which gcc has not. */
int __sanitizer_install_malloc_and_free_hooks(void (*more)(const volatile void *p, size_t size),
                                              void (*less)(const volatile void *p));
size_t __sanitizer_get_allocated_size(const volatile void *p);

static const struct lua_limits fuzz_limits = { 200000, (size_t)4 << 20, 1.0 };

static struct {
    bool on;
    size_t now, most;
} fuzz_heap;

struct lua_sandbox *__real_lua_sandbox_open(const char *path, const struct lua_limits *limits,
                                            struct buf *err);
struct lua_sandbox *__wrap_lua_sandbox_open(const char *path, const struct lua_limits *limits,
                                            struct buf *err);
struct lua_sandbox *__real_lua_sandbox_open_text(const char *name, const char *text,
                                                 const struct lua_limits *limits, struct buf *err);
struct lua_sandbox *__wrap_lua_sandbox_open_text(const char *name, const char *text,
                                                 const struct lua_limits *limits, struct buf *err);
int __real_lua_sandbox_run(struct lua_sandbox *s, struct buf *err);
int __wrap_lua_sandbox_run(struct lua_sandbox *s, struct buf *err);

struct lua_sandbox *__wrap_lua_sandbox_open(const char *path, const struct lua_limits *limits,
                                            struct buf *err)
{
    (void)limits;
    return __real_lua_sandbox_open(path, &fuzz_limits, err);
}

struct lua_sandbox *__wrap_lua_sandbox_open_text(const char *name, const char *text,
                                                 const struct lua_limits *limits, struct buf *err)
{
    (void)limits;
    return __real_lua_sandbox_open_text(name, text, &fuzz_limits, err);
}

static void heap_more(const volatile void *p, size_t size)
{
    (void)p;
    if (fuzz_heap.on && (fuzz_heap.now += size) > fuzz_heap.most)
        fuzz_heap.most = fuzz_heap.now;
}

static void heap_less(const volatile void *p)
{
    size_t size = p && fuzz_heap.on ? __sanitizer_get_allocated_size(p) : 0;
    fuzz_heap.now -= size < fuzz_heap.now ? size : fuzz_heap.now;
}

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int __wrap_lua_sandbox_run(struct lua_sandbox *s, struct buf *err)
{
    static bool hooked;
    if (!hooked && !__sanitizer_install_malloc_and_free_hooks(heap_more, heap_less))
        BUG("no hooks on the heap");
    hooked = true;
    fuzz_heap.on = true;
    fuzz_heap.now = fuzz_heap.most = 0;
    double start = cpu_seconds();
    int rc = __real_lua_sandbox_run(s, err);
    double seconds = cpu_seconds() - start;
    fuzz_heap.on = false;
    if (fuzz_heap.most > 2 * fuzz_limits.bytes)
        BUG("%zu bytes where %zu are allowed", fuzz_heap.most, fuzz_limits.bytes);
    if (seconds > 2 * fuzz_limits.seconds)
        BUG("%.2f s where %.2f are allowed", seconds, fuzz_limits.seconds);
    return rc;
}

#endif
