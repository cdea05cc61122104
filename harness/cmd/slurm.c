/*
 * slurm.c: see slurm.h.
 */
#include "cmd/slurm.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { OUT, COMPLAINTS, PIPES };
enum { WORDS_MAX = 4096 };

/* What a command wrote is kept up to a length, and the rest is read and left. */
static void listen_to(int fds[PIPES], struct buf said[PIPES])
{
    struct pollfd from[PIPES] = { { fds[OUT], POLLIN, 0 }, { fds[COMPLAINTS], POLLIN, 0 } };
    for (int open = PIPES; open > 0;) {
        if (poll(from, PIPES, -1) < 0 && errno != EINTR)
            return;
        for (int i = 0; i < PIPES; i++) {
            char text[1024];
            if (from[i].fd < 0 || !from[i].revents)
                continue;
            ssize_t n = read(from[i].fd, text, sizeof(text));
            if (n > 0 && said[i].len < WORDS_MAX)
                buf_add(&said[i], text, (size_t)n);
            if (n == 0 || (n < 0 && errno != EINTR)) {
                from[i].fd = -1;
                open--;
            }
        }
    }
}

/* Runs a command to its end. Its exit code, 128 + N after a signal; -1: it could not be started. */
static int run_command(char *const argv[], struct buf said[PIPES], struct buf *err)
{
    int ends[PIPES][2] = { { -1, -1 }, { -1, -1 } }, status = 0;
    posix_spawn_file_actions_t files;
    pid_t pid = 0;
    int rc = pipe2(ends[OUT], O_CLOEXEC) || pipe2(ends[COMPLAINTS], O_CLOEXEC) ? errno : 0;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&files, ends[OUT][1], 1);
    posix_spawn_file_actions_adddup2(&files, ends[COMPLAINTS][1], 2);
    if (rc == 0)
        rc = posix_spawnp(&pid, argv[0], &files, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&files);
    for (int i = 0; i < PIPES; i++)
        if (ends[i][1] >= 0)
            close(ends[i][1]);
    if (rc == 0)
        listen_to((int[]){ ends[OUT][0], ends[COMPLAINTS][0] }, said);
    for (int i = 0; i < PIPES; i++)
        if (ends[i][0] >= 0)
            close(ends[i][0]);
    if (rc)
        return fail(err, "%s could not be started: %s", argv[0], strerror(rc));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* sbatch's lines as one sentence, without "sbatch: error: " before each. */
static void one_sentence(const char *text, struct buf *out)
{
    static const char *const names[] = { "sbatch: ", "error: ", "fatal: " };
    for (const char *line = text; *line;) {
        size_t len = strcspn(line, "\n");
        const char *next = line + len + (line[len] == '\n');
        for (size_t i = 0; i < ARRAY_LEN(names); i++)
            if (strncmp(line, names[i], strlen(names[i])) == 0)
                len -= strlen(names[i]), line += strlen(names[i]);
        while (len && (line[len - 1] == '.' || line[len - 1] == ' '))
            len--;
        if (len) {
            buf_adds(out, out->len ? "; " : "");
            utf8_clean(line, len, out);
        }
        line = next;
    }
}

int slurm_find(struct buf *err)
{
    const char *path = getenv("PATH");
    for (const char *p = path ? path : "", *end; *p; p = *end ? end + 1 : end) {
        end = strchrnul(p, ':');
        char *file = xasprintf("%.*s/sbatch", (int)(end - p), p);
        bool found = access(file, X_OK) == 0;
        free(file);
        if (found)
            return 0;
    }
    return fail(err, "there is no Slurm on this machine: sbatch is not on the PATH; --dry-run "
                     "prints the scripts all the same");
}

int slurm_submit(const char *script, const char *dependency, struct buf *id, struct buf *err)
{
    struct buf said[PIPES] = { BUF_INIT, BUF_INIT }, words = BUF_INIT;
    char name[] = "sbatch", brief[] = "--parsable", invalid[] = "--kill-on-invalid-dep=yes";
    char *file = xstrdup(script), *wait = NULL;
    char *argv[] = { name, brief, file, NULL, NULL, NULL };
    if (dependency && *dependency) {
        wait = xasprintf("--dependency=%s", dependency);
        argv[2] = wait;
        argv[3] = invalid;
        argv[4] = file;
    }
    int rc = run_command(argv, said, err);
    size_t digits = strspn(said[OUT].s, "0123456789");
    one_sentence(said[COMPLAINTS].s, &words);
    if (rc > 0)
        rc =
            fail(err, "sbatch refused %s: %s", script, words.len ? words.s : "it does not say why");
    else if (rc == 0 && digits == 0)
        rc = fail(err, "sbatch took %s and did not say the job's number: %s", script,
                  words.len ? words.s : "it said nothing");
    else if (rc == 0)
        buf_add(id, said[OUT].s, digits);
    for (int i = 0; i < PIPES; i++)
        buf_release(&said[i]);
    buf_release(&words);
    free(file);
    free(wait);
    return rc;
}

bool slurm_cancel(const char *id)
{
    struct buf said[PIPES] = { BUF_INIT, BUF_INIT }, err = BUF_INIT;
    char name[] = "scancel", *job = xstrdup(id);
    int rc = run_command((char *[]){ name, job, NULL }, said, &err);
    for (int i = 0; i < PIPES; i++)
        buf_release(&said[i]);
    buf_release(&err);
    free(job);
    return rc == 0;
}
