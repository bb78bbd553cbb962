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

/* Puts a sealed copy of [start, start + length) over itself: private mappings can be written through /proc/PID/mem. */
static long seal_over(u64 start, u64 length, int protection) {
    long fd = sealed_create(length);
    if (failed(fd)) return fd;
    long result = 0;
    for (u64 done = 0; done < length && !failed(result); done += (u64)result)
        result = SYS3(__NR_write, fd, start + done, length - done);
    if (!failed(result)) result = sealed_finish(fd);
    if (!failed(result)) result = SYS6(__NR_mmap, start, length, protection, MAP_SHARED | MAP_FIXED, fd, 0);
    SYS1(__NR_close, fd);
    return result;
}

static void move_to_secret(u64 start, u64 end, u64 initialised) {
    long at = secret_map(0, end - start, PROT_READ | PROT_WRITE, 0);
    if (failed(at)) fail_secret_memory(at);
    memcpy(ptr_of((u64)at), ptr_of(start), initialised);
    require(SYS5(__NR_mremap, at, end - start, end - start, MREMAP_MAYMOVE | MREMAP_FIXED, start),
            "the runtime's data could not be moved into secret memory");
}

static void require_seal(long result) {
    if (failed(result))
        fail(CLOISTER_EXIT_CANNOT_PROTECT, "text could not be put behind a seal (memfd_create, F_ADD_SEALS)", result,
             "sysctl vm.memfd_noexec=0; in a container: --security-opt seccomp=unconfined");
}

static void seal_vdso(u64 vdso) {
    const Elf64_Ehdr *header = ptr_of(vdso);
    u64 length = page_up(header->e_shoff + (u64)header->e_shnum * header->e_shentsize);
    require_seal(seal_over(vdso, length, PROT_READ | PROT_EXEC));
    state.vdso = vdso;
    state.vdso_size = length;
}

void process_harden(u64 vdso) {
    const Elf64_Phdr *segment = process_segments();
    for (u16 i = 0; i < process_segment_count(); i++, segment++) {
        if (segment->p_type != PT_LOAD) continue;
        u64 start = page_down(segment->p_vaddr), end = page_up(segment->p_vaddr + segment->p_memsz);
        if (segment->p_flags & PF_W) move_to_secret(start, end, segment->p_vaddr + segment->p_filesz - start);
        else
            require_seal(seal_over(start, end - start, segment->p_flags & PF_X ? PROT_READ | PROT_EXEC : PROT_READ));
    }
    if (vdso) seal_vdso(vdso);
}

void process_own_runtime_state(void) {
    u8 residency[PAGES_AT_ONCE];
    const Elf64_Phdr *segment = process_segments();
    for (u16 i = 0; i < process_segment_count(); i++, segment++) {
        if (segment->p_type != PT_LOAD || !(segment->p_flags & PF_W)) continue;
        u64 start = page_down(segment->p_vaddr), length = page_up(segment->p_vaddr + segment->p_memsz) - start;
        long at = secret_map(0, length, PROT_READ | PROT_WRITE, 0);
        if (failed(at)) fail_secret_memory(at);
        secret_copy((u64)at, start, length, residency);
        require(SYS5(__NR_mremap, at, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, start), "the runtime's state could not be copied");
    }
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
