/* SPDX-License-Identifier: MIT */
/* What `halo pull` is to fetch: the files of a repository on a hub, by its listing, or one file by its URL.
 *
 * The hub speaks Hugging Face's API: GET {hub}/api/models/{repo}/tree/{revision}?recursive=true gives a
 * JSON array of {type, path, size, oid, lfs: {oid}}, in pages that a Link header joins; a file lies at
 * {hub}/{repo}/resolve/{revision}/{path}. `oid` is git's SHA-1 of the blob, `lfs.oid` the SHA-256 of a
 * large file. Nothing of a listing is trusted: paths that would leave the folder are refused. */
#ifndef HALO_HALO_PULL_LIST_H
#define HALO_HALO_PULL_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PULL_WHY_CAP = 1024,
    PULL_MAX_FILES = 10000,
    PULL_MAX_PATH = 512,
    PULL_HASH_CAP = 65, /* hexadecimal digits and a NUL */
};

enum pull_hash {
    PULL_HASH_NONE,
    PULL_HASH_GIT, /* SHA-1 of "blob <size>\0" and the bytes */
    PULL_HASH_SHA256,
};

struct pull_file {
    char *path; /* below the folder */
    char *url;
    uint64_t size; /* meaningful if has_size */
    bool has_size;
    enum pull_hash kind;
    char hash[PULL_HASH_CAP];
};

struct pull_list {
    struct pull_file *files;
    size_t n;
};

/* Where to look; borrowed strings. */
struct pull_source {
    const char *hub; /* no slash at its end */
    const char *token; /* for the hub's host alone; NULL: none */
    char repo[256]; /* "owner/name"; "": one file by its URL */
    char revision[128];
    char url[2048];
};

/* Reads "owner/repo", "owner/repo@revision", the URL of a repository on the hub, or that of a file.
 * False: one line in `why`. */
bool pull_source_parse(struct pull_source *s, const char *name, const char *hub, char *why);

/* All files of the source. False: one line in `why`. */
bool pull_list_read(const struct pull_source *s, struct pull_list *ret_list, char *why);

/* Keeps what a model needs: configuration, tokenizer, templates, licences and weights. Weights are the
 * files that match one of the patterns of `include` (fnmatch(3), separated by commas), or else all
 * *.safetensors, or else the only *.gguf (or its parts), or else the only *.h1b. False: one line in `why`. */
bool pull_list_choose(struct pull_list *l, const char *include, char *why);

void pull_list_free(struct pull_list *l);

/* A header line for requests to `url`: the token, if the URL is the hub's; or NULL. The caller frees it. */
char *pull_source_auth(const struct pull_source *s, const char *url);

#endif
