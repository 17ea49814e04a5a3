/* SPDX-License-Identifier: MIT */
/* A tokenizer in this process between gateways and a router that are the test, and the model file that it
 * serves: 256 bytes, a few words and four control tokens. */
#ifndef HALO_TESTS_TOKENIZER_SERVICE_WORLD_H
#define HALO_TESTS_TOKENIZER_SERVICE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/loop.h"
#include "proto/link.h"
#include "services/tokenizer/service.h"
#include "tests/tokenizer/shared_data.h"

enum { N_GATEWAYS = 2, N_REQS = 8, MAX_IDS = 64, CONTEXT = 200 };

enum { HELLO = 256 + 3, WORLD = 256 + 8, BEGIN = 265, END, USER, ASSISTANT, N_VOCAB };

/* What a gateway has of one request. */
struct seen {
    uint32_t prompt_tokens; /* 0: not accepted */
    struct buf text;
    uint32_t ids[MAX_IDS];
    size_t n_ids;
    uint32_t finish;
    uint32_t code;
    uint32_t retry_ms;
    uint32_t position; /* in the router's queue */
    char detail[200];
    char token_text[16];
    char top_text[16];
};

struct gateway {
    struct world *world;
    struct link *link;
    struct seen seen[N_REQS];
    size_t n_frames; /* pieces */
    size_t n_status;
    size_t n_models;
    uint32_t context;
    char description[40];
    size_t n_down;
};

struct submit {
    uint64_t req;
    uint32_t prompt[MAX_IDS];
    size_t n_prompt;
    uint32_t resume[MAX_IDS];
    size_t n_resume;
    uint32_t deadline_ms;
    uint64_t seed;
    uint32_t stop_id; /* the first */
    uint64_t share;
    bool again;
};

struct world {
    char run[64];
    char path[96];
    struct loop *loop;
    struct test_vocab vocab;
    struct model *model;
    struct service *service;
    struct gateway gateways[N_GATEWAYS];
    struct link_server *router; /* NULL while there is none */
    struct link *tokenizer;
    struct submit submits[32];
    size_t n_submits;
    uint64_t cancels[32];
    size_t n_cancels;
};

/* Turns the loop until the condition holds; at most 20 s. */
#define UNTIL(w, cond)                                                                             \
    do {                                                                                           \
        uint64_t end_ = clock_now_ms() + 20000;                                                    \
        while (!(cond) && clock_now_ms() < end_)                                                   \
            loop_turn((w)->loop, 50);                                                              \
        assert_true(cond);                                                                         \
    } while (0)

/* The template of the model. */
extern const char WORLD_TEMPLATE[];

/* For cmocka: *state is the world. _started: with service, router and gateway 0. */
int world_setup(void **state);
int world_setup_started(void **state);
int world_teardown(void **state);

/* Writes w->vocab and a template as the model file. _of: `rule` is the value of pre_tokenizer, with more
 * keys behind it if need be. */
void world_write_model(struct world *w, const char *template);
void world_write_model_of(struct world *w, const char *template, const char *rule);

void world_start_service(struct world *w);

/* Connects gateway i and waits for its first status. */
void world_dial(struct world *w, size_t i);

/* Gateway i sends a chat of one message; `f` has the rest of the request. */
void world_generate(struct world *w, size_t i, uint64_t req, const char *content,
                    struct frame_generate f);

/* What has come of a reply. */
const char *world_text_of(const struct gateway *g, size_t req);

/* Waits until the tokenizer has connected. */
void world_start_router(struct world *w);

/* Waits until the tokenizer has seen it. */
void world_stop_router(struct world *w);

/* The router's status with one model, by its hash. */
void world_send_status(struct world *w, const char *hash, uint32_t context);

void world_send_tokens(struct world *w, const struct rec_token *items, size_t n);

/* One token of the reply that was submitted as number `at`; finish if not 0. */
void world_token(struct world *w, size_t at, uint32_t id, uint32_t finish);

#endif
