/* SPDX-License-Identifier: MIT */
#include "services/halo/cert_make.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "proto/tls.h"

enum {
    SERIAL_BITS = 127,
    SLACK_S = 300, /* a clock that is behind must not find it too young */
    DAY_S = 86400,
    AUTHORITY_DAYS = 3652,
    MODE_CERT = 0644,
    MODE_KEY = 0600,
};

/* ---- files ------------------------------------------------------------------------------------- */

static enum err fail_errno(const char *what, const char *path, char *why)
{
    enum err e = err_from_errno(errno);
    (void)snprintf(why, CERT_WHY_CAP, "cannot %s %s: %s", what, path, strerrordesc_np(errno));
    return e;
}

/* Writes a file of its own and gives it its name then: readers see the old one or the new one. */
static enum err write_file(const char *path, mode_t mode, X509 *certificate, EVP_PKEY *key,
                           char *why)
{
    struct buf temporary = {0};
    buf_printf(&temporary, "%s.new", path);
    (void)unlink(temporary.ptr);
    int fd = open(temporary.ptr, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    enum err e = f != NULL ? ERR_OK : fail_errno("make", temporary.ptr, why);
    if (e == ERR_OK) {
        bool is_good = fchmod(fd, mode) == 0 &&
                       (key != NULL ? PEM_write_PKCS8PrivateKey(f, key, NULL, NULL, 0, NULL, NULL)
                                    : PEM_write_X509(f, certificate)) == 1;
        is_good = fclose(f) == 0 && is_good;
        if (!is_good || rename(temporary.ptr, path) != 0)
            e = fail_errno("write", path, why);
    }
    if (e != ERR_OK)
        (void)unlink(temporary.ptr);
    buf_fini(&temporary);
    return e;
}

/* DIR/name.pem and DIR/name.key */
static enum err write_pair(const char *dir, const char *name, X509 *certificate, EVP_PKEY *key,
                           char *why)
{
    struct buf path = {0};
    buf_printf(&path, "%s/%s.key", dir, name);
    enum err e = write_file(path.ptr, MODE_KEY, NULL, key, why);
    buf_reset(&path);
    buf_printf(&path, "%s/%s.pem", dir, name);
    if (e == ERR_OK)
        e = write_file(path.ptr, MODE_CERT, certificate, NULL, why);
    buf_fini(&path);
    return e;
}

static X509 *read_certificate(const char *path, char *why)
{
    FILE *f = fopen(path, "re");
    X509 *x = f != NULL ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
    if (f == NULL)
        (void)fail_errno("read", path, why);
    else if (x == NULL)
        (void)snprintf(why, CERT_WHY_CAP, "%s holds no certificate in PEM", path);
    if (f != NULL)
        (void)fclose(f);
    return x;
}

static EVP_PKEY *read_key(const char *path, char *why)
{
    FILE *f = fopen(path, "re");
    EVP_PKEY *k = f != NULL ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
    if (f == NULL)
        (void)fail_errno("read", path, why);
    else if (k == NULL)
        (void)snprintf(why, CERT_WHY_CAP, "%s holds no key in PEM", path);
    if (f != NULL)
        (void)fclose(f);
    return k;
}

/* ---- certificates ------------------------------------------------------------------------------ */

static void set_extension(X509 *x, X509V3_CTX *ctx, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, ctx, nid, value);
    ASSERT(e != NULL && X509_add_ext(x, e, -1) == 1);
    X509_EXTENSION_free(e);
}

static void set_serial(X509 *x)
{
    BIGNUM *n = BN_new();
    ASSERT(n != NULL && BN_rand(n, SERIAL_BITS, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) == 1);
    ASSERT(BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x)) != NULL);
    BN_free(n);
}

/* All but the extensions and the signature. */
static X509 *begin(const char *name, int days, EVP_PKEY *key)
{
    X509 *x = X509_new();
    ASSERT(x != NULL && X509_set_version(x, X509_VERSION_3) == 1);
    set_serial(x);
    ASSERT(X509_gmtime_adj(X509_getm_notBefore(x), -SLACK_S) != NULL);
    ASSERT(X509_gmtime_adj(X509_getm_notAfter(x), (long)days * DAY_S) != NULL);
    ASSERT(X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_UTF8,
                                      (const unsigned char *)name, -1, -1, 0) == 1);
    ASSERT(X509_set_pubkey(x, key) == 1);
    return x;
}

enum err cert_make_authority(const char *dir, char *why)
{
    struct buf path = {0};
    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        return fail_errno("make", dir, why);
    buf_printf(&path, "%s/ca.key", dir);
    bool is_there = access(path.ptr, F_OK) == 0;
    buf_fini(&path);
    if (is_there) {
        (void)snprintf(
            why, CERT_WHY_CAP,
            "there is an authority in %s; `halo cert router` and `halo cert worker` make "
            "certificates of it",
            dir);
        return ERR_EXISTS;
    }
    EVP_PKEY *key = EVP_EC_gen("P-256");
    ASSERT(key != NULL);
    X509 *x = begin("Halo workers", AUTHORITY_DAYS, key);
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, x, x, NULL, NULL, 0);
    ASSERT(X509_set_issuer_name(x, X509_get_subject_name(x)) == 1);
    set_extension(x, &ctx, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
    set_extension(x, &ctx, NID_key_usage, "critical,keyCertSign,cRLSign");
    set_extension(x, &ctx, NID_subject_key_identifier, "hash");
    ASSERT(X509_sign(x, key, EVP_sha256()) > 0);
    enum err e = write_pair(dir, "ca", x, key, why);
    X509_free(x);
    EVP_PKEY_free(key);
    return e;
}

/* "DNS:a.example,IP:10.0.0.1"; false if a word is no name of a host. */
static bool add_hosts(struct buf *out, const struct cert_request *q, char *why)
{
    static const char ALLOWED[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
    unsigned char binary[16];
    for (size_t i = 0; i < q->n_hosts; i++) {
        const char *host = q->hosts[i];
        bool is_address =
            inet_pton(AF_INET, host, binary) == 1 || inet_pton(AF_INET6, host, binary) == 1;
        if (!is_address && (host[0] == '\0' || host[strspn(host, ALLOWED)] != '\0')) {
            (void)snprintf(why, CERT_WHY_CAP, "'%.80s' is neither a host's name nor an address",
                           host);
            return false;
        }
        buf_printf(out, "%s%s:%s", i > 0 ? "," : "", is_address ? "IP" : "DNS", host);
    }
    if (q->n_hosts == 0)
        buf_printf(out, "DNS:%s", q->name);
    return true;
}

static X509 *sign(const struct cert_request *q, X509 *ca, EVP_PKEY *ca_key, EVP_PKEY *key,
                  const char *hosts)
{
    X509 *x = begin(q->name, q->days, key);
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, ca, x, NULL, NULL, 0);
    ASSERT(X509_set_issuer_name(x, X509_get_subject_name(ca)) == 1);
    set_extension(x, &ctx, NID_basic_constraints, "critical,CA:FALSE");
    set_extension(x, &ctx, NID_key_usage, "critical,digitalSignature");
    set_extension(x, &ctx, NID_ext_key_usage, q->kind == CERT_ROUTER ? "serverAuth" : "clientAuth");
    set_extension(x, &ctx, NID_subject_alt_name, hosts);
    set_extension(x, &ctx, NID_authority_key_identifier, "keyid");
    ASSERT(X509_sign(x, ca_key, EVP_sha256()) > 0);
    return x;
}

enum err cert_make(const char *dir, const struct cert_request *request, char *why)
{
    struct buf cert_path = {0};
    struct buf key_path = {0};
    struct buf hosts = {0};
    EVP_PKEY *ca_key = NULL;
    enum err e = ERR_INVALID;
    if (!tls_is_name(request->name) || strcmp(request->name, "ca") == 0) {
        (void)snprintf(
            why, CERT_WHY_CAP,
            "'%.80s' is no name for a machine: expected 1 to %d letters, digits and . _ -",
            request->name, TLS_NAME_MAX);
        return ERR_INVALID;
    }
    buf_printf(&cert_path, "%s/ca.pem", dir);
    buf_printf(&key_path, "%s/ca.key", dir);
    X509 *ca = read_certificate(cert_path.ptr, why);
    if (ca != NULL)
        ca_key = read_key(key_path.ptr, why);
    if (ca_key != NULL && X509_check_private_key(ca, ca_key) != 1) {
        (void)snprintf(why, CERT_WHY_CAP, "%s is not the key of %s", key_path.ptr, cert_path.ptr);
    } else if (ca_key != NULL && add_hosts(&hosts, request, why)) {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        ASSERT(key != NULL);
        X509 *x = sign(request, ca, ca_key, key, hosts.ptr);
        e = write_pair(dir, request->name, x, key, why);
        X509_free(x);
        EVP_PKEY_free(key);
    }
    ERR_clear_error();
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    buf_fini(&cert_path);
    buf_fini(&key_path);
    buf_fini(&hosts);
    return e;
}

/* ---- showing ----------------------------------------------------------------------------------- */

static const char *use_of(X509 *x)
{
    uint32_t use = X509_get_extended_key_usage(x);
    if (X509_check_ca(x) != 0)
        return "authority";
    if (use == UINT32_MAX)
        return "any use";
    return (use & XKU_SSL_SERVER) != 0   ? "router"
           : (use & XKU_SSL_CLIENT) != 0 ? "worker"
                                         : "neither router nor worker";
}

static void print_hosts(X509 *x, FILE *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
        char text[INET6_ADDRSTRLEN] = "?";
        if (n->type == GEN_DNS)
            (void)fprintf(out, "  for %.*s\n", ASN1_STRING_length(n->d.dNSName),
                          (const char *)ASN1_STRING_get0_data(n->d.dNSName));
        if (n->type != GEN_IPADD)
            continue;
        int family = ASN1_STRING_length(n->d.iPAddress) == 4 ? AF_INET : AF_INET6;
        (void)inet_ntop(family, ASN1_STRING_get0_data(n->d.iPAddress), text, sizeof text);
        (void)fprintf(out, "  for %s\n", text);
    }
    GENERAL_NAMES_free(names);
}

enum err cert_describe(const char *path, FILE *out, char *why)
{
    char name[256] = "";
    char until[32] = "?";
    struct tm tm;
    X509 *x = read_certificate(path, why);
    if (x == NULL)
        return ERR_INVALID;
    (void)X509_NAME_get_text_by_NID(X509_get_subject_name(x), NID_commonName, name, sizeof name);
    if (ASN1_TIME_to_tm(X509_get0_notAfter(x), &tm) == 1)
        (void)strftime(until, sizeof until, "%Y-%m-%d", &tm);
    int days = 0;
    int seconds = 0;
    (void)ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(x));
    (void)fprintf(out, "%s: %s, valid until %s (%d days left)\n", name, use_of(x), until, days);
    print_hosts(x, out);
    X509_free(x);
    return ERR_OK;
}
