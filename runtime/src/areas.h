/* The runtime's own model of the address space: which ranges the program has mapped and how each is backed. */
#ifndef CLOISTER_AREAS_H
#define CLOISTER_AREAS_H

#include "rt.h"

enum area_kind {
    AREA_SECRET = 1,    /* memfd_secret, private to this process: copied at fork */
    AREA_SHARED_SECRET, /* memfd_secret behind an anonymous MAP_SHARED: kept across fork */
    AREA_SEALED,        /* sealed memfd: text and read-only data of a program file */
    AREA_FILE,          /* shared read-only file mapping: what stands in the file already */
    AREA_PRIVATE_FILE,  /* private read-only file mapping, shared to the kernel: must become a copy before it is written */
    AREA_OPEN_FILE,     /* writable shared file mapping: readable by the administrator, counted */
    AREA_JIT,           /* ordinary memory that is or was executable: readable, counted */
};

struct area {
    u64 start, end;
    u8 protection; /* PROT_* as the program sees it */
    u8 kind;
    u8 untouched; /* 1: inaccessible since it was mapped, so nothing can stand there */
    u8 unused[5];
};

enum { AREAS_MAX = 65536 };

/* Areas are sorted by address, never overlap, and neighbours that are alike are one. */
NODISCARD bool areas_have_room(size_t more);
size_t areas_count(void);
struct area *areas_get(size_t index);
size_t areas_first_ending_after(u64 address); /* == areas_count() if there is none */
void areas_put(u64 start, u64 end, enum area_kind kind, int protection);
void areas_reserve(u64 start, u64 end); /* puts an untouched secret area */
void areas_drop(u64 start, u64 end);
void areas_protect(u64 start, u64 end, int protection);
NODISCARD bool areas_cover(u64 start, u64 end);
NODISCARD bool areas_any(u64 start, u64 end);
NODISCARD bool areas_hold(u64 start, u64 end); /* whether any area there is not untouched */
NODISCARD const struct area *areas_find(u64 address); /* NULL if nothing is mapped there */

#endif
