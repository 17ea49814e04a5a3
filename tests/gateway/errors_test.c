/* SPDX-License-Identifier: MIT */
#include "services/gateway/errors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "common/check.h"

static void check_json(const struct api_error *e, const char *expected)
{
    struct buf out = {0};
    error_write(e, &out);
    assert_string_equal(buf_str(&out).ptr, expected);
    buf_fini(&out);
}

static void a_problem_has_its_row(void **state)
{
    (void)state;
    struct api_error e;
    error_set(&e, PROBLEM_FIELD_VALUE, "top_p", "'%s' is %d.", "top_p", 2);
    assert_int_equal(e.status, 400);
    assert_int_equal(e.retry_ms, 0);
    check_json(&e, "{\"error\":{\"message\":\"'top_p' is 2.\",\"type\":\"invalid_request_error\","
                   "\"param\":\"top_p\",\"code\":\"invalid_value\"}}");
}

static void without_a_parameter_it_is_null(void **state)
{
    (void)state;
    struct api_error e;
    error_set(&e, PROBLEM_OVERLOADED, NULL, "x");
    assert_true(e.retry_ms > 0);
    check_json(&e, "{\"error\":{\"message\":\"x\",\"type\":\"rate_limit_error\",\"param\":null,"
                   "\"code\":\"too_many_streams\"}}");
}

static void texts_are_escaped_and_cut(void **state)
{
    (void)state;
    struct api_error e;
    char longer[2000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    error_set(&e, PROBLEM_FIELD_UNKNOWN, "a\"\xff", "\n%s", "\\");
    check_json(&e, "{\"error\":{\"message\":\"\\n\\\\\",\"type\":\"invalid_request_error\","
                   "\"param\":\"a\\\"\xef\xbf\xbd\",\"code\":\"unknown_parameter\"}}");
    error_set(&e, PROBLEM_FIELD_UNKNOWN, longer, "%s", longer);
    assert_int_equal(strlen(e.param), sizeof e.param - 1);
    assert_int_equal(strlen(e.message), sizeof e.message - 1);
    error_from_err(&e, ERR_FULL, str_from(longer));
    assert_true(strlen(e.message) < sizeof e.message);
}

static void every_code_of_the_wire_becomes_an_http_error(void **state)
{
    (void)state;
    for (uint32_t n = 1; n < 64; n++) {
        struct api_error e;
        enum err code = err_from_number(n);
        error_from_err(&e, code, STR_LIT("d"));
        assert_in_range(e.status, 400, 504);
        assert_int_not_equal(e.status, 499);
        assert_true(e.code[0] >= 'a' && e.code[0] <= 'z');
        assert_non_null(strstr(e.message, ": d"));
        assert_true(e.status != 429 || e.retry_ms > 0);
        assert_true(e.status != 503 || e.retry_ms > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_problem_has_its_row),
        cmocka_unit_test(without_a_parameter_it_is_null),
        cmocka_unit_test(texts_are_escaped_and_cut),
        cmocka_unit_test(every_code_of_the_wire_becomes_an_http_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
