/* SPDX-License-Identifier: MIT */
/* halo bench: becomes halo-bench, which has its own options and --help. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "services/halo/paths.h"
#include "services/halo/verbs.h"

int verb_bench(int argc, char **argv)
{
    (void)argc;
    char *program = paths_find_binary(NULL, "halo-bench");
    if (program == NULL) {
        (void)fprintf(stderr, "halo bench: halo-bench is not beside halo; build or install it\n");
        return EXIT_FAILURE;
    }
    static char name[] = "halo-bench";
    argv[0] = name;
    (void)execv(program, argv);
    (void)fprintf(stderr, "halo bench: cannot run %s: %s\n", program, strerrordesc_np(errno));
    free(program);
    return EXIT_FAILURE;
}
