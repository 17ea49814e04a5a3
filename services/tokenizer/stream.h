/* SPDX-License-Identifier: MIT */
/* One reply: from the token ids of the engine to the text that the client gets.
 *
 * The text after k ids is a pure function of the k ids and the stop strings, whatever frames brought
 * them. So a reply that was interrupted goes on exactly: stream_replay takes the ids that the client
 * already has text for, and the next stream_push gives what it would have given without the
 * interruption. */
#ifndef HALO_TOKENIZER_STREAM_H
#define HALO_TOKENIZER_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/err.h"
#include "services/tokenizer/detok.h"
#include "services/tokenizer/ids.h"
#include "services/tokenizer/stops.h"

struct stream {
    struct detok detok;
    struct stops *stops;
    struct ids ids; /* all so far, replayed ones included */
    struct buf text; /* scratch */
};

/* Errors of the stop strings as from stops_new. The vocabulary is borrowed. `drops_space`: see detok.h. */
MUST_CHECK enum err stream_init(struct stream *s, const struct vocab *vocab, bool drops_space,
                                const struct str *stops, size_t n_stops, bool keep_stop);
void stream_fini(struct stream *s);

/* One more token: appends the text it adds to *out, whole characters. *ret_is_stopped says whether a stop
 * string has been found, which ends the reply. */
MUST_CHECK enum err stream_push(struct stream *s, uint32_t id, struct buf *out,
                                bool *ret_is_stopped);

/* The reply has ended without a stop string: appends what was held back. A stop string that only the
 * end completes (by U+FFFD for an unfinished character) still counts; returns whether. */
bool stream_finish(struct stream *s, struct buf *out);

/* Tokens whose text the client has: as stream_push without text. *ret_n_bytes is how much text they
 * stand for. */
MUST_CHECK enum err stream_replay(struct stream *s, const uint32_t *ids, size_t n,
                                  size_t *ret_n_bytes, bool *ret_is_stopped);

#endif
