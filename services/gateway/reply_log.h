/* SPDX-License-Identifier: MIT */
/* Reply log: requests and replies in full, as JSON lines, for `halo verify`. Only where the operator asks
 * for it (option --reply-log), because it holds what users wrote. Mode 0600. A file that would grow beyond
 * its limit becomes PATH.1, that one PATH.2, and so on; the last one goes. Several processes may write to
 * one path, and it may be moved away under them. Loop thread. */
#ifndef HALO_GATEWAY_REPLY_LOG_H
#define HALO_GATEWAY_REPLY_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "common/str.h"

struct reply_log;

/* On failure prints one line to stderr and returns false. n_kept files stay besides the present one. */
bool reply_log_open(const char *path, uint64_t max_bytes, uint32_t n_kept,
                    struct reply_log **ret_log);
/* NULL is allowed. */
void reply_log_close(struct reply_log *l);

/* Appends a line, which ends with a newline. What cannot be written is lost, and the log says so. */
void reply_log_write(struct reply_log *l, struct str line);

#endif
