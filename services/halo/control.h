/* SPDX-License-Identifier: MIT */
/* One command and its answer: to the supervisor over the link at ipc://RUN/supervisor.sock (where systemd
 * runs the stack, units.h answers instead), or to the router. */
#ifndef HALO_HALO_CONTROL_H
#define HALO_HALO_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#include "common/arena.h"
#include "proto/frames.h"

struct control_reply {
    struct arena arena;
    enum err code;
    const char *detail; /* in the arena, as the children's texts */
    struct rec_child *children;
    size_t n_children;
    const char *data; /* JSON text of the router's; "" if none */
};

/* Sends it and waits for the answer. ERR_TIMEOUT: there was none; the rest as the supervisor says.
 * *ret_reply is always set; free it with control_reply_fini. */
enum err control_ask(const char *run, const char *verb, const char *target, uint32_t timeout_ms,
                     struct control_reply *ret_reply);

/* The same to the router; `args` is JSON text of an object, or "". */
enum err control_ask_router(const char *run, const char *verb, const char *target, const char *args,
                            uint32_t timeout_ms, struct control_reply *ret_reply);

void control_reply_fini(struct control_reply *r);

#endif
