/* SPDX-License-Identifier: MIT */
/* convert: writes what a source holds as an .h1b file. Rows pass through a few MiB of memory; of the
 * output nothing is held. The same source and options give the same bytes, hence the same hash. */
#ifndef HALO_MODEL_CONVERT_H
#define HALO_MODEL_CONVERT_H

#include <signal.h>

#include "services/model/source.h"

struct convert_options {
    const char *packing; /* "auto" or the name of a packed dtype */
    uint32_t n_slices; /* of master weights, 0: one */
    bool may_quantize; /* even if nothing says that the model was trained for it */
    bool is_silent; /* no progress */
    const volatile sig_atomic_t *is_cancelled; /* becomes true to stop */
};

struct convert_summary {
    char hash[65];
    uint64_t n_bytes; /* of the file */
    uint64_t n_params;
    uint64_t bytes_per_token; /* of weights that a step of decoding reads at least */
    struct buf packings; /* "T2", or several */
    size_t n_exact; /* linear weights that are what the source says */
    size_t n_rounded; /* linear weights that were quantised */
};

/* Writes `path`. The caller frees ret_summary->packings. */
MUST_CHECK enum err convert_run(struct source *s, const char *path, const struct convert_options *o,
                                struct why *why, struct convert_summary *ret_summary);

#endif
