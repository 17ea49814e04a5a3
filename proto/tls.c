/* SPDX-License-Identifier: MIT */
#include "proto/tls.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/check.h"
#include "common/mem.h"

enum { N_FILES = 3 };

/* What tells whether a file was replaced. */
struct stamp {
    ino_t inode;
    off_t size;
    struct timespec changed;
};

struct tls_context {
    SSL_CTX *ssl;
    enum tls_side side;
    char *paths[N_FILES]; /* certificate, key, authority */
    struct stamp stamps[N_FILES];
    int64_t ends_s; /* Unix time */
};

struct tls {
    SSL *ssl;
    bool wants_write;
    char why[TLS_WHY_CAP];
    char peer_name[TLS_NAME_MAX + 1];
};

/* ---- the socket, as OpenSSL sees it ------------------------------------------------------------ */

/* Its own would raise SIGPIPE. */
static int bio_write(BIO *b, const char *bytes, int len)
{
    int fd = (int)(intptr_t)BIO_get_data(b);
    ssize_t n = send(fd, bytes, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL);
    BIO_clear_retry_flags(b);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(b);
    return (int)n;
}

static int bio_read(BIO *b, char *bytes, int cap)
{
    int fd = (int)(intptr_t)BIO_get_data(b);
    ssize_t n = recv(fd, bytes, (size_t)cap, MSG_DONTWAIT);
    BIO_clear_retry_flags(b);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(b);
    return (int)n;
}

static long bio_control(BIO *b, int command, long number, void *pointer)
{
    (void)b;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method(void)
{
    static BIO_METHOD *method; /* for the life of the process */
    if (method != NULL)
        return method;
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "halo socket");
    ASSERT(method != NULL);
    ASSERT(BIO_meth_set_write(method, bio_write) == 1);
    ASSERT(BIO_meth_set_read(method, bio_read) == 1);
    ASSERT(BIO_meth_set_ctrl(method, bio_control) == 1);
    return method;
}

/* ---- files ------------------------------------------------------------------------------------- */

/* The first thing that OpenSSL found wrong since the queue was cleared. */
static const char *reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_error());
    return text != NULL ? text : "cannot be read";
}

static bool stamp_of(const char *path, struct stamp *ret_stamp)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return false;
    *ret_stamp = (struct stamp){st.st_ino, st.st_size, st.st_mtim};
    return true;
}

static bool is_same_stamp(const struct stamp *a, const struct stamp *b)
{
    return a->inode == b->inode && a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec;
}

/* Ours and closed to others, or root's and closed to all but its group. */
static enum err check_key_mode(const char *path, char *why)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        enum err e = err_from_errno(errno);
        (void)snprintf(why, TLS_WHY_CAP, "cannot read the key %s: %s", path, err_text(e));
        return e;
    }
    bool is_mine = st.st_uid == geteuid() && (st.st_mode & 077) == 0;
    bool is_root_s = st.st_uid == 0 && (st.st_mode & 027) == 0;
    if (S_ISREG(st.st_mode) && (is_mine || is_root_s))
        return ERR_OK;
    (void)snprintf(why, TLS_WHY_CAP,
                   "the key %s is open to other users (mode %03o, owner %u); expected a file of "
                   "yours with mode 600, or one of root's with 640: chmod 600 %s",
                   path, st.st_mode & 0777U, (unsigned)st.st_uid, path);
    return ERR_PERMISSION;
}

/* Whether the other side will take our certificate, in OpenSSL's words. */
static enum err check_own_certificate(SSL_CTX *ssl, enum tls_side side, const char *path, char *why)
{
    X509_STORE_CTX *s = X509_STORE_CTX_new();
    STACK_OF(X509) *chain = NULL;
    ASSERT(s != NULL);
    (void)SSL_CTX_get0_chain_certs(ssl, &chain);
    ASSERT(X509_STORE_CTX_init(s, SSL_CTX_get_cert_store(ssl), SSL_CTX_get0_certificate(ssl),
                               chain) == 1);
    ASSERT(X509_STORE_CTX_set_purpose(s, side == TLS_CALLED ? X509_PURPOSE_SSL_SERVER
                                                            : X509_PURPOSE_SSL_CLIENT) == 1);
    bool is_good = X509_verify_cert(s) == 1;
    if (!is_good)
        (void)snprintf(why, TLS_WHY_CAP, "the certificate %s: %s; `halo cert show %s` describes it",
                       path, X509_verify_cert_error_string(X509_STORE_CTX_get_error(s)), path);
    X509_STORE_CTX_free(s);
    return is_good ? ERR_OK : ERR_INVALID;
}

static int64_t end_of(const X509 *certificate)
{
    struct tm tm;
    if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) != 1)
        return 0;
    return (int64_t)timegm(&tm);
}

/* Of the authority's certificates, the one that ends first. */
static int64_t end_of_store(SSL_CTX *ssl, int64_t ends_s)
{
    const STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ssl));
    for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
        const X509 *x = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));
        if (x != NULL && end_of(x) < ends_s)
            ends_s = end_of(x);
    }
    return ends_s;
}

static void set_rules(SSL_CTX *ssl)
{
    ASSERT(SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1);
    SSL_CTX_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(ssl, 2);
    /* Links live long and are few: nothing is resumed. */
    (void)SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    ASSERT(SSL_CTX_set_num_tickets(ssl, 0) == 1);
    (void)SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET);
    (void)SSL_CTX_set_mode(ssl,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

static enum err load(struct tls_context *c, SSL_CTX *ssl, char *why)
{
    const char *cert = c->paths[0];
    const char *key = c->paths[1];
    const char *ca = c->paths[2];
    ERR_clear_error();
    enum err e = check_key_mode(key, why);
    if (e != ERR_OK)
        return e;
    if (SSL_CTX_load_verify_file(ssl, ca) != 1)
        (void)snprintf(why, TLS_WHY_CAP, "the authority's certificate %s: %s", ca, reason());
    else if (SSL_CTX_use_certificate_chain_file(ssl, cert) != 1)
        (void)snprintf(why, TLS_WHY_CAP, "the certificate %s: %s", cert, reason());
    else if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1)
        (void)snprintf(why, TLS_WHY_CAP, "the key %s with the certificate %s: %s", key, cert,
                       reason());
    else
        return check_own_certificate(ssl, c->side, cert, why);
    ERR_clear_error();
    return ERR_INVALID;
}

/* A new SSL_CTX from the files as they are now takes the place of the old one. */
static enum err reload(struct tls_context *c, char *why)
{
    SSL_CTX *ssl = SSL_CTX_new(c->side == TLS_CALLED ? TLS_server_method() : TLS_client_method());
    ASSERT(ssl != NULL);
    set_rules(ssl);
    enum err e = load(c, ssl, why);
    if (e != ERR_OK) {
        SSL_CTX_free(ssl);
        return e;
    }
    SSL_CTX_free(c->ssl);
    c->ssl = ssl;
    c->ends_s = end_of_store(ssl, end_of(SSL_CTX_get0_certificate(ssl)));
    return ERR_OK;
}

enum err tls_context_new(const struct tls_files *files, enum tls_side side, char *why,
                         struct tls_context **ret_context)
{
    const char *paths[N_FILES] = {files->cert, files->key, files->ca};
    if (files->cert == NULL || files->key == NULL || files->ca == NULL) {
        (void)snprintf(
            why, TLS_WHY_CAP,
            "between machines all of --tls-cert, --tls-key and --tls-ca are needed; `halo "
            "cert` makes the files");
        return ERR_INVALID;
    }
    struct tls_context *c = mem_zalloc(1, sizeof *c);
    c->side = side;
    for (size_t i = 0; i < N_FILES; i++) {
        c->paths[i] = mem_strndup(paths[i], strlen(paths[i]));
        (void)stamp_of(paths[i], &c->stamps[i]);
    }
    enum err e = reload(c, why);
    if (e != ERR_OK) {
        tls_context_free(c);
        return e;
    }
    *ret_context = c;
    return ERR_OK;
}

bool tls_context_refresh(struct tls_context *c, char *why)
{
    bool has_changed = false;
    why[0] = '\0';
    for (size_t i = 0; i < N_FILES; i++) {
        struct stamp now;
        if (!stamp_of(c->paths[i], &now) || is_same_stamp(&now, &c->stamps[i]))
            continue; /* one that is away just now is being replaced */
        c->stamps[i] = now;
        has_changed = true;
    }
    return has_changed && reload(c, why) == ERR_OK;
}

int64_t tls_context_left_s(const struct tls_context *c)
{
    return c->ends_s - (int64_t)time(NULL);
}

void tls_context_free(struct tls_context *c)
{
    if (c == NULL)
        return;
    SSL_CTX_free(c->ssl);
    for (size_t i = 0; i < N_FILES; i++)
        free(c->paths[i]);
    free(c);
}

/* ---- one connection ---------------------------------------------------------------------------- */

static bool expect_host(SSL *ssl, const char *host)
{
    X509_VERIFY_PARAM *p = SSL_get0_param(ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(p, host) == 1)
        return true;
    ERR_clear_error();
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, host) == 1;
}

enum err tls_new(struct tls_context *c, int fd, const char *host, struct tls **ret_tls)
{
    SSL *ssl = SSL_new(c->ssl);
    BIO *bio = BIO_new(bio_method());
    if (ssl == NULL || bio == NULL || (host != NULL && !expect_host(ssl, host))) {
        SSL_free(ssl);
        (void)BIO_free(bio);
        return ERR_INVALID;
    }
    BIO_set_data(bio, (void *)(intptr_t)fd);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    if (c->side == TLS_CALLED)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    struct tls *t = mem_zalloc(1, sizeof *t);
    t->ssl = ssl;
    *ret_tls = t;
    return ERR_OK;
}

bool tls_is_name(const char *word)
{
    static const char ALLOWED[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(word);
    return n > 0 && n <= TLS_NAME_MAX && strspn(word, ALLOWED) == n;
}

static void read_peer_name(struct tls *t)
{
    char name[TLS_NAME_MAX + 2] = "";
    X509 *x = SSL_get0_peer_certificate(t->ssl);
    int n = x != NULL ? X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name,
                                                  sizeof name)
                      : -1;
    if (n > 0 && (size_t)n == strlen(name) && tls_is_name(name))
        memcpy(t->peer_name, name, (size_t)n + 1);
}

static void explain(struct tls *t, int how, int error)
{
    long verified = SSL_get_verify_result(t->ssl);
    if (verified != X509_V_OK)
        (void)snprintf(t->why, sizeof t->why, "its certificate: %s",
                       X509_verify_cert_error_string(verified));
    else if (how == SSL_ERROR_SYSCALL && error != 0)
        (void)snprintf(t->why, sizeof t->why, "%s", strerrordesc_np(error));
    else if (how == SSL_ERROR_ZERO_RETURN || how == SSL_ERROR_SYSCALL)
        (void)snprintf(t->why, sizeof t->why, "it hung up");
    else
        (void)snprintf(t->why, sizeof t->why, "%s", reason());
}

/* After a call that gave n <= 0: what it means, as an errno. */
static int judge(struct tls *t, int n, int error)
{
    int how = SSL_get_error(t->ssl, n);
    t->wants_write = how == SSL_ERROR_WANT_WRITE;
    if (how == SSL_ERROR_WANT_READ || how == SSL_ERROR_WANT_WRITE)
        return EAGAIN;
    explain(t, how, error);
    ERR_clear_error();
    if (how == SSL_ERROR_ZERO_RETURN || (how == SSL_ERROR_SYSCALL && error == 0))
        return ECONNRESET;
    return how == SSL_ERROR_SYSCALL ? error : EPROTO;
}

enum err tls_shake(struct tls *t)
{
    ERR_clear_error();
    errno = 0;
    int n = SSL_do_handshake(t->ssl);
    if (n == 1) {
        t->wants_write = false;
        read_peer_name(t);
        return ERR_OK;
    }
    int error = judge(t, n, errno);
    if (error == EAGAIN)
        return ERR_AGAIN;
    return error == EPROTO ? ERR_PERMISSION : ERR_IO;
}

bool tls_wants_write(const struct tls *t)
{
    return t->wants_write;
}

ssize_t tls_send(struct tls *t, const void *bytes, size_t len)
{
    size_t n = 0;
    ERR_clear_error();
    errno = 0;
    if (SSL_write_ex(t->ssl, bytes, len, &n) == 1)
        return (ssize_t)n;
    errno = judge(t, 0, errno);
    return -1;
}

ssize_t tls_recv(struct tls *t, void *bytes, size_t cap)
{
    size_t n = 0;
    ERR_clear_error();
    errno = 0;
    if (SSL_read_ex(t->ssl, bytes, cap, &n) == 1)
        return (ssize_t)n;
    errno = judge(t, 0, errno);
    return errno == ECONNRESET ? 0 : -1;
}

bool tls_has_more(const struct tls *t)
{
    return SSL_has_pending(t->ssl) == 1;
}

const char *tls_why(const struct tls *t)
{
    return t->why;
}

const char *tls_peer_name(const struct tls *t)
{
    return t->peer_name;
}

void tls_free(struct tls *t)
{
    if (t == NULL)
        return;
    SSL_free(t->ssl);
    free(t);
}
