/*
 * test_checkpoint.c: what a training leaves on the disk: whole or not at all, whatever happens while
 * it is written.
 */
#include "cutoffs.h"
#include "fixture.h"
#include "safetensors.h"
#include "train/checkpoint.h"
#include "train/checkpoint_file.h"
#include "train/model_init.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include <cmocka.h>

static struct buf err = BUF_INIT;

static bool there(const char *dir, const char *name)
{
    char *path = xasprintf("%s/%s", dir, name);
    bool is = access(path, F_OK) == 0;
    free(path);
    return is;
}

static json_t *json_of(const char *dir, const char *name)
{
    char *path = xasprintf("%s/%s", dir, name);
    json_t *root = json_load_file(path, 0, NULL);
    assert_non_null(root);
    free(path);
    return root;
}

/* ---- safetensors ---- */

static const int64_t two_by_three[] = { 2, 3 }, three[] = { 3 };
static const float six[] = { 1, -2, 0.5f, 3e-41f, 1e30f, 0 }, others[] = { 7, 8, 9 };
static const struct checkpoint_tensor pair[] = { { "a.weight", 2, two_by_three, six },
                                                 { "b\"ias", 1, three, others } };

static struct safetensors *write_and_open(const char *dir, const struct checkpoint_tensor *v,
                                          size_t n, enum dtype dtype)
{
    char *path = xasprintf("%s/model.safetensors", dir);
    if (safetensors_write(path, v, n, dtype, &err))
        fail_msg("%s", err.s);
    struct safetensors *s = safetensors_open(dir, &err);
    if (!s)
        fail_msg("%s", err.s);
    free(path);
    return s;
}

static void float32_comes_back_to_the_bit(void **state)
{
    (void)state;
    char *dir = fixture_dir();
    struct safetensors *s = write_and_open(dir, pair, 2, DTYPE_F32);
    const struct st_tensor *a = safetensors_find(s, "a.weight"), *b = safetensors_find(s, "b\"ias");
    assert_int_equal(safetensors_count(s), 2);
    assert_int_equal(a->ndim, 2);
    assert_int_equal(a->shape[0], 2);
    assert_int_equal(a->shape[1], 3);
    assert_memory_equal(a->data, six, sizeof(six));
    assert_memory_equal(b->data, others, sizeof(others));
    safetensors_close(s);
    fixture_remove(dir);
}

static void the_header_is_one_that_transformers_opens(void **state)
{
    (void)state;
    char *dir = fixture_dir(), *path = xasprintf("%s/model.safetensors", dir), name[16] = "";
    for (int letters = 1; letters <= 8; letters++) {
        struct buf file = BUF_INIT;
        strcat(name, "a");
        const struct checkpoint_tensor t = { name, 1, three, others };
        safetensors_close(write_and_open(dir, &t, 1, DTYPE_F32));
        assert_int_equal(read_file(path, 1 << 20, &file, &err), 0);
        uint64_t length = 0;
        for (int i = 7; i >= 0; i--)
            length = length << 8 | (unsigned char)file.s[i];
        assert_int_equal(length % 8, 0);
        assert_int_equal(8 + length + sizeof(others), file.len);
        json_t *header = json_loadb(file.s + 8, length, 0, NULL);
        json_t *metadata = json_object_get(header, "__metadata__");
        assert_string_equal(json_string_value(json_object_get(metadata, "format")), "pt");
        json_decref(header);
        buf_release(&file);
    }
    free(path);
    fixture_remove(dir);
}

static void bfloat16_is_rounded_to_even(void **state)
{
    (void)state;
    static const struct {
        float x;
        uint16_t bits;
    } cases[] = {
        { 1, 0x3f80 },
        { 1 + 0x1p-8f, 0x3f80 },            // a tie, down to even
        { 1 + 0x3p-8f, 0x3f82 },            // a tie, up to even
        { 1 + 0x1p-8f + 0x1p-23f, 0x3f81 }, // more than a tie
        { 1 + 0x1p-8f - 0x1p-23f, 0x3f80 }, // less
        { -0.0f, 0x8000 },
        { -1 - 0x3p-8f, 0xbf82 },
        { 0x1.fffffep127f, 0x7f80 }, // the largest float is nearest to infinity
        { -INFINITY, 0xff80 },
        { 0x1p-133f, 0x0001 }, // a denormal one
        { 0x1p-134f, 0x0000 }, // half of it, a tie to zero
    };
    float x[ARRAY_LEN(cases) + 1];
    const int64_t shape[] = { ARRAY_LEN(x) };
    uint32_t nan = 0x7f800001; // its only bit is one that is cut off
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        x[i] = cases[i].x;
    memcpy(&x[ARRAY_LEN(cases)], &nan, sizeof(nan));
    const struct checkpoint_tensor t = { "x", 1, shape, x };
    char *dir = fixture_dir();
    struct safetensors *s = write_and_open(dir, &t, 1, DTYPE_BF16);
    const struct st_tensor *read = safetensors_find(s, "x");
    uint16_t bits[ARRAY_LEN(x)];
    assert_int_equal(read->dtype, DTYPE_BF16);
    assert_int_equal(read->bytes, sizeof(bits));
    memcpy(bits, read->data, sizeof(bits));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(bits[i], cases[i].bits);
    uint16_t last = bits[ARRAY_LEN(cases)];
    assert_true((last & 0x7f80) == 0x7f80 && (last & 0x7f));
    safetensors_close(s);
    fixture_remove(dir);
}

static void many_values_are_all_rounded(void **state)
{
    (void)state;
    enum { N = 10000 };
    const int64_t shape[] = { N };
    float *x = xcalloc(N, sizeof(*x));
    for (int i = 0; i < N; i++)
        x[i] = (float)(i % 256);
    const struct checkpoint_tensor t = { "x", 1, shape, x };
    char *dir = fixture_dir();
    struct safetensors *s = write_and_open(dir, &t, 1, DTYPE_BF16);
    const unsigned char *data = safetensors_find(s, "x")->data;
    for (int i = 0; i < N; i++) {
        uint32_t bits = (uint32_t)data[2 * i] << 16 | (uint32_t)data[2 * i + 1] << 24;
        float back;
        memcpy(&back, &bits, sizeof(back));
        assert_true(back == x[i]);
    }
    safetensors_close(s);
    free(x);
    fixture_remove(dir);
}

static void other_dtypes_are_refused(void **state)
{
    (void)state;
    char *dir = fixture_dir(), *path = xasprintf("%s/model.safetensors", dir);
    assert_int_equal(safetensors_write(path, pair, 2, DTYPE_F16, &err), -1);
    assert_non_null(strstr(err.s, "float16; float32 and bfloat16 can be written"));
    assert_false(there(dir, "model.safetensors"));
    free(path);
    fixture_remove(dir);
}

/* ---- a part at a time ---- */

/* Bytes that hang on their place, up to one at which there are no more. */
struct spring {
    int64_t asked, fails_from; /* 0: it never fails */
    int parts;
};

static unsigned char spring_byte(int64_t at)
{
    return (unsigned char)((uint64_t)at * 0x9e3779b97f4a7c15u >> 56);
}

static int spring_get(void *of, int64_t at, int64_t n, void *bytes, struct buf *e)
{
    struct spring *s = of;
    assert_int_equal(at, s->asked);
    assert_true(n > 0 && n <= CHECKPOINT_PART);
    s->asked += n;
    s->parts++;
    if (s->fails_from && s->asked > s->fails_from)
        return (fail)(e, "the spring is dry");
    for (int64_t i = 0; i < n; i++)
        ((unsigned char *)bytes)[i] = spring_byte(at + i);
    return 0;
}

static void bytes_that_come_in_parts_are_in_their_places(void **state)
{
    (void)state;
    static const int64_t sizes[] = { 0,
                                     1,
                                     CHECKPOINT_PART,
                                     CHECKPOINT_PART + 1,
                                     2 * (int64_t)CHECKPOINT_PART,
                                     4 * (int64_t)CHECKPOINT_PART + 5 };
    char *dir = fixture_dir(), *path = xasprintf("%s/x", dir);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct spring spring = { .asked = 0 };
        struct checkpoint_file f;
        struct buf back = BUF_INIT;
        char written[33], sum[33];
        int64_t bytes;
        assert_int_equal(checkpoint_file_open(&f, path, &err), 0);
        checkpoint_file_write(&f, "before", 6);
        assert_int_equal(checkpoint_file_fill(&f, sizes[i], spring_get, &spring, &err), 0);
        checkpoint_file_write(&f, "behind", 6);
        hash_hex(f.hash, written);
        assert_int_equal(checkpoint_file_close(&f, &err), 0);
        assert_int_equal(spring.asked, sizes[i]);
        assert_int_equal(checkpoint_file_sum(path, &bytes, sum, &err), 0);
        assert_string_equal(sum, written);
        assert_int_equal(bytes, sizes[i] + 12);
        assert_int_equal(read_file(path, (size_t)bytes, &back, &err), 0);
        for (int64_t at = 0; at < sizes[i]; at++)
            if ((unsigned char)back.s[6 + at] != spring_byte(at))
                fail_msg("byte %lld of %lld", (long long)at, (long long)sizes[i]);
        assert_memory_equal(back.s, "before", 6);
        assert_memory_equal(back.s + bytes - 6, "behind", 6);
        buf_release(&back);
    }
    free(path);
    fixture_remove(dir);
}

/* Tensors of many lengths, none among them, whose borders are not those of the parts. */
static void values_of_many_tensors_are_written_in_parts(void **state)
{
    (void)state;
    static const int64_t lengths[] = { 5, 0, 9 << 20, 1, 0, 7 << 20, 3 };
    enum { N = ARRAY_LEN(lengths) };
    struct checkpoint_tensor v[N];
    char names[N][2] = { "" };
    for (int i = 0; i < N; i++) {
        float *values = xmalloc((size_t)(lengths[i] + 1) * sizeof(*values));
        for (int64_t j = 0; j < lengths[i]; j++)
            values[j] = (float)((j + i) % 251);
        names[i][0] = (char)('a' + i);
        v[i] = (struct checkpoint_tensor){ names[i], 1, &lengths[i], values };
    }
    char *dir = fixture_dir();
    for (int half = 0; half < 2; half++) {
        const enum dtype dtype = half ? DTYPE_BF16 : DTYPE_F32;
        struct safetensors *s = write_and_open(dir, v, N, dtype);
        for (int i = 0; i < N; i++) {
            const struct st_tensor *t = safetensors_find(s, names[i]);
            const unsigned char *at = t->data;
            assert_int_equal(t->bytes, (size_t)lengths[i] * dtype_size(dtype));
            for (int64_t j = 0; j < lengths[i]; j++) {
                uint32_t bits = 0;
                float back;
                // As stored, or the upper half of it: low bytes first.
                memcpy((char *)&bits + (half ? 2 : 0), at + j * (half ? 2 : 4), half ? 2 : 4);
                memcpy(&back, &bits, sizeof(back));
                if (back != v[i].values[j])
                    fail_msg("number %lld of %s", (long long)j, names[i]);
            }
        }
        safetensors_close(s);
    }
    for (int i = 0; i < N; i++)
        free((float *)(uintptr_t)v[i].values);
    fixture_remove(dir);
}

static const int64_t large_shape[] = { 6, CHECKPOINT_PART / 4 };
static const struct checkpoint_tensor large = { "a", 2, large_shape, NULL };

static int64_t large_room = INT64_MAX; /* on the disk */

/* A disk that is full ends it soon: two more parts may have been under way. */
static int write_large(void *path, struct buf *e)
{
    struct spring spring = { .asked = 0 };
    int rc = safetensors_write_from(path, &large, 1, DTYPE_F32, spring_get, &spring, e);
    if (rc && spring.asked > large_room + 3 * (int64_t)CHECKPOINT_PART)
        return (fail)(e, "%d parts were asked for", spring.parts);
    return rc;
}

static double most_memory_megabytes(void)
{
    struct buf text = BUF_INIT;
    assert_int_equal(read_file("/proc/self/status", 1 << 16, &text, &err), 0);
    const char *at = strstr(text.s, "VmHWM:");
    double megabytes = at ? strtod(at + strlen("VmHWM:"), NULL) / 1e3 : 0;
    buf_release(&text);
    return megabytes;
}

/* 101 MB go through 34. */
static void a_large_file_takes_little_memory(void **state)
{
    (void)state;
    char *dir = fixture_dir(), *path = xasprintf("%s/model.safetensors", dir);
    pid_t child = fork();
    if (child == 0) {
        // Of a program that has not needed more before: what is freed is the system's at once.
        const double before = most_memory_megabytes();
        int rc = write_large(path, &err);
        const double more = most_memory_megabytes() - before;
        _exit(rc || before <= 0 || more > 60 ? 1 : 0);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_true(there(dir, "model.safetensors"));
    free(path);
    fixture_remove(dir);
}

static void weights_that_do_not_come_leave_no_file(void **state)
{
    (void)state;
    char *dir = fixture_dir(), *path = xasprintf("%s/model.safetensors", dir);
    for (int64_t part = 0; part < 6; part++) {
        struct spring spring = { .fails_from = part * CHECKPOINT_PART + 1 };
        buf_reset(&err);
        assert_int_equal(
            safetensors_write_from(path, &large, 1, DTYPE_F32, spring_get, &spring, &err), -1);
        assert_string_equal(err.s, "the spring is dry");
        assert_int_equal(spring.parts, part + 1);
        assert_false(there(dir, "model.safetensors"));
    }
    free(path);
    fixture_remove(dir);
}

/* ---- the model's folder ---- */

/* A base model, and the same weights as what is to be published. */
struct base {
    char *root, *dir;
    struct weights *w;
    struct checkpoint_tensor *tensors;
    size_t n;
    struct checkpoint_model model;
};

static struct base base_new(void)
{
    struct base b = { .root = fixture_dir() };
    struct fixture_model m = fixture_model(FAMILY_QWEN2_MOE);
    b.dir = xasprintf("%s/base", b.root);
    fixture_model_write(b.dir, &m);
    fixture_text(b.dir, "tokenizer.json", "{\"made\": \"up\"}");
    fixture_text(b.dir, "generation_config.json", "{\"eos_token_id\": [1, 2]}");
    b.w = weights_open(b.dir, &err);
    if (!b.w)
        fail_msg("%s", err.s);
    b.n = safetensors_count(b.w->files);
    b.tensors = xcalloc(b.n, sizeof(*b.tensors));
    for (size_t i = 0; i < b.n; i++) {
        const struct st_tensor *t = safetensors_at(b.w->files, i);
        float *values = xmalloc(t->bytes);
        memcpy(values, t->data, t->bytes);
        b.tensors[i] = (struct checkpoint_tensor){ t->name, t->ndim, t->shape, values };
    }
    b.model = (struct checkpoint_model){ .base = b.dir,
                                         .tensors = b.tensors,
                                         .ntensors = b.n,
                                         .dtype = DTYPE_BF16,
                                         .about = "{\"lr\": 0.1}" };
    return b;
}

static void base_free(struct base *b)
{
    for (size_t i = 0; i < b->n; i++)
        free((float *)b->tensors[i].values);
    free(b->tensors);
    weights_close(b->w);
    free(b->dir);
    fixture_remove(b->root);
}

/* 1: found, 0: not there, -1: refused. */
static int find(const char *root, const char *id)
{
    struct buf dir = BUF_INIT;
    bool found;
    int rc = checkpoint_find(root, id, &found, &dir, &err);
    buf_release(&dir);
    return rc ? -1 : found;
}

static void a_published_model_opens_and_is_found(void **state)
{
    (void)state;
    struct base b = base_new();
    float values[16];
    for (int i = 0; i < 16; i++)
        values[i] = (float)i / 3;
    const struct cutoffs c = { 2, 2, 8, values };
    struct cutoffs back;
    b.model.cutoffs = &c;
    assert_int_equal(find(b.root, "id"), 0);
    if (checkpoint_publish(b.root, "id", &b.model, &err))
        fail_msg("%s", err.s);
    assert_int_equal(find(b.root, "id"), 1);
    assert_false(there(b.root, "id.tmp"));
    char *dir = xasprintf("%s/id", b.root);
    struct weights *w = weights_open(dir, &err);
    if (!w)
        fail_msg("%s", err.s);
    assert_int_equal(w->config.dtype, DTYPE_BF16);
    assert_int_equal(w->embed->dtype, DTYPE_BF16);
    assert_int_equal(w->config.neos, 2);
    weights_close(w);
    assert_true(there(dir, "tokenizer.json"));
    assert_false(there(dir, "tokenizer_config.json"));
    assert_int_equal(cutoffs_read(dir, 2, 8, &back, &err), 0);
    assert_memory_equal(back.v, values, sizeof(values));
    cutoffs_release(&back);
    free(dir);
    base_free(&b);
}

static void config_keeps_all_but_the_dtype(void **state)
{
    (void)state;
    struct base b = base_new();
    fixture_json_set(b.dir, "config.json", "dtype", "\"float32\"");
    fixture_json_set(b.dir, "config.json", "of_nobody",
                     "{\"deep\": [1, 2.5, 0.1, 0.30000000000000004, null]}");
    if (checkpoint_publish(b.root, "id", &b.model, &err))
        fail_msg("%s", err.s);
    char *dir = xasprintf("%s/id", b.root);
    json_t *was = json_of(b.dir, "config.json"), *is = json_of(dir, "config.json");
    assert_false(json_equal(was, is));
    json_object_set_new(was, "dtype", json_string("bfloat16"));
    json_object_set_new(was, "torch_dtype", json_string("bfloat16"));
    assert_true(json_equal(was, is));
    json_decref(was);
    json_decref(is);
    // Only a base that says "dtype" gets it.
    fixture_json_set(b.dir, "config.json", "dtype", NULL);
    assert_int_equal(checkpoint_publish(b.root, "id2", &b.model, &err), 0);
    free(dir);
    dir = xasprintf("%s/id2", b.root);
    is = json_of(dir, "config.json");
    assert_null(json_object_get(is, "dtype"));
    json_decref(is);
    free(dir);
    base_free(&b);
}

static void training_json_says_what_made_it(void **state)
{
    (void)state;
    struct base b = base_new();
    char *dir = xasprintf("%s/id", b.root), hex[33];
    if (checkpoint_publish(b.root, "id", &b.model, &err))
        fail_msg("%s", err.s);
    json_t *t = json_of(dir, "training.json"), *files = json_object_get(t, "files"), *says;
    const char *name;
    assert_true(json_real_value(json_object_get(json_object_get(t, "made_by"), "lr")) == 0.1);
    assert_int_equal(json_object_size(files), 4);
    json_object_foreach (files, name, says) {
        char *path = xasprintf("%s/%s", dir, name);
        int64_t bytes;
        assert_int_equal(checkpoint_file_sum(path, &bytes, hex, &err), 0);
        assert_int_equal(json_integer_value(json_object_get(says, "bytes")), bytes);
        assert_string_equal(json_string_value(json_object_get(says, "xxh3")), hex);
        free(path);
    }
    json_decref(t);
    free(dir);
    base_free(&b);
}

static void sums_are_those_of_the_whole_file(void **state)
{
    (void)state;
    char *dir = fixture_dir(), *path = xasprintf("%s/x", dir), hex[33], want[33];
    int64_t bytes;
    fixture_text(dir, "x", "some bytes");
    struct hash *h = hash_new();
    hash_add(h, "some bytes", 10);
    hash_hex(h, want);
    hash_free(h);
    assert_int_equal(checkpoint_file_sum(path, &bytes, hex, &err), 0);
    assert_int_equal(bytes, 10);
    assert_string_equal(hex, want);
    free(path);
    fixture_remove(dir);
}

static void a_folder_that_is_not_whole_is_refused(void **state)
{
    (void)state;
    static const char *const files[] = { "config.json", "tokenizer.json", "model.safetensors",
                                         "training.json" };
    enum { GONE, CUT, CHANGED, DAMAGES };
    struct base b = base_new();
    for (size_t i = 0; i < ARRAY_LEN(files) * DAMAGES; i++) {
        int damage = (int)(i % DAMAGES);
        char *id = xasprintf("id%zu", i), *dir = xasprintf("%s/%s", b.root, id);
        char *path = xasprintf("%s/%s", dir, files[i / DAMAGES]);
        struct buf text = BUF_INIT;
        assert_int_equal(checkpoint_publish(b.root, id, &b.model, &err), 0);
        assert_int_equal(find(b.root, id), 1);
        assert_int_equal(read_file(path, 1 << 20, &text, &err), 0);
        text.s[text.len / 2] ^= 1;
        if (damage == GONE)
            unlink(path);
        else
            fixture_file(dir, files[i / DAMAGES], text.s, damage == CUT ? text.len / 2 : text.len);
        assert_int_equal(find(b.root, id), -1);
        assert_non_null(strstr(err.s, files[i / DAMAGES]));
        assert_non_null(strstr(err.s, "remove the folder"));
        assert_non_null(strstr(err.s, dir));
        buf_release(&text);
        free(path);
        free(dir);
        free(id);
    }
    base_free(&b);
}

static void a_base_without_config_publishes_nothing(void **state)
{
    (void)state;
    struct base b = base_new();
    char *path = xasprintf("%s/config.json", b.dir);
    unlink(path);
    assert_int_equal(checkpoint_publish(b.root, "id", &b.model, &err), -1);
    assert_non_null(strstr(err.s, "config.json"));
    assert_false(there(b.root, "id"));
    assert_false(there(b.root, "id.tmp"));
    free(path);
    base_free(&b);
}

static void weights_that_do_not_come_publish_nothing(void **state)
{
    (void)state;
    struct base b = base_new();
    struct spring spring = { .fails_from = 1 };
    b.model.get = spring_get;
    b.model.of = &spring;
    buf_reset(&err);
    assert_int_equal(checkpoint_publish(b.root, "id", &b.model, &err), -1);
    assert_string_equal(err.s, "the spring is dry");
    assert_false(there(b.root, "id") || there(b.root, "id.tmp"));
    // And where they come, they are what is published.
    spring = (struct spring){ .asked = 0 };
    assert_int_equal(checkpoint_publish(b.root, "id", &b.model, &err), 0);
    char *dir = xasprintf("%s/id", b.root);
    struct safetensors *s = safetensors_open(dir, &err);
    const struct st_tensor *first = safetensors_find(s, b.tensors[0].name);
    const struct st_tensor *last = safetensors_find(s, b.tensors[b.n - 1].name);
    assert_int_equal(((const unsigned char *)first->data)[5], spring_byte(5));
    assert_int_equal(((const unsigned char *)last->data)[last->bytes - 1],
                     spring_byte(spring.asked - 1));
    safetensors_close(s);
    free(dir);
    base_free(&b);
}

static void what_a_killed_program_left_half_made_is_in_nobodys_way(void **state)
{
    (void)state;
    struct base b = base_new();
    char *tmp = xasprintf("%s/id.tmp", b.root);
    assert_int_equal(make_dirs(tmp, &err), 0);
    fixture_text(tmp, "tokenizer_config.json", "half");
    assert_int_equal(find(b.root, "id"), 0);
    assert_int_equal(checkpoint_publish(b.root, "id", &b.model, &err), 0);
    assert_int_equal(find(b.root, "id"), 1);
    assert_false(there(b.root, "id/tokenizer_config.json"));
    free(tmp);
    base_free(&b);
}

/* ---- states ---- */

enum { BYTES = 12000, EXTRA = 3, HEADER = 56, FILE_BYTES = HEADER + BYTES + 8 * EXTRA + 32 };

/* Of the trainer's bytes in the state of a step. */
static unsigned char byte_at(int64_t step, int64_t at)
{
    uint64_t x = (uint64_t)step * 1000003u + (uint64_t)at;
    return (unsigned char)(x * 0x9e3779b97f4a7c15u >> 56);
}

static int get(void *of, int64_t at, int64_t n, void *bytes, struct buf *e)
{
    (void)e;
    for (int64_t i = 0; i < n; i++)
        ((unsigned char *)bytes)[i] = byte_at(*(const int64_t *)of, at + i);
    return 0;
}

/* What was put, of the step that its first byte is of. */
struct taken {
    unsigned char bytes[BYTES];
    int64_t n;
};

static int put(void *of, int64_t at, int64_t n, const void *bytes, struct buf *e)
{
    struct taken *to = of;
    (void)e;
    assert_int_equal(at, to->n);
    assert_true(at + n <= BYTES);
    memcpy(to->bytes + at, bytes, (size_t)n);
    to->n += n;
    return 0;
}

/* 0, or -1 with `e`. */
static int save_step(const char *root, int64_t step, struct buf *e)
{
    double extra[EXTRA];
    for (int i = 0; i < EXTRA; i++)
        extra[i] = (double)step / (i + 3);
    const struct checkpoint_state s = {
        .step = step, .tokens = 10 * step, .bytes = BYTES, .nextra = EXTRA, .extra = extra
    };
    return checkpoint_save(root, "id", &s, get, &step, e);
}

static int save(const char *root, int64_t step)
{
    return save_step(root, step, &err);
}

/* The step of the state that is loaded, all of which is looked at; 0: none is there. */
static int64_t load(const char *root)
{
    struct checkpoint_state s = { .bytes = BYTES, .nextra = EXTRA };
    struct taken *taken = xcalloc(1, sizeof(*taken));
    bool found;
    if (checkpoint_load(root, "id", &s, put, taken, &found, &err))
        fail_msg("%s", err.s);
    assert_int_equal(taken->n, found ? BYTES : 0);
    for (int64_t i = 0; i < taken->n; i++)
        assert_int_equal(taken->bytes[i], byte_at(s.step, i));
    free(taken);
    if (!found)
        return 0;
    int64_t step = s.step;
    assert_int_equal(s.tokens, 10 * step);
    for (int i = 0; i < EXTRA; i++)
        assert_true(s.extra[i] == (double)step / (i + 3));
    checkpoint_state_release(&s);
    return step;
}

/* Warnings of the damage that the test does are not for who reads its output. */
static int quiet_from(void)
{
    int was = dup(STDERR_FILENO), null = open("/dev/null", O_WRONLY);
    fflush(stderr);
    dup2(null, STDERR_FILENO);
    close(null);
    return was;
}

static void quiet_to(int was)
{
    fflush(stderr);
    dup2(was, STDERR_FILENO);
    close(was);
}

static void a_state_comes_back_and_the_newest_is_taken(void **state)
{
    (void)state;
    char *root = fixture_dir();
    assert_int_equal(load(root), 0);
    assert_int_equal(save(root, 1), 0);
    assert_int_equal(load(root), 1);
    assert_false(there(root, "id.state.before"));
    assert_int_equal(save(root, 2), 0);
    assert_int_equal(save(root, 3), 0);
    assert_int_equal(load(root), 3);
    assert_true(there(root, "id.state.before"));
    assert_false(there(root, "id.state.tmp"));
    fixture_remove(root);
}

static void between_two_renames_the_state_before_is_taken(void **state)
{
    (void)state;
    char *root = fixture_dir(), *new = xasprintf("%s/id.state", root),
         *before = xasprintf("%s/id.state.before", root);
    assert_int_equal(save(root, 1), 0);
    assert_int_equal(save(root, 2), 0);
    assert_int_equal(rename(new, before), 0);
    fixture_text(root, "id.state.tmp", "half a sta");
    assert_int_equal(load(root), 2);
    assert_int_equal(save(root, 3), 0);
    assert_int_equal(load(root), 3);
    free(new);
    free(before);
    fixture_remove(root);
}

/* Damages DIR/id.state.SUFFIX: flips a bit of byte `at`, or cuts it there. */
static void damage(const char *root, const char *name, size_t at, bool cut)
{
    char *path = xasprintf("%s/%s", root, name);
    struct buf b = BUF_INIT;
    assert_int_equal(read_file(path, 1 << 20, &b, &err), 0);
    assert_true(at < b.len);
    b.s[at] ^= 4;
    fixture_file(root, name, b.s, cut ? at : b.len);
    buf_release(&b);
    free(path);
}

static void a_damaged_state_gives_way_to_the_one_before_it(void **state)
{
    (void)state;
    static const size_t places[] = { 0,
                                     17,
                                     25,
                                     30,
                                     41,
                                     47,
                                     48,
                                     100,
                                     4100,
                                     8200,
                                     12040,
                                     FILE_BYTES - 33,
                                     FILE_BYTES - 32,
                                     FILE_BYTES - 1 };
    int was = quiet_from();
    for (size_t i = 0; i < 2 * ARRAY_LEN(places); i++) {
        char *root = fixture_dir();
        assert_int_equal(save(root, 1), 0);
        assert_int_equal(save(root, 2), 0);
        damage(root, "id.state", places[i / 2], i % 2);
        assert_int_equal(load(root), 1);
        assert_true(there(root, "id.state.damaged"));
        // The damaged one must not take the good one's place.
        assert_false(there(root, "id.state"));
        assert_int_equal(load(root), 1);
        assert_int_equal(save(root, 2), 0);
        assert_int_equal(load(root), 2);
        assert_true(there(root, "id.state.before"));
        fixture_remove(root);
    }
    quiet_to(was);
}

static void bytes_behind_the_end_are_damage_too(void **state)
{
    (void)state;
    char *root = fixture_dir(), *path = xasprintf("%s/id.state", root);
    int was = quiet_from();
    assert_int_equal(save(root, 1), 0);
    FILE *f = fopen(path, "ab");
    fputc(0, f);
    fclose(f);
    assert_int_equal(load(root), 0);
    quiet_to(was);
    free(path);
    fixture_remove(root);
}

static void two_damaged_states_are_none(void **state)
{
    (void)state;
    char *root = fixture_dir();
    int was = quiet_from();
    assert_int_equal(save(root, 1), 0);
    assert_int_equal(save(root, 2), 0);
    damage(root, "id.state", 500, false);
    damage(root, "id.state.before", 500, true);
    assert_int_equal(load(root), 0);
    quiet_to(was);
    fixture_remove(root);
}

static void a_state_of_another_size_is_not_taken(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = { { BYTES + 1, EXTRA }, { BYTES, EXTRA - 1 }, { 4, EXTRA } };
    int was = quiet_from();
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        char *root = fixture_dir();
        struct checkpoint_state s = { .bytes = sizes[i][0], .nextra = sizes[i][1] };
        bool found = true;
        assert_int_equal(save(root, 1), 0);
        assert_int_equal(checkpoint_load(root, "id", &s, put, NULL, &found, &err), 0);
        assert_false(found);
        assert_true(there(root, "id.state.damaged"));
        fixture_remove(root);
    }
    quiet_to(was);
}

/* A state like `from`, of a header that the program has not written, with the sum that it must have. */
static void write_state_of_version(const char *root, int64_t version, int64_t bytes)
{
    struct buf file = BUF_INIT;
    const int64_t numbers[] = { version, 5, 50, bytes, 0 };
    char sum[33];
    buf_add(&file, "seqtopk state\0\0\0", 16);
    buf_add(&file, (const char *)numbers, sizeof(numbers));
    for (int64_t i = 0; i < bytes; i++)
        buf_add(&file, "x", 1);
    struct hash *h = hash_new();
    hash_add(h, file.s, file.len);
    hash_hex(h, sum);
    hash_free(h);
    buf_add(&file, sum, 32);
    fixture_file(root, "id.state", file.s, file.len);
    buf_release(&file);
}

static void a_state_of_another_version_is_refused_and_stays(void **state)
{
    (void)state;
    static const int64_t versions[] = { 1, 3 };
    for (size_t i = 0; i < ARRAY_LEN(versions); i++) {
        char *root = fixture_dir();
        struct checkpoint_state s = { .bytes = BYTES };
        bool found = true;
        assert_int_equal(save(root, 1), 0);
        assert_int_equal(save(root, 2), 0);
        write_state_of_version(root, versions[i], BYTES);
        buf_reset(&err);
        assert_int_equal(checkpoint_load(root, "id", &s, put, NULL, &found, &err), -1);
        assert_false(found);
        assert_non_null(strstr(err.s, "id.state: another version of this program wrote it"));
        assert_non_null(strstr(err.s, "remove this file"));
        assert_true(there(root, "id.state") && !there(root, "id.state.damaged"));
        fixture_remove(root);
    }
    char *root = fixture_dir();
    struct checkpoint_state s = { .bytes = 3 };
    struct taken taken = { .n = 0 };
    bool found;
    write_state_of_version(root, 2, 3);
    assert_int_equal(checkpoint_load(root, "id", &s, put, &taken, &found, &err), 0);
    assert_true(found && s.step == 5 && s.tokens == 50 && taken.n == 3);
    assert_memory_equal(taken.bytes, "xxx", 3);
    checkpoint_state_release(&s);
    fixture_remove(root);
}

/* Bytes of a large trainer come and go in more than one part. */
static int64_t parts, wanted;

static int get_large(void *of, int64_t at, int64_t n, void *bytes, struct buf *e)
{
    if (at > 0 && *(bool *)of)
        return (fail)(e, "the trainer gives no more");
    memset(bytes, (int)(at >> 20) + 1, (size_t)n);
    return 0;
}

static int put_large(void *of, int64_t at, int64_t n, const void *bytes, struct buf *e)
{
    const unsigned char *b = bytes;
    if (at > 0 && *(bool *)of)
        return (fail)(e, "the trainer takes no more");
    assert_true(at == wanted && b[0] == (at >> 20) + 1 && b[n - 1] == b[0]);
    wanted += n;
    parts++;
    return 0;
}

static void a_large_state_comes_and_goes_in_parts(void **state)
{
    (void)state;
    char *root = fixture_dir();
    struct checkpoint_state s = { .step = 1, .bytes = (40 << 20) + 3 };
    bool fails = false, found;
    assert_int_equal(checkpoint_save(root, "id", &s, get_large, &fails, &err), 0);
    assert_int_equal(checkpoint_load(root, "id", &s, put_large, &fails, &found, &err), 0);
    assert_true(found && wanted == s.bytes && parts > 1);
    checkpoint_state_release(&s);
    // What the trainer says is handed on, and the state that is there stays.
    s = (struct checkpoint_state){ .step = 2, .bytes = wanted };
    fails = true;
    wanted = 0;
    buf_reset(&err);
    assert_int_equal(checkpoint_save(root, "id", &s, get_large, &fails, &err), -1);
    assert_string_equal(err.s, "the trainer gives no more");
    assert_false(there(root, "id.state.tmp") || there(root, "id.state.before"));
    buf_reset(&err);
    assert_int_equal(checkpoint_load(root, "id", &s, put_large, &fails, &found, &err), -1);
    assert_string_equal(err.s, "the trainer takes no more");
    assert_true(!found && there(root, "id.state"));
    fixture_remove(root);
}

static void publishing_removes_the_states(void **state)
{
    (void)state;
    struct base b = base_new();
    int was = quiet_from();
    assert_int_equal(save(b.root, 1), 0);
    assert_int_equal(save(b.root, 2), 0);
    damage(b.root, "id.state", 500, false);
    assert_int_equal(load(b.root), 1);
    assert_int_equal(save(b.root, 2), 0);
    quiet_to(was);
    assert_int_equal(checkpoint_publish(b.root, "id", &b.model, &err), 0);
    static const char *const names[] = { "state", "state.before", "state.tmp", "state.damaged" };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        char *name = xasprintf("id.%s", names[i]);
        assert_false(there(b.root, name));
        free(name);
    }
    base_free(&b);
}

/* ---- a full disk ---- */

/*
 * In a child, whose files may not be longer than `limit`: what `work` returns, and its sentence in
 * `said`. The limit is met in the middle of writing, as a full disk is.
 */
static int limited(rlim_t limit, int (*work)(void *context, struct buf *err), void *context,
                   struct buf *said)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        struct buf e = BUF_INIT;
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){ limit, RLIM_INFINITY });
        int rc = work(context, &e);
        if (write(ends[1], e.s, e.len) != (ssize_t)e.len)
            _exit(9);
        _exit(rc ? 1 : 0);
    }
    close(ends[1]);
    char chunk[512];
    ssize_t n;
    buf_reset(said);
    while ((n = read(ends[0], chunk, sizeof(chunk))) > 0)
        buf_add(said, chunk, (size_t)n);
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
    return WEXITSTATUS(status) ? -1 : 0;
}

static int save_third(void *root, struct buf *e)
{
    return save_step(root, 3, e);
}

static void a_state_that_has_no_room_leaves_the_old_ones(void **state)
{
    (void)state;
    struct buf said = BUF_INIT;
    int failed = 0, saved = 0;
    for (rlim_t limit = 0; limit < 14000; limit += 700) {
        char *root = fixture_dir();
        assert_int_equal(save(root, 1), 0);
        assert_int_equal(save(root, 2), 0);
        if (limited(limit, save_third, root, &said)) {
            failed++;
            assert_non_null(strstr(said.s, "id.state.tmp: "));
            assert_non_null(strstr(said.s, strerror(EFBIG)));
            assert_int_equal(load(root), 2);
        } else {
            saved++;
            assert_int_equal(load(root), 3);
        }
        assert_true(there(root, "id.state.before"));
        assert_false(there(root, "id.state.tmp"));
        fixture_remove(root);
    }
    assert_true(failed > 10 && saved > 0);
    buf_release(&said);
}

static int publish(void *context, struct buf *e)
{
    struct base *b = context;
    return checkpoint_publish(b->root, "id", &b->model, e);
}

static void a_model_that_has_no_room_is_not_there_at_all(void **state)
{
    (void)state;
    struct base b = base_new();
    struct buf said = BUF_INIT;
    int failed = 0;
    assert_int_equal(save(b.root, 1), 0);
    // 25 kB are the weights; smaller limits end config.json and tokenizer.json.
    for (rlim_t limit = 0; limit < 24000; limit = limit < 1000 ? limit + 40 : limit + 1500) {
        failed++;
        assert_int_equal(limited(limit, publish, &b, &said), -1);
        assert_non_null(strstr(said.s, strerror(EFBIG)));
        assert_int_equal(find(b.root, "id"), 0);
        assert_false(there(b.root, "id.tmp"));
        assert_int_equal(load(b.root), 1);
    }
    assert_true(failed > 20);
    assert_int_equal(limited(1 << 20, publish, &b, &said), 0);
    assert_int_equal(find(b.root, "id"), 1);
    buf_release(&said);
    base_free(&b);
}

static int write_pair(void *path, struct buf *e)
{
    return safetensors_write(path, pair, 2, DTYPE_F32, e);
}

static void weights_that_have_no_room_leave_no_file(void **state)
{
    (void)state;
    char *dir = fixture_dir(), *path = xasprintf("%s/model.safetensors", dir);
    struct buf said = BUF_INIT;
    for (rlim_t limit = 0; limit < 160; limit += 20) {
        assert_int_equal(limited(limit, write_pair, path, &said), -1);
        assert_non_null(strstr(said.s, strerror(EFBIG)));
        assert_false(there(dir, "model.safetensors"));
    }
    buf_release(&said);
    free(path);
    fixture_remove(dir);
}

static void large_weights_that_have_no_room_leave_no_file(void **state)
{
    (void)state;
    char *dir = fixture_dir(), *path = xasprintf("%s/model.safetensors", dir);
    struct buf said = BUF_INIT;
    for (rlim_t limit = 100; limit < 6 * (rlim_t)CHECKPOINT_PART; limit += 23 << 20) {
        large_room = (int64_t)limit;
        assert_int_equal(limited(limit, write_large, path, &said), -1);
        if (!strstr(said.s, strerror(EFBIG)))
            fail_msg("%s", said.s);
        assert_false(there(dir, "model.safetensors"));
    }
    assert_int_equal(limited(7 * (rlim_t)CHECKPOINT_PART, write_large, path, &said), 0);
    assert_true(there(dir, "model.safetensors"));
    buf_release(&said);
    free(path);
    fixture_remove(dir);
}

/* What did not go out is missing in the file, whatever goes out after it. */
static int write_with_room_later(void *path, struct buf *e)
{
    enum { MUCH = 1 << 20 };
    struct checkpoint_file f;
    char *zeroes = xcalloc(MUCH, 1);
    if (checkpoint_file_open(&f, path, e))
        return -1;
    checkpoint_file_write(&f, zeroes, MUCH);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
    checkpoint_file_write(&f, "end", 3);
    free(zeroes);
    return checkpoint_file_close(&f, e);
}

static void a_write_that_failed_is_told_at_the_end(void **state)
{
    (void)state;
    char *dir = fixture_dir(), *path = xasprintf("%s/x", dir);
    struct buf said = BUF_INIT;
    assert_int_equal(limited(5000, write_with_room_later, path, &said), -1);
    assert_non_null(strstr(said.s, strerror(EFBIG)));
    assert_false(there(dir, "x"));
    buf_release(&said);
    free(path);
    fixture_remove(dir);
}

static void a_full_disk_is_named_as_such(void **state)
{
    (void)state;
    char *root = fixture_dir(), *tmp = xasprintf("%s/id.state.tmp", root);
    if (access("/dev/full", W_OK) != 0)
        SKIP("no /dev/full here");
    assert_int_equal(save(root, 1), 0);
    assert_int_equal(symlink("/dev/full", tmp), 0);
    assert_int_equal(save(root, 2), -1);
    assert_non_null(strstr(err.s, strerror(ENOSPC)));
    assert_int_equal(load(root), 1);
    assert_false(there(root, "id.state.tmp"));
    assert_int_equal(save(root, 2), 0);
    assert_int_equal(load(root), 2);
    free(tmp);
    fixture_remove(root);
}

static void too_little_room_is_told_beforehand(void **state)
{
    (void)state;
    char *dir = fixture_dir(), *root = xasprintf("%s/a/b", dir);
    assert_int_equal(checkpoint_room(root, "id", 1, 1, &err), 0);
    assert_true(there(dir, "a/b"));
    struct statvfs fs;
    assert_int_equal(statvfs(root, &fs), 0);
    // Three states that fill the disk to some megabytes; two and a larger model; and one that is there.
    const int64_t room = (int64_t)(fs.f_bavail * fs.f_frsize), margin = 64 << 20;
    assert_int_equal(checkpoint_room(root, "id", (room - margin) / 3, 1, &err), 0);
    assert_int_equal(checkpoint_room(root, "id", (room + margin) / 3, 1, &err), -1);
    assert_non_null(
        strstr(err.s, "MB are free, but the states and the model of this training need "));
    assert_string_equal(err.s + err.len - 3, " MB");
    assert_int_equal(checkpoint_room(root, "id", 1, room - margin, &err), 0);
    assert_int_equal(checkpoint_room(root, "id", 1, room + margin, &err), -1);
    char *lies = xasprintf("%s/id.state.before", root);
    fixture_text(root, "id.state.before", "");
    assert_int_equal(truncate(lies, 2 * margin), 0); // a hole takes no room
    assert_int_equal(checkpoint_room(root, "id", (room + margin) / 3, 1, &err), 0);
    assert_int_equal(checkpoint_room(root, "other", (room + margin) / 3, 1, &err), -1);
    // Without states it is the model's room alone, and old states make none.
    assert_int_equal(checkpoint_room(root, "id", 0, room - margin, &err), 0);
    assert_int_equal(checkpoint_room(root, "id", 0, room + margin, &err), -1);
    free(lies);
    free(root);
    root = xasprintf("%s/file/b", dir);
    fixture_text(dir, "file", "no folder");
    assert_int_equal(checkpoint_room(root, "id", 1, 1, &err), -1);
    free(root);
    fixture_remove(dir);
}

/* ---- killed at any moment ---- */

static uint64_t dice = 1;

/* Kills the child within `most` microseconds. */
static void pause_and_kill(pid_t child, double most)
{
    usleep((useconds_t)((fixture_random(&dice) + 1) / 2 * most));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
}

static void a_program_killed_while_it_saves_leaves_a_state(void **state)
{
    (void)state;
    char *root = fixture_dir();
    int64_t last = 0;
    double most = 2000;
    // Both kinds must have been met often: killed before anything was saved, and after.
    for (int moved = 0, still = 0; moved < 15 || still < 15;) {
        pid_t child = fork();
        if (child == 0) {
            // As a training does: it goes on from what it finds.
            struct checkpoint_state s = { .bytes = BYTES, .nextra = EXTRA };
            struct taken taken = { .n = 0 };
            bool found;
            if (checkpoint_load(root, "id", &s, put, &taken, &found, &err))
                _exit(1);
            for (int64_t step = found ? s.step + 1 : 1;; step++)
                if (save(root, step))
                    _exit(1);
        }
        pause_and_kill(child, most);
        int64_t now = load(root);
        assert_true(now >= last);
        assert_false(there(root, "id.state.damaged"));
        *(now > last ? &moved : &still) += 1;
        most *= now > last ? 0.8 : 1.25;
        last = now;
    }
    fixture_remove(root);
}

static void a_program_killed_while_it_publishes_leaves_a_model_or_none(void **state)
{
    (void)state;
    struct base b = base_new();
    double most = 4000;
    for (int made = 0, not_made = 0, i = 0; made < 15 || not_made < 15; i++) {
        char *id = xasprintf("id%d", i);
        pid_t child = fork();
        if (child == 0)
            _exit(checkpoint_publish(b.root, id, &b.model, &err) ? 1 : 0);
        pause_and_kill(child, most);
        int found = find(b.root, id);
        if (found < 0)
            fail_msg("%s", err.s);
        *(found ? &made : &not_made) += 1;
        most *= found ? 0.8 : 1.25;
        if (!found) {
            assert_int_equal(checkpoint_publish(b.root, id, &b.model, &err), 0);
            assert_int_equal(find(b.root, id), 1);
        }
        free(id);
    }
    base_free(&b);
}

/* ---- the lock ---- */

static const char *vanishes; /* is removed once, just before it is locked */

/* The test's own, in the place of the C library's. */
int flock(int fd, int operation)
{
    if (vanishes)
        unlink(vanishes);
    vanishes = NULL;
    return (int)syscall(SYS_flock, fd, operation);
}

static void a_lock_that_lost_its_name_is_taken_anew(void **state)
{
    (void)state;
    char *root = fixture_dir(), *path = xasprintf("%s/id.lock", root);
    vanishes = path;
    int was = quiet_from();
    struct checkpoint_lock *l = checkpoint_lock(root, "id", NULL, &err);
    quiet_to(was);
    assert_non_null(l);
    assert_true(there(root, "id.lock"));
    checkpoint_unlock(l);
    free(path);
    fixture_remove(root);
}

static int asked;

static bool at_the_third_time(void)
{
    return ++asked >= 3;
}

static void a_second_program_waits_until_the_first_is_done(void **state)
{
    (void)state;
    char *root = fixture_dir();
    struct checkpoint_lock *l = checkpoint_lock(root, "id", NULL, &err);
    assert_non_null(l);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        quiet_from();
        struct checkpoint_lock *mine = checkpoint_lock(root, "id", NULL, &err);
        if (write(ends[1], "x", 1) != 1)
            _exit(2);
        checkpoint_unlock(mine);
        _exit(mine ? 0 : 1);
    }
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    char c;
    usleep(150 * 1000);
    assert_int_equal(read(ends[0], &c, 1), -1);
    checkpoint_unlock(l);
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(read(ends[0], &c, 1), 1);
    assert_false(there(root, "id.lock"));
    close(ends[0]);
    close(ends[1]);
    fixture_remove(root);
}

static void waiting_can_be_interrupted(void **state)
{
    (void)state;
    char *root = fixture_dir();
    struct checkpoint_lock *l = checkpoint_lock(root, "id", NULL, &err);
    int was = quiet_from();
    asked = 0;
    assert_null(checkpoint_lock(root, "id", at_the_third_time, &err));
    quiet_to(was);
    assert_int_equal(asked, 3);
    assert_non_null(strstr(err.s, "interrupted"));
    // It did not take the first one's lock away.
    assert_true(there(root, "id.lock"));
    checkpoint_unlock(l);
    fixture_remove(root);
}

static void the_lock_of_a_killed_program_is_free(void **state)
{
    (void)state;
    char *root = fixture_dir();
    pid_t child = fork();
    if (child == 0) {
        if (!checkpoint_lock(root, "id", NULL, &err))
            _exit(1);
        pause();
    }
    while (!there(root, "id.lock"))
        usleep(1000);
    usleep(20 * 1000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    asked = 0;
    struct checkpoint_lock *l = checkpoint_lock(root, "id", at_the_third_time, &err);
    assert_non_null(l);
    checkpoint_unlock(l);
    fixture_remove(root);
}

static void never_two_programs_have_it(void **state)
{
    (void)state;
    enum { PROGRAMS = 4, TIMES = 8 };
    char *root = fixture_dir(), *inside = xasprintf("%s/inside", root);
    pid_t child[PROGRAMS];
    for (int i = 0; i < PROGRAMS; i++) {
        if ((child[i] = fork()) != 0)
            continue;
        quiet_from();
        for (int n = 0; n < TIMES; n++) {
            struct checkpoint_lock *l = checkpoint_lock(root, "id", NULL, &err);
            // mkdir() fails where another one is inside.
            if (!l || mkdir(inside, 0777) != 0)
                _exit(1);
            usleep(1000);
            rmdir(inside);
            checkpoint_unlock(l);
        }
        _exit(0);
    }
    for (int i = 0; i < PROGRAMS; i++) {
        int status;
        waitpid(child[i], &status, 0);
        assert_int_equal(status, 0);
    }
    free(inside);
    fixture_remove(root);
}

/* ---- a model that has learnt nothing ---- */

static struct model_config small(enum family family)
{
    return (struct model_config){ .family = family,
                                  .layers = 2,
                                  .hidden = 32,
                                  .heads = 4,
                                  .vocab = 500,
                                  .context = 64,
                                  .experts = 8,
                                  .top_k = 2,
                                  .expert_ffn = 24,
                                  .shared_ffn = family == FAMILY_QWEN2_MOE ? 20 : 0,
                                  .qkv_bias = family == FAMILY_QWEN2_MOE };
}

static struct weights *init_and_open(const char *dir, const struct model_config *c, int64_t seed)
{
    if (model_init(dir, c, NULL, seed, &err))
        fail_msg("%s", err.s);
    struct weights *w = weights_open(dir, &err);
    if (!w)
        fail_msg("%s", err.s);
    return w;
}

static bool config_has(const char *dir, const char *key)
{
    char *path = xasprintf("%s/config.json", dir);
    json_t *root = json_load_file(path, 0, NULL);
    bool has = json_object_get(root, key) != NULL;
    json_decref(root);
    free(path);
    return has;
}

static void a_new_model_of_any_family_opens(void **state)
{
    (void)state;
    char *root = fixture_dir();
    for (int i = 0; i < 16; i++) {
        static const enum family families[] = { FAMILY_OLMOE, FAMILY_QWEN2_MOE, FAMILY_MIXTRAL,
                                                FAMILY_QWEN3_MOE };
        struct model_config c = small(families[i % 2 + i / 8 * 2]);
        bool mixtral = c.family == FAMILY_MIXTRAL;
        c.tied = i & 2;
        c.dtype = i & 4 ? DTYPE_BF16 : DTYPE_F32;
        c.kv_heads = i & 4 ? 2 : 0;
        c.norm_topk_prob = i & 4;
        c.clip_qkv = i == 4 ? 3.5 : 0;
        c.rope_theta = i == 4 ? 500000 : 0;
        c.eos[1] = 7;
        c.neos = i % 3;
        char *dir = xasprintf("%s/m%d", root, i);
        struct weights *w = init_and_open(dir, &c, 1);
        assert_int_equal(w->config.family, c.family);
        assert_int_equal(w->config.layers, 2);
        assert_int_equal(w->config.head_dim, 8);
        assert_int_equal(w->config.kv_heads, i & 4 ? 2 : 4);
        assert_int_equal(w->config.context, 64);
        assert_int_equal(w->config.top_k, 2);
        assert_int_equal(w->config.shared_ffn, c.shared_ffn);
        assert_int_equal(w->config.tied, c.tied);
        assert_int_equal(w->config.experts, 8);
        assert_true(config_has(dir, "num_local_experts") == mixtral);
        assert_int_equal(w->config.expert_ffn, 24);
        assert_int_equal(w->config.norm_topk_prob, c.norm_topk_prob || mixtral);
        assert_true(w->config.clip_qkv == c.clip_qkv);
        assert_true(w->config.rope_theta == (i == 4 ? 500000 : mixtral ? 1e6 : 10000));
        assert_true(w->config.rms_eps == (i % 2 ? 1e-6 : 1e-5));
        assert_int_equal(w->config.neos, c.neos);
        assert_memory_equal(w->config.eos, c.eos, (size_t)c.neos * sizeof(*c.eos));
        assert_int_equal(w->embed->dtype, c.dtype);
        weights_close(w);
        free(dir);
    }
    fixture_remove(root);
}

static void its_numbers_are_as_said(void **state)
{
    (void)state;
    char *root = fixture_dir(), *dir = xasprintf("%s/m", root);
    struct model_config c = small(FAMILY_QWEN2_MOE);
    struct weights *w = init_and_open(dir, &c, 3);
    double sum = 0, squares = 0, fourth = 0;
    size_t n = 0;
    for (size_t i = 0; i < safetensors_count(w->files); i++) {
        const struct st_tensor *t = safetensors_at(w->files, i);
        float *v = xmalloc(t->bytes);
        memcpy(v, t->data, t->bytes);
        for (size_t j = 0; j < t->bytes / sizeof(*v); j++) {
            double x = (double)v[j] / 0.02;
            if (t->ndim == 1) {
                assert_true(v[j] == (strstr(t->name, "norm") ? 1 : 0));
                continue;
            }
            sum += x;
            squares += x * x;
            fourth += x * x * x * x;
            n++;
        }
        free(v);
    }
    // Of 65,000 normal numbers: mean 0, variance 1, fourth moment 3, each within 5 deviations.
    double N = (double)n;
    assert_true(n > 60000);
    assert_true(fabs(sum / N) < 5 / sqrt(N));
    assert_true(fabs(squares / N - 1) < 5 * sqrt(2 / N));
    assert_true(fabs(fourth / N - 3) < 5 * sqrt(96 / N));
    weights_close(w);
    free(dir);
    fixture_remove(root);
}

static void the_seed_and_the_name_decide_them(void **state)
{
    (void)state;
    char *root = fixture_dir();
    struct weights *w[4];
    struct model_config c = small(FAMILY_OLMOE);
    for (int i = 0; i < 4; i++) {
        char *dir = xasprintf("%s/m%d", root, i);
        c.layers = i == 3 ? 3 : 2;
        w[i] = init_and_open(dir, &c, i == 2 ? 6 : 5);
        free(dir);
    }
    size_t bytes = w[0]->embed->bytes;
    assert_memory_equal(w[0]->embed->data, w[1]->embed->data, bytes);
    assert_memory_not_equal(w[0]->embed->data, w[2]->embed->data, bytes);
    assert_memory_not_equal(w[0]->embed->data, w[0]->head->data, bytes);
    assert_memory_not_equal(w[0]->layer[0].q->data, w[0]->layer[1].q->data,
                            w[0]->layer[0].q->bytes);
    // Of a deeper model the first layers are the same.
    assert_memory_equal(w[0]->layer[1].q->data, w[3]->layer[1].q->data, w[0]->layer[1].q->bytes);
    for (int i = 0; i < 4; i++)
        weights_close(w[i]);
    fixture_remove(root);
}

static void a_model_that_could_not_be_opened_is_not_made(void **state)
{
    (void)state;
    char *root = fixture_dir(), *dir = xasprintf("%s/m", root), *none = xasprintf("%s/none", root);
    struct model_config c = small(FAMILY_OLMOE);
    c.top_k = 9;
    assert_int_equal(model_init(dir, &c, NULL, 1, &err), -1);
    assert_non_null(strstr(err.s, "num_experts_per_tok is 9"));
    c = small(FAMILY_OLMOE);
    c.heads = 5;
    assert_int_equal(model_init(dir, &c, NULL, 1, &err), -1);
    assert_non_null(strstr(err.s, "hidden_size"));
    c = small(FAMILY_OLMOE);
    c.dtype = DTYPE_F16;
    assert_int_equal(model_init(dir, &c, NULL, 1, &err), -1);
    assert_non_null(strstr(err.s, "float16"));
    c = small(FAMILY_OLMOE);
    assert_int_equal(model_init(dir, &c, none, 1, &err), -1);
    assert_non_null(strstr(err.s, none));
    assert_false(there(root, "m"));
    assert_false(there(root, "m.tmp"));
    fixture_text(root, "none", "{\"to\": \"kens\"}");
    assert_int_equal(model_init(dir, &c, none, 1, &err), 0);
    assert_true(there(dir, "tokenizer.json"));
    assert_int_equal(model_init(dir, &c, NULL, 1, &err), -1);
    assert_non_null(strstr(err.s, "there already"));
    free(dir);
    free(none);
    fixture_remove(root);
}

static void the_root_is_where_the_environment_says(void **state)
{
    (void)state;
    setenv("SEQTOPK_TRAINED", "/some/where", 1);
    assert_string_equal(checkpoint_root(), "/some/where");
    setenv("SEQTOPK_TRAINED", "", 1);
    assert_string_equal(checkpoint_root(), "results/trained");
    unsetenv("SEQTOPK_TRAINED");
    assert_string_equal(checkpoint_root(), "results/trained");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(float32_comes_back_to_the_bit),
        cmocka_unit_test(the_header_is_one_that_transformers_opens),
        cmocka_unit_test(bfloat16_is_rounded_to_even),
        cmocka_unit_test(many_values_are_all_rounded),
        cmocka_unit_test(other_dtypes_are_refused),
        cmocka_unit_test(bytes_that_come_in_parts_are_in_their_places),
        cmocka_unit_test(values_of_many_tensors_are_written_in_parts),
        cmocka_unit_test(a_large_file_takes_little_memory),
        cmocka_unit_test(weights_that_do_not_come_leave_no_file),
        cmocka_unit_test(a_published_model_opens_and_is_found),
        cmocka_unit_test(config_keeps_all_but_the_dtype),
        cmocka_unit_test(training_json_says_what_made_it),
        cmocka_unit_test(sums_are_those_of_the_whole_file),
        cmocka_unit_test(a_folder_that_is_not_whole_is_refused),
        cmocka_unit_test(a_base_without_config_publishes_nothing),
        cmocka_unit_test(weights_that_do_not_come_publish_nothing),
        cmocka_unit_test(what_a_killed_program_left_half_made_is_in_nobodys_way),
        cmocka_unit_test(a_state_comes_back_and_the_newest_is_taken),
        cmocka_unit_test(between_two_renames_the_state_before_is_taken),
        cmocka_unit_test(a_damaged_state_gives_way_to_the_one_before_it),
        cmocka_unit_test(bytes_behind_the_end_are_damage_too),
        cmocka_unit_test(two_damaged_states_are_none),
        cmocka_unit_test(a_state_of_another_size_is_not_taken),
        cmocka_unit_test(a_state_of_another_version_is_refused_and_stays),
        cmocka_unit_test(a_large_state_comes_and_goes_in_parts),
        cmocka_unit_test(publishing_removes_the_states),
        cmocka_unit_test(a_state_that_has_no_room_leaves_the_old_ones),
        cmocka_unit_test(a_model_that_has_no_room_is_not_there_at_all),
        cmocka_unit_test(weights_that_have_no_room_leave_no_file),
        cmocka_unit_test(large_weights_that_have_no_room_leave_no_file),
        cmocka_unit_test(a_write_that_failed_is_told_at_the_end),
        cmocka_unit_test(a_full_disk_is_named_as_such),
        cmocka_unit_test(too_little_room_is_told_beforehand),
        cmocka_unit_test(a_program_killed_while_it_saves_leaves_a_state),
        cmocka_unit_test(a_program_killed_while_it_publishes_leaves_a_model_or_none),
        cmocka_unit_test(a_second_program_waits_until_the_first_is_done),
        cmocka_unit_test(waiting_can_be_interrupted),
        cmocka_unit_test(the_lock_of_a_killed_program_is_free),
        cmocka_unit_test(never_two_programs_have_it),
        cmocka_unit_test(a_lock_that_lost_its_name_is_taken_anew),
        cmocka_unit_test(a_new_model_of_any_family_opens),
        cmocka_unit_test(its_numbers_are_as_said),
        cmocka_unit_test(the_seed_and_the_name_decide_them),
        cmocka_unit_test(a_model_that_could_not_be_opened_is_not_made),
        cmocka_unit_test(the_root_is_where_the_environment_says),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, NULL, NULL);
}
