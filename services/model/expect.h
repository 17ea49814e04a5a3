/* SPDX-License-Identifier: MIT */
/* expect: which tensors a configuration calls for, and whether a source has just those. A file that
 * lacks one, has one of another shape, or has one that the graph would not use computes something
 * else than its model, so it is refused. */
#ifndef HALO_MODEL_EXPECT_H
#define HALO_MODEL_EXPECT_H

#include "services/model/source.h"

enum expect_role {
    EXPECT_EMBEDDING, /* F16 [rows, cols] */
    EXPECT_NORM, /* F32 [cols] */
    EXPECT_LINEAR, /* packed codes [rows, cols] and scales */
};

struct expect {
    char name[96];
    enum expect_role role;
    const struct source_tensor *tensor;
    uint32_t input; /* LINEAR: the same number for those that multiply the same vector; they lie
                     * side by side in the list */
};

/* Gives the tensors in the order in which they are written; the caller frees *ret_list. Tensors
 * that may be left out (buffers of Hugging Face modules) are noted. */
MUST_CHECK enum err expect_all(struct source *s, struct why *why, struct expect **ret_list,
                               size_t *ret_n);

#endif
