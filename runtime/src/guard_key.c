/* Whoever has the key reads what programs of this tree hand to their children. So it is given to images of this very runtime only,
 * which put it into secret memory. Two moments decide:
 *
 * - After execve, before the first instruction: is it the runtime? Not by its file: /proc/PID/exe may be out of sight (another pid
 *   namespace, chroot), or not be what it seems (root mounts). Its text is compared with the guard's own, which is sealed. The
 *   runtime's writable segment has no bytes of the file (checks/inspect_binary.py), so this is all that it starts with.
 * - When it asks: by now it runs in secret memory and no core file will hold its registers. Its text is sealed by now, so it is compared
 *   once more: before the seal, root can write into it. An image that was not recognised, or
 *   that has got the key, is answered as the kernel answers an unknown call. */
#include "guard_key.h"

#include <linux/elf.h>
#include <linux/ptrace.h>
#include <linux/uio.h>

#include "bytes.h"
#include "guard_keep.h"
#include "guard_registers.h"
#include "guard_table.h"
#include "process.h"
#include "state.h"

enum { PIECE = 4 * 4096, CODE_SEGMENT = 0x33 /* of 64-bit user code */ };

extern const char _start[];

static u64 piece[PIECE / sizeof(u64)] BEHIND;

static bool get_registers(long tid, struct registers *registers) {
    return !failed(SYS4(__NR_ptrace, PTRACE_GETREGS, tid, 0, registers));
}

/* Where users differ and a capability is missing, process_vm_readv(2) is denied to a tracer, but not ptrace(2), word by word. */
static bool read_memory(long tid, u64 address, u64 size) {
    const struct iovec here = {piece, size}, there = {ptr_of(address), size};
    if (SYS6(__NR_process_vm_readv, tid, &here, 1, &there, 1, 0) == (long)size) return true;
    for (u64 i = 0; i < size / sizeof(u64); i++)
        if (failed(SYS4(__NR_ptrace, PTRACE_PEEKDATA, tid, address + i * sizeof(u64), piece + i))) return false;
    return true;
}

static bool is_same_range(long tid, u64 theirs, u64 ours, u64 length) {
    for (u64 at = 0; at < length; at += PIECE) {
        u64 size = min_u64(length - at, PIECE);
        const u64 *own = ptr_of(ours + at);
        if (!read_memory(tid, theirs + at, size)) return false;
        for (u64 i = 0; i < size / sizeof(u64); i++)
            if (piece[i] != own[i]) return false;
    }
    return true;
}

static bool has_same_text(long tid) {
    const Elf64_Phdr *segment = process_segments();
    for (u16 i = 0; i < process_segment_count(); i++, segment++) {
        if (segment->p_type != PT_LOAD || segment->p_flags & PF_W) continue;
        u64 start = page_down(segment->p_vaddr);
        if (!is_same_range(tid, start, start, page_up(segment->p_vaddr + segment->p_memsz) - start)) return false;
    }
    return true;
}

static bool is_this_runtime(long tid) {
    struct registers registers;
    if (!get_registers(tid, &registers) || registers.rip != addr_of(_start) || registers.cs != CODE_SEGMENT) return false;
    return has_same_text(tid);
}

/* A runtime with the right text says where its vDSO is and how long: the same code in every process of a machine. */
static bool has_same_vdso(long tid, const struct registers *registers) {
    if (!registers->rsi) return true;
    return registers->rdx == state.vdso_size && is_same_range(tid, registers->rsi, state.vdso, state.vdso_size);
}

void guard_key_executed(long tid) {
    guard_table_set_new((u32)tid, is_this_runtime(tid));
    guard_table_set_sealed((u32)tid, false);
}

static void put_key(struct registers *registers) {
    registers->rbx = load64(state.handoff_key);
    registers->r12 = load64(state.handoff_key + 8);
    registers->r13 = load64(state.handoff_key + 16);
    registers->r14 = load64(state.handoff_key + 24);
}

/* Asked in two steps, because an ordinary user's guard cannot read the memory of what forbids core files, and the key is given to
 * nothing else: without a place for the key, is it the runtime now that it is sealed; with one, the key. */
static long answer(long tid, struct registers *registers) {
    if (registers->original_rax != CLOISTER_FILTER_KEY_NR) return -ENOSYS;
    if (!registers->rdi) {
        bool same = guard_table_take_new((u32)tid) && has_same_text(tid) && has_same_vdso(tid, registers);
        guard_table_set_sealed((u32)tid, same);
        return same ? 0 : -ENOSYS;
    }
    if (!guard_table_take_sealed((u32)tid)) return -ENOSYS;
    put_key(registers);
    return state.handoff_required;
}

void guard_key_asked(long tid) {
    struct registers registers;
    if (!get_registers(tid, &registers)) return;
    if (registers.original_rax == CLOISTER_FILTER_WORDS_NR) registers.rax = (u64)guard_keep_answer(tid, &registers);
    else registers.rax = (u64)answer(tid, &registers);
    registers.original_rax = ~0UL; /* no call is made; a filter of the program's own may have asked for a tracer that is not there */
    SYS4(__NR_ptrace, PTRACE_SETREGS, tid, 0, &registers);
    wipe(&registers, sizeof registers);
}
