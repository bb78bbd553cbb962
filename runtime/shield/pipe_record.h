/* Records of sealed pipes: head, ciphertext, tag. AES-256-GCM under a key of the pipe, where the processor has it, else ChaCha20-Poly1305;
 * all of the head is additional data. */
#ifndef CLOISTER_SHIELD_PIPE_RECORD_H
#define CLOISTER_SHIELD_PIPE_RECORD_H

#include "../volume/aes_gcm.h"
#include "aead.h"

struct pipe_head {
    u64 number;
    u32 salt;   /* drawn: the nonce is number and salt, because a number that was given back is given again */
    u16 behind; /* number - least (guard_pipes.h) */
    u16 size;   /* of the text */
};

enum {
    PIPE_HEAD = sizeof(struct pipe_head),
    PIPE_EXTRA = PIPE_HEAD + AEAD_TAG,
    PIPE_RECORD = 4096, /* PIPE_BUF */
    PIPE_TEXT = PIPE_RECORD - PIPE_EXTRA,
};

struct pipe_key {
    u64 id;
    bool vector;
    struct gcm gcm;
    u8 chacha[AEAD_KEY];
};

/* Of the tree's key, for one pipe. Nothing is done if it is that one already. */
void pipe_key(struct pipe_key *key, const u8 tree[AEAD_KEY], u64 id);
/* The text stands at record + PIPE_HEAD already. Returns the record's size. */
u64 pipe_record_seal(u8 *record, const struct pipe_key *key, const struct pipe_head *head);
/* Opens in place the record at the beginning of `size` bytes: its own size, 0 if not all of it is there, -1 if it was not sealed so. */
NODISCARD long pipe_record_open(u8 *record, u64 size, const struct pipe_key *key, struct pipe_head *head);

#endif
