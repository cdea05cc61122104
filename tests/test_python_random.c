/*
 * test_python_random.c: against what python3 (3.11.7) printed for the same seeds.
 */
#include "recipe/python_random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void words_and_bits_are_python_s(void **state)
{
    (void)state;
    // Three of getrandbits(32), then getrandbits(1), (5), (13), (31).
    static const struct {
        uint32_t seed, words[3], bits[4];
    } known[] = {
        { 0, { 3626764237, 1654615998, 3255389356 }, { 1, 13, 331, 556019485 } },
        { 1, { 577090037, 2444712010, 3639700191 }, { 1, 24, 516, 547756574 } },
        { 42, { 2746317213, 478163327, 107420369 }, { 1, 8, 2006, 479341423 } },
        { 2147483647, { 1364760256, 4023463762, 3510513048 }, { 0, 6, 2378, 1898120061 } },
        { 4294967295, { 2728839433, 2661025012, 872737089 }, { 0, 19, 4279, 625638275 } },
    };
    const int bits[] = { 1, 5, 13, 31 };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        struct python_random r;
        python_random_init(&r, known[i].seed);
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(python_random_bits(&r, 32), known[i].words[k]);
        for (size_t k = 0; k < 4; k++)
            assert_int_equal(python_random_bits(&r, bits[k]), known[i].bits[k]);
    }
}

static void the_state_is_refilled(void **state)
{
    (void)state;
    struct python_random r;
    python_random_init(&r, 7);
    for (int i = 0; i < 1000; i++)
        python_random_bits(&r, 32);
    assert_int_equal(python_random_bits(&r, 32), 3192093819);
}

static void the_shots_of_gsm8k_are_those_of_the_protocol(void **state)
{
    (void)state;
    static const uint32_t shots[3][5] = { { 6374, 3610, 957, 61, 742 },
                                          { 7462, 6610, 4769, 286, 5501 },
                                          { 5677, 687, 806, 6279, 2905 } };
    struct python_random r;
    uint32_t drawn[5];
    python_random_init(&r, 1234);
    for (size_t doc = 0; doc < 3; doc++) {
        python_random_sample(&r, 7473, 5, drawn);
        assert_memory_equal(drawn, shots[doc], sizeof(drawn));
    }
}

static void a_sample_is_python_s_on_both_sides_of_the_rule(void **state)
{
    (void)state;
    // A list is used up to n = 21 for k = 5, up to 85 for k = 6 to 21, up to 277 for k = 22.
    static const struct {
        uint32_t seed, n, k, out[22];
    } known[] = {
        { 1, 10, 10, { 2, 1, 4, 0, 3, 5, 7, 9, 8, 6 } },
        { 2, 21, 5, { 1, 2, 19, 11, 5 } },
        { 2, 22, 5, { 1, 2, 11, 5, 21 } },
        { 5, 64, 3, { 32, 45, 3 } },
        { 5, 1, 1, { 0 } },
        { 6, 16, 1, { 2 } },
        { 11, 85, 21, { 57, 71, 59, 84, 65, 75, 24, 23, 80, 60, 77,
                        12, 81, 38, 18, 11, 68, 5,  50, 72, 20 } },
        { 11, 86, 21, { 57, 71, 59, 65, 75, 24, 23, 60, 80, 78, 12,
                        38, 18, 11, 68, 81, 5,  76, 50, 83, 20 } },
        { 11, 277, 21, { 231, 238, 260, 97, 94,  262, 243, 95,  48, 228, 155,
                         72,  46,  275, 21, 202, 80,  7,   270, 32, 30 } },
        { 11, 277, 22, { 231, 238, 276, 260, 97,  94,  262, 243, 95, 48, 228,
                         155, 72,  46,  21,  202, 274, 80,  7,   32, 30, 18 } },
        { 11, 278, 22, { 231, 238, 260, 97, 94,  262, 243, 95,  48, 228, 155,
                         72,  46,  275, 21, 202, 80,  7,   270, 32, 30,  18 } },
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        struct python_random r;
        uint32_t drawn[22];
        python_random_init(&r, known[i].seed);
        python_random_sample(&r, known[i].n, known[i].k, drawn);
        assert_memory_equal(drawn, known[i].out, known[i].k * sizeof(*drawn));
    }
}

static void many_samples_of_one_generator_are_python_s(void **state)
{
    (void)state;
    // sum: s = (s * 31 + x) mod 2^32 over all numbers of `times` samples.
    static const struct {
        uint32_t seed, n, k, times, sum;
    } known[] = {
        { 1234, 7473, 5, 1319, 3964512464 }, { 7, 100, 30, 50, 1415054160 },
        { 8, 1000, 200, 10, 2732336366 },    { 9, 5, 5, 100, 3610163654 },
        { 10, 1048576, 6, 300, 168222191 },
    };
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        struct python_random r;
        uint32_t drawn[200], sum = 0;
        python_random_init(&r, known[i].seed);
        for (uint32_t t = 0; t < known[i].times; t++) {
            python_random_sample(&r, known[i].n, known[i].k, drawn);
            for (uint32_t k = 0; k < known[i].k; k++)
                sum = sum * 31 + drawn[k];
        }
        assert_int_equal(sum, known[i].sum);
    }
}

static void nothing_of_nothing_is_a_sample(void **state)
{
    (void)state;
    struct python_random r, untouched;
    python_random_init(&r, 3);
    untouched = r;
    python_random_sample(&r, 0, 0, NULL);
    python_random_sample(&r, 5, 0, NULL);
    assert_memory_equal(&r, &untouched, sizeof(r));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_and_bits_are_python_s),
        cmocka_unit_test(the_state_is_refilled),
        cmocka_unit_test(the_shots_of_gsm8k_are_those_of_the_protocol),
        cmocka_unit_test(a_sample_is_python_s_on_both_sides_of_the_rule),
        cmocka_unit_test(many_samples_of_one_generator_are_python_s),
        cmocka_unit_test(nothing_of_nothing_is_a_sample),
    };
    return cmocka_run_group_tests_name("python_random", tests, NULL, NULL);
}
