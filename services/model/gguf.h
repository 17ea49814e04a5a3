/* SPDX-License-Identifier: MIT */
/* gguf: reads the container of GGUF files, versions 2 and 3 (little-endian), from a read-only mapping.
 *
 *   "GGUF", u32 version, u64 n_tensors, u64 n_values,
 *   n_values  * { string key, u32 type, value }
 *   n_tensors * { string name, u32 n_dims, u64 dims[n_dims] (innermost first), u32 type, u64 offset }
 *   padding to general.alignment (32 when absent), then the tensors' bytes.
 *   A string is a u64 length and that many bytes; an array is u32 item type, u64 count, the items.
 *
 * This module knows the container only: what tensor types mean is services/model/gguf_types.h, what
 * keys mean is services/model/gguf_source.h. Every count, offset and length is checked against the
 * file before it is used and before anything is allocated for it; keys and tensor names are unique.
 * Everything that it lends points into the mapping and is valid until gguf_close. */
#ifndef HALO_MODEL_GGUF_H
#define HALO_MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"
#include "services/model/why.h"

enum gguf_kind {
    GGUF_U8 = 0,
    GGUF_I8 = 1,
    GGUF_U16 = 2,
    GGUF_I16 = 3,
    GGUF_U32 = 4,
    GGUF_I32 = 5,
    GGUF_F32 = 6,
    GGUF_BOOL = 7,
    GGUF_STRING = 8,
    GGUF_ARRAY = 9,
    GGUF_U64 = 10,
    GGUF_I64 = 11,
    GGUF_F64 = 12,
};

enum {
    GGUF_DIMS_MAX = 4,
    GGUF_VALUES_MAX = 65536,
    GGUF_TENSORS_MAX = 16384,
    GGUF_NAME_MAX = 255, /* bytes of a tensor's name */
    GGUF_KEY_MAX = 1024,
};

struct gguf_value {
    struct str key;
    enum gguf_kind kind;
    enum gguf_kind item_kind; /* of an array */
    uint64_t n_items; /* of an array */
    const uint8_t *data; /* the value; of an array its first item; of a string its length field */
};

struct gguf_tensor {
    struct str name;
    uint32_t n_dims;
    uint64_t dims[GGUF_DIMS_MAX]; /* innermost first, each at least 1; unused ones are 1 */
    uint64_t n_weights; /* the product */
    uint32_t type;
    uint64_t offset; /* in the file */
    const uint8_t *data;
    uint64_t room; /* bytes from data to the next tensor or the end of the file */
};

struct gguf;

/* Maps and checks `path`. On failure returns ERR_IO, ERR_MODEL_FORMAT, ERR_UNSUPPORTED (big-endian,
 * version 1, one part of several) or ERR_NOMEM and says in *why what was expected at which offset. */
MUST_CHECK enum err gguf_open(const char *path, struct why *why, struct gguf **ret_gguf);

/* The same for bytes in memory, borrowed until gguf_close; `path` is only for messages. */
MUST_CHECK enum err gguf_open_bytes(const void *bytes, size_t n, const char *path, struct why *why,
                                    struct gguf **ret_gguf);
void gguf_close(struct gguf *g);

/* Whether these first bytes of a file say GGUF. */
bool gguf_is_magic(const void *bytes, size_t n);

const char *gguf_path(const struct gguf *g);

/* general.alignment: tensors start at multiples of it. */
uint32_t gguf_alignment(const struct gguf *g);

/* NULL when there is none of that name. */
const struct gguf_value *gguf_find(const struct gguf *g, const char *key);
const struct gguf_tensor *gguf_find_tensor(const struct gguf *g, const char *name);

/* All of them in file order. */
const struct gguf_value *gguf_values(const struct gguf *g, size_t *ret_n);
const struct gguf_tensor *gguf_tensors(const struct gguf *g, size_t *ret_n);

/* The value of a key. ERR_MISSING without the key; ERR_TYPE when it is of another kind (numbers convert
 * where the value stays the same); *ret is untouched then. */
MUST_CHECK enum err gguf_get_u64(const struct gguf *g, const char *key, uint64_t *ret);
MUST_CHECK enum err gguf_get_f64(const struct gguf *g, const char *key, double *ret);
MUST_CHECK enum err gguf_get_bool(const struct gguf *g, const char *key, bool *ret);
MUST_CHECK enum err gguf_get_str(const struct gguf *g, const char *key, struct str *ret);

/* The items of an array, one after the other. */
struct gguf_items {
    enum gguf_kind kind;
    uint64_t n_left;
    const uint8_t *at;
};

/* ERR_MISSING without the key, ERR_TYPE when it is no array. */
MUST_CHECK enum err gguf_get_items(const struct gguf *g, const char *key, struct gguf_items *ret);

/* The next item; false at the end or when the items are of another kind. */
bool gguf_next_str(struct gguf_items *items, struct str *ret);
bool gguf_next_i64(struct gguf_items *items, int64_t *ret);
bool gguf_next_f64(struct gguf_items *items, double *ret);

#endif
