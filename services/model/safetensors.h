/* SPDX-License-Identifier: MIT */
/* safetensors: which tensors a .safetensors file holds and where.
 *
 *   u64 n, n bytes of JSON {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...}, the data.
 *
 * Everything is checked: the header's length (at most 100 MB, as the format says), that dtype and shape
 * imply the size of the data, that the tensors cover the data without holes and overlaps. */
#ifndef HALO_MODEL_SAFETENSORS_H
#define HALO_MODEL_SAFETENSORS_H

#include <jansson.h>
#include <stdint.h>

#include "services/model/why.h"

enum {
    SAFETENSORS_DIMS_MAX = 8,
    SAFETENSORS_TENSORS_MAX = 65536,
};

struct safetensors_type {
    const char *name; /* "BF16" */
    uint32_t n_bytes;
};

struct safetensors_tensor {
    const char *name; /* lent */
    const struct safetensors_type *type;
    uint32_t n_dims;
    uint64_t dims[SAFETENSORS_DIMS_MAX];
    uint64_t offset; /* in the file */
    uint64_t n_bytes;
};

struct safetensors {
    json_t *header; /* owns the names */
    struct safetensors_tensor *tensors; /* in the order of the data */
    size_t n_tensors;
};

/* Reads a header that lies in memory: the n first bytes of a file of file_size bytes, the whole header
 * among them unless the file is cut short. `path` is for messages. */
MUST_CHECK enum err safetensors_parse(const char *path, const uint8_t *bytes, size_t n,
                                      uint64_t file_size, struct why *why,
                                      struct safetensors *ret_file);

/* The same from a file; *ret_fd stays open for reading the data. */
MUST_CHECK enum err safetensors_open(const char *path, struct why *why,
                                     struct safetensors *ret_file, int *ret_fd);
void safetensors_fini(struct safetensors *f);

#endif
