/* SPDX-License-Identifier: MIT */
#include "kernels/rmsnorm/rmsnorm.h"

#include <math.h>

#include "tests/kernels/check.h"

static void ref_follows_the_formula(void **state)
{
    (void)state;
    struct check_rng rng = {1};
    enum { N = 1000 };
    float *x = check_floats(&rng, N, CHECK_NORMAL);
    float *w = check_floats(&rng, N, CHECK_NORMAL);
    float *y = check_alloc(N * sizeof *y);
    rmsnorm_row_ref(x, w, N, 1e-5f, y);
    double sum = 0;
    for (size_t i = 0; i < N; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    for (size_t i = 0; i < N; i++) {
        double want = (double)x[i] / sqrt(sum / N + 1e-5) * (double)w[i];
        assert_true(fabs((double)y[i] - want) <= 1e-6 * fabs(want));
    }
    free(x);
    free(w);
    free(y);
}

/* A rounding in the sum rarely reaches y, so short rows with tails are many. */
static void compare(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {2};
    for (int round = 0; round < 4000; round++) {
        size_t n = round < 200    ? (size_t)round + 1
                   : round < 3600 ? check_between(&rng, 33, 63)
                                  : check_between(&rng, 1, 3000);
        enum check_kind kind = (enum check_kind)(round % CHECK_KINDS);
        float *x = check_floats(&rng, n, kind);
        float *w = check_floats(&rng, n, CHECK_NORMAL);
        float *got = check_alloc(n * sizeof *got);
        float *want = check_alloc(n * sizeof *want);
        k->rmsnorm_row(x, w, n, 1e-5f, got);
        ref->rmsnorm_row(x, w, n, 1e-5f, want);
        check_same_floats(got, want, n, k->isa_name);
        k->rmsnorm_row(x, w, n, 1e-5f, x);
        check_same_floats(x, want, n, k->isa_name);
        free(x);
        free(w);
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
        cmocka_unit_test(ref_follows_the_formula),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref_also_in_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
