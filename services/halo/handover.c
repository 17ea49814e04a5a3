/* SPDX-License-Identifier: MIT */
#include "services/halo/handover.h"
#include "common/paths.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int handover(const char *verb, const char *program, char **argv)
{
    char *path = paths_find_binary(NULL, program);
    if (path == NULL) {
        (void)fprintf(stderr, "halo %s: %s is not beside halo; build or install it\n", verb,
                      program);
        return EXIT_FAILURE;
    }
    (void)execv(path, argv);
    (void)fprintf(stderr, "halo %s: cannot run %s: %s\n", verb, path, strerrordesc_np(errno));
    free(path);
    return EXIT_FAILURE;
}
