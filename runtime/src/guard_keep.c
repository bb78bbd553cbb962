/* Whoever has the tree's key may use the words: it proves that it has it. Not the thread's place in the guard's table decides, for a
 * child may ask before its creator's report is read. What proves it stands in registers that nobody else can read, like the key when
 * that is given (guard_key.c). Without it the answer is what the kernel would say. */
#include "guard_keep.h"

#include "bytes.h"
#include "guard_console.h"
#include "guard_families.h"
#include "guard_lease.h"
#include "guard_pipe_words.h"
#include "guard_words.h"
#include "hmac.h"
#include "state.h"

static u64 words[GUARD_WORDS];
static struct guard_root roots[GUARD_ROOTS];

void guard_proof(u8 proof[GUARD_PROOF]) {
    static const char purpose[] = "cloister guard words 1";
    struct hmac hmac;
    hmac_start(&hmac, state.handoff_key, sizeof state.handoff_key);
    hmac_add(&hmac, purpose, sizeof purpose - 1);
    hmac_finish(&hmac, proof);
    wipe(&hmac, sizeof hmac);
}

static bool has_key(const struct registers *registers) {
    u8 right[GUARD_PROOF], shown[GUARD_PROOF];
    guard_proof(right);
    store64(shown, registers->rbx);
    store64(shown + 8, registers->r12);
    store64(shown + 16, registers->r13);
    store64(shown + 24, registers->r14);
    bool same = same_secret(right, shown, GUARD_PROOF);
    wipe(right, sizeof right);
    return same;
}

bool guard_has_roots(void) {
    u64 any = 0;
    for (u32 slot = 0; slot < GUARD_ROOTS; slot++) any |= roots[slot].generation;
    return any;
}

u64 guard_kept(u32 slot) { return words[slot]; }

static bool is_gate(u64 address) { return address > addr_of(gate_start) && address <= addr_of(gate_end); }

static long add(struct registers *registers, u32 slot) {
    if (slot >= GUARD_WORDS) return -EINVAL;
    u64 before = words[slot];
    words[slot] += registers->rsi;
    registers->rsi = before;
    return 0;
}

static long add_if(struct registers *registers, u32 slot) {
    if (slot >= GUARD_WORDS) return -EINVAL;
    u64 before = words[slot];
    bool same = before == registers->rsi;
    if (same) words[slot] += registers->rdx;
    registers->rsi = before;
    return same ? 0 : -EAGAIN;
}

static long swap_root(struct registers *registers, u32 slot, bool changes) {
    struct guard_root *root = &roots[slot];
    long result = changes && root->generation != registers->rsi ? -EAGAIN : 0;
    if (changes && !result) {
        *root = (struct guard_root){.generation = registers->rdx, .place = registers->rbp};
        const u64 digest[4] = {registers->r10, registers->r8, registers->r9, registers->r15};
        memcpy(root->digest, digest, sizeof digest);
    }
    registers->rdx = root->generation, registers->rbp = root->place;
    registers->r10 = load64(root->digest), registers->r8 = load64(root->digest + 8);
    registers->r9 = load64(root->digest + 16), registers->r15 = load64(root->digest + 24);
    return result;
}

/* While another family has the lease, not even the root is told: it may be no longer what the volume is. */
static long swap(struct registers *registers, u32 tid, u32 slot, enum guard_request request) {
    if (slot >= GUARD_ROOTS) return -EINVAL;
    if (!guard_lease_lets(tid, slot, (u32)(registers->rdi >> LEASE_AT))) return -EBUSY;
    bool fresh = registers->rdx;
    long result = swap_root(registers, slot, request == ASK_SWAP || (request == ASK_RETURN && fresh));
    if (request == ASK_RETURN) guard_lease_returned(slot);
    registers->rsi = guard_families_alive() | (u64)guard_lease_of(tid, slot, request == ASK_LEASE) << TOLD_LEASE_AT;
    return result;
}

static long execute(struct registers *registers, long tid) {
    guard_families_executing((u32)tid, registers->rsi);
    registers->rsi = guard_families_alive();
    return 0;
}

static long answer(long tid, struct registers *registers) {
    u32 slot = (u32)registers->rdi;
    enum guard_request request = (u8)(registers->rdi >> REQUEST_AT);
    switch (request) {
    case ASK_ADD: {
        long result = add(registers, slot);
        if (slot == WORD_OUTPUT) guard_console_numbered((u32)tid, registers->rsi + 1);
        return result;
    }
    case ASK_ADD_IF: return add_if(registers, slot);
    case ASK_SWAP:
    case ASK_ROOT:
    case ASK_LEASE:
    case ASK_RETURN: return swap(registers, (u32)tid, slot, request);
    case ASK_EXECUTING: return execute(registers, tid);
    case ASK_LEAVING: registers->rsi = guard_families_staying((u32)tid); return 0;
    case ASK_PIPE: return guard_pipe_answer((u32)tid, slot, registers);
    default: return -EINVAL;
    }
}

long guard_keep_answer(long tid, struct registers *registers) {
    if (!is_gate(registers->rip) || !has_key(registers)) return -ENOSYS;
    long result = answer(tid, registers);
    registers->rdi = GUARD_ANSWERED;
    registers->rbx = registers->r12 = registers->r13 = registers->r14 = 0;
    return result;
}
