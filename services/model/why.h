/* SPDX-License-Identifier: MIT */
/* The line for the operator when a model cannot be read or written: which file, where in it, what was
 * expected, what to do. Filled by whoever finds the fault, printed once by main. */
#ifndef HALO_MODEL_WHY_H
#define HALO_MODEL_WHY_H

#include "common/err.h"

struct why {
    char text[700];
};

/* Writes the line and gives `e` back, so that a check ends with `return why_set(...)`. Bytes that
 * are no printable UTF-8 (names from a file) are shown as \xNN. */
enum err why_set(struct why *why, enum err e, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with errno's text behind "PATH: WHAT: "; ERR_IO, or ERR_NOT_FOUND for ENOENT. */
enum err why_errno(struct why *why, const char *path, const char *what, int errnum);

/* "out of memory" about `what`; ERR_NOMEM. */
enum err why_nomem(struct why *why, const char *what);

#endif
