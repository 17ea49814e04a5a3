/* SPDX-License-Identifier: MIT */
/* What `halo doctor` looks at on the machine itself: kernel, processor, GPU, temperature, clock, and how
 * fast memory is read, against a figure stored before. */
#ifndef HALO_HALO_HOST_H
#define HALO_HALO_HOST_H

#include "services/halo/checks.h"

void host_check_kernel(struct checks *c);
void host_check_processor(struct checks *c);
void host_check_gpu(struct checks *c);
void host_check_temperature(struct checks *c);
void host_check_clock(struct checks *c);

/* Reads memory for a quarter of a second. With `does_store` the figure becomes the baseline; else it is
 * held against the one that was stored, if there is one. Other load on the machine shows, too. */
void host_check_bandwidth(struct checks *c, bool does_store);

#endif
