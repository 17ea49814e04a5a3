/* SPDX-License-Identifier: MIT */
/* phases: a placement policy, off by default: some engines compute prompts, the others the replies.
 *
 * A request goes to an engine of --prefill-engines first. When its first token has come, the KV blocks of
 * its prompt go to another engine with room, through a file in the run directory, while the reply goes on
 * where it is; when they have arrived, the reply is moved there, as after a loss but without one: the
 * tokens so far are given to resume, and little more than the last block is computed again. Whatever fails
 * on the way (the copy, either engine), the reply goes on where it is, or by replay. */
#ifndef HALO_ROUTER_PHASES_H
#define HALO_ROUTER_PHASES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "proto/frames.h"

struct engine;
struct request;
struct router;
struct transfer;

TAILQ_HEAD(transfer_list, transfer);

struct phases {
    const char *prefill; /* names of engines, separated by commas; "": the policy is off */
    struct transfer_list transfers; /* blocks that are on their way */
    uint64_t serial;
};

void phases_init(struct router *r, const char *prefill);
void phases_fini(struct router *r);

/* What router.c says: an engine has registered; a client's request in flight has had a token; an engine
 * has answered about KV blocks; an engine is lost. */
void phases_on_engine_up(struct router *r, struct engine *e);
void phases_on_token(struct router *r, struct request *q);
void phases_on_kv_done(struct router *r, struct engine *e, const struct frame_kv_done *f);
void phases_on_engine_down(struct router *r, const struct engine *e);

#endif
