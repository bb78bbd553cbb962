/* Uses secrets that are uninitialised memory, for valgrind's memcheck: it follows what is computed of them, and says where a
 * jump or an address depends on it. The answers of functions are not looked at: whether a message is authentic is no secret.
 *
 * usage: undefined        everything that takes secrets
 *        undefined leaky  a comparison that must be reported, or memcheck sees nothing */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "hmac.h"
#include "hpke.h"

bool hpke_decapsulate_from(u8 *shared, const u8 *private_key, const u8 *encapsulated, const u8 *sender);
void hpke_schedule_from(u8 *key, u8 *nonce, const u8 *shared);

static volatile bool answer;

static void use_aead(const u8 *key, const u8 *nonce, u8 *text, size_t size) {
    struct aead aead;
    u8 tag[AEAD_TAG];
    aead_start(&aead, key, nonce, text, size);
    aead_encrypt(&aead, text, 20);
    aead_encrypt(&aead, text + 20, size - 20);
    aead_finish(&aead, tag);
    aead_start(&aead, key, nonce, text, 20);
    aead_decrypt(&aead, text, size);
    answer = aead_verify(&aead, tag);
}

static void use_all(u8 *secret, u8 *text, size_t size) {
    static const u8 base[X25519_SIZE] = {9};
    u8 result[SHA256_SIZE], key[AEAD_KEY], nonce[AEAD_NONCE], long_result[SHA384_SIZE];
    struct hmac hmac;
    x25519_public(result, secret);
    answer = x25519(result, secret, base);
    answer = x25519(result, secret, secret);
    answer = same_secret(secret, text, AEAD_KEY);
    answer = hpke_decapsulate_from(result, secret, base, base);
    hpke_schedule_from(key, nonce, result);
    use_aead(key, nonce, text, size);
    hmac_start(&hmac, secret, AEAD_KEY);
    hmac_add(&hmac, text, size);
    hmac_finish(&hmac, result);
    sha384(text, size, long_result);
    wipe(secret, AEAD_KEY);
}

/* Memory of which the compiler believes that somebody wrote it. */
static u8 *undefined(size_t size) { return ptr_of(opaque(addr_of(malloc(size)))); }

int main(int count, char **words) {
    const size_t size = 200;
    u8 *secret = undefined(AEAD_KEY), *text = undefined(size);
    if (count > 1 && !strcmp(words[1], "leaky")) answer = memcmp(secret, text, AEAD_KEY) == 0;
    else use_all(secret, text, size);
    free(secret);
    free(text);
    return 0;
}
