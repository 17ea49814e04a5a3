/* SPDX-License-Identifier: MIT */
/* service: halo-engine on the wire. It dials the router, says what it serves, hands requests to the
 * worker and sends one tokens frame per step. Steps of a small model take a millisecond or two, and a frame
 * costs all processes up to the client more than the tokens in it do: what comes within frame_ms of the
 * last frame waits for the next step, and for frame_ms at most. First tokens, ends and log
 * probabilities never wait.
 *
 * When the link breaks, all replies are dropped: the router sends them again, to this engine or to
 * another one, with the tokens it has. The prefix cache stays, so little is computed twice. */
#ifndef HALO_ENGINE_SERVICE_H
#define HALO_ENGINE_SERVICE_H

#include <stdint.h>

#include "common/err.h"
#include "common/h1b.h"
#include "common/loop.h"
#include "proto/link.h"
#include "services/engine/carry.h"
#include "services/engine/scheduler.h"

struct service;

struct service_config {
    struct loop *loop;
    struct scheduler *scheduler; /* borrowed; the worker's until service_stop */
    const struct carry *carry; /* likewise */
    const char *run;
    const char *name;
    struct seq_limits limits;
    uint32_t max_seqs;
    uint32_t frame_ms; /* 0: each step has its frame */
    uint32_t n_blocks;
    const char *backend; /* "cpu/avx2" */
    const char *numerics; /* "kv-f16" */
    uint32_t lane;
    const char *model_file; /* its path */
    struct link_remote router; /* url NULL: that of the run directory */
    const char *served_name; /* what clients call the model */
    const struct h1b *file; /* for who asks for its vocabulary; borrowed */
    bool is_standby; /* starts out of service */
};

/* Starts the worker and dials the router, which need not be there yet. */
MUST_CHECK enum err service_start(const struct service_config *config,
                                  struct service **ret_service);

/* Takes leave of the router and stops the loop when it has confirmed. */
void service_leave(struct service *s);

/* Ends the worker and frees everything. NULL is allowed. */
void service_stop(struct service *s);

/* Whether another engine has our place and our KV blocks. */
bool service_is_replaced(const struct service *s);

/* Whether the backend failed, so that the process should end with an error. */
bool service_has_failed(const struct service *s);

#endif
