/* SPDX-License-Identifier: MIT */
#include "services/gateway/exchange.h"

#include <linux/sockios.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "services/gateway/h2o_lib.h"
#include "services/gateway/watch.h"

enum {
    WRITE_MAX = 64 * 1024, /* bytes given to h2o at once; what a stalled HTTP/2 stream holds */
    LINGER_MS = 200, /* for the last bytes to be acknowledged before a reset throws them away */
    ID_MAX = 64,
    NS_PER_MS = 1000000,
};

enum state {
    WAITING, /* nothing was answered */
    OPEN,
    ENDING, /* to be completed once all is written */
    RESETTING, /* to be cut off once all is written */
    DEAD, /* the client is gone or given up; h2o has not let go yet */
    DONE, /* h2o has the last bytes */
};

struct exchange {
    h2o_generator_t generator; /* first: h2o gives it back to us */
    h2o_req_t *req;
    struct exchange_host *host;
    TAILQ_ENTRY(exchange) held; /* in host->held */
    bool is_held;
    enum state state;
    bool is_started; /* h2o has our generator */
    bool is_flying; /* h2o holds flying.ptr until it calls proceed */
    bool has_lingered;
    struct buf pending;
    struct buf flying;
    size_t flown; /* bytes of flying that h2o has taken before */
    struct watch watch;
    struct loop_timer stall;
    struct loop_timer ping_timer;
    struct loop_timer linger;
    uint64_t written_ms;
    void (*ping)(void *ctx);
    void (*more)(void *ctx);
    void (*closed)(void *ctx, enum exchange_end why);
    void *ctx;
    const char *route;
    uint64_t start_ns;
    uint64_t trace; /* 0: none */
    uint64_t write_ns; /* when the first bytes went to h2o */
    uint64_t flying_ns; /* when those went that it has now; 0: none */
    uint64_t written_ns; /* how long it had any, in all */
    uint32_t n_writes;
    struct trace_context context;
    char id[ID_MAX + 1];
};

static void pump(struct exchange *x);

static void unhold(struct exchange *x)
{
    if (x->is_held)
        TAILQ_REMOVE(&x->host->held, x, held);
    x->is_held = false;
}

#define EXCHANGE_OF(t, member)                                                                     \
    ((struct exchange *)(void *)((char *)(t)-offsetof(struct exchange, member)))

static bool is_http1(const struct exchange *x)
{
    return x->req->version < 0x200;
}

static int fd_of(const struct exchange *x)
{
    h2o_socket_t *sock = x->req->conn->callbacks->get_socket(x->req->conn);
    return h2o_socket_get_fd(sock);
}

/* Nothing of ours may fire any more. */
static void quiet(struct exchange *x)
{
    watch_stop(&x->watch);
    loop_timer_cancel(x->host->loop, &x->stall);
    loop_timer_cancel(x->host->loop, &x->ping_timer);
    loop_timer_cancel(x->host->loop, &x->linger);
}

static void tell_closed(struct exchange *x, enum exchange_end why)
{
    void (*closed)(void *, enum exchange_end) = x->closed;
    x->closed = NULL;
    if (closed != NULL)
        closed(x->ctx, why);
}

static void note_takeoff(struct exchange *x)
{
    x->flying_ns = clock_now_ns();
    if (x->write_ns == 0)
        x->write_ns = x->flying_ns;
    x->n_writes++;
}

static void note_landing(struct exchange *x)
{
    if (x->flying_ns > 0)
        x->written_ns += clock_now_ns() - x->flying_ns;
    x->flying_ns = 0;
}

static void tell_written(struct exchange *x)
{
    note_landing(x);
    if (x->trace == 0)
        return;
    uint64_t now = clock_now_ns();
    struct rec_span s = span_of(SPAN_write, x->write_ns > 0 ? x->write_ns : now, now);
    s.busy_ns = x->written_ns;
    s.n = x->n_writes;
    x->host->written(x->host->ctx, x->trace, &s);
}

/* h2o lets the request go: after the last byte, or because the connection or stream ended. */
static void on_dispose(void *p)
{
    struct exchange *x = p;
    quiet(x);
    x->state = DEAD;
    x->host->n_live--;
    unhold(x);
    tell_closed(x, EXCHANGE_LEFT);
    tell_written(x);
    buf_fini(&x->pending);
    buf_fini(&x->flying);
    x->host->ended(x->host->ctx);
}

static void on_stop(h2o_generator_t *g, h2o_req_t *req)
{
    (void)g;
    (void)req; /* the request is disposed of right afterwards */
}

/* ---- the last bytes ------------------------------------------------------------------------------ */

static void ensure_started(struct exchange *x)
{
    if (x->is_started)
        return;
    x->is_started = true;
    h2o_start_response(x->req, &x->generator);
}

/* From now on a close of the connection is a reset, which nobody takes for the end of the answer. */
static void harden_close(struct exchange *x)
{
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd_of(x), SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
}

/* Resets the connection under h2o, whose write then fails, so that it disposes of the request. A
 * shutdown would let the client see an orderly end before the reset; Unix sockets know no other. */
static void abort_connection(struct exchange *x)
{
    struct sockaddr nobody = {.sa_family = AF_UNSPEC};
    if (connect(fd_of(x), &nobody, sizeof nobody) != 0)
        (void)shutdown(fd_of(x), SHUT_RDWR);
}

/* Closes without any ceremony. The exchange is gone when this returns. */
static void cut(struct exchange *x)
{
    quiet(x);
    x->state = DONE;
    if (is_http1(x))
        harden_close(x);
    if (!x->is_started) {
        x->req->res.status = 503;
        x->req->res.content_length = 0;
    }
    ensure_started(x);
    h2o_send(x->req, NULL, 0, H2O_SEND_STATE_ERROR);
}

static void on_linger(struct loop_timer *t)
{
    cut(EXCHANGE_OF(t, linger));
}

/* A reset throws away what is still under way: on HTTP/1 what the peer has not acknowledged, in
 * HTTP/2 what some clients (curl 7.88) have not yet passed on. */
static bool is_under_way(const struct exchange *x)
{
    int waiting = 0;
    return !is_http1(x) || (ioctl(fd_of(x), SIOCOUTQ, &waiting) == 0 && waiting > 0);
}

static void cut_when_taken(struct exchange *x)
{
    if (x->has_lingered || !is_under_way(x)) {
        cut(x);
        return;
    }
    x->has_lingered = true;
    loop_timer_set(x->host->loop, &x->linger, LINGER_MS);
}

/* The client left or is given up. An HTTP/1 connection is closed at once; an HTTP/2 stream whose
 * window is closed cannot be reset in this version of h2o before its bytes are taken, so it stays,
 * with at most WRITE_MAX bytes, until the client opens the window or closes the connection. */
static void give_up(struct exchange *x, enum exchange_end why)
{
    quiet(x);
    x->state = DEAD;
    buf_fini(&x->pending);
    tell_closed(x, why);
    if (!x->is_flying)
        cut(x);
    else if (is_http1(x))
        abort_connection(x);
}

static void on_left(struct watch *w)
{
    give_up(EXCHANGE_OF(w, watch), EXCHANGE_LEFT);
}

/* The timer is not set anew for each write: it looks, when it fires, at the write that is under way. */
static void on_stall(struct loop_timer *t)
{
    struct exchange *x = EXCHANGE_OF(t, stall);
    uint64_t stall_ns = (uint64_t)x->host->stall_ms * NS_PER_MS;
    uint64_t flown_ns = x->is_flying ? clock_now_ns() - x->flying_ns : 0;
    if (x->pending.len > x->host->max_pending || (x->is_flying && flown_ns >= stall_ns))
        give_up(x, EXCHANGE_STALLED);
    else if (x->is_flying)
        loop_timer_set(x->host->loop, t, (stall_ns - flown_ns) / NS_PER_MS + 1);
}

/* ---- writing ------------------------------------------------------------------------------------- */

static void finish(struct exchange *x)
{
    quiet(x);
    x->state = DONE;
    h2o_send(x->req, NULL, 0, H2O_SEND_STATE_FINAL);
}

/* Whether there is something to give to h2o; it is then in flying, after flown. */
static bool take_pending(struct exchange *x)
{
    if (x->flown < x->flying.len)
        return true;
    buf_reset(&x->flying);
    x->flown = 0;
    struct buf swap = x->flying;
    x->flying = x->pending;
    x->pending = swap;
    return x->flying.len > 0;
}

static void pump(struct exchange *x)
{
    unhold(x);
    if (x->is_flying)
        return;
    if (!take_pending(x)) {
        if (x->state == ENDING)
            finish(x);
        else if (x->state == RESETTING)
            cut_when_taken(x);
        return;
    }
    size_t n = x->flying.len - x->flown;
    h2o_iovec_t piece = {x->flying.ptr + x->flown, n < WRITE_MAX ? n : WRITE_MAX};
    x->flown += piece.len;
    x->is_flying = true;
    note_takeoff(x);
    if (x->stall.slot == 0)
        loop_timer_set(x->host->loop, &x->stall, x->host->stall_ms);
    h2o_send(x->req, &piece, 1, H2O_SEND_STATE_IN_PROGRESS);
}

static void on_proceed(h2o_generator_t *g, h2o_req_t *req)
{
    (void)req;
    struct exchange *x = (struct exchange *)(void *)g;
    x->is_flying = false;
    note_landing(x);
    if (x->state == DEAD) {
        cut(x);
        return;
    }
    bool is_open =
        x->state == OPEN; /* else pump may complete the answer, and the exchange is gone */
    pump(x);
    if (is_open && !x->is_flying && x->more != NULL)
        x->more(x->ctx);
}

static void write_now(struct exchange *x)
{
    pump(x);
    /* From the loop: `closed` frees the caller. */
    if (x->pending.len > x->host->max_pending)
        loop_timer_set(x->host->loop, &x->stall, 0);
}

void exchange_write(struct exchange *x, struct str bytes)
{
    if (x->state != OPEN || bytes.len == 0)
        return;
    x->written_ms = clock_now_ms();
    buf_add_str(&x->pending, bytes);
    if (!x->host->holds) {
        write_now(x);
    } else if (!x->is_held) {
        x->is_held = true;
        TAILQ_INSERT_TAIL(&x->host->held, x, held);
    }
}

void exchange_write_held(struct exchange_host *host)
{
    for (struct exchange *x; (x = TAILQ_FIRST(&host->held)) != NULL;)
        write_now(x);
}

void exchange_feed(struct exchange *x, void (*more)(void *ctx))
{
    x->more = more;
}

size_t exchange_n_pending(const struct exchange *x)
{
    return x->pending.len + (x->flying.len - x->flown);
}

void exchange_end(struct exchange *x)
{
    if (x->state != OPEN)
        return;
    x->state = ENDING;
    x->closed = NULL;
    loop_timer_cancel(x->host->loop, &x->ping_timer);
    pump(x);
}

void exchange_reset(struct exchange *x)
{
    if (x->state != OPEN)
        return;
    x->state = RESETTING;
    x->closed = NULL;
    loop_timer_cancel(x->host->loop, &x->ping_timer);
    pump(x);
}

static void on_ping(struct loop_timer *t)
{
    struct exchange *x = EXCHANGE_OF(t, ping_timer);
    uint64_t quiet_ms = clock_now_ms() - x->written_ms;
    uint32_t period = x->host->ping_ms;
    if (quiet_ms < period) {
        loop_timer_set(x->host->loop, t, period - quiet_ms);
        return;
    }
    loop_timer_set(x->host->loop, t, period);
    if (!x->is_flying)
        x->ping(x->ctx);
}

void exchange_ping(struct exchange *x, void (*ping)(void *ctx))
{
    x->ping = ping;
    x->written_ms = clock_now_ms();
    loop_timer_set(x->host->loop, &x->ping_timer, x->host->ping_ms);
}

/* ---- answering ----------------------------------------------------------------------------------- */

static const char *reason_of(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 204:
        return "No Content";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 409:
        return "Conflict";
    case 410:
        return "Gone";
    case 413:
        return "Payload Too Large";
    case 415:
        return "Unsupported Media Type";
    case 429:
        return "Too Many Requests";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    default:
        return "Internal Server Error";
    }
}

static void add_cors(struct exchange *x)
{
    const char *allowed = x->host->cors_origin;
    struct str origin = exchange_header(x, "origin");
    if (allowed == NULL || origin.len == 0)
        return;
    bool is_any = strcmp(allowed, "*") == 0;
    if (!is_any && !str_is(origin, allowed))
        return;
    exchange_add_header(x, "access-control-allow-origin", str_from(allowed));
    exchange_add_header(x, "access-control-expose-headers",
                        STR_LIT("x-request-id, traceparent, x-halo-seed, x-halo-stream, "
                                "retry-after, retry-after-ms, x-ratelimit-remaining-requests, "
                                "x-ratelimit-remaining-tokens"));
    if (!is_any)
        exchange_add_header(x, "vary", STR_LIT("origin"));
}

static void begin(struct exchange *x, int status, const char *content_type)
{
    x->req->res.status = status;
    x->req->res.reason = reason_of(status);
    exchange_add_header(x, "content-type", str_from(content_type));
    exchange_add_header(x, "x-request-id", str_from(x->id));
    char traceparent[TRACE_HEADER_LEN + 1];
    trace_context_write(&x->context, traceparent);
    exchange_add_header(x, "traceparent", str_from(traceparent));
    add_cors(x);
    x->host->answered(x->host->ctx, x->route, status);
}

void exchange_answer(struct exchange *x, int status, const char *content_type, struct str body)
{
    ASSERT(x->state == WAITING);
    x->closed = NULL;
    begin(x, status, content_type);
    if (status != 204) /* which has no body whose length could be told */
        x->req->res.content_length = body.len;
    ensure_started(x);
    if (str_is(exchange_method(x), "HEAD") || body.len == 0) {
        finish(x);
        return;
    }
    if (body.len > WRITE_MAX) {
        x->state = ENDING; /* in parts, so that the stall timer guards them */
        buf_add_str(&x->pending, body);
        pump(x);
        return;
    }
    buf_add_str(&x->flying, body);
    h2o_iovec_t all = {x->flying.ptr, x->flying.len};
    quiet(x);
    x->state = DONE;
    note_takeoff(x);
    h2o_send(x->req, &all, 1, H2O_SEND_STATE_FINAL);
}

void exchange_refuse(struct exchange *x, const struct api_error *e)
{
    struct buf body = {0};
    char text[16];
    error_write(e, &body);
    buf_add_char(&body, '\n');
    if (e->retry_ms > 0) {
        (void)snprintf(text, sizeof text, "%u", (e->retry_ms - 1) / 1000 + 1);
        exchange_add_header(x, "retry-after", str_from(text));
        (void)snprintf(text, sizeof text, "%u", e->retry_ms);
        exchange_add_header(x, "retry-after-ms", str_from(text));
    }
    exchange_answer(x, e->status, "application/json", buf_str(&body));
    buf_fini(&body);
}

void exchange_open(struct exchange *x, const char *content_type)
{
    ASSERT(x->state == WAITING);
    begin(x, 200, content_type);
    x->state = OPEN;
    if (x->req->version < 0x101)
        x->req->http1_is_persistent = 0; /* without chunks only the close ends the body */
    ensure_started(x);
}

/* ---- the request --------------------------------------------------------------------------------- */

static struct str str_of(h2o_iovec_t v)
{
    return (struct str){v.base != NULL ? v.base : "", v.len};
}

struct str exchange_method(const struct exchange *x)
{
    return str_of(x->req->input.method);
}

struct str exchange_path(const struct exchange *x)
{
    return str_of(x->req->path_normalized);
}

struct str exchange_query(const struct exchange *x)
{
    const h2o_req_t *req = x->req;
    if (req->query_at >= req->path.len)
        return STR_LIT("");
    return (struct str){req->path.base + req->query_at + 1, req->path.len - req->query_at - 1};
}

struct str exchange_body(const struct exchange *x)
{
    return str_of(x->req->entity);
}

struct str exchange_header(const struct exchange *x, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < x->req->headers.size; i++) {
        const h2o_header_t *h = &x->req->headers.entries[i];
        if (h->name->len == len && memcmp(h->name->base, name, len) == 0)
            return str_of(h->value);
    }
    return STR_LIT("");
}

const char *exchange_id(const struct exchange *x)
{
    return x->id;
}

void exchange_set_id(struct exchange *x, struct str id)
{
    (void)snprintf(x->id, sizeof x->id, "%.*s", (int)id.len, id.ptr);
}

uint64_t exchange_start_ns(const struct exchange *x)
{
    return x->start_ns;
}

const struct trace_context *exchange_context(const struct exchange *x)
{
    return &x->context;
}

void exchange_set_trace(struct exchange *x, uint64_t trace)
{
    x->trace = trace;
}

void exchange_set_route(struct exchange *x, const char *route)
{
    x->route = route;
}

void exchange_add_header(struct exchange *x, const char *name, struct str value)
{
    h2o_iovec_t copy = h2o_strdup(&x->req->pool, value.ptr, value.len);
    h2o_add_header_by_str(&x->req->pool, &x->req->res.headers, name, strlen(name), 1, NULL,
                          copy.base, copy.len);
}

void exchange_own(struct exchange *x, void (*closed)(void *ctx, enum exchange_end why), void *ctx)
{
    x->closed = closed;
    x->ctx = ctx;
    bool is_watched = x->watch.left != NULL;
    if (!is_watched && is_http1(x) &&
        watch_start(&x->watch, x->host->loop, fd_of(x), on_left) != ERR_OK)
        log_warn("no-watch", S("hint", "a client that leaves is noticed at the next write only"));
}

struct exchange *exchange_new(h2o_req_t *req, struct exchange_host *host)
{
    struct exchange *x = h2o_mem_alloc_shared(&req->pool, sizeof *x, on_dispose);
    uint64_t random[3];
    *x = (struct exchange){
        .generator = {on_proceed, on_stop},
        .req = req,
        .host = host,
        .route = "none",
        .stall.fire = on_stall,
        .ping_timer.fire = on_ping,
        .linger.fire = on_linger,
    };
    x->start_ns = clock_now_ns();
    clock_random(random, sizeof random);
    trace_context_make(&x->context, exchange_header(x, "traceparent"), random);
    struct str id = exchange_header(x, "x-request-id");
    if (trace_context_is_id(id))
        exchange_set_id(x, id);
    else
        (void)snprintf(x->id, sizeof x->id, "req_%016llx%016llx", (unsigned long long)random[0],
                       (unsigned long long)random[1] | 1);
    host->n_live++;
    return x;
}
