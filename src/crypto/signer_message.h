/*
 * What crypto/signer.c says to itself in the other process: one of these in each datagram, as it is
 * in memory, cut off behind len bytes of data. For its tests, too.
 */
#ifndef UTUN_CRYPTO_SIGNER_MESSAGE_H
#define UTUN_CRYPTO_SIGNER_MESSAGE_H

#include <stdint.h>

#include "base/error.h"
#include "crypto/signer.h"

enum signer_kind {
    SIGNER_LOAD,
    SIGNER_SIGN,
    SIGNER_DROP, /* has no answer */
};

struct signer_question {
    uint64_t number; /* an answer has the same */
    uint32_t kind;
    uint32_t key;    /* SIGN, DROP */
    uint32_t access; /* LOAD: enum file_access, of a secret */
    uint32_t len;
    struct signer_scheme scheme; /* SIGN */
    char what[64];               /* LOAD */
    uint8_t data[SIGNER_QUESTION_MAX];
};

struct signer_answer {
    uint64_t number;
    uint32_t err;
    uint32_t key; /* LOAD */
    uint32_t len;
    char detail[sizeof(((struct err_detail *)0)->text)];
    uint8_t data[SIGNER_ANSWER_MAX];
};

#endif
