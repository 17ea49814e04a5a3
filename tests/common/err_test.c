/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/check.h"
#include "common/err.h"

static const enum err ALL[] = {
#define ERR(name, number, http, retry, text) name,
#include "common/err.def"
#undef ERR
};

static void numbers_names_and_texts_are_unique(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(ALL); i++) {
        assert_int_equal(err_from_number((uint32_t)ALL[i]), ALL[i]);
        for (size_t k = 0; k < i; k++) {
            assert_int_not_equal(ALL[i], ALL[k]);
            assert_string_not_equal(err_name(ALL[i]), err_name(ALL[k]));
            assert_string_not_equal(err_text(ALL[i]), err_text(ALL[k]));
        }
    }
    assert_int_equal(ERR_OK, 0);
    assert_string_equal(err_name(ERR_FULL), "ERR_FULL");
}

static void http_statuses_fit_the_retry_flag(void **state)
{
    (void)state;
    assert_int_equal(err_http_status(ERR_OK), 200);
    for (size_t i = 0; i < ARRAY_LEN(ALL); i++) {
        int status = err_http_status(ALL[i]);
        assert_true(ALL[i] == ERR_OK || (status >= 400 && status < 600));
        bool is_for_later = status == 429 || status == 503 || status == 504;
        assert_int_equal(err_is_retryable(ALL[i]), is_for_later);
    }
}

static void foreign_numbers_become_errors(void **state)
{
    (void)state;
    assert_int_equal(err_from_number(9999), ERR_INTERNAL);
    assert_int_equal(err_from_number(UINT32_MAX), ERR_INTERNAL);
    assert_int_equal(err_from_errno(ENOENT), ERR_NOT_FOUND);
    for (int e = 0; e < 200; e++)
        assert_int_not_equal(err_from_errno(e), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_names_and_texts_are_unique),
        cmocka_unit_test(http_statuses_fit_the_retry_flag),
        cmocka_unit_test(foreign_numbers_become_errors),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
