/* SPDX-License-Identifier: MIT */
#include "tests/kernels/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

uint32_t check_random(struct check_rng *rng)
{
    rng->state = rng->state * 6364136223846793005u + 1442695040888963407u;
    uint64_t x = rng->state;
    x ^= x >> 29;
    x *= 0x9fb21c651e98df25u;
    return (uint32_t)(x >> 32);
}

int check_rounds(int n)
{
    return getenv("HALO_EMULATED") == NULL ? n : n / 5;
}

size_t check_between(struct check_rng *rng, size_t lo, size_t hi)
{
    return lo + check_random(rng) % (hi - lo + 1);
}

static float from_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

float check_float(struct check_rng *rng, enum check_kind kind)
{
    uint32_t u = check_random(rng);
    uint32_t sign = u & 0x80000000;
    switch (kind) {
    case CHECK_NORMAL:
        return ((float)(u >> 8) - 0x1p+23f) * 0x1p-21f;
    case CHECK_ZEROS:
        return from_bits(sign);
    case CHECK_EQUAL:
        return 0.75f;
    case CHECK_TINY:
        return from_bits(sign | (u & 0x00ffffff));
    case CHECK_HUGE:
        return from_bits(sign | (0x7f7fffff - (u & 0x0fffffff) % 0x03000000));
    case CHECK_WIDE:
        return from_bits(sign | (u & 0x7fffffff) % 0x7f800000);
    case CHECK_ANY_BITS:
        return from_bits(check_random(rng) % 4 == 0 ? sign | 0x7f800000 | (u & 1) << 22 : u);
    case CHECK_KINDS:
        break;
    }
    abort();
}

static uint32_t to_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

void *check_alloc(size_t size)
{
    void *p = malloc(size > 0 ? size : 1);
    if (p == NULL) {
        abort();
    }
    return p;
}

float *check_floats(struct check_rng *rng, size_t n, enum check_kind kind)
{
    float *x = check_alloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = check_float(rng, kind);
    }
    return x;
}

uint16_t *check_halves(struct check_rng *rng, size_t n, bool is_any)
{
    uint16_t *x = check_alloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        uint32_t u = check_random(rng);
        x[i] = (uint16_t)(is_any ? u : (u & 0x8000) | (u & 0x7fff) % 0x7c00);
    }
    return x;
}

void check_same_floats(const float *got, const float *want, size_t n, const char *isa_name)
{
    for (size_t i = 0; i < n; i++) {
        if (to_bits(got[i]) != to_bits(want[i]) && !(isnan(got[i]) && isnan(want[i]))) {
            fail_msg("%s: element %zu of %zu is %a, ref has %a", isa_name, i, n, (double)got[i],
                     (double)want[i]);
        }
    }
}

void check_each_isa(void (*test)(const struct kernels *k, const struct kernels *ref))
{
    for (int level = ISA_REF + 1; level < ISA_COUNT; level++) {
        const struct kernels *k = kernels_get((enum isa)level);
        if (k == NULL) {
            printf("# no %s here\n", kernels_isa_name((enum isa)level));
            continue;
        }
        test(k, kernels_get(ISA_REF));
    }
}
