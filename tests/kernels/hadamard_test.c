/* SPDX-License-Identifier: MIT */
#include "kernels/hadamard/hadamard.h"

#include <math.h>
#include <string.h>

#include "tests/kernels/check.h"

/* Element (i, j) of Sylvester's matrix is -1 to the number of common bits of i and j. */
static void each_block_is_multiplied_by_the_normalised_matrix(void **state)
{
    (void)state;
    struct check_rng rng = {3};
    for (size_t block = 2; block <= 128; block *= 2) {
        enum { N = 384 };
        float *x = check_floats(&rng, N, CHECK_NORMAL);
        float y[N];
        memcpy(y, x, sizeof y);
        hadamard_rotate_ref(y, N, block);
        for (size_t i = 0; i < N; i++) {
            double sum = 0;
            for (size_t j = 0; j < block; j++) {
                double v = (double)x[i / block * block + j];
                sum += __builtin_popcountll(i % block & j) % 2 == 0 ? v : -v;
            }
            assert_true(fabs((double)y[i] - sum / sqrt((double)block)) < 1e-5);
        }
        hadamard_rotate_ref(y, N, block);
        for (size_t i = 0; i < N; i++) {
            assert_true(fabsf(y[i] - x[i]) < 1e-5f);
        }
        free(x);
    }
}

static void compare(const struct kernels *k, const struct kernels *ref)
{
    struct check_rng rng = {12};
    for (int round = 0; round < check_rounds(200); round++) {
        size_t block = (size_t)2 << check_between(&rng, 0, 11);
        size_t n = block * check_between(&rng, 0, 1 + 512 / block);
        float *got = check_floats(&rng, n, (enum check_kind)(round % CHECK_KINDS));
        float *want = check_alloc(n * sizeof *want);
        memcpy(want, got, n * sizeof *want);
        k->hadamard_rotate(got, n, block);
        ref->hadamard_rotate(want, n, block);
        check_same_floats(got, want, n, k->isa_name);
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
        cmocka_unit_test(each_block_is_multiplied_by_the_normalised_matrix),
        cmocka_unit_test(every_variant_gives_the_bits_of_ref),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
