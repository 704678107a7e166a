/*
 * The daemon and the process that keeps its key, each as if the other had been taken over.
 *
 * Whoever asks the signer anything gets nothing of the private half, no key but of the one file,
 * and no signature but of a CertificateVerify of the signer's own role, by a scheme of TLS 1.3,
 * with a key that was loaded and not dropped. Whoever answers the daemon anything, late, twice or
 * not at all, gets an error for it, or a key with which nothing can be done but to ask again.
 */
#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "crypto/cert_key.h"
#include "crypto/pem.h"
#include "crypto/signer.h"
#include "crypto/signer_message.h"
#include "target.h"

#define HEAD        offsetof(struct signer_question, data)
#define ANSWER_HEAD offsetof(struct signer_answer, data)

/* So few that all of them, and their answers, wait in the socket. */
#define MESSAGES_MAX 12

/* -- the input -- */

struct input {
    const uint8_t *at;
    size_t left;
};

static uint8_t take(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

static size_t take_bytes(struct input *in, void *out, size_t len)
{
    size_t n = len < in->left ? len : in->left;

    memcpy(out, in->at, n);
    in->at += n;
    in->left -= n;
    return n;
}

/* -- keys -- */

enum { ML_DSA, ED25519, ECDSA, RSA_KEY, KEYS };

static struct key {
    EVP_PKEY *key;
    char path[32];
    uint8_t *public_key;
    size_t public_len;
    uint8_t secret[32]; /* some bytes of the private half */
} keys[KEYS];

static void note_secret(struct key *k)
{
    uint8_t bytes[8192];
    size_t len = sizeof(bytes);
    BIGNUM *number = NULL;

    if (EVP_PKEY_get_raw_private_key(k->key, bytes, &len) == 1) {
        assert(len >= sizeof(k->secret));
        memcpy(k->secret, bytes + len - sizeof(k->secret), sizeof(k->secret));
        return;
    }
    assert(EVP_PKEY_get_bn_param(k->key, EVP_PKEY_is_a(k->key, "RSA") ? "d" : "priv", &number));
    assert(BN_bn2binpad(number, bytes, (int)sizeof(bytes)) > 0);
    memcpy(k->secret, bytes + sizeof(bytes) - sizeof(k->secret), sizeof(k->secret));
    BN_clear_free(number);
}

static void make_key(struct key *k, EVP_PKEY *key)
{
    struct file_bytes pem;
    int fd = memfd_create("key", MFD_CLOEXEC);
    int len = i2d_PUBKEY(key, &k->public_key);

    k->key = key;
    assert(fd >= 0 && len > 0 && pem_encode_key(&pem, key) == ERR_OK);
    k->public_len = (size_t)len;
    assert(write(fd, pem.data, pem.len) == (ssize_t)pem.len && fchmod(fd, 0600) == 0);
    snprintf(k->path, sizeof(k->path), "/proc/self/fd/%d", fd);
    file_bytes_free(&pem);
    note_secret(k);
}

static void make_keys(void)
{
    static const enum cert_key_algorithm algorithms[] = {
        [ML_DSA] = CERT_KEY_ML_DSA_65, [ED25519] = CERT_KEY_ED25519, [ECDSA] = CERT_KEY_ECDSA_P256};

    for (int i = 0; i < RSA_KEY; i++) {
        EVP_PKEY *key;

        assert(cert_key_generate(&key, algorithms[i]) == ERR_OK);
        make_key(&keys[i], key);
    }
    make_key(&keys[RSA_KEY], EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048));
}

/* -- what is right -- */

static const char spaces[] = "                                                                ";
static const char contexts[2][34] = {"TLS 1.3, client CertificateVerify",
                                     "TLS 1.3, server CertificateVerify"};

#define CONTENT_LEN (sizeof(spaces) - 1 + sizeof(contexts[0]) + 48)

static void put_content(uint8_t out[CONTENT_LEN], enum identity_use use)
{
    memcpy(out, spaces, sizeof(spaces) - 1);
    memcpy(out + sizeof(spaces) - 1, contexts[use == IDENTITY_DEST], sizeof(contexts[0]));
    memset(out + CONTENT_LEN - 48, 'h', 48);
}

static const struct signer_scheme schemes[] = {
    {.digest = ""},
    {.digest = "SHA256"},
    {.digest = "SHA2-384"},
    {.digest = "SHA512", .padding = RSA_PKCS1_PSS_PADDING, .salt_len = RSA_PSS_SALTLEN_DIGEST},
    {.digest = "SHA256", .padding = RSA_PKCS1_PADDING},
    {.digest = "SHA1"},
    {.digest = "SHA256", .padding = RSA_NO_PADDING},
    {.digest = "", .padding = RSA_PKCS1_PSS_PADDING},
};

/* Ed25519 and ML-DSA bring their own hash; RSA is PSS; and nothing is signed with an old hash. */
static bool is_right_scheme(const struct signer_scheme *s, int key)
{
    static const char *const digests[] = {"SHA256",   "SHA384",  "SHA512",  "SHA2-256", "SHA2-384",
                                          "SHA2-512", "SHA-256", "SHA-384", "SHA-512"};
    EVP_MD *md;
    bool is_one = false;

    if (key == ML_DSA || key == ED25519)
        return s->digest[0] == 0 && s->padding == 0;
    if (s->padding != (key == RSA_KEY ? RSA_PKCS1_PSS_PADDING : 0))
        return false;
    md = EVP_MD_fetch(NULL, s->digest, NULL);
    for (size_t i = 0; md != NULL && i < sizeof(digests) / sizeof(digests[0]); i++)
        is_one = is_one || EVP_MD_is_a(md, digests[i]);
    EVP_MD_free(md);
    return is_one;
}

static bool verifies(const struct signer_question *q, const struct signer_answer *a, int key)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL;
    const char *digest = q->scheme.digest[0] != 0 ? q->scheme.digest : NULL;
    bool is_good;

    is_good = EVP_DigestVerifyInit_ex(md, &ctx, digest, NULL, NULL, keys[key].key, NULL) == 1;
    if (is_good && q->scheme.padding != 0)
        is_good = EVP_PKEY_CTX_set_rsa_padding(ctx, q->scheme.padding) > 0 &&
                  EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, RSA_PSS_SALTLEN_AUTO) > 0;
    is_good = is_good && EVP_DigestVerify(md, a->data, a->len, q->data, q->len) == 1;
    EVP_MD_CTX_free(md);
    return is_good;
}

/* -- who asks the signer -- */

struct asked {
    struct signer_question questions[MESSAGES_MAX];
    size_t sizes[MESSAGES_MAX];
    size_t count;
    int key;
    enum identity_use use;
};

/* What the signer would get from us, but for what the input says is to be otherwise. */
static size_t make_question(struct asked *asked, struct signer_question *q, struct input *in)
{
    uint8_t op = take(in);
    size_t size;

    memset(q, 0, sizeof(*q));
    q->kind = op % 4 == 3 ? take(in) : op % 4;
    q->number = asked->count + 1;
    if (q->kind == SIGNER_LOAD) {
        snprintf(q->what, sizeof(q->what), "key");
        q->access = FILE_SECRET;
        q->len = (uint32_t)snprintf((char *)q->data, sizeof(q->data), "%s",
                                    keys[(asked->key + (op >> 4)) % KEYS].path) +
                 1;
    } else {
        q->key = take(in);
        q->scheme = schemes[take(in) % (sizeof(schemes) / sizeof(schemes[0]))];
        if (q->kind == SIGNER_SIGN) {
            put_content(q->data, (op & 0x40) != 0 ? !asked->use : asked->use);
            q->len = CONTENT_LEN;
        }
    }
    size = HEAD + q->len;
    for (unsigned changes = (op >> 2) & 3; changes > 0; changes--) {
        size_t at = (size_t)take(in) << 8;

        at = (at | take(in)) % sizeof(*q);
        ((uint8_t *)q)[at] ^= take(in);
    }
    if ((op & 0x80) != 0) { /* other data, and another length than it says */
        q->len = (uint32_t)take_bytes(in, q->data, (size_t)take(in) * 16);
        size = HEAD + q->len + take(in) % 3;
        size -= size > HEAD && op % 3 == 0 ? 1 : 0;
    }
    return size;
}

/* Whether the key of that number is one that the signer may have, by the questions before. */
static bool is_loaded(const struct asked *asked, const struct signer_answer *answers, size_t count,
                      uint32_t key, size_t before)
{
    bool is = false;

    for (size_t i = 0; i < before; i++) {
        const struct signer_question *q = &asked->questions[i];

        if (q->kind == SIGNER_DROP && q->key == key)
            is = false;
        for (size_t k = 0; q->kind == SIGNER_LOAD && k < count; k++)
            is = is ||
                 (answers[k].number == i + 1 && answers[k].err == ERR_OK && answers[k].key == key);
    }
    return is;
}

/* By hand: libFuzzer learns what memmem looks for, and would put it into a path, which is shown. */
static bool has_secret(const void *bytes, size_t len, const struct key *key)
{
    const uint8_t *at = bytes;

    for (size_t i = 0; i + sizeof(key->secret) <= len; i++) {
        uint8_t difference = 0;

        for (size_t k = 0; k < sizeof(key->secret); k++)
            difference |= at[i + k] ^ key->secret[k];
        if (difference == 0)
            return true;
    }
    return false;
}

static void check_answers(const struct asked *asked, const struct signer_answer *answers,
                          const ssize_t *sizes, size_t count)
{
    const struct key *key = &keys[asked->key];
    uint8_t content[CONTENT_LEN];

    put_content(content, asked->use);
    for (size_t i = 0; i < count; i++) {
        const struct signer_answer *a = &answers[i];
        const struct signer_question *q;

        assert(sizes[i] == (ssize_t)(ANSWER_HEAD + a->len) && a->err < ERR_COUNT);
        assert(memchr(a->detail, 0, sizeof(a->detail)) != NULL);
        for (size_t k = 0; k < KEYS; k++)
            assert(!has_secret(a, (size_t)sizes[i], &keys[k]));
        if (a->err != ERR_OK) {
            assert(a->len == 0 && a->key == 0);
            continue;
        }
        assert(a->number >= 1 && a->number <= asked->count);
        q = &asked->questions[a->number - 1];
        if (q->kind == SIGNER_LOAD) {
            assert(strcmp((const char *)q->data, key->path) == 0 && a->key != 0);
            assert(a->len == key->public_len && memcmp(a->data, key->public_key, a->len) == 0);
        } else {
            assert(q->kind == SIGNER_SIGN && q->len == CONTENT_LEN);
            assert(memcmp(q->data, content, CONTENT_LEN - 48) == 0);
            assert(is_right_scheme(&q->scheme, asked->key));
            assert(is_loaded(asked, answers, count, q->key, a->number - 1));
            assert(verifies(q, a, asked->key));
        }
    }
}

/* All questions wait in the socket when it is served, and all answers when it has ended. */
static void ask_anything(struct input *in, uint8_t how)
{
    static struct asked asked;
    static struct signer_answer answers[MESSAGES_MAX];
    ssize_t sizes[MESSAGES_MAX];
    size_t count = 0;
    int ends[2];

    asked.count = 0;
    asked.key = how % KEYS;
    asked.use = (how & 4) != 0 ? IDENTITY_DEST : IDENTITY_SOURCE;
    assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    while (in->left > 0 && asked.count < MESSAGES_MAX) {
        struct signer_question *q = &asked.questions[asked.count];
        size_t size = make_question(&asked, q, in);

        size = size < sizeof(*q) ? size : sizeof(*q);
        q->number = ++asked.count; /* whatever was changed: it tells the answers apart */
        assert(send(ends[0], q, size, MSG_NOSIGNAL) == (ssize_t)size);
    }
    assert(shutdown(ends[0], SHUT_WR) == 0);
    signer_serve(&(struct signer_options){
        .fd = ends[1], .key_path = keys[asked.key].path, .use = asked.use});
    assert(shutdown(ends[1], SHUT_WR) == 0); /* not close, which takes answers away */
    while (count < MESSAGES_MAX &&
           (sizes[count] = recv(ends[0], &answers[count], sizeof(answers[count]), 0)) > 0)
        count++;
    close(ends[0]);
    close(ends[1]);
    check_answers(&asked, answers, sizes, count);
}

/* -- who answers the daemon -- */

static void make_answer(int fd, struct input *in, const struct key *key, uint64_t number)
{
    static struct signer_answer a;
    uint8_t op = take(in);
    size_t size;

    memset(&a, 0, sizeof(a));
    a.number = number + (op >> 6);
    a.err = (op & 1) != 0 ? take(in) : ERR_OK;
    a.key = (op & 2) != 0 ? take(in) : 1;
    if ((op & 4) != 0) {
        a.len = (uint32_t)take_bytes(in, a.data, (size_t)take(in) * 16);
    } else {
        memcpy(a.data, key->public_key, key->public_len);
        a.len = (uint32_t)key->public_len;
    }
    size = ANSWER_HEAD + a.len;
    for (unsigned changes = (op >> 3) & 3; changes > 0; changes--) {
        size_t at = (size_t)take(in) << 8;

        at = (at | take(in)) % size;
        ((uint8_t *)&a)[at] ^= take(in);
    }
    if ((op & 0x20) != 0)
        size = size * take(in) / 128;
    size = size < sizeof(a) ? size : sizeof(a);
    assert(send(fd, &a, size, MSG_NOSIGNAL) == (ssize_t)size);
}

/* As TLS does: how long, then the signature. */
static void sign(EVP_PKEY *key, const struct signer_scheme *scheme)
{
    const char *digest = scheme->digest[0] != 0 ? scheme->digest : NULL;
    uint8_t content[CONTENT_LEN];
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    EVP_PKEY_CTX *ctx = NULL;
    uint8_t *signature = NULL;
    size_t room = 0;
    size_t len;

    put_content(content, IDENTITY_DEST);
    if (EVP_DigestSignInit_ex(md, &ctx, digest, NULL, NULL, key, NULL) == 1 &&
        (scheme->padding == 0 || EVP_PKEY_CTX_set_rsa_padding(ctx, scheme->padding) > 0) &&
        EVP_DigestSign(md, NULL, &room, content, sizeof(content)) == 1 && room > 0) {
        len = room;
        signature = malloc(room); /* no byte more, so that a sanitizer sees one too many */
        assert(signature != NULL);
        if (EVP_DigestSign(md, signature, &len, content, sizeof(content)) == 1)
            assert(len <= room);
    }
    free(signature);
    EVP_MD_CTX_free(md);
}

static void answer_anything(struct input *in, uint8_t how)
{
    const struct key *key = &keys[how % KEYS];
    struct signer *signer;
    EVP_PKEY *loaded[3] = {NULL};
    int ends[2];

    assert(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    assert(signer_new(&signer, ends[0]) == ERR_OK);
    for (uint64_t i = 0; in->left > 0 && i < MESSAGES_MAX; i++)
        make_answer(ends[1], in, key, i);
    assert(shutdown(ends[1], SHUT_WR) == 0);
    for (size_t i = 0; i < 3; i++) {
        struct err_detail d = {.text = "?"};
        enum err e = signer_load(signer, &loaded[i], "/its/key", "key", FILE_SECRET, &d);

        assert((e == ERR_OK) == (loaded[i] != NULL));
        assert(memchr(d.text, 0, sizeof(d.text)) != NULL);
        if (e == ERR_OK)
            sign(loaded[i], &schemes[(how >> 4) % (sizeof(schemes) / sizeof(schemes[0]))]);
    }
    for (size_t i = 0; i < 3; i++)
        EVP_PKEY_free(loaded[i]);
    signer_free(signer);
    close(ends[1]);
}

/*
 * The first byte: its highest bit says who has been taken over, the lowest two which key there is,
 * the next whose it is.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.at = data, .left = size};
    uint8_t how = take(&in);

    if (keys[0].key == NULL)
        make_keys();
    if ((how & 0x80) != 0)
        answer_anything(&in, how);
    else
        ask_anything(&in, how);
    return 0;
}
