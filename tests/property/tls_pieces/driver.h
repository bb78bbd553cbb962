/* What the driver's two files share. */
#ifndef TLS_PIECES_DRIVER_H
#define TLS_PIECES_DRIVER_H

#include "rt.h"

struct argument {
    u8 *bytes;
    size_t size;
};

void print_bytes(const u8 *bytes, size_t size);
void print_answer(bool answer);

void do_gcm(struct argument *a);
void do_public_key(struct argument *a);
void do_verify(struct argument *a);
void do_private_key(struct argument *a);
void do_fits(struct argument *a);
void do_sign(struct argument *a);
void do_x509(struct argument *a);
void do_ra_report(struct argument *a);
void do_ra_certificate(struct argument *a);

#endif
