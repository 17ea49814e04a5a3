/* SPDX-License-Identifier: MIT */
/* What router.c shares with the modules that act on its tables: control.c (the operator's commands,
 * lane_verbs.c), drain.c, handover.c and phases.c (taking engines out of service, moving replies with their KV
 * cache). All of it belongs to the loop's thread. */
#ifndef HALO_ROUTER_ROUTER_INTERNAL_H
#define HALO_ROUTER_ROUTER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/loop.h"
#include "common/map.h"
#include "proto/link.h"
#include "services/router/admission.h"
#include "services/router/burnin.h"
#include "services/router/drain.h"
#include "services/router/engines.h"
#include "services/router/handover.h"
#include "services/router/lanes.h"
#include "services/router/phases.h"
#include "services/router/queue.h"
#include "services/router/router.h"
#include "services/router/status.h"

struct router {
    struct router_config config;
    struct link_server *server;
    struct engines engines;
    struct queue queue;
    struct admission admission;
    struct loop_timer places_timer;
    struct lanes lanes;
    struct burnin burnin;
    struct map by_id; /* requests in flight */
    uint64_t next_id;
    struct tokenizer_stack to_flush;
    struct peer_list peers;
    size_t n_peers;
    struct drain drain;
    struct handover *handover; /* on its way; NULL: none */
    struct phases phases;

    struct loop_timer status_timer;
    struct status status;
    struct buf status_sent; /* the last status, encoded */
    struct buf scratch;
    struct arena span_arena; /* of the events that are not sent yet */

    uint64_t n_ended;
    uint64_t n_stale; /* events of requests that were not in flight there */
    uint64_t n_refused; /* instead of waiting */
    bool is_full_logged;
    bool is_leaving;
    struct loop_timer leave_timer;
};

/* Places what waits and can be placed. */
void router_dispatch(struct router *r);

/* Looks anew whether what waits has an engine to wait for; then router_dispatch. After engines came,
 * went or changed. */
void router_review(struct router *r);

/* Takes a request from its engine, which is told, and puts it among those that wait to go on. */
void router_withdraw(struct router *r, struct request *q);

/* Gives a request of our own (no owner, is_probe) to that engine and no other; takes it. */
void router_send_probe(struct router *r, struct request *take_q, struct engine *e);

/* Takes a request from its engine, which is told, and gives it to another one. */
void router_move(struct router *r, struct request *q, struct engine *to);

/* Something that the status shows has changed. */
void router_touch_status(struct router *r);
void router_publish_status(struct router *r);

#endif
