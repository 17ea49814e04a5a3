/* SPDX-License-Identifier: MIT */
/* SentencePiece's BPE: vocab, bpe, spm and encode together, and the way back. */
#include "services/tokenizer/spm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/utf8.h"
#include "services/tokenizer/encode.h"
#include "services/tokenizer/stream.h"
#include "services/tokenizer/tmpl_value.h"
#include "tests/tokenizer/shared_data.h"

/* "x" is in no token by itself; "xy" is. */
static const char *const TEXTS[] = {" ",
                                    "a",
                                    "b",
                                    "c",
                                    "ab",
                                    "bc",
                                    "aa",
                                    " a",
                                    "  ",
                                    "xy",
                                    "abc",
                                    "\xc3\xa9",
                                    "\xc3\xa9"
                                    "b",
                                    "y",
                                    NULL};
static const float SCORES[] = {-20, -20, -20, -20, -2, -1, -3, -2, -4, -5, -6, -20, -2, -20};
enum { AB = 259 + 4, BC, AA, _A, __, XY, ABC, E, EB, Y };

static struct test_vocab vocab;

static int make_vocab(void **state)
{
    (void)state;
    test_vocab_init_spm(&vocab, TEXTS, SCORES);
    return 0;
}

static int free_vocab(void **state)
{
    (void)state;
    test_vocab_fini(&vocab);
    return 0;
}

static struct encoder *open_encoder(const struct vocab *v, bool does_add_space)
{
    char why[200] = "";
    struct encoder *e = NULL;
    assert_int_equal(encode_new(v, "", does_add_space, why, sizeof why, &e), ERR_OK);
    return e;
}

/* The tokens' bytes with a bar behind each; control tokens in braces, byte tokens with a star. */
static void check(bool does_add_space, const char *text, const char *origins, const char *want)
{
    struct encoder *e = open_encoder(vocab.vocab, does_add_space);
    struct ids ids = {0};
    struct buf out = {0};
    uint8_t o[64] = {0};
    for (size_t i = 0; origins && origins[i]; i++)
        o[i] = origins[i] == 'T' ? TMPL_FROM_TEMPLATE : TMPL_FROM_REQUEST;
    assert_int_equal(encode_text(e, str_from(text), origins ? o : NULL, &ids), ERR_OK);
    for (size_t i = 0; i < ids.n; i++) {
        enum vocab_type type = vocab_type_of(vocab.vocab, ids.v[i]);
        buf_add_cstr(&out, type == VOCAB_CONTROL ? "{" : type == VOCAB_BYTE ? "*" : "");
        buf_add_str(&out, vocab_bytes(vocab.vocab, ids.v[i]));
        buf_add_cstr(&out, type == VOCAB_CONTROL ? "}" : "|");
    }
    assert_string_equal(buf_str(&out).ptr, want);
    buf_fini(&out);
    ids_fini(&ids);
    encode_free(e);
}

static void the_highest_score_merges_first_and_leftmost(void **state)
{
    (void)state;
    check(false, "", NULL, "");
    check(false, "abcb", NULL, "abc|b|"); /* by way of bc */
    check(false, "abbc", NULL, "ab|bc|");
    check(false, "aaa", NULL, "aa|a|");
    check(false, "aab", NULL, "a|ab|");
    check(false, "a ab", NULL, "a| a|b|"); /* " a" and "ab" have one score: the left one */
    check(false, "xyx", NULL, "xy|*x|"); /* a character that is no token is part of one */
}

static void a_space_is_put_in_front_of_each_text(void **state)
{
    (void)state;
    check(true, "a", NULL, " a|");
    check(true, "", NULL, "");
    check(true, " a", NULL, " | a|");
    check(true, "a<s>a", "TTTTT", " a|{<s>} a|");
    check(true, "<s>", "TTT", "{<s>}");
    check(true, "<s>", "uuu", " |*<|*s|*>|");
    check(true, "<s>", NULL, " |*<|*s|*>|");
}

static void a_low_line_of_the_text_is_a_space(void **state)
{
    (void)state;
    check(false,
          "\xe2\x96\x81"
          "a\xe2\x96\x81\xe2\x96\x81",
          NULL, " a|  |");
}

static void what_is_in_no_token_is_spelled_in_bytes(void **state)
{
    (void)state;
    check(false,
          "\xc3\xa9"
          "bc",
          NULL, "\xc3\xa9|bc|");
    check(false,
          "\xc3\xa9"
          "b",
          NULL,
          "\xc3\xa9"
          "b|");
    check(false, "\xe2\x82\xac\n", NULL, "*\xe2|*\x82|*\xac|*\n|");
    check(false, "\xff\xc3", NULL, "*\xff|*\xc3|");
}

/* ---- against the definition --------------------------------------------------------------------- */

struct symbol {
    size_t at;
    size_t len;
};

/* Merges as the definition says, looking at all pairs each time. */
static void encode_slowly(const struct test_vocab *t, struct str text, struct ids *ids)
{
    struct symbol s[64];
    size_t n = 0;
    for (size_t at = 0; at < text.len; n++) {
        int len = utf8_next(text.ptr + at, text.len - at);
        s[n] = (struct symbol){at, len > 0 ? (size_t)len : 1};
        at += s[n].len;
    }
    for (;;) {
        size_t best = n;
        float score = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            struct str both = {text.ptr + s[i].at, s[i].len + s[i + 1].len};
            uint32_t id = vocab_find(t->vocab, both);
            if (id != VOCAB_NONE && (best == n || t->scores[id] > score)) {
                best = i;
                score = t->scores[id];
            }
        }
        if (best == n)
            break;
        s[best].len += s[best + 1].len;
        n--;
        memmove(&s[best + 1], &s[best + 2], (n - best - 1) * sizeof *s);
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t id = vocab_find(t->vocab, (struct str){text.ptr + s[i].at, s[i].len});
        for (size_t k = 0; id == VOCAB_NONE && k < s[i].len; k++)
            assert_int_equal(ids_push(ids, vocab_byte(t->vocab, (uint8_t)text.ptr[s[i].at + k])),
                             ERR_OK);
        if (id != VOCAB_NONE)
            assert_int_equal(ids_push(ids, id), ERR_OK);
    }
}

static void check_random(const struct test_vocab *t)
{
    static const char ODD[] = "aaabbc  xy\xc3\xa9\xc3\xa9\xff";
    struct encoder *e = open_encoder(t->vocab, false);
    struct ids got = {0};
    struct ids want = {0};
    for (int round = 0; round < 30000; round++) {
        char text[60];
        struct str s = {text, (size_t)test_random() % sizeof text};
        for (size_t i = 0; i < s.len; i++)
            text[i] = ODD[(size_t)test_random() % (sizeof ODD - 1)];
        got.n = 0;
        want.n = 0;
        assert_int_equal(encode_text(e, s, NULL, &got), ERR_OK);
        encode_slowly(t, s, &want);
        assert_int_equal(got.n, want.n);
        assert_memory_equal(got.v, want.v, want.n * sizeof *want.v);
    }
    ids_fini(&got);
    ids_fini(&want);
    encode_free(e);
}

static void ids_are_those_of_the_definition(void **state)
{
    (void)state;
    test_random_start(5);
    check_random(&vocab);
}

static void a_token_across_words_is_found(void **state)
{
    (void)state;
    static const char *const ACROSS[] = {" ",  "a",   "b",    "ab",    " a",
                                         "b ", "b a", "ab a", "ab ab", NULL};
    static const float ITS[] = {-9, -9, -9, -3, -2, -5, -1, -2, -1};
    struct test_vocab t;
    test_vocab_init_spm(&t, ACROSS, ITS);
    assert_true(vocab_has_inner_space(t.vocab));
    assert_false(vocab_has_inner_space(vocab.vocab));
    test_random_start(6);
    check_random(&t);
    test_vocab_fini(&t);
}

/* ---- what is refused ---------------------------------------------------------------------------- */

static void without_byte_tokens_there_is_the_unknown_one(void **state)
{
    (void)state;
    struct test_vocab t;
    struct vocab *v = NULL;
    struct ids ids = {0};
    char why[200];
    test_vocab_init_spm(&t, TEXTS, SCORES);
    t.types[3 + 0xe2] = VOCAB_UNUSED;
    assert_int_equal(vocab_new(&t.data, why, sizeof why, &v), ERR_OK);
    struct encoder *e = open_encoder(v, false);
    assert_int_equal(encode_text(e, STR_LIT("a\xe2\x82\xac"), NULL, &ids), ERR_OK);
    assert_int_equal(ids.n, 2);
    assert_int_equal(ids.v[1], 0);
    encode_free(e);
    vocab_free(v);
    t.types[0] = VOCAB_UNUSED;
    v = NULL;
    assert_int_equal(vocab_new(&t.data, why, sizeof why, &v), ERR_MODEL_FORMAT);
    assert_string_equal(why, "tokenizer.bytes: no token for the byte 0xe2");
    ids_fini(&ids);
    test_vocab_fini(&t);
}

static void scores_are_numbers(void **state)
{
    (void)state;
    struct test_vocab t;
    struct vocab *v = NULL;
    char why[200];
    test_vocab_init_spm(&t, TEXTS, SCORES);
    uint32_t nan = 0x7fc00000;
    memcpy(&t.scores[AB], &nan, sizeof nan);
    assert_int_equal(vocab_new(&t.data, why, sizeof why, &v), ERR_MODEL_FORMAT);
    assert_string_equal(why, "tokenizer.scores: token 263 has no finite score");
    test_vocab_fini(&t);
}

/* ---- the way back ------------------------------------------------------------------------------- */

static void text_of(bool drops_space, const uint32_t *ids, size_t n, struct buf *out)
{
    struct stream s;
    bool is_stopped = false;
    const struct str stop = STR_LIT("bc");
    assert_int_equal(stream_init(&s, vocab.vocab, drops_space, &stop, 1, false), ERR_OK);
    for (size_t i = 0; i < n && !is_stopped; i++) {
        assert_int_equal(stream_push(&s, ids[i], out, &is_stopped), ERR_OK);
        assert_true(utf8_is_valid(buf_str(out).ptr, out->len));
    }
    if (!is_stopped)
        (void)stream_finish(&s, out);
    stream_fini(&s);
}

static void check_text(bool drops_space, const uint32_t *ids, size_t n, const char *want)
{
    struct buf out = {0};
    text_of(drops_space, ids, n, &out);
    assert_string_equal(buf_str(&out).ptr, want);
    buf_fini(&out);
    /* Cut anywhere and resumed, it is the same text. */
    for (size_t cut = 0; cut <= n; cut++) {
        struct stream s;
        size_t n_bytes;
        bool is_stopped;
        assert_int_equal(stream_init(&s, vocab.vocab, drops_space, NULL, 0, false), ERR_OK);
        assert_int_equal(stream_replay(&s, ids, cut, &n_bytes, &is_stopped), ERR_OK);
        for (size_t i = cut; i < n; i++)
            assert_int_equal(stream_push(&s, ids[i], &out, &is_stopped), ERR_OK);
        (void)stream_finish(&s, &out);
        assert_string_equal(buf_str(&out).ptr, want + n_bytes);
        stream_fini(&s);
        buf_fini(&out);
    }
}

static void one_space_in_front_is_dropped_where_asked(void **state)
{
    (void)state;
    check_text(true, (const uint32_t[]){_A, _A}, 2, "a a");
    check_text(false, (const uint32_t[]){_A, _A}, 2, " a a");
    check_text(true, (const uint32_t[]){__, _A}, 2, "  a");
    check_text(true, (const uint32_t[]){1, 259, AB, 259}, 4, "ab ");
    check_text(true, (const uint32_t[]){3 + ' ', 0, AB, 2}, 4, "ab");
}

static void bytes_make_whole_characters(void **state)
{
    (void)state;
    check_text(true, (const uint32_t[]){_A, 3 + 0xf0, 3 + 0x9f, 3 + 0x98, 3 + 0x80, AB}, 6,
               "a\xf0\x9f\x98\x80"
               "ab");
    check_text(true, (const uint32_t[]){3 + 0xf0, 3 + 0x9f, AB}, 3,
               "\xef\xbf\xbd"
               "ab");
}

static void a_stop_string_is_found_behind_the_dropped_space(void **state)
{
    (void)state;
    struct buf out = {0};
    text_of(true, (const uint32_t[]){259, AB, 259 + 3, AB}, 4, &out);
    assert_string_equal(buf_str(&out).ptr, "a");
    buf_fini(&out);
}

static void every_text_comes_back(void **state)
{
    (void)state;
    static const char *const FILES[] = {"text/udhr-multilingual.txt", "text/unicode-stress.txt",
                                        "text/emoji.txt", "text/malformed-utf8.bin"};
    struct test_vocab t;
    test_vocab_init(&t, "llama-spm");
    struct encoder *e = open_encoder(t.vocab, true);
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        struct blob b = shared_data_read(FILES[i]);
        struct ids ids = {0};
        struct buf back = {0};
        struct str text = {(const char *)b.p, b.n};
        assert_int_equal(encode_text(e, text, NULL, &ids), ERR_OK);
        for (size_t n = 0; n < ids.n; n++)
            buf_add_str(&back, vocab_bytes(t.vocab, ids.v[n]));
        struct spm_scan scan; /* the same but for U+2581 */
        spm_scan_init(&scan, t.vocab, true);
        spm_scan_start(&scan, text);
        assert_true(str_eq(buf_str(&back), buf_str(&scan.text)));
        spm_scan_fini(&scan);
        buf_fini(&back);
        ids_fini(&ids);
        free(b.p);
    }
    encode_free(e);
    test_vocab_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_highest_score_merges_first_and_leftmost),
        cmocka_unit_test(a_space_is_put_in_front_of_each_text),
        cmocka_unit_test(a_low_line_of_the_text_is_a_space),
        cmocka_unit_test(what_is_in_no_token_is_spelled_in_bytes),
        cmocka_unit_test(ids_are_those_of_the_definition),
        cmocka_unit_test(a_token_across_words_is_found),
        cmocka_unit_test(without_byte_tokens_there_is_the_unknown_one),
        cmocka_unit_test(scores_are_numbers),
        cmocka_unit_test(one_space_in_front_is_dropped_where_asked),
        cmocka_unit_test(bytes_make_whole_characters),
        cmocka_unit_test(a_stop_string_is_found_behind_the_dropped_space),
        cmocka_unit_test(every_text_comes_back), /* last: needs shared data */
    };
    size_t n = sizeof tests / sizeof tests[0];
    return _cmocka_run_group_tests("spm", tests, shared_data_is_at_hand() ? n : n - 1, make_vocab,
                                   free_vocab);
}
