/* SPDX-License-Identifier: MIT */
#include "proto/pipe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/check.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/frames.h"
#include "proto/tls.h"

enum {
    GREETING = 8,
    IN_BYTES = 64 * 1024, /* what is read at once; more for a longer message */
    BACKLOG = 4,
};

/* Zero, "SP", version 0, protocol pair0, reserved. */
static const char GREETING_BYTES[GREETING] = {0, 'S', 'P', 0, 0, 0x10, 0, 0};

struct pipe {
    struct loop *loop;
    struct pipe_events events;
    struct loop_watch door; /* the listening socket; -1: none */
    struct loop_watch watch; /* the connection; -1: none yet */
    struct tls *tls; /* NULL on a Unix socket */
    bool is_shaking; /* hands, of TLS: nothing is sent or received before */
    pid_t pid;
    bool is_up;
    bool is_inside; /* an event is under way: the caller frees */
    bool is_closed;
    char *in;
    size_t cap_in;
    size_t n_in;
    uint64_t n_read; /* ever */
    struct buf out;
    size_t n_out_sent; /* of out */
};

#define PIPE_OF(w, member) ((struct pipe *)(void *)((char *)(w)-offsetof(struct pipe, member)))

/* ---- life -------------------------------------------------------------------------------------- */

static void close_watch(struct pipe *p, struct loop_watch *w)
{
    if (w->fd < 0)
        return;
    loop_watch_remove(p->loop, w);
    (void)close(w->fd);
    w->fd = -1;
}

static void free_pipe(struct pipe *p)
{
    tls_free(p->tls);
    free(p->in);
    buf_fini(&p->out);
    free(p);
}

void pipe_close(struct pipe *p)
{
    if (p == NULL)
        return;
    close_watch(p, &p->door);
    close_watch(p, &p->watch);
    p->is_closed = true;
    if (!p->is_inside)
        free_pipe(p);
}

/* Its owner closes it. */
static void fail(struct pipe *p, enum err why)
{
    if (!p->is_closed)
        p->events.down(p->events.ctx, why);
}

/* A caller who has not greeted yet is forgotten where we listen; the next one may do better. */
static void lose(struct pipe *p, enum err why)
{
    if (p->is_up || p->door.fd < 0) {
        fail(p, why);
        return;
    }
    close_watch(p, &p->watch);
    p->n_in = 0;
    buf_reset(&p->out);
    p->n_out_sent = 0;
}

/* ---- sending ----------------------------------------------------------------------------------- */

static void await(struct pipe *p, uint32_t events)
{
    loop_watch_remove(p->loop, &p->watch);
    if (loop_watch_add(p->loop, &p->watch, events) != ERR_OK)
        log_error("no-watch", I("fd", p->watch.fd)); /* the beats find it */
}

/* How many of the bytes the socket took. An error is left for recv to find, which comes at once. */
static size_t send_some(const struct pipe *p, const char *bytes, size_t len)
{
    ssize_t n = p->tls != NULL ? tls_send(p->tls, bytes, len)
                               : send(p->watch.fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n > 0 ? (size_t)n : 0;
}

static void keep(struct pipe *p, const char *bytes, size_t len)
{
    if (p->out.len == 0)
        await(p, EPOLLIN | EPOLLOUT);
    if (p->n_out_sent > p->out.len / 2) {
        p->out.len -= p->n_out_sent;
        memmove(p->out.ptr, p->out.ptr + p->n_out_sent, p->out.len);
        p->n_out_sent = 0;
    }
    buf_add(&p->out, bytes, len);
}

static void send_bytes(struct pipe *p, const char *bytes, size_t len)
{
    size_t n = p->out.len == 0 ? send_some(p, bytes, len) : 0;
    if (n < len)
        keep(p, bytes + n, len - n);
}

void pipe_send(struct pipe *p, char *head_and_message, size_t len)
{
    if (p->watch.fd < 0 || p->is_shaking)
        return;
    head_and_message[0] = 1;
    for (int i = 0; i < 8; i++)
        head_and_message[1 + i] = (char)((uint64_t)len >> (56 - 8 * i) & 0xff);
    send_bytes(p, head_and_message, PIPE_HEAD + len);
}

size_t pipe_queued(const struct pipe *p)
{
    return p->out.len - p->n_out_sent;
}

uint64_t pipe_received(const struct pipe *p)
{
    return p->n_read;
}

static void send_rest(struct pipe *p)
{
    p->n_out_sent += send_some(p, p->out.ptr + p->n_out_sent, p->out.len - p->n_out_sent);
    if (p->n_out_sent < p->out.len)
        return;
    buf_fini(&p->out);
    p->n_out_sent = 0;
    await(p, EPOLLIN);
}

/* ---- receiving --------------------------------------------------------------------------------- */

static uint64_t length_of(const char *head)
{
    uint64_t len = 0;
    for (int i = 1; i < PIPE_HEAD; i++)
        len = len << 8 | (unsigned char)head[i];
    return len;
}

/* Takes the messages that are there whole; what is left is moved to the front. */
static void take_messages(struct pipe *p)
{
    size_t at = 0;
    while (!p->is_closed && p->n_in - at >= PIPE_HEAD) {
        uint64_t len = length_of(p->in + at);
        if (p->in[at] != 1 || len > FRAME_MAX_BYTES) {
            fail(p, p->in[at] != 1 ? ERR_PROTOCOL : ERR_TOO_LARGE);
            return;
        }
        if (p->n_in - at - PIPE_HEAD < len)
            break;
        const char *message = p->in + at + PIPE_HEAD;
        at += PIPE_HEAD + (size_t)len;
        p->events.message(p->events.ctx, message, (size_t)len);
    }
    if (p->is_closed)
        return;
    p->n_in -= at;
    if (p->n_in > 0 && at > 0)
        memmove(p->in, p->in + at, p->n_in);
}

static void take_greeting(struct pipe *p)
{
    if (p->n_in < GREETING)
        return;
    if (memcmp(p->in, GREETING_BYTES, GREETING) != 0) {
        lose(p, ERR_PROTOCOL);
        return;
    }
    p->n_in -= GREETING;
    memmove(p->in, p->in + GREETING, p->n_in);
    p->is_up = true;
    close_watch(p, &p->door);
    p->events.up(p->events.ctx, p->pid);
}

/* Room for the message that is arriving, but never much more than has come of it. */
static void make_room(struct pipe *p)
{
    if (p->n_in < p->cap_in)
        return;
    p->cap_in = p->cap_in > 0 ? p->cap_in * 2 : IN_BYTES;
    p->in = mem_resize(p->in, p->cap_in, 1);
}

static void give_room_back(struct pipe *p)
{
    if (p->n_in > 0 || p->cap_in <= IN_BYTES)
        return;
    free(p->in);
    p->in = NULL;
    p->cap_in = 0;
}

static void receive(struct pipe *p)
{
    make_room(p);
    char *to = p->in + p->n_in;
    size_t room = p->cap_in - p->n_in;
    ssize_t n =
        p->tls != NULL ? tls_recv(p->tls, to, room) : recv(p->watch.fd, to, room, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        lose(p, n == 0 || errno == ECONNRESET ? ERR_CLOSED : err_from_errno(errno));
        return;
    }
    p->n_in += (size_t)n;
    p->n_read += (uint64_t)n;
    if (!p->is_up)
        take_greeting(p);
    if (p->is_up && !p->is_closed)
        take_messages(p);
    if (!p->is_closed)
        give_room_back(p);
}

/* All that TLS has deciphered: the socket does not become readable for it. */
static void receive_all(struct pipe *p)
{
    uint64_t before;
    do {
        before = p->n_read;
        receive(p);
    } while (!p->is_closed && p->tls != NULL && p->n_read > before && tls_has_more(p->tls));
}

static void shake(struct pipe *p)
{
    enum err e = tls_shake(p->tls);
    if (e == ERR_AGAIN) {
        await(p, tls_wants_write(p->tls) ? EPOLLOUT : EPOLLIN);
        return;
    }
    if (e != ERR_OK) {
        fail(p, e);
        return;
    }
    p->is_shaking = false;
    await(p, EPOLLIN);
    send_bytes(p, GREETING_BYTES, GREETING);
    receive_all(p); /* what came with the end of the handshake */
}

static void on_ready(struct loop_watch *w, uint32_t events)
{
    struct pipe *p = PIPE_OF(w, watch);
    p->is_inside = true;
    if (p->is_shaking) {
        shake(p);
    } else {
        if ((events & EPOLLOUT) != 0)
            send_rest(p);
        if ((events & ~(uint32_t)EPOLLOUT) != 0)
            receive_all(p);
    }
    p->is_inside = false;
    if (p->is_closed)
        free_pipe(p);
}

/* ---- opening ----------------------------------------------------------------------------------- */

bool pipe_trusts(uint64_t uid, bool is_dialled)
{
    return uid == 0 || uid == geteuid() || (is_dialled && geteuid() == 0);
}

static bool is_trusted(struct pipe *p, int fd, bool is_dialled)
{
    struct ucred who = {.uid = (uid_t)-1};
    socklen_t len = sizeof who;
    bool is_known = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0;
    if (is_known && pipe_trusts(who.uid, is_dialled)) {
        p->pid = who.pid;
        return true;
    }
    log_warn("peer-refused", U("uid", who.uid), U("want", geteuid()));
    return false;
}

static enum err begin(struct pipe *p, int take_fd)
{
    p->watch.fd = take_fd;
    enum err e = loop_watch_add(p->loop, &p->watch, EPOLLIN);
    if (e == ERR_OK)
        send_bytes(p, GREETING_BYTES, GREETING);
    return e;
}

static void on_caller(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct pipe *p = PIPE_OF(w, door);
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0)
        return;
    if (p->watch.fd >= 0 || !is_trusted(p, fd, false)) {
        (void)close(fd); /* one at a time; whoever comes second was not asked */
        return;
    }
    if (begin(p, fd) != ERR_OK)
        close_watch(p, &p->watch);
}

static struct pipe *new_pipe(struct loop *loop, const struct pipe_events *events)
{
    struct pipe *p = mem_zalloc(1, sizeof *p);
    p->loop = loop;
    p->events = *events;
    p->door = (struct loop_watch){-1, on_caller};
    p->watch = (struct loop_watch){-1, on_ready};
    return p;
}

/* A socket, and the address of the path. */
static enum err make_socket(const char *path, struct sockaddr_un *ret_address, int *ret_fd)
{
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNIX};
    size_t len = strlen(path);
    if (len >= sizeof ret_address->sun_path)
        return ERR_TOO_LARGE;
    memcpy(ret_address->sun_path, path, len);
    *ret_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return *ret_fd >= 0 ? ERR_OK : err_from_errno(errno);
}

enum err pipe_dial(struct loop *loop, const char *path, const struct pipe_events *events,
                   struct pipe **ret_pipe)
{
    struct sockaddr_un address;
    int fd;
    enum err e = make_socket(path, &address, &fd);
    if (e != ERR_OK)
        return e;
    struct pipe *p = new_pipe(loop, events);
    if (connect(fd, (const struct sockaddr *)(const void *)&address, sizeof address) != 0)
        e = err_from_errno(errno);
    else if (!is_trusted(p, fd, true))
        e = ERR_PERMISSION;
    if (e != ERR_OK)
        (void)close(fd);
    else
        e = begin(p, fd);
    if (e != ERR_OK) {
        pipe_close(p);
        return e;
    }
    *ret_pipe = p;
    return ERR_OK;
}

enum err pipe_listen(struct loop *loop, const char *path, const struct pipe_events *events,
                     struct pipe **ret_pipe)
{
    struct sockaddr_un address;
    int fd;
    enum err e = make_socket(path, &address, &fd);
    if (e != ERR_OK)
        return e;
    struct pipe *p = new_pipe(loop, events);
    p->door.fd = fd;
    /* Nobody can connect before listen, so the mode is in time. */
    if (bind(fd, (const struct sockaddr *)(const void *)&address, sizeof address) != 0 ||
        chmod(path, 0600) != 0 || listen(fd, BACKLOG) != 0)
        e = err_from_errno(errno);
    else
        e = loop_watch_add(loop, &p->door, EPOLLIN);
    if (e != ERR_OK) {
        pipe_close(p);
        return e;
    }
    *ret_pipe = p;
    return ERR_OK;
}

enum err pipe_open(struct loop *loop, int take_fd, struct tls *take_tls,
                   const struct pipe_events *events, struct pipe **ret_pipe)
{
    struct pipe *p = new_pipe(loop, events);
    p->tls = take_tls;
    p->is_shaking = true;
    p->watch.fd = take_fd;
    /* Writable: connected, or it never will be. */
    enum err e = loop_watch_add(loop, &p->watch, EPOLLOUT);
    if (e != ERR_OK) {
        pipe_close(p);
        return e;
    }
    *ret_pipe = p;
    return ERR_OK;
}

const char *pipe_peer_name(const struct pipe *p)
{
    return p->tls != NULL ? tls_peer_name(p->tls) : "";
}

const char *pipe_why(const struct pipe *p)
{
    return p->tls != NULL ? tls_why(p->tls) : "";
}
