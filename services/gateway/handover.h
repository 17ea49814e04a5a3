/* SPDX-License-Identifier: MIT */
/* Hand-over: on SIGHUP a gateway whose sockets a manager gave it starts its program anew (the file may
 * be a newer one by then) with the same sockets. Once the new process can serve, it says so through a
 * pipe; the old one names it to systemd (MAINPID=), stops accepting and finishes its replies. If the
 * new one dies before, nothing changes. Loop thread. */
#ifndef HALO_GATEWAY_HANDOVER_H
#define HALO_GATEWAY_HANDOVER_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/loop.h"
#include "services/gateway/listen.h"

struct handover {
    struct loop *loop;
    char *program; /* where our executable is, or was */
    char *const *argv;
    struct loop_watch pipe; /* fd -1: none is under way */
    pid_t pid; /* of the new process; 0 as above */
    int tell_fd; /* of the process that started us; -1: none waits for us */
    void (*done)(void *ctx); /* the new process serves */
    void *ctx;
};

/* `argv`: main's. handover_fini in any case. */
void handover_init(struct handover *h, struct loop *loop, char *const *argv, void (*done)(void *),
                   void *ctx);
void handover_fini(struct handover *h);

/* Starts the new process. ERR_UNSUPPORTED: the sockets are our own, and another process could not bind
 * them; ERR_IN_USE: one is being started already. */
MUST_CHECK enum err handover_start(struct handover *h, const struct listeners *l);

/* Ends a new process that does not serve yet: we end, and nobody would name it to systemd. */
void handover_cancel(struct handover *h);

/* We can serve: tells the process that started us, if one did. */
void handover_tell(struct handover *h);

#endif
