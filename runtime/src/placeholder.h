/* Placeholders: how a descriptor of an injected file is made, and known again without a table of descriptors, which fork, exec,
 * dup and close would have to keep. With the lock held. */
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
void placeholder_forget_tags(void);           /* after state.files has changed */
/* A memfd of the file's size, for a moment; or -errno. */
NODISCARD long placeholder_create(const struct file *file);
/* A descriptor for the program, opened with these flags, at a number from filter_files_base() on if there is one; or -errno. */
NODISCARD long placeholder_open(const struct file *file, u64 flags);
/* Whether it is a placeholder of any content. */
NODISCARD bool placeholder_is(int fd);
/* 0 and the file; NOT_INJECTED; -ESTALE if the content it was made for is gone, or somebody tampered with it. */
NODISCARD long placeholder_find(int fd, struct file *out);
/* Makes sure that reads of `fd`, a number that any file may have, will be intercepted. 0 or -errno. */
NODISCARD long placeholder_allow(u32 fd);

#endif
