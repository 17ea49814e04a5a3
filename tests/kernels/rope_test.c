/* SPDX-License-Identifier: MIT */
#include "kernels/rope/rope.h"

#include <math.h>
#include <string.h>

#include "tests/kernels/check.h"

static void table_is_within_an_ulp_of_libm_up_to_131072_positions(void **state)
{
    (void)state;
    enum { D = 128, H = D / 2, P0 = 131000, P1 = 131072 };
    float *c = check_alloc((size_t)P1 * H * sizeof *c);
    float *s = check_alloc((size_t)P1 * H * sizeof *s);
    double inv_freq[H];
    rope_inv_freq(D, 500000.0, inv_freq);
    rope_table_fill(inv_freq, H, 1.0, 0, 40, c, s);
    rope_table_fill(inv_freq, H, 1.0, P0, P1, c, s);
    for (size_t p = 0; p < P1; p = p == 39 ? P0 : p + 1) {
        for (size_t i = 0; i < H; i++) {
            double a = (double)p * pow(500000.0, -2.0 * (double)i / D);
            assert_true(fabs((double)c[p * H + i] - cos(a)) <= 0x1.01p-25 + 1e-10);
            assert_true(fabs((double)s[p * H + i] - sin(a)) <= 0x1.01p-25 + 1e-10);
        }
    }
    free(c);
    free(s);
}

static void the_factor_scales_the_table(void **state)
{
    (void)state;
    const double inv_freq[2] = {1.0, 0.25};
    float c[6], s[6];
    rope_table_fill(inv_freq, 2, 1.5, 0, 3, c, s);
    assert_true(c[0] == 1.5f && s[0] == 0.0f);
    assert_true(fabs((double)c[5] - 1.5 * cos(0.5)) < 1e-7);
    assert_true(fabs((double)s[5] - 1.5 * sin(0.5)) < 1e-7);
}

static void rotation_turns_the_pair_of_both_halves(void **state)
{
    (void)state;
    float x[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    const float c[2] = {0.0f, 0.5f}, s[2] = {1.0f, 0.25f};
    rope_rotate_ref(x, 1, 4, c, s);
    const float want[4] = {-3.0f, 0.0f, 1.0f, 2.5f};
    assert_memory_equal(x, want, sizeof want);
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {6};
    for (int round = 0; round < 400; round++) {
        size_t h = check_between(&rng, 1, 128);
        size_t heads = check_between(&rng, 1, 6);
        size_t n = heads * 2 * h;
        float *got = check_floats(&rng, n, (enum check_kind)(round % CHECK_KINDS));
        float *want = check_alloc(n * sizeof *want);
        float *c = check_floats(&rng, h, CHECK_NORMAL);
        float *s = check_floats(&rng, h, CHECK_NORMAL);
        memcpy(want, got, n * sizeof *want);
        k->rope_rotate(got, heads, 2 * h, c, s);
        ref->rope_rotate(want, heads, 2 * h, c, s);
        check_same_floats(got, want, n, k->isa_name);
        free(got);
        free(want);
        free(c);
        free(s);
    }
}

static void every_variant_gives_the_bits_of_ref(void **state)
{
    (void)state;
    check_each_isa(compare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_within_an_ulp_of_libm_up_to_131072_positions),
        cmocka_unit_test(the_factor_scales_the_table),
        cmocka_unit_test(rotation_turns_the_pair_of_both_halves),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
