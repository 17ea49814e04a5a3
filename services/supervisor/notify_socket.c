/* SPDX-License-Identifier: MIT */
#include "services/supervisor/notify_socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/mem.h"

enum {
    MESSAGE_CAP = 4096,
    FDS_CAP = 16, /* descriptors in a message (sd_notify's barrier sends one); all are closed */
};

struct notify_socket {
    struct loop_watch watch;
    struct loop *loop;
    struct sockaddr_un address;
    bool is_bound;
    void (*on_notice)(void *ctx, pid_t sender, const struct notice *n);
    void *ctx;
};

static void parse_line(struct str line, struct notice *n)
{
    static const struct str STATUS = {"STATUS=", 7};
    if (str_is(line, "READY=1")) {
        n->is_ready = true;
    } else if (str_is(line, "STOPPING=1")) {
        n->is_stopping = true;
    } else if (str_is(line, "WATCHDOG=1")) {
        n->is_alive = true;
    } else if (line.len >= STATUS.len && str_eq((struct str){line.ptr, STATUS.len}, STATUS)) {
        n->has_status = true;
        n->status = (struct str){line.ptr + STATUS.len, line.len - STATUS.len};
    }
}

void notify_parse(struct str message, struct notice *ret_notice)
{
    *ret_notice = (struct notice){0};
    for (size_t at = 0; at < message.len;) {
        const char *start = message.ptr + at;
        const char *end = memchr(start, '\n', message.len - at);
        size_t len = end != NULL ? (size_t)(end - start) : message.len - at;
        parse_line((struct str){start, len}, ret_notice);
        at += len + 1;
    }
}

static void close_received(const struct cmsghdr *c)
{
    size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < n; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
        (void)close(fd);
    }
}

/* The sender's pid, or 0 if the kernel did not say or it is another user's. */
static pid_t read_sender(struct msghdr *m)
{
    pid_t sender = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c != NULL; c = CMSG_NXTHDR(m, c)) {
        if (c->cmsg_level != SOL_SOCKET)
            continue;
        if (c->cmsg_type == SCM_RIGHTS)
            close_received(c);
        if (c->cmsg_type == SCM_CREDENTIALS) {
            struct ucred who;
            memcpy(&who, CMSG_DATA(c), sizeof who);
            if (who.uid == geteuid() || who.uid == 0)
                sender = who.pid;
        }
    }
    return sender;
}

static bool receive_one(struct notify_socket *s)
{
    char text[MESSAGE_CAP];
    union {
        char space[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(FDS_CAP * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {text, sizeof text};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = control.space,
                       .msg_controllen = sizeof control.space};
    ssize_t n = recvmsg(s->watch.fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EINTR;
    pid_t sender = read_sender(&m);
    struct notice notice;
    notify_parse((struct str){text, (size_t)n}, &notice);
    if (sender > 0)
        s->on_notice(s->ctx, sender, &notice);
    return true;
}

void notify_socket_drain(struct notify_socket *s)
{
    while (receive_one(s)) {
    }
}

static void on_ready(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct notify_socket *s = (struct notify_socket *)(void *)w;
    (void)receive_one(s);
}

enum err notify_socket_open(struct loop *loop, const char *run,
                            void (*on_notice)(void *ctx, pid_t sender, const struct notice *n),
                            void *ctx, struct notify_socket **ret_socket)
{
    struct notify_socket *s = mem_zalloc(1, sizeof *s);
    s->loop = loop;
    s->on_notice = on_notice;
    s->ctx = ctx;
    s->address.sun_family = AF_UNIX;
    s->watch = (struct loop_watch){socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                                   on_ready};
    int n = snprintf(s->address.sun_path, sizeof s->address.sun_path, "%s/notify.sock", run);
    enum err e = n > 0 && (size_t)n < sizeof s->address.sun_path ? ERR_OK : ERR_TOO_LARGE;
    if (e != ERR_OK || s->watch.fd < 0)
        goto fail;
    int on = 1;
    (void)unlink(s->address.sun_path); /* a predecessor's; the lock says that it is gone */
    if (setsockopt(s->watch.fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) != 0 ||
        bind(s->watch.fd, (const struct sockaddr *)(const void *)&s->address, sizeof s->address) !=
            0)
        goto fail;
    s->is_bound = true;
    if (chmod(s->address.sun_path, 0600) != 0)
        goto fail;
    e = loop_watch_add(loop, &s->watch, EPOLLIN);
    if (e != ERR_OK)
        goto fail;
    *ret_socket = s;
    return ERR_OK;
fail:
    if (e == ERR_OK)
        e = err_from_errno(errno);
    notify_socket_close(s);
    return e;
}

void notify_socket_close(struct notify_socket *s)
{
    if (s == NULL)
        return;
    if (s->watch.fd >= 0) {
        loop_watch_remove(s->loop, &s->watch);
        (void)close(s->watch.fd);
    }
    if (s->is_bound)
        (void)unlink(s->address.sun_path);
    free(s);
}

const char *notify_socket_path(const struct notify_socket *s)
{
    return s->address.sun_path;
}
