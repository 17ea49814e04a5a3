/* SPDX-License-Identifier: MIT */
/* testmodel_kinds: a small model of every kind that the config can describe. */
#ifndef HALO_TESTS_ENGINE_TESTMODEL_KINDS_H
#define HALO_TESTS_ENGINE_TESTMODEL_KINDS_H

#include "tests/engine/testmodel.h"

struct testmodel_kind {
    const char *what;
    struct testmodel shape;
};

enum { TESTMODEL_N_KINDS = 19 };

/* Heads, KV heads and sizes of heads as in published models, or odd on purpose; a context of 128. */
extern const struct testmodel_kind TESTMODEL_KINDS[TESTMODEL_N_KINDS];

#endif
