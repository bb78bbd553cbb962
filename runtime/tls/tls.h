/* TLS 1.3 (RFC 8446), server and client, without any input or output of its own.
 *
 * Whole records go in, one at a time; what is to be sent comes out of a buffer. A connection is a `struct tls`; the much larger
 * `struct tls_handshake` is needed only until `tls->connected`, and until its output was taken. Both are plain bytes: they have no
 * pointer but to the configuration. Not spoken: older versions, resumption, early data, renegotiation, compression. */
#ifndef CLOISTER_TLS_H
#define CLOISTER_TLS_H

#include "keys.h"
#include "record.h"
#include "schedule.h"

enum {
    TLS_MESSAGE_MOST = 16 << 10, /* of a handshake: longer ones are refused */
    TLS_FLIGHT_MOST = 16 << 10,  /* what one side sends at once in a handshake */
    TLS_CHAIN_MOST = 12 << 10,   /* own certificates */
    TLS_HELLO_MOST = 1 << 10,
    TLS_NAME_MOST = 255,
    TLS_PIN = 32,
    TLS_SPKI_MOST = 640,         /* RSA with 4096 bits */
    TLS_REPLY_MOST = 128,
};

struct tls_config {
    bool is_server;
    bool wants_client;          /* a server asks for a certificate, */
    bool requires_client;       /* and ends the handshake if there is none */
    const u8 *chain;            /* own certificates, the leaf first: a length (4 bytes, little-endian) and DER, each */
    size_t chain_size;
    const struct private_key *key; /* of the first certificate; NULL: no certificate, as a client may have none */
    const u8 *pins;             /* SHA-256 of the SubjectPublicKeyInfo of peers: no other one is let in. A client needs one */
    size_t pin_count;
    bool unsafe_any_peer;       /* a client believes whoever answers */
    const char *server_name;    /* what a client asks for (RFC 6066, section 3); NULL or "": nothing */
    void (*random)(u8 *to, size_t size);
};

enum tls_alert { /* section 6 */
    ALERT_CLOSE = 0,
    ALERT_UNEXPECTED_MESSAGE = 10,
    ALERT_BAD_RECORD = 20,
    ALERT_RECORD_OVERFLOW = 22,
    ALERT_HANDSHAKE_FAILURE = 40,
    ALERT_BAD_CERTIFICATE = 42,
    ALERT_UNSUPPORTED_CERTIFICATE = 43,
    ALERT_ILLEGAL_PARAMETER = 47,
    ALERT_DECODE_ERROR = 50,
    ALERT_DECRYPT_ERROR = 51,
    ALERT_PROTOCOL_VERSION = 70,
    ALERT_INTERNAL_ERROR = 80,
    ALERT_USER_CANCELED = 90,
    ALERT_MISSING_EXTENSION = 109,
    ALERT_UNSUPPORTED_EXTENSION = 110,
    ALERT_CERTIFICATE_REQUIRED = 116,
};

struct tls {
    struct tls_keys in, out;
    bool is_server, connected;
    bool ended;     /* the peer has said that nothing more comes */
    bool closed;    /* so have we */
    bool broken;    /* nothing more goes in or out but the alert that says why */
    u8 alert;       /* which, ours or the peer's */
    bool from_peer; /* it was the peer's */
    u8 post[5];     /* what there is of a message after the handshake: its head, and what a KeyUpdate says */
    u8 post_size;
    u32 skip;       /* bytes of such a message that are ignored */
    u32 idle;       /* records without data since the last one with some */
    u32 reply_size; /* to be sent before anything else: an alert, a KeyUpdate */
    u8 reply[TLS_REPLY_MOST];
};

struct tls_handshake {
    const struct tls_config *config;
    u8 step;
    bool again;     /* a HelloRetryRequest was sent or received */
    bool disguised; /* a ChangeCipherSpec was sent, which makes the rest look like TLS 1.2 to middleboxes */
    bool asked;     /* the server has asked for the client's certificate */
    bool named;     /* the peer has shown one */
    u16 group;      /* of the key exchange; 0 until it is known */
    u16 scheme;     /* of own signatures: what the peer accepts of it; 0: none */
    u8 private_key[32];
    u8 random[32], session[32];
    u8 session_size;
    struct transcript transcript;
    struct tls_secrets secrets;
    u8 peer[TLS_SPKI_MOST]; /* the SubjectPublicKeyInfo that the peer has shown */
    u32 peer_size, hello_size, in_size, out_size;
    u8 hello[TLS_HELLO_MOST]; /* a client's, until the hash is known */
    u8 in[TLS_MESSAGE_MOST];  /* messages as far as they have come */
    u8 out[TLS_FLIGHT_MOST];  /* records to send; whoever takes them sets out_size to 0 */
};

enum tls_event {
    TLS_MORE,   /* nothing for the program; look what is to be sent */
    TLS_DATA,   /* plaintext */
    TLS_END,    /* the peer has ended its side, properly */
    TLS_BROKEN, /* the connection is worthless; look what is to be sent, then close */
};

/* False if the configuration cannot be used: a server without key or certificate, nobody who would be let in, a chain that is too
 * long. A client's first message is then to be sent. */
NODISCARD bool tls_start(struct tls *tls, struct tls_handshake *handshake, const struct tls_config *config);

/* One whole record (its size is known from its header: tls_record_size). It is decrypted in place; with TLS_DATA `*plain` points into it.
 * `handshake` may be NULL once `tls->connected`. */
enum tls_event tls_receive(struct tls *tls, struct tls_handshake *handshake, u8 *record, size_t size, u8 **plain, size_t *plain_size);

/* The plaintext, at most TLS_PLAIN_MOST bytes, stands at record + TLS_HEADER, with TLS_OVERHEAD - TLS_HEADER bytes of room behind it; the
 * record's size is returned. 0 if nothing may be sent any more. Records may only go out in the order in which they were sealed,
 * behind `tls->reply`. */
NODISCARD size_t tls_seal(struct tls *tls, u8 *record, size_t size);

/* Every so many records keys must change (section 5.5): true if that is due. Then tls_update puts the change into `reply`. */
bool tls_update_is_due(const struct tls *tls);
void tls_update(struct tls *tls);

/* Puts the end of the own side into `reply`; once. */
void tls_close(struct tls *tls);

/* The end of the stream came: true if the peer had said so before, else bytes may be missing. */
bool tls_stream_ended(const struct tls *tls);

#endif
