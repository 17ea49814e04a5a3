/* SPDX-License-Identifier: MIT */
/* The kernels compiled for each GPU, inside the program. Empty where it was built without clang-19. */
#ifndef HALO_KERNELS_HIP_OBJECTS_H
#define HALO_KERNELS_HIP_OBJECTS_H

#include <stddef.h>

struct hip_object {
    const char *arch; /* "gfx1151": an ELF code object; "sm_90": PTX text, ends with a NUL */
    const void *data; /* 4096-byte aligned */
    size_t size;
};

extern const struct hip_object HIP_OBJECTS[];
extern const size_t HIP_N_OBJECTS;

#endif
