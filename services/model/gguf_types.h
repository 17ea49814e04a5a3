/* SPDX-License-Identifier: MIT */
/* gguf_types: what the bytes of a GGUF tensor mean.
 *
 * A type is a row of one table: its number, name, weights and bytes per block, bytes in front of each
 * row, bytes behind the whole tensor, and one decoder. Ternary and binary types give exact codes and
 * scales (a weight is code * scale); the others give floats. Layouts, j = element of the block:
 *
 *   F32 0, F16 1, BF16 30
 *   Q4_0 2      32: d:f16 qs[16]; j < 16 low half of byte j, else high half of byte j-16; (q-8)*d
 *   Q8_0 8      32: d:f16 qs:i8[32]
 *   Q4_K 12     256: d:f16 dmin:f16 scales[12] qs[128]; d*scale*q - dmin*min per 32
 *   Q6_K 14     256: ql[128] qh[64] scales:i8[16] d:f16; d*scale*(q-32) per 16
 *   TQ1_0 34    256: qs[48] qh[4] d:f16; base 3 fractions: byte*3^n mod 256, times 3, over 256
 *   TQ2_0 35    256: qs[64] d:f16; two halves, element 32l+m of a half is byte m >> 2l
 *   I2_S 36     the whole tensor: n/4 bytes of codes, f32 scale, 28 bytes of padding; see gguf_i2s
 *   Q1_0 40     32: d:f16 qs[4], of early files; id 40 is another type in llama.cpp, told by its size
 *   Q1_0 41     128: d:f16 qs[16]; bit j set: +d, clear: -d
 *   Q2_0 42     64 (or, in older files, 128: told apart by the tensor's size): d:f16 qs[16 or 32];
 *               element j in byte j/4, bits 2(j%4)
 *   IQ1_BN 134  rows begin with d:f16; 64: ql[12] extra
 *   IQ2_BN 135  rows begin with d:f32; 64: qs[16], element j in byte j%16, bits 2(j/16)
 *   PQ2_0 142   as Q2_0 with 128
 *   PTQ1_0 143  128: qs[24] qh[2] d:f16; TQ1_0's packing with runs of 16 and 8 bytes
 *
 * Code c of two bits is the value c-1; the value 2 (c = 3) is not ternary. */
#ifndef HALO_MODEL_GGUF_TYPES_H
#define HALO_MODEL_GGUF_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "services/model/gguf.h"

enum {
    GGUF_BLOCK_MAX = 256,
};

/* The order of I2_S codes: nothing in a file tells which, so the caller may have to ask. A wrong one
 * decodes without error to a model that talks nonsense. Published files have runs of 128. */
enum gguf_i2s {
    GGUF_I2S_128, /* runs of 128 weights in 32 bytes: weight j in byte j%32, bits 6-2(j/32) */
    GGUF_I2S_64, /* runs of 64 in 16 bytes, quantised on ARM: byte j%16, bits 6-2(j/16) */
    GGUF_I2S_ROWS, /* four rows in a byte per column: row r in bits 6-2(r%4) */
};

struct gguf_type {
    uint32_t id;
    const char *name;
    uint16_t n_block; /* weights in a block */
    uint16_t block_bytes;
    uint8_t row_bytes; /* in front of each row */
    uint8_t tail_bytes; /* behind the tensor */
    bool is_binary; /* codes are -1 and +1 only */
    /* One of the two is set, but for I2_S. n_block values from a block. */
    void (*codes)(const uint8_t *block, int8_t *ret_codes);
    void (*floats)(const uint8_t *block, float *ret_floats);
    uint8_t scale_at; /* where in the block d:f16 lies; of types with rows, in the row's start */
};

/* A tensor seen as rows * cols of one type; made by gguf_matrix_init. */
struct gguf_matrix {
    const struct gguf_type *type;
    const uint8_t *data;
    uint64_t rows; /* the product of all dims but the innermost */
    uint64_t cols;
    uint64_t row_bytes; /* from one row to the next; 0 for I2_S */
    uint64_t size; /* all bytes */
    enum gguf_i2s i2s;
};

/* Finds the type and checks that cols is whole blocks and that the tensor's room in the file is what
 * the type needs (up to the alignment's padding): that tells the two groups of Q2_0 apart and refuses
 * types that share a number. ERR_MODEL_FORMAT or ERR_UNSUPPORTED with the reason in *why. */
MUST_CHECK enum err gguf_matrix_init(struct gguf_matrix *m, const struct gguf *g,
                                     const struct gguf_tensor *t, enum gguf_i2s i2s,
                                     struct why *why);

/* Whether gguf_matrix_codes works: the type is ternary or binary. */
bool gguf_matrix_has_codes(const struct gguf_matrix *m);

/* Weights that share a scale along a row: the block, or cols for types with one scale per row or
 * tensor. */
uint64_t gguf_matrix_group(const struct gguf_matrix *m);

/* The codes of a row, -1, 0, +1, and 2 for a code that is not ternary. row < rows. */
void gguf_matrix_codes(const struct gguf_matrix *m, uint64_t row, int8_t *ret_codes);

/* The scale of group `group` of a row. */
float gguf_matrix_scale(const struct gguf_matrix *m, uint64_t row, uint64_t group);

/* Whether all codes of a group are 0. `codes` is scratch for cols codes. */
bool gguf_matrix_is_zero(const struct gguf_matrix *m, uint64_t row, uint64_t group, int8_t *codes);

/* The weights of a row; for ternary types code * scale, 2 * scale included. */
void gguf_matrix_floats(const struct gguf_matrix *m, uint64_t row, float *ret_floats);

#endif
