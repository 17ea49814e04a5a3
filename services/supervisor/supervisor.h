/* SPDX-License-Identifier: MIT */
/* The supervisor as a whole: what it holds (run directory, listening socket, children, control socket)
 * and what happens when children change, all are ready, all are stopped, or we are told to end. */
#ifndef HALO_SUPERVISOR_SUPERVISOR_H
#define HALO_SUPERVISOR_SUPERVISOR_H

#include "services/supervisor/control.h"
#include "services/supervisor/options.h"
#include "services/supervisor/run_dir.h"
#include "services/supervisor/stack.h"

enum { SUPERVISOR_WHY_CAP = 1024 };

struct supervisor {
    struct options options;
    struct plan plan;
    struct run_dir dir;
    struct loop *loop;
    struct stack_config stack_config;
    struct stack *stack;
    struct control *control;
    char *url;
    bool has_failed; /* a process did not start */
};

/* Opens everything; the options are set before and the rest is zeros. All that can fail for the
 * operator before a process runs fails here: `why` gets one line (SUPERVISOR_WHY_CAP bytes). Call
 * supervisor_fini also after a failure. */
MUST_CHECK enum err supervisor_init(struct supervisor *s, char *why);
void supervisor_fini(struct supervisor *s);

/* Starts the children and runs until they are stopped. */
void supervisor_run(struct supervisor *s);

#endif
