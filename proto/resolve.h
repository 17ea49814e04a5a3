/* SPDX-License-Identifier: MIT */
/* Addresses of other machines: tls+tcp://HOST:PORT, and what a name stands for.
 *
 * getaddrinfo may wait for seconds, so a name is looked up on a thread of its own. Its first look-up may load
 * libraries of the C library (nsswitch.conf), which a sandbox forbids: resolve_prepare makes one in
 * time. Belongs to the loop's thread. */
#ifndef HALO_PROTO_RESOLVE_H
#define HALO_PROTO_RESOLVE_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/loop.h"

enum { RESOLVE_TEXT_CAP = 80 }; /* of an address as text */

struct resolve_target {
    char host[256]; /* without the brackets of an IPv6 address */
    char port[6];
};

/* Takes a URL apart. False if it is none of ours; then why (cap_why bytes) says what is expected. */
bool resolve_parse(const char *url, struct resolve_target *ret_target, char *why, size_t cap_why);

void resolve_prepare(const struct resolve_target *target);

struct resolve;

/* done is called once, from the loop, with what was found, or NULL; it frees nothing, and the struct is
 * gone afterwards. */
struct resolve *resolve_start(struct loop *loop, const struct resolve_target *target,
                              void (*done)(void *ctx, const struct addrinfo *found), void *ctx);

/* done is not called any more. NULL is allowed. */
void resolve_cancel(struct resolve *r);

/* Where a socket listens: found now, without names. The caller frees it with freeaddrinfo; NULL: the host is
 * no address. */
struct addrinfo *resolve_number(const struct resolve_target *target, bool does_listen);

/* "10.0.0.2:45122", "[::1]:80" */
void resolve_text(const struct sockaddr *address, socklen_t len, char text[RESOLVE_TEXT_CAP]);

#endif
