/* SPDX-License-Identifier: MIT */
/* The verbs of halo-model. They get the words from the verb on and give the exit status: 0, 1 after
 * a failure, 2 after bad usage. */
#ifndef HALO_MODEL_VERBS_H
#define HALO_MODEL_VERBS_H

#define VERB(name, summary) int verb_##name(int argc, char **argv);
#include "services/model/verbs.def"
#undef VERB

#endif
