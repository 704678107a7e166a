/*
 * A client on its way to become a stream. What it says in front of its first byte is read here, and
 * nothing behind it: the header of a balancer (PROXY protocol), and where it wants to go (SOCKS5 or
 * HTTP CONNECT, told apart by the first byte). Then it waits until its owner forwards or refuses
 * it.
 *
 *   reading ──> waiting ──> forwarded: a pump has the connection
 *      ├───────────┴──────> lingering ──> gone
 *                  └──────> associated: lasts until the client leaves
 *
 * A client that cannot be understood, or comes too slowly, is told so as its protocol does.
 *
 * Threads: the worker's only.
 */
#ifndef UTUN_NET_ENTRY_H
#define UTUN_NET_ENTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/list.h"
#include "net/address.h"
#include "net/destination.h"
#include "net/login.h"
#include "net/pump.h"
#include "net/sweep.h"
#include "net/worker.h"

/* How long, and for how many bytes, a client that was refused is read from. */
#define ENTRY_LINGER_MS    5000
#define ENTRY_LINGER_BYTES ((size_t)256 * 1024)

struct association;
struct entry;

/* All entries of a worker, and what they share. Embed it. */
struct entry_set {
    struct worker *worker;
    const struct login *login; /* or NULL: nobody has to log in */
    struct sweep pending;      /* reading or waiting since */
    struct sweep lingering;
    struct list waiting; /* in the order in which they came to wait */
    struct list associated;
};

/* Reading and, once more, waiting end after timeout_ms. login stays until entry_set_change. */
void entry_set_init(struct entry_set *set, struct worker *worker, uint32_t timeout_ms,
                    const struct login *login);

/* Another timeout, for all; another login, for those who have not yet said a word. */
void entry_set_change(struct entry_set *set, uint32_t timeout_ms, const struct login *login);

/* There must be no entry. The memory must stay until the loop has run the closing callbacks. */
void entry_set_close(struct entry_set *set);

/* The first that waits to be forwarded, or NULL. */
struct entry *entry_set_first_waiting(struct entry_set *set);

/* Ends all, those that are not refused yet with that reason; on_end comes for each, from inside. */
void entry_set_abort(struct entry_set *set, enum err why);

enum entry_wish {
    ENTRY_SERVICE, /* whatever the port leads to */
    ENTRY_CONNECT, /* a destination over TCP */
    ENTRY_UDP,     /* to send datagrams */
};

struct entry_request {
    enum entry_wish wish;
    struct destination destination; /* ENTRY_CONNECT; ENTRY_UDP: where it will send from */
    struct stream_address client;   /* who it really is, as far as a balancer may say */
    struct stream_address local;    /* what it has connected to */
};

/* Embed it in what entries belong to. */
struct entry_owner {
    /* It waits: entry_forward or entry_refuse, now or later. Never from inside a call of yours. */
    void (*on_request)(struct entry_owner *owner, struct entry *e);
    /*
     * It will not become a stream. why: ERR_TIMEOUT, what was wrong with its words, or what
     * entry_refuse was given; detail for people, perhaps "". Not for a client that has just left.
     */
    void (*on_refused)(struct entry_owner *owner, const struct entry_request *request, enum err why,
                       const char *detail);
    /* It is gone without having been forwarded; last. May come from inside any call of yours. */
    void (*on_end)(struct entry_owner *owner);
};

enum entry_speech {
    ENTRY_SILENT, /* what it says is for the target */
    ENTRY_PROXY,  /* SOCKS5 or HTTP CONNECT comes first */
};

enum entry_balancer {
    ENTRY_DIRECT,
    ENTRY_BALANCED, /* the header of the PROXY protocol comes first */
};

struct entry_options {
    struct entry_set *set;
    struct entry_owner *owner;
    int fd; /* accepted; taken */
    struct address peer;
    enum entry_speech speech;
    enum entry_balancer balancer;
};

/*
 * Takes fd also on error (ERR_NOMEM ...), when the client has been reset and no callback comes. One
 * that is silent and direct waits from the start, without on_request.
 */
enum err entry_start(const struct entry_options *options) MUST_USE;

const struct entry_request *entry_request(const struct entry *e);
struct entry_owner *entry_owner(const struct entry *e);

/*
 * Ends the wait: the pump that it becomes belongs to pumps. If it cannot become one it is refused.
 */
void entry_forward(struct entry *e, struct tunnel_owner *tunnel, const struct stream_target *target,
                   struct pump_owner *pumps);

/*
 * Ends the wait of an ENTRY_UDP: the client is told where to send its datagrams. Takes the
 * association, which ends with the client's connection; then on_end comes.
 */
void entry_associate(struct entry *e, struct association *association);

/* Ends the wait: tells the client as its protocol can (ENTRY_SERVICE: a RST). */
void entry_refuse(struct entry *e, enum err why, const char *detail);

#endif
