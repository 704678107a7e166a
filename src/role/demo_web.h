/*
 * The service behind the demo's dest: a small HTTP server on the loopback address, on a thread of
 * its own.
 *
 *   GET  /           a page, as text or HTML as the client likes
 *   GET  /bytes/N    N bytes of demo data
 *   POST /check      takes demo data and says whether every byte is right
 */
#ifndef UTUN_ROLE_DEMO_WEB_H
#define UTUN_ROLE_DEMO_WEB_H

#include <stdint.h>

#include "base/error.h"

/* What is sent down and what is taken up differ, so that an echo is no answer. */
#define DEMO_SEED_DOWN UINT64_C(0x75746e2d646f776e)
#define DEMO_SEED_UP   UINT64_C(0x75746e2d2d2d7570)

struct demo_web;

/* ERR_LIMIT or ERR_NOMEM when it cannot be started. */
enum err demo_web_start(struct demo_web **out) MUST_USE;

/* Cuts what is under way. NULL is fine. */
void demo_web_stop(struct demo_web *web);

uint16_t demo_web_port(const struct demo_web *web);

#endif
