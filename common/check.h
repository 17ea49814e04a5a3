/* SPDX-License-Identifier: MIT */
/* ASSERT says what cannot happen. It stays in release builds: it logs and aborts, and the supervisor
 * starts the process again. Never use it for input. */
#ifndef HALO_COMMON_CHECK_H
#define HALO_COMMON_CHECK_H

_Noreturn void check_failed(const char *what, const char *file, int line);

#define ASSERT(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__))

/* Runs fn(&variable) when the variable goes out of scope. */
#define AUTO(fn) __attribute__((cleanup(fn)))

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
