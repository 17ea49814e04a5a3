/* SPDX-License-Identifier: MIT */
#include "common/clock.h"

#include <sys/random.h>
#include <time.h>

#include "common/check.h"

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
    return read_ns(CLOCK_REALTIME) / 1000000U;
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
