/* Records of the console (docs/formats/console.md): u64 number, u8 kind, ciphertext, tag. ChaCha20-Poly1305 under a key of the
 * direction; the number is the nonce, and stands in the additional data with the kind. No kernel here. */
#ifndef CLOISTER_SHIELD_CONSOLE_RECORD_H
#define CLOISTER_SHIELD_CONSOLE_RECORD_H

#include "aead.h"

enum {
    RECORD_HEAD = 9,
    RECORD_EXTRA = RECORD_HEAD + AEAD_TAG,
    RECORD_MOST = 1 << 16,            /* bytes, all in all */
    RECORD_TEXT = RECORD_MOST - RECORD_EXTRA,
    RECORD_OF_KEY = RECORD_EXTRA + 1, /* on a terminal a record is one byte of input: 26 bytes */
};

enum input_kind { INPUT_BYTES = 1, INPUT_LINE, INPUT_END };
enum output_kind { OUTPUT_STDOUT = 1, OUTPUT_STDERR, OUTPUT_MODE, OUTPUT_ALERT, OUTPUT_HELLO, OUTPUT_EXIT, OUTPUT_END, OUTPUT_LOST };

/* A key that is derived from another one: `what` is "input", "output" or, of the tree's own key, "end". */
void console_record_key(u8 derived[AEAD_KEY], const u8 key[AEAD_KEY], const char *what);

/* The text stands at record + RECORD_HEAD already. Returns the record's size. */
u64 console_record_seal(u8 *record, const u8 key[AEAD_KEY], u64 number, u8 kind, u64 text_size);

/* The number that the record claims. `record` has at least RECORD_HEAD bytes. */
u64 console_record_number(const u8 *record);

/* Opens it in place: then the text stands at record + RECORD_HEAD. False if it was not sealed under this key, with this number and kind;
 * then no text is left. */
NODISCARD bool console_record_open(u8 *record, u64 size, const u8 key[AEAD_KEY]);

#endif
