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

static void silu_is_the_gate_times_its_sigmoid(void **state)
{
    (void)state;
    float gate[401], up[401], y[401];
    for (int i = 0; i < 401; i++) {
        gate[i] = (float)(i - 200) * 0.5f;
        up[i] = i % 2 == 0 ? 2.0f : -2.0f;
    }
    glu_silu_ref(gate, up, 401, y);
    for (int i = 0; i < 401; i++) {
        double want = (double)gate[i] / (1 + exp(-(double)gate[i])) * (double)up[i];
        assert_true(fabs((double)y[i] - want) <= fabs(want) * 3e-7 + 1e-35);
    }
    const float ends[3] = {INFINITY, -3e38f, NAN}, one[3] = {1.0f, 1.0f, 1.0f};
    glu_silu_ref(ends, one, 3, y);
    assert_true(y[0] == INFINITY && y[1] == 0.0f && isnan(y[2]));
}

typedef void glu(const float *gate, const float *up, size_t n, float *y);

static void compare_one(glu *got_glu, glu *want_glu, const char *isa_name)
{
    struct check_rng rng = {7};
    for (int round = 0; round < 400; round++) {
        size_t n = check_between(&rng, 0, 300);
        enum check_kind kind = (enum check_kind)(round % CHECK_KINDS);
        float *gate = check_floats(&rng, n, kind);
        float *up = check_floats(&rng, n, (enum check_kind)(round / 7 % CHECK_KINDS));
        float *got = check_alloc(n * sizeof *got);
        float *want = check_alloc(n * sizeof *want);
        got_glu(gate, up, n, got);
        want_glu(gate, up, n, want);
        check_same_floats(got, want, n, isa_name);
        got_glu(gate, up, n, gate);
        check_same_floats(gate, want, n, isa_name);
        free(gate);
        free(up);
        free(got);
        free(want);
    }
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    compare_one(k->glu_relu2, ref->glu_relu2, k->isa_name);
    compare_one(k->glu_silu, ref->glu_silu, k->isa_name);
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
        cmocka_unit_test(silu_is_the_gate_times_its_sigmoid),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref_also_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
