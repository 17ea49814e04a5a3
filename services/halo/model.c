/* SPDX-License-Identifier: MIT */
/* halo convert, halo inspect: become halo-model, which has these verbs. */
#include <stddef.h>
#include <string.h>

#include "common/mem.h"
#include "services/halo/handover.h"
#include "services/halo/verbs.h"

/* argv is that of the verb; in front of it goes the program's name. */
static int become_halo_model(int argc, char **argv)
{
    static char name[] = "halo-model";
    char **words = mem_zalloc((size_t)argc + 2, sizeof(char *));
    words[0] = name;
    memcpy(&words[1], argv, (size_t)argc * sizeof(char *));
    return handover(argv[0], name, words);
}

int verb_convert(int argc, char **argv)
{
    return become_halo_model(argc, argv);
}

int verb_inspect(int argc, char **argv)
{
    return become_halo_model(argc, argv);
}
