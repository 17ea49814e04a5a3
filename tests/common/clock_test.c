/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <time.h>

#include "common/clock.h"

static void check(uint64_t unix_s)
{
    struct tm tm;
    time_t t = (time_t)unix_s;
    struct clock_date d = clock_date_of(unix_s);
    assert_non_null(gmtime_r(&t, &tm));
    assert_int_equal(d.year, tm.tm_year + 1900);
    assert_int_equal(d.month, tm.tm_mon + 1);
    assert_int_equal(d.day, tm.tm_mday);
    assert_int_equal(d.hour, tm.tm_hour);
    assert_int_equal(d.minute, tm.tm_min);
    assert_int_equal(d.second, tm.tm_sec);
}

static void dates_are_those_of_the_c_library(void **state)
{
    (void)state;
    /* Each day from 1970 to 2169, at its first, last and some second: leap years, 2000 and 2100. */
    for (uint64_t day = 0; day < UINT64_C(200) * 365; day++) {
        check(day * 86400);
        check(day * 86400 + 86399);
        check(day * 86400 + day * 7919 % 86400);
    }
}

static void random_numbers_are_not_zero_and_differ(void **state)
{
    (void)state;
    uint64_t a = clock_random_u64();
    uint64_t b = clock_random_u64();
    assert_true(a != 0 && b != 0 && a != b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_those_of_the_c_library),
        cmocka_unit_test(random_numbers_are_not_zero_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
