/* The part of carry.h that is about volumes. */
#ifndef CLOISTER_SHIELD_MOUNT_CARRY_H
#define CLOISTER_SHIELD_MOUNT_CARRY_H

#include "carry.h"

void mount_carry_write(struct writer *writer, put_bytes *put);
void mount_carry_read(struct reader *reader); /* before mount_open */

#endif
