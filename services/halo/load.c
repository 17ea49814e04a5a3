/* SPDX-License-Identifier: MIT */
/* halo load: becomes halo-load, which has its own options and --help. */
#include "services/halo/handover.h"
#include "services/halo/verbs.h"

int verb_load(int argc, char **argv)
{
    static char name[] = "halo-load";
    (void)argc;
    argv[0] = name;
    return handover("load", name, argv);
}
