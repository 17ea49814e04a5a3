/* SPDX-License-Identifier: MIT */
#include "services/load/hist.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/check.h"
#include "services/load/dice.h"

static void buckets_cover_all_values_without_gaps(void **state)
{
    (void)state;
    for (size_t i = 0; i + 1 < HIST_BUCKETS; i++) {
        uint64_t low = hist_floor(i);
        uint64_t next = hist_floor(i + 1);
        assert_true(low < next);
        assert_int_equal(hist_bucket(low), i);
        assert_int_equal(hist_bucket(next - 1), i);
        assert_true((double)(next - low) <= (double)low / 128 + 1);
    }
    assert_int_equal(hist_bucket(UINT64_MAX), HIST_BUCKETS - 1);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void check_against_exact(uint64_t *values, size_t n)
{
    static const double Q[] = {0, 0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1};
    struct hist *h = calloc(1, sizeof *h);
    double sum = 0;
    assert_non_null(h);
    for (size_t i = 0; i < n; i++) {
        hist_add(h, values[i]);
        sum += (double)values[i];
    }
    qsort(values, n, sizeof *values, compare);
    for (size_t i = 0; i < ARRAY_LEN(Q); i++) {
        size_t rank = (size_t)ceil(Q[i] * (double)n);
        double exact = (double)values[rank > 0 ? rank - 1 : 0];
        assert_true(fabs(hist_quantile(h, Q[i]) - exact) <= exact * 0.004 + 0.5);
    }
    assert_true(hist_quantile(h, 0) == (double)values[0]);
    assert_true(hist_quantile(h, 1) == (double)values[n - 1]);
    assert_true(fabs(hist_mean(h) - sum / (double)n) <= sum / (double)n * 1e-12);
    free(h);
}

static void quantiles_are_within_half_a_percent_of_the_exact_ones(void **state)
{
    enum { N = 20000 };
    static uint64_t values[N];
    struct dice d;
    (void)state;
    dice_init(&d, 7);
    for (size_t i = 0; i < N; i++) /* nanoseconds to an hour */
        values[i] = (uint64_t)exp(dice_unit(&d) * log(3.6e12));
    check_against_exact(values, N);
    for (size_t i = 0; i < N; i++)
        values[i] = 50000000 + (uint64_t)(dice_gamma(&d, 1) * 2e6);
    check_against_exact(values, N);
    for (size_t n = 1; n < 12; n++) {
        for (size_t i = 0; i < n; i++)
            values[i] = dice_u64(&d) >> dice_below(&d, 64);
        check_against_exact(values, n);
    }
}

static void an_empty_one_says_zero(void **state)
{
    static struct hist h;
    (void)state;
    assert_true(hist_quantile(&h, 0.5) == 0 && hist_mean(&h) == 0);
}

static void merged_ones_are_as_if_all_had_been_added_to_one(void **state)
{
    static struct hist a;
    static struct hist b;
    static struct hist both;
    struct dice d;
    (void)state;
    dice_init(&d, 3);
    for (int i = 0; i < 5000; i++) {
        uint64_t v = dice_u64(&d) >> 30;
        hist_add(i % 3 == 0 ? &a : &b, v);
        hist_add(&both, v);
    }
    hist_merge(&a, &b);
    assert_memory_equal(a.counts, both.counts, sizeof a.counts);
    assert_int_equal(a.n, both.n);
    assert_int_equal(a.least, both.least);
    assert_int_equal(a.most, both.most);
    assert_true(fabs(a.sum - both.sum) <= both.sum * 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_cover_all_values_without_gaps),
        cmocka_unit_test(quantiles_are_within_half_a_percent_of_the_exact_ones),
        cmocka_unit_test(an_empty_one_says_zero),
        cmocka_unit_test(merged_ones_are_as_if_all_had_been_added_to_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
