/* SPDX-License-Identifier: MIT */
#include "services/load/chunk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct chunk read_ok(const char *json)
{
    struct chunk c;
    assert_true(chunk_read(str_from(json), &c));
    return c;
}

static void chat_and_completion_text_is_found(void **state)
{
    (void)state;
    struct chunk c = read_ok("{\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a "
                             "\\\"finish_reason\\\":\\\\\"},\"finish_reason\":null}]}");
    assert_true(c.has_output && !c.has_finish && !c.has_error && !c.has_usage);
    assert_true(str_is(c.text, "a \\\"finish_reason\\\":\\\\"));
    c = read_ok("{ \"choices\" : [ { \"text\" : \"hi\" , \"finish_reason\" : \"stop\" } ] }");
    assert_true(c.has_output && c.has_finish && str_is(c.text, "hi"));
}

static void role_chunks_and_logprobs_are_no_output(void **state)
{
    (void)state;
    struct chunk c = read_ok("{\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},"
                             "\"logprobs\":{\"content\":[{\"token\":\"a\"}]}}]}");
    assert_false(c.has_output);
    assert_false(read_ok("{\"choices\":[{\"delta\":{\"content\":null}}]}").has_output);
    assert_false(read_ok("{\"object\":\"text\",\"text\":\"no choice\"}").has_output);
}

static void reasoning_and_tool_calls_are_output(void **state)
{
    (void)state;
    assert_true(read_ok("{\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\"}}]}").has_output);
    assert_true(read_ok("{\"choices\":[{\"delta\":{\"tool_calls\":[{\"function\":{"
                        "\"arguments\":\"{}\"}}]}}]}")
                    .has_output);
}

static void usage_is_read_and_a_null_usage_is_none(void **state)
{
    (void)state;
    struct chunk c =
        read_ok("{\"choices\":[],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":345,"
                "\"total_tokens\":357,\"prompt_tokens_details\":{\"cached_tokens\":7}}}");
    assert_true(c.has_usage);
    assert_int_equal(c.prompt_tokens, 12);
    assert_int_equal(c.completion_tokens, 345);
    assert_int_equal(c.cached_tokens, 7);
    assert_false(read_ok("{\"usage\":null,\"choices\":[]}").has_usage);
}

static void errors_are_found_and_null_is_none(void **state)
{
    (void)state;
    struct chunk c = read_ok("{\"error\":{\"message\":\"lost\",\"code\":null}}");
    assert_true(c.has_error && str_is(c.error, "lost"));
    c = read_ok("{\"error\":\"gone\"}");
    assert_true(c.has_error && str_is(c.error, "gone"));
    assert_false(read_ok("{\"error\":null}").has_error);
}

static void what_is_no_json_is_refused(void **state)
{
    static const char *const BAD[] = {"",      "[1]", "{\"a\":",   "{\"a\":\"b}",   "{]",
                                      "hello", "{",   "{\"a\":[}", "{\"a\":\"\\\"}"};
    struct chunk c;
    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
        assert_false(chunk_read(str_from(BAD[i]), &c));
    char deep[64];
    memset(deep, '[', sizeof deep);
    memcpy(deep, "{\"a\":", 5);
    assert_false(chunk_read((struct str){deep, sizeof deep}, &c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat_and_completion_text_is_found),
        cmocka_unit_test(role_chunks_and_logprobs_are_no_output),
        cmocka_unit_test(reasoning_and_tool_calls_are_output),
        cmocka_unit_test(usage_is_read_and_a_null_usage_is_none),
        cmocka_unit_test(errors_are_found_and_null_is_none),
        cmocka_unit_test(what_is_no_json_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
