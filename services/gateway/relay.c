/* SPDX-License-Identifier: MIT */
#include "services/gateway/relay.h"

#include <errno.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"

enum {
    READ_BYTES = 64 * 1024,
    HEAD_MAX = 16 * 1024,
    BODY_MAX = 64 * 1024, /* of an answer that is not a stream */
    WAITING_MAX = 256 * 1024, /* bytes for a slow client before we stop reading */
    STATUS_AT = 9, /* after "HTTP/1.1 " */
};

static const struct str DONE = {"data: [DONE]\n\n", 14};

struct relay {
    struct gateway *gateway;
    struct relay *next;
    struct relay *previous;
    struct exchange *exchange;
    struct loop_watch watch;
    bool is_reading;
    bool is_streaming; /* the head came, and what follows are events */
    struct buf in; /* head and body of an answer; of a stream its last bytes */
};

void relay_path(const char *run, struct str tag, struct buf *out)
{
    buf_printf(out, "%s/gateway-%.*s.http", run, (int)tag.len, tag.ptr);
}

static void read_on(struct relay *r)
{
    if (r->is_reading)
        return;
    r->is_reading = loop_watch_add(r->gateway->loop, &r->watch, EPOLLIN) == ERR_OK;
}

static void pause_reading(struct relay *r)
{
    if (r->is_reading)
        loop_watch_remove(r->gateway->loop, &r->watch);
    r->is_reading = false;
}

static void relay_free(struct relay *r)
{
    pause_reading(r);
    (void)close(r->watch.fd);
    buf_fini(&r->in);
    if (r->gateway->relays == r)
        r->gateway->relays = r->next;
    else
        r->previous->next = r->next;
    if (r->next != NULL)
        r->next->previous = r->previous;
    free(r);
}

/* ---- the answer ---------------------------------------------------------------------------------- */

/* The value of a header in the lines of a head; "" if there is none. `name` is lower case, as h2o and
 * we write them. */
static struct str find_header(struct str head, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = head.ptr;
         (at = memmem(at, (size_t)(head.ptr + head.len - at), "\r\n", 2)) != NULL;) {
        at += 2;
        size_t left = (size_t)(head.ptr + head.len - at);
        if (left <= n + 2 || strncasecmp(at, name, n) != 0 || at[n] != ':')
            continue;
        const char *value = at + n + 1 + (at[n + 1] == ' ');
        const char *end = memmem(value, (size_t)(head.ptr + head.len - value), "\r\n", 2);
        return (struct str){value, (size_t)((end != NULL ? end : head.ptr + head.len) - value)};
    }
    return STR_LIT("");
}

/* Where the body begins; 0: the head is not complete. */
static size_t find_body(const struct relay *r)
{
    const char *end = r->in.len > 0 ? memmem(r->in.ptr, r->in.len, "\r\n\r\n", 4) : NULL;
    return end != NULL ? (size_t)(end - r->in.ptr) + 4 : 0;
}

static void pass_header(struct relay *r, struct str head, const char *name)
{
    struct str value = find_header(head, name);
    if (value.len > 0)
        exchange_add_header(r->exchange, name, value);
}

/* Keeps the end of what came, to know a whole stream by it. */
static void pass_events(struct relay *r, struct str events)
{
    exchange_write(r->exchange, events);
    buf_add_str(&r->in, events);
    if (r->in.len > DONE.len)
        buf_drop(&r->in, r->in.len - DONE.len);
}

static void begin_stream(struct relay *r, size_t body_at)
{
    struct str head = {r->in.ptr, body_at};
    struct buf first = {0};
    buf_add(&first, r->in.ptr + body_at, r->in.len - body_at);
    pass_header(r, head, "x-halo-stream");
    pass_header(r, head, "cache-control");
    pass_header(r, head, "x-accel-buffering");
    exchange_open(r->exchange, "text/event-stream");
    buf_reset(&r->in);
    r->is_streaming = true;
    pass_events(r, buf_str(&first));
    buf_fini(&first);
}

static void fail(struct relay *r)
{
    struct api_error e;
    struct exchange *x = r->exchange;
    bool is_open = r->is_streaming;
    relay_free(r);
    if (is_open) {
        exchange_reset(x);
        return;
    }
    error_set(&e, PROBLEM_NOT_READY, NULL,
              "The gateway process that holds the stream did not answer. Try again.");
    exchange_refuse(x, &e);
}

/* The other process has said all. */
static void finish(struct relay *r)
{
    struct exchange *x = r->exchange;
    size_t body_at = r->is_streaming ? 0 : find_body(r);
    if (r->is_streaming && str_eq(buf_str(&r->in), DONE)) {
        relay_free(r);
        exchange_end(x);
        return;
    }
    if (r->is_streaming || body_at < STATUS_AT + 3) {
        fail(r);
        return;
    }
    struct str head = {r->in.ptr, body_at};
    int status = (int)strtol(head.ptr + STATUS_AT, NULL, 10);
    struct buf body = {0};
    buf_add(&body, r->in.ptr + body_at, r->in.len - body_at);
    if (status < 200 || status > 599)
        status = 502;
    pass_header(r, head, "retry-after");
    relay_free(r);
    exchange_answer(x, status, status == 204 ? "text/event-stream" : "application/json",
                    buf_str(&body));
    buf_fini(&body);
}

static bool is_stream(const struct relay *r, size_t body_at)
{
    struct str head = {r->in.ptr, body_at};
    return head.len > STATUS_AT + 3 && memcmp(head.ptr + STATUS_AT, "200", 3) == 0 &&
           str_is(find_header(head, "content-type"), "text/event-stream");
}

/* False: the answer is longer than it may be. */
static bool take(struct relay *r, struct str bytes)
{
    if (r->is_streaming) {
        pass_events(r, bytes);
        if (exchange_n_pending(r->exchange) > WAITING_MAX)
            pause_reading(r);
        return true;
    }
    buf_add_str(&r->in, bytes);
    size_t body_at = find_body(r);
    if (body_at > 0 && is_stream(r, body_at))
        begin_stream(r, body_at);
    return r->in.len <= (body_at > 0 ? HEAD_MAX + BODY_MAX : HEAD_MAX);
}

static void on_ready(struct loop_watch *w, uint32_t events)
{
    struct relay *r = (struct relay *)(void *)((char *)w - offsetof(struct relay, watch));
    static char bytes[READ_BYTES]; /* the loop's thread alone reads */
    (void)events;
    ssize_t n = recv(w->fd, bytes, sizeof bytes, 0);
    if (n > 0) {
        if (!take(r, (struct str){bytes, (size_t)n}))
            fail(r);
    } else if (n == 0) {
        finish(r);
    } else if (errno != EAGAIN && errno != EINTR) {
        fail(r);
    }
}

static void on_more(void *ctx)
{
    read_on(ctx);
}

static void on_closed(void *ctx, enum exchange_end why)
{
    (void)why;
    relay_free(ctx); /* the other process sees us leave, and so its stream waits again */
}

/* ---- the request --------------------------------------------------------------------------------- */

/* Connected, or -1. A socket that nobody listens on is that of a process that was killed. */
static int dial(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof un.sun_path)
        return -1;
    memcpy(un.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    if (connect(fd, (const struct sockaddr *)&un, sizeof un) == 0)
        return fd;
    if (errno == ECONNREFUSED)
        (void)unlink(path);
    (void)close(fd);
    return -1;
}

static void add_header(struct buf *out, const struct exchange *x, const char *name)
{
    struct str value = exchange_header(x, name);
    if (value.len > 0)
        buf_printf(out, "%s: %.*s\r\n", name, (int)value.len, value.ptr);
}

/* As HTTP/1.0, whose answers have no chunks and end with the connection. */
static bool send_request(int fd, const struct exchange *x)
{
    struct buf out = {0};
    struct str method = exchange_method(x);
    struct str path = exchange_path(x);
    struct str query = exchange_query(x);
    buf_printf(&out, "%.*s %.*s%s%.*s HTTP/1.0\r\n", (int)method.len, method.ptr, (int)path.len,
               path.ptr, query.len > 0 ? "?" : "", (int)query.len, query.ptr);
    add_header(&out, x, "authorization");
    add_header(&out, x, "x-api-key");
    add_header(&out, x, "last-event-id");
    buf_printf(&out, "\r\n");
    ssize_t n = send(fd, out.ptr, out.len, MSG_NOSIGNAL); /* the socket is empty: all or nothing */
    bool ok = n == (ssize_t)out.len;
    buf_fini(&out);
    return ok;
}

bool relay_start(struct gateway *g, struct exchange *take_x, struct str tag)
{
    struct buf path = {0};
    relay_path(g->options->run, tag, &path);
    int fd = dial(path.ptr);
    buf_fini(&path);
    if (fd < 0 || !send_request(fd, take_x)) {
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    struct relay *r = mem_zalloc(1, sizeof *r);
    r->gateway = g;
    r->exchange = take_x;
    r->watch = (struct loop_watch){.fd = fd, .ready = on_ready};
    r->next = g->relays;
    if (r->next != NULL)
        r->next->previous = r;
    g->relays = r;
    exchange_own(take_x, on_closed, r);
    exchange_feed(take_x, on_more);
    read_on(r);
    return true;
}

void relay_free_all(struct gateway *g)
{
    struct relay *next;
    for (struct relay *r = g->relays; r != NULL; r = next) {
        next = r->next;
        relay_free(r);
    }
}
