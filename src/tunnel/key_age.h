/*
 * When the keys of a session are to be replaced, and when they must not be used on.
 *
 *   fresh ──lifetime - margin──> due ──lifetime - margin / 2──> late ──lifetime──> expired
 *     ^                           │                              │
 *     └───────── replaced ────────┴──────────────────────────────┘
 *
 * Due: begin a key exchange inside the session; said again every KEY_AGE_AGAIN_US while none is
 * under way. Late: the exchange has failed or stalled, a new session has to come; said once.
 * Expired: the session ends. Times are microseconds of a monotonic clock.
 * Source: docs/PROTOCOL.md, section 9.3.
 */
#ifndef UTUN_TUNNEL_KEY_AGE_H
#define UTUN_TUNNEL_KEY_AGE_H

#include <stdbool.h>
#include <stdint.h>

#define KEY_AGE_AGAIN_US ((uint64_t)1000 * 1000)

enum key_age_verdict {
    KEY_AGE_FRESH,
    KEY_AGE_DUE,
    KEY_AGE_LATE,
    KEY_AGE_EXPIRED,
};

/* Who begins exchanges. The other side only sees to it that no key is used past its lifetime. */
enum key_age_part {
    KEY_AGE_BEGINS,
    KEY_AGE_FOLLOWS,
};

struct key_age {
    uint64_t lifetime_us; /* 0: keys do not age */
    uint64_t margin_us;   /* as asked for */
    uint64_t born;
    uint64_t due; /* of the next verdict but the expiry; UINT64_MAX: none is left */
    enum key_age_part part;
    bool is_late_told;
};

/* A margin above half of the lifetime is taken as half of it. */
void key_age_init(struct key_age *a, enum key_age_part part, uint64_t lifetime_us,
                  uint64_t margin_us, uint64_t now);

/* The peer gives keys no more than this; 0: it does not say. Before or after the first tick. */
void key_age_limit(struct key_age *a, uint64_t lifetime_us);

/* The keys in use in both directions now come from an exchange that was finished at `born`. */
void key_age_replaced(struct key_age *a, uint64_t born);

enum key_age_verdict key_age_tick(struct key_age *a, uint64_t now);

/* When key_age_tick is to be called next; UINT64_MAX for never. */
uint64_t key_age_deadline(const struct key_age *a);

#endif
