/* SPDX-License-Identifier: MIT */
/* The walk over rows and tokens that the SIMD variants share: tiles of rows, whose weights stay in
 * L1, in them tiles of tokens. */
#ifndef HALO_KERNELS_HEAD_HEAD_WALK_H
#define HALO_KERNELS_HEAD_HEAD_WALK_H

#include <stdbool.h>

#include "kernels/head/head.h"

/* How far ahead one row at a time fetches; see ternary_walk.h. */
enum { HEAD_PREFETCH_BYTES = 8 * 1024 };

struct head_tile {
    const uint16_t *w; /* first row */
    size_t n_cols;
    const float *h; /* first token */
    size_t h_stride;
    float *y; /* of the first row and token */
    size_t y_stride;
    /* As many bytes as the tile's weights, to be fetched on the way: the next tile for the first
     * tokens, and what is there already for the others. */
    const char *ahead;
};

/* Computes y of a tile; one function per shape of a tile, each with loops of constant bounds. */
typedef void head_run_tile(const struct head_tile *tile);

struct head_shapes {
    size_t rows, max_tokens;
    head_run_tile *const *full; /* [tokens], [0] unused: `rows` rows */
    head_run_tile *const *single; /* [tokens], [0] unused: one row, for those left over */
};

static inline void head_walk(const uint16_t *w, size_t n_cols, const struct head_input *x,
                             size_t row0, size_t row1, float *y, size_t y_stride,
                             const struct head_shapes *shapes)
{
    struct head_tile tile = {.n_cols = n_cols, .h_stride = x->stride, .y_stride = y_stride};
    size_t n_tiles = (x->n_tokens + shapes->max_tokens - 1) / shapes->max_tokens;
    if (n_tiles == 0) {
        return;
    }
    size_t tokens = (x->n_tokens + n_tiles - 1) / n_tiles; /* even tiles */
    size_t rows;
    for (size_t r = row0; r < row1; r += rows) {
        bool is_full = row1 - r >= shapes->rows;
        rows = is_full ? shapes->rows : 1;
        tile.w = w + r * n_cols;
        for (size_t t = 0; t < x->n_tokens; t += tokens) {
            size_t left = x->n_tokens - t;
            tile.h = x->h + t * x->stride;
            tile.y = y + t * y_stride + r;
            tile.ahead = (const char *)(t == 0 ? tile.w + rows * n_cols : tile.w);
            (is_full ? shapes->full : shapes->single)[left < tokens ? left : tokens](&tile);
        }
    }
}

#endif
