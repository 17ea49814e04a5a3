/* SPDX-License-Identifier: MIT */
/* bench_limits: what this machine can do, measured in the same run and with the same threads as the
 * model, so that a figure of the model can be given as a share of it on a noisy machine, too. */
#ifndef HALO_ENGINE_BENCH_LIMITS_H
#define HALO_ENGINE_BENCH_LIMITS_H

#include <stdint.h>

#include "kernels/kernels.h"
#include "services/engine/pool.h"

struct bench_limits;

/* A buffer of several times the last level cache. */
struct bench_limits *bench_limits_new(struct pool *pool, enum isa isa);
void bench_limits_free(struct bench_limits *l);

/* Of the buffer. */
uint64_t bench_limits_bytes(const struct bench_limits *l);

/* Bytes per second that all threads together read from memory; about 30 ms. */
double bench_limits_read(struct bench_limits *l);

/* Multiply-adds of int8 per second of all threads, in registers: vpmaddubsw and vpaddw on AVX2,
 * vpdpbusd on AVX-VNNI and AVX-512, sdot on NEON. 0 where the instruction set has no such thing. About 10 ms. */
double bench_limits_int8(struct bench_limits *l);

#endif
