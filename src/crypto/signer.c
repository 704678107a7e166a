#include "crypto/signer.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "crypto/pem.h"
#include "crypto/signer_key.h"
#include "crypto/signer_message.h"

/* -- the signer -- */

struct keys {
    struct {
        uint32_t number; /* 0: free */
        EVP_PKEY *key;
    } rows[SIGNER_KEYS_MAX];
    uint32_t last;
};

static void answer_load(struct keys *keys, const struct signer_options *options,
                        const struct signer_question *q, struct signer_answer *a)
{
    const char *path = (const char *)q->data;
    EVP_PKEY *key = NULL;
    unsigned char *at = a->data;
    struct err_detail d = {""};
    size_t row = 0;
    enum err e;
    int len;

    if (strcmp(path, options->key_path) != 0) {
        a->err = err_set(&d, ERR_NOT_ALLOWED,
                         "%s %s: the signer reads no key but %s, which was named at the start; "
                         "restart utun to use another",
                         q->what, path, options->key_path);
        goto out;
    }
    while (row < SIGNER_KEYS_MAX && keys->rows[row].number != 0)
        row++;
    if (row == SIGNER_KEYS_MAX) {
        a->err = err_set(&d, ERR_LIMIT, "%s: the signer keeps %d keys already", q->what,
                         SIGNER_KEYS_MAX);
        goto out;
    }
    e = pem_read_key(&key, path, q->what, (enum file_access)q->access, &d);
    a->err = e;
    if (e != ERR_OK)
        goto out;
    len = i2d_PUBKEY(key, NULL);
    if (len <= 0 || (size_t)len > sizeof(a->data)) {
        a->err = err_set(&d, ERR_CRYPTO, "%s: its public key has %d bytes", q->what, len);
        goto out;
    }
    a->len = (uint32_t)i2d_PUBKEY(key, &at);
    a->key = ++keys->last;
    keys->rows[row].number = a->key;
    keys->rows[row].key = key;
    key = NULL;
out:
    memcpy(a->detail, d.text, sizeof(a->detail));
    EVP_PKEY_free(key);
    ERR_clear_error();
}

static EVP_PKEY *find_key(const struct keys *keys, uint32_t number)
{
    for (size_t i = 0; i < SIGNER_KEYS_MAX; i++)
        if (number != 0 && keys->rows[i].number == number)
            return keys->rows[i].key;
    return NULL;
}

/* -- what may be signed -- */

#define PADDING_SIZE 64
#define HASH_SIZE    48 /* of TLS_AES_256_GCM_SHA384, the only cipher suite */

/* RFC 8446, 4.4.3: spaces, whose signature it is, a zero, the hash of the transcript. */
static bool is_certificate_verify(const struct signer_question *q, enum identity_use use)
{
    static const char client[] = "TLS 1.3, client CertificateVerify";
    static const char server[] = "TLS 1.3, server CertificateVerify";
    const char *context = use == IDENTITY_SOURCE ? client : server;

    if (q->len != PADDING_SIZE + sizeof(client) + HASH_SIZE)
        return false;
    for (size_t i = 0; i < PADDING_SIZE; i++)
        if (q->data[i] != ' ')
            return false;
    return memcmp(q->data + PADDING_SIZE, context, sizeof(client)) == 0;
}

/* Those of TLS 1.3 (RFC 8446, 4.2.3): no other hash, and of RSA only PSS. */
static bool is_scheme(const struct signer_scheme *scheme, const EVP_PKEY *key)
{
    EVP_MD *md;
    bool is_one;

    if (EVP_PKEY_is_a(key, "RSA") ? scheme->padding != RSA_PKCS1_PSS_PADDING
                                  : scheme->padding != 0 && !EVP_PKEY_is_a(key, "RSA-PSS"))
        return false;
    if (scheme->digest[0] == 0)
        return !EVP_PKEY_is_a(key, "RSA") && !EVP_PKEY_is_a(key, "RSA-PSS") &&
               !EVP_PKEY_is_a(key, "EC");
    md = EVP_MD_fetch(NULL, scheme->digest, NULL);
    is_one = md != NULL &&
             (EVP_MD_is_a(md, "SHA256") || EVP_MD_is_a(md, "SHA384") || EVP_MD_is_a(md, "SHA512"));
    EVP_MD_free(md);
    return is_one;
}

static bool set_scheme(EVP_PKEY_CTX *ctx, const struct signer_scheme *scheme)
{
    if (scheme->padding == 0)
        return true;
    return EVP_PKEY_CTX_set_rsa_padding(ctx, scheme->padding) > 0 &&
           (scheme->padding != RSA_PKCS1_PSS_PADDING ||
            EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, scheme->salt_len) > 0);
}

static void answer_sign(const struct keys *keys, enum identity_use use,
                        const struct signer_question *q, struct signer_answer *a)
{
    EVP_PKEY *key = find_key(keys, q->key);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL; /* the digest context's own */
    size_t len = sizeof(a->data);

    a->err = ERR_CRYPTO;
    if (key == NULL || md == NULL)
        goto out;
    if (!is_certificate_verify(q, use) || !is_scheme(&q->scheme, key)) {
        a->err = ERR_NOT_ALLOWED;
        goto out;
    }
    if (EVP_DigestSignInit_ex(md, &ctx, q->scheme.digest[0] != 0 ? q->scheme.digest : NULL, NULL,
                              NULL, key, NULL) != 1 ||
        !set_scheme(ctx, &q->scheme) || EVP_DigestSign(md, a->data, &len, q->data, q->len) != 1)
        goto out;
    a->len = (uint32_t)len;
    a->err = ERR_OK;
out:
    EVP_MD_CTX_free(md);
    ERR_clear_error();
}

static void drop(struct keys *keys, uint32_t number)
{
    for (size_t i = 0; i < SIGNER_KEYS_MAX; i++) {
        if (keys->rows[i].number != number)
            continue;
        EVP_PKEY_free(keys->rows[i].key);
        keys->rows[i].key = NULL;
        keys->rows[i].number = 0;
    }
}

/* Whether it is whole, and its texts end. The one who asks may have been taken over. */
static bool is_sound(const struct signer_question *q, ssize_t got)
{
    const size_t head = offsetof(struct signer_question, data);

    return got >= (ssize_t)head && q->len <= sizeof(q->data) && (size_t)got == head + q->len &&
           memchr(q->what, 0, sizeof(q->what)) != NULL &&
           memchr(q->scheme.digest, 0, sizeof(q->scheme.digest)) != NULL &&
           (q->kind != SIGNER_LOAD ||
            (q->access <= FILE_SECRET_ANY_MODE && q->access != FILE_PUBLIC &&
             memchr(q->data, 0, q->len) != NULL));
}

/* False when the other end is gone. */
static bool send_answer(int fd, const struct signer_answer *a)
{
    size_t size = offsetof(struct signer_answer, data) + a->len;
    ssize_t sent;

    do {
        sent = send(fd, a, size, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)size;
}

void signer_serve(const struct signer_options *options)
{
    struct keys keys = {.last = 0};
    struct signer_question q;
    struct signer_answer a;

    for (;;) {
        ssize_t got = recv(options->fd, &q, sizeof(q), 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 || !is_sound(&q, got))
            break;
        if (q.kind == SIGNER_DROP) {
            drop(&keys, q.key);
            continue;
        }
        memset(&a, 0, sizeof(a));
        a.number = q.number;
        a.err = ERR_UNEXPECTED;
        if (q.kind == SIGNER_LOAD)
            answer_load(&keys, options, &q, &a);
        else if (q.kind == SIGNER_SIGN)
            answer_sign(&keys, options->use, &q, &a);
        if (!send_answer(options->fd, &a))
            break;
    }
    for (size_t i = 0; i < SIGNER_KEYS_MAX; i++)
        EVP_PKEY_free(keys.rows[i].key);
}

/* -- the network's process -- */

struct signer {
    int fd;
    uint64_t number;
    pthread_mutex_t lock;
    struct signer_question question; /* under the lock */
    struct signer_answer answer;
};

enum err signer_new(struct signer **out, int fd)
{
    const struct timeval patience = {.tv_sec = SIGNER_PATIENCE_SECS};
    struct signer *s = calloc(1, sizeof(*s));

    *out = NULL;
    if (s == NULL)
        return ERR_NOMEM;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    s->fd = fd;
    pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return ERR_OK;
}

void signer_free(struct signer *s)
{
    if (s == NULL)
        return;
    close(s->fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static enum err send_question(struct signer *s)
{
    size_t size = offsetof(struct signer_question, data) + s->question.len;
    ssize_t sent;

    s->question.number = ++s->number;
    do {
        sent = send(s->fd, &s->question, size, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return ERR_TIMEOUT;
    return sent == (ssize_t)size ? ERR_OK : ERR_CLOSED;
}

/* Of a key that came when nobody waited for it any more, so that its place is free again. */
static void forget(const struct signer *s, uint32_t key)
{
    const struct signer_question q = {.kind = SIGNER_DROP, .key = key};

    (void)send(s->fd, &q, offsetof(struct signer_question, data), MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* The answer to the question; one that comes too late for its own is passed over. */
static enum err take_answer(struct signer *s)
{
    const size_t head = offsetof(struct signer_answer, data);

    for (;;) {
        ssize_t got = recv(s->fd, &s->answer, sizeof(s->answer), 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return ERR_TIMEOUT;
        if (got < (ssize_t)head || s->answer.len > sizeof(s->answer.data) ||
            (size_t)got != head + s->answer.len || s->answer.err >= ERR_COUNT)
            return ERR_CLOSED;
        if (s->answer.number == s->question.number)
            return (enum err)s->answer.err;
        if (s->answer.key != 0)
            forget(s, s->answer.key);
    }
}

enum err signer_load(struct signer *s, EVP_PKEY **out, const char *path, const char *what,
                     enum file_access access, struct err_detail *d)
{
    struct signer_question *q = &s->question;
    size_t len = strlen(path) + 1;
    uint8_t public_key[SIGNER_ANSWER_MAX];
    size_t public_len = 0;
    uint32_t number = 0;
    enum err e;

    *out = NULL;
    if (len > sizeof(q->data))
        return err_set(d, ERR_USAGE, "%s: the path is too long", what);
    pthread_mutex_lock(&s->lock);
    memset(q, 0, offsetof(struct signer_question, data));
    q->kind = SIGNER_LOAD;
    q->access = (uint32_t)access;
    q->len = (uint32_t)len;
    snprintf(q->what, sizeof(q->what), "%s", what);
    memcpy(q->data, path, len);
    e = send_question(s);
    if (e == ERR_OK) {
        s->answer.detail[0] = 0;
        e = take_answer(s);
    }
    s->answer.detail[sizeof(s->answer.detail) - 1] = 0;
    if (e == ERR_OK) {
        number = s->answer.key;
        public_len = s->answer.len;
        memcpy(public_key, s->answer.data, public_len);
    } else if (e == ERR_CLOSED || e == ERR_TIMEOUT)
        (void)err_set(d, e, "%s %s: the signer process does not answer; restart utun", what, path);
    else
        (void)err_set(d, e, "%s", s->answer.detail);
    pthread_mutex_unlock(&s->lock);
    if (e != ERR_OK)
        return e;
    e = signer_key_new(out, s, number, public_key, public_len, d);
    if (e != ERR_OK)
        signer_drop(s, number);
    return e;
}

enum err signer_sign(struct signer *s, uint32_t key, const struct signer_scheme *scheme,
                     const void *data, size_t data_len, uint8_t *signature, size_t *len)
{
    struct signer_question *q = &s->question;
    enum err e = ERR_TOO_LARGE;

    if (data_len > sizeof(q->data))
        return e;
    pthread_mutex_lock(&s->lock);
    memset(q, 0, offsetof(struct signer_question, data));
    q->kind = SIGNER_SIGN;
    q->key = key;
    q->scheme = *scheme;
    q->len = (uint32_t)data_len;
    memcpy(q->data, data, data_len);
    e = send_question(s);
    if (e == ERR_OK)
        e = take_answer(s);
    if (e == ERR_OK && s->answer.len > *len)
        e = ERR_TOO_LARGE;
    if (e == ERR_OK) {
        *len = s->answer.len;
        memcpy(signature, s->answer.data, *len);
    }
    pthread_mutex_unlock(&s->lock);
    return e;
}

void signer_drop(struct signer *s, uint32_t key)
{
    struct signer_question *q = &s->question;

    pthread_mutex_lock(&s->lock);
    memset(q, 0, offsetof(struct signer_question, data));
    q->kind = SIGNER_DROP;
    q->key = key;
    (void)send_question(s);
    pthread_mutex_unlock(&s->lock);
}
