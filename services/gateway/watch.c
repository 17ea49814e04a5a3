/* SPDX-License-Identifier: MIT */
#include "services/gateway/watch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

static void on_ready(struct loop_watch *base, uint32_t events)
{
    struct watch *w = (struct watch *)(void *)base;
    void (*left)(struct watch *) = w->left;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0)
        return;
    watch_stop(w);
    left(w);
}

enum err watch_start(struct watch *w, struct loop *l, int fd, void (*left)(struct watch *w))
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return err_from_errno(errno);
    w->base = (struct loop_watch){.fd = copy, .ready = on_ready};
    enum err e = loop_watch_add(l, &w->base, EPOLLRDHUP);
    if (e != ERR_OK) {
        (void)close(copy);
        return e;
    }
    w->loop = l;
    w->left = left;
    return ERR_OK;
}

void watch_stop(struct watch *w)
{
    if (w->left == NULL)
        return;
    w->left = NULL;
    loop_watch_remove(w->loop, &w->base);
    (void)close(w->base.fd);
}
