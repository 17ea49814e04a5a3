/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <jansson.h>

#include "common/buf.h"
#include "common/check.h"

static void text_grows_and_stays_terminated(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_string_equal(buf_str(&b).ptr, "");
    for (int i = 0; i < 1000; i++) {
        buf_add_char(&b, (char)('a' + i % 26));
        assert_int_equal(b.ptr[b.len], '\0');
    }
    assert_int_equal(b.len, 1000);
    buf_drop(&b, 990);
    assert_string_equal(b.ptr, "cdefghijkl");
    buf_drop(&b, 0);
    buf_reset(&b);
    assert_string_equal(b.ptr, "");
    buf_add(&b, "x\0y", 3);
    assert_int_equal(b.len, 3);
    char *p = buf_detach(&b);
    assert_memory_equal(p, "x\0y", 4);
    assert_null(b.ptr);
    free(p);
    p = buf_detach(&b); /* also of an empty one */
    assert_string_equal(p, "");
    free(p);
}

static void printf_writes_short_and_long_texts(void **state)
{
    (void)state;
    static char longer[700];
    struct buf b = {0};
    memset(longer, 'z', sizeof longer - 1);
    buf_printf(&b, "%d-%s", 7, "a");
    buf_printf(&b, "|%s|", longer);
    assert_int_equal(b.len, 3 + 701);
    assert_memory_equal(b.ptr, "7-a|zz", 6);
    assert_string_equal(b.ptr + b.len - 2, "z|");
    /* Lengths about the border between its two ways. */
    for (int n = 250; n < 260; n++) {
        buf_reset(&b);
        buf_printf(&b, "%.*s", n, longer);
        assert_int_equal(b.len, n);
        assert_int_equal(b.ptr[n], '\0');
    }
    buf_fini(&b);
}

static void numbers_are_written_as_printf_does(void **state)
{
    (void)state;
    static const uint64_t NUMBERS[] = {0, 7, 10, 99, 100, 4294967296, UINT64_MAX};
    for (size_t i = 0; i < sizeof NUMBERS / sizeof *NUMBERS; i++) {
        struct buf b = {0};
        char expected[32];
        (void)snprintf(expected, sizeof expected, "%llu", (unsigned long long)NUMBERS[i]);
        buf_add_u64(&b, NUMBERS[i]);
        assert_string_equal(b.ptr, expected);
        buf_fini(&b);
    }
}

static void json_of(struct buf *b, const char *s, size_t n)
{
    buf_reset(b);
    buf_add_json(b, (struct str){s, n});
}

static void json_escapes_what_must_be(void **state)
{
    (void)state;
    struct buf b = {0};
    json_of(&b, "a\"b\\c\n\r\t/\x01\x1f\x7f", 12);
    assert_string_equal(b.ptr, "\"a\\\"b\\\\c\\n\\r\\t/\\u0001\\u001f\\u007f\"");
    json_of(&b, "a\0b", 3);
    assert_string_equal(b.ptr, "\"a\\u0000b\"");
    json_of(&b, "", 0);
    assert_string_equal(b.ptr, "\"\"");
    json_of(&b, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9);
    assert_string_equal(b.ptr, "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"");
    buf_fini(&b);
}

static void bytes_that_are_not_utf8_become_replacement_characters(void **state)
{
    (void)state;
#define R "\xef\xbf\xbd"
    static const struct {
        const char *in;
        const char *out;
    } CASES[] = {
        {"a\xff"
         "b",
         "\"a" R "b\""},
        {"\xe2\x82", "\"" R "\""}, /* cut off: one for what was begun */
        {"\xe2\x82x", "\"" R "x\""},
        {"\xc0\xaf", "\"" R R "\""}, /* overlong */
        {"\xed\xa0\x80", "\"" R R R "\""}, /* surrogate */
        {"\xf4\x90\x80\x80", "\"" R R R R "\""}, /* beyond U+10FFFF */
    };
#undef R
    struct buf b = {0};
    for (size_t i = 0; i < ARRAY_LEN(CASES); i++) {
        json_of(&b, CASES[i].in, strlen(CASES[i].in));
        assert_string_equal(b.ptr, CASES[i].out);
    }
    buf_fini(&b);
}

static void a_json_parser_reads_any_bytes_back(void **state)
{
    (void)state;
    struct buf b = {0};
    srand(3);
    for (int round = 0; round < 2000; round++) {
        char raw[24];
        size_t n = (size_t)rand() % sizeof raw;
        for (size_t i = 0; i < n; i++)
            raw[i] = (char)(rand() % (round % 2 == 0 ? 128 : 256));
        json_of(&b, raw, n);
        json_t *v = json_loadb(b.ptr, b.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(v);
        if (round % 2 == 0) { /* ASCII comes back as it was */
            assert_int_equal(json_string_length(v), n);
            assert_memory_equal(json_string_value(v), raw, n);
        }
        json_decref(v);
    }
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_grows_and_stays_terminated),
        cmocka_unit_test(printf_writes_short_and_long_texts),
        cmocka_unit_test(numbers_are_written_as_printf_does),
        cmocka_unit_test(json_escapes_what_must_be),
        cmocka_unit_test(bytes_that_are_not_utf8_become_replacement_characters),
        cmocka_unit_test(a_json_parser_reads_any_bytes_back),
    };
    return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
