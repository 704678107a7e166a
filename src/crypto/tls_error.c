#include "crypto/tls_error.h"

#include <stddef.h>
#include <stdio.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/sslerr.h>
#include <openssl/x509_vfy.h>

struct reason {
    int code;
    enum err err;
    const char *text; /* what follows "the dest ..." or "the source ..." */
};

/* What we found wrong about the peer. */
static const struct reason ours[] = {
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, ERR_CERT_MISSING,
     "presents no certificate; set client_cert_path and client_key_path there"},
    {SSL_R_BAD_SIGNATURE, ERR_CERT_PROOF,
     "does not hold the private key of the certificate that it presents"},
    {SSL_R_UNSUPPORTED_PROTOCOL, ERR_TLS_VERSION, "offers only TLS 1.2 or older; 1.3 is needed"},
    {SSL_R_VERSION_TOO_LOW, ERR_TLS_VERSION, "offers only TLS 1.2 or older; 1.3 is needed"},
    {SSL_R_NO_APPLICATION_PROTOCOL, ERR_ALPN, "does not speak utun/1; is it a utun at all?"},
    {SSL_R_EXCESSIVE_MESSAGE_SIZE, ERR_TOO_LARGE,
     "sends a handshake message beyond its bound; is its certificate chain that long?"},
    {SSL_R_NO_SUITABLE_KEY_SHARE, ERR_TLS, "has no key agreement group in common with us"},
    {SSL_R_NO_SHARED_GROUPS, ERR_TLS, "has no key agreement group in common with us"},
    {SSL_R_NO_SHARED_CIPHER, ERR_TLS, "does not offer TLS_AES_256_GCM_SHA384"},
    {SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM, ERR_TLS,
     "accepts no signature algorithm that our certificate's key could make"},
    {SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS, ERR_TLS,
     "accepts no signature algorithm that our certificate's key could make"},
    {SSL_R_WRONG_SIGNATURE_TYPE, ERR_TLS, "signs with an algorithm that is not accepted here"},
    {SSL_R_HTTP_REQUEST, ERR_TLS, "speaks HTTP, not TLS; is the port right?"},
    {SSL_R_WRONG_VERSION_NUMBER, ERR_TLS, "does not speak TLS; is the port right?"},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, ERR_TLS,
     "sent a TLS record that does not authenticate; something on the path alters it"},
};

/* What the peer's alert says about us; codes of RFC 8446, section 6. */
static const struct reason theirs[] = {
    {SSL_AD_BAD_CERTIFICATE, ERR_CERT_REFUSED,
     "refuses our certificate: it may name another host, not be valid yet, or be damaged; check "
     "its names, and both machines' clocks"},
    {SSL_AD_UNSUPPORTED_CERTIFICATE, ERR_CERT_REFUSED,
     "refuses our certificate: it is not for this use; a source needs one made with 'utun cert "
     "client', a dest one made with 'utun cert server'"},
    {SSL_AD_CERTIFICATE_REVOKED, ERR_CERT_REFUSED,
     "refuses our certificate: it has been revoked; issue a new one"},
    {SSL_AD_CERTIFICATE_EXPIRED, ERR_CERT_REFUSED,
     "refuses our certificate: it has expired; issue a new one, unless a clock is wrong"},
    {SSL_AD_CERTIFICATE_UNKNOWN, ERR_CERT_REFUSED,
     "refuses our certificate without saying why; its log does"},
    {SSL_AD_UNKNOWN_CA, ERR_CERT_REFUSED,
     "refuses our certificate: it comes from a CA that is not in the ca_cert_path there"},
    {SSL_AD_ACCESS_DENIED, ERR_CERT_REFUSED, "denies us access"},
    {SSL_AD_CERTIFICATE_REQUIRED, ERR_CERT_REFUSED,
     "requires a certificate and we have none; set client_cert_path and client_key_path"},
    {SSL_AD_DECRYPT_ERROR, ERR_CERT_REFUSED,
     "says that our private key does not fit our certificate"},
    {SSL_AD_PROTOCOL_VERSION, ERR_TLS_VERSION, "does not speak TLS 1.3"},
    {SSL_AD_NO_APPLICATION_PROTOCOL, ERR_ALPN, "does not speak utun/1; is it a utun at all?"},
    {SSL_AD_HANDSHAKE_FAILURE, ERR_TLS,
     "finds no TLS parameters in common with us; is it a utun, and of a version that fits?"},
    {SSL_AD_INSUFFICIENT_SECURITY, ERR_TLS, "finds our TLS parameters too weak"},
    {SSL_AD_ILLEGAL_PARAMETER, ERR_TLS, "finds a parameter of our TLS illegal"},
    {SSL_AD_INTERNAL_ERROR, ERR_TLS, "failed in itself during TLS; its log says more"},
};

static const struct reason *find(const struct reason *list, size_t n, int code)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].code == code)
            return &list[i];
    return NULL;
}

/* The first error of TLS itself: those below it say how it came about, those above it less. */
static unsigned long take_error(void)
{
    unsigned long e = 0, first = 0, first_of_tls = 0;
    while ((e = ERR_get_error()) != 0) {
        if (first == 0)
            first = e;
        if (first_of_tls == 0 && ERR_GET_LIB(e) == ERR_LIB_SSL)
            first_of_tls = e;
    }
    return first_of_tls != 0 ? first_of_tls : first;
}

static enum err certificate_error(const struct tls_failure *f, const char *peer,
                                  struct err_detail *d)
{
    const char *text = NULL;
    enum err e = identity_verify_error(f->verify_result, &text);
    char name[300] = "";
    if (f->peer_name[0] != '\0')
        snprintf(name, sizeof(name), " (\"%s\")", f->peer_name);
    if (e == ERR_CERT_NAME && f->host != NULL)
        return err_set(d, e, "the %s's certificate%s is not for \"%s\": %s", peer, name, f->host,
                       text);
    return err_set(d, e, "the %s's certificate%s: %s", peer, name, text);
}

enum err tls_error_translate(const struct tls_failure *f, struct err_detail *d)
{
    const char *peer = f->role == IDENTITY_SOURCE ? "dest" : "source";
    unsigned long error = take_error();
    int code = ERR_GET_REASON(error);
    if (ERR_GET_LIB(error) != ERR_LIB_SSL)
        return code == ERR_R_MALLOC_FAILURE
                   ? err_set(d, ERR_NOMEM, "TLS: out of memory")
                   : err_set(d, ERR_TLS, "TLS with the %s failed: %s", peer,
                             error != 0 ? ERR_reason_error_string(error) : "no reason given");

    if (code == SSL_R_CERTIFICATE_VERIFY_FAILED && f->verify_result != X509_V_OK)
        return certificate_error(f, peer, d);

    const struct reason *r = NULL;
    if (code >= SSL_AD_REASON_OFFSET)
        r = find(theirs, sizeof(theirs) / sizeof(theirs[0]), code - SSL_AD_REASON_OFFSET);
    else
        r = find(ours, sizeof(ours) / sizeof(ours[0]), code);
    if (r != NULL)
        return err_set(d, r->err, "the %s %s", peer, r->text);

    const char *text = ERR_reason_error_string(error);
    if (code >= SSL_AD_REASON_OFFSET)
        return err_set(d, ERR_TLS, "the %s ended TLS: %s", peer, text != NULL ? text : "an alert");
    return err_set(d, ERR_TLS, "TLS with the %s failed: %s", peer, text != NULL ? text : "unknown");
}
