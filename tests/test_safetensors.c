/*
 * test_safetensors.c: whole files open with the right bytes, and a header that lies about anything
 * is refused with a sentence that names the file.
 */
#include "safetensors.h"

#include "fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct buf err = BUF_INIT;
static char *dir; // of the test that runs

static int set_up(void **state)
{
    (void)state;
    dir = fixture_dir();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buf_release(&err);
    fixture_remove(dir);
    return 0;
}

static void refused(const char *words)
{
    struct safetensors *s = safetensors_open(dir, &err);
    if (s)
        fail_msg("it was opened, but should be refused for '%s'", words);
    if (!strstr(err.s, words) || !strstr(err.s, dir) || strchr(err.s, '\n'))
        fail_msg("the error is '%s', it should have '%s' and the file's name", err.s, words);
}

/* One file with this header and `len` bytes of zeroes. */
static void write_one(const char *header, size_t len)
{
    char *data = xcalloc(len, 1);
    fixture_safetensors(dir, "model.safetensors", header, data, len);
    free(data);
}

static void refuse_header(const char *header, size_t len, const char *words)
{
    write_one(header, len);
    refused(words);
    assert_non_null(strstr(err.s, "/model.safetensors"));
}

/* A tensor "a" as said; `shape` and `offsets` are JSON. */
static void refuse_tensor(const char *dtype, const char *shape, const char *offsets, size_t len,
                          const char *words)
{
    char *header =
        xasprintf("{\"a\":{\"dtype\":%s,\"shape\":%s,\"data_offsets\":%s}}", dtype, shape, offsets);
    refuse_header(header, len, words);
    assert_non_null(strstr(err.s, "tensor 'a'"));
    free(header);
}

static void a_file_opens_with_its_bytes(void **state)
{
    (void)state;
    const char data[] = "0123456789abcdef";
    fixture_safetensors(dir, "model.safetensors",
                        "{\"__metadata__\":{\"format\":\"pt\"},"
                        "\"z\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[6,14]},"
                        "\"m\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[0,6]},"
                        "\"empty\":{\"dtype\":\"F16\",\"shape\":[2,0],\"data_offsets\":[6,6]},"
                        "\"b\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[14,16]}}   ",
                        data, 16);
    struct safetensors *s = safetensors_open(dir, &err);
    assert_non_null(s);
    assert_int_equal(safetensors_count(s), 4);
    const char *names[] = { "b", "empty", "m", "z" };
    for (size_t i = 0; i < 4; i++)
        assert_string_equal(safetensors_at(s, i)->name, names[i]);
    const struct st_tensor *z = safetensors_find(s, "z");
    assert_ptr_equal(z, safetensors_at(s, 3));
    assert_int_equal(z->dtype, DTYPE_F32);
    assert_int_equal(z->ndim, 2);
    assert_true(z->shape[0] == 1 && z->shape[1] == 2);
    assert_int_equal(z->bytes, 8);
    assert_memory_equal(z->data, "6789abcd", 8);
    assert_non_null(strstr(z->file, "/model.safetensors"));
    assert_memory_equal(safetensors_find(s, "m")->data, "012345", 6);
    assert_int_equal(safetensors_find(s, "m")->dtype, DTYPE_BF16);
    assert_int_equal(safetensors_find(s, "b")->ndim, 0);
    assert_memory_equal(safetensors_find(s, "b")->data, "ef", 2);
    assert_int_equal(safetensors_find(s, "empty")->bytes, 0);
    assert_null(safetensors_find(s, "__metadata__"));
    assert_null(safetensors_find(s, "nothing"));
    safetensors_close(s);
}

static void a_file_without_tensors_opens(void **state)
{
    (void)state;
    write_one("{}", 0);
    struct safetensors *s = safetensors_open(dir, &err);
    assert_non_null(s);
    assert_int_equal(safetensors_count(s), 0);
    assert_null(safetensors_find(s, "a"));
    safetensors_close(s);
}

static void a_folder_without_weights_is_named(void **state)
{
    (void)state;
    refused("neither model.safetensors nor model.safetensors.index.json is there");
    char *path = xasprintf("%s/model.safetensors", dir);
    assert_int_equal(make_dirs(path, &err), 0);
    refused("not a regular file");
    free(path);
}

static void a_truncated_file_is_refused(void **state)
{
    (void)state;
    fixture_file(dir, "model.safetensors", "", 0);
    refused("truncated: it has 0 bytes");
    fixture_file(dir, "model.safetensors", "\2\0\0\0\0\0\0", 7);
    refused("truncated: it has 7 bytes");
    fixture_file(dir, "model.safetensors", "\3\0\0\0\0\0\0\0{}", 10);
    refused("truncated: the header says 3 bytes, but only 2 follow");
    refuse_tensor("\"F32\"", "[2]", "[0,8]", 7, "the file has only 7 bytes of data");
}

static void an_oversized_header_is_refused(void **state)
{
    (void)state;
    fixture_file(dir, "model.safetensors", "\1\xe1\xf5\5\0\0\0\0{}", 10); // 100,000,001
    refused("oversized header: it says 100000001 bytes, at most 100000000");
    fixture_file(dir, "model.safetensors", "\0\xe1\xf5\5\0\0\0\0{}", 10);
    refused("truncated: the header says 100000000 bytes");
    fixture_file(dir, "model.safetensors", "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    refused("oversized header: it says 18446744073709551615 bytes");
}

static void a_header_that_is_no_object_is_refused(void **state)
{
    (void)state;
    refuse_header("", 0, "does not begin with '{'");
    refuse_header("[1]", 0, "does not begin with '{'");
    refuse_header(" {}", 0, "does not begin with '{'");
    refuse_header("{\"a\":", 0, "not valid JSON");
    refuse_header("{} {}", 0, "not valid JSON");
    refuse_header("{\"\xff\":1}", 0, "not valid JSON");
    refuse_header("{\"a\":1}", 0, "not an object with dtype, shape and data_offsets");
}

static void a_name_that_stands_twice_is_refused(void **state)
{
    (void)state;
    refuse_header("{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]},"
                  "\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[2,4]}}",
                  4, "duplicate object key");
}

static void overlapping_tensors_are_refused(void **state)
{
    (void)state;
    refuse_header("{\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[2,6]},"
                  "\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}",
                  6, "tensors 'a' and 'b' overlap");
    refuse_header("{\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
                  "\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}",
                  4, "overlap");
    // An empty tensor inside another: it has no bytes, but its place is none.
    refuse_header("{\"b\":{\"dtype\":\"F16\",\"shape\":[0],\"data_offsets\":[2,2]},"
                  "\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]}}",
                  4, "tensors 'a' and 'b' overlap");
}

static void holes_are_refused(void **state)
{
    (void)state;
    refuse_header("{\"b\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[4,6]},"
                  "\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}",
                  6, "a hole of 2 bytes before tensor 'b'");
    refuse_tensor("\"F16\"", "[1]", "[2,4]", 4, "a hole of 2 bytes before tensor 'a'");
    refuse_header("{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", 5,
                  "3 bytes at the end belong to no tensor");
}

static void lying_offsets_are_refused(void **state)
{
    (void)state;
    refuse_tensor("\"F16\"", "[1]", "[2,0]", 4, "data_offsets is [2,0]; 0 <= begin <= end");
    refuse_tensor("\"F16\"", "[1]", "[-2,0]", 4, "0 <= begin <= end");
    refuse_tensor("\"F16\"", "[1]", "[0,4]", 4, "shape and dtype need 2 bytes");
    refuse_tensor("\"F32\"", "[1]", "[0,2]", 4, "shape and dtype need 4 bytes");
    refuse_tensor("\"F16\"", "[1]", "[0]", 4, "two whole numbers");
    refuse_tensor("\"F16\"", "[1]", "[0,1,2]", 4, "two whole numbers");
    refuse_tensor("\"F16\"", "[1]", "[0,2.0]", 4, "two whole numbers");
    refuse_tensor("\"F16\"", "[1]", "[0.0,2]", 2, "two whole numbers");
    refuse_tensor("\"F16\"", "[1]", "{}", 4, "an array is allowed");
    refuse_tensor("\"F16\"", "[1]", "null", 4, "an array is allowed");
    refuse_tensor("\"F16\"", "[1]", "[9223372036854775805,9223372036854775807]", 4,
                  "the file has only 4 bytes");
    refuse_header(
        "{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,18446744073709551616]}}", 4,
        "too big integer");
}

static void absurd_shapes_are_refused(void **state)
{
    (void)state;
    refuse_tensor("\"F16\"", "[-1]", "[0,2]", 2, "shape is [-1]; whole numbers from 0 up");
    refuse_tensor("\"F16\"", "[-1,-1]", "[0,2]", 2, "whole numbers from 0 up");
    refuse_tensor("\"F16\"", "[1.0]", "[0,2]", 2, "whole numbers from 0 up");
    refuse_tensor("\"F16\"", "[\"1\"]", "[0,2]", 2, "whole numbers from 0 up");
    refuse_tensor("\"F16\"", "1", "[0,2]", 2, "an array is allowed");
    refuse_tensor("\"F16\"", "[1,1,1,1,1,1,1,1,1]", "[0,2]", 2, "at most 8 dimensions");
    // 2^32 x 2^32 x 2 bytes are 0 in 64 bits, and 2^63 x 2 likewise: an overflow would pass here.
    refuse_tensor("\"F16\"", "[4294967296,4294967296]", "[0,0]", 0, "more bytes than a file");
    refuse_tensor("\"F32\"", "[4611686018427387904]", "[0,0]", 0, "more bytes than a file");
    refuse_tensor("\"F32\"", "[4611686018427387905]", "[0,4]", 4, "more bytes than a file");
}

static void other_dtypes_are_refused_by_name(void **state)
{
    (void)state;
    refuse_tensor("\"I64\"", "[1]", "[0,8]", 8, "dtype is \"I64\"; F32, BF16 and F16 are allowed");
    refuse_tensor("\"F8_E4M3\"", "[1]", "[0,1]", 1, "dtype is \"F8_E4M3\"");
    refuse_tensor("\"f32\"", "[1]", "[0,4]", 4, "dtype is \"f32\"");
    refuse_tensor("3", "[1]", "[0,4]", 4, "dtype is 3; a string");
    refuse_header("{\"a\":{\"shape\":[1],\"data_offsets\":[0,2]}}", 2, "dtype is missing");
    refuse_header("{\"a\":{\"dtype\":\"F16\",\"data_offsets\":[0,2]}}", 2, "shape is missing");
    refuse_header("{\"a\":{\"dtype\":\"F16\",\"shape\":[1]}}", 2, "data_offsets is missing");
}

static void names_that_break_a_sentence_are_refused(void **state)
{
    (void)state;
    struct buf header = BUF_INIT;
    buf_adds(&header, "{\"");
    for (int i = 0; i < 1001; i++)
        buf_addc(&header, 'a');
    buf_adds(&header, "\":1}");
    refuse_header("{\"a\\nb\":1}", 0, "name is empty, too long or has control characters");
    refuse_header("{\"\":1}", 0, "name is empty, too long");
    refuse_header(header.s, 0, "name is empty, too long");
    memmove(header.s + 2, header.s + 3, header.len - 2);
    refuse_header(header.s, 0, "not an object with dtype");
    buf_release(&header);
}

/* Cuts a good file at every length: each must be refused, and none may crash. */
static void no_cut_of_a_good_file_opens(void **state)
{
    (void)state;
    write_one("{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
              "\"b\":{\"dtype\":\"F32\",\"shape\":[1,1],\"data_offsets\":[4,8]}}",
              8);
    struct buf whole = BUF_INIT;
    char *path = xasprintf("%s/model.safetensors", dir);
    assert_int_equal(read_file(path, 1 << 20, &whole, &err), 0);
    for (size_t len = 0; len < whole.len; len++) {
        fixture_file(dir, "model.safetensors", whole.s, len);
        refused("model.safetensors");
    }
    fixture_file(dir, "model.safetensors", whole.s, whole.len);
    struct safetensors *s = safetensors_open(dir, &err);
    assert_non_null(s);
    safetensors_close(s);
    free(path);
    buf_release(&whole);
}

#define TENSOR(name) "{\"" name "\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}"

/* Two shards, "a" in one and "b" in two, and an index with this weight_map. */
/* Pages of memory that the program has. */
static long resident(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long size = 0, pages = 0;
    if (!f || fscanf(f, "%ld %ld", &size, &pages) != 2)
        fail_msg("/proc/self/statm cannot be read");
    fclose(f);
    return pages;
}

static void what_was_read_may_be_forgotten_and_read_again(void **state)
{
    (void)state;
    enum { BYTES = 32 << 20, PAGE = 4096 };
    char *header = xasprintf("{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]},"
                             "\"b\":{\"dtype\":\"F32\",\"shape\":[%d],"
                             "\"data_offsets\":[12,%d]}}",
                             BYTES / 4, BYTES + 12);
    char *data = xmalloc(BYTES + 12);
    memset(data, 7, BYTES + 12);
    fixture_safetensors(dir, "model.safetensors", header, data, BYTES + 12);
    struct safetensors *s = safetensors_open(dir, &err);
    assert_non_null(s);
    const struct st_tensor *t = safetensors_find(s, "b");
    long before = resident();
    assert_memory_equal(t->data, data + 12, BYTES);
    long read = resident();
    safetensors_forget(safetensors_find(s, "a"));
    safetensors_forget(t);
    long after = resident();
    assert_true(read - before > BYTES / PAGE * 9 / 10);
    assert_true(after - before < BYTES / PAGE / 10);
    assert_memory_equal(t->data, data + 12, BYTES);
    safetensors_close(s);
    free(data);
    free(header);
}

static void write_shards(const char *map)
{
    fixture_safetensors(dir, "one.safetensors", TENSOR("a"), "AA", 2);
    fixture_safetensors(dir, "two.safetensors", TENSOR("b"), "BB", 2);
    char *index = xasprintf("{\"metadata\": {},\n\"weight_map\": %s}", map);
    fixture_text(dir, "model.safetensors.index.json", index);
    free(index);
}

static void refuse_map(const char *map, const char *words)
{
    write_shards(map);
    refused(words);
}

static void shards_open_as_one(void **state)
{
    (void)state;
    write_shards("{\"b\": \"two.safetensors\", \"a\": \"one.safetensors\"}");
    struct safetensors *s = safetensors_open(dir, &err);
    assert_non_null(s);
    assert_int_equal(safetensors_count(s), 2);
    assert_memory_equal(safetensors_find(s, "a")->data, "AA", 2);
    assert_memory_equal(safetensors_find(s, "b")->data, "BB", 2);
    assert_non_null(strstr(safetensors_find(s, "b")->file, "/two.safetensors"));
    safetensors_close(s);
}

static void an_index_that_lies_is_refused(void **state)
{
    (void)state;
    refuse_map("{\"a\": \"one.safetensors\", \"b\": \"three.safetensors\"}",
               "three.safetensors: No such file");
    refuse_map("{\"a\": \"one.safetensors\", \"b\": \"one.safetensors\"}",
               "tensor 'b' is not in one.safetensors, nor in another shard");
    refuse_map("{\"a\": \"two.safetensors\", \"b\": \"one.safetensors\"}",
               "tensor 'a' is not in two.safetensors but in one.safetensors");
    fixture_safetensors(dir, "two.safetensors", TENSOR("c"), "CC", 2);
    refused("tensor 'a' is not in");
    refuse_map("{\"a\": \"one.safetensors\", \"c\": \"two.safetensors\"}",
               "tensor 'c' is not in two.safetensors, nor");
}

static void a_tensor_outside_the_index_is_refused(void **state)
{
    (void)state;
    write_shards("{\"a\": \"one.safetensors\"}");
    fixture_safetensors(dir, "one.safetensors",
                        "{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]},"
                        "\"x\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[2,4]}}",
                        "AAXX", 4);
    refused("tensor 'x' of one.safetensors is not in the index");
}

static void a_name_in_two_shards_is_refused(void **state)
{
    (void)state;
    write_shards("{\"a\": \"one.safetensors\", \"b\": \"two.safetensors\"}");
    fixture_safetensors(dir, "two.safetensors",
                        "{\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]},"
                        "\"b\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[2,4]}}",
                        "AABB", 4);
    refused("tensor 'a' is also in");
}

static void a_shard_elsewhere_is_refused(void **state)
{
    (void)state;
    refuse_map("{\"a\": \"../one.safetensors\"}", "a is \"../one.safetensors\"; a file of the");
    refuse_map("{\"a\": \"/etc/one.safetensors\"}", "a file of the folder");
    refuse_map("{\"a\": \"sub/one.safetensors\"}", "a file of the folder");
    refuse_map("{\"a\": \"..safetensors\"}", "a file of the folder");
    refuse_map("{\"a\": \".safetensors\"}", "a file of the folder");
    refuse_map("{\"a\": \"pytorch_model-one.bin\"}", "a file of the folder");
    refuse_map("{\"a\": \"\"}", "a file of the folder");
    refuse_map("{\"a\\u001b\": 1}", "has control characters");
    refuse_map("{\"a\": 1}", "a is 1; a file of the folder");
}

static void a_broken_index_is_refused(void **state)
{
    (void)state;
    refuse_map("{}", "weight_map is empty");
    refuse_map("[]", "weight_map is []; an object");
    refuse_map("{\"a\": }", "index.json:2: not valid JSON");
    refuse_map("{\"a\": \"one.safetensors\", \"a\": \"one.safetensors\"}", "duplicate object key");
    fixture_text(dir, "model.safetensors.index.json", "{}");
    refused("weight_map is missing");
}

static void a_broken_shard_is_named(void **state)
{
    (void)state;
    write_shards("{\"a\": \"one.safetensors\", \"b\": \"two.safetensors\"}");
    fixture_safetensors(dir, "two.safetensors", TENSOR("b"), "B", 1);
    refused("/two.safetensors: tensor 'b': data_offsets is [0,2]; the file has only 1 bytes");
}

static void hash_of(char hex[33])
{
    struct safetensors *s = safetensors_open(dir, &err);
    if (!s)
        fail_msg("%s", err.s);
    struct hash *h = hash_new();
    safetensors_hash(s, h);
    hash_hex(h, hex);
    hash_free(h);
    safetensors_close(s);
}

static void a_hash_of_one(const char *header, const char *data, size_t len, char hex[33])
{
    fixture_safetensors(dir, "model.safetensors", header, data, len);
    hash_of(hex);
}

static void the_hash_does_not_depend_on_the_files(void **state)
{
    (void)state;
    char shards[33], one[33];
    write_shards("{\"a\": \"one.safetensors\", \"b\": \"two.safetensors\"}");
    hash_of(shards);
    // The same tensors in one file, the other way round, with other metadata.
    a_hash_of_one("{\"__metadata__\":{\"x\":\"y\"},"
                  "\"b\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]},"
                  "\"a\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[2,4]}}",
                  "BBAA", 4, one);
    assert_string_equal(shards, one);
}

static void the_hash_sees_every_difference(void **state)
{
    (void)state;
    const char *headers[] = {
        "{\"a\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,8]}}",
        "{\"b\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F16\",\"shape\":[1,4],\"data_offsets\":[0,8]}}",
        "{\"a\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[0,4]},"
        "\"b\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[4,8]}}",
    };
    enum { N = ARRAY_LEN(headers) };
    char hex[N + 2][33];
    for (size_t i = 0; i < N; i++)
        a_hash_of_one(headers[i], "01234567", 8, hex[i]);
    a_hash_of_one(headers[0], "01234568", 8, hex[N]);
    a_hash_of_one(headers[0], "11234567", 8, hex[N + 1]);
    for (size_t i = 0; i < N + 2; i++)
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(hex[i], hex[j]);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_opens_with_its_bytes),
        TEST(a_file_without_tensors_opens),
        TEST(a_folder_without_weights_is_named),
        TEST(a_truncated_file_is_refused),
        TEST(an_oversized_header_is_refused),
        TEST(a_header_that_is_no_object_is_refused),
        TEST(a_name_that_stands_twice_is_refused),
        TEST(overlapping_tensors_are_refused),
        TEST(holes_are_refused),
        TEST(lying_offsets_are_refused),
        TEST(absurd_shapes_are_refused),
        TEST(other_dtypes_are_refused_by_name),
        TEST(names_that_break_a_sentence_are_refused),
        TEST(no_cut_of_a_good_file_opens),
        TEST(what_was_read_may_be_forgotten_and_read_again),
        TEST(shards_open_as_one),
        TEST(an_index_that_lies_is_refused),
        TEST(a_tensor_outside_the_index_is_refused),
        TEST(a_name_in_two_shards_is_refused),
        TEST(a_shard_elsewhere_is_refused),
        TEST(a_broken_index_is_refused),
        TEST(a_broken_shard_is_named),
        TEST(the_hash_does_not_depend_on_the_files),
        TEST(the_hash_sees_every_difference),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
