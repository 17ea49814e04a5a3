/* SPDX-License-Identifier: MIT */
/* Reader of server-sent events (HTML standard, 9.2.6), as far as LLM APIs use them: the data of each
 * event; names, ids and comments are skipped. */
#ifndef HALO_HALO_SSE_H
#define HALO_HALO_SSE_H

#include <stdbool.h>

#include "common/buf.h"

enum {
    SSE_MAX_EVENT = 4 * 1024 * 1024,
};

/* Zeros and the callback are a reader at the start of a stream. */
struct sse {
    struct buf line;
    struct buf data;
    bool has_data;
    bool was_cr; /* the last byte ended a line, a newline after it belongs to it */
    void (*event)(void *ctx, struct str data);
    void *ctx;
};

/* Takes the next bytes. False: a line or an event is longer than SSE_MAX_EVENT. */
bool sse_feed(struct sse *s, const char *bytes, size_t n);
void sse_fini(struct sse *s);

#endif
