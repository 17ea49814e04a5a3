/* SPDX-License-Identifier: MIT */
/* Starting a process that ends when we end.
 *
 * posix_spawn only: nng's threads do not survive a fork. What it cannot do (the death signal, the
 * limits) our own binary does in the child: `halo-supervisor --exec-child PARENT SIGNAL SOCKETS PROGRAM ARG...`
 * sets itself up and becomes PROGRAM under the same process id. */
#ifndef HALO_SUPERVISOR_EXEC_CHILD_H
#define HALO_SUPERVISOR_EXEC_CHILD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

struct exec_child {
    const char *program;
    char *const *argv; /* NULL-terminated */
    const char *run; /* HALO_RUN for the child */
    const char *notify; /* NOTIFY_SOCKET for the child */
    uint64_t watchdog_usec; /* WATCHDOG_USEC for the child */
    int out_fd; /* its stdout and stderr */
    int listen_fd; /* a socket to hand over as systemd does (sd_listen_fds(3)); -1: none */
};

/* Starts it in a process group of its own, with all signals in their default state. A program that
 * cannot be executed shows as a message on out_fd and exit status 127. */
MUST_CHECK enum err exec_child_spawn(const struct exec_child *s, pid_t *ret_pid);

/* Whether main was called as described above. */
bool exec_child_is_asked(int argc, char **argv);

/* Becomes the program; returns the exit status if that fails. */
int exec_child_main(int argc, char **argv);

#endif
