/* SPDX-License-Identifier: MIT */
/* Closes nng sockets on a thread of its own.
 *
 * nng_close may wait for ever in nng 1.5.2: when a pipe is closed between the header and the body of
 * an arriving message, nni_aio_begin refuses the second read without completing the user's aio
 * (src/core/aio.c), and nng's only reaper thread waits for it. The window is some microseconds,
 * but kills under load hit it within minutes. So a loop thread never closes by itself; and because nng
 * announces no further peer's death once a close is stuck, links watch the peer's pidfd themselves. */
#ifndef HALO_PROTO_CLOSER_H
#define HALO_PROTO_CLOSER_H

#include <nng/nng.h>
#include <stdbool.h>
#include <stdint.h>

/* Returns at once; the socket must not be used any more. Later, when none of its callbacks can come any
 * more, done(ctx) is called on the closer's thread, unless done is NULL. Any thread. */
void closer_close(nng_socket sock, void (*done)(void *ctx), void *ctx);

/* Waits until all of them are closed, at most timeout_ms. False if some are not. */
bool closer_drain(uint32_t timeout_ms);

#endif
