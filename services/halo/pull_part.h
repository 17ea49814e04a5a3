/* SPDX-License-Identifier: MIT */
/* A file that `halo pull` is fetching: NAME.part until it is whole and checked, then NAME, by one rename.
 * Beside it, NAME.part.etag says which version of the file the bytes are of, so that a later run goes on
 * where this one ended and only if the server still has that version. The hash runs along with the bytes. */
#ifndef HALO_HALO_PULL_PART_H
#define HALO_HALO_PULL_PART_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#include "services/halo/pull_list.h"

enum { PART_ETAG_CAP = 256 };

struct part {
    const struct pull_file *file;
    char *path; /* of the whole file */
    char *part_path;
    char *etag_path;
    int fd; /* -1: closed */
    uint64_t at; /* bytes so far */
    EVP_MD_CTX *hash;
    char etag[PART_ETAG_CAP]; /* with its quotes; "": unknown or weak, there is no going on */
    int error; /* errno of what failed */
};

enum part_end {
    PART_GOOD,
    PART_OTHER_BYTES, /* size or hash differ: the bytes have been thrown away */
    PART_FAILED, /* errno is in part.error */
};

/* Whether the whole file is there, with the size and hash of the listing (which must have a hash). */
bool part_is_done(const char *dir, const struct pull_file *f);

/* Opens NAME.part, with the folders on the way, and takes what is already in it. False: errno is in
 * p->error; EWOULDBLOCK: another process is writing it. part_close in both cases. Borrows the file. */
bool part_open(struct part *p, const char *dir, const struct pull_file *f);
void part_close(struct part *p);

/* Throws away what came. */
bool part_restart(struct part *p);

/* The version that the coming bytes are of; only a strong ETag is kept. */
bool part_set_etag(struct part *p, const char *etag);

bool part_append(struct part *p, const void *bytes, size_t n);

/* All bytes are there: checks them, makes them durable and gives the file its name. */
enum part_end part_finish(struct part *p);

#endif
