/* Placeholders: how a descriptor of an injected file is made, and known again without a table of descriptors, which fork, exec, dup and
 * close would have to keep. With the lock held. */
#ifndef CLOISTER_PLACEHOLDER_H
#define CLOISTER_PLACEHOLDER_H

#include "files.h"

struct file {
    const char *path; /* not terminated */
    const u8 *content;
    u32 path_size, size, index;
};

/* files.c */
NODISCARD bool file_at(u32 index, struct file *out);
NODISCARD bool file_called(const char *path, struct file *out);
int file_descriptor_in(const char *path); /* N of "/proc/self/fd/N" and its other names, else -1 */
u64 files_changed_at(void); /* CLOCK_REALTIME, as far as this process knows */

/* A number that says which content this is, and nothing about it: a MAC under the tree's key. */
u64 placeholder_mac(const struct file *file);
u64 placeholder_tag(const struct file *file); /* the same, remembered */
void placeholder_forget_tags(void); /* after state.files has changed */
/* A memfd of the file's size, neither filled nor sealed yet; or -errno. */
NODISCARD long placeholder_create(const struct file *file);
/* Fills it with zeros, seals it, opens it anew for reading only, with these flags, at a number from files_base() on. Closes fd. */
NODISCARD long placeholder_finish(long fd, u64 size, u64 flags);
/* 0 and the file; NOT_INJECTED; -ESTALE if the content it was made for is gone; -EACCES if not this runtime opened it. */
NODISCARD long placeholder_find(int fd, struct file *out);
/* Whether it is a placeholder of any content. */
NODISCARD bool placeholder_named(int fd);
/* Makes sure that reads of `fd`, a number that placeholders do not have, will be intercepted. 0 or -errno. */
NODISCARD long placeholder_allow(u32 fd);

#endif
