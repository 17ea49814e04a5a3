/* SPDX-License-Identifier: MIT */
/* Verbs that are programs of their own. */
#ifndef HALO_HALO_HANDOVER_H
#define HALO_HALO_HANDOVER_H

/* Becomes `program` with these arguments (argv[0] included, NULL at the end). Returns only when it
 * cannot, with the exit status, after a line to stderr that begins with "halo VERB". */
int handover(const char *verb, const char *program, char **argv);

#endif
