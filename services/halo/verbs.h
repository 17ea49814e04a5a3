/* SPDX-License-Identifier: MIT */
/* The verbs of `halo`; each gives the exit status. See verbs.def. */
#ifndef HALO_HALO_VERBS_H
#define HALO_HALO_VERBS_H

#define VERB(name, summary) int verb_##name(int argc, char **argv);
#include "services/halo/verbs.def"
#undef VERB

enum {
    EXIT_BAD_USAGE = 2, /* as opt_parse */
};

#endif
