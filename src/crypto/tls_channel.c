#include "crypto/tls_channel.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/cert_names.h"
#include "crypto/tls_error.h"
#include "crypto/trust.h"

struct tls_channel {
    SSL *ssl; /* owns both BIOs; NULL: ended, and `out` is the channel's own */
    BIO *in;
    BIO *out;
    enum identity_use role;
    enum tls_auth auth;
    uint64_t put; /* raw bytes given in */
    char *host;
    struct tls_notes notes;
};

/* SNI is for names (RFC 6066, section 3). */
static bool expect_host(struct tls_channel *c)
{
    return trust_expect_host(SSL_get0_param(c->ssl), c->host) &&
           (cert_names_is_ip(c->host) || SSL_set_tlsext_host_name(c->ssl, c->host) == 1);
}

static enum err set_host(struct tls_channel *c, const char *host, struct err_detail *d)
{
    if (c->role == IDENTITY_DEST || (c->auth == TLS_AUTH_NONE && host == NULL))
        return ERR_OK;
    c->host = strndup(host != NULL ? host : "", host != NULL ? trust_host_len(host) : 0);
    if (c->host == NULL)
        return err_set(d, ERR_NOMEM, "out of memory");
    if (!expect_host(c)) {
        ERR_clear_error();
        return err_set(d, ERR_CONFIG, "dest_host \"%s\" is neither a host name nor an address",
                       c->host);
    }
    return ERR_OK;
}

static enum err set_bios(struct tls_channel *c)
{
    c->in = BIO_new(BIO_s_mem());
    c->out = BIO_new(BIO_s_mem());
    if (c->in == NULL || c->out == NULL) {
        BIO_free(c->in);
        BIO_free(c->out);
        return ERR_NOMEM;
    }
    SSL_set0_rbio(c->ssl, c->in);
    SSL_set0_wbio(c->ssl, c->out);
    return ERR_OK;
}

enum err tls_channel_new(struct tls_channel **out, const struct tls_context *context,
                         const char *host, struct err_detail *d)
{
    *out = NULL;
    struct tls_channel *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return err_set(d, ERR_NOMEM, "out of memory");
    c->role = tls_context_role(context);
    c->auth = tls_context_auth(context);
    c->ssl = tls_context_make(context, &c->notes);
    enum err e = ERR_OK;
    if (c->ssl == NULL || set_bios(c) != ERR_OK)
        e = err_set(d, ERR_NOMEM, "out of memory");
    else
        e = set_host(c, host, d);
    if (e != ERR_OK) {
        tls_channel_free(c);
        ERR_clear_error();
        return e;
    }
    *out = c;
    return ERR_OK;
}

void tls_channel_end(struct tls_channel *c)
{
    if (BIO_up_ref(c->out) != 1)
        return;
    SSL_free(c->ssl);
    c->ssl = NULL;
    c->in = NULL;
}

void tls_channel_free(struct tls_channel *c)
{
    if (c == NULL)
        return;
    if (c->ssl == NULL)
        BIO_free(c->out);
    SSL_free(c->ssl);
    free(c->host);
    free(c);
}

enum err tls_channel_put(struct tls_channel *c, const uint8_t *data, size_t len)
{
    if (len == 0)
        return ERR_OK;
    if (len > INT_MAX || BIO_write(c->in, data, (int)len) != (int)len) {
        ERR_clear_error();
        return ERR_NOMEM;
    }
    c->put += len;
    return ERR_OK;
}

uint64_t tls_channel_consumed(const struct tls_channel *c)
{
    return c->put - BIO_ctrl_pending(c->in);
}

static enum err failed(struct tls_channel *c, struct err_detail *d)
{
    if (c->notes.is_alpn_wrong) {
        ERR_clear_error();
        return err_set(d, ERR_ALPN, "the source does not speak utun/1; is it a utun at all?");
    }
    bool verifies = c->auth == TLS_AUTH_MUTUAL ||
                    (c->auth == TLS_AUTH_SERVER_ONLY && c->role == IDENTITY_SOURCE);
    struct tls_failure f = {
        .role = c->role,
        .host = c->host,
        .peer_name = c->notes.refused,
        .verify_result = verifies ? SSL_get_verify_result(c->ssl) : X509_V_OK,
    };
    return tls_error_translate(&f, d);
}

/* A dest that skips ALPN has not refused it: nobody has agreed on anything then. */
static enum err check_alpn(struct tls_channel *c, struct err_detail *d)
{
    const unsigned char *name = NULL;
    unsigned int len = 0;
    SSL_get0_alpn_selected(c->ssl, &name, &len);
    if (len == 6 && memcmp(name, "utun/1", 6) == 0)
        return ERR_OK;
    return err_set(d, ERR_ALPN, "the %s does not speak utun/1; is it a utun at all?",
                   c->role == IDENTITY_SOURCE ? "dest" : "source");
}

enum err tls_channel_handshake(struct tls_channel *c, bool *done, struct err_detail *d)
{
    *done = false;
    ERR_clear_error();
    int rc = SSL_do_handshake(c->ssl);
    if (rc != 1) {
        int why = SSL_get_error(c->ssl, rc);
        return why == SSL_ERROR_WANT_READ ? ERR_OK : failed(c, d);
    }
    enum err e = check_alpn(c, d);
    *done = e == ERR_OK;
    c->notes.is_done = true;
    return e;
}

enum err tls_channel_read(struct tls_channel *c, uint8_t *data, size_t len, size_t *n,
                          struct err_detail *d)
{
    *n = 0;
    ERR_clear_error();
    int rc = SSL_read_ex(c->ssl, data, len, n);
    if (c->notes.is_disturbed) {
        *n = 0;
        ERR_clear_error();
        return err_set(d, ERR_UNEXPECTED, "the peer goes on with TLS handshake messages");
    }
    if (rc == 1)
        return ERR_OK;
    switch (SSL_get_error(c->ssl, rc)) {
    case SSL_ERROR_WANT_READ:
        return ERR_OK;
    case SSL_ERROR_ZERO_RETURN:
        return err_set(d, ERR_CLOSED, "the peer has closed TLS in the middle of the handshake");
    default:
        return failed(c, d);
    }
}

bool tls_channel_has_unread(const struct tls_channel *c)
{
    return SSL_has_pending(c->ssl) == 1;
}

enum err tls_channel_write(struct tls_channel *c, const uint8_t *data, size_t len)
{
    size_t n = 0;
    ERR_clear_error();
    if (len > 0 && (SSL_write_ex(c->ssl, data, len, &n) != 1 || n != len)) {
        ERR_clear_error();
        return ERR_TLS;
    }
    return ERR_OK;
}

void tls_channel_output(const struct tls_channel *c, const uint8_t **data, size_t *len)
{
    char *p = NULL;
    long n = BIO_get_mem_data(c->out, &p);
    *data = (const uint8_t *)p;
    *len = n > 0 ? (size_t)n : 0;
}

void tls_channel_sent(struct tls_channel *c, size_t n)
{
    uint8_t gone[4096];
    while (n > 0) {
        int step = BIO_read(c->out, gone, n < sizeof(gone) ? (int)n : (int)sizeof(gone));
        if (step <= 0)
            return;
        n -= (size_t)step;
    }
}

enum err tls_channel_take_rest(struct tls_channel *c, uint8_t **rest, size_t *len)
{
    *rest = NULL;
    *len = 0;
    size_t n = BIO_ctrl_pending(c->in);
    if (n == 0)
        return ERR_OK;
    uint8_t *p = malloc(n);
    if (p == NULL)
        return ERR_NOMEM;
    if (n > INT_MAX || BIO_read(c->in, p, (int)n) != (int)n) {
        free(p);
        return ERR_INTERNAL;
    }
    *rest = p;
    *len = n;
    return ERR_OK;
}

enum err tls_channel_export(struct tls_channel *c, uint8_t out[KDF_SIZE], const char *label,
                            struct kdf_bytes context)
{
    if (SSL_export_keying_material(c->ssl, out, KDF_SIZE, label, strlen(label), context.data,
                                   context.len, 1) != 1) {
        ERR_clear_error();
        memset(out, 0, KDF_SIZE);
        return ERR_CRYPTO;
    }
    return ERR_OK;
}

const X509 *tls_channel_own_cert(const struct tls_channel *c)
{
    if (c->role == IDENTITY_SOURCE && !c->notes.own_cert_asked)
        return NULL;
    return SSL_get_certificate(c->ssl);
}

const X509 *tls_channel_peer_cert(const struct tls_channel *c)
{
    return SSL_get0_peer_certificate(c->ssl);
}

enum err tls_channel_keep_peer(const struct tls_channel *c, struct peer_cert **out)
{
    const struct peer_cert_options shown = {
        .leaf = SSL_get0_peer_certificate(c->ssl),
        .sent = SSL_get_peer_cert_chain(c->ssl),
        .path = SSL_get0_verified_chain(c->ssl),
        .use = c->role == IDENTITY_SOURCE ? IDENTITY_DEST : IDENTITY_SOURCE,
        .host = c->host,
    };

    *out = NULL;
    return shown.leaf == NULL ? ERR_OK : peer_cert_new(out, &shown);
}

const X509 *tls_channel_peer_issuer(const struct tls_channel *c)
{
    STACK_OF(X509) *chain = SSL_get0_verified_chain(c->ssl);

    return sk_X509_num(chain) > 1 ? sk_X509_value(chain, 1) : NULL;
}

const char *tls_channel_group(const struct tls_channel *c)
{
    const char *name = SSL_get0_group_name(c->ssl);
    return name != NULL ? name : "";
}

const char *tls_channel_peer_signature(const struct tls_channel *c)
{
    const char *name = NULL;
    if (SSL_get0_peer_signature_name(c->ssl, &name) != 1 || name == NULL)
        return "";
    return name;
}
