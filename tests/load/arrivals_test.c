/* SPDX-License-Identifier: MIT */
#include "services/load/arrivals.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N = 50000 };

struct moments {
    double mean_s; /* of the gaps */
    double variance;
    double counts_mean; /* arrivals in each second */
    double counts_variance;
};

static struct moments measure(double rate, double burstiness)
{
    struct arrivals a;
    struct moments m = {0};
    double sum = 0;
    double squares = 0;
    double counts = 0;
    double counts_squares = 0;
    uint64_t before = 0;
    uint64_t second = 0;
    uint64_t in_second = 0;
    arrivals_init(&a, 42, rate, burstiness, 0);
    for (int i = 0; i < N; i++) {
        uint64_t at = arrivals_next(&a);
        assert_true(at >= before);
        double gap = (double)(at - before) / 1e9;
        sum += gap;
        squares += gap * gap;
        before = at;
        for (; at / 1000000000U > second; second++) {
            counts += (double)in_second;
            counts_squares += (double)(in_second * in_second);
            in_second = 0;
        }
        in_second++;
    }
    m.mean_s = sum / N;
    m.variance = squares / N - m.mean_s * m.mean_s;
    m.counts_mean = counts / (double)second;
    m.counts_variance = counts_squares / (double)second - m.counts_mean * m.counts_mean;
    return m;
}

static void assert_near(double is, double should, double tolerance)
{
    if (fabs(is - should) > should * tolerance)
        fail_msg("%g is not within %g %% of %g", is, tolerance * 100, should);
}

static void poisson_arrivals_have_exponential_gaps_and_poisson_counts(void **state)
{
    (void)state;
    struct moments m = measure(50, 1);
    assert_near(m.mean_s, 1.0 / 50, 0.02);
    assert_near(m.variance, 1.0 / 50 / 50, 0.05);
    assert_near(m.counts_mean, 50, 0.02);
    assert_near(m.counts_variance, 50, 0.15);
}

static void burstiness_is_the_shape_of_the_gaps(void **state)
{
    static const double SHAPES[] = {0.3, 0.7, 2, 10};
    (void)state;
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++) {
        struct moments m = measure(20, SHAPES[i]);
        assert_near(m.mean_s, 1.0 / 20, 0.03);
        assert_near(m.variance, 1.0 / 20 / 20 / SHAPES[i], 0.1);
    }
}

static void a_seed_gives_the_same_arrivals_again(void **state)
{
    struct arrivals a;
    struct arrivals b;
    struct arrivals c;
    int n_same = 0;
    (void)state;
    arrivals_init(&a, 1, 10, 0.5, 2);
    arrivals_init(&b, 1, 10, 0.5, 2);
    arrivals_init(&c, 2, 10, 0.5, 2);
    for (int i = 0; i < 100; i++) {
        uint64_t at = arrivals_next(&a);
        assert_int_equal(at, arrivals_next(&b));
        n_same += at == arrivals_next(&c);
    }
    assert_true(n_same < 3);
}

static void the_rate_rises_in_a_straight_line_during_the_ramp(void **state)
{
    /* 1000/s after 10 s: 50 * t * t have come t seconds after the start, 5000 at the ramp's end. */
    struct arrivals a;
    (void)state;
    arrivals_init(&a, 9, 1000, 1, 10);
    double n = 0;
    double at = 0;
    double n_before[16] = {0};
    for (; at < 15; n++) {
        at = (double)arrivals_next(&a) / 1e9;
        n_before[(int)at] = n;
    }
    assert_near(n_before[4] + 1, 50 * 5 * 5, 0.1);
    assert_near(n_before[9] + 1, 5000, 0.05);
    assert_near(n_before[14] - n_before[9], 5000, 0.05);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(poisson_arrivals_have_exponential_gaps_and_poisson_counts),
        cmocka_unit_test(burstiness_is_the_shape_of_the_gaps),
        cmocka_unit_test(a_seed_gives_the_same_arrivals_again),
        cmocka_unit_test(the_rate_rises_in_a_straight_line_during_the_ramp),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
