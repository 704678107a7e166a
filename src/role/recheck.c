#include "role/recheck.h"

#include <stdlib.h>

#include <uv.h>

#include "base/list.h"
#include "ops/log.h"

/* From the handshake thread to each worker. */
struct news {
    struct worker_item item;
    struct recheck *recheck;
    unsigned index;
    X509_STORE *store;
    uint64_t renewals;
};

static void news_free(struct worker_item *item)
{
    struct news *n = list_entry(item, struct news, item);

    X509_STORE_free(n->store);
    free(n);
}

static void on_news(struct worker_item *item, struct worker *worker)
{
    struct news *n = list_entry(item, struct news, item);

    (void)worker;
    n->recheck->on_recheck(n->recheck, n->index, n->store, n->renewals);
    news_free(item);
}

/* False: not all could be told. */
static bool tell(struct recheck *r, X509_STORE *store)
{
    bool is_done = true;

    for (unsigned i = 0; i < r->worker_count; i++) {
        struct news *n = calloc(1, sizeof(*n));

        if (n == NULL || X509_STORE_up_ref(store) != 1) {
            free(n);
            is_done = false;
            continue;
        }
        n->item = (struct worker_item){.run = on_news, .drop = news_free};
        n->recheck = r;
        n->index = i;
        n->store = store;
        n->renewals = credentials_renewals(r->credentials);
        worker_post(r->worker_at(r, i), &n->item);
    }
    if (!is_done)
        LOG_LIMITED(LOG_LEVEL_ERROR, "identity.recheck_failed", LOG_ERR("error", ERR_NOMEM),
                    LOG_MSG("sessions that run are not held to the changed CAs and CRLs yet; "
                            "trying again"));
    return is_done;
}

void recheck_init(struct recheck *r)
{
    r->checked = CREDENTIALS_FIRST;
}

bool recheck_look(struct recheck *r)
{
    uint64_t generation;

    (void)credentials_use(r->credentials, CREDENTIALS_IF_CHANGED, uv_hrtime() / 1000);
    generation = credentials_generation(r->credentials);
    /* Who has been told already is told again: that only costs time. */
    if (generation != r->checked && tell(r, credentials_store(r->credentials)))
        r->checked = generation;
    return generation != r->checked || credentials_is_bad(r->credentials);
}
