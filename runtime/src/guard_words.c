#include "guard_words.h"

#include "bytes.h"
#include "guard_keep.h"
#include "state.h"

long rt_ask_words(struct guard_question *question);

/* That a filter of the program's own says 0 for the guard is no answer. */
static long ask(struct guard_question *question, u64 request, u32 slot) {
    if (state.unsafe_no_guard || state.keyless) return -ENOSYS;
    question->what = request << 32 | slot;
    guard_proof(question->proof);
    long result = rt_ask_words(question);
    bool answered = question->what == GUARD_ANSWERED;
    wipe(question->proof, sizeof question->proof);
    return answered ? result : -ENOSYS;
}

long guard_add(u32 slot, u64 delta, u64 *before) {
    struct guard_question question = {.number = delta};
    long result = ask(&question, ASK_ADD, slot);
    *before = question.number;
    return result;
}

long guard_add_if(u32 slot, u64 expected, u64 delta, u64 *before) {
    struct guard_question question = {.number = expected, .generation = delta};
    long result = ask(&question, ASK_ADD_IF, slot);
    *before = question.number;
    return result;
}

static long ask_root(struct guard_question *question, u64 request, u32 slot, struct guard_root *current, u64 *families) {
    long result = ask(question, request, slot);
    *current = (struct guard_root){.generation = question->generation, .place = question->place};
    memcpy(current->digest, question->digest, sizeof current->digest);
    *families = question->number;
    return result;
}

long guard_swap(u32 slot, u64 expected, const struct guard_root *fresh, struct guard_root *current, u64 *families) {
    struct guard_question question = {.number = expected, .generation = fresh->generation, .place = fresh->place};
    memcpy(question.digest, fresh->digest, sizeof question.digest);
    return ask_root(&question, ASK_SWAP, slot, current, families);
}

long guard_root(u32 slot, struct guard_root *current, u64 *families) {
    struct guard_question question = {0};
    return ask_root(&question, ASK_ROOT, slot, current, families);
}

long guard_executing(bool executing, u64 *families) {
    struct guard_question question = {.number = executing};
    long result = ask(&question, ASK_EXECUTING, 0);
    *families = question.number;
    return result;
}

long guard_leaving(u64 *families) {
    struct guard_question question = {0};
    long result = ask(&question, ASK_LEAVING, 0);
    *families = question.number;
    return result;
}
