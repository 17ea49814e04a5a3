/* SPDX-License-Identifier: MIT */
#include "kernels/glu/glu.h"

#include <math.h>

#include "tests/kernels/check.h"

static void negative_gates_give_zero_and_positive_ones_their_square(void **state)
{
    (void)state;
    const float gate[4] = {3.0f, -3.0f, -0.0f, NAN};
    const float up[4] = {2.0f, -2.0f, -1.0f, 5.0f};
    float y[4];
    glu_relu2_ref(gate, up, 4, y);
    assert_true(y[0] == 18.0f);
    assert_true(y[1] == 0.0f && signbit(y[1]));
    assert_true(y[2] == 0.0f && signbit(y[2]));
    assert_true(y[3] == 0.0f && !signbit(y[3]));
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {7};
    for (int round = 0; round < 400; round++) {
        size_t n = check_between(&rng, 0, 300);
        enum check_kind kind = (enum check_kind)(round % CHECK_KINDS);
        float *gate = check_floats(&rng, n, kind);
        float *up = check_floats(&rng, n, (enum check_kind)(round / 7 % CHECK_KINDS));
        float *got = check_alloc(n * sizeof *got);
        float *want = check_alloc(n * sizeof *want);
        k->glu_relu2(gate, up, n, got);
        ref->glu_relu2(gate, up, n, want);
        check_same_floats(got, want, n, k->isa_name);
        k->glu_relu2(gate, up, n, gate);
        check_same_floats(gate, want, n, k->isa_name);
        free(gate);
        free(up);
        free(got);
        free(want);
    }
}

static void every_variant_gives_the_bits_of_ref_also_in_place(void **state)
{
    (void)state;
    check_each_isa(compare);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(negative_gates_give_zero_and_positive_ones_their_square),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref_also_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
