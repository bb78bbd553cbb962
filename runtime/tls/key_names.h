/* AlgorithmIdentifiers of keys and of ECDSA (RFC 5480, RFC 8017, RFC 8410). */
#ifndef CLOISTER_TLS_KEY_NAMES_H
#define CLOISTER_TLS_KEY_NAMES_H

#include "der.h"
#include "keys.h"

NODISCARD bool key_name_take(struct der *der, enum key_kind *kind);
/* The curve's name alone. */
NODISCARD bool key_name_take_curve(struct der *der, enum key_kind *kind);
void key_name_put(struct der_writer *writer, enum key_kind kind); /* of every kind but RSA */
void key_name_put_scheme(struct der_writer *writer, enum key_kind kind); /* how such a key signs a certificate */

#endif
