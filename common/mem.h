/* SPDX-License-Identifier: MIT */
/* Allocation that cannot be meaningfully survived when it fails: small bookkeeping. These log and
 * abort on exhaustion; sizes that a peer or a file controls use malloc and report ERR_NOMEM. */
#ifndef HALO_COMMON_MEM_H
#define HALO_COMMON_MEM_H

#include <stddef.h>

/* n * size zeroed bytes. */
void *mem_zalloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));

/* Resizes to n * size bytes; new bytes are not initialised. */
void *mem_resize(void *take_p, size_t n, size_t size) __attribute__((returns_nonnull));

/* A NUL-terminated copy of len bytes. */
char *mem_strndup(const char *s, size_t len) __attribute__((malloc, returns_nonnull));

/* Frees what is const for everybody but its owner. */
void mem_free_const(const void *p);

/* For AUTO(mem_auto_free) on any pointer variable. */
void mem_auto_free(void *pointer_variable);

#endif
