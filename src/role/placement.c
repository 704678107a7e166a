#include "role/placement.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "crypto/secret.h"

struct place {
    struct placement_key key;
    uint8_t *secret; /* NULL: not to be continued */
    bool is_proven;
    bool is_resting; /* no session carries it */
    unsigned worker;
    unsigned users;
};

struct placement {
    pthread_mutex_t lock;
    struct place *places;
    unsigned count;
    unsigned room;
    unsigned workers;
    unsigned max_tunnels;
    uint32_t last_twin;
    unsigned tunnels[]; /* of each worker */
};

enum err placement_new(struct placement **out, unsigned workers, unsigned max_tunnels)
{
    struct placement *p;

    assert(workers > 0);
    *out = NULL;
    p = calloc(1, sizeof(*p) + workers * sizeof(p->tunnels[0]));
    if (p == NULL)
        return ERR_NOMEM;
    pthread_mutex_init(&p->lock, NULL);
    p->workers = workers;
    p->max_tunnels = max_tunnels;
    *out = p;
    return ERR_OK;
}

void placement_free(struct placement *p)
{
    if (p == NULL)
        return;
    pthread_mutex_destroy(&p->lock);
    for (unsigned i = 0; i < p->count; i++)
        secret_free(p->places[i].secret, TUNNEL_SECRET_SIZE);
    free(p->places);
    free(p);
}

static struct place *find(struct placement *p, const struct placement_key *key)
{
    for (unsigned i = 0; i < p->count; i++) {
        if (memcmp(&p->places[i].key, key, sizeof(*key)) == 0)
            return &p->places[i];
    }
    return NULL;
}

static bool is_of(const struct place *place, const uint8_t identity[PEER_IDENTITY_SIZE])
{
    return memcmp(place->key.identity, identity, PEER_IDENTITY_SIZE) == 0;
}

/* Without certificates sources cannot be told apart, and none is denied anything. */
static bool has_its_part(const struct placement *p, const uint8_t identity[PEER_IDENTITY_SIZE])
{
    static const uint8_t nobody[PEER_IDENTITY_SIZE];
    unsigned quarter = p->max_tunnels / 4;
    unsigned part = quarter > PLACEMENT_SOURCE_MIN ? quarter : PLACEMENT_SOURCE_MIN;
    unsigned awake = 1; /* the one that it asks for */
    unsigned resting = 0;

    if (p->count < p->max_tunnels - quarter || memcmp(identity, nobody, sizeof(nobody)) == 0)
        return false;
    for (unsigned i = 0; i < p->count; i++) {
        if (is_of(&p->places[i], identity))
            *(p->places[i].is_resting ? &resting : &awake) += 1;
    }
    return (awake > resting ? awake : resting) > part;
}

/* NULL, or why there is no place for another tunnel. */
static const char *refusal(const struct placement *p, const uint8_t identity[PEER_IDENTITY_SIZE])
{
    if (p->count >= p->max_tunnels)
        return "the dest has as many tunnels as max_tunnels allows";
    if (has_its_part(p, identity))
        return "this source has a quarter of the dest's max_tunnels, and what is left is kept for "
               "other sources";
    return NULL;
}

/* NULL with an error. */
static struct place *add(struct placement *p, const struct placement_key *key, enum err *e)
{
    unsigned least = 0;

    *e = ERR_LIMIT;
    if (refusal(p, key->identity) != NULL)
        return NULL;
    *e = ERR_OK;
    if (p->count == p->room) {
        unsigned room = p->room == 0 ? 16 : p->room * 2;
        struct place *places = realloc(p->places, room * sizeof(*places));
        if (places == NULL) {
            *e = ERR_NOMEM;
            return NULL;
        }
        p->places = places;
        p->room = room;
    }
    for (unsigned i = 1; i < p->workers; i++) {
        if (p->tunnels[i] < p->tunnels[least])
            least = i;
    }
    p->tunnels[least]++;
    p->places[p->count] = (struct place){.key = *key, .worker = least};
    return &p->places[p->count++];
}

/* A place that no OFFER can name. */
static struct place *add_twin(struct placement *p, struct placement_key *key, enum err *e)
{
    do {
        key->twin = ++p->last_twin;
    } while (key->twin == 0 || find(p, key) != NULL);
    return add(p, key, e);
}

static bool has_secret(const struct place *place, const uint8_t secret[TUNNEL_SECRET_SIZE])
{
    return place != NULL && place->secret != NULL &&
           secret_equal(place->secret, secret, TUNNEL_SECRET_SIZE);
}

/* The tunnel that keeps its place when one with its key is begun: placement_enter adds a twin. */
static bool is_taken(const struct place *place)
{
    return place->secret != NULL && place->is_proven;
}

enum err placement_enter(struct placement *p, struct placement_key *key,
                         const uint8_t secret[TUNNEL_SECRET_SIZE], unsigned *worker)
{
    uint8_t *copy = secret_new(TUNNEL_SECRET_SIZE);
    struct place *place;
    enum err e = ERR_OK;

    *worker = 0;
    if (copy == NULL)
        return ERR_NOMEM;
    memcpy(copy, secret, TUNNEL_SECRET_SIZE);
    pthread_mutex_lock(&p->lock);
    place = find(p, key);
    if (place != NULL && is_taken(place))
        place = add_twin(p, key, &e);
    else if (place == NULL)
        place = add(p, key, &e);
    if (place != NULL) {
        secret_free(place->secret, TUNNEL_SECRET_SIZE);
        place->secret = copy;
        place->is_proven = false;
        place->is_resting = false;
        place->users++;
        *worker = place->worker;
    }
    pthread_mutex_unlock(&p->lock);
    if (place == NULL)
        secret_free(copy, TUNNEL_SECRET_SIZE);
    return e;
}

enum err placement_resume(struct placement *p, const struct placement_key *key,
                          const uint8_t secret[TUNNEL_SECRET_SIZE], unsigned *worker)
{
    enum err e = ERR_NOT_FOUND;

    *worker = 0;
    pthread_mutex_lock(&p->lock);
    struct place *place = find(p, key);
    if (has_secret(place, secret)) {
        place->users++;
        *worker = place->worker;
        e = ERR_OK;
    }
    pthread_mutex_unlock(&p->lock);
    return e;
}

void placement_prove(struct placement *p, const struct placement_key *key,
                     const uint8_t secret[TUNNEL_SECRET_SIZE])
{
    pthread_mutex_lock(&p->lock);
    struct place *place = find(p, key);
    if (has_secret(place, secret))
        place->is_proven = true;
    pthread_mutex_unlock(&p->lock);
}

bool placement_secret(struct placement *p, const struct placement_key *key,
                      uint8_t secret[TUNNEL_SECRET_SIZE])
{
    pthread_mutex_lock(&p->lock);
    const struct place *place = find(p, key);
    bool is_known = place != NULL && place->secret != NULL;
    if (is_known)
        memcpy(secret, place->secret, TUNNEL_SECRET_SIZE);
    pthread_mutex_unlock(&p->lock);
    return is_known;
}

void placement_forget(struct placement *p, const struct placement_key *key,
                      const uint8_t secret[TUNNEL_SECRET_SIZE])
{
    pthread_mutex_lock(&p->lock);
    struct place *place = find(p, key);
    if (has_secret(place, secret)) {
        secret_free(place->secret, TUNNEL_SECRET_SIZE);
        place->secret = NULL;
    }
    pthread_mutex_unlock(&p->lock);
}

void placement_leave(struct placement *p, const struct placement_key *key)
{
    pthread_mutex_lock(&p->lock);
    struct place *place = find(p, key);
    assert(place != NULL);
    if (--place->users == 0) {
        secret_free(place->secret, TUNNEL_SECRET_SIZE);
        p->tunnels[place->worker]--;
        *place = p->places[--p->count];
    }
    pthread_mutex_unlock(&p->lock);
}

void placement_set_max(struct placement *p, unsigned max_tunnels)
{
    pthread_mutex_lock(&p->lock);
    p->max_tunnels = max_tunnels;
    pthread_mutex_unlock(&p->lock);
}

enum err placement_admit(struct placement *p, const struct placement_key *key, const char **why)
{
    *why = NULL;
    pthread_mutex_lock(&p->lock);
    const struct place *place = find(p, key);
    if (place == NULL || is_taken(place))
        *why = refusal(p, key->identity);
    pthread_mutex_unlock(&p->lock);
    return *why == NULL ? ERR_OK : ERR_LIMIT;
}

enum rest { AWAKE, RESTING };

static void set_rest(struct placement *p, const struct placement_key *key, enum rest rest)
{
    pthread_mutex_lock(&p->lock);
    struct place *place = find(p, key);
    assert(place != NULL);
    place->is_resting = rest == RESTING;
    pthread_mutex_unlock(&p->lock);
}

void placement_rest(struct placement *p, const struct placement_key *key)
{
    set_rest(p, key, RESTING);
}

void placement_wake(struct placement *p, const struct placement_key *key)
{
    set_rest(p, key, AWAKE);
}

unsigned placement_tunnels(struct placement *p)
{
    pthread_mutex_lock(&p->lock);
    unsigned count = p->count;
    pthread_mutex_unlock(&p->lock);
    return count;
}
