/* SPDX-License-Identifier: MIT */
/* A connection: greeting (dialer), pipe, sending, receiving, beats, breaking.
 *
 * The greeting of a peer on this host is nng's; the frames then go over a pipe (pipe.h), which lives on the
 * loop. nng calls back on its own threads; those callbacks only post an event to the loop. An event holds
 * a reference to the link and the generation it belongs to, so events of a connection that was broken
 * in the meantime are recognised and dropped. */
#include "proto/link_internal.h"

#include <errno.h>
#include <nng/protocol/reqrep0/req.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/fault.h"
#include "common/log.h"
#include "common/mem.h"
#include "common/notify.h"
#include "common/opt.h"
#include "proto/closer.h"

enum {
    CONNECT_MIN_MS =
        250, /* for the pipe after a welcome; doubled while it does not come, since a */
    CONNECT_MAX_MS = 2000, /* peer killed in between is common and a slow machine is possible */
    GREET_MS = 2000, /* for the answer to a hello; and after a refusal, until the next one */
    RETRY_MS = 20, /* doubled for each fault of the peer, to GREET_MS at most */
    RETRY_REMOTE_MS = 200, /* the same for one on another machine */
    FAULT_MEMORY_MS = 10000, /* a link that was up so long has no past */
    BYE_MS = 1000,
    GAP_MS = 60000,
    PROTO_COUNTED = 2, /* the version since which frames carry their number */
};

struct event {
    struct loop_task task;
    struct link *link;
    enum link_event_kind kind;
    uint32_t generation;
    int rv;
    nng_msg *msg;
};

static void start_greeting(struct link *l);

enum err link_err_from_nng(int rv)
{
    switch (rv) {
    case 0:
        return ERR_OK;
    case NNG_ENOMEM:
        return ERR_NOMEM;
    case NNG_EADDRINUSE:
        return ERR_IN_USE;
    case NNG_ETIMEDOUT:
        return ERR_TIMEOUT;
    case NNG_EPERM:
        return ERR_PERMISSION;
    case NNG_EMSGSIZE:
        return ERR_TOO_LARGE;
    case NNG_EADDRINVAL:
        return ERR_INVALID;
    case NNG_ECLOSED:
    case NNG_ECANCELED:
        return ERR_CLOSED;
    default:
        return ERR_IO;
    }
}

/* ---- events from nng's threads ----------------------------------------------------------------- */

static void run_event(struct loop_task *t);

void link_post(struct link *l, uint32_t generation, enum link_event_kind kind, int rv,
               nng_msg *take_msg)
{
    struct event *ev = mem_zalloc(1, sizeof *ev);
    ev->task.run = run_event;
    ev->link = l;
    ev->kind = kind;
    ev->generation = generation;
    ev->rv = rv;
    ev->msg = take_msg;
    (void)__atomic_add_fetch(&l->n_refs, 1, __ATOMIC_RELAXED);
    loop_post(l->config.loop, &ev->task);
}

void link_unref(struct link *l)
{
    if (__atomic_sub_fetch(&l->n_refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    link_remote_free(l->dial);
    free(l->address);
    free(l->target);
    free(l->peer_service);
    free(l->peer_instance);
    free(l->peer_build);
    free(l->peer_path);
    arena_fini(&l->arena);
    buf_fini(&l->scratch);
    free(l);
}

static uint32_t generation_of(struct link *l)
{
    return __atomic_load_n(&l->generation, __ATOMIC_ACQUIRE);
}

/* The aio is stopped before the generation changes, so the generation read in its callback is the one it
 * was started in. */
static void on_greeting(void *arg)
{
    struct link *l = arg;
    int rv = nng_aio_result(l->greet_aio);
    if (rv == 0 && !l->is_greeting_sent) {
        l->is_greeting_sent = true;
        nng_aio_set_timeout(l->greet_aio, GREET_MS);
        nng_recv_aio(l->sock, l->greet_aio);
        return;
    }
    if (rv != 0 && !l->is_greeting_sent)
        nng_msg_free(nng_aio_get_msg(l->greet_aio));
    link_post(l, generation_of(l), EV_GREETED, rv, rv == 0 ? nng_aio_get_msg(l->greet_aio) : NULL);
}

static void refuse_others(nng_pipe p, bool is_dialled)
{
    uint64_t uid = UINT64_MAX;
    int rv = nng_pipe_get_uint64(p, NNG_OPT_IPC_PEER_UID, &uid);
    if (rv != 0 || !pipe_trusts(uid, is_dialled)) {
        log_warn("peer-refused", U("uid", uid), U("want", geteuid()));
        (void)nng_pipe_close(p);
    }
}

static void check_peer_uid(nng_pipe p, nng_pipe_ev ev, void *arg)
{
    (void)ev;
    (void)arg;
    refuse_others(p, false);
}

static void check_service_uid(nng_pipe p, nng_pipe_ev ev, void *arg)
{
    (void)ev;
    (void)arg;
    refuse_others(p, true);
}

enum err link_limit_socket(nng_socket sock)
{
    int rv = nng_socket_set_size(sock, NNG_OPT_RECVMAXSZ, FRAME_MAX_BYTES);
    if (rv == 0)
        rv = nng_socket_set_ms(sock, NNG_OPT_RECONNMINT, 10);
    if (rv == 0)
        rv = nng_socket_set_ms(sock, NNG_OPT_RECONNMAXT, 100);
    if (rv == 0)
        rv = nng_pipe_notify(sock, NNG_PIPE_EV_ADD_PRE, check_peer_uid, NULL);
    return link_err_from_nng(rv);
}

/* ---- life -------------------------------------------------------------------------------------- */

static void on_beat_timer(struct loop_timer *t);
static void on_retry_timer(struct loop_timer *t);

struct link *link_new(const struct link_config *config, const struct link_handler *handler)
{
    struct link *l = mem_zalloc(1, sizeof *l);
    l->config = *config;
    if (l->config.dead_ms == 0)
        l->config.dead_ms = LINK_DEAD_MS;
    if (l->config.stall_ms == 0)
        l->config.stall_ms = LINK_STALL_MS;
    l->handler = *handler;
    l->n_refs = 1;
    l->generation = 1;
    l->death.fd = -1;
    l->arena.cap_bytes = (size_t)8 * FRAME_MAX_BYTES;
    l->beat_timer.fire = on_beat_timer;
    l->retry_timer.fire = on_retry_timer;
    return l;
}

void link_set_peer(struct link *l, struct str service, struct str instance, struct str build,
                   uint64_t epoch, uint32_t pid)
{
    free(l->peer_service);
    free(l->peer_instance);
    free(l->peer_build);
    l->peer_build = mem_strndup(build.ptr, build.len);
    l->peer_service = mem_strndup(service.ptr, service.len);
    l->peer_instance = mem_strndup(instance.ptr, instance.len);
    l->peer_epoch = epoch;
    l->peer_pid = pid;
}

static void unwatch_peer(struct link *l)
{
    if (l->death.fd < 0)
        return;
    loop_watch_remove(l->config.loop, &l->death);
    (void)close(l->death.fd);
    l->death.fd = -1;
}

/* Back to idle: nothing of the old connection can reach us any more. */
static void disconnect(struct link *l)
{
    if (l->greet_aio != NULL)
        nng_aio_stop(l->greet_aio);
    (void)__atomic_add_fetch(&l->generation, 1, __ATOMIC_RELEASE);
    unwatch_peer(l);
    if (l->has_sock)
        closer_close(l->sock, NULL, NULL);
    l->has_sock = false;
    link_remote_disconnect(l);
    pipe_close(l->pipe);
    l->pipe = NULL;
    nng_aio_free(l->greet_aio); /* a stopped one stays stopped */
    l->greet_aio = NULL;
    l->is_greeting_sent = false;
    l->is_doomed = false;
    l->state = LINK_IDLE;
    loop_timer_cancel(l->config.loop, &l->beat_timer);
    loop_timer_cancel(l->config.loop, &l->retry_timer);
    if (l->peer_path != NULL)
        (void)unlink(l->peer_path);
}

/* Frees an accepted link, or one whose owner let go. */
static void retire(struct link *l)
{
    if (l->server != NULL) {
        link_server_forget(l->server, l);
        l->server = NULL;
    }
    l->is_closed = true;
    link_unref(l);
}

/* A dead peer is back in tens of milliseconds; one that speaks wrongly will do so again. */
static uint64_t redial_delay_ms(struct link *l, enum err why)
{
    if (l->state == LINK_UP && clock_now_ms() - l->up_ms > FAULT_MEMORY_MS)
        l->n_faults = 0;
    if (why != ERR_OK && why != ERR_CLOSED && why != ERR_IO && why != ERR_TIMEOUT)
        l->n_faults += l->n_faults < 8;
    uint64_t delay_ms = (uint64_t)(link_is_remote(l) ? RETRY_REMOTE_MS : RETRY_MS) << l->n_faults;
    return delay_ms < GREET_MS ? delay_ms : GREET_MS;
}

void link_break(struct link *l, enum err why)
{
    bool was_up = l->state == LINK_UP;
    bool is_accepted = l->server != NULL;
    uint64_t delay_ms = redial_delay_ms(l, why);
    if (link_is_remote(l) && !was_up)
        link_remote_failed(l, why);
    disconnect(l);
    if (was_up)
        l->handler.down(l->handler.ctx, l, l->is_leaving ? ERR_OK : why);
    l->user = NULL;
    if (is_accepted)
        retire(l);
    else if (!l->is_leaving && !l->is_closed)
        loop_timer_set(l->config.loop, &l->retry_timer, delay_ms);
}

void link_close(struct link *l)
{
    if (l == NULL)
        return;
    l->is_closed = true;
    disconnect(l);
    link_unref(l);
}

bool link_drain(uint32_t timeout_ms)
{
    return closer_drain(timeout_ms);
}

bool link_is_up(const struct link *l)
{
    return l != NULL && l->state == LINK_UP && !l->is_doomed;
}

/* ---- greeting and connecting ------------------------------------------------------------------- */

static void await_pipe(struct link *l)
{
    l->state = LINK_CONNECTING;
    uint64_t patience = (uint64_t)CONNECT_MIN_MS << l->n_timeouts;
    if (patience > CONNECT_MAX_MS || l->server != NULL)
        patience = CONNECT_MAX_MS; /* the listening side waits for the most patient caller */
    loop_timer_set(l->config.loop, &l->retry_timer, patience);
}

enum err link_connect(struct link *l, const char *address)
{
    static const char IPC[] = "ipc://";
    const struct pipe_events events = link_pipe_events(l);
    if (strncmp(address, IPC, sizeof IPC - 1) != 0)
        return ERR_PROTOCOL;
    await_pipe(l);
    return pipe_dial(l->config.loop, address + sizeof IPC - 1, &events, &l->pipe);
}

enum err link_await(struct link *l, const char *path)
{
    const struct pipe_events events = link_pipe_events(l);
    await_pipe(l);
    return pipe_listen(l->config.loop, path, &events, &l->pipe);
}

struct frame_hello link_hello(const struct link *l)
{
    return (struct frame_hello){
        .protocol = PROTO_VERSION,
        .build = str_from(opt_version()),
        .service = str_from(l->config.service),
        .instance = str_from(l->config.instance),
        .epoch = l->config.epoch,
        .pid = (uint32_t)getpid(),
    };
}

static nng_msg *make_hello(struct link *l)
{
    const struct frame_hello hello = link_hello(l);
    nng_msg *msg;
    buf_reset(&l->scratch);
    ASSERT(frame_encode(&l->scratch, FRAME_hello, l->config.epoch, &hello) == ERR_OK);
    ASSERT(nng_msg_alloc(&msg, 0) == 0);
    ASSERT(nng_msg_append(msg, l->scratch.ptr, l->scratch.len) == 0);
    return msg;
}

static void start_greeting(struct link *l)
{
    if (l->dial != NULL) {
        link_remote_start(l);
        return;
    }
    char url[128];
    (void)snprintf(url, sizeof url, "ipc://%s/%s.sock", l->config.run, l->target);
    if (nng_req0_open(&l->sock) != 0) {
        loop_timer_set(l->config.loop, &l->retry_timer, RETRY_MS);
        return;
    }
    ASSERT(nng_aio_alloc(&l->greet_aio, on_greeting, l) == 0);
    l->has_sock = true;
    l->state = LINK_GREETING;
    if (link_limit_socket(l->sock) != ERR_OK ||
        nng_pipe_notify(l->sock, NNG_PIPE_EV_ADD_PRE, check_service_uid, NULL) != 0 ||
        nng_socket_set_ms(l->sock, NNG_OPT_REQ_RESENDTIME, NNG_DURATION_INFINITE) != 0 ||
        nng_dial(l->sock, url, NULL, NNG_FLAG_NONBLOCK) != 0) {
        link_break(l, ERR_IO);
        return;
    }
    nng_aio_set_msg(l->greet_aio, make_hello(l));
    nng_aio_set_timeout(l->greet_aio, NNG_DURATION_INFINITE);
    nng_send_aio(l->sock, l->greet_aio);
}

static void accept_welcome(struct link *l, const struct frame_welcome *w)
{
    char address[128];
    if (w->address.len >= sizeof address) {
        link_break(l, ERR_PROTOCOL);
        return;
    }
    memcpy(address, w->address.ptr, w->address.len);
    address[w->address.len] = '\0';
    link_set_peer(l, w->service, w->instance, w->build, w->epoch, w->pid);
    l->peer_protocol = w->protocol;
    disconnect(l);
    if (link_connect(l, address) != ERR_OK)
        link_break(l, ERR_IO);
}

void link_take_refusal(struct link *l, const struct frame_refuse *r)
{
    log_error("refused", S("by", l->target), SN("why", r->detail.ptr, r->detail.len));
    disconnect(l);
    loop_timer_set(l->config.loop, &l->retry_timer, GREET_MS);
}

static void on_greeted(struct link *l, struct event *ev)
{
    struct frame f;
    enum err e = ERR_IO;
    if (ev->msg != NULL)
        e = frame_decode(nng_msg_body(ev->msg), nng_msg_len(ev->msg), &l->arena, &f);
    if (e == ERR_OK && f.type == FRAME_welcome) {
        accept_welcome(l, f.body);
        return;
    }
    if (e == ERR_OK && f.type == FRAME_refuse) {
        link_take_refusal(l, f.body);
        return;
    }
    if (ev->rv == 0)
        log_warn("bad-welcome", S("from", l->target), S("err", err_name(e)));
    link_break(l, e);
}

static void on_peer_death(struct loop_watch *w, uint32_t events)
{
    (void)events;
    link_break((struct link *)(void *)((char *)w - offsetof(struct link, death)), ERR_CLOSED);
}

/* False if the peer is dead already. Without a pidfd (a peer in another pid namespace, an old kernel)
 * nng and the beats have to do. */
static bool watch_peer(struct link *l, pid_t pid)
{
    if (pid <= 0 || (uint32_t)pid != l->peer_pid)
        return true;
    int fd = pidfd_open(pid, 0);
    if (fd < 0)
        return errno != ESRCH;
    l->death.fd = fd;
    l->death.ready = on_peer_death;
    if (loop_watch_add(l->config.loop, &l->death, EPOLLIN) != ERR_OK)
        unwatch_peer(l);
    return true;
}

static void on_pipe_up(void *ctx, pid_t pid)
{
    struct link *l = ctx;
    if (l->state != LINK_CONNECTING)
        return;
    if (link_is_remote(l))
        link_remote_connected(l);
    else if (watch_peer(l, pid))
        link_go_up(l);
    else
        link_break(l, ERR_CLOSED);
}

void link_go_up(struct link *l)
{
    l->state = LINK_UP;
    l->n_timeouts = 0;
    loop_timer_cancel(l->config.loop, &l->retry_timer);
    if (l->peer_path != NULL)
        (void)unlink(l->peer_path); /* one peer only; and no file to be left behind */
    uint64_t now = clock_now_ms();
    l->up_ms = now;
    l->n_sent = 0;
    l->n_received = 0;
    l->heard_ms = now;
    l->n_heard = 0;
    l->peer_progress_ms = now;
    l->peer_is_busy = false;
    l->gap = (struct clock_gap){0};
    l->beat_due_ms = now + LINK_BEAT_MS;
    loop_timer_set(l->config.loop, &l->beat_timer, LINK_BEAT_MS);
    l->handler.up(l->handler.ctx, l);
}

/* ---- sending ----------------------------------------------------------------------------------- */

static size_t queued_bytes(const struct link *l)
{
    return pipe_queued(l->pipe);
}

enum err link_send(struct link *l, enum frame_type type, const void *body)
{
    static const char HEAD[PIPE_HEAD] = {0};
    if (!link_is_up(l))
        return ERR_CLOSED;
    buf_reset(&l->scratch);
    buf_add(&l->scratch, HEAD, PIPE_HEAD);
    enum err e = frame_encode(&l->scratch, type, l->config.epoch + l->n_sent, body);
    size_t len = l->scratch.len - PIPE_HEAD;
    if (e == ERR_OK && l->peer_protocol >= PROTO_COUNTED)
        l->n_sent++;
    if (e == ERR_OK && FAULT_HITS(lost_frame))
        return ERR_OK;
    if (e != ERR_OK)
        return e;
    pipe_send(l->pipe, l->scratch.ptr, len);
    if (queued_bytes(l) > LINK_QUEUE_BYTES) {
        /* Not broken here: the caller is in the middle of something. */
        l->is_doomed = true;
        link_post(l, l->generation, EV_DOOMED, 0, NULL);
        return ERR_CLOSED;
    }
    return ERR_OK;
}

void link_bye(struct link *l)
{
    struct frame_bye bye = {0};
    l->is_leaving = true;
    if (link_send(l, FRAME_bye, &bye) != ERR_OK) {
        link_break(l, ERR_OK);
        return;
    }
    loop_timer_set(l->config.loop, &l->retry_timer, BYE_MS);
}

/* ---- receiving --------------------------------------------------------------------------------- */

/* A message is late by its way and by what held it up; the one that was the least late says most. */
static void note_clock(struct link *l, uint64_t peer_ns)
{
    struct clock_gap *g = &l->gap;
    int64_t gap_ns = (int64_t)(clock_now_ns() - peer_ns);
    uint64_t now_ms = clock_now_ms();
    if (g->since_ms == 0)
        *g = (struct clock_gap){gap_ns, gap_ns, now_ms};
    else if (now_ms - g->since_ms > GAP_MS)
        *g = (struct clock_gap){gap_ns, g->now_ns, now_ms};
    else if (gap_ns < g->now_ns)
        g->now_ns = gap_ns;
}

static void on_beat(struct link *l, const struct frame_beat *b)
{
    if (b->now_ns != 0)
        note_clock(l, b->now_ns);
    if (b->progress != l->peer_progress || !b->busy || !l->peer_is_busy)
        l->peer_progress_ms = clock_now_ms();
    l->peer_progress = b->progress;
    l->peer_is_busy = b->busy;
}

static void on_frame(struct link *l, const struct frame *f)
{
    struct frame_bye_ok ok = {0};
    if (f->type == FRAME_beat) {
        on_beat(l, f->body);
    } else if (f->type == FRAME_bye) {
        l->is_leaving = l->server != NULL; /* a dialer comes back when the service does */
        enum err e = link_send(l, FRAME_bye_ok, &ok);
        if (e != ERR_OK)
            link_break(l, e);
    } else if (f->type == FRAME_bye_ok) {
        link_break(l, ERR_OK);
    } else if (f->type == FRAME_hello || f->type == FRAME_welcome || f->type == FRAME_refuse) {
        link_break(l, ERR_PROTOCOL);
    } else {
        l->handler.frame(l->handler.ctx, l, f);
    }
}

/* Whether the link is still as it was. The caller holds a reference. */
static bool take_message(struct link *l, const void *data, size_t len)
{
    struct frame f;
    enum err e = frame_decode(data, len, &l->arena, &f);
    if (e == ERR_OK && f.epoch != l->peer_epoch + l->n_received)
        e = ERR_PROTOCOL;
    if (l->peer_protocol >= PROTO_COUNTED)
        l->n_received++;
    if (e != ERR_OK) {
        log_warn("bad-frame", S("from", l->peer_service), U("pid", l->peer_pid),
                 S("err", err_name(e)), U("bytes", len));
        link_break(l, e);
        return false;
    }
    if (FAULT_HITS(slow_peer))
        fault_dawdle();
    if (FAULT_HITS(spin_loop))
        fault_spin();
    uint32_t generation = l->generation;
    on_frame(l, &f);
    if (l->generation != generation) /* NOLINT(clang-analyzer-unix.Malloc): see the reference */
        return false;
    arena_reset(&l->arena);
    return true;
}

static void on_pipe_message(void *ctx, const void *data, size_t len)
{
    struct link *l = ctx;
    (void)__atomic_add_fetch(&l->n_refs, 1, __ATOMIC_RELAXED); /* it may end within */
    if (l->state == LINK_UP)
        (void)take_message(l, data, len);
    else if (l->state == LINK_GREETING)
        link_remote_greeted(l, data, len);
    link_unref(l); /* NOLINT(clang-analyzer-unix.Malloc): ours is the last reference at most */
}

static void on_pipe_down(void *ctx, enum err why)
{
    link_break(ctx, why);
}

struct pipe_events link_pipe_events(struct link *l)
{
    return (struct pipe_events){on_pipe_up, on_pipe_message, on_pipe_down, l};
}

static void run_event(struct loop_task *t)
{
    struct event *ev = (struct event *)(void *)t;
    struct link *l = ev->link;
    if (ev->generation == l->generation && !l->is_closed) {
        switch (ev->kind) {
        case EV_GREETED:
            on_greeted(l, ev);
            break;
        case EV_DOOMED:
            log_warn("peer-too-slow", S("peer", l->peer_service), U("queued", queued_bytes(l)));
            link_break(l, ERR_FULL);
            break;
        }
    }
    if (ev->msg != NULL)
        nng_msg_free(ev->msg);
    free(ev);
    link_unref(l); /* NOLINT(clang-analyzer-unix.Malloc): the event holds a reference of its own */
}

/* ---- time -------------------------------------------------------------------------------------- */

static struct link *link_of_beat_timer(struct loop_timer *t)
{
    return (struct link *)(void *)((char *)t - offsetof(struct link, beat_timer));
}

static void on_beat_timer(struct loop_timer *t)
{
    struct link *l = link_of_beat_timer(t);
    uint64_t now = clock_now_ms();
    /* When we ourselves were held up (stopped, starved), the peer's frames still wait in the queue:
     * judge it at the next beat. */
    bool were_late = now > l->beat_due_ms + LINK_BEAT_MS;
    if (pipe_received(l->pipe) != l->n_heard)
        l->heard_ms = now; /* a long message on a slow line, or we were late */
    l->n_heard = pipe_received(l->pipe);
    if (!were_late && now - l->heard_ms > l->config.dead_ms) {
        log_warn("peer-silent", S("peer", l->peer_service), U("pid", l->peer_pid),
                 U("ms", now - l->heard_ms));
        link_break(l, ERR_TIMEOUT);
        return;
    }
    if (!were_late && l->peer_is_busy && now - l->peer_progress_ms > l->config.stall_ms) {
        log_warn("peer-stalled", S("peer", l->peer_service), U("pid", l->peer_pid),
                 U("ms", now - l->peer_progress_ms));
        link_break(l, ERR_TIMEOUT);
        return;
    }
    struct frame_beat beat = {.progress = notify_progress_count(),
                              .busy = notify_is_busy(),
                              .now_ns = link_is_remote(l) ? clock_now_ns() : 0};
    if (queued_bytes(l) == 0 && link_send(l, FRAME_beat, &beat) == ERR_TOO_LARGE)
        ASSERT(false);
    l->beat_due_ms = now + LINK_BEAT_MS;
    loop_timer_set(l->config.loop, &l->beat_timer, LINK_BEAT_MS);
}

static void on_retry_timer(struct loop_timer *t)
{
    struct link *l = (struct link *)(void *)((char *)t - offsetof(struct link, retry_timer));
    switch (l->state) {
    case LINK_IDLE:
        start_greeting(l);
        break;
    case LINK_CONNECTING:
        l->n_timeouts += l->n_timeouts < 8;
        link_break(l, ERR_TIMEOUT);
        break;
    case LINK_GREETING:
    case LINK_UP: /* bye was not answered */
        link_break(l, ERR_TIMEOUT);
        break;
    }
}

enum err link_dial(const struct link_config *config, const char *service,
                   const struct link_handler *handler, struct link **ret_link)
{
    if (strlen(config->run) + strlen(service) > 90)
        return ERR_TOO_LARGE;
    struct link *l = link_new(config, handler);
    l->target = mem_strndup(service, strlen(service));
    /* From the loop, so that `up` cannot come before the caller has the link. */
    loop_timer_set(config->loop, &l->retry_timer, 0);
    *ret_link = l;
    return ERR_OK;
}

/* ---- the peer ---------------------------------------------------------------------------------- */

const char *link_peer_service(const struct link *l)
{
    return l->peer_service != NULL ? l->peer_service : "";
}

const char *link_peer_instance(const struct link *l)
{
    return l->peer_instance != NULL ? l->peer_instance : "";
}

const char *link_peer_build(const struct link *l)
{
    return l->peer_build != NULL ? l->peer_build : "";
}

uint64_t link_peer_epoch(const struct link *l)
{
    return l->peer_epoch;
}

const char *link_peer_address(const struct link *l)
{
    return l->address != NULL ? l->address : "";
}

int64_t link_peer_clock_ns(const struct link *l)
{
    return l->gap.now_ns < l->gap.last_ns ? l->gap.now_ns : l->gap.last_ns;
}

uint32_t link_peer_protocol(const struct link *l)
{
    return l->peer_protocol;
}

uint32_t link_peer_pid(const struct link *l)
{
    return l->peer_pid;
}

void link_set_user(struct link *l, void *user)
{
    l->user = user;
}

void *link_user(const struct link *l)
{
    return l->user;
}
