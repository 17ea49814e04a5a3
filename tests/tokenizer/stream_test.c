/* SPDX-License-Identifier: MIT */
/* detok, stops and stream: the way from ids to text. */
#include "services/tokenizer/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/utf8.h"
#include "tests/tokenizer/shared_data.h"

static const char *const TEXTS[] = {"ab",       "abab",      "\xc3\xa9", "\xf0\x9f",
                                    "\xe2\x82", "a\xe2\x82", "xx",       NULL};
static const char *const CONTROLS[] = {"<|end|>", "<|start|>", NULL};

static struct test_vocab vocab;

static int make_vocab(void **state)
{
    (void)state;
    test_vocab_init_small(&vocab, TEXTS, CONTROLS);
    return 0;
}

static int free_vocab(void **state)
{
    (void)state;
    test_vocab_fini(&vocab);
    return 0;
}

/* What decoding all bytes at once gives. */
static void decode_at_once(const char *p, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n;) {
        int len = utf8_next(p + i, n - i);
        if (len > 0)
            buf_add(out, p + i, (size_t)len);
        else
            buf_add_cstr(out, "\xef\xbf\xbd");
        i = len == 0 ? n : i + (size_t)(len > 0 ? len : -len);
    }
}

static void text_is_that_of_decoding_all_at_once(void **state)
{
    (void)state;
    test_random_start(11);
    for (int round = 0; round < 20000; round++) {
        struct detok d;
        struct buf bytes = {0};
        struct buf got = {0};
        struct buf want = {0};
        detok_init(&d, vocab.vocab, false);
        for (int n = test_random() % 12; n > 0; n--) {
            /* Mostly bytes that can stand in UTF-8 sequences, and all the longer tokens. */
            uint32_t id = (uint32_t)(test_random() % 3 ? 0x80 + test_random() % 0x80
                                                       : 250 + test_random() % 14);
            detok_push(&d, id, &got);
            if (vocab_has(vocab.vocab, id) && vocab_type_of(vocab.vocab, id) == VOCAB_NORMAL)
                buf_add_str(&bytes, vocab_bytes(vocab.vocab, id));
            assert_true(utf8_is_valid(buf_str(&got).ptr, got.len));
        }
        detok_finish(&d, &got);
        decode_at_once(buf_str(&bytes).ptr, bytes.len, &want);
        assert_true(str_eq(buf_str(&got), buf_str(&want)));
        buf_fini(&bytes);
        buf_fini(&got);
        buf_fini(&want);
    }
}

static void every_file_comes_back_byte_for_byte(void **state)
{
    (void)state;
    static const char *const FILES[] = {"text/unicode-stress.txt", "text/emoji.txt",
                                        "text/utf8-kuhn-demo.txt", "text/utf8-kuhn-test.bin",
                                        "text/malformed-utf8.bin"};
    for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
        struct blob b = shared_data_read(FILES[i]);
        struct detok d;
        struct buf got = {0};
        struct buf want = {0};
        detok_init(&d, vocab.vocab, false);
        for (size_t k = 0; k < b.n; k++)
            detok_push(&d, b.p[k], &got);
        detok_finish(&d, &got);
        decode_at_once((const char *)b.p, b.n, &want);
        assert_true(str_eq(buf_str(&got), buf_str(&want)));
        buf_fini(&got);
        buf_fini(&want);
        free(b.p);
    }
}

static void control_tokens_and_unknown_ids_give_no_text(void **state)
{
    (void)state;
    struct detok d;
    struct buf out = {0};
    detok_init(&d, vocab.vocab, false);
    uint32_t end = vocab_find_control(vocab.vocab, STR_LIT("<|end|>"));
    detok_push(&d, 0xc3, &out);
    detok_push(&d, end, &out);
    detok_push(&d, 4000000000U, &out);
    assert_int_equal(out.len, 0);
    detok_push(&d, 0xa9, &out); /* a character may go on behind them: all bytes count */
    assert_string_equal(out.ptr, "\xc3\xa9");
    buf_fini(&out);
}

/* ---- stop strings ------------------------------------------------------------------------------- */

static struct stops *make_stops(const char *const *texts, size_t n, bool keep)
{
    struct str s[STOPS_MAX];
    struct stops *stops = NULL;
    for (size_t i = 0; i < n; i++)
        s[i] = str_from(texts[i]);
    assert_int_equal(stops_new(s, n, keep, &stops), ERR_OK);
    return stops;
}

static void text_up_to_the_stop_string_is_let_through(void **state)
{
    (void)state;
    struct stops *s = make_stops((const char *const[]){"END", "\n\n"}, 2, false);
    struct buf out = {0};
    assert_false(stops_push(s, STR_LIT("one E"), &out));
    assert_string_equal(out.ptr, "one ");
    assert_false(stops_push(s, STR_LIT("N"), &out));
    assert_string_equal(out.ptr, "one ");
    assert_false(stops_push(s, STR_LIT("E"), &out)); /* "ENE": only the last E may begin it */
    assert_string_equal(out.ptr, "one EN");
    assert_true(stops_push(s, STR_LIT("ND and more"), &out));
    assert_string_equal(out.ptr, "one EN");
    assert_true(stops_push(s, STR_LIT("more"), &out));
    stops_finish(s, &out);
    assert_string_equal(out.ptr, "one EN");
    stops_free(s);
    buf_fini(&out);
}

static void what_was_held_back_comes_at_the_end(void **state)
{
    (void)state;
    struct stops *s = make_stops((const char *const[]){"aab"}, 1, false);
    struct buf out = {0};
    assert_false(stops_push(s, STR_LIT("xaaa"), &out));
    assert_string_equal(out.ptr, "xa");
    stops_finish(s, &out);
    assert_string_equal(out.ptr, "xaaa");
    stops_free(s);
    buf_fini(&out);
}

static void a_kept_stop_string_is_let_through(void **state)
{
    (void)state;
    struct stops *s = make_stops((const char *const[]){"END"}, 1, true);
    struct buf out = {0};
    assert_false(stops_push(s, STR_LIT("a E"), &out));
    assert_true(stops_push(s, STR_LIT("NDx"), &out));
    assert_string_equal(out.ptr, "a END");
    stops_free(s);
    buf_fini(&out);
}

static void of_stop_strings_with_one_end_the_longest_counts(void **state)
{
    (void)state;
    struct stops *s = make_stops((const char *const[]){"b", "aab", "ab"}, 3, false);
    struct buf out = {0};
    assert_true(stops_push(s, STR_LIT("xaab"), &out));
    assert_string_equal(out.ptr, "x");
    stops_free(s);
    buf_fini(&out);
}

static void unusable_stop_strings_are_refused(void **state)
{
    (void)state;
    struct stops *s = NULL;
    struct str many[STOPS_MAX + 1];
    char longest[STOPS_MAX_BYTES + 1];
    memset(longest, 'a', sizeof longest);
    for (size_t i = 0; i <= STOPS_MAX; i++)
        many[i] = STR_LIT("a");
    assert_int_equal(stops_new(many, STOPS_MAX + 1, false, &s), ERR_TOO_LARGE);
    many[0] = STR_LIT("");
    assert_int_equal(stops_new(many, 1, false, &s), ERR_INVALID);
    many[0] = STR_LIT("a\xff");
    assert_int_equal(stops_new(many, 1, false, &s), ERR_UTF8);
    many[0] = (struct str){longest, sizeof longest};
    assert_int_equal(stops_new(many, 1, false, &s), ERR_TOO_LARGE);
    assert_null(s);
    many[0].len--;
    assert_int_equal(stops_new(many, STOPS_MAX, false, &s), ERR_OK);
    stops_free(s);
}

/* The definition: the first end of a stop string, the longest of those that end there. */
static size_t search(const char *text, const char *const *stops, size_t n, bool *ret_is_found)
{
    size_t len = strlen(text);
    for (size_t end = 1; end <= len; end++) {
        size_t longest = 0;
        for (size_t i = 0; i < n; i++) {
            size_t m = strlen(stops[i]);
            if (m <= end && m > longest && memcmp(text + end - m, stops[i], m) == 0)
                longest = m;
        }
        if (longest > 0) {
            *ret_is_found = true;
            return end - longest;
        }
    }
    *ret_is_found = false;
    return len;
}

static void random_texts_stop_where_the_definition_says(void **state)
{
    (void)state;
    test_random_start(5);
    for (int round = 0; round < 50000; round++) {
        char text[40] = "";
        char stop_texts[3][8] = {"", "", ""};
        const char *stops[3];
        size_t n = 1 + (size_t)test_random() % 3;
        for (size_t i = 0; i < n; i++) {
            for (int k = 1 + test_random() % 6; k > 0; k--)
                stop_texts[i][strlen(stop_texts[i])] = "ab"[test_random() % 2];
            stops[i] = stop_texts[i];
        }
        for (int k = test_random() % 39; k > 0; k--)
            text[strlen(text)] = "aabbc"[test_random() % 5];
        bool is_found;
        size_t want = search(text, stops, n, &is_found);
        struct stops *s = make_stops(stops, n, false);
        struct buf out = {0};
        bool has_stopped = false;
        for (size_t at = 0; at < strlen(text);) {
            size_t len = 1 + (size_t)test_random() % 5;
            len = len < strlen(text) - at ? len : strlen(text) - at;
            has_stopped = stops_push(s, (struct str){text + at, len}, &out);
            assert_true(out.len <= want);
            at += len;
        }
        assert_int_equal(has_stopped, is_found);
        stops_finish(s, &out);
        assert_true(str_eq(buf_str(&out), (struct str){text, want}));
        stops_free(s);
        buf_fini(&out);
    }
}

/* ---- the whole way ------------------------------------------------------------------------------ */

enum { MAX_IDS = 40 };

/* The text after each id; *ret_n is how many ids were pushed before a stop string ended the reply. */
static size_t run(struct stream *s, const uint32_t *ids, size_t n, struct buf *out, size_t *ends,
                  bool *ret_is_stopped)
{
    *ret_is_stopped = false;
    size_t i = 0;
    for (; i < n && !*ret_is_stopped; i++) {
        assert_int_equal(stream_push(s, ids[i], out, ret_is_stopped), ERR_OK);
        ends[i] = out->len;
    }
    return i;
}

static void resumed_text_goes_on_byte_for_byte(void **state)
{
    (void)state;
    const struct str stops[] = {STR_LIT("abba"), STR_LIT("\xc3\xa9x"),
                                STR_LIT("\xef\xbf\xbd"
                                        "b")};
    test_random_start(17);
    for (int round = 0; round < 20000; round++) {
        uint32_t ids[MAX_IDS];
        size_t ends[MAX_IDS];
        size_t n = 1 + (size_t)test_random() % MAX_IDS;
        for (size_t i = 0; i < n; i++)
            ids[i] =
                (uint32_t)(test_random() % 2 ? 'a' + test_random() % 2 : 256 + test_random() % 8);
        struct stream whole;
        struct buf text = {0};
        bool is_stopped;
        assert_int_equal(stream_init(&whole, vocab.vocab, false, stops, 3, false), ERR_OK);
        size_t n_used = run(&whole, ids, n, &text, ends, &is_stopped);
        bool has_late_stop = !is_stopped && stream_finish(&whole, &text);

        /* The same from any point on. */
        size_t cut = (size_t)test_random() % (n_used + 1);
        struct stream rest;
        struct buf tail = {0};
        size_t n_bytes;
        bool is_over;
        assert_int_equal(stream_init(&rest, vocab.vocab, false, stops, 3, false), ERR_OK);
        assert_int_equal(stream_replay(&rest, ids, cut, &n_bytes, &is_over), ERR_OK);
        assert_int_equal(n_bytes, cut > 0 ? ends[cut - 1] : 0);
        assert_int_equal(is_over, is_stopped && cut == n_used);
        if (!is_over) {
            run(&rest, ids + cut, n_used - cut, &tail, ends, &is_over);
            assert_int_equal(is_over, is_stopped);
            if (!is_over)
                assert_int_equal(stream_finish(&rest, &tail), has_late_stop);
        }
        assert_true(str_eq(buf_str(&tail), (struct str){text.ptr + n_bytes, text.len - n_bytes}));
        assert_int_equal(rest.ids.n, whole.ids.n);
        stream_fini(&whole);
        stream_fini(&rest);
        buf_fini(&text);
        buf_fini(&tail);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_that_of_decoding_all_at_once),
        cmocka_unit_test(control_tokens_and_unknown_ids_give_no_text),
        cmocka_unit_test(text_up_to_the_stop_string_is_let_through),
        cmocka_unit_test(what_was_held_back_comes_at_the_end),
        cmocka_unit_test(a_kept_stop_string_is_let_through),
        cmocka_unit_test(of_stop_strings_with_one_end_the_longest_counts),
        cmocka_unit_test(unusable_stop_strings_are_refused),
        cmocka_unit_test(random_texts_stop_where_the_definition_says),
        cmocka_unit_test(resumed_text_goes_on_byte_for_byte),
        cmocka_unit_test(every_file_comes_back_byte_for_byte), /* last: needs shared data */
    };
    size_t n = sizeof tests / sizeof tests[0];
    return _cmocka_run_group_tests("stream", tests, shared_data_is_at_hand() ? n : n - 1,
                                   make_vocab, free_vocab);
}
