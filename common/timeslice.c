/* SPDX-License-Identifier: MIT */
#include "common/timeslice.h"

#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The first version of the kernel's struct sched_attr; glibc 2.36 has none. */
struct attributes {
    uint32_t size;
    uint32_t sched_policy;
    uint64_t sched_flags;
    int32_t sched_nice;
    uint32_t sched_priority;
    uint64_t
        sched_runtime; /* of SCHED_OTHER: the slice in ns, 100 us to 100 ms; 0 is the default */
    uint64_t sched_deadline;
    uint64_t sched_period;
};

static void set_slice(uint64_t ns)
{
    struct attributes a = {.size = sizeof a};
    if (syscall(SYS_sched_getattr, 0, &a, sizeof a, 0) != 0 || a.sched_policy != SCHED_OTHER)
        return;
    a.size = sizeof a;
    a.sched_runtime = ns;
    (void)syscall(SYS_sched_setattr, 0, &a,
                  0); /* a hint: without it things are slower, not wrong */
}

void timeslice_shorten(void)
{
    set_slice(100000);
}

void timeslice_restore(void)
{
    set_slice(0);
}
