/* SPDX-License-Identifier: MIT */
/* compare: what the stack costs over its engine alone. Two engines with the same model and options are
 * started, one asked directly, one behind router, tokenizer and gateway over HTTP. Both get the same
 * requests (token ids and seeds, so the same replies) by turns, so that what else the machine does
 * meets both. */
#ifndef HALO_LOAD_COMPARE_H
#define HALO_LOAD_COMPARE_H

#include <stdbool.h>

#include "services/load/measure.h"

/* The exit status. Prints the table to stdout, and writes --json if asked for. */
int compare_run(struct measure *m, const struct options *o);

#endif
