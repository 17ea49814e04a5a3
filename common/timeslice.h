/* SPDX-License-Identifier: MIT */
/* Scheduling hints for a machine whose cores are all busy computing.
 *
 * A token passes four small processes on its way to the client. Each needs some microseconds, but on
 * Linux 6.6 and later a woken thread waits until the running one has used up its time slice (about
 * 3 ms), unless its own slice is shorter (sched(7), sched_setattr(2); Linux 6.12 and later take the
 * wish from anybody). Earlier kernels ignore it and do not need it. */
#ifndef HALO_COMMON_TIMESLICE_H
#define HALO_COMMON_TIMESLICE_H

/* For threads that do little and soon: the shortest slice, inherited by threads created afterwards. */
void timeslice_shorten(void);

/* For threads that compute: the system's default slice again. */
void timeslice_restore(void);

#endif
