/* SPDX-License-Identifier: MIT */
/* wgmma: matmul.h's loop for sm_90a, whose mma.sync does a quarter of what its warpgroup instructions do (measured:
 * 259 T products of bytes a second of 265 at 1.98 GHz, where wgmma has 1060).
 *
 * The weights are its A, 64 rows a warpgroup and 16 a wave: T2 codes unpacked into registers, int8 from shared memory. The
 * tokens are its B: rows of one unit, 128 bytes, in shared memory, 16-byte place p of row r holding columns
 * 16 (p ^ r % 8) and on (its 128-byte swizzle). Codes come by copies, too, and all copies run stages - 1 units
 * ahead: a launch of a decode step is short, so most of its bytes are under way at once. On the CPU the same
 * loop runs with one wave's share of the instruction played. */
#ifndef HALO_KERNELS_HIP_WGMMA_H
#define HALO_KERNELS_HIP_WGMMA_H

#include "kernels/hip/matmul.h" /* which includes this one, for the layout that it is about */

#if MATRIX_LAYOUT == MATRIX_WGMMA

#if !SHIM_GPU
#include <string.h>
#endif

enum { WGMMA_ALIGN = 1024, WGMMA_CODE_BYTES = 32 };

DEVICE uint32_t wgmma_place(uint32_t row, uint32_t at)
{
    return row * 128 + (at ^ row % 8 * 16);
}

#if SHIM_NVIDIA
DEVICE uint32_t wgmma_address(const void *shared)
{
    return (uint32_t)(uintptr_t)(const __attribute__((address_space(3))) void *)shared;
}

/* Of rows at `shared`, from 32-column step k on: address, 1024 bytes between groups of eight rows, swizzle of 128 bytes. */
DEVICE uint64_t wgmma_descriptor(const int8_t *shared, uint32_t k)
{
    return (uint64_t)((wgmma_address(shared) + 32 * k) >> 4 & 0x3fff) | (uint64_t)1 << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

#define MATMUL_OUT(t)                                                                              \
    "+r"(c[t][0].c[0]), "+r"(c[t][0].c[1]), "+r"(c[t][0].c[2]), "+r"(c[t][0].c[3]),                \
        "+r"(c[t][0].c[4]), "+r"(c[t][0].c[5]), "+r"(c[t][0].c[6]), "+r"(c[t][0].c[7])

DEVICE void wgmma_rs_16(struct matrix_outputs (*c)[MATMUL_ROW_TILES], const uint32_t *a, uint64_t b)
{
    __asm__ volatile("{ .reg .pred p; setp.eq.u32 p, 0, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n16k32.s32.s8.s8 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7"
                     "}, {%8, %9, %10, %11}, %12, p; }\n"
                     : MATMUL_OUT(0)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

DEVICE void wgmma_rs_32(struct matrix_outputs (*c)[MATMUL_ROW_TILES], const uint32_t *a, uint64_t b)
{
    __asm__ volatile("{ .reg .pred p; setp.eq.u32 p, 0, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n32k32.s32.s8.s8 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
                     "}, {%16, %17, %18, %19}, %20, p; }\n"
                     : MATMUL_OUT(0), MATMUL_OUT(1)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

DEVICE void wgmma_ss_32(struct matrix_outputs (*c)[MATMUL_ROW_TILES], uint64_t a, uint64_t b)
{
    __asm__ volatile("{ .reg .pred p; setp.eq.u32 p, 0, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n32k32.s32.s8.s8 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15"
                     "}, %16, %17, p; }\n"
                     : MATMUL_OUT(0), MATMUL_OUT(1)
                     : "l"(a), "l"(b));
}

DEVICE void wgmma_rs_64(struct matrix_outputs (*c)[MATMUL_ROW_TILES], const uint32_t *a, uint64_t b)
{
    __asm__ volatile("{ .reg .pred p; setp.eq.u32 p, 0, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, "
                     "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
                     "}, {%32, %33, %34, %35}, %36, p; }\n"
                     : MATMUL_OUT(0), MATMUL_OUT(1), MATMUL_OUT(2), MATMUL_OUT(3)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

DEVICE void wgmma_ss_64(struct matrix_outputs (*c)[MATMUL_ROW_TILES], uint64_t a, uint64_t b)
{
    __asm__ volatile("{ .reg .pred p; setp.eq.u32 p, 0, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n64k32.s32.s8.s8 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, "
                     "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
                     "}, %32, %33, p; }\n"
                     : MATMUL_OUT(0), MATMUL_OUT(1), MATMUL_OUT(2), MATMUL_OUT(3)
                     : "l"(a), "l"(b));
}

DEVICE void wgmma_rs_128(struct matrix_outputs (*c)[MATMUL_ROW_TILES], const uint32_t *a,
                         uint64_t b)
{
    __asm__ volatile("{ .reg .pred p; setp.eq.u32 p, 0, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, "
                     "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                     "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, "
                     "%47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "
                     "%62, %63"
                     "}, {%64, %65, %66, %67}, %68, p; }\n"
                     : MATMUL_OUT(0), MATMUL_OUT(1), MATMUL_OUT(2), MATMUL_OUT(3), MATMUL_OUT(4),
                       MATMUL_OUT(5), MATMUL_OUT(6), MATMUL_OUT(7)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

DEVICE void wgmma_ss_128(struct matrix_outputs (*c)[MATMUL_ROW_TILES], uint64_t a, uint64_t b)
{
    __asm__ volatile("{ .reg .pred p; setp.eq.u32 p, 0, 0;\n"
                     "wgmma.mma_async.sync.aligned.m64n128k32.s32.s8.s8 {"
                     "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, "
                     "%17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                     "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, "
                     "%47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, "
                     "%62, %63"
                     "}, %64, %65, p; }\n"
                     : MATMUL_OUT(0), MATMUL_OUT(1), MATMUL_OUT(2), MATMUL_OUT(3), MATMUL_OUT(4),
                       MATMUL_OUT(5), MATMUL_OUT(6), MATMUL_OUT(7)
                     : "l"(a), "l"(b));
}

#define wgmma_begin() __asm__ volatile("wgmma.fence.sync.aligned;" ::: "memory")
#define wgmma_end()                                                                                \
    __asm__ volatile("wgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;" ::       \
                         : "memory")
#define wgmma_see() __asm__ volatile("fence.proxy.async.shared::cta;" ::: "memory")

/* c += 64 rows of a * tokens at b, for the 32 columns k; a lane's four dwords of A, or int8 rows in shared memory. */
DEVICE void wgmma_codes(uint32_t tiles, const uint32_t *a, const int8_t *b, uint32_t k,
                        struct matrix_outputs (*c)[MATMUL_ROW_TILES])
{
    uint64_t tokens = wgmma_descriptor(b, k);
    if (tiles == 1) {
        wgmma_rs_16(c, a, tokens);
    } else if (tiles == 2) {
        wgmma_rs_32(c, a, tokens);
    } else if (tiles == 4) {
        wgmma_rs_64(c, a, tokens);
    } else {
        wgmma_rs_128(c, a, tokens);
    }
}

DEVICE void wgmma_rows(uint32_t tiles, const int8_t *a, const int8_t *b, uint32_t k,
                       struct matrix_outputs (*c)[MATMUL_ROW_TILES])
{
    uint64_t rows = wgmma_descriptor(a, k);
    uint64_t tokens = wgmma_descriptor(b, k);
    if (tiles == 2) {
        wgmma_ss_32(c, rows, tokens);
    } else if (tiles == 4) {
        wgmma_ss_64(c, rows, tokens);
    } else {
        wgmma_ss_128(c, rows, tokens);
    }
}
#else
#define wgmma_begin() ((void)0)
#define wgmma_end() ((void)0)
#define wgmma_see() ((void)0)

DEVICE void wgmma_play(uint32_t tiles, const uint32_t *all, const int8_t *b, uint32_t k,
                       struct matrix_outputs (*c)[MATMUL_ROW_TILES])
{
    for (uint32_t t = 0; t < tiles; t++) {
        for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++) {
            uint32_t token = 16 * t + matrix_output_token(i);
            uint32_t row = matrix_output_row(i);
            for (uint32_t d = 0; d < 8; d++) { /* dwords of the 32 columns */
                uint32_t x;
                memcpy(&x, b + wgmma_place(token, 32 * k + d / 4 * 16) + d % 4 * 4, sizeof x);
                uint32_t w = all[(row % 8 * 4 + d % 4) * FIBER_GATHER + row / 8 + d / 4 * 2];
                c[t][0].c[i] = dot4(w, x, c[t][0].c[i]);
            }
        }
    }
}

DEVICE void wgmma_codes(uint32_t tiles, const uint32_t *a, const int8_t *b, uint32_t k,
                        struct matrix_outputs (*c)[MATMUL_ROW_TILES])
{
    wgmma_play(tiles, fiber_gather(a, 4, WAVE, __FILE__, __LINE__), b, k, c);
}

DEVICE void wgmma_rows(uint32_t tiles, const int8_t *a, const int8_t *b, uint32_t k,
                       struct matrix_outputs (*c)[MATMUL_ROW_TILES])
{
    uint32_t own[4];
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t row = thread_id() / WAVE % 4 * 16 + matrix_lane() / 4 + i % 2 * 8;
        memcpy(&own[i], a + wgmma_place(row, 32 * k + i / 2 * 16) + matrix_lane() % 4 * 4,
               sizeof own[i]);
    }
    wgmma_codes(tiles, own, b, k, c);
}
#endif

/* ---- stages: tokens [k_groups * units][tokens][128], then int8 weights [rows][128] or the codes ---- */

/* Codes of a row lie together for all units of a stage, in 16-byte places that lanes of eight rows find in
 * different banks. */
DEVICE uint32_t wgmma_code_place(struct matmul_shape s, uint32_t row, uint32_t chunk)
{
    uint32_t bytes = s.k_groups * s.units * WGMMA_CODE_BYTES; /* a power of two */
    uint32_t together = bytes < 128 ? 128 / bytes : 1; /* rows in 128 bytes */
    uint32_t n = bytes < 128 ? bytes / 16 : 8;
    return row * bytes + (chunk ^ row / together % n) * 16;
}

DEVICE uint32_t wgmma_token_bytes(struct matmul_shape s)
{
    return s.k_groups * s.units * matmul_tokens(s) * 128;
}

DEVICE uint32_t wgmma_stage_bytes(struct matmul_shape s)
{
    return wgmma_token_bytes(s) +
           matmul_rows(s) * (s.is_int8 ? 128 : s.k_groups * s.units * WGMMA_CODE_BYTES);
}

/* What a thread copies: from where at step 0, and its first place in a stage. */
struct wgmma_thread {
    const int8_t *tokens;
    const int8_t *weights;
    uint32_t to_tokens, to_weights;
    uint32_t first_unit; /* of its tokens */
    uint32_t weights_unit; /* of its first codes */
};

DEVICE struct wgmma_thread wgmma_thread(const struct matmul *m, struct matmul_shape s)
{
    struct wgmma_thread t;
    uint32_t tokens = matmul_tokens(s);
    uint32_t at = thread_id() % 8 * 16;
    uint32_t row = thread_id() / 8;
    t.first_unit = row / tokens;
    t.tokens = m->q + (size_t)(row % tokens) * m->stride + t.first_unit * 128 + at;
    if (s.is_int8 && tokens / 2 < s.threads / 8 && row >= tokens / 2) { /* both parts at once */
        t.tokens = m->q_low + (size_t)(row - tokens / 2) * m->stride + at;
    }
    t.to_tokens = wgmma_place(row, at);
    uint32_t per_row = s.is_int8 ? 8 : s.k_groups * s.units * 2;
    uint32_t chunk = thread_id() % per_row;
    row = thread_id() / per_row;
    t.weights_unit = s.is_int8 ? 0 : chunk / 2;
    t.weights = (const int8_t *)m->weights +
                (size_t)least_u32(m->row0 + row, m->last) * m->row_bytes + chunk * 16;
    t.to_weights = wgmma_token_bytes(s) +
                   (s.is_int8 ? wgmma_place(row, chunk * 16) : wgmma_code_place(s, row, chunk));
    return t;
}

/* Units past the end are not copied, and not computed. */
DEVICE void wgmma_copy_tokens(const struct matmul *m, struct matmul_shape s,
                              const struct wgmma_thread *t, uint32_t step, int8_t *stage)
{
    uint32_t tokens = matmul_tokens(s);
    uint32_t n_left = m->stride / 128 - step * s.k_groups * s.units;
    const int8_t *from = t->tokens + step * s.k_groups * s.units * 128;
    uint32_t n_rows = s.threads / 8; /* at once */
    UNROLL for (uint32_t i = 0; i < wgmma_token_bytes(s) / 16 / s.threads; i++)
    {
        uint32_t unit = i * n_rows / tokens; /* and those of more rows where tokens are few */
        const int8_t *here = from + (size_t)(i * n_rows % tokens) * m->stride + unit * 128;
        if (s.is_int8 && tokens / 2 >= n_rows && i * n_rows >= tokens / 2) {
            here = m->q_low + (here - m->q) - (size_t)(tokens / 2) * m->stride;
        }
        if (unit + t->first_unit < n_left) {
            copy16(stage + t->to_tokens + i * n_rows * 128, here);
        }
    }
}

DEVICE void wgmma_copy_weights(const struct matmul *m, struct matmul_shape s,
                               const struct wgmma_thread *t, uint32_t step, int8_t *stage)
{
    uint32_t per_row = s.is_int8 ? 8 : s.k_groups * s.units * 2;
    uint32_t n_rows = s.threads / per_row; /* at once */
    uint32_t n_left = m->stride / 128 - step * s.k_groups * s.units;
    const int8_t *from = t->weights + step * per_row * 16;
    uint32_t row = m->row0 + thread_id() / per_row;
    uint32_t to = t->to_weights;
    if (t->weights_unit >= n_left) {
        return;
    }
    UNROLL for (uint32_t i = 0; i < matmul_rows(s) / n_rows; i++)
    {
        /* Rows are a multiple of eight apart, so their places are, too. */
        copy16(stage + to, from);
        to += n_rows * per_row * 16;
        from += row + (i + 1) * n_rows <= m->last ? (size_t)n_rows * m->row_bytes : 0;
    }
}

/* c += the units of a stage of which there are n for the wave. */
DEVICE void wgmma_units(struct matmul_shape s, uint32_t n, const int8_t *stage,
                        struct matrix_outputs (*c)[MATMUL_ROW_TILES])
{
    uint32_t first = matmul_k_group(s) * s.units;
    const int8_t *tokens = stage + first * matmul_tokens(s) * 128;
    const int8_t *weights = stage + wgmma_token_bytes(s);
    uint32_t row0 = matmul_row_group(s) * 16; /* the wave's */
    if (s.is_int8) {
        wgmma_begin();
        UNROLL for (uint32_t k = 0; k < 4; k++)
        {
            wgmma_rows(s.tiles, weights + row0 / 64 * 64 * 128, tokens, k, c);
        }
        wgmma_end();
        return;
    }
    NO_UNROLL for (uint32_t u = 0; u < n; u++)
    {
        uint32_t codes[4];
        UNROLL for (uint32_t i = 0; i < 4; i++)
        {
            uint32_t row = row0 + matrix_lane() / 4 + i % 2 * 8;
            const int8_t *at = weights + wgmma_code_place(s, row, 2 * (first + u) + i / 2);
            codes[i] = *(const uint32_t *)(const void *)(at + matrix_lane() % 4 * 4);
        }
        uint32_t a[4][4];
        UNROLL for (uint32_t k = 0; k < 4; k++)
        {
            UNROLL for (uint32_t i = 0; i < 4; i++)
            {
                a[k][i] = codes[i] >> 2 * k & 0x03030303U;
            }
        }
        wgmma_begin();
        UNROLL for (uint32_t k = 0; k < 4; k++)
        {
            wgmma_codes(s.tiles, a[k], tokens, k, c);
        }
        wgmma_end();
        tokens += matmul_tokens(s) * 128;
    }
}

/* As matmul_run of matmul.h. */
DEVICE void matmul_run(const struct matmul *m, struct matmul_shape s, int8_t *shared,
                       struct matrix_outputs (*c)[MATMUL_ROW_TILES])
{
    UNROLL for (uint32_t t = 0; t < s.tiles; t++)
    {
        UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
        {
            c[t][0].c[i] = 0;
        }
    }
    shared += -(uintptr_t)shared % WGMMA_ALIGN;
    uint32_t n_units = m->stride / 128;
    uint32_t n_steps = (n_units + s.k_groups * s.units - 1) / (s.k_groups * s.units);
    uint32_t stage_bytes = wgmma_stage_bytes(s);
    const struct wgmma_thread t = wgmma_thread(m, s);
    UNROLL for (uint32_t i = 0; i < s.stages - 1; i++)
    {
        if (i < n_steps) {
            wgmma_copy_weights(m, s, &t, i, shared + i * stage_bytes);
        }
    }
    wait_previous();
    UNROLL for (uint32_t i = 0; i < s.stages - 1; i++)
    {
        if (i < n_steps) {
            wgmma_copy_tokens(m, s, &t, i, shared + i * stage_bytes);
        }
        copy_commit();
    }
    uint32_t stage = 0;
    for (uint32_t step = 0; step < n_steps; step++) {
        copy_wait(s.stages - 2);
        wgmma_see();
        barrier();
        uint32_t ahead = step + s.stages - 1;
        if (ahead < n_steps) {
            int8_t *into = shared + (stage == 0 ? s.stages - 1 : stage - 1) * stage_bytes;
            wgmma_copy_weights(m, s, &t, ahead, into);
            wgmma_copy_tokens(m, s, &t, ahead, into);
        }
        copy_commit();
        uint32_t first = (step * s.k_groups + matmul_k_group(s)) * s.units;
        if (first < n_units) {
            wgmma_units(s, least_u32(s.units, n_units - first), shared + stage * stage_bytes, c);
        }
        stage = stage + 1 == s.stages ? 0 : stage + 1;
    }
}

/* ---- sums of the block in shared memory: [k_groups][tokens][rows + 4], which no two lanes of a store meet ---- */

DEVICE uint32_t wgmma_pitch(struct matmul_shape s)
{
    return matmul_rows(s) + 4;
}

/* All threads; after it, everybody may read. */
DEVICE void wgmma_spread(struct matmul_shape s, struct matrix_outputs (*c)[MATMUL_ROW_TILES],
                         int32_t *sums)
{
    barrier(); /* stages were read */
    int32_t *to = sums +
                  (matmul_k_group(s) * matmul_tokens(s) + matrix_lane() % 4 * 2) * wgmma_pitch(s) +
                  matmul_row_group(s) * 16 + matrix_lane() / 4;
    UNROLL for (uint32_t t = 0; t < s.tiles; t++)
    {
        UNROLL for (uint32_t i = 0; i < MATRIX_OUTPUTS; i++)
        {
            to[(16 * t + i / 4 * 8 + i % 2) * wgmma_pitch(s) + i / 2 % 2 * 8] = c[t][0].c[i];
        }
    }
    barrier();
}

#endif
#endif
