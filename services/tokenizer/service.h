/* SPDX-License-Identifier: MIT */
/* halo-tokenizer on the wire. Gateways connect to it (text world), it connects to the router (token
 * world): generate becomes submit, one tokens frame of the router becomes one pieces frame for each
 * gateway that has a part in it.
 *
 * Failures. Router gone: every reply waits and is submitted again, with the tokens so far as `resume`, when
 * it is back; meanwhile gateways are told that no model is served. Gateway gone:
 * its replies are cancelled. This process gone: gateways send generate again with `resume`; what names a
 * model that is not here yet waits for it (held.h).
 * All of it runs on the loop's thread, but for the encoding of long prompts (worker.h): a reply whose
 * prompt is being encoded is known, can be cancelled and can time out, and is not submitted yet. */
#ifndef HALO_TOKENIZER_SERVICE_H
#define HALO_TOKENIZER_SERVICE_H

#include "common/err.h"
#include "common/loop.h"
#include "services/tokenizer/model.h"

struct service;

/* Listens as "tokenizer" in the run directory and dials the router, which need not be there yet. `model` is
 * known from the start; NULL: all come from engines. Borrows it and the strings. ERR_IN_USE: another tokenizer serves there. */
MUST_CHECK enum err service_start(struct loop *loop, const char *run, const struct model *model,
                                  struct service **ret_service);

/* Lets go of the gateways, takes leave of the router and stops the loop when it has confirmed. */
void service_leave(struct service *s);

/* Frees everything. NULL is allowed. */
void service_stop(struct service *s);

#endif
