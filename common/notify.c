/* SPDX-License-Identifier: MIT */
#include "common/notify.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

enum { MESSAGE_CAP = 512 };

static atomic_uint_fast64_t progress;
static atomic_bool is_busy_now;

static struct {
    struct loop *loop;
    struct loop_timer timer;
    uint64_t period_ms;
    uint64_t last_progress;
    bool was_busy;
} watchdog;

void notify_lines(const char *fmt, ...)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    char message[MESSAGE_CAP];
    const char *path = getenv("NOTIFY_SOCKET");
    size_t n = path != NULL ? strlen(path) : 0;
    if (n < 2 || n >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(to.sun_path, path, n);
    if (path[0] == '@')
        to.sun_path[0] = '\0'; /* an abstract address */
    va_list ap;
    va_start(ap, fmt);
    int len = vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    if (len >= MESSAGE_CAP)
        len = MESSAGE_CAP - 1;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || len < 0)
        return;
    (void)sendto(fd, message, (size_t)len, MSG_NOSIGNAL, (const struct sockaddr *)(const void *)&to,
                 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
    (void)close(fd);
}

void notify_ready(const char *status)
{
    (void)sd_notifyf(0, "READY=1\nSTATUS=%s", status);
}

void notify_status(const char *status)
{
    notify_lines("STATUS=%s", status);
}

void notify_stopping(void)
{
    notify_lines("STOPPING=1");
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
        notify_lines("WATCHDOG=1");
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
