/* SPDX-License-Identifier: MIT */
/* The manager's end of sd_notify(3): a datagram socket in the run directory that tells which child
 * said what. Senders are recognised by the process id that the kernel attaches. */
#ifndef HALO_SUPERVISOR_NOTIFY_SOCKET_H
#define HALO_SUPERVISOR_NOTIFY_SOCKET_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/loop.h"
#include "common/str.h"

struct notice {
    bool is_ready; /* READY=1 */
    bool is_stopping; /* STOPPING=1 */
    bool is_alive; /* WATCHDOG=1 */
    bool has_status;
    struct str status; /* STATUS=, borrowed from the message */
};

struct notify_socket;

/* Listens at RUN/notify.sock. on_notice is called for each message of a process of our user. */
MUST_CHECK enum err notify_socket_open(struct loop *loop, const char *run,
                                       void (*on_notice)(void *ctx, pid_t sender,
                                                         const struct notice *n),
                                       void *ctx, struct notify_socket **ret_socket);

/* Closes and removes it. */
void notify_socket_close(struct notify_socket *s);

/* Handles what has arrived. Call before a child's end is dealt with, so that its words come first. */
void notify_socket_drain(struct notify_socket *s);

/* For NOTIFY_SOCKET. */
const char *notify_socket_path(const struct notify_socket *s);

/* Reads "KEY=VALUE" lines; unknown ones are skipped. */
void notify_parse(struct str message, struct notice *ret_notice);

#endif
