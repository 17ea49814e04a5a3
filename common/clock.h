/* SPDX-License-Identifier: MIT */
/* Clocks and randomness of the operating system. */
#ifndef HALO_COMMON_CLOCK_H
#define HALO_COMMON_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Monotonic time in nanoseconds and milliseconds. */
uint64_t clock_now_ns(void);
uint64_t clock_now_ms(void);

/* Unix time in milliseconds. */
uint64_t clock_unix_ms(void);

/* Unpredictable bytes. */
void clock_random(void *ret_bytes, size_t n);

/* An unpredictable 64-bit number, never 0. */
uint64_t clock_random_u64(void);

#endif
