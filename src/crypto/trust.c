#include "crypto/trust.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "crypto/cert_names.h"

#define HOST_FLAGS (X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS)

size_t trust_host_len(const char *host)
{
    size_t len = strlen(host);

    return len > 1 && host[len - 1] == '.' ? len - 1 : len;
}

bool trust_expect_host(X509_VERIFY_PARAM *param, const char *host)
{
    bool done = host[0] != 0;

    if (done && cert_names_is_ip(host)) {
        done = X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1;
    } else if (done) {
        X509_VERIFY_PARAM_set_hostflags(param, HOST_FLAGS);
        done = X509_VERIFY_PARAM_set1_host(param, host, trust_host_len(host)) == 1;
    }
    ERR_clear_error();
    return done;
}
