/* SPDX-License-Identifier: MIT */
#include "kernels/kernels.h"

#include <stddef.h>
#include <string.h>

static const struct kernels ref = {
    .isa_name = "ref",
#define KERNEL(name, header) .name = name##_ref,
#include "kernels/kernels.def"
#undef KERNEL
};

static const char *const isa_names[ISA_COUNT] = {"ref", "avx2", "avx512"};

const struct kernels *kernels_get(enum isa level)
{
    return level == ISA_REF ? &ref : NULL;
}

enum isa kernels_best(void)
{
    enum isa best = ISA_REF;
    for (int i = 0; i < ISA_COUNT; i++) {
        if (kernels_get((enum isa)i) != NULL) {
            best = (enum isa)i;
        }
    }
    return best;
}

const char *kernels_isa_name(enum isa level)
{
    return isa_names[level];
}

bool kernels_isa_parse(const char *name, enum isa *ret_level)
{
    for (int i = 0; i < ISA_COUNT; i++) {
        if (strcmp(name, isa_names[i]) == 0) {
            *ret_level = (enum isa)i;
            return true;
        }
    }
    return false;
}
