/* SPDX-License-Identifier: MIT */
/* The sockets that accept HTTP: those that a manager hands over (sd_listen_fds(3)) or the one of --listen,
 * and that of --unix. */
#ifndef HALO_GATEWAY_LISTEN_H
#define HALO_GATEWAY_LISTEN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "services/gateway/options.h"

enum { LISTEN_MAX = 16 };

struct listeners {
    int fds[LISTEN_MAX];
    size_t n;
    bool are_given; /* by a manager, which keeps them when we end */
    char *unlink_path; /* our Unix socket; NULL if none or if systemd owns it */
};

/* Opens all. On failure prints one line that names the address and the remedy, and returns false. */
bool listen_open(const struct options *o, struct listeners *ret_listeners);

/* A Unix socket at `path` in place of what was there; -1 if there can be none. */
int listen_unix(const char *path, mode_t mode);

/* Removes the Unix socket's file, so that a client is refused at once. The descriptors belong to
 * whoever took them from `fds`. */
void listen_fini(struct listeners *l);

#endif
