/* SPDX-License-Identifier: MIT */
#include "services/gateway/server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <sys/resource.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "services/gateway/h2o_lib.h"

enum {
    ACCEPTS_PER_TURN = 32,
    FULL_SAID_MS = 10000, /* the log repeats it no sooner */
    DESCRIPTOR_RESERVE = 100, /* for links, listeners and the log */
    /* A client that vanished without a word is noticed after 60 s of silence and three probes. */
    KEEPALIVE_IDLE_S = 60,
    KEEPALIVE_PAUSE_S = 10,
    KEEPALIVE_PROBES = 3,
    /* Most that the kernel holds of what a slow client has not been sent: its own limit is megabytes. */
    UNSENT_BYTES = 128 * 1024,
    /* h2o's own limit answers in plain text or not at all; ours, which is lower, answers in JSON. */
    BODY_SLACK_BYTES = 16 * 1024 * 1024,
};

struct server {
    struct loop *loop;
    h2o_evloop_t *evloop;
    h2o_globalconf_t conf;
    h2o_context_t context;
    h2o_accept_ctx_t accept;
    h2o_socket_t *nested;
    h2o_socket_t *listeners[LISTEN_MAX];
    size_t n_listeners;
    h2o_socket_t *private_listener; /* NULL: none */
    size_t n_connections;
    size_t max_connections;
    uint64_t full_said_ms;
    bool is_full; /* accepting waits for a connection to end */
    struct exchange_host host;
    bool is_stopping;
    struct server_events events;
};

/* h2o allocates handlers itself; ours only needs to know its server. */
struct handler {
    h2o_handler_t base;
    struct server *server;
};

static int on_request(h2o_handler_t *base, h2o_req_t *req)
{
    struct server *s = ((struct handler *)(void *)base)->server;
    s->events.dispatch(s->events.ctx, exchange_new(req, &s->host));
    return 0;
}

static void on_nested_ready(h2o_socket_t *sock, const char *err)
{
    (void)err;
    struct server *s = sock->data;
    loop_turn_one(s->loop);
}

static void on_accept(h2o_socket_t *listener, const char *err);

static void listen_again(struct server *s)
{
    s->is_full = false;
    for (size_t i = 0; i < s->n_listeners; i++)
        h2o_socket_read_start(s->listeners[i], on_accept);
    if (s->private_listener != NULL)
        h2o_socket_read_start(s->private_listener, on_accept);
}

/* Without descriptors accept fails at once, again and again: wait in the kernel's queue instead. */
static void listen_later(struct server *s)
{
    s->is_full = true;
    uint64_t now = clock_now_ms();
    if (now - s->full_said_ms >= FULL_SAID_MS) {
        s->full_said_ms = now;
        log_warn("connections-full", U("n", s->n_connections));
    }
    for (size_t i = 0; i < s->n_listeners; i++)
        h2o_socket_read_stop(s->listeners[i]);
    if (s->private_listener != NULL)
        h2o_socket_read_stop(s->private_listener);
}

static void on_connection_closed(void *data)
{
    struct server *s = data;
    s->n_connections--;
    if (s->is_full)
        listen_again(s);
    s->events.ended(s->events.ctx);
}

static void on_accept(h2o_socket_t *listener, const char *err)
{
    if (err != NULL)
        return;
    struct server *s = listener->data;
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        if (s->n_connections >= s->max_connections) {
            listen_later(s);
            return;
        }
        h2o_socket_t *sock = h2o_evloop_socket_accept(listener);
        if (sock == NULL)
            return;
        s->n_connections++;
        sock->on_close.cb = on_connection_closed;
        sock->on_close.data = s;
        h2o_accept(&s->accept, sock);
    }
}

/* A connection needs a descriptor, and while it waits for a reply a second one; no more replies than
 * max_streams are in flight. */
static size_t count_connections_allowed(uint32_t max_streams)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < (rlim_t)DESCRIPTOR_RESERVE * 2)
        return DESCRIPTOR_RESERVE / 2;
    size_t free = (size_t)limit.rlim_cur - DESCRIPTOR_RESERVE;
    size_t n = free - (max_streams < free / 2 ? max_streams : free / 2);
    log_info("limits", U("descriptors", limit.rlim_cur), U("connections", n),
             U("streams", max_streams));
    return n;
}

/* Connections take this over from their listener; a Unix socket knows nothing of it and needs it not. */
static void tune(int fd, uint32_t stall_ms)
{
    static const struct {
        int name;
        int value;
    } TCP[] = {{TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
               {TCP_KEEPINTVL, KEEPALIVE_PAUSE_S},
               {TCP_KEEPCNT, KEEPALIVE_PROBES},
               {TCP_NOTSENT_LOWAT, UNSENT_BYTES}};
    const int on = 1;
    bool ok = setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on) == 0;
    for (size_t i = 0; i < ARRAY_LEN(TCP) && ok; i++)
        ok = setsockopt(fd, IPPROTO_TCP, TCP[i].name, &TCP[i].value, sizeof TCP[i].value) == 0;
    /* What is sent and not acknowledged for so long is lost with its client. A client that is there and
     * reads nothing is given up before. */
    uint32_t patience_ms = 2 * stall_ms;
    if (ok)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience_ms, sizeof patience_ms);
}

static void nest(struct server *s)
{
    int fd = fcntl(loop_fd(s->loop), F_DUPFD_CLOEXEC, 0); /* h2o closes what it is given */
    ASSERT(fd >= 0);
    s->nested = h2o_evloop_socket_create(s->evloop, fd, H2O_SOCKET_FLAG_DONT_READ);
    s->nested->data = s;
    h2o_socket_read_start(s->nested, on_nested_ready);
}

static void configure(struct server *s, const struct options *o)
{
    h2o_config_init(&s->conf);
    s->conf.server_name = h2o_iovec_init(H2O_STRLIT("halo"));
    s->conf.max_request_entity_size = o->max_body + BODY_SLACK_BYTES;
    /* h2o would put buffers of 32 MB into files below /tmp, where the sandbox allows it none. */
    h2o_socket_buffer_mmap_settings.threshold = SIZE_MAX;
    s->conf.http1.req_timeout = o->idle_ms;
    s->conf.http2.idle_timeout = o->idle_ms;
    s->conf.http1.upgrade_to_http2 = o->is_h2c;
    h2o_hostconf_t *host =
        h2o_config_register_host(&s->conf, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *path = h2o_config_register_path(host, "/", 0);
    struct handler *h = (struct handler *)(void *)h2o_create_handler(path, sizeof *h);
    h->base.on_req = on_request;
    h->server = s;
    h2o_context_init(&s->context, s->evloop, &s->conf);
    s->accept = (h2o_accept_ctx_t){.ctx = &s->context, .hosts = s->conf.hosts};
}

struct server *server_new(struct loop *loop, const struct options *o,
                          const struct listeners *take_listeners,
                          const struct server_events *events)
{
    struct server *s = mem_zalloc(1, sizeof *s);
    s->loop = loop;
    s->events = *events;
    s->host = (struct exchange_host){
        .held = TAILQ_HEAD_INITIALIZER(s->host.held),
        .loop = loop,
        .cors_origin = o->cors_origin,
        .max_pending = o->max_pending,
        .stall_ms = o->stall_ms,
        .ping_ms = o->ping_ms,
        .answered = events->answered,
        .ended = events->ended,
        .written = events->written,
        .ctx = events->ctx,
    };
    s->max_connections = count_connections_allowed(o->max_streams);
    s->evloop = h2o_evloop_create();
    configure(s, o);
    nest(s);
    for (size_t i = 0; i < take_listeners->n; i++) {
        tune(take_listeners->fds[i], o->stall_ms);
        h2o_socket_t *sock =
            h2o_evloop_socket_create(s->evloop, take_listeners->fds[i], H2O_SOCKET_FLAG_DONT_READ);
        sock->data = s;
        h2o_socket_read_start(sock, on_accept);
        s->listeners[s->n_listeners++] = sock;
    }
    return s;
}

void server_listen_privately(struct server *s, int take_fd)
{
    s->private_listener = h2o_evloop_socket_create(s->evloop, take_fd, H2O_SOCKET_FLAG_DONT_READ);
    s->private_listener->data = s;
    h2o_socket_read_start(s->private_listener, on_accept);
}

void server_run(struct server *s)
{
    /* -1 is an interrupted wait. */
    while (!s->is_stopping)
        (void)h2o_evloop_run(s->evloop, INT32_MAX);
}

void server_stop(struct server *s)
{
    s->is_stopping = true;
}

void server_hold(struct server *s)
{
    for (size_t i = 0; i < s->n_listeners; i++)
        h2o_socket_read_stop(s->listeners[i]);
}

void server_accept(struct server *s)
{
    listen_again(s);
}

void server_hold_writes(struct server *s, bool holds)
{
    s->host.holds = holds;
    if (!holds)
        exchange_write_held(&s->host);
}

static void close_listeners(struct server *s)
{
    for (size_t i = 0; i < s->n_listeners; i++)
        h2o_socket_close(s->listeners[i]);
    s->n_listeners = 0;
}

void server_drain(struct server *s)
{
    close_listeners(s);
    h2o_context_request_shutdown(&s->context);
}

size_t server_n_connections(const struct server *s)
{
    return s->n_connections;
}

size_t server_n_live(const struct server *s)
{
    return s->host.n_live;
}

void server_close(struct server *s)
{
    if (s == NULL)
        return;
    close_listeners(s);
    if (s->private_listener != NULL)
        h2o_socket_close(s->private_listener);
    h2o_socket_close(s->nested);
}
