/* SPDX-License-Identifier: MIT */
/* h1b: Halo's native model container, version 5 of the .h1b line.
 *
 * One file holds everything a model needs: configuration, tokenizer, chat template and tensors, each
 * a named section that is used in place from a read-only mapping. All integers are little-endian.
 *
 *   offset  type      field
 *   0x00    u8[4]     magic "H1B\0"
 *   0x04    u32       version = 5                      (versions 1..4: see `halo convert`)
 *   0x08    u64       file_size: the exact size of the file in bytes
 *   0x10    u32       n_sections, 1..65536
 *   0x14    u32       flags = 0; an unknown flag refuses the file
 *   0x18    u64       table_offset: where the section table starts, a multiple of 64
 *   0x20    u8[32]    model hash: SHA-256 over the section table (n_sections * 192 bytes)
 *   0x40              end of the header
 *
 * A section table entry is 192 bytes:
 *   0x00    u8[96]    name, UTF-8, NUL-padded, at least one NUL, unique in the file
 *   0x60    u32       dtype: enum h1b_dtype
 *   0x64    u32       n_dims, 1..4
 *   0x68    u64[4]    dims, outermost first; unused ones are 1
 *   0x88    u64       offset of the first byte, a multiple of 64, at or after the table's end
 *   0x90    u64       size in bytes; it must equal what dtype and dims imply
 *   0x98    u8[32]    SHA-256 of the section's bytes
 *   0xb8    u8[8]     zero
 *
 * The model hash covers every section's hash, so it is the identity of the whole content.
 *
 * Sections (tensor names are those of Hugging Face checkpoints):
 *   "config"                u8[n]   JSON object, see struct model_config in common/model_config.h
 *   "chat_template"         u8[n]   Jinja source; absent for base models
 *   "tokenizer.offsets"     u32[V+1]  token i is bytes [offsets[i], offsets[i+1]) of tokenizer.bytes
 *   "tokenizer.bytes"       u8[n]   the tokens' raw bytes: not the GPT-2 printable form; of SentencePiece
 *                                   models a space for each U+2581 and the one byte for "<0x0A>"
 *   "tokenizer.types"       u8[V]   1 normal, 2 unknown, 3 control, 4 user defined, 5 unused, 6 byte
 *                                   (GGUF's numbers)
 *   "tokenizer.merges"      u32[M,2]  tokenizer_model "bpe": pairs of token ids, best rank first; the
 *                                   result is the token whose bytes are the concatenation
 *   "tokenizer.scores"      F32[V]  tokenizer_model "spm": the pair whose concatenation has the highest
 *                                   score is merged first. Where only merges are known, the token
 *                                   that merge r is the first to make has the score -r
 *   "model.embed_tokens.weight"   F16 [vocab, hidden]; also the LM head when tie_word_embeddings
 *   "lm_head.weight"              F16 [vocab, hidden], only when not tied
 *   "model.norm.weight"           F32 [hidden]
 *   "model.layers.N.input_layernorm.weight", ".post_attention_layernorm.weight"  F32 [hidden]
 *   "model.layers.N.self_attn.attn_sub_norm.weight"   F32 [n_heads*head_dim], architecture bitnet
 *   "model.layers.N.mlp.ffn_sub_norm.weight"          F32 [intermediate], bitnet
 *   "model.layers.N.self_attn.q_norm.weight", ".k_norm.weight"  F32 [head_dim], qwen3
 *   "model.layers.N.self_attn.{q,k,v,o}_proj.weight", "model.layers.N.mlp.{gate,up,down}_proj.weight"
 *                                   T2, T5, S3 or B1 [out, in]: trits t = -1, 0, +1, packed
 *   the same + ".weight_scale" in place of ".weight"  F32 [s], s divides out: row r uses scale
 *                                   r / (out / s); or F32 [out, in / G], G = 64 or 128, G divides
 *                                   in: column c of row r uses scale [r, c / G]. A weight's value is
 *                                   t * scale
 *
 * Packed rows (common/pack.h packs and unpacks them). Units of 128 columns, of 320 for T5, follow each
 * other, and rows follow each other without gaps. The last unit of a row is filled up with columns
 * that count for nothing.
 * T2: 2 bits a trit; 32 bytes a unit: bits 2k..2k+1 of byte m hold t + 1 of column 32k + m of the
 *   unit (k = 0..3, m = 0..31). 3 never occurs. Filled up with t = 0.
 * T5: 1.6 bits a trit; 64 bytes a unit: byte m holds the columns 64k + m (k = 0..4) as the fraction
 *   ceil(256 v / 243), v = sum of (t[k] + 1) * 3^(4 - k). Read: t[0] + 1 = 3f >> 8, then go on with
 *   f = 3f & 255. 13 bytes never occur. Filled up with t = 0.
 * S3: 1.25 bits a trit; one of each four columns 4g..4g+3 is 0, the others are not. 20 bytes a unit
 *   of 32 such groups: nibble g (bytes 0..15, low nibbles are g = 0..15, high ones 16..31) holds z,
 *   the place of the zero, in bits 0..1, and in bits 2 and 3 whether the second and the third of the
 *   other columns differ from the first; bit g of bytes 16..19 (bit g % 8 of byte 16 + g / 8) is set
 *   if the first is -1. Filled up with zero bits.
 * B1: 1 bit, t = -1 or +1; 16 bytes a unit: bit j of byte m is set if column 16j + m of the unit
 *   (j = 0..7, m = 0..15) is +1. Filled up with zero bits.
 *
 * Everything is checked before use: no offset, size or count of a file is trusted. */
#ifndef HALO_COMMON_H1B_H
#define HALO_COMMON_H1B_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

enum h1b_dtype {
    H1B_U8 = 0,
    H1B_U32 = 1,
    H1B_F32 = 2,
    H1B_F16 = 3,
    H1B_T2 = 16,
    H1B_T5 = 17,
    H1B_S3 = 18,
    H1B_B1 = 19,
};

struct h1b_section {
    const char *name;
    enum h1b_dtype dtype;
    uint32_t n_dims;
    uint64_t dims[4];
    const void *data; /* borrowed from the mapping, 64-byte aligned */
    uint64_t size; /* bytes */
};

struct h1b;

enum h1b_verify {
    H1B_VERIFY_TABLE, /* header and section table only */
    H1B_VERIFY_ALL, /* every section's SHA-256 too; reads the whole file once */
};

/* Maps `path` read-only and validates it. On failure returns ERR_IO (cannot open or map),
 * ERR_MODEL_FORMAT (not a version 5 file, or damaged) and writes one line that names the file, the
 * byte offset and what was expected into `why` (cap_why bytes, always terminated). */
MUST_CHECK enum err h1b_open(const char *path, enum h1b_verify verify, char *why, size_t cap_why,
                             struct h1b **ret_h1b);
void h1b_close(struct h1b *h);

/* The section of that name, or NULL. Valid until h1b_close. */
const struct h1b_section *h1b_find(const struct h1b *h, const char *name);

/* All sections in file order; *ret_n receives the count. */
const struct h1b_section *h1b_sections(const struct h1b *h, size_t *ret_n);

/* The model hash as 64 lower-case hexadecimal digits. */
const char *h1b_hash(const struct h1b *h);

uint64_t h1b_file_size(const struct h1b *h);

#endif
