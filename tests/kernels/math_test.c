/* SPDX-License-Identifier: MIT */
/* Accuracy of the elementary functions against libm in double; the largest errors are printed. */
#include "kernels/math/math.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static float f32_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* |got - want| in units of the float spacing at want. */
static double ulps_f32(float got, double want)
{
    int e;
    frexp(want, &e);
    return fabs((double)got - want) / ldexp(1.0, (e < -125 ? -125 : e) - 24);
}

static double ulps_f64(double got, double want)
{
    int e;
    frexp(want, &e);
    return fabs(got - want) / ldexp(1.0, e - 53);
}

static void exp_is_within_an_ulp(void **state)
{
    (void)state;
    double worst = 0;
    for (uint32_t u = 0; u < 0x42b20000; u += 37) { /* 0 .. 89 */
        for (uint32_t sign = 0; sign < 2; sign++) {
            float x = f32_from_bits(u | sign << 31);
            if (x >= MATH_EXP_MIN && x <= MATH_EXP_MAX) {
                worst = fmax(worst, ulps_f32(math_exp(x), exp((double)x)));
            }
        }
    }
    printf("# math_exp: largest error %.3f ulp\n", worst);
    assert_true(worst < 1.0);
}

static void exp_has_the_stated_edges(void **state)
{
    (void)state;
    assert_true(math_exp(0.0f) == 1.0f && math_exp(-0.0f) == 1.0f);
    assert_true(math_exp(0x1p-149f) == 1.0f);
    assert_true(math_exp(nextafterf(MATH_EXP_MIN, -100.0f)) == 0.0f);
    assert_true(math_exp(-INFINITY) == 0.0f && !signbit(math_exp(-INFINITY)));
    assert_true(isnormal(math_exp(MATH_EXP_MIN)));
    assert_true(isnormal(math_exp(MATH_EXP_MAX)));
    assert_true(math_exp(nextafterf(MATH_EXP_MAX, 100.0f)) == INFINITY);
    assert_true(math_exp(INFINITY) == INFINITY);
    assert_true(isnan(math_exp(NAN)));
}

static void log_is_within_an_ulp(void **state)
{
    (void)state;
    double worst = 0, worst_f64 = 0;
    for (uint32_t u = 1; u < 0x7f800000; u += 1009) {
        double x = (double)f32_from_bits(u);
        if (x == 1.0) {
            continue;
        }
        worst = fmax(worst, ulps_f32(math_log((float)x), log(x)));
        worst_f64 = fmax(worst_f64, ulps_f64(math_log_f64(x * x * 1.37), log(x * x * 1.37)));
    }
    printf("# math_log: largest error %.3f ulp; math_log_f64: %.3f ulp\n", worst, worst_f64);
    assert_true(worst < 0.51);
    assert_true(worst_f64 < 1.5);
    assert_true(math_log(1.0f) == 0.0f);
    assert_true(math_log_f64(0x1p-1074) == log(0x1p-1074));
    assert_true(math_log(0.0f) == -INFINITY && math_log(-0.0f) == -INFINITY);
    assert_true(math_log(INFINITY) == INFINITY);
    assert_true(isnan(math_log(-1.0f)) && isnan(math_log(NAN)));
}

static void exp_f64_is_within_an_ulp(void **state)
{
    (void)state;
    double worst = 0;
    for (int i = -700000; i <= 700000; i += 3) {
        double x = i * 1e-3 + i * 1e-9;
        worst = fmax(worst, ulps_f64(math_exp_f64(x), exp(x)));
    }
    printf("# math_exp_f64: largest error %.3f ulp\n", worst);
    assert_true(worst < 1.5);
    assert_true(math_exp_f64(0.0) == 1.0);
    assert_true(math_exp_f64(-1e9) == 0.0 && math_exp_f64(1e9) == INFINITY);
    assert_true(isnan(math_exp_f64(NAN)));
}

static void sin_and_cos_are_exact_to_an_ulp_at_rope_angles(void **state)
{
    (void)state;
    double worst = 0, worst_f64 = 0;
    for (int i = -1500000; i <= 1500000; i++) {
        double x = i * 0.0873812345;
        double s, c;
        math_sincos_f64(x, &s, &c);
        worst_f64 = fmax(worst_f64, fmax(fabs(s - sin(x)), fabs(c - cos(x))) * 0x1p+53);
        float x32 = (float)x;
        worst = fmax(worst, ulps_f32(math_sin(x32), sin((double)x32)));
        worst = fmax(worst, ulps_f32(math_cos(x32), cos((double)x32)));
    }
    printf("# math_sin, math_cos: largest error %.3f ulp; math_sincos_f64: %.3f * 2^-53\n", worst,
           worst_f64);
    assert_true(worst < 0.51);
    assert_true(worst_f64 < 2.0);
    assert_true(math_sin(0.0f) == 0.0f && math_cos(0.0f) == 1.0f);
    assert_true(isnan(math_sin(0x1.1p+20f)) && isnan(math_cos(NAN)) && isnan(math_cos(-INFINITY)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exp_is_within_an_ulp),
        cmocka_unit_test(exp_has_the_stated_edges),
        cmocka_unit_test(log_is_within_an_ulp),
        cmocka_unit_test(exp_f64_is_within_an_ulp),
        cmocka_unit_test(sin_and_cos_are_exact_to_an_ulp_at_rope_angles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
