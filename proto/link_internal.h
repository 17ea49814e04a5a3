/* SPDX-License-Identifier: MIT */
/* What link.c (a connection), link_listen.c (the rendezvous) and link_remote.c (peers on other machines)
 * share. */
#ifndef HALO_PROTO_LINK_INTERNAL_H
#define HALO_PROTO_LINK_INTERNAL_H

#include <nng/nng.h>

#include "proto/link.h"
#include "proto/pipe.h"
#include "proto/tls.h"

struct dial;
struct remote_door;

enum {
    LINK_DETAIL_CAP = 200, /* of a refusal */
    LINK_REMOTE_MS = 3000, /* from the call to the welcome, between machines */
};

enum link_state {
    LINK_IDLE, /* waits for the retry timer, or was closed */
    LINK_GREETING, /* hello sent, or, called from another machine, awaited */
    LINK_CONNECTING, /* waits for the pipe */
    LINK_UP,
};

/* What nng's threads tell the loop. Carries the generation of the connection it is about; the loop
 * drops events of an older one. */
enum link_event_kind { EV_GREETED, EV_DOOMED };

/* The least that a clock was behind ours when its word arrived: of this minute, and of the last one, because
 * clocks drift. */
struct clock_gap {
    int64_t now_ns;
    int64_t last_ns;
    uint64_t since_ms; /* 0: nothing is known */
};

struct link {
    struct link_config config;
    struct link_handler handler;
    struct link_server *server; /* NULL for a dialer */
    struct link *next; /* of the server */
    char *target; /* service that a dialer dials */
    struct dial *dial; /* or where it is on another machine (link_remote.c) */
    char *address; /* of a peer on another machine; NULL on this one */
    void *user;
    int n_refs; /* loop thread and events under way; changed with atomics */
    uint32_t generation;
    enum link_state state;
    bool is_leaving; /* bye was sent: do not dial again */
    bool is_closed; /* the owner let go */
    bool is_doomed;

    struct pipe *pipe;
    nng_socket sock; /* of the greeting */
    bool has_sock;
    nng_aio *greet_aio;
    bool is_greeting_sent;

    struct loop_watch death; /* pidfd of the peer while up; -1 if there is none */
    struct loop_timer beat_timer;
    struct loop_timer retry_timer; /* also bounds greeting, connecting and bye */
    unsigned n_timeouts; /* in a row, waiting for the pipe */
    unsigned n_faults; /* of the peer: frames that are none */
    uint64_t up_ms; /* since when */
    uint64_t n_sent; /* frames since then: see frames.def */
    uint64_t n_received;
    uint64_t beat_due_ms;
    uint64_t heard_ms;
    uint64_t n_heard; /* bytes, at the last beat */
    uint64_t peer_progress;
    uint64_t peer_progress_ms;
    bool peer_is_busy;

    char *peer_service;
    char *peer_instance;
    char *peer_build;
    char *peer_path; /* the pair socket's file, unlinked once connected (listener only) */
    uint64_t peer_epoch;
    uint32_t peer_pid;
    uint32_t peer_protocol;
    struct clock_gap gap; /* to the clock of its machine */

    struct arena arena;
    struct buf scratch;
};

struct link_server {
    struct link_config config;
    struct link_handler handler;
    struct link *links;
    struct remote_door *remote; /* NULL: no other machines */
    nng_socket sock;
    bool has_sock;
    struct door *door;
    nng_aio *aio;
    struct loop_task task; /* one hello is handled at a time */
    struct loop_task free_task;
    bool is_closed;
    uint32_t serial;
    struct arena arena;
    struct buf scratch;
};

struct link *link_new(const struct link_config *config, const struct link_handler *handler);
void link_unref(struct link *l);

/* Begin to connect to a peer: to the address of its welcome, or as it who was welcomed at a path. */
enum err link_connect(struct link *l, const char *address);
enum err link_await(struct link *l, const char *path);

/* Keeps who the peer is, from its hello or welcome. */
void link_set_peer(struct link *l, struct str service, struct str instance, struct str build,
                   uint64_t epoch, uint32_t pid);

/* Sets the size limits of any of our sockets, and refuses peers of another user. */
enum err link_limit_socket(nng_socket sock);

void link_post(struct link *l, uint32_t generation, enum link_event_kind kind, int rv,
               nng_msg *take_msg);

/* Takes the link out of its server's list. */
void link_server_forget(struct link_server *s, struct link *l);

enum err link_err_from_nng(int rv);

/* hello as this link says it. */
struct frame_hello link_hello(const struct link *l);

/* Why a hello is refused: a line in `detail` (LINK_DETAIL_CAP bytes). False: it is welcome. */
bool link_refuses_hello(const struct link_config *config, const struct frame_hello *h,
                        char *detail);

struct frame_welcome link_welcome(const struct link_config *config, const char *address);

/* What becomes of a dialing link that was refused: it comes again later. */
void link_take_refusal(struct link *l, const struct frame_refuse *r);

/* Everything is said: from now on the owner's frames. */
void link_go_up(struct link *l);

/* Pipe events of a link. */
struct pipe_events link_pipe_events(struct link *l);

/* ---- link_remote.c ----------------------------------------------------------------------------- */

bool link_is_remote(const struct link *l);

/* Begins to connect; how it goes on comes as events of the pipe. */
void link_remote_start(struct link *l);

/* Events of a link that is not up: the pipe is there, says something, or comes to nothing. */
void link_remote_connected(struct link *l);
void link_remote_greeted(struct link *l, const void *data, size_t len);
void link_remote_failed(struct link *l, enum err why);

void link_remote_disconnect(struct link *l);
void link_remote_free(struct dial *d);
void link_remote_close_door(struct remote_door *d);

#endif
