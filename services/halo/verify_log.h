/* SPDX-License-Identifier: MIT */
/* Reads what halo-gateway --reply-log wrote: FILE and the older FILE.1, FILE.2 ... */
#ifndef HALO_HALO_VERIFY_LOG_H
#define HALO_HALO_VERIFY_LOG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Calls `each` with the replies that are logged by now, oldest first, until it returns false. A line that is none is
 * given as NULL. False: the file cannot be read, and `why` (cap bytes) says so. */
bool verify_log_read(const char *path, bool (*each)(void *ctx, const json_t *entry), void *ctx,
                     char *why, size_t cap);

/* The receipt in a text: one itself, or that of a whole answer or a stream as the API sends them, or of a
 * line of the log. NULL if there is none; else the caller's. */
json_t *verify_log_find_receipt(const char *text);

#endif
