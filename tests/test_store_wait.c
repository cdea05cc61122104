/*
 * test_store_wait.c: what a database's owner makes of others who have it open: readers that look while
 * it is made or changes its journal, and a run before it that has not ended yet.
 */
#include "store/store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];
static struct buf err = BUF_INIT;

static const char *in_folder(const char *name)
{
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/seqtopk-wait-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char *line = xasprintf("rm -rf %s", folder);
    int rc = system(line);
    free(line);
    buf_release(&err);
    return rc;
}

/* As in a folder that several machines share, or not. */
static void shared(bool yes)
{
    setenv("SEQTOPK_NETWORK_FS", yes ? "yes" : "no", 1);
}

static struct store *opened(const char *path, enum store_mode mode)
{
    struct store *s = store_open(path, mode, &err);
    if (!s)
        fail_msg("%s", err.s);
    return s;
}

static void made(const char *path)
{
    store_close(opened(path, STORE_WRITE));
}

/* The file format's byte that says which journal the database has; 0: it is not there yet. */
static int journal_of(const char *path)
{
    unsigned char head[20] = { 0 };
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t n = pread(fd, head, sizeof(head), 0);
    close(fd);
    return n == (ssize_t)sizeof(head) ? head[18] : 0;
}

enum { ROLLBACK = 1, LOG = 2 };

/* A child of ours, which ends with us; 0 in the child. */
static pid_t child(void)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

/* How it ended. */
static int ended(pid_t pid)
{
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Looks at each of the databases as soon as it is there; says whether one had a log by then. */
static int look_at_birth(int n)
{
    char name[32];
    for (int i = 0; i < n; i++) {
        int kind;
        snprintf(name, sizeof(name), "%d.db", i);
        while ((kind = journal_of(in_folder(name))) == 0)
            ;
        if (kind != ROLLBACK)
            return 1;
    }
    return 0;
}

static void who_looks_at_a_new_database_in_a_shared_place_never_finds_a_log(void **state)
{
    (void)state;
    enum { TIMES = 30 };
    char name[32];
    shared(true);
    pid_t pid = child();
    if (pid == 0)
        _exit(look_at_birth(TIMES));
    for (int i = 0; i < TIMES; i++) {
        snprintf(name, sizeof(name), "%d.db", i);
        made(in_folder(name));
    }
    assert_int_equal(ended(pid), 0);
}

/* A child that reads the database for so long, from before this returns. */
static pid_t reader(const char *path, double seconds)
{
    int ready[2];
    char c;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = child();
    if (pid == 0) {
        struct store *s = store_open(path, STORE_READ, &err);
        struct rows *r = s ? store_query(s, &err, "SELECT name FROM sqlite_master") : NULL;
        if (!r || rows_next(r, &err) != 1 || write(ready[1], "r", 1) != 1)
            _exit(1);
        usleep((useconds_t)(seconds * 1e6));
        rows_close(r);
        store_close(s);
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static void a_reader_is_waited_for_where_the_journal_changes(void **state)
{
    (void)state;
    const char *path = in_folder("a.db");
    shared(false);
    made(path);
    assert_int_equal(journal_of(path), LOG);
    pid_t pid = reader(path, 0.5);
    shared(true);
    made(path);
    assert_int_equal(journal_of(path), ROLLBACK);
    assert_int_equal(ended(pid), 0);
    pid = reader(path, 0.5);
    shared(false);
    made(path);
    assert_int_equal(journal_of(path), LOG);
    assert_int_equal(ended(pid), 0);
}

static void a_reader_is_in_nobodys_way_where_the_journal_stays(void **state)
{
    (void)state;
    for (int network = 0; network <= 1; network++) {
        const char *path = in_folder(network ? "far.db" : "near.db");
        shared(network);
        made(path);
        pid_t pid = reader(path, 1);
        double start = now_seconds();
        made(path);
        assert_true(now_seconds() - start < 0.7);
        assert_int_equal(ended(pid), 0);
    }
}

/* A child that has the run's lock for so long, from before this returns. */
static pid_t run_before(const char *path, double seconds)
{
    int ready[2];
    char c;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = child();
    if (pid == 0) {
        struct store *s = store_open(path, STORE_WRITE, &err);
        if (!s || store_lock(s, &err) || write(ready[1], "r", 1) != 1)
            _exit(1);
        usleep((useconds_t)(seconds * 1e6));
        store_close(s);
        _exit(0);
    }
    close(ready[1]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    return pid;
}

static void a_task_waits_for_the_one_before_it_and_a_run_does_not(void **state)
{
    (void)state;
    const char *path = in_folder("far.db");
    shared(true);
    pid_t pid = run_before(path, 4);
    struct store *s = opened(path, STORE_WRITE);
    assert_int_equal(store_lock(s, &err), -1);
    assert_non_null(strstr(err.s, "another run is at work on it"));
    store_close(s);
    assert_int_equal(store_await(path, 20, &err), 0);
    s = opened(path, STORE_WRITE);
    assert_int_equal(store_lock(s, &err), 0);
    store_close(s);
    assert_int_equal(ended(pid), 0);
}

/* Holds up no more than the others' patience: 5 s in one place, and a minute in the other. */
static void a_commit_waits_for_readers_where_machines_share_the_place(void **state)
{
    (void)state;
    const struct store_run run = { .id = "r",
                                   .sweep = "s",
                                   .command = "c",
                                   .version = "v",
                                   .revision = "",
                                   .device = "cpu",
                                   .host = "h" };
    const char *path = in_folder("far.db");
    shared(true);
    made(path);
    struct store *s = opened(path, STORE_WRITE);
    pid_t pid = reader(path, STORE_BUSY_SECONDS + 0.7);
    assert_int_equal(store_run_begin(s, &run, &err), 0);
    assert_int_equal(store_run_end(s, "done", &err), 0);
    store_close(s);
    assert_int_equal(ended(pid), 0);
}

static void a_task_does_not_wait_for_ever(void **state)
{
    (void)state;
    const char *path = in_folder("a.db");
    shared(true);
    pid_t pid = run_before(path, 60);
    double start = now_seconds();
    assert_int_equal(store_await(path, 0.3, &err), -1);
    assert_true(now_seconds() - start >= 0.3 && now_seconds() - start < 30);
    assert_non_null(strstr(err.s, "a.db: the run before this one has not ended within 0.3 s"));
    kill(pid, SIGKILL);
    assert_int_equal(ended(pid), -1);
    assert_int_equal(store_await(path, 0.3, &err), 0);
}

static void where_there_is_no_database_nobody_is_waited_for(void **state)
{
    (void)state;
    for (int network = 0; network <= 1; network++) {
        shared(network);
        assert_int_equal(store_await(in_folder("none.db"), 60, &err), 0);
        assert_int_equal(access(in_folder("none.db.lock"), F_OK), -1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)
        TEST(who_looks_at_a_new_database_in_a_shared_place_never_finds_a_log),
        TEST(a_reader_is_waited_for_where_the_journal_changes),
        TEST(a_reader_is_in_nobodys_way_where_the_journal_stays),
        TEST(a_task_waits_for_the_one_before_it_and_a_run_does_not),
        TEST(a_commit_waits_for_readers_where_machines_share_the_place),
        TEST(a_task_does_not_wait_for_ever),
        TEST(where_there_is_no_database_nobody_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
