/* The clients and targets: what they send, how they read, when they let go, and what must be so. */
#include "world.h"

#include <string.h>

/* -- what streams carry -- */

static uint8_t pattern(const struct stream_owner *sender, uint64_t offset)
{
    uint64_t x = (offset + 1) * UINT64_C(0x9e3779b97f4a7c15);

    x ^= (uint64_t)sender->index << 8 ^ (uint64_t)(sender->side->role == TUNNEL_DEST);
    return (uint8_t)(x >> 56 ^ x);
}

static void check_bytes(struct stream_owner *o, uint64_t at, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] != pattern(o->peer, at + i))
            fail("stream %u: wrong byte at %" PRIu64, o->index, at + i);
    }
    if (at + len > o->peer->sent)
        fail("stream %u: more bytes than were sent", o->index);
}

/* -- events -- */

static void act_rashly(struct stream_owner *told);

struct side *side_of(struct tunnel_owner *owner)
{
    return (struct side *)owner;
}

void owner_on_open(struct tunnel_owner *owner, struct stream *stream,
                   const struct stream_target *target)
{
    struct sim *sim = side_of(owner)->sim;
    struct stream_owner *o;

    if (target->port >= sim->n_streams || strcmp(target->name, "service") != 0 ||
        target->client.address_len != 4 || target->client.port != target->port)
        fail("the target arrived altered");
    o = &sim->targets[target->port];
    if (o->is_opened)
        fail("opened twice");
    o->is_opened = true;
    o->stream = stream;
    o->accept_pending = true;
    stream_set_owner(stream, o);
    act_rashly(o);
}

void owner_on_accept(struct stream_owner *o, struct stream *stream)
{
    if (o->stream != stream || !o->is_opened)
        fail("accept of a strange stream");
    act_rashly(o);
}

size_t owner_on_data(struct stream_owner *o, struct stream *stream, const uint8_t *data, size_t len)
{
    size_t take = 0;

    if (o->stream != stream || o->is_released || o->finish_told)
        fail("data for a stream that is over");
    if (o->appetite > 0)
        take = (len + o->appetite - 1) / o->appetite;
    check_bytes(o, o->received, data, len);
    o->received += take;
    o->is_taking = true;
    act_rashly(o);
    o->is_taking = false;
    return take;
}

void owner_on_finish(struct stream_owner *o, struct stream *stream)
{
    (void)stream;
    if (o->finish_told || o->is_released)
        fail("finished twice");
    if (o->peer->ending > END_FIN_THEN_RESET)
        fail("finished, but the peer never sent a FIN");
    if (o->received != o->peer->to_send)
        fail("stream %u: FIN after %" PRIu64 " of %" PRIu64 " bytes", o->index, o->received,
             o->peer->to_send);
    o->finish_told = true;
    act_rashly(o);
}

void owner_on_reset(struct stream_owner *o, struct stream *stream, enum wire_code code)
{
    (void)stream;
    if (o->reset_told || o->is_released)
        fail("reset told twice");
    o->reset_told = true;
    o->reset_code = code;
    act_rashly(o);
}

void owner_on_writable(struct stream_owner *o, struct stream *stream)
{
    if (o->stream != stream || o->is_released)
        fail("writable after release");
    o->wait_for_room = false;
    act_rashly(o);
}

void owner_on_sent(struct stream_owner *o, struct stream *stream)
{
    (void)stream;
    if (o->peer->received > o->sent || o->sent != o->to_send)
        fail("everything acknowledged, but not everything was sent");
    act_rashly(o);
}

void step_open(struct sim *sim)
{
    struct stream_owner *o = &sim->clients[rng_below(&sim->rng, sim->n_streams)];
    struct stream_target target = {.name = "service"};
    enum err e;

    if (o->is_opened || !sim->source.is_ready)
        return;
    target.port = (uint16_t)o->index;
    target.client.address_len = 4;
    target.client.port = (uint16_t)o->index;
    e = stream_open(&o->stream, sim->source.tunnel, &target, o);
    if (e == ERR_LIMIT && sim->weather.reload > 0)
        return; /* there are fewer than there were */
    must(e, "open");
    o->is_opened = true;
}

bool owner_is_live(const struct stream_owner *o)
{
    return o->is_opened && !o->is_released;
}

static void end_sending(struct stream_owner *o)
{
    switch (o->ending) {
    case END_FIN:
        stream_send_finish(o->stream);
        break;
    case END_FIN_THEN_RESET:
        stream_send_finish(o->stream);
        stream_reset(o->stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
        o->reset_sent = true;
        break;
    case END_RESET_AFTER_DATA:
        stream_reset(o->stream, WIRE_RESET, STREAM_RESET_AFTER_DATA);
        o->reset_sent = true;
        break;
    case END_RESET_NOW:
    case ENDINGS:
        stream_reset(o->stream, WIRE_RESET, STREAM_RESET_NOW);
        o->reset_sent = true;
        break;
    }
    o->end_sent = true;
}

static void step_send(struct stream_owner *o)
{
    struct rng *rng = &o->side->sim->rng;
    struct iovec parts[6];
    size_t used;
    size_t room;
    size_t len = 0;

    if (!owner_is_live(o) || o->accept_pending || o->end_sent || o->reset_told || o->wait_for_room)
        return;
    if (o->sent == o->to_send) {
        end_sending(o);
        return;
    }
    room = stream_send_reserve(o->stream, 1 + rng_size(rng, 128 * 1024), parts,
                               1 + rng_below(rng, 6), &used);
    if (room == 0) {
        o->wait_for_room = true; /* until on_writable, and not before */
        return;
    }
    room = rng_size(rng, room);
    for (size_t i = 0; i < used; i++) {
        uint8_t *p = parts[i].iov_base;

        for (size_t j = 0; j < parts[i].iov_len && len < room && o->sent < o->to_send; j++, len++)
            p[j] = pattern(o, o->sent++);
    }
    stream_send_commit(o->stream, len);
}

static void step_receive(struct stream_owner *o)
{
    struct iovec parts[3];
    size_t viewed;
    size_t n;
    uint64_t at = o->received;

    if (!owner_is_live(o) || o->accept_pending)
        return;
    n = stream_recv_view(o->stream, parts, 3, &viewed);
    for (size_t i = 0; i < n; i++) {
        check_bytes(o, at, parts[i].iov_base, parts[i].iov_len);
        at += parts[i].iov_len;
    }
    if (viewed == 0)
        return;
    viewed = rng_size(&o->side->sim->rng, viewed);
    o->received += viewed; /* first: on_finish may come from inside */
    stream_recv_consume(o->stream, viewed);
}

static void step_answer(struct stream_owner *o)
{
    if (!owner_is_live(o) || !o->accept_pending)
        return;
    o->accept_pending = false;
    if (o->refuse) {
        stream_reset(o->stream, WIRE_REFUSED, STREAM_RESET_NOW);
        o->reset_sent = true;
        o->end_sent = true;
    } else {
        stream_accept(o->stream);
    }
}

/* An owner lets go once it can expect nothing more. */
static void step_release(struct stream_owner *o)
{
    struct stream_state state;

    if (!owner_is_live(o) || o->accept_pending)
        return;
    stream_get_state(o->stream, &state);
    if (!(o->finish_told && o->end_sent) && !o->reset_sent &&
        !(o->reset_told && state.recv_held == 0))
        return;
    o->is_released = true;
    stream_release(o->stream);
}

/* What an owner does from inside an event: something to any stream of its side, its own included.
 */
static void act_rashly(struct stream_owner *told)
{
    struct sim *sim = told->side->sim;
    struct stream_owner *all = told->side->role == TUNNEL_SOURCE ? sim->clients : sim->targets;
    struct stream_owner *o = &all[rng_below(&sim->rng, sim->n_streams)];

    if (!sim->rash || sim->depth == 3)
        return;
    if (rng_once_in(&sim->rng, 2))
        o = told;
    sim->depth++;
    switch (rng_below(&sim->rng, 8)) {
    case 0:
    case 1:
    case 2:
        step_send(o);
        break;
    case 3:
        if (!o->is_taking) /* what it has been shown is not taken yet */
            step_receive(o);
        break;
    case 4:
        step_answer(o);
        break;
    case 5:
        step_release(o);
        break;
    case 6:
        if (owner_is_live(o) && !o->accept_pending && rng_once_in(&sim->rng, 10)) {
            o->was_rash = true;
            o->reset_sent = true;
            o->end_sent = true;
            stream_reset(o->stream, WIRE_RESET,
                         rng_once_in(&sim->rng, 2) ? STREAM_RESET_NOW : STREAM_RESET_AFTER_DATA);
            step_release(o);
        }
        break;
    default:
        break;
    }
    sim->depth--;
}

void step_owner(struct sim *sim, struct stream_owner *o)
{
    switch (rng_below(&sim->rng, 4)) {
    case 0:
    case 1:
        step_send(o);
        break;
    case 2:
        step_receive(o);
        break;
    default:
        step_answer(o);
        step_release(o);
        break;
    }
}

static void check_end(const struct stream_owner *o)
{
    const struct stream_owner *p = o->peer;

    if (!o->is_opened || o->gave_up)
        return;
    /* Its OPEN was on its way when the dest had come to allow fewer. */
    if (o->side->role == TUNNEL_SOURCE && !p->is_opened && o->reset_code == WIRE_LIMIT &&
        o->side->sim->weather.reload > 0)
        return;
    if (o->side->role == TUNNEL_SOURCE && p->refuse) {
        if (!o->reset_told && !o->reset_sent)
            fail("stream %u: refused, but its client was not told", o->index);
        if (o->reset_told && o->reset_code != WIRE_REFUSED)
            fail("stream %u: refused with the wrong code", o->index);
        return;
    }
    if (o->reset_sent || o->refuse)
        return; /* who resets expects nothing */
    if (p->was_rash) {
        if (!o->reset_told && !o->finish_told)
            fail("stream %u: a rash reset was lost", o->index);
        return;
    }
    if (p->reset_sent && !o->reset_told && !o->finish_told)
        fail("stream %u: a reset was lost", o->index);
    if (p->ending == END_FIN || p->ending == END_FIN_THEN_RESET ||
        p->ending == END_RESET_AFTER_DATA) {
        if (o->received != p->to_send)
            fail("stream %u: %" PRIu64 " of %" PRIu64 " bytes", o->index, o->received, p->to_send);
    }
    if (p->ending == END_FIN || p->ending == END_FIN_THEN_RESET) {
        if (!o->finish_told)
            fail("stream %u: a FIN was lost", o->index);
    }
}

static void plan_owner(struct sim *sim, struct stream_owner *o, struct side *side, unsigned i)
{
    o->side = side;
    o->index = i;
    o->to_send = rng_size(&sim->rng, rng_once_in(&sim->rng, 8) ? 1024 * 1024 : 32 * 1024);
    o->ending = rng_once_in(&sim->rng, 3) ? (enum ending)rng_below(&sim->rng, ENDINGS) : END_FIN;
    o->appetite = (unsigned)rng_below(&sim->rng, 4);
}

void owners_plan(struct sim *sim)
{
    for (unsigned i = 0; i < sim->n_streams; i++) {
        plan_owner(sim, &sim->clients[i], &sim->source, i);
        plan_owner(sim, &sim->targets[i], &sim->dest, i);
        sim->clients[i].peer = &sim->targets[i];
        sim->targets[i].peer = &sim->clients[i];
        sim->targets[i].refuse = rng_once_in(&sim->rng, 12);
    }
}

void owners_check_end(const struct sim *sim)
{
    for (unsigned i = 0; i < sim->n_streams; i++) {
        check_end(&sim->clients[i]);
        check_end(&sim->targets[i]);
    }
}

void owners_give_up(struct sim *sim)
{
    for (unsigned i = 0; i < sim->n_streams; i++) {
        sim->targets[i].gave_up |= sim->clients[i].is_opened;
        sim->clients[i].gave_up |= sim->clients[i].is_opened;
    }
}
