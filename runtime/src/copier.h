/* Copying secret memory on two processors. First touch of a secret page is mostly an interrupt to all processors (15 to 22 us), during
 * which nothing else is done here: two threads that touch at once get more than twice as far (measured: 6 us a page). */
#ifndef CLOISTER_COPIER_H
#define CLOISTER_COPIER_H

#include "second.h"
#include "secret.h"

enum { COPIER_PIECES = 128 };

struct copier {
    u8 *residency;      /* of PAGES_AT_ONCE pages: those of all pieces, one after the other */
    struct copier_piece {
        u64 to, from;
        u32 first;      /* of all pages that wait */
    } piece[COPIER_PIECES];
    u32 pieces, pages;  /* what waits */
    u32 total, next;    /* while it is copied: `total` pages, in chunks that both sides take by `next` */
    u32 inside;         /* whether the second thread is at it */
    u32 call;           /* counts what there was to do: the second thread waits for its change */
    bool leave;         /* the second thread shall end */
    bool alone;         /* there is none, and there will be none */
    struct second second;
};

/* The calling thread must be its process's only one, with all signals blocked. `residency` has room for PAGES_AT_ONCE bytes. */
void copier_begin(struct copier *copier, u8 *residency);
/* As secret_copy, but it may wait until copier_finish: small pieces are worth a second thread together. */
void copier_add(struct copier *copier, u64 to, u64 from, u64 length);
void copier_finish(struct copier *copier);
/* When it returns, the calling thread is the only one again. */
void copier_end(struct copier *copier);

#endif
