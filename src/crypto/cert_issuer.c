#include "crypto/cert_issuer.h"

#include <stdint.h>

#include <openssl/err.h>

#include "crypto/cert_info.h"
#include "crypto/pem.h"

static const struct {
    uint32_t usage; /* OpenSSL's bit of keyUsage */
    const char *missing;
} rights[] = {
    [CERT_ISSUER_SIGNS_CERTS] = {X509v3_KU_KEY_CERT_SIGN, "certificates (keyCertSign)"},
    [CERT_ISSUER_SIGNS_CRLS] = {X509v3_KU_CRL_SIGN, "CRLs (cRLSign)"},
};

enum err cert_issuer_read(X509 **cert, EVP_PKEY **key, const char *cert_path, const char *key_path,
                          struct err_detail *d)
{
    enum err e = pem_read_cert(cert, cert_path, "CA certificate", d);

    *key = NULL;
    if (e == ERR_OK)
        e = pem_read_key(key, key_path, "CA key", FILE_SECRET, d);
    if (e != ERR_OK) {
        X509_free(*cert);
        *cert = NULL;
    }
    return e;
}

enum err cert_issuer_check(X509 *issuer, EVP_PKEY *key, enum cert_issuer_right right,
                           struct err_detail *d)
{
    char name[CERT_INFO_TEXT_SIZE / 4];

    cert_info_name(name, sizeof(name), X509_get_subject_name(issuer));
    if (X509_check_private_key(issuer, key) != 1) {
        ERR_clear_error();
        return err_set(d, ERR_KEY_MISMATCH,
                       "the CA certificate \"%s\" does not belong to the CA key; give the two "
                       "files that were made together",
                       name);
    }
    if (!cert_info_is_ca(issuer))
        return err_set(d, ERR_CERT_PURPOSE,
                       "\"%s\" is not a CA's certificate; make one with 'utun cert ca'", name);
    if ((X509_get_key_usage(issuer) & rights[right].usage) == 0)
        return err_set(d, ERR_CERT_PURPOSE,
                       "the CA \"%s\" may not sign %s: its key usage says so; make a CA with 'utun "
                       "cert ca'",
                       name, rights[right].missing);
    return ERR_OK;
}

enum err cert_issuer_key_id(AUTHORITY_KEYID **out, X509 *issuer)
{
    /* Not X509_get0_subject_key_id: it would keep what a certificate in the making has so far. */
    ASN1_OCTET_STRING *from = X509_get_ext_d2i(issuer, NID_subject_key_identifier, NULL, NULL);

    *out = NULL;
    ERR_clear_error();
    if (from == NULL)
        return ERR_OK;
    *out = AUTHORITY_KEYID_new();
    if (*out == NULL) {
        ASN1_OCTET_STRING_free(from);
        return ERR_NOMEM;
    }
    (*out)->keyid = from;
    return ERR_OK;
}
