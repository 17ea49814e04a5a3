/* SPDX-License-Identifier: MIT */
/* Trace context: who a request is, in W3C's terms (www.w3.org/TR/trace-context): a trace, which may
 * have more requests than this one, the caller's span and ours. */
#ifndef HALO_GATEWAY_TRACE_CONTEXT_H
#define HALO_GATEWAY_TRACE_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/str.h"

enum { TRACE_HEADER_LEN = 55 }; /* of version 00 */

struct trace_context {
    char trace_id[33]; /* lower case, as all here */
    char span_id[17]; /* ours */
    char parent_id[17]; /* the caller's; "" if it named none */
    char flags[3];
};

/* Takes the trace and the parent from a traceparent header, if it is one; otherwise this is a new
 * trace. `random` makes the ids that are not given. */
void trace_context_make(struct trace_context *c, struct str traceparent, const uint64_t random[3]);

/* Our own traceparent, for the answer and for the processes behind us. */
void trace_context_write(const struct trace_context *c, char out[TRACE_HEADER_LEN + 1]);

/* Whether a client's x-request-id may be ours: 1 to 64 letters, digits, '.', '_' and '-'. */
bool trace_context_is_id(struct str id);

#endif
