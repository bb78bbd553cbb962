#include "copier.h"

enum {
    STACK = 16 << 10, CHUNK = 32, WORTH_IT = 256 /* pages: the second thread itself costs some 200 us */, PATIENCE = 2000,
    SET_MASK = 2, WAIT_PRIVATE = 128, WAKE_PRIVATE = 129,
};

static u32 piece_of(const struct copier *copier, u32 page) {
    u32 low = 0, high = copier->pieces;
    while (high - low > 1) {
        u32 middle = (low + high) / 2;
        if (copier->piece[middle].first <= page) low = middle;
        else high = middle;
    }
    return low;
}

static void copy_chunk(const struct copier *copier, u32 first) {
    u32 past = first + CHUNK < copier->total ? first + CHUNK : copier->total;
    for (u32 page = first, at = piece_of(copier, first); page < past; page++) {
        if (at + 1 < copier->pieces && copier->piece[at + 1].first == page) at++;
        const struct copier_piece *piece = &copier->piece[at];
        u64 offset = (page - piece->first) * PAGE;
        if (copier->residency[page] & 1) memcpy(ptr_of(piece->to + offset), ptr_of(piece->from + offset), PAGE);
    }
}

static void copy_chunks(struct copier *copier) {
    for (;;) {
        u32 first = __atomic_fetch_add(&copier->next, CHUNK, __ATOMIC_ACQ_REL);
        if (first >= __atomic_load_n(&copier->total, __ATOMIC_ACQUIRE)) return;
        copy_chunk(copier, first);
    }
}

static void relax(void) { __asm__ volatile("pause"); }

/* Looks for a while before it sleeps: what there is to do comes in pieces. */
static void await_call(struct copier *copier, u32 seen) {
    for (u32 i = 0; i < PATIENCE && __atomic_load_n(&copier->call, __ATOMIC_ACQUIRE) == seen; i++) relax();
    while (__atomic_load_n(&copier->call, __ATOMIC_ACQUIRE) == seen) SYS4(__NR_futex, &copier->call, WAIT_PRIVATE, seen, 0);
}

static void second_main(void *arg) {
    struct copier *copier = arg;
    u32 seen = 0;
    u64 all = ~0UL;
    SYS4(__NR_rt_sigprocmask, SET_MASK, &all, 0, 8);
    for (;;) {
        await_call(copier, seen);
        seen = __atomic_load_n(&copier->call, __ATOMIC_ACQUIRE);
        if (__atomic_load_n(&copier->leave, __ATOMIC_ACQUIRE)) SYS1(__NR_exit, 0);
        __atomic_store_n(&copier->inside, 1, __ATOMIC_SEQ_CST);
        copy_chunks(copier);
        __atomic_store_n(&copier->inside, 0, __ATOMIC_SEQ_CST);
    }
}

static void call_second(struct copier *copier) {
    __atomic_add_fetch(&copier->call, 1, __ATOMIC_SEQ_CST);
    SYS3(__NR_futex, &copier->call, WAKE_PRIVATE, 1);
}

/* Without a second thread (a limit of processes, a filter of the program's own) everything is copied by the first. */
static void find_second(struct copier *copier) {
    copier->alone = !has_two_processors() || !second_start(&copier->second, STACK, second_main, copier);
}

static u32 count_resident(const u8 *residency, u64 pages) {
    u32 found = 0;
    for (u64 i = 0; i < pages; i++) found += residency[i] & 1;
    return found;
}

/* The second thread may still look at what was copied before; a chunk number beyond `total` sends it away, so `next` is changed last. */
static void copy_by_two(struct copier *copier) {
    __atomic_store_n(&copier->total, copier->pages, __ATOMIC_RELEASE);
    __atomic_store_n(&copier->next, 0, __ATOMIC_SEQ_CST);
    call_second(copier);
    copy_chunks(copier);
    for (u32 i = 0; __atomic_load_n(&copier->inside, __ATOMIC_SEQ_CST); i++)
        if (i < PATIENCE) relax();
        else SYS0(__NR_sched_yield);
    __atomic_store_n(&copier->total, 0, __ATOMIC_SEQ_CST);
}

static void copy_alone(struct copier *copier) {
    copier->total = copier->pages;
    for (u32 first = 0; first < copier->total; first += CHUNK) copy_chunk(copier, first);
    copier->total = 0;
}

void copier_begin(struct copier *copier, u8 *residency) {
    memset(copier, 0, sizeof *copier);
    copier->residency = residency;
}

void copier_finish(struct copier *copier) {
    bool many = count_resident(copier->residency, copier->pages) >= WORTH_IT;
    if (many && !copier->second.thread && !copier->alone) find_second(copier);
    if (copier->second.thread) copy_by_two(copier); /* few pages too: the second one reads `total`, which is changed in one way */
    else copy_alone(copier);
    copier->pieces = copier->pages = 0;
}

void copier_add(struct copier *copier, u64 to, u64 from, u64 length) {
    for (u64 done = 0; done < length;) {
        if (copier->pieces == COPIER_PIECES || copier->pages == PAGES_AT_ONCE) copier_finish(copier);
        u64 room = (PAGES_AT_ONCE - copier->pages) * PAGE, piece = min_u64(length - done, room);
        u8 *residency = copier->residency + copier->pages;
        if (!failed(SYS3(__NR_mincore, from + done, piece, residency))) {
            copier->piece[copier->pieces++] = (struct copier_piece){to + done, from + done, copier->pages};
            copier->pages += (u32)(piece / PAGE);
        }
        done += piece;
    }
}

void copier_end(struct copier *copier) {
    if (!copier->second.thread) return;
    __atomic_store_n(&copier->leave, true, __ATOMIC_RELEASE);
    call_second(copier);
    second_await(&copier->second);
}
