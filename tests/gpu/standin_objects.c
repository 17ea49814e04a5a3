/* SPDX-License-Identifier: MIT */
/* What the stand-in takes for code objects, in place of those of kernels/hip, for builds that have none. */
#include "kernels/hip/objects.h"

#define HIP_KERNEL(name, args, threads, doc) ".entry halo_" #name "(\n"
static const char TEXT[] = ".version 8.0\n"
#include "kernels/hip/kernels.def"
    ;

const struct hip_object HIP_OBJECTS[] = {
    {"gfx1151", TEXT, sizeof TEXT},
    {"sm_80", TEXT, sizeof TEXT},
    {"sm_90", TEXT, sizeof TEXT},
    {"sm_90a", TEXT, sizeof TEXT},
};
const size_t HIP_N_OBJECTS = sizeof HIP_OBJECTS / sizeof HIP_OBJECTS[0];
