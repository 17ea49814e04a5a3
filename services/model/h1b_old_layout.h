/* SPDX-License-Identifier: MIT */
/* h1b_old_layout: where everything lies in an .h1b file of versions 1 to 4, and what its rows mean; the
 * format is described in services/model/h1b_old.h. */
#ifndef HALO_MODEL_H1B_OLD_LAYOUT_H
#define HALO_MODEL_H1B_OLD_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/h1b.h"
#include "services/model/why.h"

enum h1b_old_flag {
    H1B_OLD_HADAMARD = 1,
    H1B_OLD_SHERRY16 = 2,
    H1B_OLD_Q1 = 4,
    H1B_OLD_TQ2 = 8,
};

struct h1b_old_packing {
    const char *name;
    enum h1b_dtype native;
    uint16_t n_unit; /* columns that lie together */
    uint16_t unit_bytes;
    uint16_t n_multiple; /* columns must be a multiple of it */
    bool has_group_scales; /* f16 in front of each unit, and no row scales */
    /* The codes of a unit; 3 for what is no code. */
    void (*unpack)(const uint8_t *unit, int8_t *ret_codes);
};

struct h1b_old_tensor {
    char name[64]; /* of common/h1b.h */
    uint64_t rows;
    uint64_t cols;
    uint64_t offset;
    uint64_t scales_at; /* of f32[rows]; 0: none */
    uint64_t row_bytes;
    bool is_packed; /* else f32 */
};

struct h1b_old_layout {
    uint32_t version;
    uint32_t flags;
    uint32_t n_hidden, n_ffn, n_layers, n_heads, n_kv_heads, n_vocab, n_ctx;
    double rope_theta;
    double rms_eps;
    const struct h1b_old_packing *packing;
    struct h1b_old_tensor *tensors;
    size_t n_tensors;
};

/* Reads the header from the file's bytes, checks it and the file's size, lays out the tensors.
 * ERR_MODEL_FORMAT or ERR_UNSUPPORTED. `path` is for messages. */
MUST_CHECK enum err h1b_old_layout_init(struct h1b_old_layout *l, const uint8_t *bytes,
                                        uint64_t size, const char *path, struct why *why);
void h1b_old_layout_fini(struct h1b_old_layout *l);

/* The codes of a packed row of `cols` columns; false when one is no code. */
bool h1b_old_layout_codes(const struct h1b_old_packing *p, const uint8_t *row, uint64_t cols,
                          int8_t *ret_codes);

#endif
