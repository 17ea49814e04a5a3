/* SPDX-License-Identifier: MIT */
/* Which server a verb asks. */
#ifndef HALO_HALO_SERVER_H
#define HALO_HALO_SERVER_H

/* The base URL: that of `url`, or without one (NULL) that of the stack in the run directory `run` (NULL: the
 * usual one). NULL after saying why there is none. The caller frees it. */
char *server_find(const char *verb, const char *url, const char *run);

#endif
