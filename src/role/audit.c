#include "role/audit.h"

#include <stdatomic.h>

#include "ops/log.h"
#include "tunnel/frame.h"

#define NS_PER_US 1000

static atomic_bool is_off;

void audit_enable(bool is_on)
{
    atomic_store_explicit(&is_off, !is_on, memory_order_relaxed);
}

static bool is_wanted(void)
{
    return !atomic_load_explicit(&is_off, memory_order_relaxed) && log_is_on(LOG_LEVEL_INFO);
}

static const char *name_of(enum audit_result result)
{
    switch (result) {
    case AUDIT_DONE:
        return "done";
    case AUDIT_REFUSED:
        return "refused";
    case AUDIT_FAILED:
        return "failed";
    case AUDIT_ENDED:
        return "ended";
    }
    return "?";
}

void audit_log(const struct audit_entry *e)
{
    char address[ADDRESS_TEXT_MAX];
    char client[ADDRESS_TEXT_MAX];

    if (!is_wanted())
        return;
    address_format(&e->who->address, address);
    address_format_stream(e->client, client);
    LOG(LOG_LEVEL_INFO, "audit.stream", LOG_STR("result", name_of(e->result)),
        LOG_ERR("reason", e->why),
        LOG_STR("detail", e->detail[0] != 0 || e->why == ERR_OK ? e->detail : err_text(e->why)),
        LOG_STR("peer", e->who->name.common_name), LOG_STR("alt_names", e->who->name.alt_names),
        LOG_STR("fingerprint", e->who->name.fingerprint_hex), LOG_STR("address", address),
        LOG_STR("client", client), LOG_STR("protocol", e->protocol), LOG_STR("service", e->service),
        LOG_UINT("port", e->port), LOG_STR("target", e->target),
        LOG_UINT("bytes_to_target", e->bytes_to_target),
        LOG_UINT("bytes_from_target", e->bytes_from_target),
        LOG_DUR("duration_ms", (int64_t)(e->duration_us * NS_PER_US)));
}

void audit_pace_init(struct audit_pace *pace, struct sweep *later)
{
    *pace = (struct audit_pace){.later = later};
    sweep_item_init(&pace->unsaid);
}

bool audit_pace_take(struct audit_pace *pace, uint64_t now_us)
{
    const uint64_t each = 1000000 / AUDIT_REFUSALS_A_SECOND;

    if (pace->used_until_us < now_us)
        pace->used_until_us = now_us;
    if (pace->used_until_us - now_us > (AUDIT_REFUSALS_AT_ONCE - 1) * each) {
        if (pace->left_out++ == 0 && pace->later != NULL)
            sweep_touch(pace->later, &pace->unsaid);
        return false;
    }
    pace->used_until_us += each;
    return true;
}

void audit_log_left_out(const struct audit_who *who, struct audit_pace *pace)
{
    char address[ADDRESS_TEXT_MAX];

    if (pace->left_out == 0)
        return;
    sweep_remove(&pace->unsaid);
    if (!is_wanted())
        return;
    address_format(&who->address, address);
    LOG(LOG_LEVEL_WARN, "log.suppressed", LOG_STR("of", "audit.stream"),
        LOG_UINT("lines", pace->left_out), LOG_STR("peer", who->name.common_name),
        LOG_STR("address", address));
    pace->left_out = 0;
}

void audit_log_revoked(const struct audit_who *who, enum err why, const char *detail,
                       uint64_t streams)
{
    char address[ADDRESS_TEXT_MAX];

    address_format(&who->address, address);
    LOG(LOG_LEVEL_WARN, "audit.revoked", LOG_ERR("reason", why), LOG_STR("detail", detail),
        LOG_STR("peer", who->name.common_name), LOG_STR("alt_names", who->name.alt_names),
        LOG_STR("fingerprint", who->name.fingerprint_hex), LOG_STR("address", address),
        LOG_UINT("streams", streams));
}
