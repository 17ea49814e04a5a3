/* SPDX-License-Identifier: MIT */
/* 16-bit floats: every value, and every border between two. */
#include "services/model/half.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include <cmocka.h>

/* The value of a binary16 by its definition. */
static double meaning(unsigned h)
{
    int exponent = (int)(h >> 10 & 31);
    double fraction = (h & 0x3ff) / 1024.0;
    double magnitude = exponent == 0 ? ldexp(fraction, -14) : ldexp(1.0 + fraction, exponent - 15);
    return h & 0x8000 ? -magnitude : magnitude;
}

static void test_every_half_means_what_ieee_says(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x10000; h++) {
        double x = (double)half_from_f16((uint16_t)h);
        if ((h & 0x7c00) == 0x7c00)
            assert_true((h & 0x3ff) != 0 ? isnan(x) : isinf(x));
        else
            assert_true(x == meaning(h));
    }
}

static void test_every_half_comes_back(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x10000; h++) {
        bool is_nan = (h & 0x7c00) == 0x7c00 && (h & 0x3ff) != 0;
        if (!is_nan)
            assert_int_equal(half_to_f16(half_from_f16((uint16_t)h)), h);
    }
    assert_int_equal(half_to_f16(NAN) & 0x7fff, 0x7e00);
}

static void test_halfway_goes_to_the_even_one(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x7bff; h++) {
        float middle = (float)((meaning(h) + meaning(h + 1)) / 2);
        assert_int_equal(half_to_f16(middle), h + (h & 1));
        assert_int_equal(half_to_f16(nextafterf(middle, 0.0F)), h);
        assert_int_equal(half_to_f16(nextafterf(middle, 1e9F)), h + 1);
        assert_int_equal(half_to_f16(-middle), 0x8000 | (h + (h & 1)));
    }
    assert_int_equal(half_to_f16(65519.996F), 0x7bff);
    assert_int_equal(half_to_f16(65520.0F), 0x7c00);
    assert_int_equal(half_to_f16(1e30F), 0x7c00);
}

static void test_bf16_is_the_upper_half(void **state)
{
    (void)state;
    assert_true(half_from_bf16(0x3f80) == 1.0F);
    assert_true(half_from_bf16(0xc049) == -3.140625F);
    assert_true(isnan(half_from_bf16(0x7fc0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_half_means_what_ieee_says),
        cmocka_unit_test(test_every_half_comes_back),
        cmocka_unit_test(test_halfway_goes_to_the_even_one),
        cmocka_unit_test(test_bf16_is_the_upper_half),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
