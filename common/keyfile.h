/* SPDX-License-Identifier: MIT */
/* keyfile: the API keys of a stack, in one JSON file that `halo key` writes and the gateway reads.
 *
 *   {"version": 1, "keys": [{"name": "alice", "sha256": "<64 hex digits>", "created": 1732000000,
 *     "requests_per_minute": 60, "tokens_per_minute": 20000}]}
 *
 * A key is "sk-halo-" and 43 characters of base64url: 256 random bits. Only its SHA-256 is stored. A slow
 * hash would add nothing: there is no dictionary of random bits. The file must belong to the user who
 * reads it, with mode 0600, or to root, whose group may read it: 0640. */
#ifndef HALO_COMMON_KEYFILE_H
#define HALO_COMMON_KEYFILE_H

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/str.h"

enum {
    KEYFILE_NAME_MAX = 64, /* letters, digits, '.', '_', '-' and '@' */
    KEYFILE_KEYS_MAX = 10000,
    KEYFILE_HASH_BYTES = 32,
    KEYFILE_SECRET_LEN = 51, /* of a key's text */
    KEYFILE_WHY_CAP = 512,
};

struct keyfile_key {
    char name[KEYFILE_NAME_MAX + 1];
    uint8_t hash[KEYFILE_HASH_BYTES];
    uint64_t created_s; /* Unix time */
    uint32_t requests_per_minute; /* 0: no limit */
    uint32_t tokens_per_minute; /* of prompts and replies together; 0: no limit */
};

/* Zeros are a file without keys. */
struct keyfile {
    struct keyfile_key *keys;
    size_t n_keys;
};

/* Reads and checks the file. Gives ERR_NOT_FOUND if there is none, else ERR_PERMISSION, ERR_IO or
 * ERR_INVALID, with one line that names the file and the remedy in `why` (KEYFILE_WHY_CAP bytes). */
MUST_CHECK enum err keyfile_read(const char *path, char *why, struct keyfile *ret_file);

/* Replaces the file at once: readers see the old one or the new one. */
MUST_CHECK enum err keyfile_write(const char *path, const struct keyfile *file, char *why);

void keyfile_fini(struct keyfile *file);

/* The key of that name, or NULL. Lent until the file changes. */
struct keyfile_key *keyfile_find(const struct keyfile *file, const char *name);

/* Adds a key that is not there yet; its `hash` is that of a new secret, whose text (KEYFILE_SECRET_LEN
 * characters and NUL) is given back once and kept nowhere. ERR_EXISTS, ERR_INVALID (the name) or ERR_FULL. */
MUST_CHECK enum err keyfile_add(struct keyfile *file, const struct keyfile_key *key,
                                char *ret_secret);

/* Removes the key of that name; ERR_NOT_FOUND. */
MUST_CHECK enum err keyfile_remove(struct keyfile *file, const char *name);

/* SHA-256 of a presented key. */
void keyfile_hash(struct str secret, uint8_t hash[KEYFILE_HASH_BYTES]);

/* $HALO_KEYS, else $XDG_CONFIG_HOME/halo/keys.json, else ~/.config/halo/keys.json, else
 * /etc/halo/keys.json. Lives as long as the process. */
const char *keyfile_default_path(void);

#endif
