/* SPDX-License-Identifier: MIT */
#include "services/load/response.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct buf events; /* each in brackets */

static void on_event(void *ctx, struct str data)
{
    (void)ctx;
    buf_add_char(&events, '<');
    buf_add_str(&events, data);
    buf_add_char(&events, '>');
}

/* Feeds it in pieces of `step` bytes; gives how many bytes belonged to the response. */
static size_t feed(struct response *r, const char *text, size_t step)
{
    size_t n = strlen(text);
    size_t used = 0;
    *r = (struct response){.event = on_event, .body_cap = 100};
    buf_reset(&events);
    for (size_t at = 0; at < n; at += step) {
        size_t len = n - at < step ? n - at : step;
        used += response_feed(r, text + at, len);
    }
    return used;
}

static const char STREAM[] = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                             "transfer-encoding: chunked\r\n\r\n"
                             "c\r\ndata: one\n\nd\r\n"
                             "13;x=y\r\nata:two\r\n\r\n: ping\n\r\n"
                             "1f\r\n\nevent: x\ndata: a\ndata: b\n\ndata\r\n"
                             "11\r\n: [DONE]\n\ndata: x\r\n"
                             "0\r\ntrailer: 1\r\n\r\n";

static void events_of_a_chunked_stream_come_whole_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t step = 1; step <= sizeof STREAM; step++) {
        struct response r;
        assert_int_equal(feed(&r, STREAM, step), sizeof STREAM - 1);
        assert_int_equal(r.state, RESPONSE_DONE);
        assert_int_equal(r.status, 200);
        assert_true(r.is_stream && !r.does_close);
        assert_true(str_is(buf_str(&events), "<one><two><a\nb><[DONE]>")); /* x was not ended */
        response_fini(&r);
    }
}

static void bytes_after_the_response_are_not_taken(void **state)
{
    static const char TWO[] = "HTTP/1.1 429 No\r\ncontent-length: 4\r\nConnection: Close\r\n\r\n"
                              "waitHTTP/1.1";
    struct response r;
    (void)state;
    assert_int_equal(feed(&r, TWO, sizeof TWO), sizeof TWO - 1 - 8);
    assert_int_equal(r.state, RESPONSE_DONE);
    assert_int_equal(r.status, 429);
    assert_true(r.does_close);
    assert_true(str_is(buf_str(&r.body), "wait"));
    response_fini(&r);
}

static void a_close_ends_only_a_body_without_length(void **state)
{
    struct response r;
    (void)state;
    (void)feed(&r, "HTTP/1.1 200 OK\r\n\r\nabc", 5);
    assert_int_equal(r.state, RESPONSE_UNTIL_CLOSE);
    assert_true(response_close(&r) && r.does_close);
    response_fini(&r);
    (void)feed(&r, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc", 5);
    assert_false(response_close(&r));
    response_fini(&r);
    (void)feed(&r, STREAM, sizeof STREAM);
    response_reset(&r);
    (void)response_feed(&r, STREAM, sizeof STREAM - 10);
    assert_false(response_close(&r));
    response_fini(&r);
}

static void an_interim_response_is_passed_over(void **state)
{
    struct response r;
    (void)state;
    (void)feed(&r, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n", 3);
    assert_int_equal(r.status, 204);
    assert_int_equal(r.state, RESPONSE_DONE);
    response_fini(&r);
}

static void what_is_no_response_is_bad(void **state)
{
    static const char *const BAD[] = {
        "SSH-2.0-x\r\n\r\n",
        "HTTP/1.1 9\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nab\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct response r;
        (void)feed(&r, BAD[i], 1);
        assert_int_equal(r.state, RESPONSE_BAD);
        response_fini(&r);
    }
}

static int forget(void **state)
{
    (void)state;
    buf_fini(&events);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_of_a_chunked_stream_come_whole_however_it_is_cut),
        cmocka_unit_test(bytes_after_the_response_are_not_taken),
        cmocka_unit_test(a_close_ends_only_a_body_without_length),
        cmocka_unit_test(an_interim_response_is_passed_over),
        cmocka_unit_test(what_is_no_response_is_bad),
    };
    return cmocka_run_group_tests(tests, NULL, forget);
}
