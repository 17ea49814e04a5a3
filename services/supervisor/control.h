/* SPDX-License-Identifier: MIT */
/* The operator's commands (frames `command` and `reply`) at ipc://RUN/supervisor.sock:
 *
 *   status            answered at once with all children
 *   restart [NAME]    one child, or one after the other; answered when all are ready again, or when
 *                     one ends instead
 *   stop              answered at once; the connection ends when everything is stopped
 *   newcomer NAME     starts another process beside NAME, called NAME.new and out of service; args:
 *                     model, backend, build, args (see plan.h). Answered when it is ready, or has ended
 *   keep NAME         NAME.new serves what nobody else does: from now on it is started again when it ends,
 *                     and stays when the connection ends
 *   adopt NAME        NAME.new has the place of NAME, which is stopped first; answered then
 *   abandon NAME      NAME.new is stopped; answered then
 *
 * There is one newcomer at a time, and it is abandoned when the connection that asked for it ends before
 * `adopt`: whatever becomes of the operator, what served before goes on. */
#ifndef HALO_SUPERVISOR_CONTROL_H
#define HALO_SUPERVISOR_CONTROL_H

#include "proto/link.h"
#include "services/supervisor/stack.h"

struct control;

/* Starts to listen. All are borrowed. */
MUST_CHECK enum err control_open(const struct link_config *config, struct stack *stack,
                                 struct control **ret_control);
void control_close(struct control *c);

/* A child has changed its state, or is about to be freed: answers who waits for it. */
void control_on_change(struct control *c, const struct child *child);
void control_on_gone(struct control *c, const struct child *child);

#endif
