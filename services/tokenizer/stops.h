/* SPDX-License-Identifier: MIT */
/* Stop strings in a text that comes in parts. The first one to be complete ends the text; of those that
 * are complete at the same byte the longest counts. Text that may be the beginning of a stop string is
 * held back until the next bytes decide, so nothing of a stop string is ever let through.
 *
 * What is let through depends on the bytes only, not on how they were divided: after each push it is
 * all text but the longest end of it that begins some stop string. */
#ifndef HALO_TOKENIZER_STOPS_H
#define HALO_TOKENIZER_STOPS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/str.h"

enum {
    STOPS_MAX = 16,
    STOPS_MAX_BYTES = 256, /* of one stop string */
};

struct stops;

/* Copies the stop strings. None may be empty (ERR_INVALID), longer than STOPS_MAX_BYTES (ERR_TOO_LARGE)
 * or malformed UTF-8 (ERR_UTF8). `keep`: the matched stop string is let through too. n = 0 is fine. */
MUST_CHECK enum err stops_new(const struct str *texts, size_t n, bool keep,
                              struct stops **ret_stops);
void stops_free(struct stops *s);

/* Appends to *out what the text lets through. Returns true when a stop string has been found; from then
 * on nothing more is let through. */
bool stops_push(struct stops *s, struct str text, struct buf *out);

/* There will be no more text: appends what was held back. */
void stops_finish(struct stops *s, struct buf *out);

#endif
