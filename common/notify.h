/* SPDX-License-Identifier: MIT */
/* The service manager's protocol (sd_notify(3)), spoken to systemd and to halo-supervisor alike:
 * readiness means "can serve", the watchdog is fed only while work makes progress. Without a
 * manager (no NOTIFY_SOCKET) all calls do nothing. */
#ifndef HALO_COMMON_NOTIFY_H
#define HALO_COMMON_NOTIFY_H

#include <stdint.h>

#include "common/loop.h"

/* Tells the manager that the service can serve; `status` is one line for the operator. */
void notify_ready(const char *status);

/* Sends lines of sd_notify(3). As all below it never waits, because a manager that hangs must not hang
 * us: what finds no room is lost, and a later message of its kind takes its place. */
void notify_lines(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Changes the status line. */
void notify_status(const char *status);

/* Tells the manager that the service is ending. */
void notify_stopping(void);

/* Counts work for the watchdog: a service that is busy must call notify_progress, one that is idle
 * says so. Any thread. */
void notify_progress(void);
void notify_busy(bool is_busy);

/* Current values, for the link's beat frames. */
uint64_t notify_progress_count(void);
bool notify_is_busy(void);

/* Feeds the manager's watchdog (WATCHDOG_USEC) from the loop: at each third of the interval, if the
 * service is idle or has made progress since the last time. */
void notify_watchdog_start(struct loop *l);

#endif
