/* SPDX-License-Identifier: MIT */
/* What all vector variants of planes share: the walk over rows and tokens, and, as PLANES_VARIANT(isa),
 * their functions. The includer defines before
 *   dot(bits, groups, tokens, tile, x, t0, stride, out): out[t][r] = the dot of row r of the tile and
 * token t0 + t, with groups = 8 / bits; the first three are known to the compiler. */
#ifndef HALO_KERNELS_PLANES_PLANES_WALK_H
#define HALO_KERNELS_PLANES_PLANES_WALK_H

#include "kernels/planes/planes_row.h"
#include "kernels/unroll.h"

enum { PLANES_TILE_ROWS = 4, PLANES_TILE_TOKENS = 2 };

/* Rows of one plane that are multiplied together, and what to fetch while they are: processors do not
 * see a stream in rows of some hundred bytes that are read side by side. Past the last row both repeat. */
struct planes_tile {
    const uint8_t *row[PLANES_TILE_ROWS];
    const uint8_t *ahead[PLANES_TILE_ROWS];
    uint32_t id[PLANES_TILE_ROWS];
};

typedef void planes_dot(const struct planes_tile *tile, const struct planes_input *x, size_t t0,
                        size_t stride, int32_t out[PLANES_TILE_TOKENS][PLANES_TILE_ROWS]);

INLINE uint32_t planes_row_id(const struct planes_rows *rows, size_t i)
{
    i = i < rows->n ? i : rows->n - 1;
    return rows->list != NULL ? rows->list[i] : rows->first + (uint32_t)i;
}

INLINE void planes_set_tile(struct planes_tile *tile, const struct planes *w, unsigned k,
                            const struct planes_rows *rows, size_t i)
{
    enum { AHEAD_BYTES = 8192 };
    size_t bytes = planes_row_bytes(w->n_cols, k);
    size_t tiles = (AHEAD_BYTES + PLANES_TILE_ROWS * bytes - 1) / (PLANES_TILE_ROWS * bytes);
    for (size_t r = 0; r < PLANES_TILE_ROWS; r++) {
        tile->id[r] = planes_row_id(rows, i + r);
        tile->row[r] = w->plane[k] + tile->id[r] * bytes;
        tile->ahead[r] =
            w->plane[k] + planes_row_id(rows, i + tiles * PLANES_TILE_ROWS + r) * bytes;
    }
}

INLINE void planes_walk(const struct planes *w, unsigned k, const struct planes_input *x,
                        const struct planes_rows *rows, int32_t *sums, size_t y_stride,
                        planes_dot *one, planes_dot *many)
{
    size_t stride = planes_stride(w->n_cols);
    for (size_t i = 0; i < rows->n; i += PLANES_TILE_ROWS) {
        struct planes_tile tile;
        size_t n = rows->n - i < PLANES_TILE_ROWS ? rows->n - i : PLANES_TILE_ROWS;
        planes_set_tile(&tile, w, k, rows, i);
        for (size_t t0 = 0; t0 < x->n_tokens;) {
            int32_t out[PLANES_TILE_TOKENS][PLANES_TILE_ROWS];
            size_t tokens = x->n_tokens - t0 >= PLANES_TILE_TOKENS ? PLANES_TILE_TOKENS : 1;
            if (tokens == 1) {
                one(&tile, x, t0, stride, out);
            } else {
                many(&tile, x, t0, stride, out);
            }
            for (size_t t = 0; t < tokens; t++) {
                for (size_t r = 0; r < n; r++) {
                    int32_t part = out[t][r] * (1 << planes_shift(k));
                    int32_t *s = &sums[(t0 + t) * y_stride + tile.id[r]];
                    *s = k == 0 ? part : *s + part;
                }
            }
            t0 += tokens;
        }
    }
}

/* The upper six bits of the numbers of one row. */
INLINE void planes_expand(const uint8_t *top, const uint8_t *next, const uint8_t *top_ahead,
                          const uint8_t *next_ahead, size_t stride, uint8_t *u)
{
    for (size_t c = 0; c < stride; c += PLANES_BLOCK) {
        UNROLL
        for (size_t at = 0; at < PLANES_BLOCK / 2; at += 64) {
            __builtin_prefetch(top_ahead + at);
        }
        __builtin_prefetch(next_ahead);
        __builtin_prefetch(next_ahead + 64);
        UNROLL
        for (size_t g = 0; g < 8; g++) {
            const uint8_t *a = top + 64 * (g / 2);
            const uint8_t *b = next + 64 * (g / 4);
            for (size_t m = 0; m < 64; m++) {
                u[64 * g + m] =
                    (uint8_t)((a[m] >> 4 * (g % 2) & 15) << 2 | (b[m] >> 2 * (g % 4) & 3));
            }
        }
        u += PLANES_BLOCK;
        top += PLANES_BLOCK / 2;
        top_ahead += PLANES_BLOCK / 2;
        next += PLANES_BLOCK / 4;
        next_ahead += PLANES_BLOCK / 4;
    }
}

INLINE void planes_walk_top(const struct planes *w, const struct planes_input *x,
                            const struct planes_rows *rows, int32_t *sums, size_t y_stride,
                            planes_dot *one, planes_dot *many)
{
    _Alignas(64) uint8_t u[PLANES_TILE_ROWS][PLANES_TOP_COLS];
    size_t stride = planes_stride(w->n_cols);
    struct planes_tile all = {.row = {u[0], u[1], u[2], u[3]}, .ahead = {u[0], u[1], u[2], u[3]}};
    for (size_t i = 0; i < rows->n; i += PLANES_TILE_ROWS) {
        struct planes_tile top, next;
        size_t n = rows->n - i < PLANES_TILE_ROWS ? rows->n - i : PLANES_TILE_ROWS;
        planes_set_tile(&top, w, 0, rows, i);
        planes_set_tile(&next, w, 1, rows, i);
        for (size_t r = 0; r < PLANES_TILE_ROWS; r++) {
            planes_expand(top.row[r], next.row[r], top.ahead[r], next.ahead[r], stride, u[r]);
        }
        for (size_t t0 = 0; t0 < x->n_tokens; t0 += PLANES_TILE_TOKENS) {
            int32_t out[PLANES_TILE_TOKENS][PLANES_TILE_ROWS];
            size_t tokens = x->n_tokens - t0 >= PLANES_TILE_TOKENS ? PLANES_TILE_TOKENS : 1;
            (tokens == 1 ? one : many)(&all, x, t0, stride, out);
            for (size_t t = 0; t < tokens; t++) {
                for (size_t r = 0; r < n; r++) {
                    sums[(t0 + t) * y_stride + top.id[r]] = out[t][r] * 4;
                }
            }
        }
    }
}

#define PLANES_DOT(bits, tokens)                                                                   \
    static void dot_##bits##_##tokens(const struct planes_tile *tile,                              \
                                      const struct planes_input *x, size_t t0, size_t stride,      \
                                      int32_t out[PLANES_TILE_TOKENS][PLANES_TILE_ROWS])           \
    {                                                                                              \
        dot(bits, 8 / bits, tokens, tile, x, t0, stride, out);                                     \
    }

#define PLANES_VARIANT(isa)                                                                        \
    PLANES_DOT(4, 1)                                                                               \
    PLANES_DOT(4, 2)                                                                               \
    PLANES_DOT(2, 1)                                                                               \
    PLANES_DOT(2, 2)                                                                               \
    PLANES_DOT(1, 1)                                                                               \
    PLANES_DOT(1, 2)                                                                               \
    PLANES_DOT(8, 1)                                                                               \
    PLANES_DOT(8, 2)                                                                               \
                                                                                                   \
    void planes_pack_##isa(const float *w, const struct planes *to, size_t row)                    \
    {                                                                                              \
        planes_pack_row(w, to, row);                                                               \
    }                                                                                              \
                                                                                                   \
    void planes_sum_##isa(const struct planes *w, unsigned k, const struct planes_input *x,        \
                          const struct planes_rows *rows, int32_t *sums, size_t y_stride)          \
    {                                                                                              \
        static planes_dot *const ONE[PLANES] = {dot_4_1, dot_2_1, dot_1_1, dot_1_1};               \
        static planes_dot *const MANY[PLANES] = {dot_4_2, dot_2_2, dot_1_2, dot_1_2};              \
        planes_walk(w, k, x, rows, sums, y_stride, ONE[k], MANY[k]);                               \
    }                                                                                              \
                                                                                                   \
    void planes_sum_top_##isa(const struct planes *w, const struct planes_input *x,                \
                              const struct planes_rows *rows, int32_t *sums, size_t y_stride)      \
    {                                                                                              \
        planes_walk_top(w, x, rows, sums, y_stride, dot_8_1, dot_8_2);                             \
    }                                                                                              \
                                                                                                   \
    void planes_bound_##isa(const struct planes *w, unsigned k, const struct planes_input *x,      \
                            const struct planes_rows *rows, const int32_t *sums, float *lower,     \
                            float *upper, size_t y_stride)                                         \
    {                                                                                              \
        planes_bound_rows(w, k, x, rows, sums, lower, upper, y_stride);                            \
    }

#endif
