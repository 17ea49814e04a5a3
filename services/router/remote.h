/* SPDX-License-Identifier: MIT */
/* remote: engines on other machines. They compute as those of this one do, with two differences: nobody here
 * installed them, so each must be of one kind with what is served already, and no file of the run
 * directory reaches them, so KV blocks are not handed over but computed again, and each computes the prompts
 * of its replies (phases.h). */
#ifndef HALO_ROUTER_REMOTE_H
#define HALO_ROUTER_REMOTE_H

#include <stdbool.h>

#include "services/router/engines.h"

struct router;

enum { REMOTE_DETAIL_CAP = 400 };

/* Opens the port for them. On failure `why` gets one line; errors as link_listen_remote's. */
MUST_CHECK enum err remote_listen(struct router *r, char *why, size_t cap_why);

/* Whether the engine runs on another machine. */
bool remote_is(const struct engine *e);

/* Whether files of the run directory can go from one to the other. */
bool remote_shares_files(const struct engine *a, const struct engine *b);

/* An engine of another machine has said what it serves. False: it does not go with the others of its group and
 * was told so; its link ends. */
bool remote_admit(struct router *r, struct engine *e);

#endif
