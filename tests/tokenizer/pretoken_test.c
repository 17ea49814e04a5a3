/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/pretoken.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/buf.h"
#include "common/clock.h"
#include "tests/tokenizer/shared_data.h"

static struct pretoken *open_rule(const char *name, bool jit)
{
    char why[200] = "";
    struct pretoken *rule = NULL;
    assert_int_equal(pretoken_new(name, jit, why, sizeof why, &rule), ERR_OK);
    return rule;
}

/* The pieces with a bar after each. */
static void cut(const struct pretoken *rule, struct str text, struct buf *out)
{
    struct pretoken_scan *scan;
    assert_int_equal(pretoken_scan_new(rule, &scan), ERR_OK);
    pretoken_scan_start(scan, text);
    for (;;) {
        struct str piece;
        assert_int_equal(pretoken_scan_next(scan, &piece), ERR_OK);
        if (piece.len == 0)
            break;
        buf_add_str(out, piece);
        buf_add_char(out, '|');
    }
    pretoken_scan_free(scan);
}

static void check(const char *name, const char *text, const char *want)
{
    for (int jit = 0; jit < 2; jit++) {
        struct buf out = {0};
        struct pretoken *rule = open_rule(name, jit != 0);
        cut(rule, str_from(text), &out);
        assert_string_equal(buf_reserve(&out, 0) - out.len, want);
        pretoken_free(rule);
        buf_fini(&out);
    }
}

static void cuts_by_the_named_rule(void **state)
{
    (void)state;
    check("llama-bpe", "Hello WORLD's 12345  end.\n\n x",
          "Hello| WORLD|'s| |123|45| | end|.\n\n| x|");
    check("qwen2", "Hello WORLD'S 12345", "Hello| WORLD|'S| |1|2|3|4|5|");
    check("gpt-2", "Hello WORLD'S 12345  x\n\ny", "Hello| WORLD|'|S| 12345| | x|\n|\n|y|");
    check("llama-bpe", "", "");
}

/* ---- Falcon-E: three passes one after the other -------------------------------------------------- */

static void cut_by(pcre2_code *const *passes, const char *text, size_t n, struct buf *out)
{
    if (n == 0)
        return;
    if (!*passes) {
        buf_add(out, text, n);
        buf_add_char(out, '|');
        return;
    }
    pcre2_match_data *match = pcre2_match_data_create(1, NULL);
    size_t at = 0;
    while (at < n && pcre2_match(*passes, (PCRE2_SPTR)text, n, at, 0, match, NULL) >= 0) {
        const PCRE2_SIZE *found = pcre2_get_ovector_pointer(match);
        cut_by(passes + 1, text + at, found[0] - at, out);
        cut_by(passes + 1, text + found[0], found[1] - found[0], out);
        at = found[1];
    }
    cut_by(passes + 1, text + at, n - at, out);
    pcre2_match_data_free(match);
}

static void falcon_e_cuts_as_its_three_passes_do(void **state)
{
    (void)state;
    static const char *const PATTERNS[] = {
        "[\\p{P}\\$\\+<=>\\^~\\|`]+",
        "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
        "[0-9]"};
    static const char *const UNITS[] = {"a",
                                        "Zz",
                                        "'s",
                                        " ",
                                        " ",
                                        "  ",
                                        "\n",
                                        "\t",
                                        "1",
                                        "23",
                                        "\xd9\xa3",
                                        "\xc2\xbd",
                                        "$",
                                        "+-",
                                        "!",
                                        "\xc3\xa9",
                                        "`|",
                                        "\xe2\x82\xac",
                                        "\xe2\x80\xa6",
                                        "\xf0\x9f\x98\x80"};
    pcre2_code *passes[4] = {NULL};
    for (size_t i = 0; i < 3; i++) {
        int code;
        PCRE2_SIZE at;
        passes[i] = pcre2_compile((PCRE2_SPTR)PATTERNS[i], PCRE2_ZERO_TERMINATED,
                                  PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
        assert_non_null(passes[i]);
    }
    struct pretoken *rule = open_rule("falcon-e", true);
    test_random_start(9);
    for (int round = 0; round < 20000; round++) {
        struct buf text = {0};
        struct buf want = {0};
        struct buf got = {0};
        for (int n = test_random() % 12; n > 0; n--)
            buf_add_cstr(&text, UNITS[(size_t)test_random() % (sizeof UNITS / sizeof UNITS[0])]);
        cut_by(passes, buf_str(&text).ptr, text.len, &want);
        cut(rule, buf_str(&text), &got);
        assert_string_equal(buf_str(&got).ptr, buf_str(&want).ptr);
        buf_fini(&text);
        buf_fini(&want);
        buf_fini(&got);
    }
    pretoken_free(rule);
    for (size_t i = 0; i < 3; i++)
        pcre2_code_free(passes[i]);
}

static void falcon3_and_falcon_e_differ(void **state)
{
    (void)state;
    check("falcon3", "It's 1234  $5.\n\nOk", "It|'s| |123|4| | $|5|.\n\n|Ok|");
    check("falcon-e", "It's 1234  $5.\n\nOk", "It|'|s| |1|2|3|4|  |$|5|.|\n|\n|Ok|");
    check("falcon_e", "It's 1234  $5.\n\nOk", "It|'|s| |1|2|3|4|  |$|5|.|\n|\n|Ok|");
}

static void takes_white_space_as_unicode_defines_it(void **state)
{
    (void)state;
    /* U+180E was white space until Unicode 6.3; U+3000 and U+0085 are. */
    check("llama-bpe", "a \xe1\xa0\x8e", "a| \xe1\xa0\x8e|");
    check("llama-bpe", ".\xe3\x80\x80\xe3\x80\x80.", ".|\xe3\x80\x80|\xe3\x80\x80|.|");
    check("llama-bpe", ".\xc2\x85.", ".|\xc2\x85|.|");
}

static void an_unknown_name_is_answered_with_the_known_ones(void **state)
{
    (void)state;
    char why[200];
    struct pretoken *rule = NULL;
    assert_int_equal(pretoken_new("falcon", true, why, sizeof why, &rule), ERR_UNKNOWN);
    assert_null(rule);
    assert_string_equal(
        why, "pre-tokenizer \"falcon\" is not known; known are llama-bpe, llama-3, qwen2, falcon3, "
             "falcon-e, falcon_e, gpt-2");
    char small[8];
    assert_int_equal(pretoken_new("falcon", true, small, sizeof small, &rule), ERR_UNKNOWN);
    assert_int_equal(strlen(small), 7);
}

static void malformed_bytes_are_pieces_of_their_own(void **state)
{
    (void)state;
    check("llama-bpe", "ab\xff\xfe\x80 cd", "ab|\xff\xfe\x80| cd|");
    check("llama-bpe", "a  \xc3", "a|  |\xc3|");
    check("llama-bpe", "\xed\xa0\x80\xf4\x90\x80\x80", "\xed\xa0\x80\xf4\x90\x80\x80|");
}

static void every_byte_string_is_cut_without_loss(void **state)
{
    (void)state;
    struct pretoken *rule = open_rule("llama-bpe", true);
    struct pretoken_scan *scan;
    assert_int_equal(pretoken_scan_new(rule, &scan), ERR_OK);
    test_random_start(7);
    for (int round = 0; round < 20000; round++) {
        static const char ODD[] = "a1 \n'\xc3\xa9\xe2\x80\xa8\xf0\x9f\x98\x80\xff\xc0\xed\x80";
        char text[24];
        size_t n = (size_t)test_random() % sizeof text;
        for (size_t i = 0; i < n; i++)
            text[i] = ODD[(size_t)test_random() % (sizeof ODD - 1)];
        pretoken_scan_start(scan, (struct str){text, n});
        size_t at = 0;
        for (;;) {
            struct str piece;
            assert_int_equal(pretoken_scan_next(scan, &piece), ERR_OK);
            assert_ptr_equal(piece.ptr, n > 0 ? text + at : piece.ptr);
            at += piece.len;
            if (piece.len == 0)
                break;
        }
        assert_int_equal(at, n);
    }
    pretoken_scan_free(scan);
    pretoken_free(rule);
}

/* Time for a megabyte of one unit, in ns. */
static uint64_t time_of(const struct pretoken *rule, const char *unit)
{
    struct buf text = {0};
    struct buf out = {0};
    while (text.len < 1 << 20)
        buf_add_cstr(&text, unit);
    uint64_t from = clock_now_ns();
    cut(rule, buf_str(&text), &out);
    uint64_t took = clock_now_ns() - from;
    buf_fini(&text);
    buf_fini(&out);
    return took;
}

static void long_runs_cost_linear_time(void **state)
{
    (void)state;
    static const char *const UNITS[] = {"a", " ", "\n", " \n", "   x", "'", "1", "!", "\t\t\t\r"};
    static const char *const NAMES[] = {"llama-bpe", "qwen2", "falcon-e", "gpt-2"};
    for (size_t k = 0; k < 2 * sizeof NAMES / sizeof NAMES[0]; k++) {
        struct pretoken *rule = open_rule(NAMES[k / 2], k % 2 != 0);
        for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++) {
            /* Under 0.2 s everywhere; a quadratic rule takes minutes. */
            uint64_t took = time_of(rule, UNITS[i]);
            if (took > UINT64_C(10000000000))
                fail_msg("a megabyte of \"%s\" took %u ms", UNITS[i], (unsigned)(took / 1000000));
        }
        pretoken_free(rule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_by_the_named_rule),
        cmocka_unit_test(falcon_e_cuts_as_its_three_passes_do),
        cmocka_unit_test(falcon3_and_falcon_e_differ),
        cmocka_unit_test(takes_white_space_as_unicode_defines_it),
        cmocka_unit_test(an_unknown_name_is_answered_with_the_known_ones),
        cmocka_unit_test(malformed_bytes_are_pieces_of_their_own),
        cmocka_unit_test(every_byte_string_is_cut_without_loss),
        cmocka_unit_test(long_runs_cost_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
