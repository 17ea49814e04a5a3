/* SPDX-License-Identifier: MIT */
/* halo bench: becomes halo-bench, which has its own options and --help. */
#include "services/halo/handover.h"
#include "services/halo/verbs.h"

int verb_bench(int argc, char **argv)
{
    (void)argc;
    static char name[] = "halo-bench";
    argv[0] = name;
    return handover("bench", name, argv);
}
