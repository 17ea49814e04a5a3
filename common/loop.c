/* SPDX-License-Identifier: MIT */
#include "common/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"

enum { EVENTS_PER_TURN = 64 };

struct signal_hook {
    struct loop_watch watch;
    void (*handler)(void *ctx);
    void *ctx;
};

struct loop {
    int epoll_fd;
    struct loop_watch wake; /* eventfd: tasks were posted, or stop */
    struct loop_watch timer; /* timerfd of the earliest timer */
    struct signal_hook terminate;
    struct signal_hook child;
    struct signal_hook hangup;

    pthread_mutex_t mutex; /* guards the queue */
    struct loop_task *first;
    struct loop_task *last;
    atomic_bool is_stopping;

    struct loop_timer **heap; /* binary heap by due_ns */
    size_t n_timers;
    size_t cap_timers;
    uint64_t armed_ns; /* what the timerfd is set to; 0 is off */
};

/* ---- timers ------------------------------------------------------------------------------------ */

static void heap_put(struct loop *l, size_t i, struct loop_timer *t)
{
    l->heap[i] = t;
    t->slot = i + 1;
}

static void heap_up(struct loop *l, size_t i)
{
    struct loop_timer *t = l->heap[i];
    while (i > 0 && t->due_ns < l->heap[(i - 1) / 2]->due_ns) {
        heap_put(l, i, l->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    heap_put(l, i, t);
}

static void heap_down(struct loop *l, size_t i)
{
    struct loop_timer *t = l->heap[i];
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= l->n_timers)
            break;
        if (c + 1 < l->n_timers && l->heap[c + 1]->due_ns < l->heap[c]->due_ns)
            c++;
        if (t->due_ns <= l->heap[c]->due_ns)
            break;
        heap_put(l, i, l->heap[c]);
        i = c;
    }
    heap_put(l, i, t);
}

static void timerfd_arm(struct loop *l)
{
    uint64_t due = l->n_timers > 0 ? l->heap[0]->due_ns : 0;
    if (due == l->armed_ns)
        return;
    struct itimerspec its = {
        .it_value = {.tv_sec = (time_t)(due / 1000000000U), .tv_nsec = (long)(due % 1000000000U)}};
    ASSERT(timerfd_settime(l->timer.fd, TFD_TIMER_ABSTIME, &its, NULL) == 0);
    l->armed_ns = due;
}

static void timer_unlink(struct loop *l, struct loop_timer *t)
{
    if (t->slot == 0)
        return;
    size_t i = t->slot - 1;
    t->slot = 0;
    l->n_timers--;
    if (i == l->n_timers)
        return;
    heap_put(l, i, l->heap[l->n_timers]);
    heap_up(l, i);
    heap_down(l, l->heap[i]->slot - 1);
}

void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t delay_ms)
{
    timer_unlink(l, t);
    if (l->n_timers == l->cap_timers) {
        l->cap_timers = l->cap_timers > 0 ? l->cap_timers * 2 : 16;
        l->heap = mem_resize(l->heap, l->cap_timers, sizeof(struct loop_timer *));
    }
    t->due_ns = clock_now_ns() + delay_ms * 1000000U;
    heap_put(l, l->n_timers, t);
    l->n_timers++;
    heap_up(l, l->n_timers - 1);
    timerfd_arm(l);
}

void loop_timer_cancel(struct loop *l, struct loop_timer *t)
{
    timer_unlink(l, t);
    timerfd_arm(l);
}

static void on_timerfd(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct loop *l = (struct loop *)(void *)((char *)w - offsetof(struct loop, timer));
    uint64_t expirations;
    ssize_t n = read(w->fd, &expirations, sizeof expirations);
    (void)n; /* the clock decides below, whatever the count says */
    uint64_t now = clock_now_ns();
    l->armed_ns = 0;
    while (l->n_timers > 0 && l->heap[0]->due_ns <= now) {
        struct loop_timer *t = l->heap[0];
        timer_unlink(l, t);
        t->fire(t);
    }
    timerfd_arm(l);
}

/* ---- tasks ------------------------------------------------------------------------------------- */

static void wake_up(struct loop *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->wake.fd, &one, sizeof one);
    (void)n; /* EAGAIN means it is already readable */
}

void loop_post(struct loop *l, struct loop_task *t)
{
    t->next = NULL;
    pthread_mutex_lock(&l->mutex);
    bool was_empty = l->first == NULL;
    if (was_empty)
        l->first = t;
    else
        l->last->next = t;
    l->last = t;
    pthread_mutex_unlock(&l->mutex);
    if (was_empty)
        wake_up(l);
}

static bool run_tasks(struct loop *l)
{
    pthread_mutex_lock(&l->mutex);
    struct loop_task *t = l->first;
    l->first = NULL;
    l->last = NULL;
    pthread_mutex_unlock(&l->mutex);
    bool any = t != NULL;
    while (t != NULL) {
        struct loop_task *next = t->next;
        t->run(t);
        t = next;
    }
    return any;
}

static void on_wake(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct loop *l = (struct loop *)(void *)((char *)w - offsetof(struct loop, wake));
    uint64_t count;
    ssize_t n = read(w->fd, &count, sizeof count);
    (void)n;
    (void)run_tasks(l);
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->is_stopping, true);
    wake_up(l);
}

bool loop_is_stopping(const struct loop *l)
{
    return atomic_load(&l->is_stopping);
}

/* ---- descriptors and signals ------------------------------------------------------------------- */

enum err loop_watch_add(struct loop *l, struct loop_watch *w, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data = {.ptr = w}};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, w->fd, &ev) != 0)
        return err_from_errno(errno);
    return ERR_OK;
}

void loop_watch_remove(struct loop *l, struct loop_watch *w)
{
    (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
}

static void on_signal(struct loop_watch *w, uint32_t events)
{
    (void)events;
    struct signal_hook *h = (struct signal_hook *)(void *)w;
    struct signalfd_siginfo info;
    bool came = false;
    while (read(w->fd, &info, sizeof info) == (ssize_t)sizeof info)
        came = true;
    if (came)
        h->handler(h->ctx);
}

static enum err hook_signals(struct loop *l, struct signal_hook *h, const int *signals, size_t n)
{
    sigset_t set;
    (void)sigemptyset(&set);
    for (size_t i = 0; i < n; i++)
        (void)sigaddset(&set, signals[i]);
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return ERR_INTERNAL;
    h->watch.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (h->watch.fd < 0)
        return err_from_errno(errno);
    h->watch.ready = on_signal;
    return loop_watch_add(l, &h->watch, EPOLLIN);
}

enum err loop_on_terminate(struct loop *l, void (*handler)(void *ctx), void *ctx)
{
    static const int SIGNALS[] = {SIGTERM, SIGINT};
    l->terminate.handler = handler;
    l->terminate.ctx = ctx;
    return hook_signals(l, &l->terminate, SIGNALS, ARRAY_LEN(SIGNALS));
}

enum err loop_on_child(struct loop *l, void (*handler)(void *ctx), void *ctx)
{
    static const int SIGNALS[] = {SIGCHLD};
    l->child.handler = handler;
    l->child.ctx = ctx;
    return hook_signals(l, &l->child, SIGNALS, ARRAY_LEN(SIGNALS));
}

enum err loop_on_hangup(struct loop *l, void (*handler)(void *ctx), void *ctx)
{
    static const int SIGNALS[] = {SIGHUP};
    l->hangup.handler = handler;
    l->hangup.ctx = ctx;
    return hook_signals(l, &l->hangup, SIGNALS, ARRAY_LEN(SIGNALS));
}

/* ---- life -------------------------------------------------------------------------------------- */

enum err loop_new(struct loop **ret_loop)
{
    struct loop *l = mem_zalloc(1, sizeof *l);
    l->terminate.watch.fd = -1;
    l->child.watch.fd = -1;
    l->hangup.watch.fd = -1;
    ASSERT(pthread_mutex_init(&l->mutex, NULL) == 0);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    l->wake = (struct loop_watch){eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), on_wake};
    l->timer = (struct loop_watch){timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK),
                                   on_timerfd};
    if (l->epoll_fd < 0 || l->wake.fd < 0 || l->timer.fd < 0)
        goto fail;
    if (loop_watch_add(l, &l->wake, EPOLLIN) != ERR_OK)
        goto fail;
    if (loop_watch_add(l, &l->timer, EPOLLIN) != ERR_OK)
        goto fail;
    *ret_loop = l;
    return ERR_OK;
fail:
    loop_free(l);
    return ERR_IO;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        (void)close(fd);
}

void loop_free(struct loop *l)
{
    if (l == NULL)
        return;
    while (run_tasks(l)) {
    }
    close_fd(l->epoll_fd);
    close_fd(l->wake.fd);
    close_fd(l->timer.fd);
    close_fd(l->terminate.watch.fd);
    close_fd(l->child.watch.fd);
    close_fd(l->hangup.watch.fd);
    (void)pthread_mutex_destroy(&l->mutex);
    free(l->heap);
    free(l);
}

int loop_fd(const struct loop *l)
{
    return l->epoll_fd;
}

/* One event at a time: a callback may remove and free the watch that a later event of the same batch
 * would name. Events are level-triggered, so what is left comes again. */
static bool take_event(struct loop *l, int timeout_ms)
{
    struct epoll_event event;
    if (epoll_wait(l->epoll_fd, &event, 1, timeout_ms) != 1)
        return false;
    struct loop_watch *w = event.data.ptr;
    w->ready(w, event.events);
    return true;
}

void loop_turn_one(struct loop *l)
{
    (void)take_event(l, 0);
}

void loop_turn(struct loop *l, int timeout_ms)
{
    for (int i = 0; i < EVENTS_PER_TURN; i++) {
        if (!take_event(l, i == 0 ? timeout_ms : 0) || loop_is_stopping(l))
            return;
    }
}

void loop_run(struct loop *l)
{
    while (!loop_is_stopping(l))
        (void)take_event(l, -1);
}
