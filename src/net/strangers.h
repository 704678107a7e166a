/*
 * Who may begin a handshake at a dest when many want to. An address from which a session has come
 * is known for STRANGERS_KNOWN_US; all others are strangers, and have a budget in common: each
 * handshake of a stranger takes a token, which is given back when it shows a certificate that is
 * right. So any number of honest sources may come at once, while all who are not can make a dest
 * do STRANGERS_A_SECOND handshakes a second and no more, from however many addresses, and those
 * who come back to go on with their tunnels do not wait behind them. Not locked.
 */
#ifndef UTUN_NET_STRANGERS_H
#define UTUN_NET_STRANGERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/error.h"

/* A tenth of a core at about 3 ms each. */
#define STRANGERS_A_SECOND 32

/* Tokens that are saved up, at least: as many handshakes again are in flight. */
#define STRANGERS_BURST 128

/* A day: who has been here since then may be a source that was switched off overnight. */
#define STRANGERS_KNOWN_US (UINT64_C(24) * 3600 * 1000000)

struct strangers;

/* burst: tokens at the start and at most; at least STRANGERS_BURST. ERR_NOMEM, ERR_RANDOM. */
enum err strangers_new(struct strangers **out, uint32_t burst) MUST_USE;

/* NULL is fine. */
void strangers_free(struct strangers *s);

/* Another burst from now on. Tokens that are taken stay taken. */
void strangers_set_burst(struct strangers *s, uint32_t burst);

/* Times are in microseconds of a monotonic clock. */
bool strangers_is_known(struct strangers *s, const struct sockaddr *address, uint64_t now) MUST_USE;

/* A session has come from there. */
void strangers_get_to_know(struct strangers *s, const struct sockaddr *address, uint64_t now);

/* A stranger's handshake: takes a token; false when there is none. */
bool strangers_take(struct strangers *s, uint64_t now) MUST_USE;

/* It has shown its certificate. */
void strangers_give_back(struct strangers *s);

#endif
