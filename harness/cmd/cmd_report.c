/*
 * cmd_report.c: `seqtopk report`: a database as one page, to be read and sent on.
 */
#include "cmd/cmd.h"
#include "cmd/report.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* results/demo.db: results/demo.html, beside it. */
static char *page_of(const char *db)
{
    size_t len = strlen(db);
    if (len > 3 && strcmp(db + len - 3, ".db") == 0 && db[len - 4] != '/')
        len -= 3;
    return xasprintf("%.*s.html", (int)len, db);
}

/* Said before the page is made, which may take a while. */
static void check_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = !slash ? xstrdup(".") : xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
    if (access(dir, W_OK | X_OK) != 0)
        die(1, "%s: %s", path, strerror(errno));
    free(dir);
}

/* A file that is there is only written over where it is a report, or empty. */
static void check_place(const char *path)
{
    char begin[128];
    struct stat st;
    size_t len = strlen(report_mark);
    if (stat(path, &st) != 0) {
        if (errno != ENOENT)
            die(1, "%s: %s", path, strerror(errno));
        check_folder(path);
        return;
    }
    if (S_ISDIR(st.st_mode))
        die(1, "report: -o %s: is a folder; a file's name is needed", path);
    if (!S_ISREG(st.st_mode))
        return;
    check_folder(path);
    if (st.st_size == 0)
        return;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        die(1, "%s: %s", path, strerror(errno));
    ssize_t n = read(fd, begin, len);
    close(fd);
    if (n != (ssize_t)len || memcmp(begin, report_mark, len) != 0)
        die(1,
            "report: %s is there, and is no report of seqtopk; name another file by -o, or remove "
            "it",
            path);
}

static int report_run(int argc, char **argv)
{
    const char *out = NULL, *where = NULL;
    int samples = REPORT_SAMPLES;
    const struct option_spec specs[] = {
        { .name = "-o", .value = &out },
        { .name = "--where", .value = &where },
        { .name = "--samples", .number = &samples, .most = REPORT_SAMPLES_MAX },
        { .name = NULL },
    };
    struct buf page = BUF_INIT, err = BUF_INIT;
    cmd_options(&cmd_report, argc, argv, specs, 1, 1);
    if (out && !*out)
        die(2, "report: -o: a file's name is needed");
    char *path = out ? xstrdup(out) : page_of(argv[1]);
    struct store *s = store_open(argv[1], STORE_READ, &err);
    if (!s)
        die(1, "%s", err.s);
    check_place(path);
    if (report_make(s, where, samples, &page))
        die(1, "%s: has no cell%s", store_path(s), where ? " for which the condition holds" : "");
    store_close(s);
    if (write_file(path, page.s, page.len, &err))
        die(1, "%s", err.s);
    puts(path);
    free(path);
    buf_release(&page);
    buf_release(&err);
    return 0;
}

const struct cmd cmd_report = {
    .name = "report",
    .args = "DB [-o FILE] [--where SQL] [--samples N]",
    .help = "a database as one page: what was run, tables, paired tests, figures, loads, samples",
    .run = report_run,
};
