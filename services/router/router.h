/* SPDX-License-Identifier: MIT */
/* router: brings requests of tokenizers to engines and the tokens back.
 *
 * Everything that comes over a link or from a timer arrives here, on the loop's thread, and is applied
 * to the tables: engines, queue, requests by id. The invariants:
 * - A token is recorded in its request's journal before it is sent on, and sent on once.
 * - An engine's word counts only for a request that is in flight there under the id it was sent with.
 * - A request ends exactly once: its tokenizer gets a finish, or has cancelled it or is gone.
 *
 * Cost (tests/router/router_bench, two shared vCPUs under load): 4,300 to 10,200 frames of 64 tokens
 * a second with all ends on the same machine, 43 to 85 us of CPU a frame, about 1 us a token; a hop
 * through the router takes 75 to 100 us (p50) longer than one direct link. */
#ifndef HALO_ROUTER_ROUTER_H
#define HALO_ROUTER_ROUTER_H

#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "proto/link.h"

struct router;

struct router_config {
    struct loop *loop;
    const char *run; /* run directory; borrowed */
    uint32_t queue_limit; /* most new requests that wait */
    uint32_t queue_wait_ms; /* and for how long, as far as can be seen when they come */
    uint32_t engine_wait_ms; /* how long a request waits while no engine serves it */
    uint32_t dead_ms; /* a peer that is silent this long is dropped */
    const char *prefill; /* engines that compute prompts only, see phases.h; borrowed */
    uint32_t stall_ms; /* an engine that is busy without progress this long is dropped */
    const char *state; /* directory of what outlives the process: lanes.h, burnin.h; borrowed */
    uint32_t shadow_share; /* percent of the stable lane's requests that are compared */
    uint64_t burnin_log_bytes;
    /* Gates of a cutover, which halo asks for and judges: see options.c. */
    uint32_t gate_rounds;
    uint32_t gate_exact;
    uint32_t gate_latency;
    uint32_t gate_uptime_s;
    uint32_t gate_ppl;
    const char *gate_ppl_text; /* borrowed, or NULL */
    struct link_remote remote; /* url NULL: engines of this machine only */
};

/* Listens as "router". On failure `why` gets one line; errors as lanes_init's and link_listen's. */
MUST_CHECK enum err router_new(const struct router_config *config, char *why, size_t cap_why,
                               struct router **ret_router);

/* Says bye to all peers and stops the loop when they have answered, within LEAVE_MS. Replies in flight
 * are not waited for: their tokenizers bring them to the next router. */
void router_leave(struct router *r);

void router_free(struct router *r);

#endif
