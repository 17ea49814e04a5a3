/* SPDX-License-Identifier: MIT */
/* Other processes: starting one, reading what it prints, waiting for its end. posix_spawn only. */
#ifndef HALO_HALO_PROCESS_H
#define HALO_HALO_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/buf.h"
#include "common/err.h"

struct process_start {
    const char *program;
    char *const *argv; /* NULL-terminated */
    const char *notify; /* NOTIFY_SOCKET for it; NULL: ours */
    int out_fd; /* its stdout and stderr */
};

/* Starts it in a session of its own, so that the terminal's signals do not reach it. */
MUST_CHECK enum err process_start(const struct process_start *s, pid_t *ret_pid);

/* Runs it with further words (NULL-terminated) and appends what it prints on stdout and stderr to out, at
 * most 64 KiB. False if it cannot be run or fails. */
bool process_capture(const char *program, const char *const *words, struct buf *out);

/* Waits for the ends of processes that need not be ours: pids that are 0 afterwards have ended.
 * False if some have not after timeout_ms. */
bool process_wait_all(pid_t *pids, size_t n, uint32_t timeout_ms);

#endif
