/* SPDX-License-Identifier: MIT */
/* A listening ipc socket that stays open.
 *
 * nng 1.5.2 hands out no more callers once one of them hung up between its connect and nng's
 * handshake: the pipe's NNG_ECLOSED is taken for the listener's own end (src/core/listener.c). A
 * process that is killed while it dials, or a second service that looks whether the name is taken, is
 * enough. So a door watches the kernel's queue of callers beside nng, and when somebody came and no
 * pipe followed, it listens anew. Whoever waited in vain is cut off and calls again.
 *
 * Belongs to the loop's thread. */
#ifndef HALO_PROTO_DOOR_H
#define HALO_PROTO_DOOR_H

#include <nng/nng.h>

#include "common/loop.h"

struct door;

/* Lets the socket listen at a path, with mode 0600. ERR_IN_USE when somebody answers there. The
 * socket is the door's from then on, but not on failure. */
MUST_CHECK enum err door_open(struct loop *loop, nng_socket sock, const char *path,
                              struct door **ret_door);

/* Closes the socket, too (by closer_close). NULL is allowed. */
void door_close(struct door *d);

#endif
