/* The program's initial stack: a mapping of its own between inaccessible pages, because libraries take its line in
 * /proc/self/maps for its bounds (pthread_getattr_np). Strings come first, from the top down; their pointers are kept in two lists at its low end until
 * everything is known, then laid out below the strings. The kernel gives strings and pointers a quarter of the stack
 * (execve(2)), so the lists are long enough for what it accepted. */
#include <linux/auxvec.h>
#include <linux/mman.h>
#include <linux/resource.h>

#include "block.h"
#include "fail.h"
#include "handoff.h"
#include "start.h"
#include "state.h"
#include "areas.h"
#include "secret.h"

enum { STACK_DEFAULT = 8 << 20, STACK_LARGE = 64 << 20, STACK_LIMIT = 1 << 30, GUARD_GAP = 1 << 20, SPARE_WORDS = 64 /* what scripts and provisioning add, and NULLs */ };

static u64 list_limit; /* words in each list */

static u64 wanted_size(void) {
    struct {
        u64 now, most;
    } limit = {STACK_DEFAULT, 0};
    SYS2(__NR_getrlimit, RLIMIT_STACK, &limit);
    if (limit.now > STACK_LIMIT) return STACK_LARGE; /* "unlimited" would be taken at its word */
    return max_u64(page_up(limit.now), 1 << 20);
}

void stack_create(struct program_stack *stack) {
    u64 size = wanted_size(), room = GUARD_GAP + size + PAGE;
    long at = SYS6(__NR_mmap, 0, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(at, "no address space for the stack (ulimit -v?)");
    stack->low = (u64)at + GUARD_GAP;
    stack->top = stack->low + size;
    long error = secret_map(stack->low, size, PROT_READ | PROT_WRITE, MAP_FIXED);
    if (failed(error)) fail_secret_memory(error);
    areas_put(stack->low, stack->top, AREA_SECRET, PROT_READ | PROT_WRITE);
    state.stack_start = stack->low;
    state.stack_end = stack->top;
    list_limit = size / 4 / sizeof(char *);
    stack->arguments = (struct words){.word = ptr_of(stack->low)};
    stack->environment = (struct words){.word = ptr_of(stack->low + size / 4)};
}

static void make_room(struct program_stack *stack, u64 size) {
    if (stack->top - stack->low < size + 2 * list_limit * sizeof(char *))
        fail(CLOISTER_EXIT_NOT_EXECUTABLE, "arguments and environment do not fit the stack", E2BIG, "ulimit -s unlimited");
    stack->top -= size;
}

const char *stack_push(struct program_stack *stack, const void *bytes, size_t size) {
    make_room(stack, size + 1);
    memcpy(ptr_of(stack->top), bytes, size);
    *(char *)ptr_of(stack->top + size) = 0;
    return ptr_of(stack->top);
}

char *stack_new_word(struct program_stack *stack, struct words *list, u64 size) {
    if (list->count >= list_limit) fail(CLOISTER_EXIT_NOT_EXECUTABLE, "too many arguments or variables", E2BIG, "ulimit -s unlimited");
    make_room(stack, size + 1);
    char *word = ptr_of(stack->top);
    word[size] = 0;
    return list->word[list->count++] = word;
}

void stack_add(struct program_stack *stack, struct words *list, const char *word, size_t size) {
    memcpy(stack_new_word(stack, list, size), word, size);
}

void stack_expect(struct program_stack *stack, u64 words) {
    list_limit = min_u64(list_limit, words + SPARE_WORDS);
    stack->environment.word = ptr_of(stack->low + list_limit * sizeof(char *));
}

static void add_words(struct program_stack *stack, struct words *list, const struct words *from) {
    for (u64 i = 0; i < from->count; i++) stack_add(stack, list, from->word[i], strlen(from->word[i]));
}

void stack_take_words(struct program_stack *stack, struct options *options, const struct words *environment) {
    if (options->handoff_fd >= 0) {
        handoff_read(options, stack);
        return;
    }
    if (options->start_fd >= 0) {
        block_take_from(options->start_fd, stack);
        return;
    }
    stack_expect(stack, options->arguments.count + environment->count);
    add_words(stack, &stack->arguments, &options->arguments);
    add_words(stack, &stack->environment, environment);
}

void stack_insert_script(struct program_stack *stack, const char *interpreter, const char *argument, const char *script) {
    u64 extra = argument ? 2 : 1;
    struct words *list = &stack->arguments;
    if (list->count + extra >= list_limit) fail(CLOISTER_EXIT_NOT_EXECUTABLE, "too many arguments", E2BIG, NULL);
    for (u64 i = list->count; i-- > 1;) list->word[i + extra] = list->word[i];
    list->count += extra;
    list->word[0] = (char *)(uintptr_t)stack_push(stack, interpreter, strlen(interpreter));
    list->word[extra] = (char *)(uintptr_t)stack_push(stack, script, strlen(script));
    if (argument) list->word[1] = (char *)(uintptr_t)stack_push(stack, argument, strlen(argument));
}

static u64 *lay_words(u64 *at, const struct words *list) {
    for (u64 i = 0; i < list->count; i++) *at++ = addr_of(list->word[i]);
    *at++ = 0;
    return at;
}

static u64 overridden(u64 key, u64 value, const u64 (*overrides)[2], size_t count) {
    for (size_t i = 0; i < count; i++)
        if (overrides[i][0] == key) return overrides[i][1];
    return value;
}

static u64 auxiliary_count(const u64 *auxiliary) {
    u64 n = 0;
    while (auxiliary[2 * n] != AT_NULL) n++;
    return n + 1;
}

u64 stack_finish(struct program_stack *stack, const u64 *auxiliary, const u64 (*overrides)[2], size_t override_count) {
    u64 pairs = auxiliary_count(auxiliary);
    u64 words = 1 + stack->arguments.count + 1 + stack->environment.count + 1 + 2 * pairs;
    make_room(stack, words * 8 + 32);
    u64 pointer = stack->top & ~15UL;
    u64 *at = ptr_of(pointer);
    *at++ = stack->arguments.count;
    at = lay_words(at, &stack->arguments);
    at = lay_words(at, &stack->environment);
    for (u64 i = 0; i < pairs; i++, auxiliary += 2) {
        *at++ = auxiliary[0];
        *at++ = overridden(auxiliary[0], auxiliary[1], overrides, override_count);
    }
    memset(stack->arguments.word, 0, stack->arguments.count * sizeof(char *));
    memset(stack->environment.word, 0, stack->environment.count * sizeof(char *));
    return pointer;
}
