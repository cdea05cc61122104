/*
 * test_torch_words.c: the sentences about GPUs that cannot be used and memory that is missing, from
 * facts that this machine need not have.
 */
#include "torch_words.h"
#include "torch_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct buf err = BUF_INIT;

static void refused(struct gpu_facts f, int index, const char *sentence)
{
    assert_int_equal(gpu_refuse(&f, "cuda:3", index, "2.11.0", &err), -1);
    assert_string_equal(err.s, sentence);
}

static void a_gpu_that_is_there_can_be_used(void **state)
{
    (void)state;
    struct gpu_facts f = { .built = true, .count = 4, .driver = 13000, .runtime = 13000 };
    assert_int_equal(gpu_refuse(&f, "cuda:3", 3, "2.11.0", &err), 0);
}

static void each_reason_has_its_sentence(void **state)
{
    (void)state;
    struct gpu_facts none = { 0 };
    refused(none, 0,
            "device 'cuda:3' cannot be used: libtorch 2.11.0 was built without CUDA, and there is "
            "cpu alone");
    struct gpu_facts f = { .built = true, .code = GPU_NONE, .text = "no CUDA-capable device" };
    refused(f, 0,
            "device 'cuda:3' cannot be used: there is no GPU, or CUDA_VISIBLE_DEVICES hides it");
    f.code = GPU_FINE;
    refused(f, 0,
            "device 'cuda:3' cannot be used: there is no GPU, or CUDA_VISIBLE_DEVICES hides it");
    f.count = 1;
    refused(f, 3, "device 'cuda:3' cannot be used: there is 1 GPU, cuda:0");
    f.count = 2;
    refused(f, 3, "device 'cuda:3' cannot be used: there are 2 GPUs, cuda:0 to cuda:1");
    refused(f, 2, "device 'cuda:3' cannot be used: there are 2 GPUs, cuda:0 to cuda:1");
    f = (struct gpu_facts){ .built = true, .code = 999, .text = "unknown error", .count = 9 };
    refused(f, 0, "device 'cuda:3' cannot be used: CUDA says: unknown error");
}

static void an_old_driver_is_told_with_both_versions(void **state)
{
    (void)state;
    struct gpu_facts f = {
        .built = true, .code = GPU_OLD_DRIVER, .driver = 12020, .runtime = 13000
    };
    refused(f, 0,
            "device 'cuda:3' cannot be used: the GPU's driver is too old: it knows CUDA 12.2, and "
            "libtorch 2.11.0 needs 13.0");
    f.driver = 0;
    refused(f, 0, "device 'cuda:3' cannot be used: there is no driver for a GPU");
}

static void a_gpu_that_libtorch_was_not_built_for_is_told_by_its_architecture(void **state)
{
    (void)state;
    static const char why[] =
        "CUDA error: no kernel image is available for execution on the device";
    assert_int_equal(device_refuse("cuda:0", "float32", 52, "2.11.0", why, &err), -1);
    assert_string_equal(
        err.s, "libtorch 2.11.0 was not built for 'cuda:0', a GPU of the architecture sm_52");
    assert_int_equal(device_refuse("cpu", "float16", 0, "1.13.0", "not implemented", &err), -1);
    assert_string_equal(err.s, "this libtorch cannot compute in float16 on 'cpu': not implemented");
}

static void becomes(const char *text, const char *sentence)
{
    struct buf out = BUF_INIT;
    assert_true(means_out_of_memory(text));
    add_out_of_memory(text, &out);
    assert_string_equal(out.s, sentence);
    assert_true(says_out_of_memory(out.s));
    buf_release(&out);
}

static void missing_memory_is_told_by_how_much(void **state)
{
    (void)state;
    becomes(
        "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.18 GiB "
        "of which 1.25 GiB is free. See documentation",
        "out of memory: 2.50 GiB more did not fit");
    becomes(
        "The following operation failed in the TorchScript interpreter.\nTraceback\nRuntimeError: "
        "[enforce fail at alloc_cpu.cpp:66] . DefaultCPUAllocator: can't allocate memory: you "
        "tried to allocate 1032192 bytes. Error code 12 (Cannot allocate memory)\n\n",
        "out of memory: 1032192 bytes more did not fit");
    becomes("Tried to allocate 5.00 GiB.\nCUDA out of memory",
            "out of memory: 5.00 GiB more did not fit");
    becomes("std::bad_alloc", "out of memory");
    becomes("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "out of memory");
    becomes("CUDA error: out of memory", "out of memory");
    assert_false(means_out_of_memory("CUDA error: an illegal memory access was encountered"));
    assert_false(means_out_of_memory("mat1 and mat2 shapes cannot be multiplied"));
}

/* ---- a GPU's memory ---- */

static const char *const memory_names[] = { "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
                                            "PYTORCH_HIP_ALLOC_CONF" };

/* What the environment asks for after memory_ask(), by the first name; all of it is then gone. */
static char *asked(int major, int minor)
{
    memory_ask(major, minor);
    char *value = xstrdup(getenv(memory_names[0]) ? getenv(memory_names[0]) : "nothing");
    for (size_t i = 0; i < ARRAY_LEN(memory_names); i++)
        unsetenv(memory_names[i]);
    return value;
}

static void asks_for(int major, int minor, const char *want)
{
    char *value = asked(major, minor);
    assert_string_equal(value, want);
    free(value);
}

static void memory_that_grows_is_asked_for_where_the_user_asks_for_nothing(void **state)
{
    (void)state;
    free(asked(0, 0));
    asks_for(2, 9, "expandable_segments:True");
    asks_for(2, 11, "expandable_segments:True");
    asks_for(3, 0, "expandable_segments:True");
    // These would not read it.
    asks_for(2, 8, "nothing");
    asks_for(1, 13, "nothing");
    // What the user says stays, by whatever name, an empty word too.
    setenv(memory_names[0], "backend:native", 1);
    asks_for(2, 11, "backend:native");
    setenv(memory_names[0], "", 1);
    asks_for(2, 11, "");
    for (size_t i = 1; i < ARRAY_LEN(memory_names); i++) {
        setenv(memory_names[i], "", 1);
        asks_for(2, 11, "nothing");
    }
}

static void rows_of_pairs_come_in_few_sizes(void **state)
{
    (void)state;
    for (int64_t n = 0; n < 200000; n += n < 5000 ? 1 : 37) {
        int64_t rows = memory_rows(n);
        assert_true(rows >= n && (rows - n) * 32 <= n);
        assert_true(memory_rows(rows) == rows && memory_rows(n + 1) >= rows);
    }
    // What topk takes of whole batches stays as it is.
    assert_int_equal(memory_rows(8192 * 4), 8192 * 4);
    assert_int_equal(memory_rows(8192 * 8), 8192 * 8);
    assert_int_equal(memory_rows(60), 60);
    // A tenth around 65536: by 1024 below, by 2048 above.
    int sizes = 0;
    for (int64_t n = 62000; n < 69000; n++)
        sizes += memory_rows(n) != memory_rows(n - 1);
    assert_int_equal(sizes, 3 + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gpu_that_is_there_can_be_used),
        cmocka_unit_test(each_reason_has_its_sentence),
        cmocka_unit_test(an_old_driver_is_told_with_both_versions),
        cmocka_unit_test(a_gpu_that_libtorch_was_not_built_for_is_told_by_its_architecture),
        cmocka_unit_test(missing_memory_is_told_by_how_much),
        cmocka_unit_test(memory_that_grows_is_asked_for_where_the_user_asks_for_nothing),
        cmocka_unit_test(rows_of_pairs_come_in_few_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
