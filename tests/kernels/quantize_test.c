/* SPDX-License-Identifier: MIT */
#include "kernels/quantize/quantize.h"

#include <math.h>
#include <string.h>

#include "tests/kernels/check.h"

static void row_has_the_worked_values(void **state)
{
    (void)state;
    const float x[5] = {-2.0f, 1.0f, 0.0f, 0.007874016f, 0.0236f};
    int8_t q[128];
    float scale;
    int32_t sum;
    struct quantized out = {q, 128, &scale, &sum, 1, 5, 0};
    memset(q, 99, sizeof q);
    quantize_row_ref(x, &out, 0);
    const int8_t want[8] = {-127, 64, 0, 0, 1, 0, 0, 0}; /* 63.5 goes to the even 64 */
    assert_memory_equal(q, want, sizeof want);
    assert_int_equal(q[127], 0);
    assert_true(scale == 2.0f / 127.0f);
    assert_int_equal(sum, -127 + 64 + 1);
}

static void zeros_quantise_to_zeros_with_the_smallest_scale(void **state)
{
    (void)state;
    const float x[3] = {0.0f, -0.0f, 0.0f};
    int8_t q[128];
    float scale;
    int32_t sum;
    struct quantized out = {q, 128, &scale, &sum, 1, 3, 0};
    quantize_row_ref(x, &out, 0);
    assert_true(q[0] == 0 && q[1] == 0 && q[2] == 0 && sum == 0);
    assert_true(scale == 1e-5f / 127.0f);
}

static void infinities_and_nan_have_defined_bytes(void **state)
{
    (void)state;
    const float x[4] = {INFINITY, 5.0f, NAN, -INFINITY};
    int8_t q[128];
    float scale;
    int32_t sum;
    struct quantized out = {q, 128, &scale, &sum, 1, 4, 0};
    quantize_row_ref(x, &out, 0);
    const int8_t want[4] = {-128, 0, -128, -128};
    assert_memory_equal(q, want, sizeof want);
    assert_true(scale == INFINITY);
}

/* Values halfway between integers, for the scale is 1. */
static void fill_with_ties(struct check_rng *rng, size_t n, float *x)
{
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)check_between(rng, 0, 252) - 126.0f + 0.5f;
    }
    x[n / 2] = 127.0f;
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {3};
    for (int round = 0; round < 600; round++) {
        size_t n = round < 300 ? (size_t)round + 1 : check_between(&rng, 1, 3000);
        size_t stride = quantize_stride(n);
        float *x = check_floats(&rng, n, (enum check_kind)(round % CHECK_KINDS));
        if (round % 10 == 0) {
            fill_with_ties(&rng, n, x);
        }
        int8_t *got = check_alloc(2 * stride);
        int8_t *want = check_alloc(2 * stride);
        float got_scale[2], want_scale[2];
        int32_t got_sum[2], want_sum[2];
        memset(got, 1, 2 * stride);
        memset(want, 1, 2 * stride);
        struct quantized a = {got, stride, got_scale, got_sum, 2, (uint32_t)n, 0};
        struct quantized b = {want, stride, want_scale, want_sum, 2, (uint32_t)n, 0};
        for (size_t t = 0; t < 2; t++) {
            k->quantize_row(x, &a, t);
            ref->quantize_row(x, &b, t);
        }
        assert_memory_equal(got, want, 2 * stride);
        check_same_floats(got_scale, want_scale, 2, k->isa_name);
        assert_memory_equal(got_sum, want_sum, sizeof got_sum);
        free(x);
        free(got);
        free(want);
    }
}

/* Each group is a row of its own: for every variant, with the bits of ref. */
static void compare_groups(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {31};
    for (int round = 0; round < 100; round++) {
        enum { MAX_GROUPS = 40 };
        size_t group = round % 2 == 0 ? 64 : 128;
        size_t n_groups = check_between(&rng, 1, MAX_GROUPS);
        size_t n = group * n_groups;
        size_t stride = quantize_stride(n);
        float *x = check_floats(&rng, n, (enum check_kind)(round % CHECK_KINDS));
        int8_t *got = check_alloc(2 * stride);
        int8_t want[128 + 512];
        float got_scale[2 * MAX_GROUPS], want_scale;
        int32_t sum;
        struct quantized a = {got, stride, got_scale, NULL, 2, (uint32_t)n, (uint32_t)group};
        struct quantized b = {want, sizeof want, &want_scale, &sum, 1, (uint32_t)group, 0};
        k->quantize_row(x, &a, 0);
        k->quantize_row(x, &a, 1);
        for (size_t i = 0; i < 2 * n_groups; i++) {
            ref->quantize_row(x + i % n_groups * group, &b, 0);
            assert_memory_equal(got + i / n_groups * stride + i % n_groups * group, want, group);
            check_same_floats(&got_scale[i], &want_scale, 1, k->isa_name);
        }
        for (size_t i = n; i < stride; i++) {
            assert_int_equal(got[i], 0);
        }
        free(x);
        free(got);
    }
}

static void every_variant_gives_the_bits_of_ref(void **state)
{
    (void)state;
    check_each_isa(compare);
}

static void every_group_is_quantised_as_a_row_of_its_own(void **state)
{
    (void)state;
    const struct kernels *ref = kernels_get(ISA_REF);
    compare_groups(ref, ref);
    check_each_isa(compare_groups);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_has_the_worked_values),
        cmocka_unit_test(zeros_quantise_to_zeros_with_the_smallest_scale),
        cmocka_unit_test(infinities_and_nan_have_defined_bytes),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref),
        cmocka_unit_test(every_group_is_quantised_as_a_row_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
