/* SPDX-License-Identifier: MIT */
#include "proto/door.h"

#include <dirent.h>
#include <nng/transport/ipc/ipc.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/mem.h"
#include "proto/closer.h"
#include "proto/link_internal.h"

enum {
    LOOK_MS = 250, /* after the last caller came; a handshake takes less than one */
    LOOK_MAX_MS = 4000, /* the pause grows with each look in vain: a busy machine needs longer */
    CROWD_MS = 2000, /* and at the latest after the first one */
};

struct door {
    struct loop *loop;
    nng_socket sock;
    char *path;
    nng_listener listener;
    bool is_listening;
    struct loop_watch watch; /* of nng's own descriptor; fd -1: none */
    struct loop_timer timer;
    uint64_t pause_ms;
    uint64_t first_ms; /* when the first caller since the last look came */
    unsigned n_callers; /* since then; at least so many */
    atomic_uint n_pipes; /* ever; counted on nng's threads */
    unsigned n_seen; /* of them at the last look */
};

static enum err listen_at(nng_socket sock, const char *path, nng_listener *ret_listener)
{
    char url[320];
    nng_listener l;
    (void)snprintf(url, sizeof url, "ipc://%s", path);
    int rv = nng_listener_create(&l, sock, url);
    if (rv != 0)
        return link_err_from_nng(rv);
    rv = nng_listener_set_int(l, NNG_OPT_IPC_PERMISSIONS, 0600);
    if (rv == 0)
        rv = nng_listener_start(l, 0);
    if (rv != 0)
        (void)nng_listener_close(l);
    else
        *ret_listener = l;
    return link_err_from_nng(rv);
}

static bool listens_at(int fd, const char *path)
{
    struct sockaddr_un a = {0};
    socklen_t len = sizeof a;
    int is_listening = 0;
    socklen_t n = sizeof is_listening;
    struct pollfd p = {.fd = fd};
    /* One that nng shut down but still holds is no more. */
    if (poll(&p, 1, 0) != 0)
        return false;
    return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &n) == 0 && is_listening &&
           getsockname(fd, (struct sockaddr *)(void *)&a, &len) == 0 && a.sun_family == AF_UNIX &&
           strncmp(a.sun_path, path, sizeof a.sun_path) == 0;
}

/* nng does not tell its descriptor; -1 if it is not found. */
static int find_listening_fd(const char *path)
{
    int found = -1;
    DIR *d = opendir("/proc/self/fd");
    if (d == NULL)
        return -1;
    for (struct dirent *e; found < 0 && (e = readdir(d)) != NULL;) {
        int fd = (int)strtol(e->d_name, NULL, 10);
        if (e->d_name[0] != '.' && listens_at(fd, path))
            found = fd;
    }
    (void)closedir(d);
    return found;
}

/* Edge-triggered: once for each caller, or for several at once. nng accepts them on its own thread. */
static void on_caller(struct loop_watch *w, uint32_t events)
{
    struct door *d = (struct door *)(void *)((char *)w - offsetof(struct door, watch));
    uint64_t now = clock_now_ms();
    (void)events;
    if (d->n_callers++ == 0)
        d->first_ms = now;
    if (d->timer.slot == 0 || now - d->first_ms < CROWD_MS)
        loop_timer_set(d->loop, &d->timer, d->pause_ms);
}

static void on_pipe(nng_pipe p, nng_pipe_ev ev, void *arg)
{
    struct door *d = arg;
    (void)p;
    (void)ev;
    atomic_fetch_add(&d->n_pipes, 1);
}

static enum err start(struct door *d)
{
    enum err e = listen_at(d->sock, d->path, &d->listener);
    if (e != ERR_OK)
        return e;
    d->is_listening = true;
    d->watch.fd = find_listening_fd(d->path);
    if (d->watch.fd < 0 || loop_watch_add(d->loop, &d->watch, EPOLLIN | EPOLLET) != ERR_OK) {
        d->watch.fd = -1;
        log_warn("door-not-watched", S("path", d->path)); /* it works as nng works */
    }
    return ERR_OK;
}

static void stop(struct door *d)
{
    if (d->watch.fd >= 0)
        loop_watch_remove(d->loop, &d->watch);
    d->watch.fd = -1;
    if (d->is_listening)
        (void)nng_listener_close(d->listener);
    d->is_listening = false;
}

/* Some time after callers came: has a pipe come of each? Where several were counted as one, a lost one
 * may go unnoticed; then it is the next caller that gets no pipe. */
static void look(struct loop_timer *t)
{
    struct door *d = (struct door *)(void *)((char *)t - offsetof(struct door, timer));
    unsigned n_pipes = atomic_load(&d->n_pipes);
    bool have_come = n_pipes - d->n_seen >= d->n_callers;
    d->n_seen = n_pipes;
    d->n_callers = 0;
    if (have_come && d->is_listening) {
        d->pause_ms = LOOK_MS;
        return;
    }
    log_debug("door-reopened", S("path", d->path), U("after_ms", d->pause_ms));
    d->pause_ms = d->pause_ms < LOOK_MAX_MS ? d->pause_ms * 2 : LOOK_MAX_MS;
    stop(d);
    enum err e = start(d);
    if (e == ERR_OK)
        return;
    log_error("door-not-opened", S("path", d->path), S("err", err_name(e)));
    loop_timer_set(d->loop, &d->timer, d->pause_ms);
}

static void free_door(void *ctx)
{
    struct door *d = ctx;
    free(d->path);
    free(d);
}

enum err door_open(struct loop *loop, nng_socket sock, const char *path, struct door **ret_door)
{
    struct door *d = mem_zalloc(1, sizeof *d);
    d->loop = loop;
    d->sock = sock;
    d->path = mem_strndup(path, strlen(path));
    d->watch = (struct loop_watch){-1, on_caller};
    d->timer.fire = look;
    d->pause_ms = LOOK_MS;
    enum err e = link_err_from_nng(nng_pipe_notify(sock, NNG_PIPE_EV_ADD_POST, on_pipe, d));
    if (e == ERR_OK)
        e = start(d);
    if (e != ERR_OK) {
        (void)nng_pipe_notify(sock, NNG_PIPE_EV_ADD_POST, NULL, NULL); /* it had no pipe so far */
        free_door(d);
        return e;
    }
    *ret_door = d;
    return ERR_OK;
}

void door_close(struct door *d)
{
    if (d == NULL)
        return;
    loop_timer_cancel(d->loop, &d->timer);
    stop(d);
    closer_close(d->sock, free_door, d); /* on_pipe may still be called */
}
