/*
 * cmd_doctor.c: what the program found on this machine, and what is wrong with it: one line each.
 */
#include "cmd/cmd.h"
#include "engine.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int problems;

static void good(const char *what, const char *fmt, ...) PRINTF(2, 3);
static void bad(const char *what, const char *fmt, ...) PRINTF(2, 3);

static void line(const char *mark, const char *what, const char *fmt, va_list ap)
{
    printf("%-4s %-9s ", mark, what);
    vprintf(fmt, ap);
    printf("\n");
}

static void good(const char *what, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    line("ok", what, fmt, ap);
    va_end(ap);
}

static void bad(const char *what, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    line("BAD", what, fmt, ap);
    va_end(ap);
    problems++;
}

static void check_engine(void)
{
    struct buf err = BUF_INIT;
    const struct engine *engine = engine_open(&err);
    if (!engine) {
        bad("engine", "%s", err.s);
        buf_release(&err);
        return;
    }
    struct torch_info info = engine->info();
    good("libtorch", "%s", info.version);
    if (info.fast_blas)
        good("BLAS", "%s", info.blas);
    else
        bad("BLAS",
            "%s: about ten times slower than OpenBLAS, which is "
            "`apt-get install libopenblas0-pthread`",
            info.blas);
    good("products", "%s", info.products);
    if (info.cuda_devices)
        good("GPU", "%d of them for --device cuda", info.cuda_devices);
    else
        good("GPU", "none; --device cpu is all there is");
    buf_release(&err);
}

/* Is a program on the PATH? */
static bool on_path(const char *name)
{
    const char *path = getenv("PATH");
    struct buf file = BUF_INIT;
    bool found = false;
    for (const char *p = path ? path : ""; *p && !found;) {
        size_t n = strcspn(p, ":");
        buf_reset(&file);
        buf_addf(&file, "%.*s/%s", (int)n, p, name);
        found = access(file.s, X_OK) == 0;
        p += n + (p[n] == ':');
    }
    buf_release(&file);
    return found;
}

static void check_model(void)
{
    struct buf err = BUF_INIT, dir = BUF_INIT;
    struct model_config config;
    if (model_find("tiny-olmoe", &dir, &err) || config_read(dir.s, &config, &err)) {
        bad("model", "%s", err.s);
    } else {
        good("model", "tiny-olmoe in %s: %d layers, N = %d, context %d", dir.s, config.layers,
             config.experts, config.context);
        config_release(&config);
    }
    buf_release(&err);
    buf_release(&dir);
}

static int run_doctor(int argc, char **argv)
{
    cmd_options(&cmd_doctor, argc, argv, (const struct option_spec[]){ { .name = NULL } }, 0, 0);
    good("cores", "%ld", sysconf(_SC_NPROCESSORS_ONLN));
    check_engine();
    if (on_path("gnuplot"))
        good("gnuplot", "found");
    else
        bad("gnuplot", "not found; `plot` needs it: `apt-get install gnuplot-nox`");
    check_model();
    return problems ? 1 : 0;
}

const struct cmd cmd_doctor = {
    .name = "doctor",
    .args = "",
    .help = "what was found on this machine, and what is wrong with it",
    .run = run_doctor,
};
