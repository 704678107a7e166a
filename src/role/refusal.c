#include "role/refusal.h"

#include "ops/log.h"

/* Of a target, or of the rules and bounds. */
static bool is_refusal(enum err why)
{
    switch ((int)why) {
    case ERR_REFUSED:
    case ERR_UNREACHABLE:
    case ERR_RESOLVE:
    case ERR_NO_SERVICE:
    case ERR_NOT_ALLOWED:
    case ERR_LIMIT:
    case ERR_BUDGET:
        return true;
    default:
        return false;
    }
}

bool refusal_is_one(const struct pump_end *end)
{
    /* An idle stream times out too: mostly when bytes have come from the target. */
    if (end->why == ERR_TIMEOUT)
        return end->detail[0] != 0 || (end->by == PUMP_PEER && end->bytes_to_local == 0);
    return is_refusal(end->why);
}

bool refusal_is_flow(const struct flow_end *end)
{
    /* What ends a flow later on is idleness, or the end of its tunnel. */
    return is_refusal(end->why) || end->why == ERR_NOMEM || end->why == ERR_INTERNAL;
}

void refusal_log(uint16_t port, const char *service, const struct stream_address *client,
                 enum err why, const char *detail)
{
    char text[ADDRESS_TEXT_MAX];

    address_format_stream(client, text);
    LOG_LIMITED(LOG_LEVEL_WARN, "stream.refused", LOG_UINT("port", port),
                (struct log_field){.key = service[0] != 0 ? "service" : NULL,
                                   .type = LOG_FIELD_TEXT,
                                   .text = service,
                                   .text_len = strlen(service)},
                LOG_STR("client", text), LOG_ERR("error", why),
                LOG_STR("detail", detail[0] != 0 ? detail : err_text(why)));
}
