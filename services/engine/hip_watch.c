/* SPDX-License-Identifier: MIT */
#include "services/engine/hip_watch.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "common/check.h"
#include "common/clock.h"
#include "common/mem.h"

struct hip_watch {
    uint32_t limit_ms;
    void (*on_hang)(void *ctx, uint32_t limit_ms);
    void *ctx;
    pthread_t thread;

    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t is_changed;
    uint64_t deadline_ns; /* of the step in progress; 0: none */
    bool is_asleep; /* the thread, until somebody wakes it: there was no step */
    bool is_ending;
};

/* Waits for a step, or for the time at which the last one that was seen must have ended. */
static void wait(struct hip_watch *w)
{
    if (w->deadline_ns == 0) {
        w->is_asleep = true;
        ASSERT(pthread_cond_wait(&w->is_changed, &w->mutex) == 0);
        w->is_asleep = false;
        return;
    }
    const struct timespec until = {.tv_sec = (time_t)(w->deadline_ns / 1000000000U),
                                   .tv_nsec = (long)(w->deadline_ns % 1000000000U)};
    (void)pthread_cond_timedwait(&w->is_changed, &w->mutex, &until);
}

static void *watch(void *arg)
{
    struct hip_watch *w = arg;
    bool hangs = false;
    ASSERT(pthread_mutex_lock(&w->mutex) == 0);
    while (!w->is_ending && !hangs) {
        wait(w);
        hangs = w->deadline_ns != 0 && clock_now_ns() >= w->deadline_ns;
    }
    ASSERT(pthread_mutex_unlock(&w->mutex) == 0);
    if (hangs)
        w->on_hang(w->ctx, w->limit_ms);
    return NULL;
}

enum err hip_watch_new(uint32_t limit_ms, void (*on_hang)(void *ctx, uint32_t limit_ms), void *ctx,
                       struct hip_watch **ret_watch)
{
    struct hip_watch *w = mem_zalloc(1, sizeof *w);
    w->limit_ms = limit_ms;
    w->on_hang = on_hang;
    w->ctx = ctx;
    pthread_condattr_t attr;
    ASSERT(pthread_mutex_init(&w->mutex, NULL) == 0);
    ASSERT(pthread_condattr_init(&attr) == 0);
    ASSERT(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
    ASSERT(pthread_cond_init(&w->is_changed, &attr) == 0);
    (void)pthread_condattr_destroy(&attr);
    /* Signals are the loop thread's. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&w->thread, NULL, watch, w);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        (void)pthread_cond_destroy(&w->is_changed);
        (void)pthread_mutex_destroy(&w->mutex);
        free(w);
        return ERR_AGAIN;
    }
    *ret_watch = w;
    return ERR_OK;
}

void hip_watch_free(struct hip_watch *w)
{
    if (w == NULL)
        return;
    ASSERT(pthread_mutex_lock(&w->mutex) == 0);
    w->is_ending = true;
    ASSERT(pthread_cond_signal(&w->is_changed) == 0);
    ASSERT(pthread_mutex_unlock(&w->mutex) == 0);
    ASSERT(pthread_join(w->thread, NULL) == 0);
    (void)pthread_cond_destroy(&w->is_changed);
    (void)pthread_mutex_destroy(&w->mutex);
    free(w);
}

void hip_watch_begin(struct hip_watch *w)
{
    if (w == NULL)
        return;
    ASSERT(pthread_mutex_lock(&w->mutex) == 0);
    w->deadline_ns = clock_now_ns() + (uint64_t)w->limit_ms * 1000000U;
    if (w->is_asleep)
        ASSERT(pthread_cond_signal(&w->is_changed) == 0);
    ASSERT(pthread_mutex_unlock(&w->mutex) == 0);
}

void hip_watch_end(struct hip_watch *w)
{
    if (w == NULL)
        return;
    ASSERT(pthread_mutex_lock(&w->mutex) == 0);
    w->deadline_ns = 0;
    ASSERT(pthread_mutex_unlock(&w->mutex) == 0);
}
