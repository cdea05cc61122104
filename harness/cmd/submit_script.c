/*
 * submit_script.c: see submit_script.h.
 */
#include "cmd/submit_script.h"

#include <stdio.h>
#include <string.h>

/* How long before a time limit a task is told, unless the limit is short. */
enum { WARNING_SECONDS = 120 };

static const char *const job_names[JOB_COUNT] = { "models", "cells", "trained", "merge" };

const char *submit_job_name(enum submit_job job)
{
    return job_names[job];
}

bool submit_has(const struct submit *s, enum submit_job job)
{
    size_t shards[JOB_COUNT] = { s->makers, s->plain, s->late, s->merged != NULL };
    return shards[job] > 0;
}

void submit_dependency(enum submit_job job, const char *const *ids, struct buf *out)
{
    enum submit_job last = job == JOB_MERGE ? JOB_LATE : JOB_MODELS;
    if (job != JOB_LATE && job != JOB_MERGE)
        return;
    // Not afterok: one model that cannot be made would take all cells with it that need another.
    const char *before = "afterany:";
    for (int i = JOB_MODELS; i <= (int)last; i++)
        if (ids[i]) {
            buf_addf(out, "%s%s", before, ids[i]);
            before = ":";
        }
}

/* ---- words ---- */

static bool is_plain(const char *s)
{
    return *s && s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                             "_-+=:,.@%/")] == '\0';
}

static bool has_control(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 127)
            return true;
    return false;
}

/* One word to the shell. */
static void add_word(struct buf *out, const char *s)
{
    if (is_plain(s)) {
        buf_adds(out, s);
        return;
    }
    buf_addc(out, '\'');
    for (; *s; s++)
        if (*s == '\'')
            buf_adds(out, "'\\''");
        else
            buf_addc(out, *s);
    buf_addc(out, '\'');
}

/* "#SBATCH --NAME=VALUE", which sbatch reads by rules like the shell's, but for quotes in quotes. */
static int add_option(struct buf *out, const char *name, const char *value, struct buf *err)
{
    if (!value)
        return 0;
    if (has_control(value) || strchr(value, '\''))
        return fail(err,
                    "--%s %s: no quote, line end or control character can stand in a script "
                    "for sbatch",
                    name, value);
    bool plain = is_plain(value);
    buf_addf(out, "#SBATCH --%s=%s%s%s\n", name, plain ? "" : "'", value, plain ? "" : "'");
    return 0;
}

static int add_number(struct buf *out, const char *name, int value)
{
    if (value > 0)
        buf_addf(out, "#SBATCH --%s=%d\n", name, value);
    return 0;
}

static int add_more(struct buf *out, const struct strings *more, struct buf *err)
{
    for (size_t i = 0; more && i < more->len; i++) {
        if (more->v[i][0] != '-' || has_control(more->v[i]))
            return fail(
                err, "--sbatch %s: options of sbatch are needed, which begin with -, on one line",
                more->v[i]);
        buf_addf(out, "#SBATCH %s\n", more->v[i]);
    }
    return 0;
}

/* ---- times ---- */

/* Seconds of "MM", "MM:SS", "HH:MM:SS", "D-HH", "D-HH:MM" or "D-HH:MM:SS"; 0: it is none of them. */
static long limit_seconds(const char *text)
{
    long days = 0, v[3] = { 0 };
    int n = 0, used = 0;
    bool dashed = sscanf(text, "%9ld-%n", &days, &used) == 1 && used > 0;
    const char *p = dashed ? text + used : text;
    for (; n < 3 && *p >= '0' && *p <= '9'; n++) {
        char *end;
        v[n] = strtol(p, &end, 10);
        if (v[n] < 0 || v[n] > 100000000)
            return 0;
        p = *end == ':' && end[1] ? end + 1 : end;
    }
    if (*p || n == 0)
        return 0;
    if (dashed)
        return ((days * 24 + v[0]) * 60 + v[1]) * 60 + v[2];
    return n == 3 ? (v[0] * 60 + v[1]) * 60 + v[2] : v[0] * 60 + v[1];
}

/* A quarter of a short limit. */
static int warning_seconds(const struct submit *s)
{
    long limit = s->time ? limit_seconds(s->time) : 0;
    return limit > 0 && limit / 4 < WARNING_SECONDS ? (int)(limit / 4) : WARNING_SECONDS;
}

/* ---- the script ---- */

/* Where a job's tasks write what they say: in the manifest's folder. %: sbatch's own sign. */
static void log_path(const struct submit *s, enum submit_job job, struct buf *out)
{
    const char *slash = strrchr(s->manifest, '/');
    for (const char *p = s->manifest; slash && p <= slash; p++)
        buf_adds(out, *p == '%' ? "%%" : (char[]){ *p, '\0' });
    buf_addf(out, "%s%s.log", job_names[job], job == JOB_MERGE ? "" : "-%a");
}

static int add_head(const struct submit *s, enum submit_job job, struct buf *out, struct buf *err)
{
    struct buf name = BUF_INIT, log = BUF_INIT;
    buf_addf(&name, "%s-%s", s->sweep, job_names[job]);
    log_path(s, job, &log);
    buf_addf(out, "#!/bin/bash\n# Job \"%s\" of the sweep %s, by seqtopk submit.\n", job_names[job],
             s->sweep);
    int rc = add_option(out, "job-name", name.s, err) || add_option(out, "chdir", s->folder, err) ||
             add_option(out, "output", log.s, err) ||
             add_option(out, "partition", s->partition, err) ||
             add_option(out, "account", s->account, err) || add_option(out, "time", s->time, err) ||
             add_option(out, "mem", s->mem, err);
    buf_release(&name);
    buf_release(&log);
    if (rc)
        return -1;
    size_t first = job == JOB_LATE ? s->plain : 0;
    size_t n = job == JOB_MODELS ? s->makers : job == JOB_CELLS ? s->plain : s->late;
    if (job != JOB_MERGE)
        buf_addf(out, "#SBATCH --array=%zu-%zu\n", first, first + n - 1);
    buf_adds(out, "#SBATCH --ntasks=1\n");
    if (job != JOB_MERGE) {
        add_number(out, "gpus-per-task", s->gpus);
        add_number(out, "cpus-per-task", s->cpus);
    }
    buf_addf(out, "#SBATCH --requeue\n#SBATCH --open-mode=append\n#SBATCH --signal=B:USR1@%d\n",
             warning_seconds(s));
    return add_more(out, s->sbatch, err);
}

static int add_environment(const struct submit *s, struct buf *out, struct buf *err)
{
    for (size_t i = 0; s->environment && i < s->environment->len; i++) {
        const char *text = s->environment->v[i], *equals = strchr(text, '=');
        if (!equals)
            BUG("%s is no setting", text);
        if (has_control(text))
            return fail(err,
                        "%.*s has a line end or control character, which cannot stand in a "
                        "script",
                        (int)(equals - text), text);
        buf_addf(out, "export %.*s=", (int)(equals - text), text);
        add_word(out, equals + 1);
        buf_addc(out, '\n');
    }
    return 0;
}

/* The manifest stands for the databases of all shards, so that one which is missing is told. */
static void add_merge(const struct submit *s, struct buf *out)
{
    buf_adds(out, " merge ");
    add_word(out, s->merged);
    buf_addc(out, ' ');
    add_word(out, s->manifest);
}

/* The program and its arguments. */
static void add_command(const struct submit *s, enum submit_job job, struct buf *out)
{
    const struct strings *words = job == JOB_MODELS ? s->train_words : s->run_words;
    add_word(out, s->program);
    if (job == JOB_MERGE) {
        add_merge(s, out);
        return;
    }
    buf_adds(out, job == JOB_MODELS ? " train " : " run ");
    add_word(out, s->recipe);
    buf_adds(out, " --shard ");
    add_word(out, s->manifest);
    buf_adds(out, ":\"$SLURM_ARRAY_TASK_ID\" \\\n    --threads \"${SLURM_CPUS_ON_NODE:-1}\"");
    for (size_t i = 0; words && i < words->len; i++) {
        buf_addc(out, ' ');
        add_word(out, words->v[i]);
    }
}

static const char before[] =
    "\n# Told to end, by pre-emption (then Slurm starts it again) or by scancel, or near the time\n"
    "# limit (then this script has it started again): the program commits what it has and stops.\n"
    "stop() { [ -z \"$child\" ] || kill -TERM \"$child\" 2>/dev/null; }\n"
    "later() { sleep \"$1\" && kill -\"$2\" \"$3\" 2>/dev/null; }\n"
    "# Slurm may tell of the limit up to a minute too early, which is too early in a short job. A\n"
    "# program that is deaf is killed: what it committed stays.\n"
    "limit_is_near() {\n"
    "    if [ \"$SECONDS\" -lt \"$warning\" ]; then\n"
    "        later $((warning - SECONDS)) USR1 $$ &\n"
    "    elif [ -z \"$again\" ]; then\n"
    "        again=yes\n"
    "        stop\n"
    "        later $((warning * 3 / 4 + 1)) KILL \"$child\" &\n"
    "    fi\n"
    "}\n"
    "trap stop TERM\n"
    "trap limit_is_near USR1\n\n";

static const char behind[] =
    " &\n"
    "child=$!\n"
    "while wait \"$child\"; kill -0 \"$child\" 2>/dev/null; do :; done\n"
    "wait \"$child\" # a signal may have ended the one before\n"
    "code=$?\n"
    "# Stopped or killed, and not ended by itself.\n"
    "if [ -n \"$again\" ] && { [ \"$code\" -eq 143 ] || [ \"$code\" -eq 137 ]; }; then\n"
    "    echo \"the time limit is near; the task is started again and goes on\" >&2\n"
    "    if scontrol requeue \"$SLURM_JOB_ID\"; then\n"
    "        sleep 60\n"
    "    else\n"
    "        echo \"it cannot be started again; submit what is left anew\" >&2\n"
    "    fi\n"
    "fi\n"
    "exit \"$code\"\n";

int submit_script(const struct submit *s, enum submit_job job, struct buf *out, struct buf *err)
{
    const char *const words[] = { s->program, s->recipe, s->manifest, s->merged };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (words[i] && has_control(words[i]))
            return fail(err, "%s: no line end or control character can stand in a script",
                        words[i]);
    if (add_head(s, job, out, err))
        return -1;
    buf_addf(out, "\nchild=\nagain=\nwarning=%d\n", warning_seconds(s));
    if (add_environment(s, out, err))
        return -1;
    buf_adds(out, before);
    add_command(s, job, out);
    buf_adds(out, behind);
    return 0;
}
