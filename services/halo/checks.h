/* SPDX-License-Identifier: MIT */
/* A list of checks with their outcomes, printed as text or JSON. */
#ifndef HALO_HALO_CHECKS_H
#define HALO_HALO_CHECKS_H

#include <jansson.h>
#include <stdbool.h>

enum outcome { OUTCOME_OK, OUTCOME_WARN, OUTCOME_FAIL };

struct checks {
    bool is_json;
    enum outcome worst;
    json_t *rows; /* for JSON */
};

void checks_init(struct checks *c, bool is_json);
void checks_fini(struct checks *c);

/* Adds a check: what was looked at, what was found, and what to do about it (NULL when ok). As text
 * it is printed at once. */
void checks_add(struct checks *c, enum outcome outcome, const char *what, const char *remedy,
                const char *found, ...) __attribute__((format(printf, 5, 6)));

/* Prints the sum (or the JSON object); returns the exit status: 0 ok, 1 warn, 2 fail. */
int checks_end(struct checks *c);

#endif
