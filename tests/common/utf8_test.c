/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/check.h"
#include "common/utf8.h"

/* UTF-8 as RFC 3629 writes it, independent of utf8.c. */
static int encode(unsigned cp, char *out)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    int n = cp < 0x800 ? 2 : cp < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (cp & 0x3f));
        cp >>= 6;
    }
    out[0] = (char)((0xf00U >> n & 0xff) | cp);
    return n;
}

static void every_code_point_is_read_and_every_part_of_it_is_unfinished(void **state)
{
    (void)state;
    char s[4];
    for (unsigned cp = 0; cp <= 0x10ffff; cp++) {
        int n = encode(cp, s);
        if (cp >= 0xd800 && cp <= 0xdfff) {
            assert_int_equal(utf8_next(s, 3), -1);
            continue;
        }
        assert_int_equal(utf8_next(s, (size_t)n), n);
        assert_int_equal(utf8_decode(s, n), cp);
        for (int part = 1; part < n; part++)
            assert_int_equal(utf8_next(s, (size_t)part), 0);
    }
}

static void all_pairs_of_bytes_are_judged_as_unicode_table_3_7_says(void **state)
{
    (void)state;
    for (unsigned a = 0x80; a < 0x100; a++) {
        for (unsigned b = 0; b < 0x100; b++) {
            char s[2] = {(char)a, (char)b};
            int want = -1;
            bool is_lead = a >= 0xc2 && a <= 0xf4;
            unsigned lo = a == 0xe0 ? 0xa0 : a == 0xf0 ? 0x90 : 0x80;
            unsigned hi = a == 0xed ? 0x9f : a == 0xf4 ? 0x8f : 0xbf;
            if (is_lead && b >= lo && b <= hi)
                want = a < 0xe0 ? 2 : 0;
            assert_int_equal(utf8_next(s, 2), want);
        }
    }
}

static void the_maximal_wrong_part_is_counted(void **state)
{
    (void)state;
    assert_int_equal(utf8_next("\xf1\x80\x80x", 4), -3);
    assert_int_equal(utf8_next("\xf1\x80x", 3), -2);
    assert_int_equal(utf8_next("\xe1\x80\xc0", 3), -2);
    assert_int_equal(utf8_next("\xe1\xc0", 2), -1);
}

static void a_text_is_valid_only_if_whole(void **state)
{
    (void)state;
    assert_true(utf8_is_valid("", 0));
    assert_true(utf8_is_valid("a\xc3\xa4\0z", 5));
    assert_false(utf8_is_valid("a\xc3", 2));
    assert_false(utf8_is_valid("\xff", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_is_read_and_every_part_of_it_is_unfinished),
        cmocka_unit_test(all_pairs_of_bytes_are_judged_as_unicode_table_3_7_says),
        cmocka_unit_test(the_maximal_wrong_part_is_counted),
        cmocka_unit_test(a_text_is_valid_only_if_whole),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
