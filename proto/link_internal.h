/* SPDX-License-Identifier: MIT */
/* What link.c (a connection) and link_listen.c (the rendezvous) share. */
#ifndef HALO_PROTO_LINK_INTERNAL_H
#define HALO_PROTO_LINK_INTERNAL_H

#include <nng/nng.h>
#include <pthread.h>

#include "proto/link.h"
#include "proto/pipe.h"

enum link_state {
    LINK_IDLE, /* waits for the retry timer, or was closed */
    LINK_GREETING, /* hello sent (dialer only) */
    LINK_CONNECTING, /* waits for the pair0 pipe */
    LINK_UP,
};

/* What nng's threads tell the loop. Carries the generation of the connection it is about; the loop
 * drops events of an older one. */
enum link_event_kind { EV_GREETED, EV_PIPE_UP, EV_PIPE_DOWN, EV_RECEIVED, EV_SENT, EV_DOOMED };

struct queued {
    struct queued *next;
    nng_msg *msg;
};

/* What the callbacks of one pair0 socket know: freed when the socket is closed. */
struct connection {
    struct link *link; /* holds a reference */
    uint32_t generation;
    pthread_mutex_t mutex; /* guards is_cut */
    bool is_cut; /* the loop may be gone: tell nobody */
};

struct link {
    struct link_config config;
    struct link_handler handler;
    struct link_server *server; /* NULL for a dialer */
    struct link *next; /* of the server */
    char *target; /* service that a dialer dials */
    void *user;
    int n_refs; /* loop thread and events under way; changed with atomics */
    uint32_t generation;
    enum link_state state;
    bool is_leaving; /* bye was sent: do not dial again */
    bool is_closed; /* the owner let go */
    bool is_doomed;

    struct pipe *pipe; /* to a peer on this host; else a pair0 socket of nng's */
    nng_socket sock;
    bool has_sock;
    struct connection *connection; /* of a pair0 socket */
    nng_aio *recv_aio; /* also carries the greeting */
    nng_aio *send_aio;
    bool is_sending;
    bool is_greeting_sent;
    struct queued *first;
    struct queued *last;
    size_t queued_bytes;

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

/* Sets size limits and buffers of any of our sockets, and refuses peers of another user. */
enum err link_limit_socket(nng_socket sock, int buffers);

void link_post(struct link *l, uint32_t generation, enum link_event_kind kind, int rv,
               nng_msg *take_msg);

/* Takes the link out of its server's list. */
void link_server_forget(struct link_server *s, struct link *l);

enum err link_err_from_nng(int rv);

#endif
