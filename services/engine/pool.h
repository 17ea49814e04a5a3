/* SPDX-License-Identifier: MIT */
/* pool: threads that share the tasks of one loop after another.
 *
 * pool_run hands out task numbers; the calling thread takes part, so a pool of 1 has no further
 * thread. It returns when all tasks are done and does not wait for threads that took none, so a
 * thread that the system runs late delays nobody. Idle threads spin for some microseconds, because
 * the next loop of a forward pass follows at once, and then sleep on a futex.
 *
 * One thread owns the pool and calls pool_run. */
#ifndef HALO_ENGINE_POOL_H
#define HALO_ENGINE_POOL_H

#include <stdint.h>

#include "common/err.h"

enum { POOL_MAX_THREADS = 256 };

struct pool;

/* n_threads in 1..POOL_MAX_THREADS, the caller's included. ERR_AGAIN when the system has no more. */
MUST_CHECK enum err pool_new(uint32_t n_threads, struct pool **ret_pool);
void pool_free(struct pool *p);

uint32_t pool_n_threads(const struct pool *p);

/* Calls task(ctx, i) for i < n_tasks, each once, in any order and on any of the threads. What the
 * caller wrote before is seen by the tasks, and what they wrote is seen after. */
void pool_run(struct pool *p, uint32_t n_tasks, void (*task)(void *ctx, uint32_t i), void *ctx);

#endif
