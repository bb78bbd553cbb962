/* The TLS engine driven by frames on standard input (an operation, a length of 4 bytes, little-endian, bytes), each answered by one on
 * standard output: an event, an alert, flags, then what is to be sent and what is for the program, each with its length.
 *
 *   S  configuration: flags, then chain, key, pins, server name, each with its length    a new connection
 *   F  bytes of the stream, in any pieces                                                fed record by record
 *   W  plaintext                                                                         sealed
 *   C  U  E                                                                              closed; keys renewed; the stream ended
 *   G  8 bytes                                                                           the sequence number of what is sent
 *   K  whether it is SHA-384, a size, then secret, label, context, each with its length  expanded
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "bytes.h"
#include "tls.h"

enum { MOST = 1 << 21, SERVER = 1, WANTS = 2, REQUIRES = 4 };

static u8 in[MOST], given[MOST], stream[MOST], out[MOST], plain[MOST];
static u32 stream_size, out_size, plain_size;
static struct tls tls;
static struct tls_handshake *handshake;
static struct private_key key;
static struct tls_config config;
static char *server_name;

static void random_bytes(u8 *to, size_t size)
{
    if (getrandom(to, size, 0) != (ssize_t)size)
        abort();
}

static void read_all(void *to, size_t size)
{
    if (size && fread(to, size, 1, stdin) != 1) {
        free(handshake);
        free(server_name);
        exit(0);
    }
}

static void send_bytes(const u8 *bytes, size_t size)
{
    memcpy(out + out_size, bytes, size);
    out_size += (u32)size;
}

static void collect(void)
{
    if (handshake) {
        send_bytes(handshake->out, handshake->out_size);
        handshake->out_size = 0;
    }
    send_bytes(tls.reply, tls.reply_size);
    tls.reply_size = 0;
    if (tls.connected || tls.broken) {
        free(handshake);
        handshake = NULL;
    }
}

static const u8 *next(const u8 **at, size_t *size)
{
    const u8 *bytes = *at + 4;

    *size = load32(*at);
    *at = bytes + *size;
    return bytes;
}

static int start(void)
{
    const u8 *at = given + 1;
    size_t key_size, pins_size, name_size;

    memcpy(given, in, MOST);
    free(handshake);
    handshake = malloc(sizeof *handshake);
    stream_size = 0;
    config = (struct tls_config){.is_server = given[0] & SERVER, .wants_client = given[0] & WANTS, .requires_client = given[0] & REQUIRES};
    config.random = random_bytes;
    config.chain = next(&at, &config.chain_size);
    const u8 *der = next(&at, &key_size);
    if (key_size && !private_key_read(&key, der, key_size))
        return 9;
    config.key = key_size ? &key : NULL;
    config.pins = next(&at, &pins_size);
    config.pin_count = pins_size / TLS_PIN;
    const u8 *name = next(&at, &name_size);
    free(server_name);
    server_name = malloc(name_size + 1);
    memcpy(server_name, name, name_size);
    server_name[name_size] = 0;
    config.server_name = server_name;
    return tls_start(&tls, handshake, &config) ? TLS_MORE : 8;
}

/* Each record in memory of exactly its size, so that the sanitizer sees a step beyond. */
static int receive(size_t size)
{
    u8 *record = malloc(size), *data;
    size_t data_size;

    memcpy(record, stream, size);
    stream_size -= (u32)size;
    memmove(stream, stream + size, stream_size);
    const enum tls_event event = tls_receive(&tls, handshake, record, size, &data, &data_size);
    if (event == TLS_DATA) {
        memcpy(plain + plain_size, data, data_size);
        plain_size += (u32)data_size;
    }
    collect();
    free(record);
    return event;
}

static int feed(u32 size)
{
    int event = tls.broken ? TLS_BROKEN : tls.ended ? TLS_END : TLS_MORE;

    memcpy(stream + stream_size, in, size);
    stream_size += size;
    while (stream_size >= TLS_HEADER && event != TLS_BROKEN && event != TLS_END) {
        const size_t whole = tls_record_size(stream);

        if (whole > stream_size)
            break;
        event = receive(whole ? whole : TLS_HEADER); /* a bad header goes in too: the engine says which alert */
    }
    return event;
}

static void seal(u32 size)
{
    for (u32 done = 0; done < size;) {
        const u32 piece = (u32)min_u64(size - done, TLS_PLAIN_MOST);
        u8 *record = malloc(piece + TLS_OVERHEAD);

        memcpy(record + TLS_HEADER, in + done, piece);
        if (tls_update_is_due(&tls))
            tls_update(&tls), collect();
        send_bytes(record, tls_seal(&tls, record, piece));
        free(record);
        done += piece;
    }
}

static void expand(void)
{
    const u8 *at = in + 2;
    size_t secret_size, label_size, context_size;
    char label[64] = {0};
    const u8 *secret = next(&at, &secret_size), *name = next(&at, &label_size), *context = next(&at, &context_size);

    memcpy(label, name, label_size);
    expand_label(in[0] ? TLS_AES_256_GCM_SHA384 : TLS_AES_128_GCM_SHA256, secret, label, context, context_size, out, in[1]);
    out_size = in[1];
}

static int perform(char operation, u32 size)
{
    switch (operation) {
    case 'S': return start();
    case 'F': return feed(size);
    case 'W': seal(size); return TLS_MORE;
    case 'C': tls_close(&tls); return TLS_MORE;
    case 'U': tls_update(&tls); return TLS_MORE;
    case 'E': return tls_stream_ended(&tls) ? TLS_END : TLS_BROKEN;
    case 'K': expand(); return TLS_MORE;
    case 'G': tls.out.sequence = load64(in); return TLS_MORE;
    default: abort();
    }
}

int main(void)
{
    char operation;
    u32 size;

    for (;;) {
        read_all(&operation, 1);
        read_all(&size, 4);
        if (size > MOST / 2)
            abort();
        read_all(in, size);
        out_size = plain_size = 0;
        const int event = perform(operation, size);
        if (event < 8)
            collect();
        const u8 head[4] = {(u8)event, tls.alert, (u8)(tls.connected | tls.broken << 1 | tls.from_peer << 2), 0};
        fwrite(head, 1, 4, stdout);
        fwrite(&out_size, 1, 4, stdout);
        fwrite(out, 1, out_size, stdout);
        fwrite(&plain_size, 1, 4, stdout);
        fwrite(plain, 1, plain_size, stdout);
        fflush(stdout);
    }
}
