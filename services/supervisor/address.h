/* SPDX-License-Identifier: MIT */
/* The gateway's address as operators write it: 127.0.0.1:8180, [::1]:8180, 0.0.0.0:8180, or with port
 * 0 for a free one. */
#ifndef HALO_SUPERVISOR_ADDRESS_H
#define HALO_SUPERVISOR_ADDRESS_H

#include <stddef.h>

#include "common/err.h"

/* Listens there; the caller closes *ret_fd. ERR_IN_USE, ERR_INVALID, ERR_IO, ERR_PERMISSION: `why`
 * gets one line with the remedy. */
MUST_CHECK enum err address_listen(const char *http, char *why, size_t cap_why, int *ret_fd);

/* "http://127.0.0.1:8180" for the listening socket that address_listen gave; the loopback address for
 * one that means all interfaces. The caller frees it. */
char *address_url(int listen_fd);

#endif
