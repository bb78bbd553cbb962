/* Calls one function on a stack of its own with several sets of secrets: what it leaves there must always be the same.
 *
 * usage: remnants FUNCTION    prints how deep in the stack bytes differ, for each that does */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "exchange.h"
#include "hmac.h"
#include "keys.h"

enum { STACK = 1 << 17, SETS = 4 };

static const u8 other_key[EXCHANGE_SECRET] = {7};
static struct private_key p256, p384, ed25519;
static u8 secret[48], random_bytes[SIGNING_RANDOM], result[SIGNATURE_MAX], other[EXCHANGE_POINT];
static u8 der[4096];
static size_t der_size;
static bool fine;

static void run_p256(void) { fine = private_key_sign(&p256, random_bytes, "message", 7, result); }
static void run_p384(void) { fine = private_key_sign(&p384, random_bytes, "message", 7, result); }
static void run_ed25519(void) { fine = private_key_sign(&ed25519, random_bytes, "message", 7, result); }
static void run_public(void) { fine = exchange_public(result, secret); }
static void run_shared(void) { fine = exchange_shared(result, secret, other); }
static void run_make(void) { fine = private_key_make(&p256, secret); }
static void run_hmac384(void) {
    struct hmac384 hmac;
    hmac384_start(&hmac, secret, sizeof secret);
    hmac384_add(&hmac, "message", 7);
    hmac384_finish(&hmac, result);
    fine = true;
}
/* PKCS #8 of several keys of one size stand on standard input, one behind the other. */
static void run_rsa(void) {
    static struct private_key key; /* its sizes are no remnants */
    fine = private_key_read(&key, der, der_size) && private_key_sign(&key, random_bytes, "message", 7, result);
}
/* Must be found, or nothing is. */
static void run_careless(void) {
    volatile u8 deep[512];
    deep[0] = secret[1];
    fine = deep[0] == secret[1];
}

static const struct {
    const char *name;
    void (*run)(void);
} functions[] = {
    {"p256", run_p256},     {"p384", run_p384}, {"ed25519", run_ed25519}, {"public", run_public},
    {"shared", run_shared}, {"make", run_make}, {"hmac384", run_hmac384}, {"rsa", run_rsa},
    {"careless", run_careless},
};

static void prepare(unsigned set) {
    u8 header[4];
    if (fread(header, 1, 4, stdin) == 4) { /* a long SEQUENCE */
        memcpy(der, header, 4);
        der_size = 4u + (size_t)(header[2] << 8 | header[3]);
        if (fread(der + 4, 1, der_size - 4, stdin) != der_size - 4) abort();
    }
    for (unsigned i = 0; i < sizeof secret; i++) secret[i] = (u8)(i * (37 + 2 * set) + 11);
    for (unsigned i = 0; i < sizeof random_bytes; i++) random_bytes[i] = (u8)(i * (41 + 2 * set) + 101);
    p256 = (struct private_key){.kind = KEY_P256};
    p384 = (struct private_key){.kind = KEY_P384};
    ed25519 = (struct private_key){.kind = KEY_ED25519};
    memcpy(p256.secret, secret, 32);
    memcpy(p384.secret, secret, 48);
    memcpy(ed25519.secret, secret, 32);
    if (!exchange_public(other, other_key)) abort();
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
