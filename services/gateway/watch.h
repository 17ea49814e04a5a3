/* SPDX-License-Identifier: MIT */
/* Watches a connection for the client's leaving. h2o does not read from an HTTP/1 connection while an
 * answer is open, so it would notice a close only at the next write. A half-closed connection counts
 * as left: HTTP has no use for it. */
#ifndef HALO_GATEWAY_WATCH_H
#define HALO_GATEWAY_WATCH_H

#include "common/loop.h"

/* Embedded; zeros are an idle watch. */
struct watch {
    struct loop_watch base;
    struct loop *loop;
    void (*left)(struct watch *w); /* NULL while idle */
};

/* Starts to watch a duplicate of fd; `left` runs at most once and may stop the watch. */
MUST_CHECK enum err watch_start(struct watch *w, struct loop *l, int fd,
                                void (*left)(struct watch *w));

/* Idle watches are allowed. */
void watch_stop(struct watch *w);

#endif
