/* SPDX-License-Identifier: MIT */
/* inspect: says what a model file is, for people and as JSON. */
#ifndef HALO_MODEL_INSPECT_H
#define HALO_MODEL_INSPECT_H

#include <stdbool.h>
#include <stdio.h>

#include "services/model/source.h"

struct inspect_options {
    bool does_json;
    bool does_list; /* every tensor */
};

/* Prints. Fails if the configuration is one that an engine refuses. */
MUST_CHECK enum err inspect_print(FILE *to, struct source *s, const struct inspect_options *o,
                                  struct why *why);

#endif
