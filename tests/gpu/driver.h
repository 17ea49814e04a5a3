/* SPDX-License-Identifier: MIT */
/* driver: what tests/gpu/run builds for a machine with a GPU: first are the bits right, then how fast is
 * it. Needs libc, libdl and threads; models have random weights. */
#ifndef HALO_TESTS_GPU_DRIVER_H
#define HALO_TESTS_GPU_DRIVER_H

#include <stdbool.h>
#include <stdint.h>

#include "services/engine/hip_device.h"
#include "services/engine/kv.h"

/* Compares the logits of a random model of that shape and packing (bench_model.h) with the CPU's, bit for
 * bit: a prompt in chunks, then sequences together. Prints a line; false if any differ. */
bool driver_check_bits(struct hip_device *d, const char *shape, const char *packing,
                       enum kv_type kv_type);

/* Prints tokens/s of decode and prefill beside the floors, and the time of each kernel of a step. With
 * is_tiny a small model and few runs. `only` is one of decode1, decode8, decode64 and prefill, or NULL: all.
 * False when the GPU fails. */
bool driver_measure(struct hip_device *d, bool is_tiny, const char *only);

#endif
