/* SPDX-License-Identifier: MIT */
/* The models that the tokenizer serves. Which there are the router's status says; what a tokenizer needs
 * of each comes from --model or, when the status names one that is not known, from an engine that has it
 * (proto/frames.def, vocabulary_ask). So a tokenizer that is started again needs nobody to tell it.
 *
 * A model whose vocabulary is here stays, whatever becomes of its engines: its replies may come back. Only
 * when MODELS_MAX are here, one that no engine has and no reply needs makes room.
 *
 * Everything belongs to the loop's thread. */
#ifndef HALO_TOKENIZER_MODELS_H
#define HALO_TOKENIZER_MODELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/loop.h"
#include "proto/link.h"
#include "services/tokenizer/model.h"
#include "services/tokenizer/worker.h"

enum { MODELS_MAX = 16, MODELS_NAME_MAX = 96, MODELS_WHY_MAX = 240 };

struct served {
    char hash[MODEL_HASH_LEN + 1];
    char name[MODELS_NAME_MAX + 1]; /* that clients write */
    char numerics[24]; /* of its engines, as the last status said */
    uint32_t context; /* the least of its engines', or the model's own */
    uint32_t lanes; /* that serve it */
    bool is_listed; /* an engine has it */
    bool was_listed; /* so said the status before */
    bool is_offered; /* and takes requests */
    bool is_retired; /* see rec_model */
    struct loop_timer again; /* set while its vocabulary is asked for */
    struct models *models;
    const struct model *model; /* NULL: its vocabulary is not here */
    struct model *owned; /* the same, if it is ours to close */
    struct worker *worker;
    enum err refused; /* why it cannot be here: ERR_OK, or with a line in `why` */
    char why[MODELS_WHY_MAX];
    size_t n_replies; /* that need it */
};

struct models {
    struct loop *loop;
    struct link *router; /* once there is one */
    void (*encoded)(void *ctx, struct worker_job *job);
    void *ctx;
    struct served *list[MODELS_MAX]; /* as the status orders them; then the others */
    size_t n;
};

/* `encoded` is for worker_start. */
void models_init(struct models *m, struct loop *loop,
                 void (*encoded)(void *ctx, struct worker_job *job), void *ctx);
void models_fini(struct models *m);

/* A model that is known from the start; borrowed. Errors of worker_start. */
MUST_CHECK enum err models_add(struct models *m, const struct model *model);

/* What the router says of models; asks it for what is not known. */
void models_update(struct models *m, const struct frame_status *f);

/* The router is gone: no engine is known to have any. */
void models_lose(struct models *m);

/* An answer of an engine. Whether it was news. */
bool models_learn(struct models *m, const struct frame_vocabulary *f);

/* Tells the router what can be served. */
void models_tell(const struct models *m);

/* The model that a request means: the one with that hash, else the first offered one of that name, of any
 * name if that is empty. NULL: there is none so far. */
struct served *models_find(const struct models *m, struct str hash, struct str name);

/* Fills in a status for gateways; valid until the next change. `items` has room for MODELS_MAX, `others`
 * too. */
void models_describe(const struct models *m, struct rec_model *items, struct rec_model *others,
                     struct frame_status *f);

#endif
