#include <linux/fcntl.h>
#include <linux/mman.h>
#include <asm/stat.h>
#include "location.h"
#include "reserved.h"
#include "secret.h"
struct mount { struct volume *volume; const struct shield_files *region; long fd; u64 at; u8 key[32]; long error; };
static struct mount all[16] BEHIND;
enum { SIZE = 256 << 20 };
static long do_read(void *c, u64 block, u8 *to) { long n = SYS4(__NR_pread64, ((struct mount *)c)->fd, to, 4096, block * 4096); return n == 4096 ? 0 : n < 0 ? n : -EBADMSG; }
static long do_write(void *c, u64 block, const u8 *from) { long n = SYS4(__NR_pwrite64, ((struct mount *)c)->fd, from, 4096, block * 4096); return n == 4096 ? 0 : n < 0 ? n : -EIO; }
static long do_sync(void *c) { return SYS1(__NR_fdatasync, ((struct mount *)c)->fd); }
static void do_random(void *c, u8 *to, size_t n) { (void)c; SYS3(__NR_getrandom, to, n, 0); }
static u64 do_now(void *c) { u64 t[2]; (void)c; SYS2(__NR_clock_gettime, 0, t); return t[0] * 1000000000UL + t[1]; }
long mount_open(const struct shield_files *entry, struct mount **out) {
    struct mount *m = &all[entry->index];
    char path[PATH_SIZE];
    memcpy(path, entry->container.bytes, entry->container.size);
    path[entry->container.size] = 0;
    m->region = entry;
    m->fd = reserved_keep(SYS3(__NR_open, path, O_RDWR, 0));
    if (failed(m->fd)) return m->fd;
    long at = secret_map(0, SIZE, PROT_READ | PROT_WRITE, 0);
    if (failed(at)) return at;
    m->at = (u64)at;
    *out = m;
    return 0;
}
long mount_enter(struct mount *m, bool changes) {
    (void)changes;
    static struct volume_io io = {0};
    io = (struct volume_io){m, do_read, do_write, do_sync, do_random, do_now};
    if (m->volume) return 0;
    return volume_open(&m->volume, &io, m->region->key, ptr_of(m->at), SIZE);
}
struct volume *mount_volume(struct mount *m) { return m->volume; }
long mount_leave(struct mount *m) { (void)m; return 0; }
long mount_sync(struct mount *m) { return volume_commit(m->volume); }
void mount_hold(struct mount *m, u64 inode) { (void)m; (void)inode; }
void mount_drop(struct mount *m, u64 inode) { (void)m; (void)inode; }
long mount_remove(struct mount *m, u64 d, struct name n) { return volume_remove(m->volume, d, n); }
long mount_rename(struct mount *m, u64 f, struct name o, u64 t, struct name n) { return volume_rename(m->volume, f, o, t, n); }
long mount_before_exec(void) { return 0; }
void mount_exec_failed(void) {}
void mount_before_exit(void) { (void)!location_sync_all(); }
