/* SPDX-License-Identifier: MIT */
/* Links between machines: who calls connects, shakes hands (tls.h), then both greet as pipes do; then hello and
 * welcome are the pipe's first messages, and all that follows is as on one host.
 *
 * What unknown callers can cost is bounded: CALLERS_A_SECOND, and HANDS_MAX sockets that have not said hello,
 * each for LINK_REMOTE_MS; beyond, the oldest makes room. What went wrong with them is told once a second. */
#include "proto/link_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/resolve.h"

enum {
    SECOND_MS = 1000,
    PATIENCE_MS = 5000, /* between two reasons; the addresses of a name may fail in turn */
    HANDS_MAX = 64,
    CALLERS_A_SECOND = 100, /* a handshake costs 0.4 ms of the loop's time, a hello as much again */
    BACKLOG = 128,
    INSTANCE_MAX = 23, /* of what a worker calls itself */
    EXPIRY_WARN_S = 30 * 86400,
    DAY_S = 86400,
};

static const char CALLER[] = "engine"; /* nobody else has business on another machine */

struct dial {
    struct resolve_target target;
    struct tls_context *tls;
    struct resolve *resolve; /* under way; NULL: none */
    unsigned n_tries; /* takes the addresses of a name in turn */
    uint64_t warned_ms; /* of expiry */
    const char *why; /* why there is no pipe, in the system's words; NULL: it is not known */
    uint64_t told_ms; /* when a failure was logged; 0: none since it was up */
    char told[TLS_WHY_CAP]; /* and its reason: the same is not told again */
};

struct remote_door {
    struct link_server *server;
    struct tls_context *tls;
    char *workers;
    struct loop_watch watch;
    struct loop_timer rest; /* until callers are taken again */
    uint64_t second_ms; /* when the present one began */
    unsigned n_callers; /* in it */
    uint64_t warned_ms; /* of expiry */
    uint64_t told_ms; /* when the last failure was */
    uint64_t n_untold;
};

bool link_is_remote(const struct link *l)
{
    return l->dial != NULL || l->address != NULL;
}

/* Once a day; `warned_ms` is when it last did, 0: never. */
static void warn_of_expiry(const struct tls_context *c, uint64_t *warned_ms)
{
    int64_t left_s = tls_context_left_s(c);
    uint64_t now_ms = clock_now_ms();
    if (left_s >= EXPIRY_WARN_S ||
        (*warned_ms != 0 && now_ms - *warned_ms < DAY_S * UINT64_C(1000)))
        return;
    *warned_ms = now_ms;
    log_warn("certificate-expires", I("days", left_s / DAY_S),
             S("hint", "`halo cert worker` and `halo cert router` make new ones; the next "
                       "connection takes them, without a restart"));
}

static void refresh(struct tls_context *c, uint64_t *warned_ms)
{
    char why[TLS_WHY_CAP];
    if (tls_context_refresh(c, why))
        log_info("certificate-read", I("days", tls_context_left_s(c) / DAY_S));
    else if (why[0] != '\0')
        log_error("certificate-unfit", S("why", why), S("hint", "the one before stays in use"));
    warn_of_expiry(c, warned_ms);
}

/* The kernel gives a connection up when nothing is confirmed for so long, as the beats do. */
static void set_tcp(int fd, uint32_t dead_ms)
{
    const int on = 1;
    unsigned limit_ms = dead_ms;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof limit_ms);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

/* ---- greeting ---------------------------------------------------------------------------------- */

static void send_greeting(struct link *l, enum frame_type type, const void *body)
{
    static const char HEAD[PIPE_HEAD] = {0};
    buf_reset(&l->scratch);
    buf_add(&l->scratch, HEAD, PIPE_HEAD);
    ASSERT(frame_encode(&l->scratch, type, l->config.epoch, body) == ERR_OK);
    pipe_send(l->pipe, l->scratch.ptr, l->scratch.len - PIPE_HEAD);
}

void link_remote_connected(struct link *l)
{
    l->state = LINK_GREETING;
    if (l->dial == NULL)
        return;
    const struct frame_hello hello = link_hello(l);
    send_greeting(l, FRAME_hello, &hello);
}

static bool is_listed(const char *names, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = names; *s != '\0';) {
        size_t len = strcspn(s, ",");
        if (len == n && memcmp(s, name, n) == 0)
            return true;
        s += len + (s[len] == ',');
    }
    return names[0] == '\0';
}

/* What is wrong with who calls; ERR_OK: nothing. */
static enum err judge_hello(const struct link *l, const struct frame_hello *h, const char *instance,
                            char *detail)
{
    const char *name = pipe_peer_name(l->pipe);
    enum err e = ERR_PERMISSION;
    if (link_refuses_hello(&l->config, h, detail))
        e = ERR_VERSION;
    else if (!str_is(h->service, CALLER))
        (void)snprintf(detail, LINK_DETAIL_CAP, "only engines may call from another machine");
    else if (name[0] == '\0')
        (void)snprintf(detail, LINK_DETAIL_CAP,
                       "the certificate's common name is no name of a machine: 1 to %d letters, "
                       "digits and . _ -",
                       TLS_NAME_MAX);
    else if (!is_listed(l->server->remote->workers, name))
        (void)snprintf(detail, LINK_DETAIL_CAP,
                       "the certificate is %s's, who is not among the router's --tls-workers",
                       name);
    else if (!tls_is_name(instance))
        (void)snprintf(detail, LINK_DETAIL_CAP,
                       "an engine's --name has 1 to %d letters, digits and . _ - here",
                       INSTANCE_MAX);
    else
        e = ERR_OK;
    return e;
}

/* The same process was here before: its old connection is cut, and neither end has noticed. */
static void break_older(const struct link *l)
{
    struct link *older = l->server->links;
    while (older != NULL && (older == l || older->state != LINK_UP || !link_is_remote(older) ||
                             older->peer_epoch != l->peer_epoch ||
                             strcmp(older->peer_instance, l->peer_instance) != 0))
        older = older->next;
    if (older != NULL)
        link_break(older, ERR_CLOSED);
}

static void take_hello(struct link *l, const struct frame_hello *h)
{
    char instance[INSTANCE_MAX + 2];
    char full[TLS_NAME_MAX + INSTANCE_MAX + 2];
    char detail[LINK_DETAIL_CAP];
    size_t n = h->instance.len < sizeof instance - 1 ? h->instance.len : 0;
    (void)snprintf(instance, sizeof instance, "%.*s", (int)n, n > 0 ? h->instance.ptr : "");
    enum err e = judge_hello(l, h, n <= INSTANCE_MAX ? instance : "", detail);
    if (e != ERR_OK) {
        const struct frame_refuse r = {.code = (uint32_t)e, .detail = str_from(detail)};
        log_warn("hello-refused", S("from", l->address), S("name", pipe_peer_name(l->pipe)),
                 S("why", detail));
        send_greeting(l, FRAME_refuse, &r);
        link_break(l, ERR_OK);
        return;
    }
    (void)snprintf(full, sizeof full, "%s.%s", pipe_peer_name(l->pipe), instance);
    link_set_peer(l, h->service, str_from(full), h->build, h->epoch, h->pid);
    l->peer_protocol = h->protocol;
    const struct frame_welcome w = link_welcome(&l->config, "");
    send_greeting(l, FRAME_welcome, &w);
    break_older(l);
    link_go_up(l);
}

static void take_welcome(struct link *l, const struct frame_welcome *w)
{
    link_set_peer(l, w->service, w->instance, w->build, w->epoch, w->pid);
    l->peer_protocol = w->protocol;
    l->dial->told[0] = '\0';
    l->dial->told_ms = 0;
    link_go_up(l);
}

void link_remote_greeted(struct link *l, const void *data, size_t len)
{
    struct frame f;
    enum err e = frame_decode(data, len, &l->arena, &f);
    uint32_t generation = l->generation;
    if (e == ERR_OK && l->dial == NULL && f.type == FRAME_hello)
        take_hello(l, f.body);
    else if (e == ERR_OK && l->dial != NULL && f.type == FRAME_welcome)
        take_welcome(l, f.body);
    else if (e == ERR_OK && l->dial != NULL && f.type == FRAME_refuse)
        link_take_refusal(l, f.body);
    else
        link_break(l, e != ERR_OK ? e : ERR_PROTOCOL);
    if (l->generation == generation) /* the caller holds a reference */
        arena_reset(&l->arena);
}

/* ---- failures ---------------------------------------------------------------------------------- */

/* Of a caller: at most one line a second, whatever comes to the port. */
static void tell_of_caller(struct remote_door *d, const struct link *l, const char *why)
{
    uint64_t now = clock_now_ms();
    if (d->told_ms != 0 && now - d->told_ms < SECOND_MS) {
        d->n_untold++;
        return;
    }
    log_warn("caller-refused", S("from", l->address), S("why", why), U("others", d->n_untold));
    d->told_ms = now;
    d->n_untold = 0;
}

/* Of a call of ours: each reason once. */
static void tell_of_failure(const struct link *l, const char *why)
{
    struct dial *d = l->dial;
    uint64_t now = clock_now_ms();
    if (strcmp(d->told, why) == 0 || (d->told_ms != 0 && now - d->told_ms < PATIENCE_MS))
        return;
    (void)snprintf(d->told, sizeof d->told, "%s", why);
    d->told_ms = now;
    log_warn("not-connected", S("to", l->target), S("at", link_peer_address(l)), S("why", why));
}

void link_remote_failed(struct link *l, enum err why)
{
    const char *words = l->pipe != NULL                           ? pipe_why(l->pipe)
                        : l->dial != NULL && l->dial->why != NULL ? l->dial->why
                                                                  : "";
    if (why == ERR_OK || l->is_closed)
        return; /* it was refused, or nobody wants it any more */
    if (words[0] == '\0')
        words = why == ERR_TIMEOUT     ? "no answer in time"
                : why == ERR_NOT_FOUND ? "the name stands for no address"
                : why == ERR_FULL      ? "too many callers that do not greet"
                                       : err_text(why);
    if (l->dial == NULL)
        tell_of_caller(l->server->remote, l, words);
    else
        tell_of_failure(l, words);
}

/* ---- calling ----------------------------------------------------------------------------------- */

static void connect_to(struct link *l, const struct addrinfo *a)
{
    struct dial *d = l->dial;
    char text[RESOLVE_TEXT_CAP];
    struct tls *tls;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        link_break(l, ERR_IO);
        return;
    }
    set_tcp(fd, l->config.dead_ms);
    resolve_text(a->ai_addr, a->ai_addrlen, text);
    free(l->address);
    l->address = mem_strndup(text, strlen(text));
    enum err e = ERR_OK;
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) {
        d->why = strerrordesc_np(errno);
        e = ERR_IO;
    }
    if (e == ERR_OK)
        e = tls_new(d->tls, fd, d->target.host, &tls);
    if (e != ERR_OK) {
        (void)close(fd);
    } else {
        const struct pipe_events events = link_pipe_events(l);
        e = pipe_open(l->config.loop, fd, tls, &events, &l->pipe);
    }
    if (e != ERR_OK)
        link_break(l, e);
}

static void on_resolved(void *ctx, const struct addrinfo *found)
{
    struct link *l = ctx;
    struct dial *d = l->dial;
    unsigned n = 0;
    d->resolve = NULL;
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next)
        n++;
    if (n == 0) {
        link_break(l, ERR_NOT_FOUND);
        return;
    }
    const struct addrinfo *a = found;
    for (unsigned skip = d->n_tries++ % n; skip > 0; skip--)
        a = a->ai_next;
    connect_to(l, a);
}

void link_remote_start(struct link *l)
{
    struct dial *d = l->dial;
    refresh(d->tls, &d->warned_ms);
    d->why = NULL;
    l->state = LINK_CONNECTING;
    loop_timer_set(l->config.loop, &l->retry_timer, LINK_REMOTE_MS);
    d->resolve = resolve_start(l->config.loop, &d->target, on_resolved, l);
}

void link_remote_disconnect(struct link *l)
{
    if (l->dial == NULL)
        return;
    resolve_cancel(l->dial->resolve);
    l->dial->resolve = NULL;
}

void link_remote_free(struct dial *d)
{
    if (d == NULL)
        return;
    tls_context_free(d->tls);
    free(d);
}

enum err link_dial_remote(const struct link_config *config, const struct link_remote *remote,
                          const struct link_handler *handler, char *why, struct link **ret_link)
{
    struct dial *d = mem_zalloc(1, sizeof *d);
    enum err e = resolve_parse(remote->url, &d->target, why, TLS_WHY_CAP)
                     ? tls_context_new(&remote->files, TLS_CALLER, why, &d->tls)
                     : ERR_INVALID;
    if (e != ERR_OK) {
        link_remote_free(d);
        return e;
    }
    warn_of_expiry(d->tls, &d->warned_ms);
    resolve_prepare(&d->target);
    struct link *l = link_new(config, handler);
    l->dial = d;
    l->target = mem_strndup(remote->url, strlen(remote->url));
    loop_timer_set(config->loop, &l->retry_timer, 0);
    *ret_link = l;
    return ERR_OK;
}

/* ---- being called ------------------------------------------------------------------------------ */

/* Those who have not said hello. */
static void make_room(struct link_server *s)
{
    struct link *oldest = NULL;
    size_t n = 0;
    for (struct link *l = s->links; l != NULL; l = l->next) {
        if (!link_is_remote(l) || l->state == LINK_UP)
            continue;
        oldest = l; /* newcomers are put in front */
        n++;
    }
    if (n >= HANDS_MAX)
        link_break(oldest, ERR_FULL);
}

static void take_caller(struct remote_door *d, int fd, const struct sockaddr *from, socklen_t len)
{
    struct link_server *s = d->server;
    char text[RESOLVE_TEXT_CAP];
    struct tls *tls;
    make_room(s);
    set_tcp(fd, s->config.dead_ms != 0 ? s->config.dead_ms : LINK_DEAD_MS);
    if (tls_new(d->tls, fd, NULL, &tls) != ERR_OK) {
        (void)close(fd);
        return;
    }
    struct link *l = link_new(&s->config, &s->handler);
    resolve_text(from, len, text);
    l->address = mem_strndup(text, strlen(text));
    l->server = s;
    l->next = s->links;
    s->links = l;
    l->state = LINK_CONNECTING;
    loop_timer_set(s->config.loop, &l->retry_timer, LINK_REMOTE_MS);
    const struct pipe_events events = link_pipe_events(l);
    enum err e = pipe_open(s->config.loop, fd, tls, &events, &l->pipe);
    if (e != ERR_OK)
        link_break(l, e);
}

/* Whoever calls meanwhile waits with the kernel. */
static void rest(struct remote_door *d, uint64_t ms)
{
    loop_watch_remove(d->server->config.loop, &d->watch);
    loop_timer_set(d->server->config.loop, &d->rest, ms);
}

/* Whether one more may be taken in this second; rests for what is left of it, if not. */
static bool may_take(struct remote_door *d)
{
    uint64_t now = clock_now_ms();
    if (now - d->second_ms >= SECOND_MS) {
        d->second_ms = now;
        d->n_callers = 0;
    }
    if (d->n_callers++ < CALLERS_A_SECOND)
        return true;
    rest(d, d->second_ms + SECOND_MS - now);
    return false;
}

/* One at a time, so that what else is ready has its turn. */
static void on_caller(struct loop_watch *w, uint32_t events)
{
    struct remote_door *d =
        (struct remote_door *)(void *)((char *)w - offsetof(struct remote_door, watch));
    struct sockaddr_storage from = {0};
    socklen_t len = sizeof from;
    (void)events;
    if (!may_take(d))
        return;
    refresh(d->tls, &d->warned_ms);
    int fd = accept4(w->fd, (struct sockaddr *)(void *)&from, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        take_caller(d, fd, (const struct sockaddr *)(const void *)&from, len);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log_error("no-room-for-callers", S("why", strerrordesc_np(errno)));
        rest(d, SECOND_MS);
    }
}

static void on_rested(struct loop_timer *t)
{
    struct remote_door *d =
        (struct remote_door *)(void *)((char *)t - offsetof(struct remote_door, rest));
    if (loop_watch_add(d->server->config.loop, &d->watch, EPOLLIN) != ERR_OK)
        loop_timer_set(d->server->config.loop, t, SECOND_MS);
}

static enum err listen_at(const struct addrinfo *a, int *ret_fd)
{
    const int on = 1;
    const int off = 0;
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_from_errno(errno);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        *ret_fd = fd;
        return ERR_OK;
    }
    enum err e = err_from_errno(errno);
    (void)close(fd);
    return e;
}

static enum err open_socket(const char *url, int *ret_fd, char *why)
{
    struct resolve_target target;
    if (!resolve_parse(url, &target, why, TLS_WHY_CAP))
        return ERR_INVALID;
    struct addrinfo *found = resolve_number(&target, true);
    if (found == NULL) {
        (void)snprintf(why, TLS_WHY_CAP,
                       "%s: expected an address of this machine, as tls+tcp://0.0.0.0:8443", url);
        return ERR_INVALID;
    }
    enum err e = listen_at(found, ret_fd);
    if (e != ERR_OK)
        (void)snprintf(why, TLS_WHY_CAP, "cannot listen at %s: %s", url, err_text(e));
    freeaddrinfo(found);
    return e;
}

enum err link_listen_remote(struct link_server *s, const struct link_remote *remote, char *why)
{
    struct remote_door *d = mem_zalloc(1, sizeof *d);
    d->server = s;
    d->workers = mem_strndup(remote->workers, strlen(remote->workers));
    d->watch = (struct loop_watch){-1, on_caller};
    d->rest.fire = on_rested;
    enum err e = tls_context_new(&remote->files, TLS_CALLED, why, &d->tls);
    if (e == ERR_OK)
        e = open_socket(remote->url, &d->watch.fd, why);
    if (e == ERR_OK) {
        e = loop_watch_add(s->config.loop, &d->watch, EPOLLIN);
        if (e != ERR_OK)
            (void)snprintf(why, TLS_WHY_CAP, "%s", err_text(e));
    }
    if (e != ERR_OK) {
        link_remote_close_door(d);
        return e;
    }
    warn_of_expiry(d->tls, &d->warned_ms);
    s->remote = d;
    return ERR_OK;
}

int64_t link_remote_left_s(const struct link_server *s)
{
    return tls_context_left_s(s->remote->tls);
}

void link_remote_close_door(struct remote_door *d)
{
    if (d == NULL)
        return;
    if (d->watch.fd >= 0) {
        loop_watch_remove(d->server->config.loop, &d->watch);
        (void)close(d->watch.fd);
    }
    loop_timer_cancel(d->server->config.loop, &d->rest);
    tls_context_free(d->tls);
    free(d->workers);
    free(d);
}
