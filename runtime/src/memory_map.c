#include <asm/stat.h>
#include <linux/mman.h>

#include "../shield/shield.h"
#include "admission.h"
#include "files.h"
#include "image.h"
#include "learn.h"
#include "limits.h"
#include "memory.h"
#include "secret.h"
#include "state.h"
#include "window.h"

enum { FILE_TYPE = 0170000, REGULAR_FILE = 0100000 };

struct request {
    u64 address, length, offset;
    int protection, flags, fd;
};

static int placement(const struct request *r) { return r->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_32BIT); }
static bool is_fixed(const struct request *r) { return (r->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) != 0; }
static bool is_shared(const struct request *r) { return (r->flags & MAP_TYPE) == MAP_SHARED || (r->flags & MAP_TYPE) == MAP_SHARED_VALIDATE; }

/* A hint (no MAP_FIXED) that leads out of the window is ignored: one window, recycled, keeps existing pages in use. */
static u64 wanted_address(const struct request *r) { return is_fixed(r) ? r->address : 0; }

/* Records what the kernel mapped. An area inside the window replaces whatever stood there. */
static long record(const struct request *r, long at, enum area_kind kind) {
    if (!failed(at)) areas_put((u64)at, (u64)at + r->length, kind, r->protection);
    return at;
}

static long map_native(const struct request *r, int flags, enum area_kind kind) {
    return record(r, SYS6(__NR_mmap, wanted_address(r), r->length, r->protection, flags, r->fd, r->offset), kind);
}

/* Secret memory outside the window: at a fixed address, or below 2 GB for MAP_32BIT. */
static long map_secret_outside(const struct request *r, enum area_kind kind) {
    return record(r, secret_map(wanted_address(r), r->length, r->protection, placement(r)), kind);
}

static long map_secret_at(const struct request *r) {
    if (!in_window(r->address)) return map_secret_outside(r, AREA_SECRET);
    long error = window_release(r->address, r->length);
    if (failed(error)) return error;
    window_take_at(r->address, r->length);
    error = window_protect(r->address, r->length, r->protection);
    return failed(error) ? error : (long)r->address;
}

/* Whoever got memory there before may want to go on right behind it. */
static u64 take(const struct request *r) {
    u64 hint = page_up(r->address), end = hint + r->length;
    bool possible = in_window(hint) && end > hint && end <= window_end() && !areas_any(hint, end);
    if (!possible) return window_take(r->length);
    window_take_at(hint, r->length);
    return hint;
}

static long map_secret(const struct request *r) {
    if (is_fixed(r)) return map_secret_at(r);
    bool huge = r->length > WINDOW_SIZE / 4; /* address space to come back to, such as a sanitizer's shadow */
    if (huge || r->flags & MAP_32BIT) return map_secret_outside(r, AREA_SECRET);
    u64 at = take(r);
    if (!at) return -ENOMEM;
    if (r->flags & MAP_STACK) window_back_whole(at, r->length);
    if (r->protection == PROT_NONE) return (long)at;
    long error = window_protect(at, r->length, r->protection);
    if (!failed(error)) return (long)at;
    if (failed(window_release(at, r->length))) return -ENOMEM;
    return error;
}

/* What is no regular file may be readable and yet not mappable (a directory, /dev/null), and no file of some mounts may be
 * executed: the kernel is asked. */
static long check_mappable(const struct request *r) {
    struct stat info;
    if (failed(SYS2(__NR_fstat, r->fd, &info))) return 0;
    if ((info.st_mode & FILE_TYPE) == REGULAR_FILE && !(r->protection & PROT_EXEC)) return 0;
    long at = SYS6(__NR_mmap, 0, PAGE, r->protection, MAP_PRIVATE, r->fd, r->offset);
    if (!failed(at)) SYS2(__NR_munmap, at, PAGE);
    return failed(at) ? at : 0;
}

/* A private mapping the program may write to: a copy of the file's bytes in secret memory. */
static long map_secret_copy(const struct request *r) {
    long error = check_mappable(r);
    if (failed(error)) return error;
    struct request writable = *r;
    writable.protection = PROT_READ | PROT_WRITE;
    long at = map_secret(&writable);
    if (failed(at)) return at;
    long n = read_available(r->fd, (u64)at, r->length, r->offset);
    if (failed(n)) {
        if (failed(memory_unmap((u64)at, r->length))) return -ENOMEM;
        return n == -ESPIPE || n == -EINVAL ? -ENODEV : n == -EBADF ? -EACCES : n;
    }
    files_fill(r->fd, (u64)at, r->length, r->offset);
    if (r->protection == writable.protection) return at;
    error = memory_protect((u64)at, r->length, r->protection);
    return failed(error) ? error : at;
}

/* Whether a dynamic loader maps a program file, rather than somebody who wants the file's bytes (git, a linker). glibc's says
 * MAP_DENYWRITE, which the kernel ignores; every loader maps segments over its first mapping, which spans them all. */
static bool is_loading(const struct request *r) {
    if (!is_elf(r->fd)) return false;
    return is_fixed(r) || r->flags & MAP_DENYWRITE || r->protection & PROT_EXEC || image_spans(r->fd, r->length);
}

/* A private mapping that is only read: for program files a sealed copy, else the file's own pages. A shared read-only mapping
 * cannot be written through /proc/PID/mem, a private one can. Only what glibc's loader asks for is patched: what anybody else
 * sees must be the file's bytes. */
static long map_read_only(const struct request *r) {
    bool program = admission_allows(r->fd) && is_loading(r); /* so in a strict enclave every sealed area was measured */
    if (program && !is_fixed(r) && r->offset == 0 && r->flags & MAP_DENYWRITE) {
        long at = image_map_whole(r->length, r->protection, r->fd);
        if (!failed(at) || at == -ENOMEM) return at;
    }
    if (program && is_fixed(r) && image_reuse(r->address, r->length, r->protection, r->fd, r->offset)) return (long)r->address;
    long error = r->protection & PROT_EXEC ? check_mappable(r) : 0;
    if (failed(error)) return error;
    if (program || r->protection & PROT_EXEC)
        return record(r, image_map_piece(wanted_address(r), r->length, r->protection, placement(r), r->fd, r->offset), AREA_SEALED);
    long at = map_native(r, MAP_SHARED | placement(r), AREA_PRIVATE_FILE);
    return at == -EACCES || at == -ENODEV ? map_secret_copy(r) : at;
}

/* An injected file is not what its descriptor refers to, and never code. */
static long map_injected(const struct request *r) {
    if (r->protection & PROT_EXEC || (is_shared(r) && r->protection & PROT_WRITE)) return -EACCES;
    return map_secret_copy(r);
}

static long map_file(const struct request *r) {
    if (shield_is_on()) {
        long at = is_shared(r) ? shield_map(wanted_address(r), r->length, r->protection, placement(r), r->fd, r->offset) : shield_mappable(r->fd, r->protection, false);
        if (at != SHIELD_PASS) return is_shared(r) ? record(r, at, AREA_SHARED_SECRET) : failed(at) ? at : map_injected(r);
    }
    long injected = files_mappable(r->fd);
    if (injected != NOT_INJECTED) return failed(injected) ? injected : map_injected(r);
    if (!is_shared(r)) return r->protection & PROT_WRITE ? map_secret_copy(r) : map_read_only(r);
    if (r->protection & PROT_WRITE) state.counters.open_files++;
    return map_native(r, r->flags & ~(is_fixed(r) ? 0 : MAP_FIXED), r->protection & PROT_WRITE ? AREA_OPEN_FILE : AREA_FILE);
}

static long map_anonymous(const struct request *r) {
    if (r->protection & PROT_EXEC) { /* secret memory cannot be executable: mounted noexec by the kernel */
        state.counters.jit++;
        return map_native(r, r->flags & ~MAP_HUGETLB, AREA_JIT);
    }
    return is_shared(r) ? map_secret_outside(r, AREA_SHARED_SECRET) : map_secret(r);
}

/* What stands where a file is to be mapped may be given up only if the file can be mapped: the kernel is asked, for it knows
 * files, modes and mounts. */
static long ask_kernel(const struct request *r) {
    long shielded = shield_is_on() ? shield_mappable(r->fd, r->protection, is_shared(r)) : SHIELD_PASS;
    if (shielded != SHIELD_PASS) return shielded;
    int flags = r->flags & ~(MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_POPULATE);
    long at = SYS6(__NR_mmap, 0, r->length, r->protection, flags, r->fd, r->offset);
    if (!failed(at)) SYS2(__NR_munmap, at, r->length);
    return failed(at) ? at : 0;
}

/* What a fixed mapping is about to cover must be given up in the model first: wiped if it is the window's. */
static long clear_way(const struct request *r, bool anonymous, bool secret) {
    if (!(r->flags & MAP_FIXED) || r->flags & MAP_FIXED_NOREPLACE) return 0;
    long error = anonymous ? 0 : ask_kernel(r);
    if (failed(error)) return error;
    if (shield_is_on()) shield_unmapped(r->address, r->length);
    if (secret) return 0;
    return window_meets(r->address, r->address + r->length) ? memory_unmap(r->address, r->length) : 0;
}

/* In a strict enclave only what was measured becomes code. */
static bool may_be_code(const struct request *r, bool anonymous) {
    if (!(r->protection & PROT_EXEC)) return true;
    if (!anonymous) learn_mapped(r->fd);
    bool measured = !anonymous && admission_allows(r->fd);
    if (admission_allows_jit() || (measured && !(r->protection & PROT_WRITE))) return true;
    admission_say_refused(anonymous || measured ? -1 : r->fd);
    return false;
}

long memory_map(u64 address, u64 length, int protection, int flags, int fd, u64 offset) {
    if (!length || (flags & MAP_TYPE) == 0) return -EINVAL;
    if (length > ADDRESS_LIMIT || !areas_have_room(4)) return -ENOMEM;
    struct request r = {address, page_up(length), offset, protection & 7, flags & ~MAP_GROWSDOWN, fd};
    if (is_fixed(&r) && r.address % PAGE) return -EINVAL;
    if (is_fixed(&r) && window_cut(r.address, r.address + r.length)) return -ENOMEM;
    bool anonymous = flags & MAP_ANONYMOUS;
    if (!anonymous && r.offset % PAGE) return -EINVAL;
    if (!anonymous && failed(SYS2(__NR_fcntl, fd, 1 /* F_GETFD */))) return -EBADF; /* before anything is unmapped */
    if (flags & MAP_FIXED_NOREPLACE && areas_any(r.address, r.address + r.length)) return -EEXIST;
    /* In the window nothing is free to the kernel: all of it is reserved. */
    if (flags & MAP_FIXED_NOREPLACE && in_window(r.address)) r.flags = (flags & ~MAP_FIXED_NOREPLACE) | MAP_FIXED;
    if (!limits_allow(r.length - (r.flags & MAP_FIXED ? limits_mapped(r.address, r.address + r.length) : 0))) return -ENOMEM;
    if (!may_be_code(&r, anonymous)) return -EACCES;
    bool secret = !is_shared(&r) && !(r.protection & PROT_EXEC) && (anonymous || r.protection & PROT_WRITE);
    long error = clear_way(&r, anonymous, secret);
    if (failed(error)) return error;
    return anonymous ? map_anonymous(&r) : map_file(&r);
}
