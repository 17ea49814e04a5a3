/* SPDX-License-Identifier: MIT */
/* Sandbox of a service: once it is ready, it gives up what it does not need any more.
 *
 * sandbox_begin, before there are threads: no program that we start gains rights (no_new_privs), and all
 * capabilities go but those that opening the service's own files and ports may need.
 * sandbox_enter, when all is open: the last capabilities go, and a seccomp filter for all threads lets
 * pass only the system calls of common/sandbox.def. Any other is logged (ev=forbidden-call, with its name)
 * and ends the process, which its manager starts again.
 *
 * The filter is for processes that were taken over: what they may read and write is what is open. The
 * systemd units close the file system and the network as well.
 *
 * Builds with sanitizers need more calls: there the filter stays off, with a line that says so. */
#ifndef HALO_COMMON_SANDBOX_H
#define HALO_COMMON_SANDBOX_H

#include <stdbool.h>

/* Whose filter: one service, and features that need more. */
enum sandbox_rights {
    SANDBOX_GATEWAY = 1,
    SANDBOX_TOKENIZER = 2,
    SANDBOX_ROUTER = 4,
    SANDBOX_ENGINE = 8,
    SANDBOX_GPU = 16, /* a device's driver and its runtime */
    SANDBOX_REMOTE = 32, /* links over TCP */
};

#define SANDBOX_MODES "on|log|off"

/* The row of a service's option table; its struct has `const char *sandbox`. */
#define SANDBOX_ROW(strct)                                                                         \
    OPT_CHOICE_ROW(strct, sandbox, "sandbox", "on", SANDBOX_MODES,                                 \
                   "once ready, give up all rights and system calls that are not needed; log: "    \
                   "forbidden calls are only written to the kernel's audit log")

/* Whether this build can have a filter: none with sanitizers. */
bool sandbox_is_possible(void);

/* mode is one of SANDBOX_MODES. False, after an error line, if the kernel refuses. */
bool sandbox_begin(const char *mode);

/* rights: a set of enum sandbox_rights. False, after an error line, if the kernel refuses. */
bool sandbox_enter(const char *mode, unsigned rights);

#endif
