/*
 * Resume: how streams pass from one session of a tunnel to the next. Source: docs/PROTOCOL.md,
 * section 9.2.
 *
 * From the moment a resumed session is ready, no stream frame of an older one is accepted or sent,
 * so what RESUME says stays true until both sides have said it. Then each continues every stream
 * from where the other one is.
 */
#include "tunnel/engine.h"

static struct stream *stream_at(struct list *l)
{
    return list_entry(l, struct stream, all);
}

void resume_list(struct tunnel *t, uint64_t number, struct wire_writer *w, bool *is_last)
{
    struct list *next;

    tunnel_enter(t);
    *is_last = true;
    for (struct list *l = t->all.next; l != &t->all; l = next) {
        struct stream *s = stream_at(l);
        struct resume_entry e;

        next = l->next;
        if (s->listed == number || s->is_lost)
            continue;
        if ((size_t)(w->end - w->at) < RESUME_ENTRY_SIZE_MAX) {
            *is_last = false;
            break;
        }
        s->listed = number;
        e = stream_make_resume_entry(s);
        resume_entry_encode(w, &e);
        stream_reap(s);
    }
    tunnel_leave(t);
}

/* A source cannot have opened fewer streams than the dest has seen. */
static bool is_possible(const struct tunnel *t, uint64_t next_id)
{
    return t->options.role == TUNNEL_SOURCE ? next_id <= t->next_id : next_id >= t->next_id;
}

static enum err on_entry(struct tunnel *t, uint64_t number, const struct resume_entry *e)
{
    struct stream *s = idmap_get(&t->streams, e->id);

    if (s == NULL) {
        /* Over for us, which our own list tells; or an OPEN that never came. */
        return t->options.role == TUNNEL_SOURCE && e->id >= t->next_id ? ERR_RESUME : ERR_OK;
    }
    if (s->seen == number)
        return ERR_RESUME;
    s->seen = number;
    return stream_on_resume(s, e);
}

/* Every stream that the peer did not name is over there, or has never come there. */
static enum err on_last(struct tunnel *t, uint64_t number, uint64_t peer_next_id)
{
    struct list rest;
    struct list visited;
    struct list *l;
    enum err e = ERR_OK;

    list_init(&rest);
    list_init(&visited);
    list_join(&rest, &t->all);
    while ((l = list_first(&rest)) != NULL) {
        struct stream *s = stream_at(l);

        list_remove(l);
        list_append(&visited, l);
        if (s->is_lost || s->seen == number || e != ERR_OK)
            continue;
        if (t->options.role == TUNNEL_SOURCE && s->id >= peer_next_id)
            e = stream_on_unopened(s);
        else
            stream_on_forgotten(s);
    }
    /* Owners may have opened others meanwhile, whose OPEN must come last. */
    list_join(&visited, &t->all);
    list_join(&t->all, &visited);
    return e;
}

enum err resume_on_frame(struct tunnel *t, uint64_t number, const struct frame *f)
{
    struct wire_reader r = f->resume.entries;

    if (!is_possible(t, f->resume.next_id))
        return ERR_RESUME;
    while (wire_left(&r) > 0) {
        struct resume_entry entry;
        enum err e = resume_entry_decode(&r, &entry);

        if (e == ERR_OK)
            e = on_entry(t, number, &entry);
        if (e != ERR_OK)
            return e;
    }
    return f->resume.is_last ? on_last(t, number, f->resume.next_id) : ERR_OK;
}

void resume_finish(struct tunnel *t)
{
    for (struct list *l = t->all.next; l != &t->all; l = l->next)
        stream_requeue(stream_at(l));
}
