/*
 * Every way an operation can fail, in one list: code, stable name (logs, metric labels), text for
 * people, and class. The class decides the reason on the wire, the log level and the metric label.
 *
 * Functions that can fail return enum err and are MUST_USE. ERR_OK is zero. Details that only a
 * person needs (a file name, a line) travel beside the code in a struct err_detail.
 */
#ifndef UTUN_BASE_ERROR_H
#define UTUN_BASE_ERROR_H

#include <stddef.h>

#include "base/attr.h"

enum err_class {
    ERR_CLASS_NONE,     /* success */
    ERR_CLASS_SYSTEM,   /* this machine: memory, files, sockets */
    ERR_CLASS_CONFIG,   /* what the operator wrote */
    ERR_CLASS_AUTH,     /* who the peer is, or is not */
    ERR_CLASS_PROTOCOL, /* what the peer sent */
    ERR_CLASS_CRYPTO,   /* a cryptographic operation or limit */
    ERR_CLASS_LIMIT,    /* a bound was reached */
    ERR_CLASS_NETWORK,  /* the path: refused, unreachable, timed out, reset */
    ERR_CLASS_INTERNAL, /* our own bug; never reachable from input */
};

/* clang-format off */
#define ERR_LIST(X)                                                                                \
    X(ERR_OK,                "ok",                  "success",                                  NONE)     \
    X(ERR_NOMEM,             "no_memory",           "out of memory",                            SYSTEM)   \
    X(ERR_IO,                "io",                  "input/output error",                       SYSTEM)   \
    X(ERR_NOT_FOUND,         "not_found",           "no such file",                             SYSTEM)   \
    X(ERR_EXISTS,            "exists",              "already exists",                           SYSTEM)   \
    X(ERR_PERMISSION,        "permission",          "permission denied",                        SYSTEM)   \
    X(ERR_RANDOM,            "random",              "the random number generator failed",       SYSTEM)   \
    X(ERR_USAGE,             "usage",               "wrong use of the command",                 CONFIG)   \
    X(ERR_CONFIG,            "config",              "the configuration is not valid",           CONFIG)   \
    X(ERR_CERT_FORMAT,       "cert_format",         "not a certificate or key",                 CONFIG)   \
    X(ERR_KEY_MODE,          "key_mode",            "a private key file is open to others",     CONFIG)   \
    X(ERR_KEY_MISMATCH,      "key_mismatch",        "certificate and private key do not match", CONFIG)   \
    X(ERR_CERT_MISSING,      "cert_missing",        "the peer presented no certificate",        AUTH)     \
    X(ERR_CERT_UNTRUSTED,    "cert_untrusted",      "the certificate is not from our CA",       AUTH)     \
    X(ERR_CERT_EXPIRED,      "cert_expired",        "the certificate has expired",              AUTH)     \
    X(ERR_CERT_NOT_YET,      "cert_not_yet_valid",  "the certificate is not valid yet",         AUTH)     \
    X(ERR_CERT_PURPOSE,      "cert_purpose",        "the certificate is not for this use",      AUTH)     \
    X(ERR_CERT_NAME,         "cert_name",           "the certificate is for another name",      AUTH)     \
    X(ERR_CERT_REVOKED,      "cert_revoked",        "the certificate has been revoked",         AUTH)     \
    X(ERR_CERT_REFUSED,      "cert_refused",        "the peer refused our certificate",         AUTH)     \
    X(ERR_CERT_PROOF,        "cert_proof",          "the peer does not hold its private key",   AUTH)     \
    X(ERR_IDENTITY,          "identity",            "another identity than the tunnel's",       AUTH)     \
    X(ERR_TLS_VERSION,       "tls_version",         "the peer does not speak TLS 1.3",          PROTOCOL) \
    X(ERR_TLS,               "tls",                 "the TLS handshake failed",                 PROTOCOL) \
    X(ERR_ALPN,              "alpn",                "the peer does not speak utun/1",           PROTOCOL) \
    X(ERR_KEM_MODE,          "kem_mode",            "the peers are set to different kem_mode",  PROTOCOL) \
    X(ERR_VERSION,           "version",             "the peer speaks another protocol version", PROTOCOL) \
    X(ERR_MALFORMED,         "malformed",           "a malformed message",                      PROTOCOL) \
    X(ERR_UNEXPECTED,        "unexpected",          "a message in the wrong state",             PROTOCOL) \
    X(ERR_UNKNOWN_FRAME,     "unknown_frame",       "an unknown critical frame",                PROTOCOL) \
    X(ERR_FLOW_CONTROL,      "flow_control",        "data beyond the credit given",             PROTOCOL) \
    X(ERR_STREAM_STATE,      "stream_state",        "a frame that the stream's state forbids",  PROTOCOL) \
    X(ERR_RESUME,            "resume",              "the peer's resume state contradicts ours", PROTOCOL) \
    X(ERR_AUTH_TAG,          "auth_tag",            "a record failed authentication",           CRYPTO)   \
    X(ERR_REPLAY,            "replay",              "a record was replayed",                    CRYPTO)   \
    X(ERR_NONCE_EXHAUSTED,   "nonce_exhausted",     "the record counter is used up",            CRYPTO)   \
    X(ERR_KEY_EXPIRED,       "key_expired",         "the traffic key is past its limit",        CRYPTO)   \
    X(ERR_KEY_CONFIRM,       "key_confirm",         "the peers derived different keys",         CRYPTO)   \
    X(ERR_CRYPTO,            "crypto",              "a cryptographic operation failed",         CRYPTO)   \
    X(ERR_TOO_LARGE,         "too_large",           "larger than its bound",                    LIMIT)    \
    X(ERR_LIMIT,             "limit",               "a configured limit is reached",            LIMIT)    \
    X(ERR_BUDGET,            "budget",              "the memory budget is used up",             LIMIT)    \
    X(ERR_RATE,              "rate",                "too many attempts from this address",      LIMIT)    \
    X(ERR_TIMEOUT,           "timeout",             "timed out",                                NETWORK)  \
    X(ERR_REFUSED,           "refused",             "connection refused",                       NETWORK)  \
    X(ERR_UNREACHABLE,       "unreachable",         "unreachable",                              NETWORK)  \
    X(ERR_RESET,             "reset",               "connection reset",                         NETWORK)  \
    X(ERR_CLOSED,            "closed",              "connection closed",                        NETWORK)  \
    X(ERR_RESOLVE,           "resolve",             "the name does not resolve",                NETWORK)  \
    X(ERR_ADDR_IN_USE,       "addr_in_use",         "the address is in use",                    NETWORK)  \
    X(ERR_NO_SERVICE,        "no_service",          "no such service",                          NETWORK)  \
    X(ERR_NOT_ALLOWED,       "not_allowed",         "not allowed",                              NETWORK)  \
    X(ERR_SHUTDOWN,          "shutdown",            "shutting down",                            NETWORK)  \
    X(ERR_HEARTBEAT,         "heartbeat",           "the peer no longer answers",               NETWORK)  \
    X(ERR_SUPERSEDED,        "superseded",          "a newer session took over",                NETWORK)  \
    X(ERR_INTERNAL,          "internal",            "an internal error",                        INTERNAL)
/* clang-format on */

#define ERR_ENUM(code, name, text, class) code,
enum err { ERR_LIST(ERR_ENUM) ERR_COUNT };
#undef ERR_ENUM

/* All three never fail: an unknown code is reported as ERR_INTERNAL. Static strings. */
const char *err_name(enum err e);
const char *err_text(enum err e);
enum err_class err_class(enum err e);

/*
 * Maps an errno value to the code nearest to it (ECONNREFUSED to ERR_REFUSED and so on; anything
 * without a code of its own to ERR_IO).
 */
enum err err_from_errno(int errnum);

/* What a person needs beside the code: "<where>: <what>: <why>; <what to do>". */
struct err_detail {
    char text[512];
};

/* Formats into d; d may be NULL. Always returns e, so that `return err_set(...)` reads well. */
enum err err_set(struct err_detail *d, enum err e, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
