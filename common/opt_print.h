/* SPDX-License-Identifier: MIT */
/* What is printed from an option table besides its values: help, a manual page, the words for a shell's
 * completion. Used by opt.c. */
#ifndef HALO_COMMON_OPT_PRINT_H
#define HALO_COMMON_OPT_PRINT_H

#include "common/opt.h"

void opt_print_help(const struct opt_program *p);

/* roff for man(7), section 1. */
void opt_print_man(const struct opt_program *p);

/* Each option on a line, "--name" or "--name=a|b" where only some values are allowed. */
void opt_print_words(const struct opt_program *p);

/* Text in lines of at most 96 columns; each begins with `margin`, the first one excepted. */
void opt_print_wrapped(const char *text, const char *margin);

#endif
