/* SPDX-License-Identifier: MIT */
/* The walk over rows and tokens that the SIMD variants share: a block of rows whose weights stay in
 * L2, in it tiles of tokens whose activations stay in L1, in them tiles of rows. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_WALK_H
#define HALO_KERNELS_TERNARY_TERNARY_WALK_H

#include <stdbool.h>

#include "kernels/ternary/ternary.h"

enum {
    TERNARY_BLOCK_BYTES = 128 * 1024,
    TERNARY_MAX_TILE_ROWS = 4,
    /* How far ahead of the group in work a tile fetches weights, about eight lines per stream of a
     * two-channel machine. Without it the hardware prefetchers, which see several interleaved
     * streams that end after a row, reach a third to a half of the memory's speed. */
    TERNARY_PREFETCH_BYTES = 8 * 1024,
};

struct ternary_tile {
    const uint8_t *codes; /* of the first row */
    size_t row_bytes;
    float w_scale[TERNARY_MAX_TILE_ROWS];
    const int8_t *q; /* of the first token */
    size_t q_stride;
    const float *x_scale;
    const int32_t *x_sum;
    float *y; /* of the first row and token */
    size_t y_stride;
};

/* Computes y of a tile; one function per shape of a tile, each with loops of constant bounds. */
typedef void ternary_run_tile(const struct ternary_tile *tile);

struct ternary_shapes {
    size_t rows, max_tokens;
    ternary_run_tile *const *full; /* [tokens], [0] unused: `rows` rows */
    ternary_run_tile *const *single; /* [tokens], [0] unused: one row, for those left over */
};

static inline void ternary_walk_rows(const struct ternary_weights *w, const struct quantized *x,
                                     size_t t, size_t tokens, size_t row0, size_t row1, float *y,
                                     size_t y_stride, const struct ternary_shapes *shapes)
{
    struct ternary_tile tile = {
        .row_bytes = ternary_row_bytes(w->n_cols),
        .q = x->q + t * x->stride,
        .q_stride = x->stride,
        .x_scale = x->scale + t,
        .x_sum = x->sum + t,
        .y_stride = y_stride,
    };
    size_t scale = row0 / w->rows_per_scale; /* counted on: a division per row would show */
    size_t scale_rows = row0 % w->rows_per_scale;
    size_t rows;
    for (size_t r = row0; r < row1; r += rows) {
        bool is_full = row1 - r >= shapes->rows;
        rows = is_full ? shapes->rows : 1;
        for (size_t i = 0; i < rows; i++) {
            tile.w_scale[i] = w->scales[scale];
            if (++scale_rows == w->rows_per_scale) {
                scale_rows = 0;
                scale++;
            }
        }
        tile.codes = w->codes + r * tile.row_bytes;
        tile.y = y + t * y_stride + r;
        (is_full ? shapes->full : shapes->single)[tokens](&tile);
    }
}

static inline void ternary_walk(const struct ternary_weights *w, const struct quantized *x,
                                size_t row0, size_t row1, float *y, size_t y_stride,
                                const struct ternary_shapes *shapes)
{
    size_t block = TERNARY_BLOCK_BYTES / ternary_row_bytes(w->n_cols) / shapes->rows * shapes->rows;
    block = block < shapes->rows ? shapes->rows : block;
    size_t n_tiles = (x->n_tokens + shapes->max_tokens - 1) / shapes->max_tokens;
    if (n_tiles == 0) {
        return;
    }
    size_t tokens = (x->n_tokens + n_tiles - 1) / n_tiles; /* even tiles */
    for (size_t r = row0; r < row1; r += block) {
        size_t end = row1 - r < block ? row1 : r + block;
        for (size_t t = 0; t < x->n_tokens; t += tokens) {
            size_t left = x->n_tokens - t;
            ternary_walk_rows(w, x, t, left < tokens ? left : tokens, r, end, y, y_stride, shapes);
        }
    }
}

#endif
