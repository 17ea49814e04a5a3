/* SPDX-License-Identifier: MIT */
/* program: starts a program. posix_spawn only: nng's threads do not survive a fork. */
#ifndef HALO_COMMON_PROGRAM_H
#define HALO_COMMON_PROGRAM_H

#include <stddef.h>
#include <sys/types.h>

#include "common/err.h"

enum program_group {
    PROGRAM_SESSION, /* a session of its own: the terminal's signals do not reach it */
    PROGRAM_GROUP, /* a process group of its own in our session */
};

struct program {
    const char *path;
    char *const *argv; /* NULL-terminated */
    char *const *env; /* NULL-terminated, see program_environment */
    enum program_group group;
    int out_fd; /* its stdout and stderr; stdin is /dev/null */
    int fd3; /* becomes descriptor 3, as systemd hands over sockets; -1: none */
};

/* Starts it with all signals in their default state and none blocked. ERR_IO and the like when there
 * is no such program or no room for a process. */
MUST_CHECK enum err program_start(const struct program *s, pid_t *ret_pid);

/* Our environment, changed: "NAME=value" replaces or adds NAME, "NAME" alone leaves it out. The
 * entries are borrowed; the caller frees the array. */
char **program_environment(char *const *changes, size_t n_changes);

#endif
