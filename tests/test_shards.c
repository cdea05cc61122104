/*
 * test_shards.c: which cells go to which shard; the manifest; the scripts for Slurm as text.
 */
#include "cmd/submit_script.h"
#include "run_shards.h"
#include "store/store_place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 200 };

static size_t out[MOST];

/* The load of the dearest shard, and how many sets are opened in all of them. */
static int64_t dearest(const struct shard_item *items, size_t n, const int64_t *open, size_t nsets,
                       size_t nshards, size_t *opened)
{
    int64_t most = 0;
    *opened = 0;
    for (size_t s = 0; s < nshards; s++) {
        int64_t load = 0;
        for (size_t k = 0; k < nsets; k++) {
            bool has = false;
            for (size_t i = 0; i < n; i++)
                if (out[i] == s && items[i].set == k)
                    load += items[i].cost, has = true;
            load += has ? open[k] : 0;
            *opened += has;
        }
        most = load > most ? load : most;
    }
    return most;
}

static void sets_stay_together_where_that_is_no_loss(void **state)
{
    (void)state;
    struct shard_item items[16];
    int64_t open[4] = { 0 };
    size_t opened;
    for (size_t i = 0; i < 16; i++)
        items[i] = (struct shard_item){ i / 4, 10 };
    assert_int_equal(shards_make(items, 16, open, 4, 4, out), 4);
    assert_int_equal(dearest(items, 16, open, 4, 4, &opened), 40);
    assert_int_equal(opened, 4);
}

static void the_cost_of_opening_a_model_is_counted(void **state)
{
    (void)state;
    struct shard_item items[11];
    int64_t open[2] = { 0, 100 };
    size_t opened;
    for (size_t i = 0; i < 11; i++)
        items[i] = (struct shard_item){ i == 10, 10 };
    assert_int_equal(shards_make(items, 11, open, 2, 2, out), 2);
    assert_int_equal(dearest(items, 11, open, 2, 2, &opened), 110);
}

static void one_large_set_is_spread(void **state)
{
    (void)state;
    struct shard_item items[20];
    int64_t open[1] = { 3 };
    size_t opened;
    for (size_t i = 0; i < 20; i++)
        items[i] = (struct shard_item){ 0, i == 7 ? 50 : 10 };
    assert_int_equal(shards_make(items, 20, open, 1, 5, out), 5);
    assert_int_equal(dearest(items, 20, open, 1, 5, &opened), 53);
}

static void a_model_that_is_dear_to_open_is_opened_once(void **state)
{
    (void)state;
    struct shard_item items[8];
    int64_t open[2] = { 1000, 1000 };
    size_t opened;
    for (size_t i = 0; i < 8; i++)
        items[i] = (struct shard_item){ i % 2, 10 };
    assert_true(shards_make(items, 8, open, 2, 2, out) == 2);
    assert_int_equal(dearest(items, 8, open, 2, 2, &opened), 1040);
    assert_int_equal(opened, 2);
}

static void no_shard_is_empty_and_the_same_comes_again(void **state)
{
    (void)state;
    struct shard_item items[MOST];
    size_t before[MOST];
    int64_t open[7] = { 5, 0, 9, 1, 1, 30, 2 };
    for (size_t n = 1; n < MOST; n += 13)
        for (size_t shards = 1; shards < 40; shards += 6) {
            bool seen[40] = { false };
            for (size_t i = 0; i < n; i++)
                items[i] = (struct shard_item){ i * i % 7, (int64_t)(i * 37 % 101) };
            size_t used = shards_make(items, n, open, 7, shards, before);
            assert_int_equal(shards_make(items, n, open, 7, shards, out), used);
            assert_memory_equal(out, before, n * sizeof(*out));
            for (size_t i = 0; i < n; i++)
                seen[out[i]] = true;
            for (size_t s = 0; s < used; s++)
                assert_true(seen[s]);
            assert_true(used <= shards && used <= n && used > 0);
        }
    assert_int_equal(shards_make(items, 0, open, 7, 3, out), 0);
}

/* ---- the manifest ---- */

#define A "0123456789abcdef0123456789abcdef"
#define B "fedcba9876543210fedcba9876543210"
#define GOOD                                    \
    "seqtopk shards 1\nsweep w\nshards 1 1 1\n" \
    "train 0 " B "\ncell 0 " A "\ncell 1 " B " " B "\nend 3\n"

static int read_text(const char *text, struct shards *s, struct buf *err)
{
    char path[] = "/tmp/test_shards.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    int rc = shards_read(s, path, err);
    unlink(path);
    return rc;
}

static void a_manifest_that_was_read_is_the_one_that_was_written(void **state)
{
    (void)state;
    struct shards s;
    struct buf err = BUF_INIT, text = BUF_INIT;
    assert_int_equal(read_text(GOOD, &s, &err), 0);
    shards_text(&s, &text);
    assert_string_equal(text.s, GOOD);
    assert_string_equal(s.cells[1].training, B);
    shards_release(&s);
    buf_release(&text);
    buf_release(&err);
}

static void a_manifest_that_is_cut_or_foreign_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *words;
    } cases[] = {
        { "", "its last line is missing" },
        { "return sweep {}\n", "is not a manifest of shards, which begins with" },
        { "seqtopk shards 1\nsweep w\nshards 1 0 0\ncell 0 " A "\n", "its last line is missing" },
        { "seqtopk shards 1\nsweep w\nshards 1 0 0\ncell 0 " A "\nend 2\n", ":5: is not a line" },
        { "seqtopk shards 1\nsweep w\nshards 1 0 0\ncell 1 " A "\nend 1\n", ":4: is not a line" },
        { "seqtopk shards 1\nsweep w\nshards 1 0 0\ncell 0 0123\nend 1\n", ":4: is not a line" },
        { "seqtopk shards 1\nsweep w\nshards 1 0\nend 0\n", ":3: is not a line" },
        { "seqtopk shards 1\nsweep w\nshards 1 0 0\ncell -1 " A "\nend 1\n", ":4: is not a line" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct shards s;
        struct buf err = BUF_INIT;
        assert_int_equal(read_text(cases[i].text, &s, &err), -1);
        assert_non_null(strstr(err.s, cases[i].words));
        shards_release(&s);
        buf_release(&err);
    }
}

/* ---- scripts ---- */

static struct submit a_submit(void)
{
    return (struct submit){ .sweep = "w",
                            .program = "/opt/my tools/seqtopk",
                            .folder = "/home/a",
                            .recipe = "it's.lua",
                            .manifest = "r/100%/manifest-1",
                            .merged = "r/w.db",
                            .partition = "gpu",
                            .time = "0:04:00",
                            .gpus = 1,
                            .plain = 3,
                            .late = 2,
                            .makers = 1 };
}

static void a_script_says_what_sbatch_and_the_shell_understand(void **state)
{
    (void)state;
    struct submit s = a_submit();
    struct buf text = BUF_INIT, err = BUF_INIT;
    assert_int_equal(submit_script(&s, JOB_LATE, &text, &err), 0);
    static const char head[] = "#!/bin/bash\n"
                               "# Job \"trained\" of the sweep w, by seqtopk submit.\n"
                               "#SBATCH --job-name=w-trained\n"
                               "#SBATCH --chdir=/home/a\n"
                               "#SBATCH --output=r/100%%/trained-%a.log\n"
                               "#SBATCH --partition=gpu\n"
                               "#SBATCH --time=0:04:00\n"
                               "#SBATCH --array=3-4\n"
                               "#SBATCH --ntasks=1\n"
                               "#SBATCH --gpus-per-task=1\n"
                               "#SBATCH --requeue\n"
                               "#SBATCH --open-mode=append\n"
                               "#SBATCH --signal=B:USR1@60\n\nchild=\nagain=\nwarning=60\n";
    assert_memory_equal(text.s, head, sizeof(head) - 1);
    assert_non_null(strstr(text.s, "\n'/opt/my tools/seqtopk' run 'it'\\''s.lua' --shard "
                                   "r/100%/manifest-1:\"$SLURM_ARRAY_TASK_ID\" \\\n"));
    buf_release(&text);
    buf_release(&err);
}

static void a_time_limit_is_read_as_slurm_does(void **state)
{
    (void)state;
    static const struct {
        const char *time, *line;
    } cases[] = { { "4", "@60\n" },      { "2:00", "@30\n" },    { "0-0:04", "@60\n" },
                  { "1-0", "@120\n" },   { "0:8:00", "@120\n" }, { "0-1", "@120\n" },
                  { "later", "@120\n" }, { NULL, "@120\n" } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct submit s = a_submit();
        struct buf text = BUF_INIT, err = BUF_INIT;
        s.time = cases[i].time;
        assert_int_equal(submit_script(&s, JOB_CELLS, &text, &err), 0);
        assert_non_null(strstr(text.s, cases[i].line));
        buf_release(&text);
        buf_release(&err);
    }
}

static void what_cannot_stand_in_a_script_is_refused(void **state)
{
    (void)state;
    struct strings more = { 0 };
    strings_add(&more, "--nice\n#SBATCH --qos=x");
    struct submit s[4] = { a_submit(), a_submit(), a_submit(), a_submit() };
    static const char *const words[] = { "--partition a'b:", "--mem 1?2:", "--sbatch --nice",
                                         "a?b.lua: no line end" };
    s[0].partition = "a'b";
    s[1].mem = "1\n2";
    s[2].sbatch = &more;
    s[3].recipe = "a\nb.lua";
    for (size_t i = 0; i < ARRAY_LEN(s); i++) {
        struct buf text = BUF_INIT, err = BUF_INIT;
        assert_int_equal(submit_script(&s[i], JOB_CELLS, &text, &err), -1);
        assert_memory_equal(err.s, words[i], strlen(words[i]));
        buf_release(&text);
        buf_release(&err);
    }
    strings_release(&more);
}

static void jobs_wait_for_what_they_need(void **state)
{
    (void)state;
    const char *all[JOB_COUNT] = { "1", "2", "3", NULL }, *plain[JOB_COUNT] = { NULL, "2" };
    struct buf text = BUF_INIT;
    submit_dependency(JOB_CELLS, all, &text);
    submit_dependency(JOB_LATE, plain, &text);
    assert_string_equal(text.s, "");
    submit_dependency(JOB_LATE, all, &text);
    assert_string_equal(text.s, "afterany:1");
    buf_reset(&text);
    submit_dependency(JOB_MERGE, all, &text);
    assert_string_equal(text.s, "afterany:1:2:3");
    buf_reset(&text);
    submit_dependency(JOB_MERGE, plain, &text);
    assert_string_equal(text.s, "afterany:2");
    buf_release(&text);
}

static void file_systems_of_one_machine_are_known_and_others_are_shared(void **state)
{
    (void)state;
    enum { EXT = 0xef53, TMPFS = 0x01021994, NFS = 0x6969, LUSTRE = 0x0bd00bd0, FUSE = 0x65735546 };
    assert_false(store_kind_is_shared(EXT));
    assert_false(store_kind_is_shared(TMPFS));
    assert_true(store_kind_is_shared(NFS));
    assert_true(store_kind_is_shared(LUSTRE));
    assert_true(store_kind_is_shared(FUSE));
    assert_true(store_kind_is_shared(0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sets_stay_together_where_that_is_no_loss),
        cmocka_unit_test(the_cost_of_opening_a_model_is_counted),
        cmocka_unit_test(one_large_set_is_spread),
        cmocka_unit_test(a_model_that_is_dear_to_open_is_opened_once),
        cmocka_unit_test(no_shard_is_empty_and_the_same_comes_again),
        cmocka_unit_test(a_manifest_that_was_read_is_the_one_that_was_written),
        cmocka_unit_test(a_manifest_that_is_cut_or_foreign_is_refused),
        cmocka_unit_test(a_script_says_what_sbatch_and_the_shell_understand),
        cmocka_unit_test(a_time_limit_is_read_as_slurm_does),
        cmocka_unit_test(what_cannot_stand_in_a_script_is_refused),
        cmocka_unit_test(jobs_wait_for_what_they_need),
        cmocka_unit_test(file_systems_of_one_machine_are_known_and_others_are_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
