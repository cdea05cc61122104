/*
 * test_run_memory.c: how much of a GPU a model needs, and what is said where it does not fit.
 */
#include "run_memory.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct model_config olmoe(void)
{
    return (struct model_config){ .name = "OLMoE-1B-7B",
                                  .family = FAMILY_OLMOE,
                                  .layers = 16,
                                  .hidden = 2048,
                                  .heads = 16,
                                  .kv_heads = 16,
                                  .head_dim = 128,
                                  .vocab = 50304,
                                  .context = 4096,
                                  .experts = 64,
                                  .top_k = 8,
                                  .expert_ffn = 1024 };
}

static void the_weights_are_those_of_the_files(void **state)
{
    (void)state;
    struct model_config c = olmoe();
    // What allenai/OLMoE-1B-7B-0125 has: 6919161856 parameters.
    assert_true(memory_needed(&c, DTYPE_BF16, 0).weights == 2 * (int64_t)6919161856);
    assert_true(memory_needed(&c, DTYPE_F32, 0).weights == 4 * (int64_t)6919161856);
}

static void a_text_needs_its_keys_and_values_and_its_logits(void **state)
{
    (void)state;
    struct model_config c = olmoe();
    int64_t one = memory_needed(&c, DTYPE_BF16, 1).text;
    // Keys and values: 2 x 16 layers x 2048 x 2 bytes. Logits: 50304 x 4 bytes.
    assert_true(one >= 131072 + 201216 && one < 2 * (131072 + 201216));
    assert_true(memory_needed(&c, DTYPE_BF16, 1000).text == 1000 * one);
}

static void what_does_not_fit_is_told_in_bytes(void **state)
{
    (void)state;
    struct model_config c = olmoe();
    struct buf err = BUF_INIT;
    struct memory_needed n = memory_needed(&c, DTYPE_F32, 1024);
    memory_refuse(&c, DTYPE_F32, &n, "cuda:1", 20000000000, 25400000000, &err);
    const char *rest = strstr(err.s, " in float32 and about ");
    assert_true(strncmp(err.s, "out of memory: OLMoE-1B-7B needs 27.7 GB in float32", 51) == 0);
    assert_non_null(rest);
    assert_non_null(strstr(rest,
                           "for one text, and of the 25.4 GB of cuda:1 20.0 GB are free; with "
                           "--dtype bfloat16 it fits"));
    memory_refuse(&c, DTYPE_F32, &n, "cuda:1", 50000000, 25400000000, &err);
    assert_null(strstr(err.s, "bfloat16"));
    assert_non_null(strstr(err.s, "of cuda:1 50.0 MB are free"));
    memory_refuse(&c, DTYPE_BF16, &n, "cuda:1", 20000000000, 25400000000, &err);
    assert_null(strstr(err.s, "it fits"));
    buf_release(&err);
}

/* A device with so many bytes free; below 0 it does not say. */
static int64_t bytes_free;
static bool fake_memory(struct device device, int64_t *free_bytes, int64_t *total)
{
    assert_int_equal(device.index, 1);
    *free_bytes = bytes_free;
    *total = 80000000000;
    return bytes_free >= 0;
}

static void what_fits_is_not_refused_nor_what_is_not_known_to_fit(void **state)
{
    (void)state;
    const struct engine engine = { .device_memory = fake_memory };
    const struct device device = { DEVICE_CUDA, 1 };
    struct model_config c = olmoe();
    struct memory_needed n = memory_needed(&c, DTYPE_BF16, 100);
    struct buf err = BUF_INIT;
    bytes_free = n.weights + n.text;
    assert_int_equal(memory_check(&engine, device, "cuda:1", &c, DTYPE_BF16, 100, &err), 0);
    bytes_free--;
    assert_int_equal(memory_check(&engine, device, "cuda:1", &c, DTYPE_BF16, 100, &err), -1);
    assert_non_null(strstr(err.s, "of the 80.0 GB of cuda:1 13.9 GB are free"));
    bytes_free = -1;
    assert_int_equal(memory_check(&engine, device, "cuda:1", &c, DTYPE_BF16, 100, &err), 0);
    buf_release(&err);
}

static void training_needs_what_its_optimiser_keeps(void **state)
{
    (void)state;
    const struct engine engine = { .device_memory = fake_memory };
    const struct device device = { DEVICE_CUDA, 1 };
    struct training t = { .dtype = DTYPE_BF16, .optimiser = OPTIMISER_ADAMW };
    struct model_config c = olmoe();
    struct buf err = BUF_INIT;
    bytes_free = 79000000000;
    assert_int_equal(memory_check_training(&engine, device, "cuda:1", &c, &t, &err), -1);
    assert_string_equal(err.s,
                        "out of memory: OLMoE-1B-7B needs at least 138.4 GB to be trained in "
                        "bfloat16 with adamw, and of the 80.0 GB of cuda:1 79.0 GB are free; "
                        "dtype = \"bfloat16\" and optimiser = \"adamw8bit\" need less");
    t.optimiser = OPTIMISER_ADAMW8BIT;
    assert_int_equal(memory_check_training(&engine, device, "cuda:1", &c, &t, &err), 0);
    assert_in_range(memory_trained(&c, &t), 55500000000, 55600000000);
    bytes_free = 55000000000;
    buf_reset(&err);
    assert_int_equal(memory_check_training(&engine, device, "cuda:1", &c, &t, &err), -1);
    assert_null(strstr(err.s, "need less"));
    // Of the routers alone: the weights are there, and little else.
    t.only = TRAIN_ROUTER;
    assert_int_equal(memory_check_training(&engine, device, "cuda:1", &c, &t, &err), 0);
    buf_release(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_weights_are_those_of_the_files),
        cmocka_unit_test(a_text_needs_its_keys_and_values_and_its_logits),
        cmocka_unit_test(what_does_not_fit_is_told_in_bytes),
        cmocka_unit_test(what_fits_is_not_refused_nor_what_is_not_known_to_fit),
        cmocka_unit_test(training_needs_what_its_optimiser_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
