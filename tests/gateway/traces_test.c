/* SPDX-License-Identifier: MIT */
#include "services/gateway/traces.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static uint64_t begin(struct traces *t, unsigned number, bool is_over)
{
    struct trace *trace = traces_begin(t);
    assert_non_null(trace);
    (void)snprintf(trace->id, sizeof trace->id, "req_%u", number);
    (void)snprintf(trace->context.trace_id, sizeof trace->context.trace_id, "%032u", number);
    trace->start_ns = 1000 + number;
    trace->end_ns = is_over ? 2000 + number : 0;
    return trace->serial;
}

static bool has(const struct traces *t, const char *id)
{
    struct buf out = {0};
    bool found = traces_write_one(t, str_from(id), &out);
    assert_int_equal(found, out.len > 0);
    buf_fini(&out);
    return found;
}

static void the_oldest_that_is_over_goes_first(void **state)
{
    (void)state;
    struct traces *t = traces_new(3);
    uint64_t kept = begin(t, 0, false);
    for (unsigned i = 1; i < 10; i++)
        (void)begin(t, i, true);
    assert_true(has(t, "req_0") && has(t, "req_8") && has(t, "req_9"));
    assert_false(has(t, "req_7"));
    assert_string_equal(traces_get(t, kept)->id, "req_0");
    traces_free(t);
}

static void a_serial_number_never_means_another(void **state)
{
    (void)state;
    struct traces *t = traces_new(2);
    uint64_t first = begin(t, 1, true);
    uint64_t second = begin(t, 2, true);
    assert_true(first > 0 && second > 0 && first != second);
    uint64_t third = begin(t, 3, true);
    assert_null(traces_get(t, first));
    assert_null(traces_get(t, 0));
    assert_string_equal(traces_get(t, second)->id, "req_2");
    assert_string_equal(traces_get(t, third)->id, "req_3");
    traces_free(t);
}

static void when_all_are_in_flight_there_is_none(void **state)
{
    (void)state;
    struct traces *t = traces_new(2);
    (void)begin(t, 1, false);
    uint64_t second = begin(t, 2, false);
    assert_null(traces_begin(t));
    traces_get(t, second)->end_ns = 5000;
    assert_int_not_equal(begin(t, 3, false), 0);
    assert_true(has(t, "req_1") && !has(t, "req_2") && has(t, "req_3"));
    traces_free(t);
}

static void spans_beyond_the_cap_are_counted(void **state)
{
    (void)state;
    struct traces *t = traces_new(1);
    struct trace *trace = traces_get(t, begin(t, 1, true));
    struct rec_span s = {.kind = 4711, .how = 77, .at = STR_LIT("a name that is far too long")};
    for (int i = 0; i < TRACE_SPANS_MAX + 5; i++)
        trace_add(trace, &s, 0);
    trace_add(NULL, &s, 0);
    assert_int_equal(trace->n_spans, TRACE_SPANS_MAX);
    assert_int_equal(trace->n_dropped, 5);
    struct buf out = {0};
    assert_true(traces_write_one(t, STR_LIT("req_1"), &out));
    assert_non_null(strstr(buf_str(&out).ptr, "\"name\":\"unknown\",\"process\":\"unknown\","
                                              "\"at\":\"a name that is far \""));
    buf_fini(&out);
    trace = traces_get(t, begin(t, 2, true));
    assert_int_equal(trace->n_spans, 0);
    traces_free(t);
}

static void a_trace_is_found_by_each_of_its_names(void **state)
{
    (void)state;
    struct traces *t = traces_new(4);
    (void)begin(t, 1, true);
    (void)begin(t, 2, true);
    assert_true(has(t, "req_2") && has(t, "2") && has(t, "chatcmpl-2") && has(t, "cmpl-2"));
    assert_true(has(t, "00000000000000000000000000000002"));
    assert_false(has(t, "") || has(t, "req_") || has(t, "3"));
    traces_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_that_is_over_goes_first),
        cmocka_unit_test(a_serial_number_never_means_another),
        cmocka_unit_test(when_all_are_in_flight_there_is_none),
        cmocka_unit_test(spans_beyond_the_cap_are_counted),
        cmocka_unit_test(a_trace_is_found_by_each_of_its_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
