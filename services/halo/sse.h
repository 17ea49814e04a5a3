/* SPDX-License-Identifier: MIT */
/* Reader of server-sent events (HTML standard, 9.2.6), as far as LLM APIs use them: the data of each
 * event, and the id of the last one; names and comments are skipped. */
#ifndef HALO_HALO_SSE_H
#define HALO_HALO_SSE_H

#include <stdbool.h>

#include "common/buf.h"

enum {
    SSE_MAX_EVENT = 4 * 1024 * 1024,
    SSE_ID_CAP = 64, /* longer ids count as none */
};

/* Zeros and the callback are a reader at the start of a stream. */
struct sse {
    struct buf line;
    struct buf data;
    bool has_data;
    char next_id[SSE_ID_CAP]; /* of the event that is being read, if it has one */
    char last_id[SSE_ID_CAP]; /* of the last event that came whole; "" before the first */
    bool was_cr; /* the last byte ended a line, a newline after it belongs to it */
    void (*event)(void *ctx, struct str data);
    void *ctx;
};

/* Takes the next bytes. False: a line or an event is longer than SSE_MAX_EVENT. */
bool sse_feed(struct sse *s, const char *bytes, size_t n);
void sse_fini(struct sse *s);

/* Forgets what is not a whole event yet: the rest comes over another connection. */
void sse_restart(struct sse *s);

#endif
