/* SPDX-License-Identifier: MIT */
/* options: what the operator asked halo-tokenizer for. */
#ifndef HALO_TOKENIZER_OPTIONS_H
#define HALO_TOKENIZER_OPTIONS_H

#include <stdbool.h>

struct options {
    const char *run;
    const char *log_level;
    const char *sandbox;
    const char *model;
    bool does_encode;
};

/* Parses the command line. False when the program should end with *ret_exit. */
bool options_parse(struct options *o, int argc, char **argv, int *ret_exit);

#endif
