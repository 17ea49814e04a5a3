/* SPDX-License-Identifier: MIT */
/* hip_watch: notices a step on the GPU that never ends.
 *
 * A thread waits inside the driver while the GPU computes, and a kernel that hangs holds it there for
 * good. So a second thread, which sleeps otherwise, calls on_hang when a step outlasts the limit; all
 * that is left to do then is to end the process without waiting for anybody. */
#ifndef HALO_ENGINE_HIP_WATCH_H
#define HALO_ENGINE_HIP_WATCH_H

#include <stdint.h>

#include "common/err.h"

struct hip_watch;

/* on_hang runs on the watch's own thread, once. ERR_AGAIN when no thread can be had. */
MUST_CHECK enum err hip_watch_new(uint32_t limit_ms, void (*on_hang)(void *ctx, uint32_t limit_ms),
                                  void *ctx, struct hip_watch **ret_watch);

/* No step may be in progress. NULL is allowed. */
void hip_watch_free(struct hip_watch *w);

/* Around each step, by one thread. NULL is allowed: nobody watches. */
void hip_watch_begin(struct hip_watch *w);
void hip_watch_end(struct hip_watch *w);

#endif
