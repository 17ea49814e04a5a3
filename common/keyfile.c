/* SPDX-License-Identifier: MIT */
#include "common/keyfile.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/check.h"
#include "common/mem.h"

enum { VERSION = 1, SECRET_BYTES = 32, HEX = 16 };

static const char PREFIX[] = "sk-halo-";
static const char BASE64URL[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void say(char *why, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void say(char *why, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(why, KEYFILE_WHY_CAP, fmt, ap);
    va_end(ap);
}

/* ---- reading ----------------------------------------------------------------------------------- */

static enum err open_checked(const char *path, char *why, int *ret_fd)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        int error = errno;
        if (fd >= 0)
            (void)close(fd);
        if (error == EACCES)
            say(why,
                "cannot read the key file %s: %s; it must belong to the user %u with mode 600, or "
                "to "
                "root and a group of that user with 640",
                path, strerrordesc_np(error), (unsigned)geteuid());
        else
            say(why, "cannot read the key file %s: %s; `halo key add NAME --keys %s` makes one",
                path, strerrordesc_np(error), path);
        return error == ENOENT ? ERR_NOT_FOUND : err_from_errno(error);
    }
    bool is_mine = st.st_uid == geteuid() && (st.st_mode & 077) == 0;
    bool is_root_s = st.st_uid == 0 && (st.st_mode & 027) == 0; /* its group may read */
    if (S_ISREG(st.st_mode) && (is_mine || is_root_s)) {
        *ret_fd = fd;
        return ERR_OK;
    }
    (void)close(fd);
    if (!S_ISREG(st.st_mode)) {
        say(why, "%s is no file; name the key file that `halo key add NAME --keys FILE` wrote",
            path);
        return ERR_INVALID;
    }
    say(why,
        "the key file %s is open to other users (mode %03o, owner %u); expected a file of yours "
        "with mode 600, or one of root's with 640: chmod 600 %s",
        path, st.st_mode & 0777U, (unsigned)st.st_uid, path);
    return ERR_PERMISSION;
}

static bool is_name(const char *s)
{
    size_t n = s != NULL ? strlen(s) : 0;
    for (size_t i = 0; i < n; i++) {
        if (!isalnum((unsigned char)s[i]) && strchr("._-@", s[i]) == NULL)
            return false;
    }
    return n >= 1 && n <= KEYFILE_NAME_MAX;
}

static bool parse_hash(const char *s, uint8_t hash[KEYFILE_HASH_BYTES])
{
    if (s == NULL || strlen(s) != 2 * KEYFILE_HASH_BYTES ||
        strspn(s, "0123456789abcdef") != 2 * KEYFILE_HASH_BYTES)
        return false;
    for (size_t i = 0; i < KEYFILE_HASH_BYTES; i++) {
        const char pair[] = {s[2 * i], s[2 * i + 1], '\0'};
        hash[i] = (uint8_t)strtoul(pair, NULL, HEX);
    }
    return true;
}

static bool parse_count(const json_t *o, const char *name, json_int_t most, json_int_t *ret)
{
    const json_t *v = json_object_get(o, name);
    *ret = json_integer_value(v);
    return v == NULL || (json_is_integer(v) && *ret >= 0 && *ret <= most);
}

static bool parse_key(const json_t *o, struct keyfile_key *k)
{
    json_int_t created;
    json_int_t requests;
    json_int_t tokens;
    const char *name = json_string_value(json_object_get(o, "name"));
    if (!is_name(name) || !parse_hash(json_string_value(json_object_get(o, "sha256")), k->hash) ||
        !parse_count(o, "created", INT64_MAX, &created) ||
        !parse_count(o, "requests_per_minute", UINT32_MAX, &requests) ||
        !parse_count(o, "tokens_per_minute", UINT32_MAX, &tokens))
        return false;
    (void)snprintf(k->name, sizeof k->name, "%s", name);
    k->created_s = (uint64_t)created;
    k->requests_per_minute = (uint32_t)requests;
    k->tokens_per_minute = (uint32_t)tokens;
    return true;
}

static enum err parse(const char *path, const json_t *root, char *why, struct keyfile *f)
{
    const json_t *keys = json_object_get(root, "keys");
    size_t n = json_array_size(keys);
    if (json_integer_value(json_object_get(root, "version")) != VERSION || !json_is_array(keys) ||
        n > KEYFILE_KEYS_MAX) {
        say(why, "%s is no key file: expected {\"version\":%d,\"keys\":[...]} with at most %d keys",
            path, VERSION, KEYFILE_KEYS_MAX);
        return ERR_INVALID;
    }
    f->keys = mem_zalloc(n + 1, sizeof *f->keys);
    for (; f->n_keys < n; f->n_keys++) {
        if (!parse_key(json_array_get(keys, f->n_keys), &f->keys[f->n_keys])) {
            say(why,
                "%s: key %zu is damaged: expected name, sha256, created, requests_per_minute, "
                "tokens_per_minute",
                path, f->n_keys + 1);
            return ERR_INVALID;
        }
    }
    return ERR_OK;
}

enum err keyfile_read(const char *path, char *why, struct keyfile *ret_file)
{
    int fd = -1;
    json_error_t error;
    struct keyfile f = {0};
    enum err e = open_checked(path, why, &fd);
    if (e != ERR_OK)
        return e;
    json_t *root = json_loadfd(fd, JSON_REJECT_DUPLICATES, &error);
    (void)close(fd);
    if (root == NULL) {
        say(why, "%s is no key file: %s at byte %d", path, error.text, error.position);
        return ERR_INVALID;
    }
    e = parse(path, root, why, &f);
    json_decref(root);
    if (e == ERR_OK)
        *ret_file = f;
    else
        keyfile_fini(&f);
    return e;
}

/* ---- writing ----------------------------------------------------------------------------------- */

static json_t *describe_key(const struct keyfile_key *k)
{
    char hex[2 * KEYFILE_HASH_BYTES + 1];
    for (size_t i = 0; i < KEYFILE_HASH_BYTES; i++)
        (void)snprintf(hex + 2 * i, 3, "%02x", k->hash[i]);
    json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:I}", "name", k->name, "sha256", hex, "created",
                          (json_int_t)k->created_s, "requests_per_minute",
                          (json_int_t)k->requests_per_minute, "tokens_per_minute",
                          (json_int_t)k->tokens_per_minute);
    ASSERT(o != NULL);
    return o;
}

/* The new file belongs to whom the old one did. */
static bool take_owner(int fd, const char *path)
{
    struct stat old;
    if (stat(path, &old) != 0)
        return errno == ENOENT;
    return fchown(fd, old.st_uid, old.st_gid) == 0 && fchmod(fd, old.st_mode & 0640) == 0;
}

static bool write_all(int fd, const char *text, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, text, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        text += done;
        n -= (size_t)done;
    }
    return fsync(fd) == 0;
}

enum err keyfile_write(const char *path, const struct keyfile *file, char *why)
{
    json_t *keys = json_array();
    for (size_t i = 0; i < file->n_keys; i++)
        ASSERT(json_array_append_new(keys, describe_key(&file->keys[i])) == 0);
    json_t *root = json_pack("{s:i, s:o}", "version", VERSION, "keys", keys);
    ASSERT(root != NULL);
    char *text = json_dumps(root, JSON_INDENT(1));
    ASSERT(text != NULL);
    struct buf temporary = {0};
    buf_printf(&temporary, "%s.XXXXXX", path);
    int fd = mkostemp(temporary.ptr, O_CLOEXEC); /* mode 0600 */
    bool ok = fd >= 0 && take_owner(fd, path) && write_all(fd, text, strlen(text));
    ok = ok && rename(temporary.ptr, path) == 0;
    int error = errno;
    if (fd >= 0)
        (void)close(fd);
    if (!ok) {
        if (fd >= 0)
            (void)unlink(temporary.ptr);
        say(why, "cannot write the key file %s: %s", path, strerrordesc_np(error));
    }
    buf_fini(&temporary);
    free(text);
    json_decref(root);
    return ok ? ERR_OK : err_from_errno(error);
}

void keyfile_fini(struct keyfile *file)
{
    free(file->keys);
    *file = (struct keyfile){0};
}

/* ---- keys -------------------------------------------------------------------------------------- */

struct keyfile_key *keyfile_find(const struct keyfile *file, const char *name)
{
    for (size_t i = 0; i < file->n_keys; i++) {
        if (strcmp(file->keys[i].name, name) == 0)
            return &file->keys[i];
    }
    return NULL;
}

void keyfile_hash(struct str secret, uint8_t hash[KEYFILE_HASH_BYTES])
{
    unsigned n = KEYFILE_HASH_BYTES;
    ASSERT(EVP_Digest(secret.ptr, secret.len, hash, &n, EVP_sha256(), NULL) == 1);
}

/* "sk-halo-" and the base64url of 32 random bytes, without padding. */
static void make_secret(char *secret)
{
    uint8_t bytes[SECRET_BYTES + 1] = {0};
    ASSERT(getrandom(bytes, SECRET_BYTES, 0) == SECRET_BYTES);
    size_t at = sizeof PREFIX - 1;
    memcpy(secret, PREFIX, at);
    for (size_t bit = 0; bit < 8 * SECRET_BYTES; bit += 6) {
        unsigned pair = (unsigned)bytes[bit / 8] << 8 | bytes[bit / 8 + 1];
        secret[at++] = BASE64URL[pair >> (10 - bit % 8) & 63];
    }
    ASSERT(at == KEYFILE_SECRET_LEN);
    secret[at] = '\0';
}

enum err keyfile_add(struct keyfile *file, const struct keyfile_key *key, char *ret_secret)
{
    if (!is_name(key->name))
        return ERR_INVALID;
    if (keyfile_find(file, key->name) != NULL)
        return ERR_EXISTS;
    if (file->n_keys == KEYFILE_KEYS_MAX)
        return ERR_FULL;
    file->keys = mem_resize(file->keys, file->n_keys + 1, sizeof *file->keys);
    struct keyfile_key *k = &file->keys[file->n_keys++];
    *k = *key;
    make_secret(ret_secret);
    keyfile_hash((struct str){ret_secret, KEYFILE_SECRET_LEN}, k->hash);
    return ERR_OK;
}

enum err keyfile_remove(struct keyfile *file, const char *name)
{
    struct keyfile_key *k = keyfile_find(file, name);
    if (k == NULL)
        return ERR_NOT_FOUND;
    size_t after = file->n_keys - (size_t)(k - file->keys) - 1;
    memmove(k, k + 1, after * sizeof *k);
    file->n_keys--;
    return ERR_OK;
}

const char *keyfile_default_path(void)
{
    static char path[4096];
    const char *named = getenv("HALO_KEYS");
    const char *config = getenv("XDG_CONFIG_HOME");
    const char *home = getenv("HOME");
    if (named != NULL && *named != '\0')
        return named;
    if (config != NULL && *config == '/')
        (void)snprintf(path, sizeof path, "%s/halo/keys.json", config);
    else if (home != NULL && *home == '/' && getuid() != 0)
        (void)snprintf(path, sizeof path, "%s/.config/halo/keys.json", home);
    else
        (void)snprintf(path, sizeof path, "/etc/halo/keys.json");
    return path;
}
