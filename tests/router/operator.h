/* SPDX-License-Identifier: MIT */
/* A fake `halo` for the tests of the router's commands. */
#ifndef HALO_TESTS_ROUTER_OPERATOR_H
#define HALO_TESTS_ROUTER_OPERATOR_H

#include <jansson.h>

#include "tests/router/ends.h"

struct operator
{
    struct world *world;
    struct link *link;
    bool is_up;
    size_t n_answers;
    enum err code; /* of the last answer */
    char detail[400];
    json_t *data;
};

/* Dials and waits until it is up. */
void operator_open(struct operator* o, struct world *w);
void operator_close(struct operator* o);

/* Sends a command. */
void operator_send(struct operator* o, const char *verb, const char *target, const char *args);

/* The same, and waits for the answer. */
enum err operator_ask(struct operator* o, const char *verb, const char *target, const char *args);

/* A text of an engine that the router lists; "" if it lists none of that name. */
const char *operator_engine_text(struct operator* o, const char *name, const char *key);

#endif
