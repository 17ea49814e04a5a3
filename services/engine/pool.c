/* SPDX-License-Identifier: MIT */
#include "services/engine/pool.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/check.h"
#include "common/mem.h"
#include "common/timeslice.h"

/* About 20 us on a 3 GHz core: longer than the serial parts between two loops of a step. */
enum { SPIN_TURNS = 1000 };

struct pool {
    /* Number of the loop in the upper half, tasks not yet taken in the lower. Taking one keeps the
     * loop's other fields alive: pool_run cannot return before that task is done. */
    _Alignas(64) _Atomic uint64_t claim;
    uint32_t n_tasks;
    void (*task)(void *ctx, uint32_t i);
    void *ctx;
    _Alignas(64) _Atomic uint32_t n_done;
    _Atomic uint32_t owner_sleeps;
    _Alignas(64) _Atomic uint32_t n_posted; /* futex: changes with each loop and at the end */
    _Atomic uint32_t n_sleepers;
    _Atomic bool is_ending;
    uint32_t n_threads;
    uint32_t n_started;
    pthread_t threads[POOL_MAX_THREADS];
};

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake_all(_Atomic uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void pause_briefly(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Takes and does one task of the present loop; false if none is left. */
static bool do_one(struct pool *p)
{
    uint64_t seen = atomic_load(&p->claim);
    do {
        if ((uint32_t)seen == 0)
            return false;
    } while (!atomic_compare_exchange_weak(&p->claim, &seen, seen - 1));
    uint32_t n_tasks = p->n_tasks;
    p->task(p->ctx, n_tasks - (uint32_t)seen);
    if (atomic_fetch_add(&p->n_done, 1) + 1 == n_tasks && atomic_load(&p->owner_sleeps) != 0)
        futex_wake_all(&p->n_done);
    return true;
}

static void *work(void *arg)
{
    struct pool *p = arg;
    timeslice_restore();
    uint32_t turns = 0;
    for (;;) {
        uint32_t seen = atomic_load(&p->n_posted);
        if (atomic_load(&p->is_ending))
            return NULL;
        if (do_one(p)) {
            turns = 0;
        } else if (turns < SPIN_TURNS) {
            turns++;
            pause_briefly();
        } else {
            atomic_fetch_add(&p->n_sleepers, 1);
            futex_wait(&p->n_posted, seen);
            atomic_fetch_sub(&p->n_sleepers, 1);
            turns = 0;
        }
    }
}

enum err pool_new(uint32_t n_threads, struct pool **ret_pool)
{
    ASSERT(n_threads >= 1 && n_threads <= POOL_MAX_THREADS);
    struct pool *p = aligned_alloc(64, (sizeof *p + 63) / 64 * 64);
    ASSERT(p != NULL);
    *p = (struct pool){.n_threads = n_threads};
    /* Signals are the loop thread's. */
    sigset_t all;
    sigset_t before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    enum err e = ERR_OK;
    while (p->n_started + 1 < n_threads && !e) {
        if (pthread_create(&p->threads[p->n_started], NULL, work, p) == 0)
            p->n_started++;
        else
            e = ERR_AGAIN;
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (e) {
        pool_free(p);
        return e;
    }
    *ret_pool = p;
    return ERR_OK;
}

void pool_free(struct pool *p)
{
    if (p == NULL)
        return;
    atomic_store(&p->is_ending, true);
    atomic_fetch_add(&p->n_posted, 1);
    futex_wake_all(&p->n_posted);
    for (uint32_t i = 0; i < p->n_started; i++)
        (void)pthread_join(p->threads[i], NULL);
    free(p);
}

uint32_t pool_n_threads(const struct pool *p)
{
    return p->n_threads;
}

static void wait_done(struct pool *p, uint32_t n_tasks)
{
    for (uint32_t turns = 0; turns < SPIN_TURNS; turns++) {
        if (atomic_load(&p->n_done) == n_tasks)
            return;
        pause_briefly();
    }
    atomic_store(&p->owner_sleeps, 1);
    uint32_t n_done;
    while ((n_done = atomic_load(&p->n_done)) != n_tasks)
        futex_wait(&p->n_done, n_done);
    atomic_store(&p->owner_sleeps, 0);
}

void pool_run(struct pool *p, uint32_t n_tasks, void (*task)(void *ctx, uint32_t i), void *ctx)
{
    if (p->n_threads == 1 || n_tasks <= 1) {
        for (uint32_t i = 0; i < n_tasks; i++)
            task(ctx, i);
        return;
    }
    /* All tasks of the last loop are done, so nobody reads these fields now. */
    p->task = task;
    p->ctx = ctx;
    p->n_tasks = n_tasks;
    atomic_store(&p->n_done, 0);
    uint64_t loop = (atomic_load(&p->claim) >> 32) + 1;
    atomic_store(&p->claim, loop << 32 | n_tasks);
    atomic_fetch_add(&p->n_posted, 1);
    if (atomic_load(&p->n_sleepers) > 0)
        futex_wake_all(&p->n_posted);
    while (do_one(p)) {
    }
    wait_done(p, n_tasks);
}
