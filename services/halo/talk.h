/* SPDX-License-Identifier: MIT */
/* A conversation with a model: its messages so far, and asking for the next reply. */
#ifndef HALO_HALO_TALK_H
#define HALO_HALO_TALK_H

#include <stdbool.h>
#include <stdint.h>

#include "services/halo/api.h"

struct talk_config {
    const char *base; /* of the API */
    const char *model;
    uint32_t max_tokens; /* 0: the server's default */
    double temperature; /* negative: the server's default */
    bool has_seed;
    uint64_t seed;
    uint32_t timeout_ms; /* for a reply; 0: none */
};

struct talk;

/* config is borrowed. system: NULL or "": none. */
struct talk *talk_new(const struct talk_config *config, const char *system);
void talk_free(struct talk *t);

/* Forgets everything but the system message. */
void talk_reset(struct talk *t);

/* Sets the system message ("" removes it) and forgets the rest. */
void talk_set_system(struct talk *t, const char *system);

/* Says something and passes the reply on piece by piece. What came of it joins the conversation, also
 * when it was cancelled; nothing does when it failed. */
void talk_say(struct talk *t, const char *text, int cancel_fd,
              void (*on_text)(void *ctx, struct str text), void *ctx, struct api_reply *ret_reply);

#endif
