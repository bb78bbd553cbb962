/* What the shields were told: the shield block (docs/formats/shield.md), which came with the start block and stands in state.shield.
 * Texts and keys point into it. */
#ifndef CLOISTER_SHIELD_POLICY_H
#define CLOISTER_SHIELD_POLICY_H

#include "region.h"

enum files_kind { FILES_ENCRYPTED = 1, FILES_AUTHENTICATED, FILES_MEMORY, FILES_PLAIN };
enum files_flag { FILES_READ_ONLY = 1, FILES_CREATE = 2, FILES_REPORT_ROOT = 4 };
enum protocol { PROTOCOL_TLS = 1, PROTOCOL_RA_TLS, PROTOCOL_PLAIN };
enum { LISTEN_CLIENTS_NAMED = 1, CONSOLE_TERMINAL = 1 };
enum { POLICY_FILES_MOST = 32, POLICY_PORTS_MOST = 64, KEY_SIZE = 32, PIN_SIZE = 32, WRITER_SIZE = 16 };

struct text { /* not terminated */
    const u8 *bytes;
    u32 size;
};

/* A region: what stands at and below `path`. */
struct shield_files {
    u32 kind, flags, index; /* index: which region this is */
    struct text path, container, name;
    const u8 *key;          /* KEY_SIZE bytes */
    u64 generation;         /* the least that is accepted */
    const u8 *digest;       /* 32 bytes: of the root of that generation; zeros: any */
    const u8 *writer;       /* WRITER_SIZE bytes: by whom states of higher generations are; zeros: by anybody */
    u64 cache;              /* bytes; 0: the default */
};

struct shield_listen {
    u32 protocol, flags, port;
    struct text certificates, key, clients, name;
};

struct shield_connect {
    u32 protocol, flags, port;
    struct text host, server_name, pins, certificates, key, name;
};

struct shield_console {
    u32 flags, rows, columns;
    const u8 *key; /* NULL: the console is not shielded */
};

struct policy {
    bool strict, network;
    u32 files_count, listen_count, connect_count;
    struct shield_files files[POLICY_FILES_MOST];
    struct shield_listen listen[POLICY_PORTS_MOST];
    struct shield_connect connect[POLICY_PORTS_MOST];
    struct shield_console console;
};

extern struct policy policy;

/* Reads state.shield. Ends the process if it is not exactly one block. Does nothing where there is none. */
void policy_begin(void);
static inline bool text_is_set(const struct text *text) { return text->size != 0; }

#endif
