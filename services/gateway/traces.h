/* SPDX-License-Identifier: MIT */
/* Traces: what is known of the latest requests and of all in flight: who they are, when they came, what
 * each process did for them (proto/span.h). Kept in memory of a fixed size; a request in flight is never
 * forgotten, of those that are over the oldest goes first. No text of a prompt or a reply is in it. */
#ifndef HALO_GATEWAY_TRACES_H
#define HALO_GATEWAY_TRACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "proto/span.h"
#include "services/gateway/trace_context.h"

struct traces;
struct metrics_model;

enum { TRACE_SPANS_MAX = 48 };

/* One request. Set by its owner but for the spans. */
struct trace {
    uint64_t serial;
    struct trace_context context;
    char id[80]; /* x-request-id */
    char model[64];
    struct metrics_model *metrics;
    uint64_t unix_ms; /* of its arrival */
    uint64_t start_ns;
    uint64_t first_ns; /* of its first token; 0: none yet */
    uint64_t end_ns; /* 0 while it is in flight */
    uint32_t n_prompt;
    uint32_t n_cached;
    uint32_t n_tokens;
    uint32_t n_choices;
    char end[24]; /* stop, length, client-left, or the error's name */
    uint32_t n_dropped; /* spans beyond TRACE_SPANS_MAX */
    uint32_t n_spans;
    struct trace_span {
        uint64_t start_ns;
        uint64_t ns;
        uint64_t busy_ns;
        uint32_t n;
        uint32_t pid;
        uint16_t choice;
        uint8_t kind;
        uint8_t how;
        char at[20];
    } spans[TRACE_SPANS_MAX];
};

struct traces *traces_new(uint32_t n_kept);
void traces_free(struct traces *t);

/* Begins one; its serial number, id, context and start are to be set at once. NULL: all are in flight. */
struct trace *traces_begin(struct traces *t);

/* NULL if it has been forgotten, and for 0. */
struct trace *traces_get(struct traces *t, uint64_t serial);

/* Copies a span of one of the request's choices. trace may be NULL. */
void trace_add(struct trace *trace, const struct rec_span *s, uint32_t choice);

/* Appends a JSON object: how many are kept, and the latest, newest first, without their spans. */
void traces_write_list(const struct traces *t, struct buf *out);

/* Appends the request of that x-request-id, id of its answer, or trace id (the latest one of it) as a
 * JSON object; false if there is none. */
bool traces_write_one(const struct traces *t, struct str id, struct buf *out);

/* Appends how long a trace is kept, as a sentence. */
void traces_explain(const struct traces *t, struct buf *out);

#endif
