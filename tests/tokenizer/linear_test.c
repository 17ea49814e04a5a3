/* SPDX-License-Identifier: MIT */
/* No text makes a tokenizer of any kind take more than about linear time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "common/buf.h"
#include "services/tokenizer/encode.h"
#include "tests/tokenizer/shared_data.h"

/* A quadratic way takes 16 times as long for the larger text, n log n 4.4 times; a larger heap that no
 * longer fits a cache and a noisy machine get the rest. */
enum { SMALL = 1 << 18, LARGE = 1 << 20, MOST = 11, TRIES = 6 };

static const char *const UNITS[] = {"a", "1", " ", "a ", "\n", "'", "\xe4\xb8\x80", "<", "\xff"};

static const char *const TEXTS[] = {"aa", "aaaa", "aaaaaaaa", "11", "1111",
                                    "  ", "    ", "''",       "<<", NULL};
static const char *const CONTROLS[] = {"<<<<<<<<", "<<<<|", NULL};

/* Of this thread alone: other processes do not count. */
static uint64_t now_ns(void)
{
    struct timespec t;
    assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t), 0);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static uint64_t time_of(struct encoder *e, const char *unit, size_t n_bytes)
{
    struct buf text = {0};
    struct ids ids = {0};
    while (text.len < n_bytes)
        buf_add_cstr(&text, unit);
    uint64_t from = now_ns();
    assert_int_equal(encode_text(e, buf_str(&text), NULL, &ids), ERR_OK);
    uint64_t took = now_ns() - from;
    assert_true(ids.n > 0);
    ids_fini(&ids);
    buf_fini(&text);
    return took;
}

static void check(const struct vocab *v, const char *name)
{
    char why[200];
    struct encoder *e;
    assert_int_equal(encode_new(v, name, true, why, sizeof why, &e), ERR_OK);
    for (size_t i = 0; i < sizeof UNITS / sizeof UNITS[0]; i++) {
        uint64_t small = UINT64_MAX;
        uint64_t large = UINT64_MAX;
        for (int k = 0; k < TRIES && (k == 0 || large / MOST >= small); k++) {
            uint64_t took = time_of(e, UNITS[i], SMALL);
            small = took < small ? took : small;
            took = time_of(e, UNITS[i], LARGE);
            large = took < large ? took : large;
        }
        if (large / MOST >= small)
            fail_msg("%s, \"%s\": %u us for %u bytes, %u us for %u", name, UNITS[i],
                     (unsigned)(small / 1000), SMALL, (unsigned)(large / 1000), LARGE);
    }
    encode_free(e);
}

static void byte_level_vocabularies_take_linear_time(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"llama-bpe", "qwen2", "falcon3", "falcon-e", "gpt-2"};
    struct test_vocab t;
    test_vocab_init_small(&t, TEXTS, CONTROLS);
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
        check(t.vocab, NAMES[i]);
    test_vocab_fini(&t);
}

static const char *const ITS_TEXTS[] = {"a",  "aa", "aaaa", "aaaaaaaa", "1",  "11",   " ",
                                        "  ", "'",  "''",   "<",        "<<", "<<<<", NULL};
static const float SCORES[13] = {-9, -1, -2, -3, -9, -1, -9, -1, -9, -1, -9, -1, -1};

static void sentencepiece_takes_linear_time(void **state)
{
    (void)state;
    struct test_vocab t;
    test_vocab_init_spm(&t, ITS_TEXTS, SCORES);
    check(t.vocab, "spm");
    test_vocab_fini(&t);
}

static void sentencepiece_that_cannot_be_cut_takes_linear_time(void **state)
{
    (void)state;
    static const char *const ACROSS[] = {"a", " ", "a ", "a a ", "aa", NULL};
    struct test_vocab t;
    test_vocab_init_spm(&t, ACROSS, SCORES);
    check(t.vocab, "spm, tokens across words");
    test_vocab_fini(&t);
}

static void real_vocabularies_take_linear_time(void **state)
{
    (void)state;
    static const char *const NAMES[] = {"llama-bpe", "qwen2", "gpt-2", "llama-spm"};
    for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
        struct test_vocab t;
        test_vocab_init(&t, NAMES[i]);
        check(t.vocab, NAMES[i]);
        test_vocab_fini(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(byte_level_vocabularies_take_linear_time),
        cmocka_unit_test(sentencepiece_takes_linear_time),
        cmocka_unit_test(sentencepiece_that_cannot_be_cut_takes_linear_time),
        cmocka_unit_test(real_vocabularies_take_linear_time), /* last: needs shared data */
    };
    size_t n = sizeof tests / sizeof tests[0];
    return _cmocka_run_group_tests("linear", tests, shared_data_is_at_hand() ? n : n - 1, NULL,
                                   NULL);
}
