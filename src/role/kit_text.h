/* The text files of a kit. What is written from the request has been checked before (role/kit.c).
 */
#ifndef UTUN_ROLE_KIT_TEXT_H
#define UTUN_ROLE_KIT_TEXT_H

#include <stdio.h>

#include "role/kit.h"

/* Files that a kit's folders have in common, and the keys of [auth] point to. */
#define KIT_CA_CERT     "ca.crt"
#define KIT_CA_KEY      "ca.key"
#define KIT_DEST_CERT   "server.crt"
#define KIT_DEST_KEY    "server.key"
#define KIT_SOURCE_CERT "client.crt"
#define KIT_SOURCE_KEY  "client.key"
#define KIT_CONFIG      "config.toml"
#define KIT_COMPOSE     "compose.yml"
#define KIT_README      "README"

typedef void (*kit_text)(FILE *out, const struct kit_request *request);

void kit_text_dest_config(FILE *out, const struct kit_request *request);
void kit_text_source_config(FILE *out, const struct kit_request *request);
void kit_text_dest_compose(FILE *out, const struct kit_request *request);
void kit_text_source_compose(FILE *out, const struct kit_request *request);
void kit_text_dest_unit(FILE *out, const struct kit_request *request);
void kit_text_source_unit(FILE *out, const struct kit_request *request);
void kit_text_dest_readme(FILE *out, const struct kit_request *request);
void kit_text_source_readme(FILE *out, const struct kit_request *request);
void kit_text_ca_readme(FILE *out, const struct kit_request *request);

#endif
