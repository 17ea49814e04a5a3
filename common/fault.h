/* SPDX-License-Identifier: MIT */
/* Fault points: places where a test lets happen what hardly ever does. common/fault.def lists them.
 *
 * Only builds with `meson configure -Dc_args=-DHALO_FAULTS` have them; in all others FAULT_HITS is the constant
 * false, and no environment can switch anything on.
 *
 * HALO_FAULT=SERVICE/NAME:AT[:FILE] lets the point hit from its AT-th time on in that service: each time, or,
 * with FILE, only for who removes that file: once in the lives of a stack. */
#ifndef HALO_COMMON_FAULT_H
#define HALO_COMMON_FAULT_H

#include <stdbool.h>

enum fault {
#define FAULT(name, doc) FAULT_##name,
#include "common/fault.def"
#undef FAULT
    FAULT_COUNT,
};

/* Whether this build has fault points. */
bool fault_is_possible(void);

/* Counts a time; use FAULT_HITS. Any thread. */
bool fault_hits(enum fault f);

#ifdef HALO_FAULTS
#define FAULT_HITS(name) fault_hits(FAULT_##name)
#else
#define FAULT_HITS(name) false
#endif

/* Waits for ever, at work: what a hang is. */
void fault_spin(void);

/* Waits as long as a slow peer takes. */
void fault_dawdle(void);

#endif
