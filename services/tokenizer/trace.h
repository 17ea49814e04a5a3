/* SPDX-License-Identifier: MIT */
/* trace: the tokenizer's spans of a reply (proto/span.h): encoding the prompt, each router that had it,
 * and the time in text. They go along with those that came from the router. */
#ifndef HALO_TOKENIZER_TRACE_H
#define HALO_TOKENIZER_TRACE_H

#include "proto/frames.h"
#include "services/tokenizer/reply.h"

/* The prompt is encoded. */
void trace_encoded(struct reply *r);

/* The request was sent to a router; it was lost. */
void trace_submitted(struct reply *r);
void trace_lost(struct reply *r);

/* A token was made text from start_ns until now; returns now. */
uint64_t trace_text(struct reply *r, uint64_t start_ns);

/* Puts what is due into the event p that an event t of the router became, in memory of the arena. */
void trace_fill(struct reply *r, const struct rec_token *t, struct arena *arena,
                struct rec_piece *p);

#endif
