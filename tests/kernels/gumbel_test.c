/* SPDX-License-Identifier: MIT */
#include "kernels/gumbel/gumbel.h"

#include <math.h>
#include <string.h>

#include "kernels/philox/philox.h"
#include "tests/kernels/check.h"

static double noise_of(uint32_t word)
{
    return -log(-log1p(-((word >> 1) + 0.5) * 0x1p-31));
}

static void noise_is_minus_log_of_minus_log_of_a_uniform_number(void **state)
{
    (void)state;
    struct check_rng rng = {5};
    for (int i = 0; i < 300000; i++) {
        uint32_t word = check_random(&rng) >> i % 32;
        word = i % 2 == 0 ? word : ~word;
        double want = noise_of(word);
        double got = (double)gumbel_from(word);
        if (!(fabs(got - want) <= 6e-7 * (1.0 + fabs(want))))
            fail_msg("word %u: %a, not %a", word, got, want);
    }
}

static void the_smallest_and_the_largest_word_give_finite_noise(void **state)
{
    (void)state;
    assert_true(gumbel_from(0) > 22.0f && gumbel_from(0) < 22.3f);
    assert_true(gumbel_from(UINT32_MAX) < -3.0f && gumbel_from(UINT32_MAX) > -3.2f);
    for (uint32_t near = 0; near < 100; near++) { /* where the two forms of log meet */
        uint32_t word = 2U * (GUMBEL_LINEAR_BELOW - 50 + near);
        assert_true(fabs((double)gumbel_from(word) - noise_of(word)) < 1e-6);
        assert_true(gumbel_from(word) >= gumbel_from(word + 2) - 1e-6f);
    }
}

static void a_token_takes_its_word_of_the_block_that_the_formula_names(void **state)
{
    (void)state;
    const uint32_t key[2] = {0x89abcdef, 0x01234567};
    const struct gumbel g = {.seed = 0x0123456789abcdef, .index = 77, .scale = 0.5f};
    static const uint32_t IDS[][3] = {{0, 0, 0},    {31, 31, 0},  {32, 0, 1},        {127, 31, 3},
                                      {128, 32, 0}, {300, 76, 1}, {128255, 32063, 3}};
    for (size_t i = 0; i < sizeof IDS / sizeof *IDS; i++) {
        struct philox_block b = philox_rounds((struct philox_block){{77, 1, IDS[i][1], 0}}, key);
        assert_true(gumbel_at(&g, IDS[i][0]) == 0.5f * gumbel_from(b.word[IDS[i][2]]));
    }
}

/* Mean 0.57722 and variance pi^2 / 6; the limits are five standard errors. */
static void mean_and_variance_are_those_of_the_distribution(void **state)
{
    (void)state;
    enum { N = 200000 };
    double sum = 0;
    double squares = 0;
    for (uint32_t i = 0; i < N; i++) {
        const struct gumbel g = {.seed = 9, .index = i / 1000, .scale = 1.0f};
        double x = (double)gumbel_at(&g, i % 1000) - 0.57721566;
        sum += x;
        squares += x * x;
    }
    assert_true(fabs(sum / N) < 5 * sqrt(1.645 / N));
    assert_true(fabs(squares / N - 1.644934) < 5 * sqrt((5.4 - 1) * 1.645 * 1.645 / N));
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {11};
    for (int round = 0; round < check_rounds(300); round++) {
        size_t first = check_between(&rng, 0, round % 2 == 0 ? 300 : 200000);
        size_t n = check_between(&rng, 0, round % 3 == 0 ? 1000 : 100);
        const struct gumbel g = {.seed = (uint64_t)check_random(&rng) << 32 | check_random(&rng),
                                 .index = check_random(&rng),
                                 .scale = fabsf(check_float(&rng, CHECK_NORMAL))};
        float *got = check_alloc(n * sizeof *got);
        float *want = check_alloc(n * sizeof *want);
        k->gumbel_noise(&g, first, n, got);
        ref->gumbel_noise(&g, first, n, want);
        check_same_floats(got, want, n, k->isa_name);
        free(got);
        free(want);
    }
}

static void every_variant_gives_the_bits_of_ref_from_any_token_on(void **state)
{
    (void)state;
    check_each_isa(compare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_is_minus_log_of_minus_log_of_a_uniform_number),
        cmocka_unit_test(the_smallest_and_the_largest_word_give_finite_noise),
        cmocka_unit_test(a_token_takes_its_word_of_the_block_that_the_formula_names),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref_from_any_token_on),
        cmocka_unit_test(mean_and_variance_are_those_of_the_distribution),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
