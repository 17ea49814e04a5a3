/* SPDX-License-Identifier: MIT */
#include "services/engine/draft.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { CAP = 256, MOST = 8 };

struct text {
    struct draft draft;
    uint32_t tokens[CAP];
    uint32_t n;
};

/* Every letter is a token. */
static struct text text_of(const char *letters)
{
    struct text t = {.n = (uint32_t)strlen(letters)};
    draft_init(&t.draft);
    for (uint32_t i = 0; i < t.n; i++)
        t.tokens[i] = (uint32_t)letters[i];
    return t;
}

static void make_sure_of(struct draft *d)
{
    for (uint32_t i = 0; i <= DRAFT_MAX_MATCH; i++)
        d->rates[i] = 1.0F;
}

static uint32_t propose(struct text *t, uint32_t most)
{
    return draft_propose(&t->draft, t->tokens, t->n, most, 1, 3);
}

static void expect_draft(const char *letters, const char *want)
{
    struct text t = text_of(letters);
    make_sure_of(&t.draft);
    size_t n = strlen(want);
    assert_int_equal(propose(&t, (uint32_t)n), n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(t.tokens[t.n + i], (uint32_t)want[i]);
    draft_settle(&t.draft, 0);
}

static void what_followed_before_is_proposed(void **state)
{
    (void)state;
    expect_draft("one two three, one t", "wo three");
    expect_draft("ababc.ab", "c.ab");
}

static void the_longest_match_wins_and_then_the_latest(void **state)
{
    (void)state;
    expect_draft("xabcd1 abcd2 bcd3 xabcd", "2");
    expect_draft("abcd1 abcd2 cd3 abcd", "2");
    expect_draft("bcd1 cd2 bcd", "1");
}

static void a_draft_repeats_itself_where_the_text_does(void **state)
{
    (void)state;
    expect_draft("zxyxyxy", "xyxyxyxy");
    expect_draft("zaaa", "aaaaaaaa");
}

static void no_match_or_a_short_one_gives_no_draft(void **state)
{
    (void)state;
    static const char *const TEXTS[] = {"", "a", "aa", "ab", "abcdefg", "abcb", "a.b"};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        struct text t = text_of(TEXTS[i]);
        make_sure_of(&t.draft);
        assert_int_equal(propose(&t, MOST), 0);
    }
}

static void nothing_is_written_where_nothing_is_asked_for(void **state)
{
    (void)state;
    struct text t = text_of("abcdabcd");
    make_sure_of(&t.draft);
    assert_int_equal(propose(&t, 0), 0);
    assert_int_equal(t.tokens[t.n], 0);
    assert_int_equal(propose(&t, 3), 3);
    assert_int_equal(t.tokens[t.n + 3], 0);
}

static void drafts_grow_as_they_are_right(void **state)
{
    (void)state;
    struct text t = text_of("abcdefgh.abcdefgh.abcd");
    uint32_t before = propose(&t, MOST);
    assert_in_range(before, 1, MOST - 1);
    draft_settle(&t.draft, before);
    for (int i = 0; i < 20; i++) {
        uint32_t n = propose(&t, MOST);
        assert_true(n >= before);
        draft_settle(&t.draft, n);
        before = n;
    }
    assert_int_equal(before, MOST);
}

static void wrong_drafts_end_soon_and_are_tried_again_later(void **state)
{
    (void)state;
    struct text t = text_of("abcdefgh.abcdefgh.abcd");
    uint32_t n_wrong = 0;
    uint32_t n_late = 0;
    for (uint32_t i = 0; i < 1000; i++) {
        uint32_t n = propose(&t, MOST);
        n_wrong += n;
        n_late += i >= 20 ? n : 0;
        if (n > 0)
            draft_settle(&t.draft, 0);
    }
    assert_in_range(n_late, 1, 1000 / 40);
    assert_true(n_wrong < 40);
}

static void full_steps_draft_only_what_is_nearly_certain(void **state)
{
    (void)state;
    struct text t = text_of("abcdefgh.abcdefgh.abcd");
    t.draft.rates[DRAFT_MAX_MATCH] = 0.9F;
    uint32_t before = propose(&t, MOST);
    draft_settle(&t.draft, 0);
    for (uint32_t n_rows = 2; n_rows < 200; n_rows += 3) {
        t.draft.rates[DRAFT_MAX_MATCH] = 0.9F;
        uint32_t n = draft_propose(&t.draft, t.tokens, t.n, MOST, n_rows, 3);
        assert_true(n <= before);
        before = n;
        if (n > 0)
            draft_settle(&t.draft, 0);
    }
    assert_int_equal(before, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_followed_before_is_proposed),
        cmocka_unit_test(the_longest_match_wins_and_then_the_latest),
        cmocka_unit_test(a_draft_repeats_itself_where_the_text_does),
        cmocka_unit_test(no_match_or_a_short_one_gives_no_draft),
        cmocka_unit_test(nothing_is_written_where_nothing_is_asked_for),
        cmocka_unit_test(drafts_grow_as_they_are_right),
        cmocka_unit_test(wrong_drafts_end_soon_and_are_tried_again_later),
        cmocka_unit_test(full_steps_draft_only_what_is_nearly_certain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
