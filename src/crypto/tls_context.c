#include "crypto/tls_context.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>

#include "crypto/cert_info.h"
#include "crypto/trust.h"

#define CIPHERSUITES "TLS_AES_256_GCM_SHA384"
#define SIGNATURES                                                                                 \
    "mldsa65:mldsa44:mldsa87:ed25519:ecdsa_secp256r1_sha256:ecdsa_secp384r1_sha384:"               \
    "rsa_pss_rsae_sha256:rsa_pss_rsae_sha384:rsa_pss_rsae_sha512:"                                 \
    "rsa_pss_pss_sha256:rsa_pss_pss_sha384:rsa_pss_pss_sha512"
#define CHAIN_DEPTH_MAX 8

static const unsigned char alpn[] = "\x06utun/1"; /* RFC 7301: length and name */
#define ALPN_SIZE (sizeof(alpn) - 1)

struct tls_context {
    SSL_CTX *ssl;
    enum identity_use role;
    enum kem_mode mode;
    enum tls_auth auth;
};

const char *tls_context_group(enum kem_mode mode)
{
    return mode == KEM_MCELIECE460896 ? "X25519" : "X25519MLKEM768";
}

/*
 * X25519 alone stands beside the hybrid group only so that peers of different modes get as far as
 * telling each other (PROTOCOL 3.4, D2); the handshake never goes on with it.
 */
static bool set_groups(SSL_CTX *ssl, enum kem_mode mode)
{
    return mode == KEM_MCELIECE460896 ? SSL_CTX_set1_groups_list(ssl, "X25519") == 1
                                      : SSL_CTX_set1_groups_list(ssl, "X25519MLKEM768:X25519") == 1;
}

/* -- callbacks of OpenSSL -- */

static struct tls_notes *notes_of(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned int in_len, void *arg)
{
    unsigned char *chosen = NULL;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, alpn, ALPN_SIZE, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED) {
        notes_of(ssl)->is_alpn_wrong = true;
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    }
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* on_alpn is not called for a client without ALPN, which must not get any further either. */
static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
    const unsigned char *data = NULL;
    size_t len = 0;
    (void)arg;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_supported_versions, &data, &len) != 1)
        return SSL_CLIENT_HELLO_SUCCESS; /* not TLS 1.3: OpenSSL refuses that with its own alert */
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &data,
                                  &len) == 1)
        return SSL_CLIENT_HELLO_SUCCESS;
    notes_of(ssl)->is_alpn_wrong = true;
    *alert = SSL_AD_NO_APPLICATION_PROTOCOL;
    return SSL_CLIENT_HELLO_ERROR;
}

static int on_verify(int is_ok, X509_STORE_CTX *store)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    const X509 *leaf = X509_STORE_CTX_get0_cert(store);
    struct tls_notes *notes = notes_of(ssl);
    is_ok = trust_on_verify(is_ok, store);
    if (!is_ok && leaf != NULL)
        cert_info_common_name(notes->refused, sizeof(notes->refused), leaf);
    return is_ok;
}

static int on_certificate_wanted(SSL *ssl, void *arg)
{
    (void)arg;
    notes_of(ssl)->own_cert_asked = true;
    return 1;
}

static void on_message(int is_write, int version, int type, const void *data, size_t len, SSL *ssl,
                       void *arg)
{
    (void)version;
    (void)data;
    (void)len;
    (void)arg;
    struct tls_notes *notes = notes_of(ssl);
    if (!is_write && type == SSL3_RT_HANDSHAKE && notes->is_done)
        notes->is_disturbed = true;
}

/* -- settings -- */

static bool set_source(SSL_CTX *ssl, enum tls_auth auth)
{
    SSL_CTX_set_verify(ssl, auth == TLS_AUTH_NONE ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, on_verify);
    SSL_CTX_set_cert_cb(ssl, on_certificate_wanted, NULL);
    return SSL_CTX_set_alpn_protos(ssl, alpn, ALPN_SIZE) == 0; /* 0 is success here */
}

static void set_dest(SSL_CTX *ssl, enum tls_auth auth)
{
    SSL_CTX_set_verify(ssl,
                       auth == TLS_AUTH_MUTUAL ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT
                                               : SSL_VERIFY_NONE,
                       on_verify);
    SSL_CTX_set_client_hello_cb(ssl, on_client_hello, NULL);
    SSL_CTX_set_alpn_select_cb(ssl, on_alpn, NULL);
}

static bool set_protocol(SSL_CTX *ssl, enum kem_mode mode)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                 SSL_OP_NO_RX_CERTIFICATE_COMPRESSION |
                                 SSL_OP_NO_TX_CERTIFICATE_COMPRESSION);
    /* The trust store is for peers: our own chain is what the operator gave us. */
    SSL_CTX_set_mode(ssl, SSL_MODE_NO_AUTO_CHAIN | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(ssl, (long)TLS_CERTIFICATES_MAX);
    SSL_CTX_set_verify_depth(ssl, CHAIN_DEPTH_MAX);
    /* With read-ahead, TLS would take bytes that belong to the first record behind it. */
    SSL_CTX_set_read_ahead(ssl, 0);
    SSL_CTX_set_msg_callback(ssl, on_message);
    return SSL_CTX_set_min_proto_version(ssl, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_max_proto_version(ssl, TLS1_3_VERSION) == 1 &&
           SSL_CTX_set_ciphersuites(ssl, CIPHERSUITES) == 1 && set_groups(ssl, mode) &&
           SSL_CTX_set1_sigalgs_list(ssl, SIGNATURES) == 1 &&
           SSL_CTX_set_num_tickets(ssl, 0) == 1 && SSL_CTX_set_max_early_data(ssl, 0) == 1 &&
           SSL_CTX_set_recv_max_early_data(ssl, 0) == 1;
}

static bool set_certificates(SSL_CTX *ssl, const struct identity *id)
{
    SSL_CTX_set1_cert_store(ssl, identity_store(id));
    if (identity_leaf(id) == NULL)
        return true;
    return SSL_CTX_use_cert_and_key(ssl, identity_leaf(id), identity_key(id), identity_chain(id),
                                    1) == 1;
}

enum err tls_context_new(struct tls_context **out, const struct identity *id, enum kem_mode mode,
                         enum tls_auth auth, struct err_detail *d)
{
    *out = NULL;
    enum identity_use role = identity_use(id);
    if (identity_leaf(id) == NULL && role == IDENTITY_DEST)
        return err_set(d, ERR_CONFIG,
                       "a dest needs a certificate; set server_cert_path and server_key_path");
    if (identity_leaf(id) == NULL && auth == TLS_AUTH_MUTUAL)
        return err_set(d, ERR_CONFIG,
                       "a source needs a certificate; set client_cert_path and client_key_path");

    enum err e = ERR_OK;
    struct tls_context *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return err_set(d, ERR_NOMEM, "out of memory");
    c->role = role;
    c->mode = mode;
    c->auth = auth;
    c->ssl = SSL_CTX_new(role == IDENTITY_SOURCE ? TLS_client_method() : TLS_server_method());
    if (c->ssl == NULL) {
        e = err_set(d, ERR_NOMEM, "out of memory");
        goto out;
    }
    if (!set_protocol(c->ssl, mode) || (role == IDENTITY_SOURCE && !set_source(c->ssl, auth))) {
        e = err_set(d, ERR_CRYPTO, "TLS: this OpenSSL lacks something that is needed: %s",
                    ERR_reason_error_string(ERR_peek_last_error()));
        goto out;
    }
    if (!set_certificates(c->ssl, id)) {
        e = err_set(d, ERR_CRYPTO, "TLS: cannot use the certificate or its key: %s",
                    ERR_reason_error_string(ERR_peek_last_error()));
        goto out;
    }
    if (role == IDENTITY_DEST)
        set_dest(c->ssl, auth);
    *out = c;
    c = NULL;
out:
    tls_context_free(c);
    ERR_clear_error();
    return e;
}

void tls_context_free(struct tls_context *c)
{
    if (c == NULL)
        return;
    SSL_CTX_free(c->ssl);
    free(c);
}

enum identity_use tls_context_role(const struct tls_context *c)
{
    return c->role;
}

enum kem_mode tls_context_kem_mode(const struct tls_context *c)
{
    return c->mode;
}

enum tls_auth tls_context_auth(const struct tls_context *c)
{
    return c->auth;
}

SSL *tls_context_make(const struct tls_context *c, struct tls_notes *notes)
{
    SSL *ssl = SSL_new(c->ssl);
    if (ssl == NULL)
        return NULL;
    if (SSL_set_app_data(ssl, notes) != 1) {
        SSL_free(ssl);
        return NULL;
    }
    /* These return nothing; without memory they leave something behind that crashes when used. */
    ERR_clear_error();
    if (c->role == IDENTITY_SOURCE)
        SSL_set_connect_state(ssl);
    else
        SSL_set_accept_state(ssl);
    if (ERR_peek_error() != 0) {
        SSL_free(ssl);
        return NULL;
    }
    return ssl;
}
