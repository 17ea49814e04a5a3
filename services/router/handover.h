/* SPDX-License-Identifier: MIT */
/* handover: one engine takes the place of another, under load, and no request fails.
 *
 * The newcomer registers out of service. Then
 *   check    both are asked for a reply that depends on nothing else. Another one from the newcomer, or
 *            none, ends the handover: it never gets a request of anybody;
 *   learn    of another model: every tokenizer must have its vocabulary. One that refuses it ends the
 *            handover;
 *   copy     the old engine's published KV blocks go to it, while the old one serves;
 *   switch   the old one gets nothing new, its replies are taken back, and the blocks that came since the
 *            copy follow. This is the pause that clients see;
 *   open     the newcomer is in service, and the replies go on there by replay, from these blocks;
 *   empty    what could not go (another model, or the operator's wish) ends at the old one. Of another
 *            model, without a limit: the old engine is `retired`, which the status says, and takes what
 *            names its model and was on its way, or was with a tokenizer that was lost. It has done its
 *            work when it has been idle for LINGER_MS with a tokenizer there.
 * Without a copy (another model or KV layout, an old build) the newcomer computes the prompts again.
 *
 * At any moment before the end: if the newcomer is lost, the old one is in service again, also after the
 * answer, as long as it lives. If the old one is lost, the newcomer is in service at once. After a switch to
 * another model neither can have the other's replies: who is lost is waited for. The operator may
 * go; the handover goes on. One at a time. */
#ifndef HALO_ROUTER_HANDOVER_H
#define HALO_ROUTER_HANDOVER_H

#include "common/err.h"
#include "proto/frames.h"

struct control_call;
struct engine;
struct link;
struct request;
struct router;

/* What router.c and drain.c say. */
void handover_on_engine_up(struct router *r, struct engine *e);
void handover_on_engine_down(struct router *r, struct engine *e);
void handover_on_operator_down(struct router *r, const struct link *l);
void handover_touch(struct router *r); /* a request has left its engine */
void handover_on_known(struct router *r); /* tokenizers came, went or learnt something */

/* The end of a request with `check`, while it is still at its engine. */
void handover_on_answer(struct router *r, struct request *q, uint32_t finish);

/* An engine's answer about KV blocks. */
void handover_on_kv_done(struct router *r, struct engine *e, const struct frame_kv_done *f);

void handover_fini(struct router *r);

/* handover ENGINE; args: pid; to_pid or to (which engine takes over: its pid, or its name), keep (its
 * replies end at the old engine), no_copy, other_model (else another model is refused), early (of another
 * model: answered at the switch, with is_unfinished; the same command again is answered at the end),
 * limit_ms (then they go on at the newcomer, if that is of the same model). Answered when the old one is
 * empty. */
enum err handover_verb(struct control_call *call);

#endif
