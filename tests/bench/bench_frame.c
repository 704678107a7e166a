/* Frames alone: encoded into a scratch buffer and decoded again, in CPU time of one thread. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "layer.h"
#include "tunnel/frame.h"

#define ROUNDS 200000
#define FRAMES 100 /* in one buffer, about as many as one record of small frames has */

static const char *name_of(uint8_t type)
{
    switch (type) {
    case FRAME_STREAM_OPEN:
        return "open";
    case FRAME_STREAM_CREDIT:
        return "credit";
    default:
        return "data header, 64 bytes of payload";
    }
}

static bool encode(struct wire_writer *w, const struct frame *f)
{
    static const uint8_t payload[64];

    if (f->type != FRAME_STREAM_DATA)
        return frame_encode(w, f);
    if (!frame_encode_data_header(w, FRAME_STREAM_DATA, f->data.id, f->data.offset,
                                  sizeof(payload)))
        return false;
    wire_put_bytes(w, payload, sizeof(payload));
    return true;
}

static void bench(const struct frame *f)
{
    static uint8_t buffer[65536];
    size_t len = 0;
    char what[64];
    double encoding = cpu_seconds();
    double decoding;

    for (int i = 0; i < ROUNDS / FRAMES; i++) {
        struct wire_writer w;

        wire_writer_init(&w, buffer, sizeof(buffer));
        for (int k = 0; k < FRAMES; k++) {
            if (!encode(&w, f))
                abort();
        }
        len = wire_written(&w);
    }
    encoding = cpu_seconds() - encoding;
    decoding = cpu_seconds();
    for (int i = 0; i < ROUNDS / FRAMES; i++) {
        struct wire_reader r;
        struct frame decoded;

        wire_reader_init(&r, buffer, len);
        while (wire_left(&r) > 0) {
            if (frame_decode(&r, &decoded) != ERR_OK)
                abort();
        }
    }
    decoding = cpu_seconds() - decoding;
    (void)snprintf(what, sizeof(what), "encode, %s", name_of(f->type));
    print_layer("frame", what, encoding * 1e9 / ROUNDS, "ns");
    (void)snprintf(what, sizeof(what), "decode, %s", name_of(f->type));
    print_layer("frame", what, decoding * 1e9 / ROUNDS, "ns");
}

int main(void)
{
    const struct frame frames[] = {
        {.type = FRAME_STREAM_DATA, .data = {.id = 1000, .offset = 1000000}},
        {.type = FRAME_STREAM_CREDIT, .credit = {.id = 1000, .acked = 1000000, .limit = 2000000}},
        {.type = FRAME_STREAM_OPEN,
         .open = {.id = 1000, .limit = 32768, .target = {.port = 80, .name = "bench"}}},
    };

    for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++)
        bench(&frames[i]);
    return 0;
}
