/* SPDX-License-Identifier: MIT */
/* progress: a line on stderr while a run goes on: each second on a terminal, where it is written over,
 * else each ten seconds. */
#ifndef HALO_LOAD_PROGRESS_H
#define HALO_LOAD_PROGRESS_H

#include "common/loop.h"
#include "services/load/run.h"

struct progress {
    struct loop_timer timer;
    struct loop *loop;
    const struct run *run;
    const struct stats *stats;
    uint64_t n_chunks; /* at the last line */
    uint64_t at_ns;
    bool is_terminal;
};

void progress_start(struct progress *p, struct loop *loop, const struct run *run,
                    const struct stats *stats);
void progress_stop(struct progress *p);

#endif
