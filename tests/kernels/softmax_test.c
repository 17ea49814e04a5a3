/* SPDX-License-Identifier: MIT */
#include "kernels/softmax/softmax.h"

#include <math.h>
#include <string.h>

#include "kernels/math/math.h"
#include "tests/kernels/check.h"

static void probabilities_sum_to_one_and_masked_logits_get_none(void **state)
{
    (void)state;
    const float x[4] = {1.0f, -INFINITY, 3.0f, 2.0f};
    float y[4];
    float max = softmax_max_ref(x, 4);
    float sum = softmax_exp_ref(x, 4, max, 0.5f, y);
    assert_true(max == 3.0f);
    assert_true(y[2] == 1.0f && y[1] == 0.0f);
    assert_true(y[0] == math_exp(-1.0f));
    assert_true(fabsf(sum - (1.0f + expf(-1.0f) + expf(-0.5f))) < 1e-6f);
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {11};
    for (int round = 0; round < 600; round++) {
        size_t n = check_between(&rng, 0, round % 2 == 0 ? 100 : 2000);
        float *x = check_floats(&rng, n, (enum check_kind)(round % CHECK_KINDS));
        float *got = check_alloc(n * sizeof *got);
        float *want = check_alloc(n * sizeof *want);
        float scale = check_float(&rng, CHECK_NORMAL) * 8.0f;
        float max = ref->softmax_max(x, n);
        assert_true(k->softmax_max(x, n) == max);
        float want_sum = ref->softmax_exp(x, n, max, scale, want);
        float got_sum = k->softmax_exp(x, n, max, scale, got);
        check_same_floats(&got_sum, &want_sum, 1, k->isa_name);
        check_same_floats(got, want, n, k->isa_name);
        k->softmax_exp(x, n, max, scale, x);
        check_same_floats(x, want, n, k->isa_name);
        free(x);
        free(got);
        free(want);
    }
}

static void every_variant_gives_the_bits_of_ref_also_in_place(void **state)
{
    (void)state;
    check_each_isa(compare);
}

/* Every 257th float through the vector form of math_exp, and its edges. */
static void compare_exp(const struct kernels *k, const struct kernels *ref)
{
    enum { N = 8192, EDGES = 32 };
    static float x[N], got[N], want[N];
    uint32_t u = 0;
    x[0] = MATH_EXP_MIN;
    x[1] = nextafterf(MATH_EXP_MIN, -INFINITY);
    x[2] = MATH_EXP_MAX;
    x[3] = nextafterf(MATH_EXP_MAX, INFINITY);
    k->softmax_exp(x, EDGES, 0.0f, 1.0f, got);
    ref->softmax_exp(x, EDGES, 0.0f, 1.0f, want);
    check_same_floats(got, want, EDGES, k->isa_name);
    for (int round = 0; round < 2040; round++) {
        for (size_t i = 0; i < N; i++, u += 257) {
            memcpy(&x[i], &u, sizeof u);
        }
        k->softmax_exp(x, N, 0.0f, 1.0f, got);
        ref->softmax_exp(x, N, 0.0f, 1.0f, want);
        check_same_floats(got, want, N, k->isa_name);
    }
}

static void every_variant_has_the_bits_of_math_exp(void **state)
{
    (void)state;
    check_each_isa(compare_exp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probabilities_sum_to_one_and_masked_logits_get_none),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref_also_in_place),
        cmocka_unit_test(every_variant_has_the_bits_of_math_exp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
