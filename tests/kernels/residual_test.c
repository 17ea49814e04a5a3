/* SPDX-License-Identifier: MIT */
#include "kernels/residual/residual.h"

#include <string.h>

#include "tests/kernels/check.h"

static void compare(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {8};
    for (int round = 0; round < 400; round++) {
        size_t n = check_between(&rng, 0, 300);
        float *x = check_floats(&rng, n, (enum check_kind)(round % CHECK_KINDS));
        float *got = check_floats(&rng, n, (enum check_kind)(round / 7 % CHECK_KINDS));
        float *want = check_alloc(n * sizeof *want);
        memcpy(want, got, n * sizeof *want);
        k->residual_add(x, n, got);
        ref->residual_add(x, n, want);
        check_same_floats(got, want, n, k->isa_name);
        free(x);
        free(got);
        free(want);
    }
}

static void every_variant_gives_the_bits_of_ref(void **state)
{
    (void)state;
    check_each_isa(compare);
}

static void the_sum_lands_in_the_second_operand(void **state)
{
    (void)state;
    const float x[2] = {1.0f, 0x1p+24f};
    float y[2] = {2.0f, 1.0f};
    residual_add_ref(x, 2, y);
    assert_true(y[0] == 3.0f && y[1] == 0x1p+24f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sum_lands_in_the_second_operand),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
