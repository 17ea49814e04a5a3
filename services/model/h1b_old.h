/* SPDX-License-Identifier: MIT */
/* h1b_old: .h1b files of versions 1 to 4 as a source, with the .htok file of the same name beside them.
 *
 *   "H1B\0", i32 version, i32 hidden, ffn, layers, heads, kv_heads, vocab, max_seq, tied, flags;
 *   from version 2 on f32 rope_theta, rms_eps (0 or less, and version 1: 500000 and 1e-5)
 *   f32 embedding[vocab][hidden], final norm[hidden]; then per layer, all without padding:
 *     f32 input_norm, post_attn_norm, attn_sub_norm[hidden] each, 5 * hidden floats of copies,
 *     ffn_sub_norm[ffn]; q, k, v, o, gate, up, down: packed rows, then f32 scales[rows]
 *
 *   version 1, 2   four codes in a byte, lowest bits first; 0, 1, 2 for -1, 0, +1
 *   version 3      Sherry: five bits for four weights, lowest first: bits 0..2 the signs (1 is +1) of the
 *                  three that are not zero, bits 3..4 which one is
 *   version 4      base 3, five trits in a byte, the first least significant; rows padded to 20 columns
 *   flag 0x1       inputs of all projections are rotated: Walsh-Hadamard in blocks of 128, over sqrt(128)
 *   flag 0x2       version 3 for another kernel, the same bytes
 *   flag 0x4       instead of the version's packing groups of 128: f16 scale, 16 bytes of signs, no row scales
 *   flag 0x8       the same with 32 bytes of two-bit codes (3 is 0)
 *
 * The file's size must be exactly what its header says: it has neither names nor checksums. Files with
 * flags 0x4 and 0x8 are Bonsai's: what they leave out (norms of heads, the tokenizer, sometimes the
 * embedding) is taken from the GGUF file of the same name beside them, which must be qwen3. */
#ifndef HALO_MODEL_H1B_OLD_H
#define HALO_MODEL_H1B_OLD_H

#include "services/model/source.h"

bool h1b_old_is_it(const struct source_head *head);
MUST_CHECK enum err h1b_old_open(struct source *s, const struct source_options *options,
                                 struct why *why);

#endif
