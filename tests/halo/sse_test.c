/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "services/halo/sse.h"

static void on_event(void *ctx, struct str data)
{
    struct buf *all = ctx;
    buf_add_char(all, '[');
    buf_add_str(all, data);
    buf_add_char(all, ']');
}

/* All events of a stream that comes in pieces of `piece` bytes. */
static void check(const char *stream, size_t piece, const char *want)
{
    struct buf all = {0};
    struct sse s = {.event = on_event, .ctx = &all};
    size_t len = strlen(stream);
    for (size_t at = 0; at < len; at += piece)
        assert_true(sse_feed(&s, stream + at, len - at < piece ? len - at : piece));
    (void)buf_reserve(&all, 0);
    assert_string_equal(all.ptr, want);
    sse_fini(&s);
    buf_fini(&all);
}

static void events_are_the_same_however_the_bytes_come(void **state)
{
    (void)state;
    static const char STREAM[] = ": comment\n\ndata: one\n\nevent: x\nid: 3\ndata:two\n\n"
                                 "data: a\ndata: b\n\r\ndata: crlf\r\n\r\ndata: cr\r\r"
                                 "data:  two blanks\n\nretry: 5\n\ndata\n\ndatax: y\n\ndata:\n\n"
                                 "data: not ended\n";
    static const char WANT[] = "[one][two][a\nb][crlf][cr][ two blanks][]";
    for (size_t piece = 1; piece < sizeof STREAM; piece++)
        check(STREAM, piece, WANT);
}

static void the_last_id_is_that_of_the_last_whole_event(void **state)
{
    (void)state;
    struct buf all = {0};
    struct sse s = {.event = on_event, .ctx = &all};
    static const char FIRST[] = "id: 7\ndata: a\n\nid:8\ndata: b\n\ndata: c\n\nid: 9\ndata: ha";
    static const char SECOND[] = "id: 9\ndata: half\n\n";
    assert_true(sse_feed(&s, FIRST, sizeof FIRST - 1));
    assert_string_equal(s.last_id, "8");
    sse_restart(&s);
    assert_string_equal(s.last_id, "8");
    assert_true(sse_feed(&s, SECOND, sizeof SECOND - 1));
    assert_string_equal(s.last_id, "9");
    assert_string_equal(all.ptr, "[a][b][c][half]");
    sse_fini(&s);
    buf_fini(&all);
}

static void an_event_without_end_is_refused(void **state)
{
    (void)state;
    struct buf all = {0};
    struct sse s = {.event = on_event, .ctx = &all};
    char *chunk = malloc(65536);
    bool ok = true;
    size_t fed = 0;
    assert_non_null(chunk);
    memset(chunk, 'x', 65536);
    assert_true(sse_feed(&s, "data: ", 6));
    while (ok && fed < 4 * (size_t)SSE_MAX_EVENT) {
        ok = sse_feed(&s, chunk, 65536);
        fed += 65536;
    }
    assert_false(ok);
    assert_in_range(fed, SSE_MAX_EVENT - 65536, SSE_MAX_EVENT + 65536);
    sse_fini(&s);
    free(chunk);
    buf_fini(&all);
}

static void an_event_of_many_lines_without_end_is_refused(void **state)
{
    (void)state;
    struct buf all = {0};
    struct sse s = {.event = on_event, .ctx = &all};
    bool ok = true;
    size_t fed = 0;
    while (ok && fed < 4 * (size_t)SSE_MAX_EVENT) {
        ok = sse_feed(&s, "data: 0123456789\n", 17);
        fed += 17;
    }
    assert_false(ok);
    sse_fini(&s);
    buf_fini(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_the_same_however_the_bytes_come),
        cmocka_unit_test(the_last_id_is_that_of_the_last_whole_event),
        cmocka_unit_test(an_event_without_end_is_refused),
        cmocka_unit_test(an_event_of_many_lines_without_end_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
