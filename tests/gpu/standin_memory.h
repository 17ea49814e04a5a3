/* SPDX-License-Identifier: MIT */
/* standin_memory: the stand-in's device memory and pinned host memory, with guards. */
#ifndef HALO_TESTS_GPU_STANDIN_MEMORY_H
#define HALO_TESTS_GPU_STANDIN_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum standin_place { STANDIN_DEVICE, STANDIN_HOST };

/* NULL when the heap is exhausted. The contents are poison. */
void *standin_memory_new(enum standin_place place, size_t bytes);

/* Aborts if p is no allocation of that place, or if a guard was written over. */
void standin_memory_free(enum standin_place place, void *p);

/* Aborts, naming `what`, unless [p, p + bytes) lies within one live allocation of that place. */
void standin_memory_check(enum standin_place place, const void *p, size_t bytes, const char *what);

/* Aborts if a guard was written over. */
void standin_memory_check_guards(const char *when);

size_t standin_memory_used(enum standin_place place);
size_t standin_memory_n_live(void);

_Noreturn void standin_die(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
