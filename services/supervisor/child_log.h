/* SPDX-License-Identifier: MIT */
/* What a child prints, in RUN/log/<name>.log: appended over restarts, at most CHILD_LOG_BYTES and as
 * much again in <name>.log.1. The child writes into a pipe, so that the limit holds whatever it does. */
#ifndef HALO_SUPERVISOR_CHILD_LOG_H
#define HALO_SUPERVISOR_CHILD_LOG_H

#include <stddef.h>

#include "common/err.h"
#include "common/loop.h"

enum {
    CHILD_LOG_BYTES = 8 * 1024 * 1024,
    CHILD_LOG_LINE = 512, /* what child_log_last_line keeps of a line */
};

struct child_log;

/* `directory` is borrowed; max_bytes 0 is CHILD_LOG_BYTES. */
MUST_CHECK enum err child_log_new(struct loop *loop, const char *directory, const char *name,
                                  size_t max_bytes, struct child_log **ret_log);
void child_log_free(struct child_log *l);

/* A new pipe; the caller gives ret_write_fd to the child and closes it. */
MUST_CHECK enum err child_log_open(struct child_log *l, int *ret_write_fd);

/* Takes what is in the pipe and closes it. */
void child_log_close(struct child_log *l);

/* The last line that was not blank; "" if none since the last open. */
const char *child_log_last_line(const struct child_log *l);

/* Appends to it ourselves. */
void child_log_add(struct child_log *l, const char *text, size_t len);

#endif
