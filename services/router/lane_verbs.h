/* SPDX-License-Identifier: MIT */
/* lane_verbs: the operator's commands about lanes and burn-in (rows of control.c).
 *
 *   lanes              who answers /v1 and /v2, what comparing them came to since the router's start,
 *                      where the burn-in log is, and the gates of a cutover
 *   share              args: percent. From now on so many of the requests to /v1 are compared
 *   cutover, rollback  the two lanes exchange their engines. Refused unless the ones that are to answer
 *                      /v1 are in service and serve the model that the others do. A rollback undoes the
 *                      cutover before. The gates are judged by the caller, who has read the log
 *
 * Replies in flight stay with the engines that compute them. */
#ifndef HALO_ROUTER_LANE_VERBS_H
#define HALO_ROUTER_LANE_VERBS_H

#include "common/err.h"

struct control_call;

MUST_CHECK enum err lane_verbs_show(struct control_call *call);
MUST_CHECK enum err lane_verbs_share(struct control_call *call);
MUST_CHECK enum err lane_verbs_cutover(struct control_call *call);
MUST_CHECK enum err lane_verbs_rollback(struct control_call *call);

#endif
