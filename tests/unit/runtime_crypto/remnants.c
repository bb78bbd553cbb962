/* Calls one function on a stack of its own with several sets of secrets: what it leaves there must always be the same.
 *
 * usage: remnants FUNCTION    prints how deep in the stack bytes differ, for each that does */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "hmac.h"
#include "hpke.h"

bool hpke_decapsulate_from(u8 *shared, const u8 *private_key, const u8 *encapsulated, const u8 *sender);
void hpke_schedule_from(u8 *key, u8 *nonce, const u8 *shared);

enum { STACK = 1 << 16, TEXT = 200, SETS = 4 };

static const u8 base[X25519_SIZE] = {9};
static u8 private_key[X25519_SIZE], key[AEAD_KEY], nonce[AEAD_NONCE], plain[TEXT], work[TEXT + AEAD_TAG], result[SHA256_SIZE];
static bool fine;

static void encrypt(u8 *text, u8 *tag) {
    struct aead aead;
    aead_start(&aead, key, nonce, NULL, 0);
    aead_encrypt(&aead, text, TEXT);
    aead_finish(&aead, tag);
}

static void run_open(void) { fine = hpke_open(private_key, base, base, NULL, 0, work, sizeof work); }
static void run_encrypt(void) { encrypt(work, work + TEXT); }
static void run_decrypt(void) {
    struct aead aead;
    aead_start(&aead, key, nonce, NULL, 0);
    aead_decrypt(&aead, work, TEXT);
    fine = aead_verify(&aead, work + TEXT);
}
static void run_x25519(void) { fine = x25519(result, private_key, base); }
static void run_x25519_public(void) { x25519_public(result, private_key); }
static void run_hmac(void) {
    struct hmac hmac;
    hmac_start(&hmac, private_key, sizeof private_key);
    hmac_add(&hmac, plain, sizeof plain);
    hmac_finish(&hmac, result);
}
/* Must be found, or nothing is. */
static void run_careless(void) {
    volatile u8 deep[512];
    deep[0] = key[0];
    fine = deep[0] == key[0];
}

static const struct {
    const char *name;
    void (*run)(void);
} functions[] = {
    {"hpke_open", run_open},   {"aead_encrypt", run_encrypt},        {"aead_decrypt", run_decrypt},
    {"x25519", run_x25519},    {"x25519_public", run_x25519_public}, {"hmac", run_hmac},
    {"careless", run_careless},
};

/* Secrets of this set, and in `work` a message that its private key opens. */
static void prepare(unsigned set) {
    u8 shared[SHA256_SIZE];
    for (unsigned i = 0; i < X25519_SIZE; i++) private_key[i] = (u8)(i * (37 + 2 * set) + 11);
    for (unsigned i = 0; i < TEXT; i++) plain[i] = (u8)(i * (41 + 2 * set) + 101);
    fine = hpke_decapsulate_from(shared, private_key, base, base);
    hpke_schedule_from(key, nonce, shared);
    memcpy(work, plain, TEXT);
    encrypt(work, work + TEXT);
}

static void run_on(u8 *stack, void (*run)(void)) {
    static ucontext_t here, there;
    memset(stack, 0, STACK);
    if (getcontext(&there)) abort();
    there.uc_stack.ss_sp = stack;
    there.uc_stack.ss_size = STACK;
    there.uc_link = &here;
    makecontext(&there, run, 0);
    if (swapcontext(&here, &there) || !fine) abort();
}

int main(int count, char **words) {
    u8 *stack = malloc(STACK), *first = malloc(STACK);
    void (*run)(void) = NULL;
    for (size_t i = 0; count == 2 && i < sizeof functions / sizeof *functions; i++)
        if (!strcmp(functions[i].name, words[1])) run = functions[i].run;
    if (!run) return 2;
    for (unsigned set = 0; set < SETS; set++) {
        prepare(set);
        run_on(stack, run);
        if (!set) memcpy(first, stack, STACK);
        for (int at = 0; at < STACK; at++)
            if (stack[at] != first[at]) printf("%d\n", STACK - at);
    }
    free(stack);
    free(first);
    return 0;
}
