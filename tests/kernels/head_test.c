/* SPDX-License-Identifier: MIT */
#include "kernels/head/head.h"

#include <math.h>

#include "kernels/f16/f16.h"
#include "tests/kernels/check.h"

static void ref_is_close_to_the_sum_in_double(void **state)
{
    (void)state;
    enum { N = 777 };
    struct check_rng rng = {9};
    uint16_t *w = check_alloc(N * sizeof *w);
    float *h = check_floats(&rng, N, CHECK_NORMAL);
    double want = 0, magnitude = 0;
    for (size_t i = 0; i < N; i++) {
        w[i] = f16_from_f32(check_float(&rng, CHECK_NORMAL));
        want += (double)f16_to_f32(w[i]) * (double)h[i];
        magnitude += fabs((double)f16_to_f32(w[i]) * (double)h[i]);
    }
    float got;
    struct head_input x = {h, N, 1};
    head_logits_ref(w, N, &x, 0, 1, &got, 1);
    assert_true(fabs((double)got - want) <= 40 * 0x1p-24 * magnitude);
    free(w);
    free(h);
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {10};
    for (int round = 0; round < 300; round++) {
        size_t rows = check_between(&rng, 1, 12);
        size_t cols = check_between(&rng, 1, round % 2 == 0 ? 100 : 1000);
        size_t tokens = check_between(&rng, 1, 11);
        size_t row0 = check_between(&rng, 0, rows - 1);
        size_t stride = cols + (size_t)(round % 3);
        size_t n = tokens * rows;
        uint16_t *w = check_halves(&rng, rows * cols, round % 7 == 0);
        float *h = check_floats(&rng, tokens * stride, (enum check_kind)(round % CHECK_KINDS));
        float *got = check_floats(&rng, n, CHECK_EQUAL);
        float *want = check_floats(&rng, n, CHECK_EQUAL);
        struct head_input x = {h, stride, tokens};
        k->head_logits(w, cols, &x, row0, rows, got, rows);
        ref->head_logits(w, cols, &x, row0, rows, want, rows);
        check_same_floats(got, want, n, k->isa_name);
        free(w);
        free(h);
        free(got);
        free(want);
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
        cmocka_unit_test(ref_is_close_to_the_sum_in_double),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
