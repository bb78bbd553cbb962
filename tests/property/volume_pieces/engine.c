/* The volume engine driven by lines on standard input; each is answered by one line.
 *
 * usage: engine VOLUME KEY-FILE CACHE-BYTES JOURNAL [ROOT | create]
 *
 * The journal gets every write and every sync in order, as a block's number (8 bytes, all ones for a sync) and 4,096 bytes, so
 * that a test can put together what a disk would hold if the power had gone at any moment. Names and contents are hexadecimal.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "volume.h"

enum { LINE = 1 << 22, KEY_FILE_START = 16 };

static int disk, journal;
static u64 clock_now = 1;

static long disk_read(void *context, u64 block, u8 *to)
{
    (void)context;
    ssize_t n = pread(disk, to, BLOCK, (off_t)(block * BLOCK));
    return n < 0 ? -errno : n == BLOCK ? 0 : -EBADMSG;
}

static void note(u64 block, const u8 *from)
{
    if (write(journal, &block, sizeof block) != sizeof block || write(journal, from, BLOCK) != BLOCK)
        abort();
}

static long disk_write(void *context, u64 block, const u8 *from)
{
    (void)context;
    note(block, from);
    return pwrite(disk, from, BLOCK, (off_t)(block * BLOCK)) == BLOCK ? 0 : -EIO;
}

static long disk_sync(void *context)
{
    static const u8 nothing[BLOCK];

    (void)context;
    note(~0UL, nothing);
    return 0;
}

static void disk_random(void *context, u8 *to, size_t size)
{
    (void)context;
    if (getrandom(to, size, 0) != (ssize_t)size)
        abort();
}

static u64 disk_now(void *context)
{
    (void)context;
    return clock_now++;
}

static u8 bytes[2][LINE];

static u8 nibble(char digit)
{
    return (u8)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

static size_t from_hex(const char *text, u8 *to)
{
    size_t n = strcmp(text, "-") ? strlen(text) / 2 : 0;

    for (size_t i = 0; i < n; i++)
        to[i] = (u8)(nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]));
    return n;
}

static struct name name_of(const char *text, int place)
{
    return (struct name){bytes[place], from_hex(text, bytes[place])};
}

static void print_hex(const u8 *data, size_t size)
{
    static const char digit[] = "0123456789abcdef";

    for (size_t i = 0; i < size; i++) {
        putchar(digit[data[i] >> 4]);
        putchar(digit[data[i] & 15]);
    }
}

static void list(struct volume *volume, u64 directory)
{
    struct name name;
    u64 position = 0, inode;
    long more;

    while ((more = volume_list(volume, directory, &position, &name, &inode)) == 1) {
        print_hex(name.bytes, name.length);
        printf(":%lu ", inode);
    }
    printf("%ld\n", more);
}

static void show(struct volume *volume, u64 number)
{
    struct inode inode;
    long error = volume_status(volume, number, &inode);

    if (error)
        printf("%ld\n", error);
    else
        printf("%o %u %lu\n", inode.mode, inode.links, inode.size);
}

static void read_back(struct volume *volume, u64 number, u64 offset, u64 size)
{
    long n = volume_read(volume, number, offset, bytes[0], size < LINE ? size : LINE);

    if (n < 0) {
        printf("%ld\n", n);
        return;
    }
    long peeked = volume_peek(volume, number, offset, bytes[1], size < LINE ? size : LINE);
    if (peeked != -EAGAIN && (peeked != n || memcmp(bytes[0], bytes[1], (size_t)n)))
        abort();
    printf("%ld ", n);
    print_hex(bytes[0], (size_t)n);
    printf("\n");
}

static void show_root(struct volume *volume)
{
    struct volume_root root;

    volume_root(volume, &root);
    printf("%lu:", root.generation);
    print_hex(root.digest, sizeof root.digest);
    printf(":%lu\n", root.place);
}

static struct volume_root root_of(char *text)
{
    struct volume_root root = {.generation = strtoul(text, NULL, 10)};
    char *digest = strchr(text, ':') + 1, *place = strchr(digest, ':');

    *place++ = 0;
    from_hex(digest, root.digest);
    root.place = strtoul(place, NULL, 10);
    return root;
}

static long reload(struct volume *volume, char *text, bool lost)
{
    struct volume_root root = root_of(text);

    return volume_reload(volume, &root, lost);
}

static void show_space(struct volume *volume)
{
    struct volume_space space;

    volume_space(volume, &space);
    printf("%lu %lu %lu %lu\n", space.blocks, space.free, space.inodes, space.inodes_free);
}

static long change(struct volume *volume, const char *verb, char *word[6])
{
    u64 a = strtoul(word[0], NULL, 10), b = strtoul(word[1], NULL, 10);

    if (!strcmp(verb, "make"))
        return volume_make(volume, a, name_of(word[1], 0), (u32)strtoul(word[2], NULL, 8), 7, 8);
    if (!strcmp(verb, "find"))
        return volume_find(volume, a, name_of(word[1], 0));
    if (!strcmp(verb, "remove"))
        return volume_remove(volume, a, name_of(word[1], 0));
    if (!strcmp(verb, "link"))
        return volume_link(volume, a, b, name_of(word[2], 0));
    if (!strcmp(verb, "rename"))
        return volume_rename(volume, a, name_of(word[1], 0), strtoul(word[2], NULL, 10), name_of(word[3], 1));
    if (!strcmp(verb, "release"))
        return volume_release(volume, a);
    if (!strcmp(verb, "write"))
        return volume_write(volume, a, b, bytes[0], from_hex(word[2], bytes[0]));
    if (!strcmp(verb, "peek"))
        return volume_peek(volume, a, b, bytes[0], strtoul(word[2], NULL, 10));
    if (!strcmp(verb, "resize"))
        return volume_resize(volume, a, b);
    if (!strcmp(verb, "owner"))
        return volume_set_owner(volume, a, (u32)strtoul(word[1], NULL, 8), 1, 2);
    if (!strcmp(verb, "time"))
        return volume_set_time(volume, a, b);
    if (!strcmp(verb, "commit"))
        return volume_commit(volume);
    if (!strcmp(verb, "publish"))
        return volume_publish(volume);
    if (!strcmp(verb, "reload"))
        return reload(volume, word[0], word[1][0] == 'l');
    if (!strcmp(verb, "changed"))
        return volume_is_changed(volume);
    if (!strcmp(verb, "forget"))
        return volume_forget_nameless(volume);
    if (!strcmp(verb, "nameless"))
        return volume_make_nameless(volume, (u32)strtoul(word[0], NULL, 8), 7, 8);
    if (!strcmp(verb, "data"))
        return volume_data_after(volume, a, b);
    if (!strcmp(verb, "hole"))
        return volume_hole_after(volume, a, b);
    if (!strcmp(verb, "punch"))
        return volume_punch(volume, a, b, strtoul(word[2], NULL, 10));
    fprintf(stderr, "engine: no such verb: %s\n", verb);
    exit(2);
}

static void answer(struct volume *volume, char *line)
{
    char *word[6] = {"", "", "", "", "", ""}, *verb = strtok(line, " \n");

    for (int i = 0; i < 6; i++) {
        char *next = strtok(NULL, " \n");
        if (!next)
            break;
        word[i] = next;
    }
    u64 a = strtoul(word[0], NULL, 10);
    if (!strcmp(verb, "list"))
        list(volume, a);
    else if (!strcmp(verb, "show"))
        show(volume, a);
    else if (!strcmp(verb, "read"))
        read_back(volume, a, strtoul(word[1], NULL, 10), strtoul(word[2], NULL, 10));
    else if (!strcmp(verb, "root"))
        show_root(volume);
    else if (!strcmp(verb, "space"))
        show_space(volume);
    else
        printf("%ld\n", change(volume, verb, word));
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static char line[LINE];
    static const struct volume_io io = {NULL, disk_read, disk_write, disk_sync, NULL, NULL, disk_random, disk_now};
    struct volume *volume;
    u8 key[KEY_FILE_START + 32];
    int key_file;

    if (argc < 5)
        return 2;
    disk = open(argv[1], O_RDWR | O_CLOEXEC | O_CREAT, 0600);
    journal = open(argv[4], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    key_file = open(argv[2], O_RDONLY | O_CLOEXEC);
    if (disk < 0 || journal < 0 || read(key_file, key, sizeof key) != sizeof key)
        return 2;
    size_t size = strtoul(argv[3], NULL, 10);
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    long error;
    if (argc > 5 && !strcmp(argv[5], "create")) {
        error = volume_create(&volume, &io, key + KEY_FILE_START, true, 7, 8, memory, size);
    } else {
        struct volume_root root = argc > 5 ? root_of(argv[5]) : (struct volume_root){0};
        error = volume_open(&volume, &io, key + KEY_FILE_START, argc > 5 ? &root : NULL, memory, size);
    }
    printf("%ld\n", error);
    fflush(stdout);
    while (!error && fgets(line, sizeof line, stdin))
        answer(volume, line);
    if (!error)
        volume_close(volume);
    return error ? 1 : 0;
}
