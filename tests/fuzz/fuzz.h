/* SPDX-License-Identifier: MIT */
/* What the fuzzers share. A fuzzer is a file NAME.c with LLVMFuzzerTestOneInput, a line in meson.build
 * and a folder seeds/NAME; tests/fuzz/run finds it there. The inputs are whole files as a reader of
 * models gets them; what must hold: no crash, no leak, no undefined behaviour, little memory. */
#ifndef HALO_TESTS_FUZZ_FUZZ_H
#define HALO_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "services/model/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory with these bytes: *ret_fd is to be closed, `path` (32 bytes) opens it. */
void fuzz_file(const uint8_t *data, size_t size, char path[32], int *ret_fd);

/* What convert does after opening: checks the shapes, then reads every tensor, if they are few. */
void fuzz_read_all(struct source *s);

#endif
