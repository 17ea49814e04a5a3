/* SPDX-License-Identifier: MIT */
#include "services/halo/waterfall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "proto/span.h"

/* An engine dies after 2 of 10 ms, another one goes on. */
static json_t *make_trace(void)
{
    static const char TRACE[] =
        "{\"id\":\"req_1\",\"trace_id\":\"t1\",\"parent_id\":\"p1\",\"model\":\"m\",\"end\":"
        "\"stop\","
        "\"s\":0.01,\"ttft_s\":null,\"prompt_tokens\":7,\"cached_tokens\":1,\"tokens\":3,"
        "\"choices\":1,\"dropped_spans\":2,\"spans\":["
        "{\"name\":\"engine\",\"process\":\"router\",\"at\":\"engine.2\",\"pid\":3,\"choice\":0,"
        "\"start_ns\":3000000,\"ns\":7000000,\"busy_ns\":7000000,\"tokens\":2,\"how\":\"done\"},"
        "{\"name\":\"engine\",\"process\":\"router\",\"at\":\"engine.1\",\"pid\":3,\"choice\":0,"
        "\"start_ns\":1000000,\"ns\":1000000,\"busy_ns\":1000000,\"tokens\":1,\"how\":\"lost\"},"
        "{\"name\":\"prefill\",\"process\":\"engine\",\"at\":\"engine.2\",\"pid\":5,\"choice\":0,"
        "\"start_ns\":3000000,\"ns\":1000000,\"busy_ns\":500000,\"tokens\":7,\"how\":\"done\"},"
        "{\"name\":\"read\",\"process\":\"gateway\",\"at\":\"\",\"pid\":1,\"choice\":0,"
        "\"start_ns\":0,\"ns\":10,\"busy_ns\":10,\"tokens\":0,\"how\":\"done\"}]}";
    json_t *o = json_loads(TRACE, 0, NULL);
    assert_non_null(o);
    return o;
}

static void a_picture_has_a_line_for_each_span_in_order(void **state)
{
    (void)state;
    json_t *trace = make_trace();
    struct buf out = {0};
    waterfall_draw(trace, &out);
    const char *picture = buf_str(&out).ptr;
    const char *read = strstr(picture, "\nread ");
    const char *lost = strstr(picture, "\n    engine       engine.1");
    const char *next = strstr(picture, "\n    engine       engine.2");
    const char *prefill = strstr(picture, "      prefill    engine.2");
    assert_true(read != NULL && read < lost && lost < next && next < prefill);
    assert_non_null(strstr(lost, "1.000      1.000  1 tokens  lost\n"));
    assert_non_null(strstr(prefill, "3.000      1.000  busy 0.500  7 tokens\n"));
    assert_non_null(strstr(picture, "stop after 10.000 ms\n7 prompt tokens (1 cached), 3 gen"));
    assert_non_null(strstr(picture, "trace t1, asked for by span p1\n"));
    assert_non_null(strstr(picture, "2 more spans were not kept"));
    buf_fini(&out);
    json_decref(trace);
}

static void a_bar_lies_where_its_time_lies(void **state)
{
    (void)state;
    json_t *trace = make_trace();
    struct buf out = {0};
    waterfall_draw(trace, &out);
    /* Of 40 cells for 10 ms: four from the fifth on, then 28 from the thirteenth on. */
    assert_non_null(strstr(buf_str(&out).ptr, "engine.1       ████        "));
    assert_non_null(
        strstr(buf_str(&out).ptr, "engine.2               ████████████████████████████ "));
    buf_fini(&out);
    json_decref(trace);
}

static void what_is_missing_or_odd_is_drawn_all_the_same(void **state)
{
    (void)state;
    static const char *const ODD[] = {
        "{}", "[]", "{\"spans\":[{}]}",
        "{\"s\":1e300,\"spans\":[{\"start_ns\":-5,\"ns\":1e19,\"name\":\"?\"}]}"};
    for (size_t i = 0; i < sizeof ODD / sizeof *ODD; i++) {
        json_t *o = json_loads(ODD[i], 0, NULL);
        struct buf out = {0};
        waterfall_draw(o, &out);
        assert_true(out.len > 0);
        json_t *events = waterfall_chrome(o);
        assert_true(json_is_array(json_object_get(events, "traceEvents")));
        json_decref(events);
        buf_fini(&out);
        json_decref(o);
    }
}

static void chrome_gets_microseconds_and_a_lane_for_each_kind(void **state)
{
    (void)state;
    json_t *trace = make_trace();
    json_t *chrome = waterfall_chrome(trace);
    const json_t *events = json_object_get(chrome, "traceEvents");
    size_t n_spans = 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        const json_t *e = json_array_get(events, i);
        if (strcmp(json_string_value(json_object_get(e, "ph")), "X") != 0)
            continue;
        n_spans++;
        if (strcmp(json_string_value(json_object_get(e, "name")), "prefill") != 0)
            continue;
        assert_true(json_real_value(json_object_get(e, "ts")) == 3000.0);
        assert_true(json_real_value(json_object_get(e, "dur")) == 1000.0);
        assert_int_equal(json_integer_value(json_object_get(e, "pid")), 5);
        assert_int_equal(json_integer_value(json_object_get(e, "tid")), SPAN_prefill);
    }
    assert_int_equal(n_spans, 4);
    json_decref(chrome);
    json_decref(trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_picture_has_a_line_for_each_span_in_order),
        cmocka_unit_test(a_bar_lies_where_its_time_lies),
        cmocka_unit_test(what_is_missing_or_odd_is_drawn_all_the_same),
        cmocka_unit_test(chrome_gets_microseconds_and_a_lane_for_each_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
