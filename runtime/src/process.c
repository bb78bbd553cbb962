#include "process.h"

#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/resource.h>

#include "fail.h"
#include "sealed.h"
#include "secret.h"
#include "state.h"

extern const Elf64_Ehdr __ehdr_start;

const Elf64_Phdr *process_segments(void) { return ptr_of(addr_of(&__ehdr_start) + __ehdr_start.e_phoff); }
u16 process_segment_count(void) { return __ehdr_start.e_phnum; }

struct range {
    u64 start, length;
};

static bool is_data(const Elf64_Phdr *segment) { return segment->p_flags & PF_W; }

static struct range range_of(const Elf64_Phdr *segment) {
    u64 start = page_down(segment->p_vaddr);
    return (struct range){.start = start, .length = page_up(segment->p_vaddr + segment->p_memsz) - start};
}

static struct range runtime_data(void) {
    const Elf64_Phdr *segment = process_segments();
    while (segment->p_type != PT_LOAD || !is_data(segment)) segment++;
    return range_of(segment);
}

/* It begins as zeros: checks/inspect_binary.py. */
static void move_data_to_secret(void) {
    struct range data = runtime_data();
    long at = secret_map(data.start, data.length, PROT_READ | PROT_WRITE, MAP_FIXED);
    if (failed(at)) fail_secret_memory(at);
}

static void require_seal(long result) {
    if (failed(result))
        fail(CLOISTER_EXIT_CANNOT_PROTECT, "text could not be put behind a seal (memfd_create, F_ADD_SEALS)", result,
             "sysctl vm.memfd_noexec=0; in a container: --security-opt seccomp=unconfined");
}

enum { PIECES_MAX = 8 };

/* What is to be sealed, one behind the other in one memfd. */
struct pieces {
    struct range range[PIECES_MAX];
    int protection[PIECES_MAX];
    u64 count, length;
};

static void add_piece(struct pieces *pieces, struct range range, int protection) {
    if (pieces->count == PIECES_MAX) require_seal(-E2BIG);
    pieces->range[pieces->count] = range;
    pieces->protection[pieces->count++] = protection;
    pieces->length += range.length;
}

static long write_piece(long fd, struct range piece) {
    while (piece.length) {
        long n = SYS3(__NR_write, fd, piece.start, piece.length);
        if (failed(n)) return n;
        piece.start += (u64)n;
        piece.length -= (u64)n;
    }
    return 0;
}

/* Puts sealed copies over what they are copies of: private mappings can be written through /proc/PID/mem. */
static long seal_over(const struct pieces *pieces) {
    long fd = sealed_create(pieces->length), result = 0;
    if (failed(fd)) return fd;
    for (u64 i = 0; i < pieces->count && !failed(result); i++) result = write_piece(fd, pieces->range[i]);
    if (!failed(result)) result = sealed_finish(fd);
    for (u64 i = 0, at = 0; i < pieces->count && !failed(result); at += pieces->range[i++].length)
        result = SYS6(__NR_mmap, pieces->range[i].start, pieces->range[i].length, pieces->protection[i], MAP_SHARED | MAP_FIXED, fd, at);
    SYS1(__NR_close, fd);
    return result;
}

static struct range vdso_range(u64 vdso) {
    const Elf64_Ehdr *header = ptr_of(vdso);
    return (struct range){.start = vdso, .length = page_up(header->e_shoff + (u64)header->e_shnum * header->e_shentsize)};
}

void process_harden(u64 vdso) {
    struct pieces pieces = {.count = 0};
    const Elf64_Phdr *segment = process_segments();
    for (u16 i = 0; i < process_segment_count(); i++, segment++)
        if (segment->p_type == PT_LOAD && !is_data(segment))
            add_piece(&pieces, range_of(segment), segment->p_flags & PF_X ? PROT_READ | PROT_EXEC : PROT_READ);
    if (vdso) add_piece(&pieces, vdso_range(vdso), PROT_READ | PROT_EXEC);
    require_seal(seal_over(&pieces));
    move_data_to_secret();
    if (!vdso) return;
    state.vdso = vdso;
    state.vdso_size = vdso_range(vdso).length;
}

void process_own_runtime_state(void) {
    u8 residency[PAGES_AT_ONCE];
    struct range data = runtime_data();
    long at = secret_map(0, data.length, PROT_READ | PROT_WRITE, 0);
    if (failed(at)) fail_secret_memory(at);
    secret_copy((u64)at, data.start, data.length, residency);
    process_take_state((u64)at);
}

long process_map_state(u64 more) { return secret_map(0, runtime_data().length + more, PROT_READ | PROT_WRITE, 0); }

u64 process_behind_state(u64 at) { return at + runtime_data().length; }

void process_take_state(u64 at) {
    struct range data = runtime_data();
    require(SYS5(__NR_mremap, at, data.length, data.length, MREMAP_MAYMOVE | MREMAP_FIXED, data.start),
            "the runtime's state could not be put in its place");
}

void process_drop_state(void) {
    struct range data = runtime_data();
    SYS2(__NR_munmap, data.start, data.length);
}

/* Not dumpable is the whole answer, but takes /proc/self away from ordinary users; for them a limit of one byte stops core
 * files and core_pattern pipes alike (core(5)), and what file capabilities took away is given back. */
void process_forbid_core_dumps(void) {
    const u64 one_byte[2] = {1, 1};
    if (SYS0(__NR_geteuid) == 0) SYS2(__NR_prctl, PR_SET_DUMPABLE, 0);
    else {
        SYS2(__NR_prctl, PR_SET_DUMPABLE, 1);
        SYS2(__NR_setrlimit, RLIMIT_CORE, one_byte);
    }
}

void process_drop_stack(u64 stack_pointer) {
    u64 below = 1UL << 20, above = 8UL << 20; /* more than the strings of an execve can take */
    u64 start = page_down(stack_pointer) - below, end = min_u64(stack_pointer + above, 0x7ffffffff000UL);
    SYS2(__NR_munmap, start, page_down(end) - start);
}
