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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_weights_are_those_of_the_files),
        cmocka_unit_test(a_text_needs_its_keys_and_values_and_its_logits),
        cmocka_unit_test(what_does_not_fit_is_told_in_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
