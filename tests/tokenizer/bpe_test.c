/* SPDX-License-Identifier: MIT */
#include "services/tokenizer/bpe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/clock.h"
#include "tests/tokenizer/shared_data.h"

static const char *const NO_CONTROLS[] = {NULL};

/* The ids as letters: bytes as themselves, tokens from 256 on as A, B, C ... */
static void check(struct bpe *b, const char *piece, const char *want)
{
    struct ids ids = {0};
    char got[64] = "";
    assert_int_equal(bpe_encode(b, str_from(piece), &ids), ERR_OK);
    for (size_t i = 0; i < ids.n; i++)
        got[i] = (char)(ids.v[i] < 256 ? ids.v[i] : 'A' + (ids.v[i] - 256));
    assert_string_equal(got, want);
    ids_fini(&ids);
}

static void merges_the_lowest_rank_first_and_leftmost(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"bc", "ab", "aa", "abc", NULL};
    struct test_vocab t;
    struct bpe *b;
    test_vocab_init_small(&t, TEXTS, NO_CONTROLS);
    assert_int_equal(bpe_new(t.vocab, false, &b), ERR_OK);
    check(b, "", "");
    check(b, "abc", "aA"); /* bc comes before ab, and a+bc is no merge */
    check(b, "aaa", "Ca");
    check(b, "xaby", "xBy");
    bpe_free(b);
    assert_int_equal(bpe_new(t.vocab, true, &b), ERR_OK);
    check(b, "abc", "D"); /* whole: "abc" is itself a token */
    check(b, "xabc", "xaA");
    bpe_free(b);
    test_vocab_fini(&t);
}

static void list_and_heap_agree_on_random_pieces(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"ab",   "ba",   "aa",   "abab", "aab",      "bb",
                                        "baba", "aaaa", "abba", "bab",  "babaabab", NULL};
    struct test_vocab t;
    struct bpe *b;
    struct ids by_list = {0};
    struct ids by_heap = {0};
    test_vocab_init_small(&t, TEXTS, NO_CONTROLS);
    assert_int_equal(bpe_new(t.vocab, false, &b), ERR_OK);
    test_random_start(3);
    for (int round = 0; round < 50000; round++) {
        char piece[BPE_SHORT];
        struct str s = {piece, 1 + (size_t)test_random() % BPE_SHORT};
        for (size_t i = 0; i < s.len; i++)
            piece[i] = "aaabbbc"[test_random() % 7];
        by_list.n = 0;
        by_heap.n = 0;
        assert_int_equal(bpe_encode(b, s, &by_list), ERR_OK);
        assert_int_equal(bpe_encode_by_heap(b, s, &by_heap), ERR_OK);
        assert_int_equal(by_list.n, by_heap.n);
        assert_memory_equal(by_list.v, by_heap.v, by_list.n * sizeof *by_list.v);
    }
    ids_fini(&by_list);
    ids_fini(&by_heap);
    bpe_free(b);
    test_vocab_fini(&t);
}

static void a_piece_of_a_megabyte_is_fast(void **state)
{
    (void)state;
    enum { LEN = 1 << 20 };
    static const char *const TEXTS[] = {"aa", "aaaa", "aaaaaaaa", "ab", "abab", NULL};
    struct test_vocab t;
    struct bpe *b;
    struct ids ids = {0};
    test_vocab_init_small(&t, TEXTS, NO_CONTROLS);
    assert_int_equal(bpe_new(t.vocab, false, &b), ERR_OK);
    char *piece = malloc(LEN);
    assert_non_null(piece);
    memset(piece, 'a', LEN);
    uint64_t from = clock_now_ns();
    assert_int_equal(bpe_encode(b, (struct str){piece, LEN}, &ids), ERR_OK);
    assert_int_equal(ids.n, LEN / 8);
    /* 0.1 s; the quadratic way takes minutes. */
    assert_true(clock_now_ns() - from < UINT64_C(10000000000));
    free(piece);
    ids_fini(&ids);
    bpe_free(b);
    test_vocab_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merges_the_lowest_rank_first_and_leftmost),
        cmocka_unit_test(list_and_heap_agree_on_random_pieces),
        cmocka_unit_test(a_piece_of_a_megabyte_is_fast),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
