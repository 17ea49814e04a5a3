/* SPDX-License-Identifier: MIT */
/* drain: engines out of service, which get no requests, and what becomes of the replies they hold:
 * they end there, or go on elsewhere by replay.
 *
 * What the operator takes out stays out: the engine itself is told (frame `standby`) and says so to the
 * next router; and this router knows it by name when the engine is started again. */
#ifndef HALO_ROUTER_DRAIN_H
#define HALO_ROUTER_DRAIN_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"
#include "common/loop.h"
#include "services/router/peer.h"

struct control_call;
struct engine;
struct link;
struct router;

enum { DRAIN_NAMES_MAX = 64 };

struct drain {
    struct drain_wait *waits; /* commands to answer when an engine is empty */
    struct loop_task task; /* looks for these */
    bool is_posted;
    char names[DRAIN_NAMES_MAX][PEER_NAME_MAX + 1]; /* of engines that the operator took out */
    size_t n_names;
};

void drain_init(struct router *r);
void drain_fini(struct router *r);

/* Takes an engine out of service, or back in, and tells it. The caller reviews the queue. */
void drain_set(struct router *r, struct engine *e, bool is_out);

/* The operator no longer wants engines of that name out. */
void drain_forget(struct router *r, const struct engine *e);

/* Takes those of its requests that another engine suits; returns how many are left. */
size_t drain_migrate(struct router *r, struct engine *e);

/* What router.c says: an engine has registered; a request has left its engine; an engine's link or an
 * operator's is down. */
void drain_on_engine_up(struct router *r, struct engine *e);
void drain_touch(struct router *r);
void drain_on_engine_down(struct router *r, struct engine *e);
void drain_on_operator_down(struct router *r, const struct link *l);

/* The operator's verbs, see control.h. */
enum err drain_verb_drain(struct control_call *call);
enum err drain_verb_undrain(struct control_call *call);

#endif
