#include "crypto/crl_info.h"

#include <stdio.h>

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/crl_issue.h"

void crl_info_number(char *out, size_t size, const X509_CRL *crl)
{
    int found = -1;
    ASN1_INTEGER *number = X509_CRL_get_ext_d2i(crl, NID_crl_number, &found, NULL);
    BIGNUM *n = NULL;
    char *text = NULL;

    /* Long ones would take long, too. */
    if (number != NULL && ASN1_STRING_length(number) <= CRL_ISSUE_NUMBER_SIZE)
        n = ASN1_INTEGER_to_BN(number, NULL);
    if (n != NULL)
        text = BN_bn2dec(n);
    snprintf(out, size, "%s", text != NULL ? text : found == -1 ? "none" : "unreadable");
    OPENSSL_free(text);
    BN_free(n);
    ASN1_INTEGER_free(number);
    ERR_clear_error();
}

size_t crl_info_count(X509_CRL *crl)
{
    int count = sk_X509_REVOKED_num(X509_CRL_get_REVOKED(crl));

    return count > 0 ? (size_t)count : 0;
}
