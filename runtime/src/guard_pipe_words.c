#include "guard_pipe_words.h"

#include "bytes.h"
#include "guard_keep.h"

enum pipe_request { PIPE_NEW, PIPE_SEND, PIPE_SENT, PIPE_UNSENT, PIPE_UNSURE, PIPE_TAKE, PIPE_END, PIPE_LOOK };

/* Beside the id, in the order of struct guard_question's digest and of rt_ask_words. */
struct fields {
    u64 first, count, least, from;
};

static struct pipe_claim claim_of(const struct fields *fields, u64 to) {
    return (struct pipe_claim){.first = fields->first, .count = fields->count, .least = fields->least, .from = fields->from, .to = to};
}

static long decide(u32 tid, u32 what, u64 id, struct fields *fields, u64 to) {
    struct pipe_numbers numbers = {.first = fields->first, .count = fields->count};
    struct pipe_claim claim = claim_of(fields, to);
    long result;
    switch ((enum pipe_request)what) {
    case PIPE_NEW: return guard_pipes_new(id);
    case PIPE_SEND:
        result = guard_pipes_send(id, tid, &numbers);
        *fields = (struct fields){.first = numbers.first, .count = numbers.count, .least = numbers.least, .from = numbers.crowded};
        return result;
    case PIPE_SENT: return guard_pipes_sent(id, tid);
    case PIPE_UNSENT:
    case PIPE_UNSURE: return guard_pipes_unsent(id, tid, &numbers, what == PIPE_UNSENT);
    case PIPE_TAKE:
        result = guard_pipes_take(id, &claim);
        fields->from = claim.from;
        return result;
    case PIPE_END: return guard_pipes_end(id);
    case PIPE_LOOK: return guard_pipes_look(id, &fields->count, &fields->from);
    }
    return -EINVAL;
}

long guard_pipe_answer(u32 tid, u32 what, struct registers *registers) {
    struct fields fields = {.first = registers->r10, .count = registers->r8, .least = registers->r9, .from = registers->r15};
    long result = decide(tid, what, registers->rsi, &fields, registers->rdx);
    registers->r10 = fields.first, registers->r8 = fields.count, registers->r9 = fields.least, registers->r15 = fields.from;
    return result;
}

static long ask(enum pipe_request what, u64 id, struct fields *fields, u64 to) {
    struct guard_question question = {.number = id, .generation = to};
    _Static_assert(sizeof question.digest == sizeof *fields, "they travel in its place");
    memcpy(question.digest, fields, sizeof *fields);
    long result = guard_ask(&question, ASK_PIPE, what);
    memcpy(fields, question.digest, sizeof *fields);
    return result;
}

long pipe_ask_new(u64 id) {
    struct fields none = {0};
    return ask(PIPE_NEW, id, &none, 0);
}

long pipe_ask_send(u64 id, struct pipe_numbers *numbers) {
    struct fields fields = {.count = numbers->count};
    long result = ask(PIPE_SEND, id, &fields, 0);
    *numbers = (struct pipe_numbers){.first = fields.first, .count = fields.count, .least = fields.least, .crowded = fields.from};
    return result;
}

long pipe_ask_sent(u64 id) {
    struct fields none = {0};
    return ask(PIPE_SENT, id, &none, 0);
}

long pipe_ask_unsent(u64 id, const struct pipe_numbers *numbers, bool sure) {
    struct fields fields = {.first = numbers->first, .count = numbers->count};
    return ask(sure ? PIPE_UNSENT : PIPE_UNSURE, id, &fields, 0);
}

long pipe_ask_take(u64 id, struct pipe_claim *claim) {
    struct fields fields = {.first = claim->first, .count = claim->count, .least = claim->least, .from = claim->from};
    long result = ask(PIPE_TAKE, id, &fields, claim->to);
    claim->from = fields.from;
    return result;
}

long pipe_ask_end(u64 id) {
    struct fields none = {0};
    return ask(PIPE_END, id, &none, 0);
}

long pipe_ask_look(u64 id, u64 *count, u64 *from) {
    struct fields fields = {0};
    long result = ask(PIPE_LOOK, id, &fields, 0);
    *count = fields.count;
    *from = fields.from;
    return result;
}
