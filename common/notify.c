/* SPDX-License-Identifier: MIT */
#include "common/notify.h"

#include <stdatomic.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

static atomic_uint_fast64_t progress;
static atomic_bool is_busy_now;

static struct {
    struct loop *loop;
    struct loop_timer timer;
    uint64_t period_ms;
    uint64_t last_progress;
    bool was_busy;
} watchdog;

void notify_ready(const char *status)
{
    (void)sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void notify_status(const char *status)
{
    (void)sd_notifyf(0, "STATUS=%s", status);
}

void notify_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1");
}

void notify_progress(void)
{
    atomic_fetch_add(&progress, 1);
}

void notify_busy(bool is_busy)
{
    atomic_store(&is_busy_now, is_busy);
}

uint64_t notify_progress_count(void)
{
    return atomic_load(&progress);
}

bool notify_is_busy(void)
{
    return atomic_load(&is_busy_now);
}

static void feed(struct loop_timer *t)
{
    uint64_t now = notify_progress_count();
    bool busy = notify_is_busy();
    /* Busy since the last look and nothing done: the manager's patience runs. */
    if (!(busy && watchdog.was_busy && now == watchdog.last_progress))
        (void)sd_notify(0, "WATCHDOG=1");
    watchdog.last_progress = now;
    watchdog.was_busy = busy;
    loop_timer_set(watchdog.loop, t, watchdog.period_ms);
}

void notify_watchdog_start(struct loop *l)
{
    uint64_t usec = 0;
    if (sd_watchdog_enabled(0, &usec) <= 0 || usec == 0)
        return;
    watchdog.loop = l;
    watchdog.period_ms = usec / 3000 > 0 ? usec / 3000 : 1;
    watchdog.timer.fire = feed;
    feed(&watchdog.timer);
}
