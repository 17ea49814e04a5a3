/* SPDX-License-Identifier: MIT */
/* What the supervisor keeps in the run directory:
 *
 *   supervisor.lock   locked while a supervisor owns the directory; holds its process id
 *   stack.json        how to reach the running stack, while it runs (see run_dir_publish)
 *   log/              what the children print */
#ifndef HALO_SUPERVISOR_RUN_DIR_H
#define HALO_SUPERVISOR_RUN_DIR_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

struct run_dir {
    char *path;
    char *log_path;
    char *stack_path;
    int lock_fd;
};

struct run_dir_facts {
    const char *http; /* as given */
    const char *url; /* for clients */
    const char *model; /* path */
    const char *engine_args;
    const char *gateway_args;
    const char *router_args;
    const char *candidate_args;
    uint32_t n_candidates;
    uint32_t n_engines;
};

/* Takes the lock and makes log/. ERR_IN_USE: another supervisor has it. `why` gets one line. */
MUST_CHECK enum err run_dir_open(const char *path, char *why, size_t cap_why,
                                 struct run_dir *ret_dir);

/* Removes stack.json and the engines' caches, and gives the lock back. */
void run_dir_close(struct run_dir *d);

/* Writes stack.json: the facts, "url", "pid", "started" (Unix seconds) and "build". */
MUST_CHECK enum err run_dir_publish(const struct run_dir *d, const struct run_dir_facts *facts);

#endif
