/* SPDX-License-Identifier: MIT */
/* progress: how far a conversion is, on stderr: one line that is drawn anew on a terminal, else a
 * line now and then. Silent when told so. */
#ifndef HALO_MODEL_PROGRESS_H
#define HALO_MODEL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct progress {
    bool is_silent;
    bool is_terminal;
    size_t n_items;
    size_t n_done;
    uint64_t n_bytes;
    uint64_t start_ns;
    uint64_t shown_ns; /* when a line was last drawn */
};

void progress_start(struct progress *p, size_t n_items, bool is_silent);

/* `bytes` more were read; `name` is what of. */
void progress_add(struct progress *p, const char *name, uint64_t bytes);

/* One item more is done. */
void progress_item(struct progress *p, const char *name);

/* Wipes the line from a terminal. */
void progress_end(struct progress *p);

#endif
