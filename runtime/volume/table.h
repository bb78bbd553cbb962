/* The table of inodes. */
#ifndef CLOISTER_VOLUME_TABLE_H
#define CLOISTER_VOLUME_TABLE_H

#include "tree.h"

NODISCARD long table_read(struct volume *volume, u64 number, struct inode *inode); /* -ESTALE if there is none */
NODISCARD long table_write(struct volume *volume, u64 number, const struct inode *inode);
NODISCARD long table_new(struct volume *volume, const struct inode *inode); /* its number */
NODISCARD long table_free(struct volume *volume, u64 number);
/* When a volume is opened: the number is in use; none is. */
void table_claim(struct volume *volume, u64 number);
void table_forget(struct volume *volume, bool keep_numbers);
/* The state that there is now may come back: none of its numbers is given again before another one takes its place. `only`: the others' are. */
void table_keep(struct volume *volume, bool only);
/* The top of an object, the table itself included. */
NODISCARD long table_top(struct volume *volume, u64 object, struct top *top);
NODISCARD long table_set_top(struct volume *volume, u64 object, const struct top *top);

#endif
