/* SPDX-License-Identifier: MIT */
#include "services/gateway/resume.h"

#include <inttypes.h>

#include "services/gateway/relay.h"
#include "services/gateway/stream.h"

enum { DIGITS_MAX = 18 }; /* of an event's number */

/* ---- what is asked ------------------------------------------------------------------------------- */

bool resume_is_id(struct str id)
{
    if (id.len != STREAM_ID_LEN)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        char c = id.ptr[i];
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
            return false;
    }
    return true;
}

static bool parse_number(struct str s, uint64_t *ret)
{
    uint64_t n = 0;
    if (s.len < 1 || s.len > DIGITS_MAX)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    *ret = n;
    return true;
}

bool resume_parse_from(struct str query, struct str last_event_id, uint64_t *ret_from,
                       const char **ret_param)
{
    static const struct str FROM = {"from=", 5};
    uint64_t from = 0;
    *ret_param = "from";
    if (query.len > 0) {
        bool is_from = query.len > FROM.len && str_eq((struct str){query.ptr, FROM.len}, FROM);
        struct str value = {query.ptr + FROM.len, is_from ? query.len - FROM.len : 0};
        if (!is_from || !parse_number(value, &from))
            return false;
    }
    *ret_param = "last-event-id";
    if (last_event_id.len > 0 && !parse_number(last_event_id, &from))
        return false;
    *ret_from = from;
    return true;
}

/* ---- answers ------------------------------------------------------------------------------------- */

static void refuse_unknown(struct exchange *x)
{
    struct api_error e;
    error_set(&e, PROBLEM_STREAM_UNKNOWN, "id",
              "There is no such stream for you here: it is unknown, or was not kept any longer, or "
              "belongs to another API key, or went with the gateway process that held it. Ask "
              "again from the start.");
    exchange_refuse(x, &e);
}

static void refuse_from(struct exchange *x, const struct stream *s, uint64_t from,
                        enum stream_from why)
{
    struct api_error e;
    if (why == STREAM_FROM_LOST)
        error_set(&e, PROBLEM_STREAM_LOST, "from",
                  "The events after number %" PRIu64 " are not kept any longer; the first that can "
                  "be had are those after number %" PRIu64 ".",
                  from, stream_first(s));
    else
        error_set(&e, PROBLEM_FIELD_VALUE, "from",
                  "The stream has had no event with the number %" PRIu64 " yet.", from);
    exchange_refuse(x, &e);
}

static void go_on(struct stream *s, struct exchange *x, uint64_t from)
{
    enum stream_from can = stream_check(s, from);
    if (can == STREAM_FROM_END) {
        exchange_answer(x, 204, "text/event-stream", STR_LIT("")); /* browsers stop asking */
        return;
    }
    if (can != STREAM_FROM_OK) {
        refuse_from(x, s, from, can);
        return;
    }
    if (str_is(exchange_method(x), "HEAD")) {
        exchange_answer(x, 200, "text/event-stream", STR_LIT(""));
        return;
    }
    exchange_add_header(x, "x-halo-stream", str_from(stream_id(s)));
    exchange_add_header(x, "cache-control", STR_LIT("no-cache"));
    exchange_add_header(x, "x-accel-buffering", STR_LIT("no"));
    exchange_open(x, "text/event-stream");
    stream_continue(s, x, from);
}

/* Whether another process may know it; it then answers. */
static bool is_elsewhere(struct gateway *g, struct exchange *x, struct str id)
{
    bool is_ours = memcmp(id.ptr, streams_tag(g->streams), STREAM_TAG_LEN) == 0;
    return !is_ours && relay_start(g, x, (struct str){id.ptr, STREAM_TAG_LEN});
}

void resume_get(struct gateway *g, struct exchange *take_x, struct str id, const struct key *key)
{
    uint64_t from;
    const char *param;
    struct api_error e;
    struct str last_event_id = exchange_header(take_x, "last-event-id");
    if (!resume_parse_from(exchange_query(take_x), last_event_id, &from, &param)) {
        error_set(&e, PROBLEM_FIELD_VALUE, param,
                  "Expected ?from=N or a header 'last-event-id: N', the number of the last event "
                  "that came.");
        exchange_refuse(take_x, &e);
        return;
    }
    struct stream *s = streams_find(g->streams, id, key);
    if (s != NULL)
        go_on(s, take_x, from);
    else if (!resume_is_id(id) || !is_elsewhere(g, take_x, id))
        refuse_unknown(take_x);
}

void resume_delete(struct gateway *g, struct exchange *take_x, struct str id, const struct key *key)
{
    struct stream *s = streams_find(g->streams, id, key);
    if (s == NULL) {
        if (!resume_is_id(id) || !is_elsewhere(g, take_x, id))
            refuse_unknown(take_x);
        return;
    }
    streams_cancel(s);
    exchange_answer(take_x, 200, "application/json",
                    STR_LIT("{\"object\":\"stream\",\"deleted\":true}\n"));
}
