/* SPDX-License-Identifier: MIT */
/* Event loop: one thread owns a service's state, and everything reaches it here: file descriptors,
 * timers, signals and tasks that other threads (nng's callbacks, a compute thread) post.
 *
 * All functions but loop_post and loop_stop belong to the loop's thread. A loop nests in another one
 * (h2o's): its descriptor is readable whenever loop_turn has something to do. */
#ifndef HALO_COMMON_LOOP_H
#define HALO_COMMON_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct loop;

/* Embedded in what it is about; `run` may free it. */
struct loop_task {
    struct loop_task *next;
    void (*run)(struct loop_task *t);
};

/* Embedded; zeros are an unset timer. */
struct loop_timer {
    void (*fire)(struct loop_timer *t);
    uint64_t due_ns;
    size_t slot; /* place in the loop's heap plus one; 0 when unset */
};

/* Embedded; must be removed before it is freed. `events` are those of epoll(7). */
struct loop_watch {
    int fd;
    void (*ready)(struct loop_watch *w, uint32_t events);
};

MUST_CHECK enum err loop_new(struct loop **ret_loop);

/* Tasks still queued run first, so that what they hold is released. */
void loop_free(struct loop *l);

/* Readable when loop_turn(l, 0) would do something. */
int loop_fd(const struct loop *l);

/* Waits at most timeout_ms (-1: no limit) for something to do and does all that is due. */
void loop_turn(struct loop *l, int timeout_ms);

/* What is ready first, if anything is, for a loop that nests: the outer one asks again while there is
 * more, and when there is not, as after most frames, a look that finds nothing is saved. */
void loop_turn_one(struct loop *l);

/* loop_turn until loop_stop. */
void loop_run(struct loop *l);

/* Ends loop_run soon. Any thread. */
void loop_stop(struct loop *l);
bool loop_is_stopping(const struct loop *l);

/* Queues t to run on the loop's thread, in the order of posting. Any thread. */
void loop_post(struct loop *l, struct loop_task *t);

/* (Re)arms the timer to fire once, delay_ms from now. */
void loop_timer_set(struct loop *l, struct loop_timer *t, uint64_t delay_ms);
void loop_timer_cancel(struct loop *l, struct loop_timer *t);

MUST_CHECK enum err loop_watch_add(struct loop *l, struct loop_watch *w, uint32_t events);
void loop_watch_remove(struct loop *l, struct loop_watch *w);

/* From now on SIGTERM and SIGINT run `handler` on the loop instead of ending the process. Call it
 * before any other thread exists: it blocks the signals for all. */
MUST_CHECK enum err loop_on_terminate(struct loop *l, void (*handler)(void *ctx), void *ctx);

/* Calls handler on SIGHUP; as loop_on_terminate. */
MUST_CHECK enum err loop_on_hangup(struct loop *l, void (*handler)(void *ctx), void *ctx);

/* The same for SIGCHLD. */
MUST_CHECK enum err loop_on_child(struct loop *l, void (*handler)(void *ctx), void *ctx);

#endif
