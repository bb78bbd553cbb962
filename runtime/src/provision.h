/* How a program gets its secrets: this runtime makes a key, has its evidence made, and opens what the broker encrypted to the key.
 *
 *   runtime (inside)                 carrier (outside: cloister.attest.carrier)         broker
 *   HELLO {abi}                 ───▶
 *                               ◀─── MANIFEST {what else may be code}
 *   measures the program
 *   STATEMENT {digests, key}    ───▶ challenge ───────────────────────────────────────▶
 *                               ◀─── NONCE                                       ◀─────
 *   QUOTE {report data}         ───▶ evidence, by the host's attestation key ─────────▶ verifies, appraises, decides
 *                               ◀─── SEALED {encapsulated key, ciphertext}       ◀─────
 *
 * The carrier is not trusted with a secret: it sees public keys and ciphertext. Frames: u32 kind, u32 size, bytes. */
#ifndef CLOISTER_PROVISION_H
#define CLOISTER_PROVISION_H

#include "start.h"

/* Connects, says hello, takes the manifest. Ends the process with CLOISTER_EXIT_NOT_PROVISIONED if it cannot. */
void provision_begin(void);
/* The rest of the conversation; the program has been measured (admission_open_program). Fills the stack's words and state.files. */
void provision_finish(struct program_stack *stack, const struct words *arguments);
/* The same again while the program runs, for its files only: what the broker rotated. 0 or -errno; the old files stay on failure. */
NODISCARD long provision_refresh(void);

#endif
