/* SPDX-License-Identifier: MIT */
/* Starting a supervisor and following it: a line for each process that gets ready, the reason when
 * the start fails. */
#ifndef HALO_HALO_LAUNCH_H
#define HALO_HALO_LAUNCH_H

#include <stdbool.h>

enum {
    LAUNCH_PROBE_MS = 20,
    LAUNCH_PROBES = 1500, /* then the start has failed */
};

struct launch_config {
    const char *run; /* run directory; absolute */
    const char *supervisor; /* path of halo-supervisor */
    char *const *argv; /* its arguments from argv[0] on, NULL-terminated */
    bool is_detached; /* leave it running once it is ready, else stay until it ends */
    bool (*is_serving)(void *ctx); /* asked every LAUNCH_PROBE_MS once the processes are ready */
    void (*ready)(void *ctx); /* it serves: prints what the user can do now */
    void *ctx;
};

/* Returns the exit status for the verb. SIGINT and SIGTERM stop the stack. */
int launch_run(const struct launch_config *config);

#endif
