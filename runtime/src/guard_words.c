#include "guard_words.h"

#include "bytes.h"
#include "guard_keep.h"
#include "state.h"

long rt_ask_words(struct guard_question *question);

/* That a filter of the program's own says 0 for the guard is no answer. */
long guard_ask(struct guard_question *question, u64 request, u32 slot) {
    if (state.unsafe_no_guard || state.keyless) return -ENOSYS;
    question->what |= request << REQUEST_AT | slot;
    guard_proof(question->proof);
    long result = rt_ask_words(question);
    bool answered = question->what == GUARD_ANSWERED;
    wipe(question->proof, sizeof question->proof);
    return answered ? result : -ENOSYS;
}

long guard_add(u32 slot, u64 delta, u64 *before) {
    struct guard_question question = {.number = delta};
    long result = guard_ask(&question, ASK_ADD, slot);
    *before = question.number;
    return result;
}

long guard_add_if(u32 slot, u64 expected, u64 delta, u64 *before) {
    struct guard_question question = {.number = expected, .generation = delta};
    long result = guard_ask(&question, ASK_ADD_IF, slot);
    *before = question.number;
    return result;
}

static long ask_root(struct guard_question *question, u64 request, u32 slot, u32 *lease, struct guard_root *current, u64 *families) {
    question->what = (u64)*lease << LEASE_AT;
    long result = guard_ask(question, request, slot);
    *current = (struct guard_root){.generation = question->generation, .place = question->place};
    memcpy(current->digest, question->digest, sizeof current->digest);
    *families = (u32)question->number;
    *lease = failed(result) ? 0 : (u32)(question->number >> TOLD_LEASE_AT);
    return result;
}

static long ask_swap(u64 request, u32 slot, u32 lease, u64 expected, const struct guard_root *fresh, struct guard_root *current,
                     u64 *families) {
    struct guard_question question = {.number = expected, .generation = fresh->generation, .place = fresh->place};
    memcpy(question.digest, fresh->digest, sizeof question.digest);
    return ask_root(&question, request, slot, &lease, current, families);
}

long guard_swap(u32 slot, u32 lease, u64 expected, const struct guard_root *fresh, struct guard_root *current, u64 *families) {
    return ask_swap(ASK_SWAP, slot, lease, expected, fresh, current, families);
}

long guard_return(u32 slot, u32 lease, u64 expected, const struct guard_root *fresh, struct guard_root *current, u64 *families) {
    return ask_swap(ASK_RETURN, slot, lease, expected, fresh, current, families);
}

long guard_root(u32 slot, u32 lease, struct guard_root *current, u64 *families) {
    struct guard_question question = {0};
    return ask_root(&question, ASK_ROOT, slot, &lease, current, families);
}

long guard_lease(u32 slot, u32 *lease, struct guard_root *current, u64 *families) {
    struct guard_question question = {0};
    *lease = 0;
    return ask_root(&question, ASK_LEASE, slot, lease, current, families);
}

long guard_executing(bool executing, u64 *families) {
    struct guard_question question = {.number = executing};
    long result = guard_ask(&question, ASK_EXECUTING, 0);
    *families = question.number;
    return result;
}

long guard_leaving(u64 *families) {
    struct guard_question question = {0};
    long result = guard_ask(&question, ASK_LEAVING, 0);
    *families = question.number;
    return result;
}
