/*
 * The keys of a session and their changes. Both directions change on their own: a ratchet
 * (KEY_SWITCH to the same generation) when a key has sealed enough, the next generation when a key
 * exchange (rotation.h) has brought one. KEY_SWITCH has a record of its own, the last under the old
 * key. Source: docs/PROTOCOL.md, sections 4.3, 4.5 and 9.3.
 */
#include "tunnel/engine.h"

#include <openssl/crypto.h>

#define KEY_CHANGES_WINDOW_US ((uint64_t)1000 * 1000)

static enum key_direction outward(const struct session *s)
{
    return s->tunnel->options.role == TUNNEL_SOURCE ? KEY_FROM_SOURCE : KEY_FROM_DEST;
}

static enum key_direction inward(const struct session *s)
{
    return s->tunnel->options.role == TUNNEL_SOURCE ? KEY_FROM_DEST : KEY_FROM_SOURCE;
}

enum err rekey_init(struct session *s, struct session_keys *keys)
{
    const struct tunnel_options *o = &s->tunnel->options;
    struct {
        struct traffic_keys out;
        struct traffic_keys in;
    } tmp;
    enum err e;

    s->keys = keys;
    rotation_init(&s->rotation, keys, outward(s));
    key_age_init(&s->key_age, o->role == TUNNEL_SOURCE ? KEY_AGE_BEGINS : KEY_AGE_FOLLOWS,
                 o->key_lifetime_us, o->key_margin_us, s->now);
    e = session_keys_traffic(keys, outward(s), &tmp.out);
    if (e == ERR_OK)
        e = session_keys_traffic(keys, inward(s), &tmp.in);
    if (e == ERR_OK)
        e = record_sealer_new(&s->sealer, &tmp.out, 0);
    if (e == ERR_OK)
        e = record_opener_new(&s->opener, &tmp.in, 0);
    OPENSSL_cleanse(&tmp, sizeof(tmp));
    return e;
}

/* -- room for offers -- */

static bool take_room(struct session *s)
{
    struct budget *b = s->tunnel->options.exchanges;
    struct tunnel_peer *peer = s->tunnel->peer;
    uint64_t size = rotation_offer_size(&s->rotation);

    if (b == NULL)
        return true;
    if (peer->exchanges > 0 && b->used + size > b->limit / 2)
        return false;
    if (!budget_take(b, size))
        return false;
    peer->exchanges++;
    s->holds_offer = true;
    return true;
}

static void give_room(struct session *s)
{
    if (!s->holds_offer)
        return;
    budget_give(s->tunnel->options.exchanges, rotation_offer_size(&s->rotation));
    s->tunnel->peer->exchanges--;
    s->holds_offer = false;
}

void rekey_fini(struct session *s)
{
    give_room(s);
    rotation_fini(&s->rotation);
    record_sealer_free(s->sealer);
    record_opener_free(s->opener);
    session_keys_free(s->keys);
}

/* A lifetime that does not fit is as good as none. */
void rekey_on_settings(struct session *s, const struct frame *f)
{
    uint64_t ms = f->settings.key_lifetime_ms;

    key_age_limit(&s->key_age, ms > UINT64_MAX / 2 / 1000 ? 0 : ms * 1000);
}

/* -- in -- */

static enum err rekey_opener(struct session *s)
{
    struct traffic_keys next;
    enum err e = session_keys_traffic(s->keys, inward(s), &next);

    if (e == ERR_OK)
        e = record_opener_rekey(s->opener, &next);
    OPENSSL_cleanse(&next, sizeof(next));
    return e;
}

static enum err rekey_sealer(struct session *s)
{
    struct traffic_keys next;
    enum err e = session_keys_traffic(s->keys, outward(s), &next);

    if (e == ERR_OK)
        e = record_sealer_rekey(s->sealer, &next);
    OPENSSL_cleanse(&next, sizeof(next));
    return e;
}

/* A direction has come to the next generation. */
static void on_switched(struct session *s)
{
    struct tunnel *t = s->tunnel;

    if (!rotation_on_switched(&s->rotation))
        return;
    key_age_replaced(&s->key_age, s->derived_at);
    t->options.events->on_keys(t->options.owner, s, KEYS_ROTATED);
}

enum err rekey_on_exchange(struct session *s, const struct frame *f)
{
    enum err e;

    if (outward(s) == KEY_FROM_DEST && s->rotation.state == ROTATION_IDLE && !take_room(s))
        rotation_decline(&s->rotation);
    e = rotation_on_chunk(&s->rotation, f);
    if (s->rotation.state != ROTATION_COLLECTING)
        give_room(s);
    if (s->rotation.state == ROTATION_ANSWERING || s->rotation.state == ROTATION_SWITCHING)
        s->derived_at = s->now;
    return e;
}

/* PROTOCOL 9.3, K3 and K4; 4.3 for a ratchet. */
enum err rekey_on_switch(struct session *s, const struct frame *f)
{
    uint64_t generation = session_keys_generation(s->keys, inward(s));
    bool is_ratchet = f->key_switch.generation == generation;
    enum err e;

    if (s->now - s->changes_since >= KEY_CHANGES_WINDOW_US) {
        s->changes_since = s->now;
        s->changes_in = 0;
    }
    if (++s->changes_in > KEY_CHANGES_PER_SECOND)
        return ERR_LIMIT;
    if (!is_ratchet &&
        (f->key_switch.generation != generation + 1 || !rotation_takes_switch(&s->rotation)))
        return ERR_UNEXPECTED;
    e = is_ratchet ? session_keys_ratchet(s->keys, inward(s))
                   : session_keys_switch(s->keys, inward(s));
    if (e == ERR_OK)
        e = rekey_opener(s);
    if (e == ERR_OK && !is_ratchet)
        on_switched(s);
    return e;
}

/* -- out -- */

enum key_change {
    KEY_RATCHET,
    KEY_NEXT_GENERATION,
};

static enum err change_key(struct session *s, enum key_change change)
{
    struct frame f = {.type = FRAME_KEY_SWITCH};
    struct plan p;
    enum err e;

    f.key_switch.generation = session_keys_generation(s->keys, outward(s));
    if (change == KEY_NEXT_GENERATION)
        f.key_switch.generation++;
    plan_init(&p);
    if (!plan_frame(&p, &f))
        return ERR_INTERNAL;
    e = session_seal(s, &p);
    if (e == ERR_OK)
        e = change == KEY_RATCHET ? session_keys_ratchet(s->keys, outward(s))
                                  : session_keys_switch(s->keys, outward(s));
    if (e == ERR_OK)
        e = rekey_sealer(s);
    if (e == ERR_OK && change == KEY_NEXT_GENERATION)
        on_switched(s);
    return e;
}

enum err rekey_if_due(struct session *s)
{
    if (rotation_wants_switch(&s->rotation))
        return change_key(s, KEY_NEXT_GENERATION);
    if (record_sealer_needs_epoch(s->sealer))
        return change_key(s, KEY_RATCHET);
    return ERR_OK;
}

enum err session_rotate(struct session *s, struct mceliece_keypair *pair)
{
    if (s->error != ERR_OK || !s->is_ready) {
        mceliece_keypair_free(pair);
        return s->error != ERR_OK ? s->error : ERR_UNEXPECTED;
    }
    return rotation_start(&s->rotation, pair);
}

/* -- time -- */

enum err rekey_tick(struct session *s)
{
    struct tunnel *t = s->tunnel;

    switch (key_age_tick(&s->key_age, s->now)) {
    case KEY_AGE_FRESH:
        break;
    case KEY_AGE_DUE:
        if (t->session == s && s->rotation.state == ROTATION_IDLE)
            t->options.events->on_keys(t->options.owner, s, KEYS_DUE);
        break;
    case KEY_AGE_LATE:
        if (t->session == s)
            t->options.events->on_keys(t->options.owner, s, KEYS_LATE);
        break;
    case KEY_AGE_EXPIRED:
        return ERR_KEY_EXPIRED;
    }
    return ERR_OK;
}

enum kem_mode session_kem_mode(const struct session *s)
{
    return session_keys_mode(s->keys);
}

uint64_t session_generation(const struct session *s)
{
    uint64_t out = session_keys_generation(s->keys, outward(s));
    uint64_t in = session_keys_generation(s->keys, inward(s));

    return out < in ? out : in;
}
