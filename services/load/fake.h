/* SPDX-License-Identifier: MIT */
/* fake: the neighbour behind the process that is measured. It answers generate and submit frames with
 * canned tokens, one for each reply in a step, all of a step in one frame, as an engine's tokens come.
 *
 * A fake tokenizer's tokens are words; the others repeat the ids of the prompt. Steps come at a set
 * rate, or each when the load generator has received the one before the last (told by fake_received):
 * then the process in between is never without work, and never flooded. */
#ifndef HALO_LOAD_FAKE_H
#define HALO_LOAD_FAKE_H

#include <stdbool.h>

#include "common/err.h"
#include "common/loop.h"

#define FAKE_MODEL "halo-load"
#define FAKE_HASH "f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0"

enum fake_kind {
    FAKE_TOKENIZER, /* behind a gateway */
    FAKE_ROUTER, /* behind a tokenizer */
    FAKE_ENGINES, /* behind a router */
};

struct fake_config {
    struct loop *loop;
    const char *run; /* run directory */
    enum fake_kind kind;
    uint32_t token_rate; /* steps per second; 0: as fast as they are taken */
    uint32_t n_engines; /* FAKE_ENGINES */
    uint32_t max_seqs; /* FAKE_ENGINES: of each */
    const char *model; /* name and hash of what is served */
    const char *hash;
    uint32_t vocab;
};

struct fake;

/* config's texts are borrowed for the life of the fake. */
MUST_CHECK enum err fake_new(const struct fake_config *config, struct fake **ret_fake);
void fake_free(struct fake *f);

/* Whether the process that is measured is connected, by all links it should have. */
bool fake_is_up(const struct fake *f);

/* So many pieces have arrived at the other end. */
void fake_received(void *fake, uint32_t n);

#endif
