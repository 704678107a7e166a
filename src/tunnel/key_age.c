#include "tunnel/key_age.h"

static uint64_t margin(const struct key_age *a)
{
    return a->margin_us < a->lifetime_us / 2 ? a->margin_us : a->lifetime_us / 2;
}

static uint64_t due_at(const struct key_age *a)
{
    return a->born + a->lifetime_us - margin(a);
}

static uint64_t late_at(const struct key_age *a)
{
    return a->born + a->lifetime_us - margin(a) / 2;
}

static uint64_t expires_at(const struct key_age *a)
{
    return a->lifetime_us == 0 ? UINT64_MAX : a->born + a->lifetime_us;
}

static void start(struct key_age *a)
{
    a->is_late_told = false;
    a->due = a->lifetime_us == 0 || a->part == KEY_AGE_FOLLOWS ? UINT64_MAX : due_at(a);
}

void key_age_init(struct key_age *a, enum key_age_part part, uint64_t lifetime_us,
                  uint64_t margin_us, uint64_t now)
{
    *a = (struct key_age){
        .part = part, .lifetime_us = lifetime_us, .margin_us = margin_us, .born = now};
    start(a);
}

void key_age_limit(struct key_age *a, uint64_t lifetime_us)
{
    if (lifetime_us == 0 || (a->lifetime_us > 0 && a->lifetime_us <= lifetime_us))
        return;
    a->lifetime_us = lifetime_us;
    start(a);
}

void key_age_replaced(struct key_age *a, uint64_t born)
{
    a->born = born;
    start(a);
}

enum key_age_verdict key_age_tick(struct key_age *a, uint64_t now)
{
    if (now >= expires_at(a))
        return KEY_AGE_EXPIRED;
    if (now < a->due || a->is_late_told)
        return KEY_AGE_FRESH;
    if (now >= late_at(a)) {
        a->is_late_told = true;
        a->due = UINT64_MAX;
        return KEY_AGE_LATE;
    }
    a->due = now + KEY_AGE_AGAIN_US < late_at(a) ? now + KEY_AGE_AGAIN_US : late_at(a);
    return KEY_AGE_DUE;
}

uint64_t key_age_deadline(const struct key_age *a)
{
    return a->due < expires_at(a) ? a->due : expires_at(a);
}
