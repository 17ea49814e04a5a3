/* SPDX-License-Identifier: MIT */
/* children: processes of the stack that are started for a measurement, in a run directory of their own
 * under $TMPDIR, and stopped after it. What they print goes to files there. */
#ifndef HALO_LOAD_CHILDREN_H
#define HALO_LOAD_CHILDREN_H

#include <stdbool.h>
#include <sys/types.h>

#include "services/load/processes.h"

enum { CHILDREN_MAX = 8 };

/* Zeros are none, without a directory. */
struct children {
    char run[72];
    const char *bin; /* where the programs are; NULL: beside this one */
    struct {
        const char *program;
        pid_t pid;
    } list[CHILDREN_MAX];
    size_t n;
};

/* Makes the directory. False, and a line on stderr, if that is not possible. */
bool children_init(struct children *c, const char *bin);

/* Kills them, waits for them, removes the directory. */
void children_fini(struct children *c);

/* Starts "halo-<service>" with --run, the NULL-terminated arguments and then the words of `more` (may be
 * NULL). False, and a line on stderr, if it does not start. */
bool children_start(struct children *c, const char *service, const char *const *args,
                    const char *more, struct processes *processes);

/* Whether all still run; if not, prints the end of what the dead one said. */
bool children_are_alive(const struct children *c);

/* Copies what follows `mark`, to the next blank, in what the service has printed. False if it is not
 * there. */
bool children_find(const struct children *c, const char *service, const char *mark, char *ret,
                   size_t cap);

/* A child begins as this program once more, called with these arguments: it asks to be killed when we
 * die, however that happens, and becomes the service. Returns only if that fails, with the exit status. */
bool children_is_stub(int argc, char **argv);
int children_stub(char **argv);

#endif
