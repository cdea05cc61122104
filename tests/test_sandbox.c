/*
 * test_sandbox.c: what becomes of programs, twelve ways out that are shut, and walls that are taken
 * away one at a time: the check must notice, and the way out must then be open, or its test would
 * prove nothing.
 *
 * Three walls are not taken away here, since the test would harm its host: the limits on processes
 * and memory, and the namespace of processes while something is killed.
 */
#include "score/measure.h"
#include "score/sandbox_impl.h"
#include "skip.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#define PLAIN_USER 12345

static struct sandbox *sandbox;
static char mark[33]; /* among the arguments of every process in it */
static struct buf err = BUF_INIT;
static const char *no_sandbox; /* why there is none */

#define NEED_SANDBOX()              \
    do {                            \
        if (!sandbox)               \
            SKIP("%s", no_sandbox); \
    } while (0)

static int become_plain(void)
{
    if (getuid() == 0 && (syscall(SYS_setgroups, 0, NULL) != 0 || setgid(PLAIN_USER) != 0 ||
                          setuid(PLAIN_USER) != 0))
        return -1;
    return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); // or its /proc would be root's
}

/* Calls `call` in a child; its result. */
static int in_child(int (*call)(void))
{
    int status = 0;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(call());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int try_user_namespace(void)
{
    return become_plain() == 0 && unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWPID) == 0 ? 0 : 1;
}

/* Where the parts are there and the kernel lets us, the sandbox must open: that is no skip. */
static int open_sandbox(void **state)
{
    (void)state;
    if (access("/usr/bin/bwrap", X_OK) != 0 || access("/usr/bin/python3", X_OK) != 0)
        no_sandbox = "no /usr/bin/bwrap or /usr/bin/python3";
    else if (in_child(try_user_namespace) != 0)
        no_sandbox = "no user namespaces here";
    if (no_sandbox)
        return 0;
    sandbox = sandbox_open(&err);
    if (!sandbox)
        BUG("%s", err.s);
    sandbox_nonce(mark);
    strings_add(&sandbox->argv, mark);
    return 0;
}

static int close_sandbox(void **state)
{
    (void)state;
    sandbox_close(sandbox);
    return 0;
}

static int forget(void **state)
{
    (void)state;
    buf_release(&err);
    return 0;
}

static struct outcome_of run_for(struct sandbox *s, const char *program, int milliseconds)
{
    struct outcome_of o;
    if (sandbox_run(s, program, strlen(program), milliseconds, &o, &err) != 0)
        fail_msg("%s\n%s", err.s, program);
    return o;
}

static void check_outcome(const char *program, const char *want)
{
    struct outcome_of o = run_for(sandbox, program, 3000);
    if (strcmp(outcome_name(&o), want) != 0)
        fail_msg("%s, not %s:\n%s", outcome_name(&o), want, program);
}

/* How many processes have the mark among their arguments. */
static int processes_left(void)
{
    int left = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *d; (d = readdir(proc));) {
        char path[300], line[8192];
        snprintf(path, sizeof(path), "/proc/%s/cmdline", d->d_name);
        FILE *f = d->d_name[0] >= '0' && d->d_name[0] <= '9' ? fopen(path, "r") : NULL;
        if (!f)
            continue;
        size_t n = fread(line, 1, sizeof(line), f);
        fclose(f);
        left += memmem(line, n, mark, 32) != NULL;
    }
    closedir(proc);
    return left;
}

static int files_open(void)
{
    int files = 0;
    DIR *d = opendir("/proc/self/fd");
    while (readdir(d))
        files++;
    closedir(d);
    return files;
}

/* ---- outcomes ---- */

static void each_end_has_its_name(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        { "", "passed" },
        { "x = 1", "passed" },
        { "assert __name__ == 'builtins' and '__file__' not in globals()", "passed" },
        { "if __name__ == '__main__': raise ValueError", "passed" },
        { "assert 1 == 2", "AssertionError" },
        { "def f(:", "SyntaxError" },
        { "x = '\xff'", "UnicodeDecodeError" },
        { "f()", "NameError" },
        { "def f(): f()\nf()", "RecursionError" },
        { "class Mine(Exception): pass\nraise Mine", "Mine" },
        // A class that would read as another outcome, or cannot be written down.
        { "class passed(Exception): pass\nraise passed", "Exception" },
        { "class timeout(ValueError): pass\nraise timeout", "ValueError" },
        { "raise type('output limit', (KeyError,), {})", "KeyError" },
        { "raise type('x' * 64, (KeyError,), {})", "KeyError" },
        { "raise type('x' * 63, (KeyError,), {})",
          "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx" },
        { "class Meta(type):\n @property\n def __name__(self): raise ValueError\n"
          "class E(Exception, metaclass=Meta): pass\nraise E",
          "BaseException" },
        { "import sys; sys.exit(0)", "SystemExit" },
        { "raise KeyboardInterrupt", "KeyboardInterrupt" },
        { "raise BaseException", "BaseException" },
        { "import os; os._exit(0)", "killed" },
        { "import os; os.abort()", "killed" },
        { "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed" },
        { "import os, signal; os.kill(os.getpid(), signal.SIGXCPU)", "timeout" },
        { "import os; os.closerange(0, 100)", "killed" },
        { "input()", "OSError" },
        { "import sys\nfor line in sys.stdin: pass", "OSError" },
        { "import sys; sys.stdin.readlines()", "OSError" },
        { "print('\\ud800'); import sys; print('x', file=sys.stderr)", "passed" },
        { "print('x' * 1000000, flush=True)", "passed" },
        { "print('x' * 1100000, flush=True)", "output limit" },
        { "import sys; sys.stderr.write('x' * 1100000)", "output limit" },
        { "import os; os.write(3, b'x' * 100000)", "output limit" },
    };
    NEED_SANDBOX();
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_outcome(cases[i][0], cases[i][1]);
}

static void what_generated_programs_need_works(void **state)
{
    (void)state;
    NEED_SANDBOX();
    check_outcome(
        "import re, math, heapq, bisect, itertools, collections, functools, json, cmath\n"
        "import random, string, datetime, decimal, fractions, hashlib, typing, copy, sys\n"
        "from dataclasses import dataclass\n"
        "@dataclass\nclass P:\n    x: int\nassert P(1) == P(1)",
        "passed");
    check_outcome("open('x', 'w').write('1')\nassert open('/tmp/x').read() == '1'", "passed");
    check_outcome("import os\nassert os.listdir() == []", "passed");
    check_outcome("import threading\nt = threading.Thread(target=print)\nt.start(); t.join()",
                  "passed");
    check_outcome("import multiprocessing as m\nwith m.Pool(2) as p:\n"
                  "    assert p.map(abs, [-1, 2]) == [1, 2]",
                  "passed");
    check_outcome("import subprocess as s\nassert s.check_output(['echo', 'x']) == b'x\\n'",
                  "passed");
}

static void the_same_program_prints_its_sets_in_one_order(void **state)
{
    (void)state;
    NEED_SANDBOX();
    char *first = NULL;
    for (int i = 0; i < 3; i++) {
        struct buf said = BUF_INIT;
        struct outcome_of o;
        const char *p = "print({'a', 'b', 'c', 'd', 'e', 'f'}, flush=True)";
        assert_int_equal(sandbox_run_hearing(sandbox, p, strlen(p), 3000, &o, &said, &err), 0);
        if (!first)
            first = xstrdup(said.s);
        assert_string_equal(said.s, first);
        assert_int_equal(said.len, 31);
        buf_release(&said);
    }
    free(first);
}

static void a_program_cannot_say_that_it_passed(void **state)
{
    (void)state;
    NEED_SANDBOX();
    check_outcome("import os\nprint('passed', flush=True)\nos._exit(0)", "killed");
    check_outcome("import os\nos.write(3, b'\\npassed\\n passed\\n')\nos._exit(0)", "killed");
    check_outcome("import os\nos.write(3, b'\\n' + b'0' * 32 + b' passed\\n')\nos._exit(0)",
                  "killed");
    // What it leaves on the line does not spoil the runner's word.
    check_outcome("import os\nos.write(3, b'half a line')", "passed");
    // A child that gets to the end says nothing in place of its parent.
    check_outcome("import os, time\nif os.fork():\n    time.sleep(0.3)\n    raise ValueError",
                  "ValueError");
}

static void large_programs_are_run_and_too_large_ones_refused(void **state)
{
    (void)state;
    struct buf program = BUF_INIT;
    struct outcome_of o;
    NEED_SANDBOX();
    for (int i = 0; i < 100000; i++)
        buf_addf(&program, "# a comment of line %d\n", i);
    buf_adds(&program, "raise KeyError");
    check_outcome(program.s, "KeyError");
    buf_grow(&program, SANDBOX_PROGRAM);
    memset(program.s, '#', SANDBOX_PROGRAM + 1);
    assert_int_equal(sandbox_run(sandbox, program.s, SANDBOX_PROGRAM + 1, 100, &o, &err), -1);
    assert_string_equal(err.s, "a program of 16777217 bytes; up to 16777216 are run");
    buf_release(&program);
}

/* ---- ways out ---- */

/* Before each: refused(errors, call, ...) raises NotBlocked where the call succeeds. */
static const char prelude[] = "import os, sys, socket, ctypes, errno\n"
                              "from errno import *\n"
                              "libc = ctypes.CDLL(None, use_errno=True)\n"
                              "class NotBlocked(Exception): pass\n"
                              "def refused(errors, call, *args):\n"
                              "    try:\n"
                              "        call(*args)\n"
                              "    except OSError as e:\n"
                              "        assert e.errno in errors, e\n"
                              "    else:\n"
                              "        raise NotBlocked\n"
                              "def libc_call(name, *args):\n"
                              "    ctypes.set_errno(0)\n"
                              "    if getattr(libc, name)(*args) < 0:\n"
                              "        raise OSError(ctypes.get_errno(), name)\n";

/* `open` is what opens the way: "-OPTION WORDS" of bwrap is taken out, "+WORD ..." is put in. */
struct escape {
    const char *name, *program, *open;
};

static const struct escape escapes[] = {
    { "socket",
      "for family in socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, 40:\n"
      "    refused([EAFNOSUPPORT], socket.socket, family, socket.SOCK_STREAM)\n"
      "socket.socketpair()",
      "-seccomp 2" },
    { "/etc/shadow",
      "for p in '/etc/shadow', '/etc/passwd', '/proc/1/' 'root/etc/passwd':\n"
      "    refused([ENOENT], open, p)",
      "+--ro-bind /etc /etc" },
    { "home",
      "for p in '/home', '/root', '/var', '/run', os.path.expanduser('~root'):\n"
      "    refused([ENOENT], os.listdir, p)\n"
      "assert os.environ['HOME'] == '/tmp'",
      "+--ro-bind /home /home" },
    { "writing outside",
      "for p in '/x', '/usr/x', '/usr/lib/python3/x', '/dev/x', '/usr/local/x', '../x':\n"
      "    refused([EROFS], open, p, 'w')\n"
      "refused([EACCES, EROFS], open, '/proc/sys/kernel/core_pattern', 'w')",
      "-remount-ro /" },
    { "symlink out of /tmp",
      "os.symlink('/etc/passwd', '/tmp/link')\n"
      "refused([ENOENT], open, '/tmp/link')\n"
      "os.symlink('/usr/lib', '/tmp/lib')\n"
      "refused([EROFS], open, '/tmp/lib/x', 'w')\n"
      "refused([EACCES, EPERM, EXDEV, EROFS], os.link, '/usr/bin/env', '/tmp/env')",
      "+--ro-bind /etc /etc" },
    { "ptrace",
      "refused([EPERM], libc_call, 'ptrace', 16, os.getppid(), 0, 0)\n"
      "refused([EPERM], libc_call, 'ptrace', 0, 0, 0, 0)\n"
      "refused([EPERM], libc_call, 'process_vm_readv', os.getppid(), 0, 0, 0, 0, 0)",
      "-seccomp 2" },
    { "mounting",
      "refused([EPERM], libc_call, 'unshare', 0x10020000)\n"
      "refused([EPERM], libc_call, 'mount', b'none', b'/tmp', b'tmpfs', 0, 0)\n"
      "refused([EPERM], libc_call, 'chroot', b'/tmp')",
      "-seccomp 2 -disable-userns 1" },
    { "other processes",
      "assert sorted(p for p in os.listdir('/proc') if p.isdigit()) == ['1', str(os.getpid())]",
      "-as-pid-1 1 -unshare-pid 1" },
};

/* Puts `word` before the mounts, or takes `n` of them out from "--OPTION" on. */
static void change(struct sandbox *s, const char *option, int n, const char *word)
{
    struct strings changed = { 0 };
    bool done = false;
    for (size_t i = 0; i < s->argv.len; i++) {
        const char *arg = s->argv.v[i];
        // Of an option with a value the value decides too: "remount-ro /".
        if (!done && option && strncmp(arg, "--", 2) == 0 && strcmp(arg + 2, option) == 0 &&
            (!word || strcmp(s->argv.v[i + 1], word) == 0)) {
            i += (size_t)n - 1;
            done = true;
            continue;
        }
        if (!done && !option && strcmp(arg, "--proc") == 0) {
            strings_add(&changed, word);
            done = true;
        }
        strings_add(&changed, arg);
    }
    assert_true(done);
    strings_release(&s->argv);
    s->argv = changed;
}

/* A sandbox with a hole, as struct escape has it. */
static struct sandbox *open_with(const char *hole)
{
    struct sandbox *s = sandbox_new(&err);
    char *copy = xstrdup(hole), *save = NULL;
    assert_non_null(s);
    if (*copy == '+') {
        for (char *w = strtok_r(copy + 1, " ", &save); w; w = strtok_r(NULL, " ", &save))
            change(s, NULL, 0, w);
    } else {
        for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
            char *value = strtok_r(NULL, " ", &save);
            int n = strlen(value) == 1 ? atoi(value) : 0;
            change(s, w + 1, n ? n : 2, n ? NULL : value);
        }
    }
    free(copy);
    return s;
}

static void ways_out_are_shut(void **state)
{
    (void)state;
    NEED_SANDBOX();
    for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
        char *program = xasprintf("%s%s", prelude, escapes[i].program);
        check_outcome(program, "passed");
        free(program);
    }
}

/* The filter knows the numbers of one ABI: a call by another's ends the program. */
static void system_calls_of_other_abis_are_deadly(void **state)
{
    (void)state;
    static const char *const calls[] = {
        "libc.syscall(ctypes.c_long(0x40000000 + 39))", // getpid of x32
        // mov eax, 20; int 0x80; ret: getpid of 32 bits
        "import mmap\nm = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | "
        "mmap.PROT_EXEC)\nm.write(b'\\xb8\\x14\\0\\0\\0\\xcd\\x80\\xc3')\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(m)))()",
    };
    NEED_SANDBOX();
    for (size_t i = 0; i < ARRAY_LEN(calls); i++) {
        char *program = xasprintf("%s%s", prelude, calls[i]);
        check_outcome(program, "killed");
        free(program);
    }
}

static void the_same_ways_are_open_without_their_wall(void **state)
{
    (void)state;
    NEED_SANDBOX();
    for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
        char *program = xasprintf("%s%s", prelude, escapes[i].program);
        struct sandbox *s = open_with(escapes[i].open);
        struct outcome_of o = run_for(s, program, 3000);
        if (o.outcome != OUTCOME_RAISED)
            fail_msg("%s: %s, with %s", escapes[i].name, outcome_name(&o), escapes[i].open);
        free(program);
        sandbox_close(s);
    }
}

static void a_fork_bomb_stays_small_and_leaves_nothing(void **state)
{
    (void)state;
    NEED_SANDBOX();
    check_outcome("import os, time\nn = 0\ntry:\n    while os.fork():\n        n += 1\n"
                  "    time.sleep(9)\nexcept BlockingIOError:\n    assert n == 14, n",
                  "passed");
    struct outcome_of o =
        run_for(sandbox, "import os\nwhile True:\n try: os.fork()\n except OSError: pass", 500);
    assert_int_equal(o.outcome, OUTCOME_TIMEOUT);
    assert_int_equal(processes_left(), 0);
}

static void a_memory_bomb_is_a_memory_error(void **state)
{
    (void)state;
    NEED_SANDBOX();
    check_outcome("a = []\nwhile True: a.append(bytearray(1 << 24))", "MemoryError");
    check_outcome("a = [0] * 10**9", "MemoryError");
    // Filled to the last byte, so that the runner too finds none.
    check_outcome("a = []\ndef fill(n):\n    try:\n        while True: a.append(bytearray(n))\n"
                  "    except MemoryError: pass\n"
                  "for n in 1 << 24, 1 << 20, 1 << 16, 1 << 12, 1 << 8, 64: fill(n)\n"
                  "while True: a.append(object())",
                  "MemoryError");
    check_outcome("open('/tmp/x', 'wb').write(b'x' * (9 << 20))", "OSError");
    check_outcome("for i in range(3): open('/tmp/%d' % i, 'wb').write(b'x' * (7 << 20))",
                  "OSError");
}

static void an_endless_loop_ends_at_the_wall_clock(void **state)
{
    (void)state;
    static const char *const loops[] = {
        "while True: pass",
        "import time; time.sleep(1000)",
        "while True:\n try:\n  while True: pass\n except BaseException: pass",
        "import signal\nfor s in 1, 2, 3, 10, 12, 15, 24: signal.signal(s, signal.SIG_IGN)\n"
        "while True: pass",
        "import os\nos.setsid() if os.getpid() != os.getsid(0) else 0\nwhile True: pass",
    };
    NEED_SANDBOX();
    for (size_t i = 0; i < ARRAY_LEN(loops); i++) {
        struct outcome_of o = run_for(sandbox, loops[i], 300);
        assert_string_equal(outcome_name(&o), "timeout");
        assert_true(o.seconds >= 0.3 && o.seconds < 9);
    }
    // A child's time is its own; it ends with its parent.
    check_outcome("import os\nif not os.fork():\n    while True: pass", "passed");
    assert_int_equal(processes_left(), 0);
}

static void endless_output_is_cut_off(void **state)
{
    (void)state;
    NEED_SANDBOX();
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    check_outcome("for i in range(10000): print('x' * 1000000)", "output limit");
    check_outcome("import os\nwhile True: os.write(2, b'x' * 1000)", "output limit");
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < 8 << 10); // KiB
}

static void the_parent_cannot_be_killed(void **state)
{
    (void)state;
    NEED_SANDBOX();
    char *program = xasprintf("%s"
                              "for s in 9, 19, 15:\n"
                              "    os.kill(os.getppid(), s); os.kill(1, s)\n"
                              "refused([ESRCH], os.kill, %ld, 9)\n"
                              "assert os.getppid() == 1\n",
                              prelude, (long)getpid());
    check_outcome(program, "passed");
    free(program);
}

static void limits_cannot_be_raised(void **state)
{
    (void)state;
    static const char *const limits[] = { "AS",   "NPROC",   "CPU",      "FSIZE",
                                          "CORE", "MEMLOCK", "MSGQUEUE", "NOFILE" };
    NEED_SANDBOX();
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        char *program = xasprintf("import resource as r\nn = getattr(r, 'RLIMIT_%s', 12)\n"
                                  "r.setrlimit(n, (r.getrlimit(n)[0], r.getrlimit(n)[1] + 1))",
                                  limits[i]);
        check_outcome(program, "ValueError");
        free(program);
    }
    check_outcome("import resource as r\nr.setrlimit(r.RLIMIT_AS, (10 << 20, 10 << 20))\n"
                  "a = bytearray(64 << 20)",
                  "MemoryError");
}

/* ---- what is left behind ---- */

static void nothing_is_left_of_a_program(void **state)
{
    (void)state;
    NEED_SANDBOX();
    int files = files_open();
    static const char *const programs[] = {
        "import os, time\nif not os.fork():\n    os.setsid()\n    if not os.fork(): "
        "time.sleep(100)\n    os._exit(0)",
        "import subprocess\nsubprocess.Popen(['sleep', '100'])",
        "import subprocess, os\nsubprocess.Popen(['sleep', '100'])\nos._exit(0)",
        "open('/tmp/left', 'w').write('x')",
        "import os\nassert os.listdir('/tmp') == [] and os.listdir('/dev/shm') == []",
        "def f(:",
    };
    for (size_t i = 0; i < ARRAY_LEN(programs); i++) {
        run_for(sandbox, programs[i], 3000);
        assert_int_equal(processes_left(), 0);
    }
    assert_int_equal(files_open(), files);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    check_outcome("import os\nassert not os.path.exists('/tmp/left')", "passed");
}

static void *run_many(void *arg)
{
    int *wrong = arg;
    static const char *const programs[][2] = { { "x = 1", "passed" },
                                               { "raise KeyError", "KeyError" },
                                               { "import os; os._exit(1)", "killed" },
                                               { "print('x' * 2000000)", "output limit" } };
    for (int i = 0; i < 20; i++) {
        const char *const *p = programs[i % 4];
        struct outcome_of o;
        struct buf e = BUF_INIT;
        *wrong += sandbox_run(sandbox, p[0], strlen(p[0]), 3000, &o, &e) != 0 ||
                  strcmp(outcome_name(&o), p[1]) != 0;
        buf_release(&e);
    }
    return NULL;
}

static void threads_run_programs_side_by_side(void **state)
{
    (void)state;
    enum { THREADS = 3 };
    pthread_t threads[THREADS];
    int wrong[THREADS] = { 0 };
    NEED_SANDBOX();
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, &wrong[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(wrong[i], 0);
    }
}

/* ---- what reaches it from outside ---- */

static void *run_and_sleep(void *arg)
{
    struct outcome_of *o = arg;
    *o = run_for(sandbox, "import time; time.sleep(0.5)", 9000);
    return NULL;
}

static int interrupt_a_run(void)
{
    struct outcome_of o = { 0 };
    pthread_t runner;
    // As ^C does: a signal to all processes of our group.
    setpgid(0, 0);
    signal(SIGINT, SIG_IGN);
    pthread_create(&runner, NULL, run_and_sleep, &o);
    for (int i = 0; i < 20; i++) {
        usleep(20000);
        kill(0, SIGINT);
    }
    pthread_join(runner, NULL);
    return o.outcome == OUTCOME_PASSED && o.seconds >= 0.5 ? 0 : 1;
}

static atomic_bool over;
static void *run_shortly(void *arg)
{
    int *wrong = arg;
    for (int i = 0; i < 10; i++)
        *wrong += run_for(sandbox, "pass", 9000).outcome != OUTCOME_PASSED;
    over = true;
    return NULL;
}

/* Also while the program is being started, when it is of our group still. */
static int interrupt_beginnings(void)
{
    int wrong = 0;
    pthread_t runner;
    setpgid(0, 0);
    signal(SIGINT, SIG_IGN);
    pthread_create(&runner, NULL, run_shortly, &wrong);
    while (!over) {
        kill(0, SIGINT);
        usleep(5);
    }
    pthread_join(runner, NULL);
    return wrong;
}

static void what_is_typed_at_the_terminal_does_not_reach_it(void **state)
{
    (void)state;
    NEED_SANDBOX();
    assert_int_equal(in_child(interrupt_a_run), 0);
    assert_int_equal(in_child(interrupt_beginnings), 0);
}

static void our_signals_are_not_its_signals(void **state)
{
    (void)state;
    sigset_t all, before;
    NEED_SANDBOX();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    signal(SIGUSR1, SIG_IGN);
    check_outcome("import signal\nassert not signal.pthread_sigmask(signal.SIG_BLOCK, [])\n"
                  "assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL",
                  "passed");
    signal(SIGUSR1, SIG_DFL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void our_files_and_environment_are_not_its_own(void **state)
{
    (void)state;
    NEED_SANDBOX();
    int file = open("tests/test_sandbox.c", O_RDONLY); // without O_CLOEXEC
    setenv("SECRET_KEY", "1", 1);
    check_outcome("import os\nassert 'SECRET_KEY' not in os.environ\n"
                  "fds = [f for f in range(64) if os.path.exists('/proc/self/fd/%d' % f)]\n"
                  "assert fds == [0, 1, 2, 3], fds",
                  "passed");
    unsetenv("SECRET_KEY");
    close(file);
}

static void it_dies_with_its_host(void **state)
{
    (void)state;
    NEED_SANDBOX();
    fflush(NULL);
    pid_t host = fork();
    if (host == 0) {
        run_for(sandbox, "import os, time\nos.fork()\ntime.sleep(60)", 60000);
        _exit(0);
    }
    double from = now_seconds();
    while (processes_left() < 4 && now_seconds() < from + 20)
        usleep(10000); // bwrap, the runner's two, and the program's child
    assert_int_equal(processes_left(), 4);
    kill(host, SIGKILL);
    waitpid(host, NULL, 0);
    while (processes_left() > 0 && now_seconds() < from + 20)
        usleep(10000);
    assert_int_equal(processes_left(), 0);
}

/* ---- the check ---- */

static void the_check_notices_every_wall_that_is_gone(void **state)
{
    (void)state;
    // Not among them: --disable-userns, --cap-drop, --clearenv, --uid, --gid and
    // --die-with-parent, behind each of which stands another wall.
    static const char *const holes[][2] = {
        { "-unshare-ipc 1", "ipc namespace" },
        { "-as-pid-1 1 -unshare-pid 1", "pid namespace" },
        { "-unshare-net 1", "net namespace" },
        { "-unshare-uts 1", "did not start" }, // bwrap itself wants it for --hostname
        { "-unshare-cgroup 1", "cgroup namespace" },
        { "-new-session 1", "session" },
        { "-as-pid-1 1", "first process" },
        { "-hostname 2", "host name" },
        { "-seccomp 2", "seccomp" },
        { "-tmpfs /usr/local -remount-ro /usr/local", "not run: " },
        { "-remount-ro /usr/local", "writing to /usr/local" },
        { "-remount-ro /dev", "writing to /dev" },
        { "-remount-ro /", "writing to /" },
        { "-size 4194304 -tmpfs /dev/shm", "/dev/shm" },
        { "-size 2", "size of" },
        { "-chdir 2", "environment" },
        { "+--ro-bind /etc /etc", "root folder" },
        { "+--setenv SECRET 1", "environment" },
    };
    NEED_SANDBOX();
    assert_int_equal(sandbox_check(sandbox, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(holes); i++) {
        struct sandbox *s = open_with(holes[i][0]);
        if (sandbox_check(s, &err) != -1 || !strstr(err.s, holes[i][1]))
            fail_msg("%s: not '%s' but '%s'", holes[i][0], holes[i][1], err.s);
        sandbox_close(s);
    }
}

static void the_check_notices_a_filter_that_lets_all_pass(void **state)
{
    (void)state;
    NEED_SANDBOX();
    struct sandbox *s = sandbox_new(&err);
    struct sock_filter pass = { BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW };
    buf_reset(&s->filter);
    buf_add(&s->filter, &pass, sizeof(pass));
    assert_int_equal(sandbox_check(s, &err), -1);
    assert_non_null(strstr(err.s, "system call 272, system call 101, system call 165"));
    assert_non_null(strstr(err.s, "sockets"));
    sandbox_close(s);
}

static void a_missing_bwrap_is_named_with_its_package(void **state)
{
    (void)state;
    NEED_SANDBOX();
    struct sandbox *s = sandbox_new(&err);
    free(s->argv.v[0]);
    s->argv.v[0] = xstrdup("/nowhere/bwrap");
    assert_int_equal(sandbox_check(s, &err), -1);
    assert_string_equal(err.s, "generated code is run in bubblewrap only, and there is no "
                               "/nowhere/bwrap; on Debian: apt-get install bubblewrap");
    // Something else of that name.
    free(s->argv.v[0]);
    s->argv.v[0] = xstrdup("/usr/bin/true");
    assert_int_equal(sandbox_check(s, &err), -1);
    assert_non_null(strstr(err.s, "the sandbox did not start: it ended without a word"));
    sandbox_close(s);
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    if (!f || fputs(text, f) == EOF || fclose(f) != 0)
        BUG("%s: %s", path, strerror(errno));
}

/* In a user namespace of its own, which allows no further ones. */
static int open_without_namespaces(void)
{
    struct buf why = BUF_INIT;
    char map[64];
    if (become_plain() != 0)
        return 10;
    snprintf(map, sizeof(map), "%ld %ld 1", (long)getuid(), (long)getuid());
    if (unshare(CLONE_NEWUSER) != 0)
        return 11;
    write_text("/proc/self/uid_map", map);
    write_text("/proc/sys/user/max_user_namespaces", "0");
    if (sandbox_open(&why))
        return 12;
    return strstr(why.s, "did not start: bwrap: ") && strstr(why.s, "user.max_user_namespaces")
               ? 0
               : 13;
}

static int open_as_plain_user(void)
{
    struct buf why = BUF_INIT;
    struct outcome_of o;
    if (become_plain() != 0)
        return 10;
    struct sandbox *s = sandbox_open(&why);
    if (!s || sandbox_run(s, "raise KeyError", 14, 3000, &o, &why) != 0)
        return 11;
    sandbox_close(s);
    return strcmp(outcome_name(&o), "KeyError") == 0 ? 0 : 12;
}

static void without_user_namespaces_it_is_refused(void **state)
{
    (void)state;
    NEED_SANDBOX();
    assert_int_equal(in_child(open_without_namespaces), 0);
}

static void a_plain_user_can_have_it_too(void **state)
{
    (void)state;
    NEED_SANDBOX();
    assert_int_equal(in_child(open_as_plain_user), 0);
}

/* ---- the scorer ---- */

static void the_scorer_gives_one_or_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *output, *result;
        double score;
    } cases[] = { { "    return 1", "passed", 1 },
                  { "    return 2", "AssertionError", 0 },
                  { "", "IndentationError", 0 } };
    NEED_SANDBOX();
    struct tools tools = { .sandbox = sandbox };
    json_t *doc = json_pack("{s:s, s:s}", "prompt", "def f():\n", "entry", "f");
    struct measure m = { .name = "pass",
                         .scorer = &scorer_program,
                         .program = "{prompt}{output}\nassert {entry}() == 1",
                         .milliseconds = 3000 };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct verdict v;
        assert_int_equal(measures_score(&m, 1, &tools, doc, cases[i].output, &v, &err), 0);
        assert_true(v.score == cases[i].score);
        assert_string_equal(v.result, cases[i].result);
        verdict_release(&v);
    }
    json_decref(doc);
}

/* ---- real programs ---- */

struct job {
    char **programs;
    size_t n, first;
    struct outcome_of *outcomes;
};

static void *run_job(void *arg)
{
    struct job *j = arg;
    for (size_t i = j->first; i < j->n; i += 2) {
        struct buf e = BUF_INIT;
        if (sandbox_run(sandbox, j->programs[i], strlen(j->programs[i]), 10000, &j->outcomes[i],
                        &e) != 0)
            BUG("%s", e.s);
        buf_release(&e);
    }
    return NULL;
}

/* Runs the programs on two threads; how many passed, and "NUMBER: OUTCOME" of the others. */
static int count_passed(struct strings *programs, size_t first, const char *name,
                        struct buf *others)
{
    struct outcome_of *outcomes = xcalloc(programs->len, sizeof(*outcomes));
    struct job jobs[2];
    pthread_t other;
    int passed = 0;
    for (size_t t = 0; t < 2; t++)
        jobs[t] = (struct job){ programs->v, programs->len, t, outcomes };
    double from = now_seconds();
    pthread_create(&other, NULL, run_job, &jobs[1]);
    run_job(&jobs[0]);
    pthread_join(other, NULL);
    printf("# %s: %.1f programs/s\n", name, (double)programs->len / (now_seconds() - from));
    buf_reset(others);
    for (size_t i = 0; i < programs->len; i++) {
        passed += outcomes[i].outcome == OUTCOME_PASSED;
        if (outcomes[i].outcome != OUTCOME_PASSED)
            buf_addf(others, "%zu: %s\n", i + first, outcome_name(&outcomes[i]));
    }
    free(outcomes);
    strings_release(programs);
    return passed;
}

/* The lines of a file of ../shared/data as JSON, or NULL. */
static json_t *read_lines(const char *name)
{
    const char *shared = getenv("SEQTOPK_SHARED");
    char *path = xasprintf("%s/data/%s", shared ? shared : "../shared", name);
    char *command = xasprintf("gzip -dcf '%s'", path);
    json_t *lines = NULL;
    if (access(path, R_OK) == 0) {
        FILE *f = popen(command, "r");
        lines = json_array();
        for (json_t *line; (line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL));)
            json_array_append_new(lines, line);
        pclose(f);
    }
    free(command);
    free(path);
    return lines;
}

static const char *text_of(const json_t *line, const char *key)
{
    return json_string_value(json_object_get(line, key));
}

static void humaneval_canonical_solutions_pass_and_empty_ones_fail(void **state)
{
    (void)state;
    NEED_SANDBOX();
    json_t *lines = read_lines("humaneval/HumanEval.jsonl.gz"), *line;
    if (!lines)
        SKIP("no humaneval/HumanEval.jsonl.gz");
    struct strings canonical = { 0 }, empty = { 0 };
    struct buf others = BUF_INIT;
    size_t i;
    json_array_foreach (lines, i, line) {
        const char *prompt = text_of(line, "prompt"), *test = text_of(line, "test");
        const char *entry = text_of(line, "entry_point");
        strings_addf(&canonical, "%s%s\n%s\ncheck(%s)", prompt, text_of(line, "canonical_solution"),
                     test, entry);
        strings_addf(&empty, "%s\n%s\ncheck(%s)", prompt, test, entry);
    }
    assert_int_equal(canonical.len, 164);
    assert_int_equal(count_passed(&canonical, 0, "humaneval", &others), 164);
    assert_string_equal(others.s, "");
    assert_int_equal(count_passed(&empty, 0, "humaneval, empty", &others), 0);
    buf_release(&others);
    json_decref(lines);
}

static void mbpp_reference_code_passes_but_for_367(void **state)
{
    (void)state;
    NEED_SANDBOX();
    json_t *lines = read_lines("mbpp/mbpp.jsonl"), *line, *test;
    if (!lines)
        SKIP("no mbpp/mbpp.jsonl");
    struct strings programs = { 0 };
    struct buf others = BUF_INIT;
    size_t i, j;
    json_array_foreach (lines, i, line) {
        struct buf p = BUF_INIT;
        json_int_t id = json_integer_value(json_object_get(line, "task_id"));
        if (id < 11 || id > 510 || id % 8 != 7)
            continue; // one in eight is enough here
        buf_adds(&p, text_of(line, "code"));
        json_array_foreach (json_object_get(line, "test_list"), j, test) {
            buf_addf(&p, "\n%s", json_string_value(test));
        }
        strings_add(&programs, p.s);
        buf_release(&p);
    }
    assert_int_equal(programs.len, 62);
    // Its tests use trees that test_setup_code builds, which the protocol does not run.
    assert_int_equal(count_passed(&programs, 0, "mbpp", &others), 61);
    assert_string_equal(others.s, "44: NameError\n"); // 15 + 8 x 44
    buf_release(&others);
    json_decref(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(each_end_has_its_name, forget),
        cmocka_unit_test_teardown(what_generated_programs_need_works, forget),
        cmocka_unit_test_teardown(the_same_program_prints_its_sets_in_one_order, forget),
        cmocka_unit_test_teardown(a_program_cannot_say_that_it_passed, forget),
        cmocka_unit_test_teardown(large_programs_are_run_and_too_large_ones_refused, forget),
        cmocka_unit_test_teardown(ways_out_are_shut, forget),
        cmocka_unit_test_teardown(system_calls_of_other_abis_are_deadly, forget),
        cmocka_unit_test_teardown(the_same_ways_are_open_without_their_wall, forget),
        cmocka_unit_test_teardown(a_fork_bomb_stays_small_and_leaves_nothing, forget),
        cmocka_unit_test_teardown(a_memory_bomb_is_a_memory_error, forget),
        cmocka_unit_test_teardown(an_endless_loop_ends_at_the_wall_clock, forget),
        cmocka_unit_test_teardown(endless_output_is_cut_off, forget),
        cmocka_unit_test_teardown(the_parent_cannot_be_killed, forget),
        cmocka_unit_test_teardown(limits_cannot_be_raised, forget),
        cmocka_unit_test_teardown(nothing_is_left_of_a_program, forget),
        cmocka_unit_test_teardown(threads_run_programs_side_by_side, forget),
        cmocka_unit_test_teardown(what_is_typed_at_the_terminal_does_not_reach_it, forget),
        cmocka_unit_test_teardown(our_signals_are_not_its_signals, forget),
        cmocka_unit_test_teardown(our_files_and_environment_are_not_its_own, forget),
        cmocka_unit_test_teardown(it_dies_with_its_host, forget),
        cmocka_unit_test_teardown(the_check_notices_every_wall_that_is_gone, forget),
        cmocka_unit_test_teardown(the_check_notices_a_filter_that_lets_all_pass, forget),
        cmocka_unit_test_teardown(a_missing_bwrap_is_named_with_its_package, forget),
        cmocka_unit_test_teardown(without_user_namespaces_it_is_refused, forget),
        cmocka_unit_test_teardown(a_plain_user_can_have_it_too, forget),
        cmocka_unit_test_teardown(the_scorer_gives_one_or_nothing, forget),
        cmocka_unit_test_teardown(humaneval_canonical_solutions_pass_and_empty_ones_fail, forget),
        cmocka_unit_test_teardown(mbpp_reference_code_passes_but_for_367, forget),
    };
    return cmocka_run_group_tests_name("sandbox", tests, open_sandbox, close_sandbox);
}
