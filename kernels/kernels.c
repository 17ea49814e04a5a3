/* SPDX-License-Identifier: MIT */
/* The variant tables. KERNELS_X86 and KERNELS_ARM say which libraries the build has; whether the
 * processor and the operating system run them is asked at run time, so one program starts anywhere. */
#include "kernels/kernels.h"

#include <stddef.h>
#include <string.h>

#if KERNELS_X86
#include <cpuid.h>
#endif
#if KERNELS_ARM
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

static const char *const isa_names[ISA_COUNT] = {"ref", "avx2", "avxvnni", "avx512", "neon"};

static const struct kernels ref = {
    .isa_name = "ref",
#define KERNEL(name, header) .name = name##_ref,
#include "kernels/kernels.def"
#undef KERNEL
};

#if KERNELS_X86
static const struct kernels avx2 = {
    .isa_name = "avx2",
#define KERNEL(name, header) .name = name##_avx2,
#include "kernels/kernels.def"
#undef KERNEL
};

static const struct kernels avxvnni = {
    .isa_name = "avxvnni",
#define KERNEL(name, header) .name = name##_avx2,
#define KERNEL_VNNI(name, header) .name = name##_avxvnni,
#include "kernels/kernels.def"
#undef KERNEL
};

static const struct kernels avx512 = {
    .isa_name = "avx512",
#define KERNEL(name, header) .name = name##_avx512,
#include "kernels/kernels.def"
#undef KERNEL
};

/* __builtin_cpu_supports also checks that the system saves the wide registers. */
static bool has_avx2(void)
{
    unsigned eax, ebx, ecx, edx;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

static bool has_avxvnni(void)
{
    unsigned eax, ebx, ecx, edx;
    return has_avx2() && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & 1u << 4);
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512vnni");
}
#endif

#if KERNELS_ARM
static const struct kernels neon = {
    .isa_name = "neon",
#define KERNEL(name, header) .name = name##_neon,
#include "kernels/kernels.def"
#undef KERNEL
};

static bool has_neon(void)
{
    return getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
}
#endif

const struct kernels *kernels_get(enum isa level)
{
    switch (level) {
    case ISA_REF:
        return &ref;
#if KERNELS_X86
    case ISA_AVX2:
        return has_avx2() ? &avx2 : NULL;
    case ISA_AVXVNNI:
        return has_avxvnni() ? &avxvnni : NULL;
    case ISA_AVX512:
        return has_avx512() ? &avx512 : NULL;
#else
    case ISA_AVX2:
    case ISA_AVXVNNI:
    case ISA_AVX512:
        return NULL;
#endif
#if KERNELS_ARM
    case ISA_NEON:
        return has_neon() ? &neon : NULL;
#else
    case ISA_NEON:
        return NULL;
#endif
    case ISA_COUNT:
        break;
    }
    return NULL;
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
