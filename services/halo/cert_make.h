/* SPDX-License-Identifier: MIT */
/* Certificates for links between machines (proto/tls.h): a private authority, and what it signs.
 *
 * DIR/ca.pem and DIR/ca.key are the authority's; NAME.pem and NAME.key a machine's. Keys are on the curve P-256 and
 * written with mode 0600; files are replaced at once, the key first. */
#ifndef HALO_HALO_CERT_MAKE_H
#define HALO_HALO_CERT_MAKE_H

#include <stddef.h>
#include <stdio.h>

#include "common/err.h"

enum { CERT_WHY_CAP = 512, CERT_HOSTS_MAX = 16 };

enum cert_kind { CERT_WORKER, CERT_ROUTER };

struct cert_request {
    enum cert_kind kind;
    const char *name; /* common name and file name */
    char *const *hosts; /* of a router: names and addresses by which workers call it */
    size_t n_hosts;
    int days;
};

/* Makes DIR, if it is not there, and an authority for ten years in it. ERR_EXISTS: there is one. */
MUST_CHECK enum err cert_make_authority(const char *dir, char *why);

/* Makes a certificate of the authority in DIR, in the place of an older one of that name. */
MUST_CHECK enum err cert_make(const char *dir, const struct cert_request *request, char *why);

/* Prints who a certificate is for and until when. */
MUST_CHECK enum err cert_describe(const char *path, FILE *out, char *why);

#endif
