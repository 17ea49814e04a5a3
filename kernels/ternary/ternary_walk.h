/* SPDX-License-Identifier: MIT */
/* The walk over rows and tokens that the SIMD variants share: a block of rows whose weights stay in
 * L2, in it tiles of tokens whose activations stay in L1, in them tiles of rows.
 *
 * Tiles for many tokens read T2; rows of the other packings become T2 first, once for all tokens, in a
 * buffer that stays in the cache. Where a packing has tiles for few tokens, they read it directly. */
#ifndef HALO_KERNELS_TERNARY_TERNARY_WALK_H
#define HALO_KERNELS_TERNARY_TERNARY_WALK_H

#include <stdbool.h>

#include "kernels/ternary/ternary.h"

enum {
    TERNARY_BLOCK_BYTES = 128 * 1024,
    /* Of rows made T2: at least one row of TERNARY_MAX_COLS; for one token they stay in L1. */
    TERNARY_BUFFER_BYTES = 64 * 1024,
    TERNARY_BUFFER_BYTES_ONE = 16 * 1024,
    TERNARY_MAX_TILE_ROWS = 4,
    TERNARY_MAX_TILE_TOKENS = 6,
    /* How far ahead of the group in work a tile fetches weights, about eight lines per stream of a
     * two-channel machine. Without it the hardware prefetchers, which see several interleaved
     * streams that end after a row, reach a third to a half of the memory's speed. */
    TERNARY_PREFETCH_BYTES = 8 * 1024,
};

struct ternary_tile {
    const uint8_t *codes; /* of the first row */
    size_t row_bytes;
    float w_scale[TERNARY_MAX_TILE_ROWS]; /* without groups */
    const float *w_groups; /* with groups: [rows][n_groups] */
    size_t n_groups;
    const int8_t *q; /* of the first token */
    size_t q_stride;
    const float *x_scale; /* [tokens], or [tokens][n_groups] */
    const int32_t *x_sum;
    float *y; /* of the first row and token */
    size_t y_stride;
};

/* Computes y of a tile; one function per shape of a tile, each with loops of constant bounds. */
typedef void ternary_run_tile(const struct ternary_tile *tile);

struct ternary_shapes {
    size_t rows, max_tokens;
    ternary_run_tile *full[TERNARY_MAX_TILE_TOKENS]; /* [tokens - 1]: `rows` rows */
    ternary_run_tile *single[TERNARY_MAX_TILE_TOKENS]; /* [tokens - 1]: one row, a left over */
    size_t up_to; /* of `few`: tokens of a call for which it is faster than by way of T2 */
};

/* Makes a row of T2, ternary_row_bytes(TERNARY_T2, n_cols), from one of another packing. */
typedef void ternary_to_t2(const uint8_t *row, size_t n_cols, uint8_t *t2);

/* What one kind of scales has: of rows, of groups of 64, of groups of 128. */
struct ternary_tiles {
    struct ternary_shapes many; /* T2 */
    struct ternary_shapes few[TERNARY_PACKINGS]; /* up_to = 0: none, `many` does all */
};

struct ternary_variant {
    struct ternary_tiles tiles[3]; /* [group / 64] */
    ternary_to_t2 *to_t2[TERNARY_PACKINGS]; /* [TERNARY_T2] unused */
};

/* Runs the tiles of rows row0..row1-1, whose codes are at `codes`, for `tokens` tokens from t on. */
static inline void ternary_walk_rows(const struct ternary_weights *w, const struct quantized *x,
                                     const uint8_t *codes, size_t row_bytes, size_t t,
                                     size_t tokens, size_t row0, size_t row1, float *y,
                                     size_t y_stride, const struct ternary_shapes *shapes)
{
    struct ternary_tile tile = {
        .codes = codes,
        .row_bytes = row_bytes,
        .n_groups = w->group > 0 ? w->n_cols / w->group : 1,
        .q = x->q + t * x->stride,
        .q_stride = x->stride,
        .x_sum = w->group > 0 ? NULL : x->sum + t,
        .y_stride = y_stride,
    };
    tile.x_scale = x->scale + t * tile.n_groups;
    /* Counted on: a division per row would show. */
    size_t scale = w->group > 0 ? 0 : row0 / w->rows_per_scale;
    size_t scale_rows = w->group > 0 ? 0 : row0 % w->rows_per_scale;
    size_t rows;
    for (size_t r = row0; r < row1; r += rows) {
        bool is_full = row1 - r >= shapes->rows;
        rows = is_full ? shapes->rows : 1;
        if (w->group > 0) {
            tile.w_groups = w->scales + r * tile.n_groups;
        } else {
            for (size_t i = 0; i < rows; i++) {
                tile.w_scale[i] = w->scales[scale];
                if (++scale_rows == w->rows_per_scale) {
                    scale_rows = 0;
                    scale++;
                }
            }
        }
        tile.y = y + t * y_stride + r;
        (is_full ? shapes->full : shapes->single)[tokens - 1](&tile);
        tile.codes += rows * row_bytes;
    }
}

/* All tokens of x, in even tiles, for a block of rows. */
static inline void ternary_walk_tokens(const struct ternary_weights *w, const struct quantized *x,
                                       const uint8_t *codes, size_t row_bytes, size_t row0,
                                       size_t row1, float *y, size_t y_stride,
                                       const struct ternary_shapes *shapes)
{
    size_t n_tiles = (x->n_tokens + shapes->max_tokens - 1) / shapes->max_tokens;
    size_t tokens = (x->n_tokens + n_tiles - 1) / n_tiles;
    for (size_t t = 0; t < x->n_tokens; t += tokens) {
        size_t left = x->n_tokens - t;
        ternary_walk_rows(w, x, codes, row_bytes, t, left < tokens ? left : tokens, row0, row1, y,
                          y_stride, shapes);
    }
}

/* How many rows fill `bytes`: whole tiles if one fits, at least one row. */
static inline size_t ternary_block_rows(size_t bytes, size_t row_bytes, size_t tile_rows)
{
    size_t rows = bytes / row_bytes;
    rows = rows < tile_rows ? rows : rows / tile_rows * tile_rows;
    return rows > 0 ? rows : 1;
}

static __attribute__((noinline)) void ternary_walk_converted(const struct ternary_weights *w,
                                                             const struct quantized *x, size_t row0,
                                                             size_t row1, float *y, size_t y_stride,
                                                             const struct ternary_shapes *shapes,
                                                             ternary_to_t2 *to_t2)
{
    _Alignas(64) uint8_t buffer[TERNARY_BUFFER_BYTES];
    size_t from_bytes = ternary_row_bytes(w->packing, w->n_cols);
    size_t row_bytes = ternary_row_bytes(TERNARY_T2, w->n_cols);
    size_t bytes = x->n_tokens == 1 ? TERNARY_BUFFER_BYTES_ONE : TERNARY_BUFFER_BYTES;
    size_t block = ternary_block_rows(bytes, row_bytes, shapes->rows);
    for (size_t r = row0; r < row1; r += block) {
        size_t end = row1 - r < block ? row1 : r + block;
        for (size_t i = r; i < end; i++) {
            to_t2(w->codes + i * from_bytes, w->n_cols, buffer + (i - r) * row_bytes);
        }
        ternary_walk_tokens(w, x, buffer, row_bytes, r, end, y, y_stride, shapes);
    }
}

static inline void ternary_walk(const struct ternary_weights *w, const struct quantized *x,
                                size_t row0, size_t row1, float *y, size_t y_stride,
                                const struct ternary_variant *variant)
{
    const struct ternary_tiles *tiles = &variant->tiles[w->group / 64];
    const struct ternary_shapes *shapes = &tiles->many;
    bool is_direct = w->packing == TERNARY_T2;
    if (x->n_tokens == 0) {
        return;
    }
    if (x->n_tokens <= tiles->few[w->packing].up_to) {
        shapes = &tiles->few[w->packing];
        is_direct = true;
    }
    if (!is_direct) {
        ternary_walk_converted(w, x, row0, row1, y, y_stride, shapes, variant->to_t2[w->packing]);
        return;
    }
    size_t row_bytes = ternary_row_bytes(w->packing, w->n_cols);
    size_t block = TERNARY_BLOCK_BYTES / row_bytes / shapes->rows * shapes->rows;
    block = block < shapes->rows ? shapes->rows : block;
    for (size_t r = row0; r < row1; r += block) {
        size_t end = row1 - r < block ? row1 : r + block;
        ternary_walk_tokens(w, x, w->codes + r * row_bytes, row_bytes, r, end, y, y_stride, shapes);
    }
}

#endif
