/*
 * What `utun init` makes: a folder with one for each host, ready to be copied there, and one that
 * stays where it is.
 *
 *   dest/    ca.crt server.crt server.key config.toml compose.yml utun-dest.conf README
 *   source/  ca.crt client.crt client.key config.toml compose.yml utun-source.conf README
 *   ca/      ca.crt ca.key README        only where the CA is made anew
 */
#ifndef UTUN_ROLE_KIT_H
#define UTUN_ROLE_KIT_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/attr.h"
#include "base/error.h"
#include "crypto/cert_key.h"
#include "role/kit_service.h"

#define KIT_SERVICES_MAX 64

struct kit_request {
    const char *folder;    /* to be made; its parent must be there */
    const char *dest_host; /* an address or a name: where the source finds the dest */
    uint16_t tunnel_port;
    const char *listen_ip;   /* of the source */
    const char *source_name; /* in its certificate */
    const struct kit_service *services;
    size_t service_count;
    enum cert_key_algorithm algorithm;
    int days;         /* of the certificates that are not the CA's; 0: the default */
    X509 *ca;         /* an existing CA, borrowed; NULL: a new one */
    EVP_PKEY *ca_key; /* with it */
};

/*
 * Makes the folder, whole or not at all: everything is written beside it first and then given its
 * name. Nothing that exists is touched. Folders are open to all but ca/, keys to the owner alone.
 *
 * ERR_EXISTS: the folder is there; ERR_NOT_FOUND, ERR_PERMISSION, ERR_IO: it cannot be made;
 * ERR_USAGE: the request makes no good configuration, or no good certificate. d says which.
 */
enum err kit_write(const struct kit_request *request, struct err_detail *d) MUST_USE;

#endif
