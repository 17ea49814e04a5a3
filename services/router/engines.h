/* SPDX-License-Identifier: MIT */
/* engines: the table of engines, and which of them takes a request.
 *
 * An engine is in the table while its link is up; it takes requests once its `engine` frame came. It
 * holds at most max_seqs requests and a margin, so that it can start the next one in the step in which
 * another ends, and the rest can still go elsewhere. */
#ifndef HALO_ROUTER_ENGINES_H
#define HALO_ROUTER_ENGINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "proto/link.h"
#include "services/router/lanes.h"
#include "services/router/peer.h"
#include "services/router/request.h"

enum {
    ENGINE_SEQS_MAX = 65536,
    ENGINE_NAME_MAX = 96,
    ENGINE_HASH_MAX = 64,
    ENGINE_BUILD_MAX = 63,
    ENGINE_BACKEND_MAX = 63,
    ENGINE_NUMERICS_MAX = 23,
};

struct engine {
    struct peer peer; /* first */
    TAILQ_ENTRY(engine) entry;
    bool is_ready; /* its `engine` frame came */
    bool is_unfit; /* it was told to go (remote.h) */
    bool is_reserved; /* see engines_reserve */
    bool is_out; /* out of service: it gets nothing new (drain.h) */
    bool is_standby; /* out, and it says so to the next router */
    bool does_prefill; /* replies go on elsewhere (phases.h) */
    uint64_t n_taken_over; /* replies that came from one which does */
    struct engine *heir; /* has its place (handover.h); NULL: none */
    bool is_retired; /* out, and the last of its model: it takes what was on its way (handover.h) */
    uint64_t idle_since_ns; /* when its last request left */
    bool has_vocabulary; /* it can be asked for it */
    char model_name[ENGINE_NAME_MAX + 1];
    char model_hash[ENGINE_HASH_MAX + 1];
    uint64_t numbers; /* 0: not known */
    uint32_t context;
    uint32_t max_seqs;
    uint32_t kv_blocks;
    uint32_t group; /* as its --lane says: see lanes.h */
    char build[ENGINE_BUILD_MAX + 1];
    char backend[ENGINE_BACKEND_MAX + 1];
    char numerics[ENGINE_NUMERICS_MAX + 1];
    char *model_file; /* "" if it did not tell */
    uint64_t since_ns; /* when it registered */
    struct frame_engine_load load; /* as last reported */
    struct request_list in_flight; /* in the order in which they were sent */
    uint32_t n_in_flight;
    uint32_t n_unproven; /* of them without a token so far */
    uint32_t n_suspects; /* of the unproven, those that may kill the engine */
};

TAILQ_HEAD(engine_list, engine);

struct engines {
    struct engine_list list;
    bool has_phases; /* see phases.h */
    struct frame_engine_load gone; /* counters of engines that left, so that sums never fall */
};

/* How the engines of a request's group and model suit it. */
enum engines_fit {
    FIT_NONE, /* none serves it */
    FIT_TOO_LONG, /* all of them have too short a context */
    FIT_YES,
};

void engines_init(struct engines *s);

/* Adds an engine whose link came up. */
struct engine *engines_add(struct engines *s, struct link *l);

/* Its name is known now: puts it into its place, they stand in the order of their names. */
void engines_settle(struct engines *s, struct engine *e);

/* Takes it out and frees it; it holds no requests any more. */
void engines_remove(struct engines *s, struct engine *take_engine);

/* Its `engine` frame. ERR_PROTOCOL if it makes no sense or came before. */
MUST_CHECK enum err engine_register(struct engine *e, const struct frame_engine *f);

/* Whether the engine is in service, serves the request's group and model and has the context for it. */
bool engine_suits(const struct engine *e, const struct request *q);

/* Whether another engine in service serves the same model in the same group. */
bool engines_has_twin(const struct engines *s, const struct engine *e);

/* Puts the request among those in flight; takes it out again; notes its first token there. */
void engine_attach(struct engine *e, struct request *q);
void engine_detach(struct engine *e, struct request *q);
void engine_prove(struct engine *e, struct request *q);

enum engines_fit engines_fit(const struct engines *s, const struct request *q);

/* The least context among the engines that suit the request; at least one must. */
uint32_t engines_least_context(const struct engines *s, const struct request *q);

/* The least loaded engine that can take the request now, or NULL. A suspect gets an engine only when
 * all others there have proven harmless, and nothing joins it before it has. */
struct engine *engines_pick(const struct engines *s, const struct request *q);

/* The same for work that nobody waits for: only where half of the places are free. */
struct engine *engines_pick_spare(const struct engines *s, const struct request *q);

/* With phases: the least loaded engine that can go on with a reply whose prompt is computed, or NULL. */
struct engine *engines_pick_decoder(const struct engines *s, const struct request *q);

/* Keeps an engine free of newcomers, so that the suspect gets its turn; engines_release undoes it. */
void engines_reserve(struct engines *s, const struct request *suspect);
void engines_release(struct engines *s);

/* Whether any engine can take any request. */
bool engines_have_room(const struct engines *s);

/* Whether a group has engines and none of them has room. */
bool engines_group_is_full(const struct engines *s, uint32_t group);

#endif
