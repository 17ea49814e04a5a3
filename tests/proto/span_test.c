/* SPDX-License-Identifier: MIT */
#include "proto/span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void a_span_has_its_process_and_never_a_negative_length(void **state)
{
    (void)state;
    struct rec_span s = span_of(SPAN_prefill, 100, 350);
    assert_int_equal(s.kind, SPAN_prefill);
    assert_int_equal(s.start_ns, 100);
    assert_int_equal(s.ns, 250);
    assert_int_equal(s.pid, getpid());
    assert_int_equal(span_of(SPAN_queue, 100, 99).ns, 0);
}

static void a_full_list_forgets_its_oldest(void **state)
{
    (void)state;
    struct span_list l = {0};
    for (uint64_t i = 0; i < SPAN_LIST_MAX + 3; i++) {
        struct rec_span s = span_of(SPAN_engine, i, i + 1);
        span_list_add(&l, &s);
    }
    assert_int_equal(l.n, SPAN_LIST_MAX);
    assert_int_equal(l.items[0].start_ns, 3);
    assert_int_equal(l.items[SPAN_LIST_MAX - 1].start_ns, SPAN_LIST_MAX + 2);
}

static void joined_spans_outlive_the_list_and_its_names(void **state)
{
    (void)state;
    char name[] = "engine.1";
    struct arena a = {0};
    struct span_list l = {0};
    struct rec_span came = span_of(SPAN_decode, 5, 6);
    struct rec_span own = span_of(SPAN_engine, 1, 2);
    own.at = str_from(name);
    span_list_add(&l, &own);
    size_t n;
    const struct rec_span *all = span_list_join(&l, &came, 1, &a, &n);
    memset(name, 'x', sizeof name - 1);
    assert_int_equal(n, 2);
    assert_int_equal(l.n, 0);
    assert_int_equal(all[0].kind, SPAN_decode);
    assert_int_equal(all[1].kind, SPAN_engine);
    assert_true(str_is(all[1].at, "engine.1"));
    arena_fini(&a);
}

static void an_event_never_has_more_than_a_frame_may_carry(void **state)
{
    (void)state;
    static struct rec_span came[SPAN_EVENT_MAX];
    struct arena a = {0};
    struct span_list l = {0};
    struct rec_span own = span_of(SPAN_engine, 1, 2);
    span_list_add(&l, &own);
    struct rec_token t = {.req = 1, .has_id = true};
    t.spans = span_list_join(&l, came, SPAN_EVENT_MAX, &a, &t.n_spans);
    assert_int_equal(t.n_spans, SPAN_EVENT_MAX);
    assert_int_equal(t.spans[SPAN_EVENT_MAX - 1].kind, SPAN_engine);
    struct frame_tokens f = {.items = &t, .n_items = 1};
    struct buf out = {0};
    assert_int_equal(frame_encode(&out, FRAME_tokens, 1, &f), ERR_OK);
    buf_fini(&out);
    arena_fini(&a);
}

static void without_memory_there_are_none(void **state)
{
    (void)state;
    struct arena a = {.cap_bytes = 16};
    struct span_list l = {0};
    struct rec_span own = span_of(SPAN_engine, 1, 2);
    span_list_add(&l, &own);
    size_t n = 7;
    assert_null(span_list_join(&l, NULL, 0, &a, &n));
    assert_int_equal(n, 0);
    arena_fini(&a);
}

static void each_kind_has_a_name_and_a_process(void **state)
{
    (void)state;
    for (uint32_t kind = 1; kind < SPAN_KINDS; kind++)
        assert_string_not_equal(span_name(kind), "unknown");
    assert_string_equal(span_name(SPAN_prefill), "prefill");
    assert_string_equal(span_process(SPAN_engine), "router");
    assert_string_equal(span_name(0), "unknown");
    assert_string_equal(span_process(UINT32_MAX), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_span_has_its_process_and_never_a_negative_length),
        cmocka_unit_test(a_full_list_forgets_its_oldest),
        cmocka_unit_test(joined_spans_outlive_the_list_and_its_names),
        cmocka_unit_test(an_event_never_has_more_than_a_frame_may_carry),
        cmocka_unit_test(without_memory_there_are_none),
        cmocka_unit_test(each_kind_has_a_name_and_a_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
