/* SPDX-License-Identifier: MIT */
/* file: reading whole small files and parts of large ones, with errors in words. */
#ifndef HALO_MODEL_FILE_H
#define HALO_MODEL_FILE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "services/model/why.h"

/* Exactly n bytes at `offset`. ERR_MODEL_FORMAT, with the offset, where the file ends before. */
MUST_CHECK enum err file_read_at(int fd, const char *path, uint64_t offset, void *dst, size_t n,
                                 struct why *why);

/* All of folder/name, at most cap_bytes. ERR_NOT_FOUND when it is not there. */
MUST_CHECK enum err file_load(const char *folder, const char *name, size_t cap_bytes,
                              struct why *why, struct buf *ret_text);

/* folder/name as JSON, the caller's to decref. ERR_NOT_FOUND when it is not there. */
MUST_CHECK enum err file_load_json(const char *folder, const char *name, struct why *why,
                                   json_t **ret_json);

/* folder/name, the caller frees it. */
char *file_join(const char *folder, const char *name);

#endif
