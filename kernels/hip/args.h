/* SPDX-License-Identifier: MIT */
/* What passes between the host and the GPU kernels of kernels/hip: the step that the host copies in,
 * the result that it copies out, and one struct of arguments per kernel, given by value. The same
 * bytes for amdgcn, nvptx and a 64-bit host: pointers are device addresses. Plain C and C++.
 *
 * Counts (rows, groups, wanted rows) are read from the step in device memory; grids are only upper
 * bounds, and blocks beyond a count return at once. So a captured graph serves all steps up to its
 * shape, and nothing comes back to the host inside a step.
 *
 * Row i of any activation is row i of the step. plan.h makes the launches; who fills what:
 *   embed      x = embedding[token]
 *   norm       [x += add | x = act(x) * up]; y = rmsnorm; rotation; int8 (q, scale, sum), or y itself
 *   linear     up to three matrices times the same q
 *   few        both for few rows, from x itself, and what follows: y, y += the product, or act(gate) * up
 *   rope       norm of heads, rotation, q in place, k and v into the KV cache
 *   attention  of groups of more rows, after rope: segments into sums, or all of a row into out;  join: sums into out
 *   attention_row  of groups of one row: what rope does, where it was not there; segments, and their sums into out
 *   bounds     of all logits from a copy of the head in 8 bits
 *   head       logits of the wanted rows from the f16 matrix, all or those in question;  top: largest of them, ids and logits
 *   finish     tag and counts into the result, last of all
 *
 * Device memory: weights are T2 rows as in the file (hip_repack_row makes them of other packings), every
 * matrix 256-byte aligned. KV block i of the cache is at i * block_bytes and holds for each layer and KV
 * head its part as kernels/attention lays it out: the bytes of backend_kv_read. */
#ifndef HALO_KERNELS_HIP_ARGS_H
#define HALO_KERNELS_HIP_ARGS_H

#include <stdint.h>

enum {
    HIP_MAX_TOP = 256, /* largest logits of a row that the device sorts out */
    HIP_TOP_CHUNK = 1024, /* logits that one block sorts */
    HIP_TOP_ONE = 8192, /* and of which it takes the largest, where one is wanted of each row */
    HIP_GROUP_ROWS = 16, /* most rows of a group */
    HIP_NO_SUMS = -1,
};

/* ---- the step: one copy to the device ---- */

struct hip_step {
    uint32_t tag; /* any number; comes back in the result */
    uint32_t n_rows;
    uint32_t n_groups;
    uint32_t n_wanted;
};

struct hip_row {
    uint32_t token;
    uint32_t pos;
    uint32_t block; /* KV block of this position */
};

/* Up to HIP_GROUP_ROWS consecutive rows of one sequence at consecutive positions: one task of
 * attention per KV head, or one per KV head and segment where sums_row is not HIP_NO_SUMS. */
struct hip_group {
    uint32_t row0;
    uint32_t n_rows;
    uint32_t pos0; /* of row0 */
    uint32_t first_block; /* place in the block table of the sequence's first KV block */
    int32_t sums_row; /* where the rows' sums lie, in rows of the sums; or HIP_NO_SUMS */
};

struct hip_wanted {
    uint32_t row; /* whose logits are wanted */
    uint32_t n_top; /* so many largest are to be sorted out, up to the shape's top; 0: none */
    /* Where is_drawn: the largest are those of x + gumbel_at(noise, id), kernels/gumbel; the top still
     * has x itself. */
    uint32_t is_drawn;
    uint32_t noise_index;
    uint64_t noise_seed;
    float noise_scale;
    uint32_t padding;
};

/* ---- the result: one copy from the device ---- */

struct hip_result {
    uint32_t tag; /* of the step */
    uint32_t n_wanted;
};

/* Follows struct hip_result: [wanted][top], best first, lowest id first among equals (-0 equals +0; a NaN
 * is below -inf). Places from n_top on are not written. */
struct hip_top {
    uint32_t id;
    float logit;
};

/* ---- arguments ---- */

struct hip_embed_args {
    const struct hip_step *step;
    const struct hip_row *rows;
    const uint16_t *embedding; /* f16 [vocab][n] */
    float *x; /* out: [rows][n] */
    uint32_t *counts; /* set to zero: what blocks of later launches count */
    uint32_t n;
    uint32_t n_counts;
};

enum hip_act { HIP_ACT_NONE, HIP_ACT_RELU2, HIP_ACT_SILU };

struct hip_norm_args {
    const struct hip_step *step;
    const struct hip_wanted *wanted; /* NULL: all rows; else y[i] is of row wanted[i] of x */
    float *x; /* [rows][n]; changed where `add` or `act` is given */
    const float *add; /* [rows][n] or NULL: x += add */
    const float *up; /* [rows][n], with act: x = act(x) * up */
    const float *weight; /* [n] or NULL: no RMSNorm */
    float *y; /* [rows][n]: out, or scratch */
    int8_t *q; /* [rows][q_stride], zero from n on; NULL: y is what is wanted */
    float *scale; /* [rows], or [rows][n / group] */
    int32_t *sum; /* [rows] */
    float eps;
    uint32_t n;
    uint32_t q_stride; /* n rounded up to 128 */
    uint32_t group; /* 0, 64 or 128 */
    uint32_t hadamard; /* block of the rotation before q, or 0 */
    uint32_t act; /* enum hip_act */
};

struct hip_linear_part {
    const uint8_t *codes; /* T2 */
    const float *scales;
    float *y; /* out: [rows][n_rows] */
    uint32_t n_rows;
    uint32_t rows_per_scale;
    uint32_t first_tile; /* of blocks along x */
    uint32_t padding;
};

struct hip_linear_args {
    const struct hip_step *step;
    const int8_t *q;
    const float *x_scale;
    const int32_t *x_sum;
    uint32_t n_cols;
    uint32_t q_stride; /* n_cols rounded up to 128: units of weights * 128 */
    uint32_t group;
    uint32_t n_parts;
    struct hip_linear_part parts[3];
};

/* norm and linear in one. Rows of weights are counted through all parts, or where act is given, pairs of them. */
struct hip_few_args {
    const struct hip_step *step;
    const float *x; /* [rows][n] */
    const float *weight; /* [n] or NULL: no RMSNorm */
    float eps;
    uint32_t n;
    uint32_t q_stride; /* n rounded up to 128 */
    uint32_t n_rows; /* of all parts, or pairs */
    uint32_t block_rows; /* rows of a block, or pairs; times the kernel's tokens 512 at most */
    uint32_t row_waves; /* waves that share a row */
    uint32_t is_added; /* y += instead of y =; one part */
    uint32_t act; /* with it parts[0].y = act(gate) * up */
    uint32_t n_awaited;
    const uint32_t *
        awaited; /* or NULL: starts when n_awaited blocks of the launch ahead have counted themselves here */
    uint32_t *arrived; /* or NULL: where this launch's do */
    struct hip_linear_part
        parts[3]; /* first_tile: the first row, or UINT32_MAX where there is no part */
};

struct hip_rope_args {
    const struct hip_step *step;
    const struct hip_row *rows;
    float *q; /* [rows][n_heads * head_dim], rotated in place */
    const float *k, *v; /* [rows][n_kv_heads * head_dim] */
    const float *q_norm, *k_norm; /* [head_dim] or NULL */
    const float *cos, *sin; /* [context][head_dim / 2] */
    uint8_t *cache;
    uint64_t block_bytes;
    uint64_t layer_offset; /* of the layer's first part in a block */
    uint32_t part_bytes;
    uint32_t n_heads, n_kv_heads, head_dim;
    uint32_t is_int8;
    float eps;
};

struct hip_attention_args {
    const struct hip_step *step;
    const struct hip_group *groups;
    const uint32_t *table; /* KV blocks of all sequences, one list after the other */
    const float *q; /* [rows][n_heads * head_dim] */
    const uint8_t *cache;
    float *sums; /* [sums rows][n_heads][max_segments][attention_sums_stride(head_dim)] */
    uint32_t *arrivals; /* [sums rows * n_heads]: blocks that have come; zero between launches */
    float *out; /* [rows][n_heads * head_dim] */
    uint64_t block_bytes;
    uint64_t layer_offset;
    uint32_t part_bytes;
    uint32_t n_heads, n_kv_heads, head_dim;
    uint32_t max_segments;
    float scale; /* 1 / sqrt((float)head_dim) */
    uint32_t n_shared; /* query heads of a KV head */
    uint32_t splits; /* blocks that share them; a divisor */
    uint32_t each; /* query heads of a block */
    uint32_t queries; /* of a KV head that a block does at a time, in groups of more rows */
    uint32_t ring; /* chunks of K and V under way: a divisor of a tile's */
};

/* Groups of one row. */
struct hip_attention_row_args {
    struct hip_attention_args attention;
    struct hip_rope_args rope;
    uint32_t is_fused; /* q, k and v are as the matrices left them; else rope has been there */
    uint32_t padding;
};

/* A hidden vector in 15 bits, and how it bounds logits: kernels/planes. */
struct hip_head_input {
    float xs, a, b;
    float padding;
};

struct hip_head_args {
    const struct hip_step *step;
    const struct hip_wanted *wanted;
    const uint16_t *head; /* f16 [n_vocab][n] */
    const float *h; /* [wanted][n] */
    float *logits; /* out: [wanted][n_vocab] */
    const float *
        upper; /* [wanted][n_vocab] or NULL: all logits; else -inf for those that cannot be among */
    const struct hip_top *least; /* the n_top largest lower bounds, [wanted][top] */
    /* head_ask lists what is in question, and head_pairs does it: token * n_vocab + row each, in any order. */
    uint32_t *pairs, *n_pairs;
    uint32_t n;
    uint32_t n_vocab;
    uint32_t top;
    uint32_t n_blocks; /* of head_pairs */
};

struct hip_bounds_args {
    const struct hip_step *step;
    const float *h; /* [wanted][n] */
    int8_t *high, *low; /* [wanted][stride]: p = 128 high + low */
    struct hip_head_input *input; /* [wanted] */
    uint32_t *n_pairs; /* out: 0 */
    const int8_t *head8; /* [n_vocab][stride] */
    const float *scale, *err, *norm; /* [n_vocab] */
    float *lower, *upper; /* out: [wanted][n_vocab] */
    uint32_t n;
    uint32_t stride; /* n rounded up to 128 */
    uint32_t n_vocab;
    uint32_t padding;
};

struct hip_top_args {
    const struct hip_step *step;
    const struct hip_wanted *wanted;
    const float *logits; /* [wanted][n_vocab] */
    uint64_t *keys; /* between the kernels: [wanted][n_chunks][top] */
    struct hip_top *tops; /* out: [wanted][top] */
    uint32_t n_vocab;
    uint32_t n_chunks;
    uint32_t top;
};

struct hip_finish_args {
    const struct hip_step *step;
    struct hip_result *result;
};

union hip_args {
    struct hip_embed_args embed;
    struct hip_norm_args norm;
    struct hip_linear_args linear;
    struct hip_few_args few;
    struct hip_rope_args rope;
    struct hip_attention_args attention;
    struct hip_attention_row_args attention_row;
    struct hip_head_args head;
    struct hip_bounds_args bounds;
    struct hip_top_args top;
    struct hip_finish_args finish;
};

#endif
