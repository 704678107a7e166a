/*
 * Connections that cut, lose and alter; sessions on them; the tunnels of both sides, as the roles
 * keep them: the source dials when it has no session that works, and beside one that does; the dest
 * may restart, and forget.
 */
#include "world.h"

#include <stdlib.h>
#include <string.h>

#include "tunnel/engine.h"

/* Nothing changes the keys of one direction more often, so that no peer's limit is reached. */
#define CHANGE_EVERY_US ((uint64_t)250 * 1000)

/* -- events -- */

static void on_session_ready(struct tunnel_owner *owner, struct session *session)
{
    (void)session;
    side_of(owner)->is_ready = true;
}

static struct plug *plug_of(struct side *side, const struct session *session)
{
    for (size_t i = 0; i < CABLES_MAX; i++) {
        struct cable *c = &side->sim->cables[i];
        struct plug *plug = side->role == TUNNEL_SOURCE ? &c->source : &c->dest;

        if (plug->session == session)
            return plug;
    }
    fail("an event of a session that nobody has");
}

static void on_session_retired(struct tunnel_owner *owner, struct session *session)
{
    plug_of(side_of(owner), session)->is_retired = true;
}

static void on_go_away(struct tunnel_owner *owner, struct session *session, enum wire_code code,
                       uint32_t retry_after_ms, const uint8_t *text, size_t text_len)
{
    (void)owner;
    (void)session;
    if (code != WIRE_SHUTDOWN || retry_after_ms != 5 || text_len != 3 ||
        memcmp(text, "bye", 3) != 0)
        fail("the go-away arrived altered");
}

static void begin_exchange(struct sim *sim, struct session *session)
{
    struct mceliece_keypair *pair = NULL;
    enum err e;

    if (sim->exchanges == 0 || sim->now < sim->changed_at + CHANGE_EVERY_US)
        return;
    if (sim->kem_mode != KEM_MLKEM768)
        must(mceliece_keypair_new(&pair), "key pair");
    e = session_rotate(session, pair);
    if (e == ERR_UNEXPECTED)
        return; /* one is under way, or the session is not ready */
    must(e, "rotate");
    sim->exchanges--;
    sim->changed_at = sim->now;
}

static void on_keys(struct tunnel_owner *owner, struct session *session, enum key_event event)
{
    struct side *side = side_of(owner);
    struct plug *plug = plug_of(side, session);

    switch (event) {
    case KEYS_DUE:
        if (!rng_once_in(&side->sim->rng, 4)) /* sometimes there is no key pair yet */
            begin_exchange(side->sim, session);
        break;
    case KEYS_LATE:
        side->sim->is_dial_wanted = true;
        break;
    case KEYS_ROTATED:
        if (session_generation(session) != ++plug->generation)
            fail("generation %" PRIu64 " of keys after %" PRIu64 " exchanges",
                 session_generation(session), plug->generation);
        side->sim->result.exchanges += side->role == TUNNEL_SOURCE;
        break;
    }
}

const struct tunnel_events network_events = {
    .on_open = owner_on_open,
    .on_accept = owner_on_accept,
    .on_data = owner_on_data,
    .on_finish = owner_on_finish,
    .on_reset = owner_on_reset,
    .on_writable = owner_on_writable,
    .on_sent = owner_on_sent,
    .on_session_ready = on_session_ready,
    .on_session_retired = on_session_retired,
    .on_go_away = on_go_away,
    .on_keys = on_keys,
};

/* -- sessions -- */

static void plug_out(struct plug *p)
{
    session_close(p->session);
    free(p->out.data);
    *p = (struct plug){0};
}

/* The dest does not know the tunnel any more: another one takes its place. */
static void forget_tunnel(struct sim *sim)
{
    struct side *source = &sim->source;

    for (size_t i = 0; i < CABLES_MAX; i++)
        plug_out(&sim->cables[i].source);
    owners_give_up(sim); /* also those that were opened since */
    tunnel_lose_streams(source->tunnel);
    source->former = source->tunnel;
    side_begin_tunnel(source);
    sim->has_restarted = false;
}

/* Once its owners have let go of what was lost. */
static void free_former(struct sim *sim)
{
    struct side *source = &sim->source;

    for (unsigned i = 0; i < sim->n_streams; i++) {
        const struct stream_owner *o = &sim->clients[i];

        if (owner_is_live(o) && o->stream->tunnel == source->former)
            return;
    }
    tunnel_free(source->former);
    source->former = NULL;
}

/* A handshake has been: a session at both ends. */
static void plug_in(struct sim *sim, struct cable *c)
{
    enum session_start start = sim->is_known ? SESSION_RESUMED : SESSION_FRESH;
    uint8_t root[KDF_SIZE];
    uint8_t context[KDF_SIZE];
    struct session_keys *keys;

    if (sim->has_restarted)
        forget_tunnel(sim);
    for (size_t i = 0; i < sizeof(root); i++) {
        root[i] = (uint8_t)rng_next(&sim->rng);
        context[i] = (uint8_t)rng_next(&sim->rng);
    }
    must(session_keys_new(&keys, sim->kem_mode, root, context), "keys");
    must(session_new(&c->source.session, sim->source.tunnel, keys, start, sim->now), "session");
    must(session_keys_new(&keys, sim->kem_mode, root, context), "keys");
    must(session_new(&c->dest.session, sim->dest.tunnel, keys, start, sim->now), "session");
    c->is_broken = false;
    c->is_tampered = false;
    sim->is_known = true;
    sim->is_dial_wanted = false;
    sim->result.sessions++;
    if (rng_once_in(&sim->rng, 8))
        session_go_away(c->dest.session, WIRE_SHUTDOWN, 5, "bye");
}

/* -- what can happen in a step -- */

static void wire_put(struct wire *w, const uint8_t *data, size_t len)
{
    if (w->len + len > w->room) {
        w->room = (w->len + len) * 2;
        w->data = realloc(w->data, w->room);
        if (w->data == NULL)
            fail("no memory");
    }
    memcpy(w->data + w->len, data, len);
    w->len += len;
}

static bool is_free(const struct cable *c)
{
    return c->source.session == NULL && c->dest.session == NULL;
}

static void step_drain(struct sim *sim, struct cable *c, struct plug *p)
{
    const uint8_t *data;
    size_t len;

    if (p->session == NULL)
        return;
    must(session_drain(p->session, &data, &len, sim->now), "drain");
    if (len > sim->capacity - p->out.len)
        len = sim->capacity - p->out.len;
    if (len > 0 && rng_once_in(&sim->rng, 3))
        len = rng_size(&sim->rng, len); /* a partial write */
    if (len > 0 && !c->is_broken)
        wire_put(&p->out, data, len);
    session_drained(p->session, len);
}

static void step_deliver(struct sim *sim, struct cable *c, struct plug *from, struct plug *to)
{
    size_t len = from->out.len;
    size_t used;
    enum err e;
    uint8_t *copy;

    if (to->session == NULL || c->is_broken || len == 0)
        return;
    if (!rng_once_in(&sim->rng, 4))
        len = 1 + rng_size(&sim->rng, len - 1);
    /* An exact copy, so that a read behind its end shows under a sanitizer. */
    copy = malloc(len);
    if (copy == NULL)
        fail("no memory");
    memcpy(copy, from->out.data, len);
    e = session_feed(to->session, copy, len, &used, sim->now);
    free(copy);
    if (e != ERR_OK) {
        if (!c->is_tampered)
            fail("feed: %s", err_text(e));
        c->is_broken = true;
        plug_out(to);
        return;
    }
    memmove(from->out.data, from->out.data + used, from->out.len - used);
    from->out.len -= used;
}

/* Something goes wrong with a connection. */
static void step_storm(struct sim *sim, struct cable *c)
{
    const struct weather *w = &sim->weather;
    struct plug *p = rng_once_in(&sim->rng, 2) ? &c->source : &c->dest;

    if (sim->storms == 0 || is_free(c))
        return;
    if (w->cut > 0 && rng_once_in(&sim->rng, w->cut)) {
        c->is_broken = true;
        p->knows = true;
    } else if (w->hole > 0 && rng_once_in(&sim->rng, w->hole)) {
        c->is_broken = true;
    } else if (w->tamper > 0 && p->out.len > 0 && rng_once_in(&sim->rng, w->tamper)) {
        p->out.data[rng_below(&sim->rng, p->out.len)] ^= (uint8_t)(1 + rng_below(&sim->rng, 255));
        c->is_tampered = true;
    } else {
        return;
    }
    sim->storms--;
}

/*
 * What a worker does: it closes a session that is retired or broken, the latter once it has noticed
 * (what is broken for one side is found by the heartbeat of the other).
 */
static void step_mend(struct cable *c)
{
    struct plug *plugs[] = {&c->source, &c->dest};

    for (size_t i = 0; i < 2; i++) {
        struct plug *p = plugs[i];
        const struct plug *q = plugs[1 - i];

        if (p->session == NULL)
            continue;
        if (p->is_retired || p->knows || (q->session == NULL && !c->is_broken))
            plug_out(p);
    }
}

/* The source dials when it has no session that works, and now and then when it has (refresh). */
static void step_dial(struct sim *sim)
{
    struct cable *spare = NULL;
    bool works = false;

    for (size_t i = 0; i < CABLES_MAX; i++) {
        struct cable *c = &sim->cables[i];

        if (is_free(c))
            spare = c;
        else if (c->source.session != NULL && !c->source.is_retired)
            works = true;
    }
    if (spare == NULL)
        return;
    if (works && !sim->is_dial_wanted) {
        if (sim->storms == 0 || sim->weather.refresh == 0 ||
            !rng_once_in(&sim->rng, sim->weather.refresh))
            return;
        sim->storms--;
    }
    plug_in(sim, spare);
}

static void step_give_up(struct sim *sim)
{
    struct side *side = rng_once_in(&sim->rng, 2) ? &sim->source : &sim->dest;
    struct tunnel_state state;

    if (sim->weather.give_up == 0 || sim->storms == 0 ||
        !rng_once_in(&sim->rng, sim->weather.give_up))
        return;
    tunnel_get_state(side->tunnel, &state);
    if (state.has_session)
        return;
    sim->storms--;
    owners_give_up(sim);
    tunnel_lose_streams(side->tunnel);
}

/* The dest is killed, and comes back with nothing. The source learns of it when it dials. */
static void step_restart(struct sim *sim)
{
    struct side *dest = &sim->dest;

    if (sim->weather.restart == 0 || sim->storms == 0 || !sim->is_known ||
        sim->source.former != NULL || !rng_once_in(&sim->rng, sim->weather.restart))
        return;
    sim->storms--;
    for (size_t i = 0; i < CABLES_MAX; i++)
        plug_out(&sim->cables[i].dest);
    owners_give_up(sim);
    for (unsigned i = 0; i < sim->n_streams; i++)
        sim->targets[i].is_released |= sim->targets[i].is_opened;
    tunnel_free(dest->tunnel);
    side_begin_tunnel(dest);
    sim->is_known = false;
    sim->has_restarted = true;
    sim->result.restarts++;
}

/* Keys change without being old. */
static void step_keys(struct sim *sim, struct cable *c)
{
    const struct weather *w = &sim->weather;

    if (c->source.session == NULL || c->dest.session == NULL)
        return;
    if (w->rotate > 0 && rng_once_in(&sim->rng, w->rotate) &&
        sim->source.tunnel->session == c->source.session)
        begin_exchange(sim, c->source.session);
    /* Only with nothing on its way do both ends agree about the count of records. */
    if (w->ratchet > 0 && rng_once_in(&sim->rng, w->ratchet) && !c->is_broken && !c->is_tampered &&
        c->source.out.len == 0 && c->dest.out.len == 0 && c->source.session->out == NULL &&
        c->dest.session->out == NULL && sim->now >= sim->changed_at + CHANGE_EVERY_US) {
        session_skip_to_for_test(c->source.session, RECORD_SOFT_LIMIT_RECORDS,
                                 RECORD_SOFT_LIMIT_RECORDS);
        session_skip_to_for_test(c->dest.session, RECORD_SOFT_LIMIT_RECORDS,
                                 RECORD_SOFT_LIMIT_RECORDS);
        sim->changed_at = sim->now;
    }
}

/* A peer that is only slow must never be taken for dead: the simulation is seldom that slow. */
static void tick(struct sim *sim, struct cable *c, struct plug *p)
{
    enum err e = p->session == NULL ? ERR_OK : session_tick(p->session, sim->now);

    if (e == ERR_OK)
        return;
    if (e != ERR_HEARTBEAT && !(e == ERR_KEY_EXPIRED && sim->key_margin_us > 0))
        fail("tick: %s", err_text(e));
    c->is_broken = true;
    plug_out(p);
}

void step_time(struct sim *sim)
{
    sim->now += rng_below(&sim->rng, 2000);
    if (rng_once_in(&sim->rng, 1000))
        sim->now += /* the laptop slept, or was shut for days */
            rng_once_in(&sim->rng, 4) ? UINT64_C(200000000000) : 60000000;
    if (rng_once_in(&sim->rng, 50)) {
        step_elsewhere(&sim->source);
        step_elsewhere(&sim->dest);
    }
    for (size_t i = 0; i < CABLES_MAX; i++) {
        tick(sim, &sim->cables[i], &sim->cables[i].source);
        tick(sim, &sim->cables[i], &sim->cables[i].dest);
    }
}

void step_network(struct sim *sim)
{
    struct cable *c = &sim->cables[rng_below(&sim->rng, CABLES_MAX)];
    bool up = rng_once_in(&sim->rng, 2);
    struct plug *from = up ? &c->source : &c->dest;
    struct plug *to = up ? &c->dest : &c->source;

    switch (rng_below(&sim->rng, 4)) {
    case 0:
    case 1:
        step_drain(sim, c, from);
        break;
    case 2:
        step_deliver(sim, c, from, to);
        break;
    default:
        step_mend(c);
        step_dial(sim);
        step_storm(sim, c);
        step_give_up(sim);
        step_restart(sim);
        step_keys(sim, c);
        step_reload(&sim->source);
        step_reload(&sim->dest);
        free_former(sim);
        break;
    }
}

/* Each kind of trouble is absent, rare or frequent. */
static uint64_t chance(struct rng *rng)
{
    return rng_once_in(rng, 2) ? 0 : (uint64_t)1 << (4 + rng_below(rng, 10));
}

/* McEliece key pairs take long to make: seldom, and few. */
static void make_key_weather(struct sim *sim)
{
    sim->kem_mode = rng_once_in(&sim->rng, 200) ? KEM_HYBRID : KEM_MLKEM768;
    sim->exchanges = sim->kem_mode == KEM_MLKEM768 ? 6 : 2;
    if (rng_once_in(&sim->rng, 3)) {
        sim->weather.rotate = chance(&sim->rng);
        sim->weather.ratchet = chance(&sim->rng);
    }
    if (!rng_once_in(&sim->rng, 4))
        return;
    sim->key_lifetime_us[TUNNEL_SOURCE] = 2 * CHANGE_EVERY_US + rng_size(&sim->rng, 20000000);
    sim->key_lifetime_us[TUNNEL_DEST] = 2 * CHANGE_EVERY_US + rng_size(&sim->rng, 20000000);
    sim->key_margin_us = 1 + rng_size(&sim->rng, 20000000);
}

void network_make_weather(struct sim *sim)
{
    sim->weather.refresh = chance(&sim->rng);
    sim->weather.cut = chance(&sim->rng);
    sim->weather.hole = chance(&sim->rng);
    sim->weather.tamper = chance(&sim->rng);
    sim->weather.give_up = rng_once_in(&sim->rng, 8) ? chance(&sim->rng) * 4 : 0;
    sim->weather.restart = rng_once_in(&sim->rng, 8) ? chance(&sim->rng) * 4 : 0;
    sim->weather.reload = rng_once_in(&sim->rng, 4) ? chance(&sim->rng) : 0;
    make_key_weather(sim);
}

void network_close(struct sim *sim)
{
    for (size_t i = 0; i < CABLES_MAX; i++) {
        plug_out(&sim->cables[i].source);
        plug_out(&sim->cables[i].dest);
    }
    tunnel_free(sim->source.former);
}
