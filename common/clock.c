/* SPDX-License-Identifier: MIT */
#include "common/clock.h"

#include <stdbool.h>
#include <sys/random.h>
#include <time.h>

#include "common/check.h"
#include "common/fault.h"

enum { HOUR_MS = 3600000 };

static uint64_t read_ns(clockid_t id)
{
    struct timespec ts;
    ASSERT(clock_gettime(id, &ts) == 0);
    return (uint64_t)ts.tv_sec * 1000000000U + (uint64_t)ts.tv_nsec;
}

uint64_t clock_now_ns(void)
{
    return read_ns(CLOCK_MONOTONIC);
}

uint64_t clock_now_ms(void)
{
    return clock_now_ns() / 1000000U;
}

uint64_t clock_unix_ms(void)
{
    uint64_t ms = read_ns(CLOCK_REALTIME) / 1000000U;
    return FAULT_HITS(clock_jump) && (ms & 1) != 0 ? ms + HOUR_MS : ms;
}

static bool is_leap(unsigned year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

struct clock_date clock_date_of(uint64_t unix_s)
{
    static const unsigned MONTHS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct clock_date d = {.year = 1970, .month = 1};
    unsigned in_day = (unsigned)(unix_s % 86400);
    uint64_t days = unix_s / 86400;
    for (; days >= 365U + is_leap(d.year); d.year++)
        days -= 365U + is_leap(d.year);
    for (; days >= MONTHS[d.month - 1] + (d.month == 2 && is_leap(d.year)); d.month++)
        days -= MONTHS[d.month - 1] + (d.month == 2 && is_leap(d.year));
    d.day = (unsigned)days + 1;
    d.hour = in_day / 3600;
    d.minute = in_day / 60 % 60;
    d.second = in_day % 60;
    return d;
}

void clock_random(void *ret_bytes, size_t n)
{
    unsigned char *p = ret_bytes;
    while (n > 0) {
        ssize_t got = getrandom(p, n < 256 ? n : 256, 0);
        ASSERT(got > 0);
        p += got;
        n -= (size_t)got;
    }
}

uint64_t clock_random_u64(void)
{
    uint64_t v = 0;
    while (v == 0)
        clock_random(&v, sizeof v);
    return v;
}
