/* SPDX-License-Identifier: MIT */
#include "services/load/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/mem.h"
#include "services/load/chunk.h"
#include "services/load/response.h"

enum { READ_BYTES = 64 * 1024, BATCH = 128, DETAIL_BYTES = 300 };

struct conn {
    TAILQ_ENTRY(conn) entry; /* in idle or dead */
    struct http *http;
    int fd; /* -1: closed */
    struct request *q; /* NULL: idle */
    struct buf out;
    size_t sent;
    uint32_t events; /* asked of epoll */
    bool is_connecting;
    bool is_reused; /* it has answered before */
    bool has_bytes; /* of this answer */
    bool has_done;
    bool has_finish;
    enum failure failure; /* seen in the stream */
    char detail[DETAIL_BYTES];
    struct response response;
};

TAILQ_HEAD(conn_list, conn);

struct http {
    struct target target; /* first */
    struct loop *loop;
    struct loop_watch watch; /* the epoll set */
    const struct url *url;
    const struct ask_config *config;
    struct conn_list idle;
    struct conn_list dead; /* freed when no event can name them any more */
    uint64_t n_connections;
    uint64_t n_stale;
    char bytes[READ_BYTES];
};

/* ---- connections ------------------------------------------------------------------------------- */

static void want(struct conn *c, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data = {.ptr = c}};
    if (c->events == events)
        return;
    (void)epoll_ctl(c->http->watch.fd, c->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->fd, &ev);
    c->events = events;
}

/* The request, if any, must have been taken from it. */
static void shut(struct conn *c)
{
    if (c->fd < 0)
        return;
    (void)close(c->fd);
    c->fd = -1;
    TAILQ_INSERT_TAIL(&c->http->dead, c, entry);
}

static void bury(struct http *h)
{
    while (!TAILQ_EMPTY(&h->dead)) {
        struct conn *c = TAILQ_FIRST(&h->dead);
        TAILQ_REMOVE(&h->dead, c, entry);
        buf_fini(&c->out);
        response_fini(&c->response);
        free(c);
    }
}

static void on_event(void *ctx, struct str data);

static struct conn *conn_new(struct http *h)
{
    int fd = url_connect(h->url);
    if (fd < 0)
        return NULL;
    struct conn *c = mem_zalloc(1, sizeof *c);
    c->http = h;
    c->fd = fd;
    c->is_connecting = h->url->address.ss_family != AF_UNIX;
    c->response.event = on_event;
    c->response.ctx = c;
    c->response.body_cap = DETAIL_BYTES - 1;
    h->n_connections++;
    return c;
}

/* The request's end; the connection is kept for the next one or closed. */
static void end(struct conn *c, enum failure f, const char *detail, bool can_stay)
{
    struct request *q = c->q;
    c->q = NULL;
    if (can_stay && c->http->config->does_keep_alive && !c->response.does_close) {
        c->is_reused = true;
        TAILQ_INSERT_HEAD(&c->http->idle, c, entry);
    } else {
        shut(c);
    }
    run_end(q, f, detail);
}

static void send_out(struct conn *c);

static void begin(struct conn *c, struct request *q)
{
    c->q = q;
    q->handle = c;
    c->sent = 0;
    c->has_bytes = false;
    c->has_done = false;
    c->has_finish = false;
    c->failure = FAILURE_none;
    response_reset(&c->response);
    buf_reset(&c->out);
    ask_write(c->http->config, &q->prompt, &c->out);
    if (c->is_connecting)
        want(c, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
    else
        send_out(c);
}

static void fail_errno(struct conn *c, int error)
{
    enum failure f = c->is_connecting ? FAILURE_refused : FAILURE_reset;
    end(c, f, strerrordesc_np(error), false);
}

/* A kept connection that the server closed before it saw the request: that one is sent again. */
static bool is_stale(const struct conn *c)
{
    return c->is_reused && !c->has_bytes;
}

static void start_fresh(struct http *h, struct request *q)
{
    struct conn *c = conn_new(h);
    if (c != NULL)
        begin(c, q);
    else
        run_end(q, FAILURE_refused, strerrordesc_np(errno));
}

static void send_again(struct conn *c)
{
    struct http *h = c->http;
    struct request *q = c->q;
    c->q = NULL;
    shut(c);
    h->n_stale++;
    start_fresh(h, q);
}

static void lose(struct conn *c, int error)
{
    if (is_stale(c))
        send_again(c);
    else
        fail_errno(c, error);
}

static void send_out(struct conn *c)
{
    ssize_t n = send(c->fd, c->out.ptr + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        lose(c, errno);
        return;
    }
    if (n > 0 && c->sent == 0)
        run_sent(c->q);
    c->sent += n > 0 ? (size_t)n : 0;
    want(c, EPOLLIN | EPOLLRDHUP | (c->sent < c->out.len ? (uint32_t)EPOLLOUT : 0));
}

/* ---- answers ----------------------------------------------------------------------------------- */

static void note_failure(struct conn *c, enum failure f, struct str detail)
{
    if (c->failure != FAILURE_none)
        return;
    c->failure = f;
    int n = detail.len < DETAIL_BYTES ? (int)detail.len : DETAIL_BYTES - 1;
    (void)snprintf(c->detail, sizeof c->detail, "%.*s", n, detail.ptr != NULL ? detail.ptr : "");
    for (char *p = c->detail; *p != '\0'; p++) { /* it will be shown on a terminal */
        if ((unsigned char)*p < ' ' || (unsigned char)*p == 0x7f)
            *p = ' ';
    }
}

static void on_event(void *ctx, struct str data)
{
    struct conn *c = ctx;
    struct chunk k;
    if (str_is(data, "[DONE]")) {
        c->has_done = true;
        return;
    }
    if (!chunk_read(data, &k)) {
        note_failure(c, FAILURE_protocol, STR_LIT("an event is not JSON"));
        return;
    }
    if (k.has_error)
        note_failure(c, FAILURE_error, k.error);
    if (k.has_output)
        run_output(c->q, k.text, NULL);
    if (k.has_finish)
        c->has_finish = true;
    if (k.has_usage)
        run_usage(c->q, k.prompt_tokens, k.completion_tokens, k.cached_tokens);
}

static void note_status(struct conn *c)
{
    struct chunk k;
    struct str body = buf_str(&c->response.body);
    char text[DETAIL_BYTES];
    (void)chunk_read(body, &k); /* also a cut body shows its beginning */
    struct str words = k.error.len > 0 ? k.error : body;
    int n = words.len < DETAIL_BYTES - 16 ? (int)words.len : DETAIL_BYTES - 16;
    (void)snprintf(text, sizeof text, "%d %.*s", c->response.status, n,
                   words.ptr != NULL ? words.ptr : "");
    note_failure(c, FAILURE_status, str_from(text));
}

/* The response is complete. */
static void settle(struct conn *c)
{
    if (c->response.status != 200)
        note_status(c);
    else if (!c->response.is_stream)
        note_failure(c, FAILURE_protocol, STR_LIT("the answer is no event stream"));
    else if (!c->has_done || !c->has_finish)
        note_failure(c, FAILURE_cut,
                     c->has_finish ? STR_LIT("no [DONE]") : STR_LIT("no finish_reason"));
    end(c, c->failure, c->failure != FAILURE_none ? c->detail : "", true);
}

static void on_bytes(struct conn *c, size_t n)
{
    struct response *r = &c->response;
    c->has_bytes = true;
    size_t used = response_feed(r, c->http->bytes, n);
    if (r->state == RESPONSE_BAD)
        end(c, FAILURE_protocol, "not an HTTP/1.1 response", false);
    else if (r->state == RESPONSE_DONE && used < n)
        end(c, FAILURE_protocol, "bytes after the response", false);
    else if (r->state == RESPONSE_DONE)
        settle(c);
}

static void on_close(struct conn *c)
{
    if (is_stale(c)) {
        send_again(c);
    } else if (response_close(&c->response)) {
        c->response.does_close = true;
        settle(c);
    } else {
        enum failure f = c->failure != FAILURE_none ? c->failure : FAILURE_cut;
        const char *where = c->response.state == RESPONSE_HEAD ? "before the response was there"
                                                               : "in the middle of the response";
        end(c, f, c->failure != FAILURE_none ? c->detail : where, false);
    }
}

static void receive(struct conn *c)
{
    ssize_t n = recv(c->fd, c->http->bytes, READ_BYTES, 0);
    if (n > 0) {
        on_bytes(c, (size_t)n);
    } else if (n == 0) {
        on_close(c);
    } else if (errno != EAGAIN && errno != EINTR) {
        int error = errno;
        /* The error event before a reset tells more than the reset. */
        if (c->failure != FAILURE_none)
            end(c, c->failure, c->detail, false);
        else
            lose(c, error);
    }
}

static void on_ready(struct conn *c, uint32_t events)
{
    if (c->fd < 0)
        return;
    if (c->q == NULL) { /* an idle one says something: it can only be its end */
        TAILQ_REMOVE(&c->http->idle, c, entry);
        shut(c);
        return;
    }
    if (c->is_connecting) {
        int error = 0;
        socklen_t len = sizeof error;
        (void)getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        if (error != 0) {
            fail_errno(c, error);
            return;
        }
        if ((events & EPOLLOUT) == 0)
            return;
        c->is_connecting = false;
    }
    struct request *q = c->q;
    if ((events & EPOLLOUT) != 0)
        send_out(c);
    if (c->fd >= 0 && c->q == q && (events & ~(uint32_t)EPOLLOUT) != 0)
        receive(c);
}

static void on_epoll(struct loop_watch *w, uint32_t events)
{
    struct http *h = (struct http *)(void *)((char *)w - offsetof(struct http, watch));
    struct epoll_event ready[BATCH];
    (void)events;
    int n = epoll_wait(w->fd, ready, BATCH, 0);
    for (int i = 0; i < n; i++)
        on_ready(ready[i].data.ptr, ready[i].events);
    bury(h);
}

/* ---- the target -------------------------------------------------------------------------------- */

static void start(struct target *t, struct request *q)
{
    struct http *h = (struct http *)(void *)t;
    struct conn *c = TAILQ_FIRST(&h->idle);
    if (c == NULL) {
        start_fresh(h, q);
        return;
    }
    TAILQ_REMOVE(&h->idle, c, entry);
    begin(c, q);
}

static void cancel(struct target *t, struct request *q)
{
    struct conn *c = q->handle;
    (void)t;
    c->q = NULL;
    shut(c);
}

enum err http_new(struct loop *loop, const struct url *url, const struct ask_config *config,
                  struct http **ret_http)
{
    struct http *h = mem_zalloc(1, sizeof *h);
    h->target = (struct target){start, cancel};
    h->loop = loop;
    h->url = url;
    h->config = config;
    TAILQ_INIT(&h->idle);
    TAILQ_INIT(&h->dead);
    h->watch = (struct loop_watch){epoll_create1(EPOLL_CLOEXEC), on_epoll};
    enum err e = h->watch.fd < 0 ? err_from_errno(errno) : loop_watch_add(loop, &h->watch, EPOLLIN);
    if (e != ERR_OK) {
        free(h);
        return e;
    }
    *ret_http = h;
    return ERR_OK;
}

void http_free(struct http *h)
{
    if (h == NULL)
        return;
    while (!TAILQ_EMPTY(&h->idle)) {
        struct conn *c = TAILQ_FIRST(&h->idle);
        TAILQ_REMOVE(&h->idle, c, entry);
        shut(c);
    }
    bury(h);
    loop_watch_remove(h->loop, &h->watch);
    (void)close(h->watch.fd);
    free(h);
}

struct target *http_target(struct http *h)
{
    return &h->target;
}

uint64_t http_n_connections(const struct http *h)
{
    return h->n_connections;
}

uint64_t http_n_stale(const struct http *h)
{
    return h->n_stale;
}
