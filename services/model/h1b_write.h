/* SPDX-License-Identifier: MIT */
/* h1b_write: writes an .h1b file (common/h1b.h) section by section, holding none of it in memory.
 *
 * The bytes go to a temporary file beside the wanted one. h1b_write_finish fills in the table and the
 * hashes, has the file checked by common/h1b.c, syncs it and renames it, so that a file of the wanted
 * name is always whole. The first error sticks: later calls do nothing and give it again. */
#ifndef HALO_MODEL_H1B_WRITE_H
#define HALO_MODEL_H1B_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "common/h1b.h"
#include "services/model/why.h"

struct h1b_write;

/* For exactly n_sections sections. `path` is borrowed until h1b_write_free. */
MUST_CHECK enum err h1b_write_new(const char *path, uint32_t n_sections, struct why *why,
                                  struct h1b_write **ret_writer);

/* Begins a section; ends the one before. dims has n_dims entries, outermost first. */
MUST_CHECK enum err h1b_write_begin(struct h1b_write *w, const char *name, enum h1b_dtype dtype,
                                    uint32_t n_dims, const uint64_t *dims, struct why *why);

/* The next bytes of the section. */
MUST_CHECK enum err h1b_write_bytes(struct h1b_write *w, const void *data, size_t n,
                                    struct why *why);

/* begin and bytes in one, for what is in memory. */
MUST_CHECK enum err h1b_write_whole(struct h1b_write *w, const char *name, enum h1b_dtype dtype,
                                    uint32_t n_dims, const uint64_t *dims, const void *data,
                                    size_t n, struct why *why);

/* Completes the file under its name. *ret_hash is the model hash in hexadecimal, *ret_size the
 * file's size. */
MUST_CHECK enum err h1b_write_finish(struct h1b_write *w, char ret_hash[65], uint64_t *ret_size,
                                     struct why *why);

/* Also removes the temporary file if finish has not succeeded. */
void h1b_write_free(struct h1b_write *w);

#endif
