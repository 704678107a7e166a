/*
 * What a peer may try in the handshake with the half megabyte of a McEliece key, and with what
 * answers it. OFFER, KEM_KEY and ANSWER are written here byte by byte.
 */
#include <string.h>

#include <sys/random.h>

#include "inside.h"
#include "tunnel/handshake_message.h"

#define KEY_MESSAGE_SIZE (HANDSHAKE_HEADER_SIZE + MCELIECE_PUBLIC_KEY_SIZE)

/* HANDSHAKE_MESSAGE_MS, and what a busy machine is late by. */
#define DEADLINE_MS (HANDSHAKE_MESSAGE_MS + patience_ms)

static uint8_t message[KEY_MESSAGE_SIZE];

static void set_header(uint8_t type, uint32_t length)
{
    handshake_header_encode(message, (struct handshake_header){.type = type, .length = length});
}

/* A record that cannot be right, under whatever key; it is the session's first. */
static void say_garbage(struct inside *in)
{
    static const uint8_t record[45] = {0x75, 0, 0, 0, 40};

    inside_send_raw(in, record, sizeof(record));
}

/* -- of a source -- */

static struct inside offered(const struct world *world)
{
    struct inside in = inside_open(world);
    uint8_t offer[HANDSHAKE_OFFER_SIZE];

    inside_say(&in, offer, inside_make_offer(offer, 1, world->kem_mode, 0, 0));
    return in;
}

/* The whole key is each byte of it the same, or repeats itself. */
static void make_key(uint8_t first, uint8_t second)
{
    set_header(HANDSHAKE_KEM_KEY, MCELIECE_PUBLIC_KEY_SIZE);
    for (size_t i = HANDSHAKE_HEADER_SIZE; i < sizeof(message); i++)
        message[i] = i % 420 == 0 ? first : second; /* the length of one row of the matrix */
}

static void hear_answer(struct inside *in)
{
    uint8_t answer[HANDSHAKE_ANSWER_SIZE];

    inside_hear(in, answer, sizeof(answer));
    demand(answer[0] == HANDSHAKE_ANSWER, "message %u in place of ANSWER", answer[0]);
}

/* What OFFER and this make is no handshake. */
static void must_refuse(const struct world *world, const uint8_t *bytes, size_t len)
{
    struct inside in = offered(world);

    inside_say(&in, bytes, len);
    inside_must_end(&in, patience_ms);
    inside_close(&in);
}

static void kem_key_of_another_length(const struct world *world)
{
    static const uint32_t lengths[] = {0,
                                       1,
                                       MCELIECE_PUBLIC_KEY_SIZE - 1,
                                       MCELIECE_PUBLIC_KEY_SIZE + 1,
                                       2 * MCELIECE_PUBLIC_KEY_SIZE,
                                       0xffffff};

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        make_key(0, 1);
        set_header(HANDSHAKE_KEM_KEY, lengths[i]);
        must_refuse(world, message, HANDSHAKE_HEADER_SIZE);
        must_refuse(world, message, sizeof(message));
    }
}

static void kem_key_in_another_place(const struct world *world)
{
    uint8_t offer[HANDSHAKE_OFFER_SIZE];

    make_key(0, 1);
    inside_must_refuse(world, message, sizeof(message)); /* before OFFER */
    must_refuse(world, offer, inside_make_offer(offer, 1, world->kem_mode, 0, 0));
    set_header(HANDSHAKE_ANSWER, HANDSHAKE_ANSWER_SIZE - HANDSHAKE_HEADER_SIZE);
    must_refuse(world, message, HANDSHAKE_ANSWER_SIZE);
    set_header(HANDSHAKE_ABORT, 9);
    must_refuse(world, message, HANDSHAKE_HEADER_SIZE + 9);
    set_header(5, 0);
    must_refuse(world, message, HANDSHAKE_HEADER_SIZE);
}

/* At once, and behind the dest's answer: it is not a record then. */
static void kem_key_twice(const struct world *world)
{
    struct inside in = offered(world);

    make_key(0, 1);
    inside_say(&in, message, sizeof(message));
    inside_say(&in, message, sizeof(message));
    inside_must_end(&in, patience_ms);
    inside_close(&in);
    in = offered(world);
    inside_say(&in, message, sizeof(message));
    hear_answer(&in);
    inside_say(&in, message, sizeof(message));
    inside_must_end(&in, patience_ms);
    inside_close(&in);
}

/* The last byte of the key and one that belongs to nothing are in the same record of TLS. */
static void kem_key_and_more(const struct world *world)
{
    struct inside in = offered(world);

    make_key(0, 1);
    inside_say(&in, message, sizeof(message) - 1);
    inside_say(&in, "\0more", 5);
    inside_must_end(&in, patience_ms);
    inside_close(&in);
}

/* Keys for which the source has no secret: there is an answer, and no session. */
static void say_key_alone(const struct world *world, uint8_t first, uint8_t second)
{
    struct inside in = offered(world);

    make_key(first, second);
    inside_say(&in, message, sizeof(message));
    hear_answer(&in);
    say_garbage(&in);
    inside_must_end(&in, patience_ms);
    inside_close(&in);
}

static void kem_key_of_zeros(const struct world *world)
{
    say_key_alone(world, 0, 0);
}

static void kem_key_of_ones(const struct world *world)
{
    say_key_alone(world, 0xff, 0xff);
}

static void kem_key_that_repeats(const struct world *world)
{
    say_key_alone(world, 0x80, 0x55);
}

/* The session that everybody else could have, too. */
static void must_serve_others(const struct world *world)
{
    struct hostile *h = hostile_ready(world);

    must_serve(h);
    hostile_end(h);
}

/* As many as one address may have under way, each all but done. */
static void kem_keys_that_stop(const struct world *world)
{
    struct inside all[40];

    make_key(0, 1);
    for (size_t i = 0; i < 40; i++) {
        all[i] = offered(world);
        inside_say(&all[i], message, sizeof(message) - 1 - (i % 2) * MCELIECE_PUBLIC_KEY_SIZE / 2);
    }
    must_serve_others(world);
    for (size_t i = 0; i < 40; i++)
        inside_close(&all[i]);
}

static void kem_keys_hung_up(const struct world *world)
{
    make_key(0, 1);
    for (uint64_t i = 0; i < 40; i++) {
        struct inside in = offered(world);

        inside_say(&in, message, sizeof(message) - 1 - (size_t)i * 10000);
        inside_close(&in);
    }
    must_serve_others(world);
}

/* Half a million records of TLS. */
static void kem_key_byte_by_byte(const struct world *world)
{
    struct inside in = offered(world);

    make_key(0, 1);
    for (size_t i = 0; i < sizeof(message); i++) {
        inside_put(&in, message + i, 1);
        if (i % 1000 == 999)
            inside_push(&in);
    }
    inside_push(&in);
    hear_answer(&in);
    inside_close(&in);
}

/* One whole key after the other, for as long as it was told: the work of a dest, without end. */
static void kem_keys_without_end(const struct world *world)
{
    uint64_t until = now_ms() + world->count;

    make_key(0, 1);
    while (now_ms() < until) {
        struct inside in = offered(world);

        inside_say(&in, message, sizeof(message));
        inside_close(&in);
    }
}

static void must_meet_deadline(struct inside *in, uint64_t began)
{
    inside_must_end(in, DEADLINE_MS);
    demand(now_ms() - began >= HANDSHAKE_MESSAGE_MS - 1000, "closed after %llu ms",
           (unsigned long long)(now_ms() - began));
    inside_close(in);
}

/* Half of it, and then nothing; in another connection a byte now and then. */
static void kem_key_that_never_ends(const struct world *world)
{
    struct inside stopped = offered(world);
    struct inside dripping = offered(world);
    uint64_t began = now_ms();

    make_key(0, 1);
    inside_say(&stopped, message, sizeof(message) / 2);
    for (size_t i = 0; !dripping.is_over && now_ms() - began < DEADLINE_MS; i++) {
        inside_say(&dripping, message + i, 1);
        inside_wait(&dripping, 200);
    }
    must_meet_deadline(&dripping, began);
    must_meet_deadline(&stopped, began);
}

const struct attack attacks_by_key[] = {
    {"kem_key_of_another_length", kem_key_of_another_length},
    {"kem_key_in_another_place", kem_key_in_another_place},
    {"kem_key_twice", kem_key_twice},
    {"kem_key_and_more", kem_key_and_more},
    {"kem_key_of_zeros", kem_key_of_zeros},
    {"kem_key_of_ones", kem_key_of_ones},
    {"kem_key_that_repeats", kem_key_that_repeats},
    {"kem_keys_that_stop", kem_keys_that_stop},
    {"kem_keys_hung_up", kem_keys_hung_up},
    {"kem_key_byte_by_byte", kem_key_byte_by_byte},
    {"kem_keys_without_end", kem_keys_without_end},
    {"kem_key_that_never_ends", kem_key_that_never_ends},
    {NULL, NULL},
};

/* -- of a dest -- */

/* The source has said everything, and waits for the answer. */
static struct inside asked(const struct world *world)
{
    struct inside in = inside_open(world);
    static uint8_t said[HANDSHAKE_OFFER_SIZE + KEY_MESSAGE_SIZE];

    inside_hear(&in, said, sizeof(said));
    demand(said[0] == HANDSHAKE_OFFER && said[HANDSHAKE_OFFER_SIZE] == HANDSHAKE_KEM_KEY,
           "messages %u and %u in place of OFFER and KEM_KEY", said[0], said[HANDSHAKE_OFFER_SIZE]);
    return in;
}

/* Everything is right, but the ciphertext is for nobody. */
static size_t make_answer(const struct world *world, uint16_t ciphertext_len)
{
    static uint8_t ciphertext[MCELIECE_CIPHERTEXT_SIZE];
    struct handshake_answer m = {
        .version = HANDSHAKE_VERSION,
        .kem_mode = (uint8_t)world->kem_mode,
        .ciphertext = ciphertext,
        .ciphertext_len = MCELIECE_CIPHERTEXT_SIZE,
    };
    size_t at = HANDSHAKE_ANSWER_SIZE - MCELIECE_CIPHERTEXT_SIZE - 2;
    size_t len;

    demand(getrandom(ciphertext, sizeof(ciphertext), 0) > 0, "no chance");
    len = handshake_answer_encode(message, &m);
    message[at] = (uint8_t)(ciphertext_len >> 8);
    message[at + 1] = (uint8_t)ciphertext_len;
    return len;
}

static void must_not_take(const struct world *world, size_t len)
{
    struct inside in = asked(world);

    inside_say(&in, message, len);
    inside_must_end(&in, patience_ms);
    inside_close(&in);
}

/* Implicit rejection: nothing is wrong with the answer until a record does not open. */
static void say_answer_alone(struct inside *in, size_t len)
{
    inside_say(in, message, len);
    say_garbage(in);
    inside_must_end(in, patience_ms);
    inside_close(in);
}

static void kem_answer_of_garbage(const struct world *world)
{
    struct inside in = asked(world);

    say_answer_alone(&in, make_answer(world, MCELIECE_CIPHERTEXT_SIZE));
}

static void kem_answer_of_zeros(const struct world *world)
{
    struct inside in = asked(world);
    size_t len = make_answer(world, MCELIECE_CIPHERTEXT_SIZE);

    memset(message + len - MCELIECE_CIPHERTEXT_SIZE, 0, MCELIECE_CIPHERTEXT_SIZE);
    say_answer_alone(&in, len);
}

/* Before the dest can have read a key. */
static void kem_answer_too_early(const struct world *world)
{
    struct inside in = inside_open(world);

    say_answer_alone(&in, make_answer(world, MCELIECE_CIPHERTEXT_SIZE));
}

static void kem_answer_of_another_length(const struct world *world)
{
    static const uint16_t lengths[] = {0, 1, MCELIECE_CIPHERTEXT_SIZE - 1,
                                       MCELIECE_CIPHERTEXT_SIZE + 1, 0xffff};

    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
        must_not_take(world, make_answer(world, lengths[i]));
    make_answer(world, MCELIECE_CIPHERTEXT_SIZE);
    set_header(HANDSHAKE_ANSWER, HANDSHAKE_ANSWER_MAX + 1);
    must_not_take(world, HANDSHAKE_HEADER_SIZE);
}

static void kem_answer_of_another_kind(const struct world *world)
{
    static const struct {
        uint8_t at;
        uint8_t value;
    } changes[] = {{0, HANDSHAKE_OFFER},
                   {0, HANDSHAKE_KEM_KEY},
                   {0, 9},
                   {5, 2},
                   {6, KEM_MLKEM768},
                   {6, 0xff},
                   {7, 1},
                   {7, 0x80}};

    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        size_t len = make_answer(world, MCELIECE_CIPHERTEXT_SIZE);

        message[changes[i].at] = changes[i].value;
        must_not_take(world, len);
    }
}

static void kem_answer_twice(const struct world *world)
{
    struct inside in = asked(world);
    size_t len = make_answer(world, MCELIECE_CIPHERTEXT_SIZE);

    memcpy(message + len, message, len);
    inside_say(&in, message, 2 * len);
    inside_must_end(&in, patience_ms);
    inside_close(&in);
}

static void kem_keys_not_awaited(const struct world *world)
{
    for (unsigned i = 0; i < 5; i++) {
        struct inside in = inside_open(world);

        inside_close(&in);
    }
}

/* None at all, and none of the key is read; in the next handshake a byte now and then. */
static void kem_answer_that_never_ends(const struct world *world)
{
    struct inside in = asked(world);
    uint64_t began = now_ms();

    make_answer(world, MCELIECE_CIPHERTEXT_SIZE);
    for (size_t i = 0; !in.is_over && now_ms() - began < DEADLINE_MS; i++) {
        inside_say(&in, message + i, 1);
        inside_wait(&in, 200);
    }
    must_meet_deadline(&in, began);
}

const struct attack attacks_by_answer[] = {
    {"kem_answer_of_garbage", kem_answer_of_garbage},
    {"kem_answer_of_zeros", kem_answer_of_zeros},
    {"kem_answer_too_early", kem_answer_too_early},
    {"kem_answer_of_another_length", kem_answer_of_another_length},
    {"kem_answer_of_another_kind", kem_answer_of_another_kind},
    {"kem_answer_twice", kem_answer_twice},
    {"kem_keys_not_awaited", kem_keys_not_awaited},
    {"kem_answer_that_never_ends", kem_answer_that_never_ends},
    {NULL, NULL},
};
