/* SPDX-License-Identifier: MIT */
/* The interactive side of `halo chat`: a line editor with history (libedit), commands, and replies
 * that Ctrl-C ends without ending the conversation. Needs a terminal. */
#ifndef HALO_HALO_REPL_H
#define HALO_HALO_REPL_H

#include "services/halo/talk.h"

/* Runs until /quit or Ctrl-D; returns the exit status. with_stats: a line of figures per reply. */
int repl_run(struct talk *talk, bool with_stats);

/* Prints a piece of a reply; control characters but newlines and tabs do not reach a terminal. */
void repl_print_text(void *ctx, struct str text);

/* The line of figures. */
void repl_print_stats(const struct api_reply *r);

#endif
