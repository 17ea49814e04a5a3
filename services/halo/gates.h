/* SPDX-License-Identifier: MIT */
/* gates: whether the candidate lane may answer /v1. The router has the gates from its configuration, the
 * burn-in log tells what happened; only rows about the builds, models and backends that serve now count. */
#ifndef HALO_HALO_GATES_H
#define HALO_HALO_GATES_H

#include <jansson.h>
#include <stdbool.h>

enum { GATES_MAX = 8, GATE_TEXT_CAP = 256 };

struct gate {
    const char *name; /* "rounds" */
    bool is_open;
    char found[GATE_TEXT_CAP]; /* "812 of 1000 compared replies" */
    char remedy[GATE_TEXT_CAP]; /* what to do when it is closed */
};

struct gates {
    struct gate list[GATES_MAX];
    size_t n;
};

/* Judges all gates. `lanes` is the router's answer to "lanes". Perplexity is measured anew, which takes
 * as long as reading the text twice. */
void gates_judge(const char *run, const json_t *lanes, struct gates *ret_gates);

bool gates_are_open(const struct gates *g);

#endif
