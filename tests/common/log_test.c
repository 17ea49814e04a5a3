/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/log.h"
#include "tests/common/capture.h"

static struct capture capture;

static void a_line_has_time_level_service_event_and_typed_fields(void **state)
{
    (void)state;
    log_init("router", LOG_INFO);
    capture_start(&capture, 2);
    log_info("engine-up", S("name", "engine.1"), U("big", UINT64_MAX), I("neg", -5), F("f", 0.5),
             X("hash", 0xab), SN("part", "abcdef", 3));
    const char *line = capture_stop(&capture);
    assert_memory_equal(line, "ts=2", 4);
    assert_int_equal(line[26], 'Z');
    assert_string_equal(line + 27,
                        " level=info svc=router ev=engine-up name=engine.1 "
                        "big=18446744073709551615 neg=-5 f=0.5 hash=00000000000000ab part=abc\n");
}

static void values_cannot_forge_fields_or_lines(void **state)
{
    (void)state;
    log_init("x", LOG_DEBUG);
    capture_start(&capture, 2);
    log_warn("e", S("a", "x y"), S("b", "\"\\=\n\x1b"), S("c", ""), S("d", NULL));
    const char *line = capture_stop(&capture);
    assert_has(line, " ev=e a=\"x y\" b=\"\\\"\\\\=\\x0a\\x1b\" c=\"\" d=\"\"\n");
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
}

static void less_than_the_least_level_is_not_written(void **state)
{
    (void)state;
    log_init("x", LOG_WARN);
    capture_start(&capture, 2);
    log_debug("a");
    log_info("b");
    log_warn("c");
    log_error("d");
    const char *text = capture_stop(&capture);
    assert_null(strstr(text, "ev=b"));
    assert_has(text, "level=warn svc=x ev=c\n");
    assert_has(text, "level=error svc=x ev=d\n");
}

static void a_line_is_cut_and_still_ends(void **state)
{
    (void)state;
    static char value[5000];
    memset(value, 'v', sizeof value - 1);
    log_init("x", LOG_INFO);
    capture_start(&capture, 2);
    log_info("e", S("a", value), S("b", "lost"));
    const char *line = capture_stop(&capture);
    assert_int_equal(strlen(line), 2048);
    assert_int_equal(line[2047], '\n');
}

static void levels_have_names(void **state)
{
    (void)state;
    enum log_level level = LOG_ERROR;
    assert_true(log_level_from("debug", &level));
    assert_int_equal(level, LOG_DEBUG);
    assert_false(log_level_from("loud", &level));
    assert_int_equal(level, LOG_DEBUG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_level_service_event_and_typed_fields),
        cmocka_unit_test(values_cannot_forge_fields_or_lines),
        cmocka_unit_test(less_than_the_least_level_is_not_written),
        cmocka_unit_test(a_line_is_cut_and_still_ends),
        cmocka_unit_test(levels_have_names),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
