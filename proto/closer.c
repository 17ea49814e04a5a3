/* SPDX-License-Identifier: MIT */
#include "proto/closer.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "common/check.h"
#include "common/log.h"
#include "common/mem.h"

enum { STUCK_AFTER = 64 }; /* sockets that wait: the thread makes no progress */

struct closing {
    struct closing *next;
    nng_socket sock;
    void (*done)(void *ctx);
    void *ctx;
};

static struct {
    pthread_once_t once;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct closing *first;
    struct closing **end;
    size_t n_waiting; /* the one being closed included */
} closer = {PTHREAD_ONCE_INIT, PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, NULL, 0};

static void *work(void *arg)
{
    while (arg == NULL) {
        pthread_mutex_lock(&closer.mutex);
        while (closer.first == NULL)
            pthread_cond_wait(&closer.changed, &closer.mutex);
        struct closing *c = closer.first;
        closer.first = c->next;
        if (closer.first == NULL)
            closer.end = &closer.first;
        pthread_mutex_unlock(&closer.mutex);
        (void)nng_close(c->sock);
        if (c->done != NULL)
            c->done(c->ctx);
        free(c);
        pthread_mutex_lock(&closer.mutex);
        closer.n_waiting--;
        pthread_cond_broadcast(&closer.changed);
        pthread_mutex_unlock(&closer.mutex);
    }
    return NULL;
}

static void start(void)
{
    pthread_t thread;
    sigset_t all;
    sigset_t old;
    closer.end = &closer.first;
    (void)sigfillset(&all);
    ASSERT(pthread_sigmask(SIG_BLOCK, &all, &old) == 0);
    ASSERT(pthread_create(&thread, NULL, work, NULL) == 0);
    ASSERT(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    ASSERT(pthread_detach(thread) == 0);
}

void closer_close(nng_socket sock, void (*done)(void *ctx), void *ctx)
{
    ASSERT(pthread_once(&closer.once, start) == 0);
    struct closing *c = mem_zalloc(1, sizeof *c);
    c->sock = sock;
    c->done = done;
    c->ctx = ctx;
    pthread_mutex_lock(&closer.mutex);
    *closer.end = c;
    closer.end = &c->next;
    bool is_stuck = ++closer.n_waiting == STUCK_AFTER;
    pthread_cond_broadcast(&closer.changed);
    pthread_mutex_unlock(&closer.mutex);
    if (is_stuck)
        log_warn("nng-close-stuck", U("waiting", STUCK_AFTER));
}

bool closer_drain(uint32_t timeout_ms)
{
    struct timespec end;
    (void)clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += (time_t)(timeout_ms / 1000);
    end.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (end.tv_nsec >= 1000000000) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&closer.mutex);
    int rc = 0;
    while (closer.n_waiting > 0 && rc == 0)
        rc = pthread_cond_timedwait(&closer.changed, &closer.mutex, &end);
    bool is_empty = closer.n_waiting == 0;
    pthread_mutex_unlock(&closer.mutex);
    return is_empty;
}
