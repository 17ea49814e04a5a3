/* SPDX-License-Identifier: MIT */
#include "services/gateway/trace_context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const uint64_t RANDOM[3] = {0x0123456789abcdef, 0xfedcba9876543210, 0x8};

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static void assert_taken(const char *header, bool is_taken)
{
    struct trace_context c;
    trace_context_make(&c, str_from(header), RANDOM);
    assert_string_equal(c.trace_id, is_taken ? TRACE : "0123456789abcdeffedcba9876543211");
    assert_string_equal(c.parent_id, is_taken ? PARENT : "");
    assert_string_equal(c.span_id, "0000000000000009");
}

static void valid_headers_are_taken(void **state)
{
    (void)state;
    assert_taken("00-" TRACE "-" PARENT "-01", true);
    assert_taken("00-" TRACE "-" PARENT "-00", true);
    assert_taken("cc-" TRACE "-" PARENT "-01", true);
    assert_taken("cc-" TRACE "-" PARENT "-01-what-the-future-brings", true);
}

static void all_else_begins_a_trace(void **state)
{
    (void)state;
    assert_taken("", false);
    assert_taken("00-" TRACE "-" PARENT "-0", false);
    assert_taken("00-" TRACE "-" PARENT "-01-more", false);
    assert_taken("00-" TRACE "-" PARENT "-01.", false);
    assert_taken("cc-" TRACE "-" PARENT "-01.more", false);
    assert_taken("ff-" TRACE "-" PARENT "-01", false);
    assert_taken("0G-" TRACE "-" PARENT "-01", false);
    assert_taken("00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01", false);
    assert_taken("00-00000000000000000000000000000000-" PARENT "-01", false);
    assert_taken("00-" TRACE "-0000000000000000-01", false);
    assert_taken("00_" TRACE "-" PARENT "-01", false);
    assert_taken("00-" TRACE "_" PARENT "-01", false);
    assert_taken("00-" TRACE "-" PARENT "_01", false);
}

static void ours_names_the_trace_our_span_and_the_flags(void **state)
{
    (void)state;
    struct trace_context c;
    char out[TRACE_HEADER_LEN + 1];
    trace_context_make(&c, STR_LIT("00-" TRACE "-" PARENT "-00"), RANDOM);
    trace_context_write(&c, out);
    assert_string_equal(out, "00-" TRACE "-0000000000000009-00");
}

static void an_id_has_letters_digits_and_little_else(void **state)
{
    (void)state;
    assert_true(trace_context_is_id(STR_LIT("Az09._-")));
    assert_false(trace_context_is_id(STR_LIT("")));
    assert_false(trace_context_is_id(STR_LIT("a\r\nb")));
    assert_false(trace_context_is_id(STR_LIT("a\"b")));
    assert_true(trace_context_is_id(
        STR_LIT("0123456789012345678901234567890123456789012345678901234567890123")));
    assert_false(trace_context_is_id(
        STR_LIT("01234567890123456789012345678901234567890123456789012345678901234")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(valid_headers_are_taken),
        cmocka_unit_test(all_else_begins_a_trace),
        cmocka_unit_test(ours_names_the_trace_our_span_and_the_flags),
        cmocka_unit_test(an_id_has_letters_digits_and_little_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
