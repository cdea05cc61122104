/*
 * cmd_doctor.c: what the program found on this machine, and what is wrong with it: one line each.
 * "ok" is right, "BAD" makes the exit code 1, "-" is not there and need not be.
 */
#include "cmd/cmd.h"
#include "cmd/self_test.h"
#include "engine.h"
#include "machine.h"
#include "program.h"
#include "routers/cuda.h"
#include "score/measure.h"
#include "score/sandbox.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PYTHON "/usr/bin/python3" // the only one that there is in the sandbox

static int problems;

static void good(const char *what, const char *fmt, ...) PRINTF(2, 3);
static void bad(const char *what, const char *fmt, ...) PRINTF(2, 3);
static void lacking(const char *what, const char *fmt, ...) PRINTF(2, 3);

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

static void lacking(const char *what, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    line("-", what, fmt, ap);
    va_end(ap);
}

static void say(enum check c, const char *what, const char *text)
{
    (c == CHECK_OK ? good : c == CHECK_BAD ? bad : lacking)(what, "%s", text);
    fflush(stdout); // the next one may take its time
}

#ifdef SEQTOPK_CUDA
/* Adds the names of the routers that have a kernel for GPUs, or of those that have none. */
static void add_routers(bool kernels, struct buf *out)
{
    const struct router_args args = { .K = 1, .N = 8, .max = 8, .batch = 1 };
    for (const struct router *const *r = routers; *r; r++)
        if (router_on_gpu(*r, &args, NULL) == kernels)
            buf_addf(out, "%s, ", (*r)->name);
}

static void check_kernels(void)
{
    struct buf with = BUF_INIT, without = BUF_INIT;
    add_routers(true, &with);
    add_routers(false, &without);
    good("kernels", "on a GPU route %.*s; %sand those of a recipe copy their scores to the host",
         (int)with.len - 2, with.s, without.s);
    buf_release(&with);
    buf_release(&without);
}
#else
static void check_kernels(void)
{
    lacking("kernels", "none were built for GPUs, on which all routers would copy their scores to "
                       "the host; `make` wants nvcc and a libtorch with CUDA for them");
}
#endif

/* With their names and their driver, as far as these are known. */
static void list_gpus(int n)
{
    struct buf names = BUF_INIT, driver = BUF_INIT;
    for (int i = 0; i < n; i++) {
        struct buf name = BUF_INIT;
        machine_gpu(i, &name);
        buf_addf(&names, "%scuda:%d %s", i ? ", " : "", i, name.s);
        buf_release(&name);
    }
    machine_driver(&driver);
    good("GPU", "%d of them for --device cuda: %s; driver %s", n, names.s,
         driver.len ? driver.s : "not known");
    buf_release(&names);
    buf_release(&driver);
}

/* What every database says of its runs. */
static void say_program(void)
{
    struct buf processor = BUF_INIT;
    machine_processor(&processor);
    if (*program_revision)
        good("program", "%s, commit %s", program_version, program_revision);
    else
        good("program", "%s; it was built outside of git", program_version);
    good("processor", "%s", processor.s);
    buf_release(&processor);
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
    good("products", "our own on the CPU, for %s", info.products);
    if (info.cuda_devices)
        list_gpus(info.cuda_devices);
    else
        good("GPU", "none; --device cpu is all there is");
    check_kernels();
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
    if (model_find("tiny-olmoe-2k", &dir, &err) || config_read(dir.s, &config, &err)) {
        bad("model", "%s", err.s);
    } else {
        good("model", "tiny-olmoe-2k in %s: %d layers, N = %d, context %d", dir.s, config.layers,
             config.experts, config.context);
        config_release(&config);
    }
    buf_release(&err);
    buf_release(&dir);
}

static void check_programs(void)
{
    if (on_path("gnuplot"))
        good("gnuplot", "found");
    else
        bad("gnuplot", "not found; `plot` needs it: `apt-get install gnuplot-nox`");
    if (on_path("curl"))
        good("curl", "found");
    else
        lacking("curl", "not found; scripts/fetch-data and fetch-model need it to download: "
                        "`apt-get install curl`");
}

/* What generated code is run in. `why`: what keeps it from being run. */
static struct sandbox *check_sandbox(struct buf *why)
{
    struct sandbox *s = sandbox_open(why);
    if (access(PYTHON, X_OK) == 0)
        good("python3", "%s", PYTHON);
    else
        bad("python3", "there is no %s, which runs generated code: `apt-get install python3`",
            PYTHON);
    if (s)
        good("sandbox", "bubblewrap; all that it should keep from a program, it does");
    else
        lacking("sandbox", "not to be had, and tasks that run code are refused: %s", why->s);
    return s;
}

static void run_self_tests(struct sandbox *sandbox, bool allowed, const char *why, int threads)
{
    const struct tools tools = { .sandbox = allowed ? sandbox : NULL };
    self_test_all(&tools,
                  allowed ? why
                          : "it runs code, in the sandbox; say --allow-code-execution if it "
                            "shall",
                  threads, say);
}

static int run_doctor(int argc, char **argv)
{
    bool self_test = false, allowed = false;
    const struct option_spec specs[] = {
        { .name = "--self-test", .flag = &self_test },
        { .name = "--allow-code-execution", .flag = &allowed },
        { .name = NULL },
    };
    cmd_options(&cmd_doctor, argc, argv, specs, 0, 0);
    if (allowed && !self_test)
        die(2, "doctor: --allow-code-execution goes with --self-test");
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct buf why = BUF_INIT;
    say_program();
    good("cores", "%ld", cores);
    check_engine();
    check_programs();
    struct sandbox *sandbox = check_sandbox(&why);
    check_model();
    self_test_data(say);
    if (self_test)
        run_self_tests(sandbox, allowed, why.s, (int)cores);
    sandbox_close(sandbox);
    buf_release(&why);
    return problems ? 1 : 0;
}

const struct cmd cmd_doctor = {
    .name = "doctor",
    .args = "[--self-test [--allow-code-execution]]",
    .help =
        "what was found on this machine and what is wrong with it; tests of the tasks' measures",
    .run = run_doctor,
};
