/* SPDX-License-Identifier: MIT */
/* What a run directory says about the stack in it, without asking any process: the supervisor's lock
 * and its stack.json. A directory that others can write to is not believed. */
#ifndef HALO_HALO_STACK_INFO_H
#define HALO_HALO_STACK_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { STACK_INFO_WHY_CAP = 512 };

struct stack_info {
    pid_t pid; /* of the supervisor, or 1 for systemd; 0: none runs */
    bool is_systemd; /* systemd runs the stack: only `url` is known */
    bool has_facts; /* stack.json was read: the stack has been ready; else the rest is "" and 0 */
    char *url;
    char *http;
    char *model;
    char *engine_args;
    char *gateway_args;
    char *router_args;
    char *candidate_args;
    uint32_t n_candidates;
    char *build; /* of the supervisor */
    uint32_t n_engines;
    uint64_t started; /* Unix seconds */
};

/* The run directory when the user names none: opt_default_run_dir(), but where no stack runs in that and
 * systemd runs one on this machine, UNITS_RUN. Lives as long as the process. */
const char *stack_info_default_run(void);

/* Whether it is a directory that only we or root can have filled; if not, `why` gets one line with the
 * remedy. */
bool stack_info_trusts(const char *run, char *why, size_t cap_why);

/* Never fails: what cannot be read is not there. */
void stack_info_read(const char *run, struct stack_info *ret_info);
void stack_info_fini(struct stack_info *s);

/* Prints what to do when no stack runs there. */
void stack_info_say_none(const char *run);

#endif
