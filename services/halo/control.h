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

enum { CONTROL_NAME_CAP = 80 };

/* What the operator calls engine@1, engine.1 or 1, as processes call themselves: engine.1. */
void control_settle_name(const char *word, char name[CONTROL_NAME_CAP]);

/* ---- one command ---- */

/* Sends it and waits for the answer. ERR_TIMEOUT: there was none; the rest as the supervisor says.
 * *ret_reply is always set; free it with control_reply_fini. */
enum err control_ask(const char *run, const char *verb, const char *target, uint32_t timeout_ms,
                     struct control_reply *ret_reply);

/* The same to the router; `args` is JSON text of an object, or "". */
enum err control_ask_router(const char *run, const char *verb, const char *target, const char *args,
                            uint32_t timeout_ms, struct control_reply *ret_reply);

void control_reply_fini(struct control_reply *r);

/* ---- several over the same links ---- */

enum control_service { CONTROL_SUPERVISOR, CONTROL_ROUTER, CONTROL_SERVICES };

enum { CONTROL_NEWS_CAP = 700 };

struct control_session;

/* `run` is borrowed. A service is dialled when it is first spoken to. */
MUST_CHECK enum err control_open(const char *run, struct control_session **ret_session);
void control_close(struct control_session *s);

/* As control_ask, to either service; also waits for the link to come up. */
enum err control_say(struct control_session *s, enum control_service service,
                     const struct frame_command *command, uint32_t timeout_ms,
                     struct control_reply *ret_reply);

/* What a service said last without being asked; "" if nothing. Lends. */
const char *control_news(const struct control_session *s);

#endif
