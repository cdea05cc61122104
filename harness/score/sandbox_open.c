/*
 * sandbox_open.c: what bwrap is told, and the check that all of it holds.
 *
 * The check runs a program that looks at every property from the inside, in the way in which all
 * programs are run. It knows nothing of bwrap's options, so one that is missing, misspelt or
 * ignored by the kernel is found.
 */
#include "score/sandbox_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define EMBED(name)                                        \
    __asm__(".section .rodata\n"                           \
            ".global " #name "_py\n"                       \
            ".type " #name "_py, @object\n" #name "_py:\n" \
            ".incbin \"harness/score/" #name ".py\"\n"     \
            ".byte 0\n"                                    \
            ".size " #name "_py, . - " #name "_py\n"       \
            ".previous\n")
EMBED(sandbox_runner);
EMBED(sandbox_canary);

// Only /usr is there inside, so it is this python3, not one found along PATH.
#define BWRAP "/usr/bin/bwrap"
#define PYTHON "/usr/bin/python3"
_Static_assert(SANDBOX_FILTER == 4 && SANDBOX_INFO == 5, "the numbers among bwrap's options");

static const char options[] =
    "--unshare-user --unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup "
    "--disable-userns --die-with-parent --as-pid-1 --new-session --cap-drop ALL "
    "--uid 65534 --gid 65534 --hostname sandbox "
    // With a fixed seed sets have one order, and the same program one outcome.
    "--clearenv --setenv PATH /usr/bin --setenv HOME /tmp --setenv LANG C.UTF-8 "
    "--setenv PYTHONHASHSEED 0 "
    "--ro-bind /usr /usr --tmpfs /usr/local --remount-ro /usr/local "
    "--symlink usr/bin /bin --symlink usr/lib /lib --symlink usr/lib64 /lib64 "
    // multiprocessing keeps its locks in /dev/shm.
    "--proc /proc --dev /dev --size 4194304 --tmpfs /dev/shm --remount-ro /dev "
    "--size 16777216 --tmpfs /tmp --chdir /tmp --remount-ro / "
    "--seccomp 4 --info-fd 5 "
    // Without site-packages: what there is is the standard library.
    "-- " PYTHON " -s -S -B -c";

struct sandbox *sandbox_new(struct buf *err)
{
    struct sandbox *s = xcalloc(1, sizeof(*s));
    char *words = xstrdup(options), *save = NULL;
    buf_init(&s->filter);
    strings_add(&s->argv, BWRAP);
    for (char *w = strtok_r(words, " ", &save); w; w = strtok_r(NULL, " ", &save))
        strings_add(&s->argv, w);
    strings_add(&s->argv, sandbox_runner_py);
    free(words);
    s->null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int rc = s->null < 0 ? fail(err, "/dev/null: %s", strerror(errno)) : 0;
    if (rc == 0)
        rc = sandbox_filter(&s->filter, err);
    if (rc == 0)
        return s;
    sandbox_close(s);
    return NULL;
}

void sandbox_close(struct sandbox *s)
{
    if (!s)
        return;
    strings_release(&s->argv);
    buf_release(&s->filter);
    if (s->null >= 0)
        close(s->null);
    free(s);
}

/* What the canary compares itself with: NONCE, HOST and CPU, as Python has them. */
static void add_canary_facts(struct buf *out, const char *nonce, int milliseconds)
{
    static const char *const spaces[] = { "user", "ipc", "pid", "net", "uts", "cgroup", "mnt" };
    int cpu = sandbox_cpu_seconds(milliseconds);
    buf_addf(out, "NONCE = '%s'\nCPU = %d, %d\nHOST = {", nonce, cpu, cpu + 1);
    for (size_t i = 0; i < ARRAY_LEN(spaces); i++) {
        char path[32], link[64];
        snprintf(path, sizeof(path), "/proc/self/ns/%s", spaces[i]);
        ssize_t n = readlink(path, link, sizeof(link));
        buf_addf(out, "'%s': '%.*s', ", spaces[i], n > 0 ? (int)n : 0, link);
    }
    buf_adds(out, "}\n");
}

static int run_canary(struct sandbox *s, struct buf *err)
{
    enum { MILLISECONDS = 10000 };
    char nonce[33];
    struct buf program = BUF_INIT, said = BUF_INIT;
    struct outcome_of o;
    sandbox_nonce(nonce);
    add_canary_facts(&program, nonce, MILLISECONDS);
    buf_adds(&program, sandbox_canary_py);
    int rc = sandbox_run_hearing(s, program.s, program.len, MILLISECONDS, &o, &said, err);
    if (rc != 0 && strstr(err->s, "bwrap: "))
        fail(err,
             "%s; bubblewrap needs user namespaces: sysctl user.max_user_namespaces, "
             "kernel.unprivileged_userns_clone or kernel.apparmor_restrict_unprivileged_userns "
             "may forbid them, and containers do unless told otherwise",
             err->s);
    if (rc == 0 && o.outcome != OUTCOME_PASSED)
        rc = fail(err, "the sandbox's check of itself ended with %s: %s", outcome_name(&o), said.s);
    else if (rc == 0 && strcmp(said.s, nonce) != 0)
        rc = fail(err, "the sandbox does not hold, so generated code is not run: %s", said.s);
    buf_release(&program);
    buf_release(&said);
    return rc;
}

int sandbox_check(struct sandbox *s, struct buf *err)
{
    if (access(s->argv.v[0], X_OK) != 0)
        return fail(err,
                    "generated code is run in bubblewrap only, and there is no %s; on Debian: "
                    "apt-get install bubblewrap",
                    s->argv.v[0]);
    if (access(PYTHON, X_OK) != 0)
        return fail(err,
                    "generated code is run by %s, which is not there; on Debian: apt-get "
                    "install python3",
                    PYTHON);
    return run_canary(s, err);
}

struct sandbox *sandbox_open(struct buf *err)
{
    struct sandbox *s = sandbox_new(err);
    if (s && sandbox_check(s, err) != 0) {
        sandbox_close(s);
        s = NULL;
    }
    return s;
}
