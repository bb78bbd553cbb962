/* Asks the runtime's cryptography: each line of standard input is a command and its arguments in hexadecimal ("-" for none), each
 * line of standard output the results. Arguments stand in allocations of exactly their size, for AddressSanitizer's sake. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hmac.h"
#include "hpke.h"

enum { MOST = 8 };
struct argument {
    u8 *bytes;
    size_t size;
};

bool hpke_decapsulate(u8 *shared, const u8 *private_key, const u8 *encapsulated);
void hpke_schedule(u8 *key, u8 *nonce, const u8 *shared, const void *info, size_t size);
void poly1305(u8 *tag, const u8 *key, const u8 *blocks, size_t count);

static struct argument parse(const char *word) {
    struct argument read = {NULL, strcmp(word, "-") ? strlen(word) / 2 : 0};
    read.bytes = malloc(read.size);
    for (size_t i = 0; i < read.size; i++) {
        const char pair[3] = {word[2 * i], word[2 * i + 1], 0};
        read.bytes[i] = (u8)strtoul(pair, NULL, 16);
    }
    return read;
}

static void print(const u8 *bytes, size_t size) {
    putchar(' ');
    if (!size) putchar('-');
    for (size_t i = 0; i < size; i++) printf("%02x", bytes[i]);
}

/* The size of the next piece of `left` bytes: `pieces` holds sizes of two bytes, what is beyond them comes at once. */
static size_t next_piece(struct argument *pieces, size_t left) {
    if (pieces->size < 2) return left;
    const size_t size = (size_t)pieces->bytes[0] << 8 | pieces->bytes[1];
    memmove(pieces->bytes, pieces->bytes + 2, pieces->size -= 2);
    return size < left ? size : left;
}

static bool wiped(const void *memory, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (((const u8 *)memory)[i]) return false;
    return true;
}

static void do_sha256(struct argument *a) {
    struct sha256 hash;
    u8 digest[SHA256_SIZE];
    sha256_start(&hash);
    for (size_t done = 0, piece; done < a[0].size; done += piece) {
        piece = next_piece(&a[1], a[0].size - done);
        sha256_add(&hash, a[0].bytes + done, piece);
    }
    sha256_finish(&hash, digest);
    print(digest, sizeof digest);
    printf(" %02x", wiped(&hash, sizeof hash));
}

static void do_sha384(struct argument *a) {
    u8 digest[SHA384_SIZE];
    sha384(a[0].bytes, a[0].size, digest);
    print(digest, sizeof digest);
}

static void add_pieces_512(struct sha512 *hash, struct argument *a) {
    for (size_t done = 0, piece; done < a[0].size; done += piece) {
        piece = next_piece(&a[1], a[0].size - done);
        sha512_add(hash, a[0].bytes + done, piece);
    }
}

static void do_sha384_pieces(struct argument *a) {
    struct sha512 hash;
    u8 digest[SHA384_SIZE];
    sha384_start(&hash);
    add_pieces_512(&hash, a);
    sha384_finish(&hash, digest);
    print(digest, sizeof digest);
    printf(" %02x", wiped(&hash, sizeof hash));
}

static void do_sha512(struct argument *a) {
    struct sha512 hash;
    u8 digest[SHA512_SIZE];
    sha512_start(&hash);
    add_pieces_512(&hash, a);
    sha512_finish(&hash, digest);
    print(digest, sizeof digest);
    printf(" %02x", wiped(&hash, sizeof hash));
}

static void do_hmac384(struct argument *a) {
    struct hmac384 hmac;
    u8 code[SHA384_SIZE];
    hmac384_start(&hmac, a[0].bytes, a[0].size);
    hmac384_add(&hmac, a[1].bytes, a[1].size);
    hmac384_finish(&hmac, code);
    print(code, sizeof code);
    printf(" %02x", wiped(&hmac, sizeof hmac));
}

static void do_hmac(struct argument *a) {
    struct hmac hmac;
    u8 code[SHA256_SIZE];
    hmac_start(&hmac, a[0].bytes, a[0].size);
    hmac_add(&hmac, a[1].bytes, a[1].size);
    hmac_finish(&hmac, code);
    print(code, sizeof code);
    printf(" %02x", wiped(&hmac, sizeof hmac));
}

static void do_poly1305(struct argument *a) {
    u8 tag[AEAD_TAG];
    poly1305(tag, a[0].bytes, a[1].bytes, a[1].size / 16);
    print(tag, sizeof tag);
}

/* key, nonce, additional data, text, pieces */
static void do_encrypt(struct argument *a) {
    struct aead aead;
    u8 tag[AEAD_TAG];
    aead_start(&aead, a[0].bytes, a[1].bytes, a[2].bytes, a[2].size);
    for (size_t done = 0, piece; done < a[3].size; done += piece) {
        piece = next_piece(&a[4], a[3].size - done);
        aead_encrypt(&aead, a[3].bytes + done, piece);
    }
    aead_finish(&aead, tag);
    print(a[3].bytes, a[3].size);
    print(tag, sizeof tag);
    printf(" %02x", wiped(&aead, sizeof aead));
}

/* key, nonce, additional data, text, pieces, tag */
static void do_decrypt(struct argument *a) {
    struct aead aead;
    aead_start(&aead, a[0].bytes, a[1].bytes, a[2].bytes, a[2].size);
    for (size_t done = 0, piece; done < a[3].size; done += piece) {
        piece = next_piece(&a[4], a[3].size - done);
        aead_decrypt(&aead, a[3].bytes + done, piece);
    }
    printf(" %02x", aead_verify(&aead, a[5].bytes));
    print(a[3].bytes, a[3].size);
    printf(" %02x", wiped(&aead, sizeof aead));
}

static void do_x25519(struct argument *a) {
    u8 shared[X25519_SIZE];
    printf(" %02x", x25519(shared, a[0].bytes, a[1].bytes));
    print(shared, sizeof shared);
}

/* RFC 7748, section 5.2: k and u become the result and the old k, as often as the third argument says. */
static void do_x25519_iterated(struct argument *a) {
    u8 k[X25519_SIZE], result[X25519_SIZE];
    memcpy(k, a[0].bytes, sizeof k);
    for (unsigned i = (unsigned)a[2].bytes[0] << 8 | a[2].bytes[1]; i; i--) {
        if (!x25519(result, k, a[1].bytes)) abort();
        memcpy(a[1].bytes, k, sizeof k);
        memcpy(k, result, sizeof k);
    }
    print(k, sizeof k);
}

static void do_x25519_public(struct argument *a) {
    u8 public_key[X25519_SIZE];
    x25519_public(public_key, a[0].bytes);
    print(public_key, sizeof public_key);
}

/* private key, encapsulated key, additional data, text */
static void do_hpke_open(struct argument *a) {
    printf(" %02x", hpke_open(a[0].bytes, a[1].bytes, NULL, a[2].bytes, a[2].size, a[3].bytes, a[3].size));
    print(a[3].bytes, a[3].size);
}

/* private key, encapsulated key, sender's key, additional data, text */
static void do_hpke_open_from(struct argument *a) {
    printf(" %02x", hpke_open(a[0].bytes, a[1].bytes, a[2].bytes, a[3].bytes, a[3].size, a[4].bytes, a[4].size));
    print(a[4].bytes, a[4].size);
}

static void do_hpke_decapsulate(struct argument *a) {
    u8 shared[SHA256_SIZE];
    printf(" %02x", hpke_decapsulate(shared, a[0].bytes, a[1].bytes));
    print(shared, sizeof shared);
}

static void do_hpke_schedule(struct argument *a) {
    u8 key[AEAD_KEY], nonce[AEAD_NONCE];
    hpke_schedule(key, nonce, a[0].bytes, a[1].bytes, a[1].size);
    print(key, sizeof key);
    print(nonce, sizeof nonce);
}

static const struct {
    const char *name;
    int arguments;
    void (*run)(struct argument *);
} commands[] = {
    {"sha256", 2, do_sha256},
    {"sha384", 1, do_sha384},
    {"sha384-pieces", 2, do_sha384_pieces},
    {"sha512", 2, do_sha512},
    {"hmac", 2, do_hmac},
    {"hmac384", 2, do_hmac384},
    {"poly1305", 2, do_poly1305},
    {"encrypt", 5, do_encrypt},
    {"decrypt", 6, do_decrypt},
    {"x25519", 2, do_x25519},
    {"x25519-iterated", 3, do_x25519_iterated},
    {"x25519-public", 1, do_x25519_public},
    {"hpke-open", 4, do_hpke_open},
    {"hpke-open-from", 5, do_hpke_open_from},
    {"hpke-decapsulate", 2, do_hpke_decapsulate},
    {"hpke-schedule", 2, do_hpke_schedule},
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
