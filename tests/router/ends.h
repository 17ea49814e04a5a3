/* SPDX-License-Identifier: MIT */
/* Fake ends for the router: tokenizers and engines in the test's process, on its loop, over real links
 * to the real halo-router.
 *
 * The fake model is a pure function (fake_id), so an engine can check what it is given to resume and a
 * tokenizer what it gets. Any difference fails the test where it is seen. */
#ifndef HALO_TESTS_ROUTER_ENDS_H
#define HALO_TESTS_ROUTER_ENDS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "common/clock.h"
#include "common/loop.h"
#include "common/map.h"
#include "proto/link.h"

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

enum { ENDS_MAX = 8, PROMPT_IDS_MAX = 64, SEQS_MAX = 1024 };

struct world {
    struct loop *loop;
    char run[64];
    int router_pid;
    struct fake_engine *engines[ENDS_MAX];
    struct fake_tokenizer *tokenizers[ENDS_MAX];
    uint64_t next_epoch;
    const struct link_remote
        *remote; /* engines made from now on call from another machine; NULL: from here */
};

/* The id at a position of the reply to a prompt that begins with `first`. */
uint32_t fake_id(uint32_t first, uint64_t seed, size_t position);

/* Turns the loop until the condition holds; at most 40 s. */
#define UNTIL(w, cond)                                                                             \
    do {                                                                                           \
        uint64_t end_ = clock_now_ms() + 40000;                                                    \
        while (!(cond) && clock_now_ms() < end_)                                                   \
            loop_turn((w)->loop, 50);                                                              \
        assert_true(cond);                                                                         \
    } while (0)

/* A run directory and a router with further arguments ("--queue-limit", "3", NULL). */
struct world *world_new(const char *const *args);

/* Starts the router (again) after router_kill. */
void router_start(struct world *w, const char *const *args);
void router_kill(struct world *w);

/* SIGTERM; its exit status must be 0. Our ends answer its bye, or (alone) do not. */
void router_stop(struct world *w);
void router_stop_alone(struct world *w);

/* Stops the router if it runs, and frees all. */
void world_free(struct world *w);

/* ---- engines ----------------------------------------------------------------------------------- */

struct fake_seq {
    uint64_t id; /* the router's */
    uint32_t first;
    uint64_t seed;
    uint32_t max_tokens;
    uint32_t deadline_ms;
    size_t n_prompt;
    size_t n_ids; /* of the reply, resumed ones included */
    size_t n_resumed;
    bool wants_top;
};

struct fake_engine {
    struct world *world;
    struct link *link;
    const char *name;
    const struct link_remote *remote; /* the world's when it was made */
    size_t n_unfit; /* times that it was told so */
    char unfit[400]; /* and why */
    struct frame_engine says; /* sent when the link is up, unless `is_mute` */
    bool is_mute;
    bool is_standby; /* as the router said last; an engine says it to the next router */
    bool is_replaced;
    size_t n_exports; /* asked for */
    size_t n_imports;
    uint64_t export_after; /* of the last one */
    char kv_file[100];
    bool is_up;
    int fd; /* of the connection, to cut it */
    struct fake_seq seqs[SEQS_MAX]; /* in order of arrival */
    size_t n_seqs;
    size_t n_submits; /* ever */
    size_t n_cancels;
    size_t n_downs;
    enum err why;
    uint32_t poison; /* it dies when it computes a prompt that begins with this; 0: none */
    size_t n_poisoned;
    size_t wrong_from; /* its ids are wrong from this position on; 0: none is */
    bool is_empty; /* its replies end without a token */
    bool does_fail; /* its replies end with ERR_INTERNAL instead of their last token */
    struct buf last_submit; /* encoded, with its number and deadline as 0 */
};

/* Dials and waits until the router knows it, if a tokenizer is there to tell. `name` is the instance.
 * The rest of `says` is settled: 4096 positions, model "a". */
struct fake_engine *engine_new(struct world *w, const char *name, uint32_t max_seqs);

/* The same in the group of the candidates. */
struct fake_engine *engine_new_candidate(struct world *w, const char *name, uint32_t max_seqs);

/* The same with a frame of one's own. */
struct fake_engine *engine_new_as(struct world *w, const char *name,
                                  const struct frame_engine *says);

/* Computes one token for each of the first max_seqs sequences and sends them in one frame. */
void engine_step(struct fake_engine *e);

/* Computes the rest of the sequence that came last. */
void engine_finish_last(struct fake_engine *e);

/* Answers the last kv_export or kv_import. */
void engine_kv_done(struct fake_engine *e, enum err code, uint32_t blocks, uint64_t mark);

/* Whether a tokenizer has had a token from here of each sequence that runs (at least one). */
bool engine_is_proven(const struct fake_engine *e);

/* Its link breaks off and what it held is lost; engine_return dials again and waits until it is up. */
void engine_die(struct fake_engine *e);
void engine_return(struct fake_engine *e);

/* ---- tokenizers -------------------------------------------------------------------------------- */

struct fake_reply {
    uint64_t req;
    uint32_t first;
    uint64_t seed;
    uint32_t max_tokens;
    uint32_t *ids;
    size_t n_ids;
    uint32_t finish;
    uint32_t code;
    uint32_t cached_tokens;
    uint32_t retry_ms;
    uint32_t position; /* in the queue, as last told */
    char detail[256];
};

struct fake_tokenizer {
    struct world *world;
    struct link *link;
    const char *name;
    bool is_up;
    int fd; /* of the connection, to cut it */
    struct map replies; /* struct fake_reply by req */
    size_t n_ended;
    size_t n_ok; /* of them without an error */
    size_t n_frames; /* of tokens */
    size_t n_queued; /* frames of places */
    size_t n_downs;
    enum err why;
    size_t n_status;
    size_t n_models; /* of the last status */
    char model[64];
    char model_hash[65];
    uint32_t model_context;
    struct rec_load load;
    struct rec_known_model known[2]; /* models, since it was started */
    size_t n_known;
};

/* The callbacks of a tokenizer's link. */
struct link_handler tokenizer_handler(struct fake_tokenizer *t);

struct fake_tokenizer *tokenizer_new(struct world *w, const char *name);

/* Abrupt, as engine_die; replies are kept. tokenizer_return dials again. */
void tokenizer_die(struct fake_tokenizer *t);
void tokenizer_return(struct fake_tokenizer *t);

/* A request for a reply of n tokens to a prompt that begins with `first`. */
void ask(struct fake_tokenizer *t, uint64_t req, uint32_t first, uint32_t n);

/* The same with a frame of one's own (prompt and sampling must be filled in). */
void ask_as(struct fake_tokenizer *t, const struct frame_submit *f);

/* Sends the request again with what came so far as resume, as a tokenizer does after a loss. */
void ask_again(struct fake_tokenizer *t, struct fake_reply *r);
void ask_all_again(struct fake_tokenizer *t);

/* The same for those that ended with an error; gives their number. */
size_t ask_failed_again(struct fake_tokenizer *t);

void cancel(struct fake_tokenizer *t, uint64_t req);

/* Says what it can serve: that model, too, or not, for that reason. */
void tokenizer_knows(struct fake_tokenizer *t, const char *hash, enum err code, const char *detail);

struct fake_reply *reply(struct fake_tokenizer *t, uint64_t req);

/* Fails unless the reply has ended well with exactly the ids of the fake model. */
void assert_whole(struct fake_tokenizer *t, uint64_t req);

/* Fails unless it has ended with that error and a detail that contains `words`. */
void assert_failed(struct fake_tokenizer *t, uint64_t req, enum err code, const char *words);

#endif
