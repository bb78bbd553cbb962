/* Asks the TLS engine's cryptography: each line of standard input is a command and its arguments in hexadecimal ("-" for none), each
 * line of standard output the results. Arguments stand in allocations of exactly their size, for AddressSanitizer's sake. */
#include "driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ecdsa.h"
#include "ed25519.h"
#include "exchange.h"
#include "montgomery.h"

enum { MOST = 8 };

static struct argument parse(const char *word) {
    struct argument read = {NULL, strcmp(word, "-") ? strlen(word) / 2 : 0};
    read.bytes = malloc(read.size);
    for (size_t i = 0; i < read.size; i++) {
        const char pair[3] = {word[2 * i], word[2 * i + 1], 0};
        read.bytes[i] = (u8)strtoul(pair, NULL, 16);
    }
    return read;
}

void print_bytes(const u8 *bytes, size_t size) {
    putchar(' ');
    if (!size) putchar('-');
    for (size_t i = 0; i < size; i++) printf("%02x", bytes[i]);
}

void print_answer(bool answer) { printf(" %02x", answer); }

static const struct curve *curve_for(const struct argument *size) { return size->bytes[0] == 48 ? &curve_p384 : &curve_p256; }

/* which: 0 P-256's field, 1 its order, 2 and 3 P-384's; what: * + - or / (of 1 by the first). Limbs as they are. */
static void do_field(struct argument *a) {
    const struct curve *curve = a[0].bytes[0] & 2 ? &curve_p384 : &curve_p256;
    const struct field *field = a[0].bytes[0] & 1 ? &curve->order : &curve->field;
    element x = {{0}}, y = {{0}}, result = {{0}};
    memcpy(&x, a[2].bytes, a[2].size);
    memcpy(&y, a[3].bytes, a[3].size);
    switch (a[1].bytes[0]) {
    case '*': field_multiply(field, &result, &x, &y); break;
    case '+': field_add(field, &result, &x, &y); break;
    case '-': field_subtract(field, &result, &x, &y); break;
    default: field_invert(field, &result, &x); break;
    }
    print_bytes((const u8 *)&result, 8 * field->limbs);
}

/* scalar * point, of coordinates in the uncompressed form; an empty point for the generator */
static void do_point(struct argument *a) {
    const struct curve *curve = curve_for(&a[0]);
    struct point point;
    u8 bytes[1 + 2 * FIELD_BYTES] = {0};
    const bool on_curve = !a[2].size || point_load(curve, &point, a[2].bytes);
    if (on_curve && a[2].size) point_multiply(curve, &point, a[1].bytes, &point);
    else if (on_curve) point_multiply_generator(curve, &point, a[1].bytes);
    print_answer(on_curve && point_store(curve, bytes, &point));
    print_bytes(bytes, 1 + 2 * curve_size(curve));
}

static void do_exchange_public(struct argument *a) {
    u8 point[EXCHANGE_POINT] = {0};
    print_answer(exchange_public(point, a[0].bytes));
    print_bytes(point, sizeof point);
}

static void do_exchange_shared(struct argument *a) {
    u8 shared[EXCHANGE_SECRET] = {0};
    print_answer(exchange_shared(shared, a[0].bytes, a[1].bytes));
    print_bytes(shared, sizeof shared);
}

/* curve, private key, digest, random */
static void do_ecdsa_sign(struct argument *a) {
    u8 signature[ECDSA_MAX];
    const size_t size = ecdsa_sign(curve_for(&a[0]), a[1].bytes, a[2].bytes, a[3].bytes, a[3].size, signature);
    print_bytes(signature, size);
}

/* curve, public key, digest, signature */
static void do_ecdsa_verify(struct argument *a) {
    print_answer(ecdsa_verify(curve_for(&a[0]), a[1].bytes, a[2].bytes, a[3].bytes, a[3].size));
}

static void do_ed25519_sign(struct argument *a) {
    u8 public_key[ED25519_KEY], signature[ED25519_SIGNATURE];
    ed25519_public(public_key, a[0].bytes);
    ed25519_sign(a[0].bytes, public_key, a[1].bytes, a[1].size, signature);
    print_bytes(public_key, sizeof public_key);
    print_bytes(signature, sizeof signature);
}

static void do_ed25519_verify(struct argument *a) {
    print_answer(ed25519_is_point(a[0].bytes));
    print_answer(ed25519_verify(a[0].bytes, a[1].bytes, a[1].size, a[2].bytes));
}

static const struct {
    const char *name;
    int arguments;
    void (*run)(struct argument *);
} commands[] = {
    {"field", 4, do_field},
    {"point", 3, do_point},
    {"exchange-public", 1, do_exchange_public},
    {"exchange-shared", 2, do_exchange_shared},
    {"ecdsa-sign", 4, do_ecdsa_sign},
    {"ecdsa-verify", 4, do_ecdsa_verify},
    {"ed25519-sign", 2, do_ed25519_sign},
    {"ed25519-verify", 3, do_ed25519_verify},
    {"gcm", 4, do_gcm},
    {"public-key", 1, do_public_key},
    {"verify", 4, do_verify},
    {"private-key", 1, do_private_key},
    {"fits", 2, do_fits},
    {"sign", 3, do_sign},
    {"x509", 1, do_x509},
    {"ra-report", 1, do_ra_report},
    {"ra-certificate", 5, do_ra_certificate},
};

static void run_line(char *line) {
    const char *name = strtok(line, " \n");
    struct argument arguments[MOST];
    int count = 0;
    for (char *word; count < MOST && (word = strtok(NULL, " \n"));) arguments[count++] = parse(word);
    for (size_t i = 0; name && i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, name) || commands[i].arguments != count) continue;
        printf("ok");
        commands[i].run(arguments);
        putchar('\n');
        fflush(stdout);
        while (count) free(arguments[--count].bytes);
        return;
    }
    exit(2);
}

int main(void) {
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, stdin) > 0) run_line(line);
    free(line);
    return 0;
}
