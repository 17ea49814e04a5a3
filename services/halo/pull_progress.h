/* SPDX-License-Identifier: MIT */
/* How far `halo pull` is: one line that is written over on a terminal, a plain line every few seconds
 * elsewhere. */
#ifndef HALO_HALO_PULL_PROGRESS_H
#define HALO_HALO_PULL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
    bool is_terminal;
    bool has_line; /* an unfinished line is on the terminal */
    uint64_t start_ms;
    uint64_t shown_ms;
    uint64_t n_skipped; /* bytes that were there before */
    uint64_t last_bytes;
    uint64_t last_ms;
    double rate; /* bytes a second, smoothed */
};

void progress_start(struct progress *p);

/* Bytes that did not come over the network. */
void progress_skip(struct progress *p, uint64_t n_bytes);

/* Shows it if enough time has passed. */
void progress_show(struct progress *p, uint64_t n_bytes, uint64_t n_in_all);

/* A file is done. */
void progress_file(struct progress *p, const char *path);

void progress_note(struct progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Leaves the line. */
void progress_end(struct progress *p);

/* "512 B", "1.2 kB", "3.4 MB", "5.61 GB" */
void progress_bytes(uint64_t n, char *text, unsigned cap);

#endif
