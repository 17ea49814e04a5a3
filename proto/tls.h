/* SPDX-License-Identifier: MIT */
/* TLS 1.3 with certificates on both sides, over a connected TCP socket that does not block.
 *
 * One private authority (--tls-ca) has signed both ends' certificates; no other authority is trusted, and
 * no end without a certificate gets past the handshake. A caller's must be for clients (extended key
 * usage), and its common name says which machine calls; that of who is called must be for servers and name
 * the host that was dialled. `halo cert` makes such files. */
#ifndef HALO_PROTO_TLS_H
#define HALO_PROTO_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/err.h"

enum {
    TLS_NAME_MAX = 32, /* of a machine: letters, digits, '.', '_' and '-' */
    TLS_WHY_CAP = 512,
};

enum tls_side { TLS_CALLER, TLS_CALLED };

/* Paths of PEM files; borrowed. */
struct tls_files {
    const char *cert; /* ours, and what is between it and the authority's */
    const char *key; /* ours alone: mode 0600, or 0640 of root's */
    const char *ca;
};

/* Rows of a service's option table; its struct has a `struct tls_files tls`. */
#define TLS_ROWS(strct)                                                                            \
    OPT_STR_ROW(strct, tls.cert, "tls-cert", NULL, "FILE",                                         \
                "this machine's certificate for links between machines; `halo cert` makes all "    \
                "three files, and new ones are taken without a restart"),                          \
        OPT_STR_ROW(strct, tls.key, "tls-key", NULL, "FILE",                                       \
                    "its key: readable by this service alone, mode 600"),                          \
        OPT_STR_ROW(strct, tls.ca, "tls-ca", NULL, "FILE",                                         \
                    "certificate of the authority that has signed the other machines'")

struct tls_context;
struct tls;

/* Reads and checks the files: the key is closed to others and fits the certificate, which is valid now, is
 * the authority's and for this side. On failure `why` (TLS_WHY_CAP bytes) names the file and the remedy;
 * ERR_PERMISSION, ERR_INVALID, ERR_IO or ERR_NOT_FOUND. */
MUST_CHECK enum err tls_context_new(const struct tls_files *files, enum tls_side side, char *why,
                                    struct tls_context **ret_context);

/* Reads the files again if they have changed; true if it did. When the new ones are unfit (the reason is then
 * in `why`, else it is ""), the old ones stay. Connections keep what they began with. */
bool tls_context_refresh(struct tls_context *c, char *why);

/* Seconds until our certificate or the authority's ends. */
int64_t tls_context_left_s(const struct tls_context *c);

void tls_context_free(struct tls_context *c);

/* One end of a connection. host: the name or address that was dialled; NULL for who is called. The
 * socket stays the caller's, who closes it after tls_free. */
MUST_CHECK enum err tls_new(struct tls_context *c, int fd, const char *host, struct tls **ret_tls);

/* Goes on with the handshake: ERR_OK when it is done, ERR_AGAIN when the socket must be ready first (see
 * tls_wants_write), else it has failed, and tls_why says what for. */
MUST_CHECK enum err tls_shake(struct tls *t);
bool tls_wants_write(const struct tls *t);

/* As send(2) and recv(2) on a socket that does not block: errno is EAGAIN, ECONNRESET or EPROTO. */
ssize_t tls_send(struct tls *t, const void *bytes, size_t len);
ssize_t tls_recv(struct tls *t, void *bytes, size_t cap);

/* Whether tls_recv may give more without the socket being readable. */
bool tls_has_more(const struct tls *t);

/* One line: why it failed. */
const char *tls_why(const struct tls *t);

/* The common name in the peer's certificate; "" if it is no name for a machine. */
const char *tls_peer_name(const struct tls *t);

void tls_free(struct tls *t);

/* Whether a word can name a machine. */
bool tls_is_name(const char *word);

#endif
