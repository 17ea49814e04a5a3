/* SPDX-License-Identifier: MIT */
/* control: the operator's commands (frames `command` and `reply`). `halo` dials the router as service
 * "halo"; each command is answered once, most at once, some when they are done.
 *
 *   engines                the table of engines, in service or not
 *   drain ENGINE           nothing new goes there; answered when it holds no replies any more.
 *                          args: pid, force (although no other engine takes its requests), migrate
 *                          (its replies go on elsewhere at once), limit_ms (or after so long),
 *                          no_wait (answered at once)
 *   undrain ENGINE         it is in service again. args: pid
 *   handover ENGINE        another engine takes its place, see handover.h
 *   lanes, share, cutover, rollback    lane_verbs.h
 *   handover ENGINE        another engine takes its place, see handover.h
 *
 * An engine is called engine.1, engine@1 or 1; `pid` tells two of one name apart. A verb is a row of the
 * table in control.c. */
#ifndef HALO_ROUTER_CONTROL_H
#define HALO_ROUTER_CONTROL_H

#include <jansson.h>

#include "proto/link.h"
#include "services/router/router.h"

struct engine;

enum { CONTROL_DETAIL_CAP = 320 };

/* A command while its verb runs. */
struct control_call {
    struct router *router;
    struct link *link; /* who asked; gone when its link is down */
    struct str target;
    const json_t *args; /* an object */
    json_t *data; /* out: the answer's, an object; taken */
    bool is_deferred; /* out: the verb answers later, by control_answer */
    char detail[CONTROL_DETAIL_CAP]; /* out: one line, with an error */
};

/* Carries out a command and answers it. ERR_PROTOCOL: the frame is none of an operator's. */
MUST_CHECK enum err control_on_frame(struct router *r, struct link *l, const struct frame *f);

/* The answer to a command; takes `data`, which may be NULL. */
void control_answer(struct link *l, enum err code, const char *detail, json_t *take_data);

/* The engine that the call means, in *ret_engine; otherwise the error and its line in call->detail. */
MUST_CHECK enum err control_find_engine(struct control_call *call, struct engine **ret_engine);

/* Whether the operator means this engine by that name. */
bool control_is_called(const struct engine *e, struct str word);

/* Arguments with a default of 0. */
bool control_flag(const struct control_call *call, const char *name);
uint32_t control_number(const struct control_call *call, const char *name);

#endif
