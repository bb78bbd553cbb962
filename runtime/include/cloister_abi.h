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
#define CLOISTER_EXIT_INTERNAL 125
#define CLOISTER_EXIT_NOT_EXECUTABLE 126
#define CLOISTER_EXIT_NOT_FOUND 127

/* Options of `cloister-enclave [OPTIONS] -- PROGRAM_PATH ARGV0 [ARGS...]`. */
#define CLOISTER_OPTION_START_FD "--start-fd="
#define CLOISTER_OPTION_PROGRAM_FD "--program-fd="
#define CLOISTER_OPTION_CHECKPOINT "--checkpoint="
#define CLOISTER_OPTION_REPORT "--report="
#define CLOISTER_OPTION_UNSAFE_NO_GUARD "--unsafe-no-guard"

/* A start block (--start-fd): u32 argc, u32 envc, then argc + envc strings, each u32 length + bytes without
 * NUL; little-endian. The limits keep a damaged block from being taken for a large one. */
#define CLOISTER_START_MAX_STRINGS 65536
#define CLOISTER_START_MAX_BYTES 4194304

/* Names under which the administrator sees the pieces in /proc/PID/maps and /proc/PID/comm. */
#define CLOISTER_MEMFD_TEXT "cloister-text"
#define CLOISTER_COMM_GUARD "cloister-guard"

/* A system call number no kernel uses; the filter answers it with -(3000 + ABI version), which tells a newly
 * executed runtime that it already stands under a filter of its own version. */
#define CLOISTER_FILTER_PROBE_NR 29456
#define CLOISTER_FILTER_PROBE_BASE 3000

#endif
