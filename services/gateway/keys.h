/* SPDX-License-Identifier: MIT */
/* Keys: who may use the API, and how much of it each minute. Reads the key file (common/keyfile.h), again
 * whenever it changes: a key that `halo key revoke` removes is refused from the next request on; its
 * replies in flight end in peace.
 *
 * Budgets are token buckets that fill up within a minute. A request is admitted while there is a whole
 * request and more than nothing of the tokens left; what its reply used is taken afterwards, so a
 * bucket of tokens may go below zero and refuses until it has filled up again. */
#ifndef HALO_GATEWAY_KEYS_H
#define HALO_GATEWAY_KEYS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/loop.h"
#include "services/gateway/errors.h"
#include "services/gateway/exchange.h"

struct keys;
struct key; /* valid until the loop turns, or as long as it is referred to */

/* Reads the file and watches it. On failure prints one line to stderr and returns false. */
MUST_CHECK bool keys_open(struct loop *loop, const char *path, struct keys **ret_keys);
void keys_close(struct keys *k);

/* Whose key the request presents in `Authorization: Bearer KEY` or `x-api-key: KEY`. NULL and an error
 * when it has none or an unknown one. Takes as long for a wrong key as for a right one. */
struct key *keys_identify(struct keys *k, struct exchange *x, struct api_error *ret_error);

/* A revoked key is freed once nothing refers to it. */
struct key *key_ref(struct key *key);
void key_unref(struct key *key);

/* Takes one request out of the budget; false and an error that says when to come again if it is empty. */
bool key_admit(struct key *key, struct api_error *ret_error);

/* Takes what a reply used. */
void key_spend(struct key *key, uint64_t n_tokens);

/* Adds x-ratelimit-* headers for the limits that the key has. */
void key_add_headers(const struct key *key, struct exchange *x);

/* Mixed into the tenant of cached prefixes: keys do not share them, so none can probe another's prompts.
 * Also whose share of the engines a request counts towards. */
uint64_t key_salt(const struct key *key);

const char *key_name(const struct key *key);

/* Appends halo_key_requests_total and halo_key_tokens_total by key. */
void keys_write_metrics(const struct keys *k, struct buf *out);

#endif
