/* SPDX-License-Identifier: MIT */
/* kv_file: published KV blocks in a file, from one engine to the next: to another process that takes
 * over, or over a restart. The file lies in the run directory, which is memory (tmpfs) on servers, with
 * mode 0600; whoever reads it removes it.
 *
 * It begins with what the reader must have in common with the writer (model, KV type, block, the known
 * answer of selfcheck.h, which stands for the numbers that these kernels give). Then comes the index: a
 * row for each block, after that of the block before it; then the bytes of those rows that have any. Head,
 * index and each block carry a checksum. Byte order is the machine's: files do not travel.
 *
 * A file is complete or not there: it is written under another name and renamed. Belongs to the step
 * thread, or to whoever owns scheduler and backend. */
#ifndef HALO_ENGINE_KV_FILE_H
#define HALO_ENGINE_KV_FILE_H

#include <stdint.h>

#include "common/err.h"
#include "services/engine/backend.h"
#include "services/engine/kv.h"

struct kv_file_key {
    const char *model_hash; /* 64 hexadecimal digits */
    enum kv_type kv_type;
    uint64_t known_answer; /* selfcheck's */
};

/* The blocks' owner. */
struct kv_file_cache {
    struct kv *kv;
    struct backend *backend;
    struct kv_file_key key;
};

/* What to write. */
struct kv_file_choice {
    uint64_t cap_bytes; /* at most this, and half of what is free where the file lies */
    uint64_t after; /* bytes of blocks with a later stamp only; of others, the row */
    const uint32_t *tokens; /* not NULL: only the blocks that they begin with */
    uint32_t n_tokens;
    uint64_t tenant;
};

struct kv_file_result {
    uint32_t n_blocks; /* written, or taken in */
    uint64_t n_bytes; /* theirs */
    uint64_t mark; /* written: the last stamp */
    char why[96]; /* not all well: one line */
};

/* Replaces the file at `path`. Nothing is left behind on failure: ERR_IO, ERR_FULL (no room). */
MUST_CHECK enum err kv_file_write(const char *path, const struct kv_file_cache *c,
                                  const struct kv_file_choice *choice,
                                  struct kv_file_result *ret_result);

/* Takes in what free blocks hold, and removes the file. ERR_NOT_FOUND: there is none. ERR_UNSUPPORTED:
 * of another model, type, build or machine. ERR_INVALID: damaged; blocks before the damage are taken.
 * ERR_PERMISSION: not ours alone. */
MUST_CHECK enum err kv_file_read(const char *path, const struct kv_file_cache *c,
                                 struct kv_file_result *ret_result);

#endif
