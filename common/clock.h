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

/* A moment of UTC in the calendar. */
struct clock_date {
    unsigned year, month, day; /* from 1 */
    unsigned hour, minute, second;
};

/* Takes no lock and opens no file, as gmtime_r and strftime do: fit for signal handlers. */
struct clock_date clock_date_of(uint64_t unix_s);

/* Unpredictable bytes. */
void clock_random(void *ret_bytes, size_t n);

/* An unpredictable 64-bit number, never 0. */
uint64_t clock_random_u64(void);

#endif
