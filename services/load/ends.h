/* SPDX-License-Identifier: MIT */
/* ends: the target that speaks frames to one process of the stack, in the place of the neighbour that
 * asks it: a gateway to a tokenizer, a tokenizer to a router, a router to an engine. */
#ifndef HALO_LOAD_ENDS_H
#define HALO_LOAD_ENDS_H

#include <stdbool.h>

#include "common/err.h"
#include "services/load/run.h"

enum ends_kind { ENDS_GATEWAY, ENDS_TOKENIZER, ENDS_ROUTER };

struct ends_config {
    struct loop *loop;
    const char *run; /* run directory; borrowed */
    enum ends_kind kind;
    float temperature;
    bool does_ignore_eos;
};

struct ends;

MUST_CHECK enum err ends_new(const struct ends_config *config, struct ends **ret_ends);

/* No request may be in flight. */
void ends_free(struct ends *e);

struct target *ends_target(struct ends *e);

/* Whether the process can answer: it is connected and has said what it serves. */
bool ends_is_ready(const struct ends *e);

/* What it serves, as far as it said; "" if it did not. */
const char *ends_model(const struct ends *e);

#endif
