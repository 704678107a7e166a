/* What can be asked of a session. */
#include "tunnel/engine.h"

static enum session_phase phase_of(const struct session *s)
{
    if (!s->is_ready)
        return SESSION_STARTING;
    if (s->tunnel->session != s)
        return SESSION_RETIRED;
    if (s->is_resumed && !(s->resume_sent && s->resume_received))
        return SESSION_RESUMING;
    return SESSION_CURRENT;
}

void session_get_state(const struct session *s, struct session_state *state)
{
    *state = (struct session_state){
        .phase = phase_of(s),
        .number = session_number(s),
        .rtt_us = session_rtt_us(s),
        .rtt_min_us = session_rtt_min_us(s),
        .last_received = session_last_received(s),
        .missed_pongs = session_missed_pongs(s),
        .generation = session_generation(s),
    };
}

const char *session_phase_name(enum session_phase phase)
{
    static const char *const names[] = {"starting", "resuming", "current", "retired"};

    return (size_t)phase < sizeof(names) / sizeof(names[0]) ? names[phase] : "unknown";
}
