/* The contract between the runtime (C) and cloister.launch (Python).
 * `make -C runtime abi` regenerates src/cloister/launch/_abi.py from the #define lines below; a test
 * fails when the two differ. Only plain integer and string constants may stand here. */
#ifndef CLOISTER_ABI_H
#define CLOISTER_ABI_H

#define CLOISTER_ABI_VERSION 1

/* Exit codes for a program that was never started. 126 and 127 are the shell's convention. */
#define CLOISTER_EXIT_USAGE 2
#define CLOISTER_EXIT_CANNOT_PROTECT 120
#define CLOISTER_EXIT_CANNOT_ENCLAVE 121
#define CLOISTER_EXIT_NOT_PROVISIONED 122
#define CLOISTER_EXIT_INTERNAL 125
#define CLOISTER_EXIT_NOT_EXECUTABLE 126
#define CLOISTER_EXIT_NOT_FOUND 127

/* Options of `cloister-enclave [OPTIONS] -- PROGRAM_PATH ARGV0 [ARGS...]`. */
#define CLOISTER_OPTION_START_FD "--start-fd="
#define CLOISTER_OPTION_PROGRAM_FD "--program-fd="
#define CLOISTER_OPTION_CHECKPOINT "--checkpoint="
#define CLOISTER_OPTION_REPORT "--report="
#define CLOISTER_OPTION_UNSAFE_NO_GUARD "--unsafe-no-guard"
#define CLOISTER_OPTION_ATTESTER "--attester="
#define CLOISTER_OPTION_HANDOFF_FD "--handoff-fd="
#define CLOISTER_OPTION_MANIFEST_FD "--manifest-fd="
#define CLOISTER_OPTION_LEARN "--learn="
#define CLOISTER_OPTION_SHIELD "--shield"
#define CLOISTER_OPTION_CONSOLE_FD "--console-fd="

/* A start block (--start-fd): u32 argc, u32 envc, then argc + envc strings, each u32 length + bytes without
 * NUL; little-endian. Behind these may stand what FRAME_SEALED has behind its start block. The limits keep a damaged block from being taken for a large one. */
#define CLOISTER_START_MAX_STRINGS 65536
#define CLOISTER_START_MAX_BYTES 4194304

/* The conversation with the carrier (--attester; runtime/src/provision.h). Frames: u32 kind, u32 size, then so many bytes;
 * little-endian. HELLO: u32 ABI version, u32 of these flags. MANIFEST: runtime/src/admission.h. STATEMENT: SHA-256 of the
 * program, digest of the manifest, X25519 public key, 32 bytes each. NONCE: base64 text. QUOTE: 64 bytes of report data. SEALED:
 * 32 bytes the broker's key, 32 bytes encapsulated key, then ciphertext and tag (HPKE-4 in mode_auth, RFC 9180), whose plaintext is a
 * start block, u32 length and working directory, then files: u32 count, for each u32 length and path, u32 length and content; then, where something is shielded, u32 size and the shield block
 * (docs/formats/shield.md), which with --start-fd wants --shield.
 * REFUSED: u32 exit code, text for a person. REFRESH: as STATEMENT, for a conversation while the program runs. EVIDENCE_WANTED: 64 bytes of report data; EVIDENCE: the evidence. ROOT: u32 length
 * and name, u64 generation, 32 bytes digest, 32 bytes HMAC-SHA-256 of all before; ROOTED: 32 bytes HMAC-SHA-256 of the same (docs/formats/shield.md). */
#define CLOISTER_FRAME_HELLO 1
#define CLOISTER_FRAME_MANIFEST 2
#define CLOISTER_FRAME_STATEMENT 3
#define CLOISTER_FRAME_NONCE 4
#define CLOISTER_FRAME_QUOTE 5
#define CLOISTER_FRAME_SEALED 6
#define CLOISTER_FRAME_REFUSED 7
#define CLOISTER_FRAME_REFRESH 8
#define CLOISTER_FRAME_EVIDENCE_WANTED 9
#define CLOISTER_FRAME_EVIDENCE 10
#define CLOISTER_FRAME_ROOT 11
#define CLOISTER_FRAME_ROOTED 12
#define CLOISTER_FRAME_MAX_BYTES 8388608
#define CLOISTER_HELLO_GUARDED 1

/* The attested key as the broker gets it: a JWK with exactly these members, JOSE's name of the HPKE suite. What
 * is sealed has a header as a JWE has, {"alg":"HPKE-4","mode":"auth"} in base64url, which is the additional data. */
#define CLOISTER_RUNTIME_DATA_BEFORE_NONCE "{\"additional-evidence\":\"\",\"nonce\":\""
#define CLOISTER_RUNTIME_DATA_BEFORE_KEY "\",\"tee-pubkey\":{\"alg\":\"HPKE-4\",\"crv\":\"X25519\",\"kty\":\"OKP\",\"x\":\""
#define CLOISTER_RUNTIME_DATA_END "\"}}"
#define CLOISTER_PROTECTED_HEADER "eyJhbGciOiJIUEtFLTQiLCJtb2RlIjoiYXV0aCJ9"

/* Names under which the administrator sees the pieces in /proc/PID/maps and /proc/PID/comm. */
#define CLOISTER_MEMFD_TEXT "cloister-text"
#define CLOISTER_MEMFD_FILE "cloister-file"
#define CLOISTER_COMM_GUARD "cloister-guard"

/* A system call number no kernel uses; the filter answers it with -(3000 + ABI version), which tells a newly
 * executed runtime that it already stands under a filter of its own version. */
#define CLOISTER_FILTER_PROBE_NR 29456
#define CLOISTER_FILTER_PROBE_BASE 3000

/* Another such number: the filter makes it a stop of the guard, which answers a new image of the runtime with the tree's key
 * (runtime/src/handoff.h), and everybody else as the kernel would. */
#define CLOISTER_FILTER_KEY_NR 29457

/* And one for what the guard keeps for the tree (runtime/src/guard_words.h). 29458 and 29459 are the filter's own. */
#define CLOISTER_FILTER_WORDS_NR 29460

#endif
