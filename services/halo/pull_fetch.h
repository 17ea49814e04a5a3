/* SPDX-License-Identifier: MIT */
/* Fetches the files of a list, several at a time: goes on with partial files, tries again when a connection
 * breaks, checks sizes and hashes, shows how far it is. */
#ifndef HALO_HALO_PULL_FETCH_H
#define HALO_HALO_PULL_FETCH_H

#include <stdbool.h>
#include <stdint.h>

#include "services/halo/pull_list.h"

struct pull_options {
    const char *dir;
    uint32_t n_jobs;
    uint32_t n_retries; /* in a row that bring no byte */
};

/* Bytes that are still to come, as far as sizes are known; what partial files hold counts as there. */
uint64_t pull_bytes_missing(const struct pull_list *l, const char *dir);

/* False: one line in `why`; what has come stays for the next time. May complete files' hashes. */
bool pull_fetch(const struct pull_source *s, struct pull_list *l, const struct pull_options *o,
                char *why);

#endif
