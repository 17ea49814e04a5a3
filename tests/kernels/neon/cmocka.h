/* SPDX-License-Identifier: MIT */
/* As much of cmocka's interface as the kernel tests use, for a processor that Debian has no cmocka for
 * beside this one's: tests/kernels/neon_run puts this folder before the system's headers. TAP on
 * stdout; a failed assertion ends its test. Only check.h includes it, in programs of one thread. */
#ifndef HALO_TESTS_KERNELS_NEON_CMOCKA_H
#define HALO_TESTS_KERNELS_NEON_CMOCKA_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

struct CMUnitTest {
    const char *name;
    void (*run)(void **state);
};

/* Defined in cmocka.c. */
void cmocka_fail(const char *file, int line, const char *format, ...)
    __attribute__((noreturn, format(printf, 3, 4)));
int cmocka_run(const struct CMUnitTest *tests, size_t n);

#define CMOCKA_CHECK(holds, text)                                                                  \
    ((holds) ? (void)0 : cmocka_fail(__FILE__, __LINE__, "%s", (text)))

#define fail_msg(...) cmocka_fail(__FILE__, __LINE__, __VA_ARGS__)
#define assert_true(x) CMOCKA_CHECK((x), #x)
#define assert_false(x) CMOCKA_CHECK(!(x), "not " #x)
#define assert_null(p) CMOCKA_CHECK((p) == NULL, #p " is NULL")
#define assert_non_null(p) CMOCKA_CHECK((p) != NULL, #p " is not NULL")
#define assert_int_equal(a, b) CMOCKA_CHECK((intmax_t)(a) == (intmax_t)(b), #a " == " #b)
#define assert_int_not_equal(a, b) CMOCKA_CHECK((intmax_t)(a) != (intmax_t)(b), #a " != " #b)
#define assert_string_equal(a, b) CMOCKA_CHECK(strcmp((a), (b)) == 0, #a " equals " #b)
#define assert_memory_equal(a, b, n) CMOCKA_CHECK(memcmp((a), (b), (n)) == 0, #a " equals " #b)

#define cmocka_unit_test(f)                                                                        \
    {                                                                                              \
#f, f                                                                                      \
    }
#define cmocka_run_group_tests(tests, setup, teardown)                                             \
    cmocka_run(tests, sizeof(tests) / sizeof((tests)[0]))

#endif
