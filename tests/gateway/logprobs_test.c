/* SPDX-License-Identifier: MIT */
#include "services/gateway/logprobs.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void assert_chat(const struct logprobs *l, const char *expected)
{
    struct buf out = {0};
    logprobs_write_chat(l, &out);
    assert_string_equal(buf_str(&out).ptr, expected);
    buf_fini(&out);
}

static void assert_completion(const struct logprobs *l, const char *expected)
{
    struct buf out = {0};
    logprobs_write_completion(l, &out);
    assert_string_equal(buf_str(&out).ptr, expected);
    buf_fini(&out);
}

static void chat_entries_have_text_value_bytes_and_tops(void **state)
{
    (void)state;
    struct logprobs l = {0};
    struct rec_top top = {.id = 1, .logprob = -2, .text = STR_LIT("b")};
    struct rec_piece p = {.token_text = STR_LIT("\xc3"), .logprob = -0.5F, .top = &top, .n_top = 1};
    assert_chat(&l, "{\"content\":[],\"refusal\":null}");
    logprobs_add_chat(&l, &p);
    assert_chat(&l, "{\"content\":[{\"token\":\"\xef\xbf\xbd\",\"logprob\":-0.5,\"bytes\":[195],"
                    "\"top_logprobs\":[{\"token\":\"b\",\"logprob\":-2,\"bytes\":[98]}]}],"
                    "\"refusal\":null}");
    logprobs_reset(&l);
    assert_chat(&l, "{\"content\":[],\"refusal\":null}");
    logprobs_fini(&l);
}

static void offsets_count_characters_also_across_writes(void **state)
{
    (void)state;
    struct logprobs l = {0};
    struct rec_piece p = {.token_text = STR_LIT("\xc3\xa9x"), .logprob = -1};
    logprobs_add_completion(&l, &p);
    p.token_text = STR_LIT("\xe2\x82");
    logprobs_add_completion(&l, &p);
    p.token_text = STR_LIT("\xac");
    logprobs_add_completion(&l, &p);
    assert_completion(&l, "{\"tokens\":[\"\xc3\xa9x\",\"bytes:\\\\xe2\\\\x82\",\"bytes:\\\\xac\"],"
                          "\"token_logprobs\":[-1,-1,-1],\"top_logprobs\":null,"
                          "\"text_offset\":[0,2,3]}");
    logprobs_reset(&l);
    p.token_text = STR_LIT("y");
    logprobs_add_completion(&l, &p);
    assert_completion(&l, "{\"tokens\":[\"y\"],\"token_logprobs\":[-1],\"top_logprobs\":null,"
                          "\"text_offset\":[3]}");
    logprobs_fini(&l);
}

static void values_that_json_lacks_become_the_least(void **state)
{
    (void)state;
    struct logprobs l = {0};
    struct rec_piece p = {.token_text = STR_LIT("a"), .logprob = -INFINITY};
    logprobs_add_completion(&l, &p);
    p.logprob = NAN;
    logprobs_add_completion(&l, &p);
    p.logprob = -0.1F; /* a float comes back exactly from nine digits */
    logprobs_add_completion(&l, &p);
    assert_completion(&l, "{\"tokens\":[\"a\",\"a\",\"a\"],"
                          "\"token_logprobs\":[-9999,-9999,-0.100000001],\"top_logprobs\":null,"
                          "\"text_offset\":[0,1,2]}");
    logprobs_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chat_entries_have_text_value_bytes_and_tops),
        cmocka_unit_test(offsets_count_characters_also_across_writes),
        cmocka_unit_test(values_that_json_lacks_become_the_least),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
