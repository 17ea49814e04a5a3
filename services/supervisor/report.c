/* SPDX-License-Identifier: MIT */
#include "services/supervisor/report.h"

#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "common/notify.h"

void report_child(const struct child *c)
{
    const char *state = child_state_name(child_state(c));
    notify_lines("STATUS=%s is %s\nX_HALO_CHILD=%s\nX_HALO_STATE=%s\nX_HALO_MS=%llu\nX_HALO_PID=%d",
                 child_name(c), state, child_name(c), state, (unsigned long long)child_ready_ms(c),
                 (int)child_pid(c));
}

void report_error(const char *why)
{
    (void)fprintf(stderr, "halo-supervisor: %s\n", why);
    int line = (int)strcspn(why, "\n");
    (void)sd_notifyf(0, "STATUS=%.*s\nX_HALO_ERROR=%.*s", line, why, line, why);
}
