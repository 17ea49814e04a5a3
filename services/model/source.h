/* SPDX-License-Identifier: MIT */
/* source: a model as some file format holds it, in one shape for all formats.
 *
 * A reader (one per format, a row in kinds.def) opens a path, checks everything that the format says
 * about itself, and fills a struct source: the configuration, the tokenizer, the chat template and
 * the list of tensors. Weights stay in the file; they are read by row ranges, as often as wanted, so
 * that a conversion needs memory for a few rows only. What a reader gives:
 *
 *   - Tensor names are those of common/h1b.h (Hugging Face's; 1bitLLM's norms are renamed).
 *   - Rows of q and k are in half-split RoPE order; a reader of another order permutes.
 *   - A linear weight is either floats, or codes -1, 0, +1 with scales; value = code * scale.
 *     What divides by the scale in its own format, gives the inverse.
 *   - Tokens are raw bytes, as "tokenizer.bytes" in common/h1b.h wants them.
 *
 * A reader refuses what it does not understand: unknown architectures, types and patterns by name.
 * Files are input: no offset, size or count of one is trusted. One thread uses a source. */
#ifndef HALO_MODEL_SOURCE_H
#define HALO_MODEL_SOURCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "common/h1b.h"
#include "common/str.h"
#include "services/model/why.h"

enum {
    SOURCE_EOS_MAX = 8,
    SOURCE_VOCAB_MAX = 1 << 20,
    SOURCE_TOKEN_MAX_BYTES = 4096,
};

/* The fields of the "config" section that every model has; see common/model_config.h. */
struct source_config {
    char name[97];
    char architecture[16]; /* "bitnet", "llama", "qwen3" */
    char hidden_act[16]; /* "relu2", "silu" */
    char pre_tokenizer[32];
    char tokenizer_model[8]; /* "bpe", "spm" */
    uint32_t n_vocab;
    uint32_t n_hidden;
    uint32_t n_ffn;
    uint32_t n_layers;
    uint32_t n_heads;
    uint32_t n_kv_heads;
    uint32_t head_dim;
    uint32_t n_ctx;
    double rope_theta;
    double rms_eps;
    bool is_tied;
    bool has_bos;
    bool does_add_bos;
    uint32_t bos_id;
    uint32_t n_eos;
    uint32_t eos_ids[SOURCE_EOS_MAX];
    bool is_trained_ternary; /* the file says that float weights are to be quantised */
    json_t *extra; /* object, owned: further members, e.g. rope_scaling, hadamard_inputs, license */
};

/* Types are those of "tokenizer.types" in common/h1b.h. A struct of zeros is empty and ready. */
struct source_tokenizer {
    struct buf bytes;
    uint32_t *offsets; /* n_tokens + 1; NULL while empty */
    uint8_t *types;
    uint32_t n_tokens;
    uint32_t cap_tokens;
    uint32_t *merges; /* n_merges pairs, best rank first */
    size_t n_merges;
    float *scores; /* n_tokens; only with tokenizer_model "spm" */
};

enum source_tensor_kind {
    SOURCE_FLOATS,
    SOURCE_CODES,
};

struct source_tensor {
    const char *name; /* lent by the source */
    enum source_tensor_kind kind;
    uint64_t rows; /* 1 for a vector */
    uint64_t cols;
    /* Codes only. Scales are [n_scales] with n_scales dividing rows (row r uses scale
     * r / (rows / n_scales)), or, where group is 64 or 128, [rows][cols / group]. */
    uint32_t group;
    uint32_t n_scales;
    enum h1b_dtype native; /* the packing that holds just what the file holds; H1B_T2 if in doubt */
    const char *type; /* the format's own name for it: "BF16", "I2_S" */
    uint64_t offset; /* of its bytes in its file */
    uint64_t n_bytes;
    size_t handle; /* the reader's */
};

struct source;

struct source_ops {
    /* Rows [first, first + n) of a float tensor, row-major, into dst[n * cols]. */
    enum err (*read_floats)(struct source *s, const struct source_tensor *t, uint64_t first,
                            uint64_t n, float *dst, struct why *why);
    /* The same of a code tensor: -1, 0, +1. */
    enum err (*read_codes)(struct source *s, const struct source_tensor *t, uint64_t first,
                           uint64_t n, int8_t *dst, struct why *why);
    /* All scales of a code tensor: n_scales of them, or rows * cols / group. */
    enum err (*read_scales)(struct source *s, const struct source_tensor *t, float *dst,
                            struct why *why);
    /* Frees `impl`; also after a half-way open. */
    void (*close)(struct source *s);
};

/* What the user may tell a reader. Strings may be NULL. */
struct source_options {
    const char *tokenizer; /* a file or folder to take the tokenizer from instead */
    const char *pre_tokenizer; /* the rule for cutting text, where the file's own is not known */
    const char *layout; /* of packed codes, where a file does not say: see `halo convert --help` */
};

struct source {
    const struct source_ops *ops;
    void *impl;
    const char *path; /* lent by the caller of source_open */
    const char *kind; /* "a Hugging Face directory" */
    struct source_config config;
    struct source_tokenizer tokenizer;
    char *chat_template; /* NULL: none; owned */
    struct source_tensor *tensors; /* owned, also freed by source_close */
    size_t n_tensors;
    char hash[65]; /* of an .h1b file of version 5, else "" */
    struct buf notes; /* lines for the user: what was ignored or assumed */
};

/* Recognises the kind by content and opens. *s is storage of the caller, needs no initialisation, and
 * is to be closed after success only. */
MUST_CHECK enum err source_open(struct source *s, const char *path,
                                const struct source_options *options, struct why *why);
void source_close(struct source *s);

/* The tensor of that name or NULL. */
const struct source_tensor *source_find(const struct source *s, const char *name);

/* For readers. Appends a line to the notes. */
void source_note(struct source *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* For readers. Appends a token; its id is the number of tokens before it. */
MUST_CHECK enum err source_add_token(struct source_tokenizer *t, struct str bytes, uint8_t type,
                                     struct why *why);

/* The bytes of a token below n_tokens. */
struct str source_token(const struct source_tokenizer *t, uint32_t id);

/* How many scales read_scales gives. */
uint64_t source_n_scales(const struct source_tensor *t);

/* ---- what a kinds.def row names ---- */

/* The first bytes of a file, or of nothing for a directory. */
struct source_head {
    const char *path;
    bool is_dir;
    uint8_t bytes[16];
    size_t n_bytes;
};

#define KIND(module, title)                                                                        \
    bool module##_is_it(const struct source_head *head);                                           \
    MUST_CHECK enum err module##_open(struct source *s, const struct source_options *options,      \
                                      struct why *why);
#include "services/model/kinds.def"
#undef KIND

#endif
