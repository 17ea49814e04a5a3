/* SPDX-License-Identifier: MIT */
/* Spans: what each process did for a reply, and when, on the host's monotonic clock. They travel with
 * the reply's first token and its end towards the gateway, which keeps them (services/gateway/traces.h).
 * So no process needs memory of replies that are over, and what a lost process did is told by the one
 * in front of it, which saw it go. */
#ifndef HALO_PROTO_SPAN_H
#define HALO_PROTO_SPAN_H

#include <stddef.h>
#include <stdint.h>

#include "proto/frames.h"

enum span_kind {
#define SPAN(id, number, process, doc) SPAN_##id = number,
#include "proto/span.def"
    SPAN_KINDS
};

enum span_end {
    SPAN_DONE = 0,
    SPAN_LOST = 1, /* the process that did it went away */
    SPAN_CANCELLED = 2, /* nobody wanted it any more */
    SPAN_FAILED = 3,
};

enum {
    SPAN_LIST_MAX = 8,
    SPAN_EVENT_MAX = 32, /* of an event on the wire, see frames.def */
};

/* What waits for the next event that goes towards the gateway. Zeros are an empty list. */
struct span_list {
    struct rec_span items[SPAN_LIST_MAX];
    size_t n;
};

/* A span of this process from start_ns until end_ns. */
struct rec_span span_of(enum span_kind kind, uint64_t start_ns, uint64_t end_ns);

/* Appends; a full list forgets its oldest. */
void span_list_add(struct span_list *l, const struct rec_span *s);

/* The n spans that came, and behind them those of the list, which is then empty. They live in the arena,
 * the list's names too; without memory there are none, and beyond SPAN_EVENT_MAX the last that came are left out. */
struct rec_span *span_list_join(struct span_list *l, const struct rec_span *came, size_t n,
                                struct arena *arena, size_t *ret_n);

/* "prefill", "engine"; "unknown" for a number that has no row. */
const char *span_name(uint32_t kind);
const char *span_process(uint32_t kind);

#endif
