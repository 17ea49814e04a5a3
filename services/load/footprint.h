/* SPDX-License-Identifier: MIT */
/* footprint: what a stack takes while it does nothing, and how soon it answers: a supervised stack is
 * started, asked once, and left alone for a while. */
#ifndef HALO_LOAD_FOOTPRINT_H
#define HALO_LOAD_FOOTPRINT_H

#include <stdbool.h>
#include <stdint.h>

#include "services/load/measure.h"

/* The exit status: failure if a stack could not be measured or a goal is missed. Prints to stdout, and
 * writes --json if asked for. */
int footprint_run(struct measure *m, const struct options *o);

/* Bytes of an ELF file without what `strip` takes away: symbols and notes for debuggers. False if it is
 * no such file of this machine's word size. */
bool footprint_stripped(const char *path, uint64_t *ret_bytes);

#endif
