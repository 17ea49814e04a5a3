/* SPDX-License-Identifier: MIT */
/* peer: what the router keeps for any link; the first member of struct engine and struct tokenizer; an
 * operator's link (control.h) has nothing else. */
#ifndef HALO_ROUTER_PEER_H
#define HALO_ROUTER_PEER_H

#include <sys/queue.h>

struct link;

enum peer_kind { PEER_TOKENIZER, PEER_ENGINE, PEER_OPERATOR };

enum {
    PEERS_MAX = 256, /* links that are served at once */
    PEER_NAME_MAX = 63,
};

struct peer {
    TAILQ_ENTRY(peer) peers;
    enum peer_kind kind;
    struct link *link;
    char name[PEER_NAME_MAX + 1]; /* "engine.1": for logs, and to choose between equals */
};

TAILQ_HEAD(peer_list, peer);

#endif
