#include "role/tunnel_history.h"

#include "tunnel/handshake.h"

void tunnel_history_init(struct tunnel_history *h, uint64_t now)
{
    *h = (struct tunnel_history){.since = now};
}

void tunnel_history_on_ready(struct tunnel_history *h, const struct carrier *carrier)
{
    const struct handshake_result *info = carrier_info(carrier);

    h->sessions++;
    if (info != NULL && info->is_resumed)
        h->resumes++;
    h->lost_at = 0;
    h->said = (struct loss_note){0};
}

void tunnel_history_on_go_away(struct tunnel_history *h, enum wire_code code, const char *text)
{
    loss_note_set(&h->said, ERR_CLOSED, code, text, 0);
}

void tunnel_history_on_lost(struct tunnel_history *h, enum err why, uint64_t now)
{
    if (why == ERR_SUPERSEDED)
        return;
    loss_note_set(&h->loss, why, h->said.code, h->said.text, now);
    h->said = (struct loss_note){0};
}

void tunnel_history_on_uncarried(struct tunnel_history *h, uint64_t now)
{
    if (h->lost_at == 0)
        h->lost_at = now;
}

uint64_t tunnel_history_pause(const struct tunnel_history *h, uint64_t now)
{
    return h->lost_at == 0 || now < h->lost_at ? 0 : now - h->lost_at;
}
