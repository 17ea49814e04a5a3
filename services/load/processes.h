/* SPDX-License-Identifier: MIT */
/* processes: how much processor time the measured processes take, and how long they wait for it. */
#ifndef HALO_LOAD_PROCESSES_H
#define HALO_LOAD_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/loop.h"

enum { PROCESSES_MAX = 64 };

struct processes {
    struct process {
        char name[32];
        pid_t pid;
        uint64_t before_ns;
        uint64_t used_ns; /* between processes_begin and processes_end */
        uint64_t waited_before_ns;
        uint64_t waited_ns; /* in which its threads could have run, but others did */
        uint64_t memory_bytes; /* resident, at the end */
        bool is_lost; /* it ended in between */
    } list[PROCESSES_MAX];
    size_t n;
};

void processes_add(struct processes *p, const char *name, pid_t pid);

/* Adds those of the stack in that run directory, as its supervisor names them. False if it does not
 * answer within a second. */
bool processes_add_stack(struct processes *p, struct loop *loop, const char *run);

void processes_begin(struct processes *p);
void processes_end(struct processes *p);

#endif
