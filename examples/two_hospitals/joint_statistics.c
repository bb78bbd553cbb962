/* joint_statistics KEY TABLE KEY TABLE: decrypts the tables of two hospitals and prints statistics of both together, nothing else.
 *
 *   cc -O2 -o joint_statistics joint_statistics.c -lcrypto -lm
 *
 * A key is 32 bytes in a file. A table is a nonce of 12 bytes, then lines of "patient,age,treated,reduction" encrypted by AES-256-GCM,
 * then the tag of 16 bytes. Both hospitals read this program before they release their keys to it: what it prints is what they give. */
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY = 32, NONCE = 12, TAG = 16, LARGEST = 1 << 20, FEWEST = 10 };

/* Patients of both hospitals: [0] not treated, [1] treated. */
static double patients[2], sum[2], sum_of_squares[2], sum_of_ages, sum_of_squared_ages, sum_of_products;

static void fail(const char *what, const char *path) {
    fprintf(stderr, "joint_statistics: %s: %s\n", path, what);
    exit(1);
}

static size_t read_file(const char *path, unsigned char *content, size_t most) {
    FILE *file = fopen(path, "rb");
    if (!file)
        fail("cannot be read", path);
    size_t size = fread(content, 1, most, file);
    fclose(file);
    return size;
}

/* The text of a table. Nothing of it is used before all of it has been authenticated. */
static char *decrypted(const char *key_path, const char *path) {
    static unsigned char sealed[LARGEST], key[KEY + 1];
    size_t size = read_file(path, sealed, sizeof sealed);
    int length = 0, rest = 0;
    if (read_file(key_path, key, sizeof key) != KEY || size < NONCE + TAG)
        fail("no key, or no table", path);
    char *text = calloc(1, size + 1);
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    int text_size = (int)size - NONCE - TAG;
    if (!text || !context || !EVP_DecryptInit_ex(context, EVP_aes_256_gcm(), NULL, key, sealed) ||
        !EVP_DecryptUpdate(context, (unsigned char *)text, &length, sealed + NONCE, text_size) ||
        !EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, TAG, sealed + size - TAG) ||
        EVP_DecryptFinal_ex(context, (unsigned char *)text + length, &rest) != 1)
        fail("is not what its key encrypted", path);
    EVP_CIPHER_CTX_free(context);
    return text;
}

static void add_table(char *text, const char *path) {
    long patient;
    int age, treated;
    double reduction;
    strtok(text, "\n"); /* the names of the columns */
    for (char *line; (line = strtok(NULL, "\n"));) {
        if (sscanf(line, "%ld,%d,%d,%lf", &patient, &age, &treated, &reduction) != 4 || (treated != 0 && treated != 1))
            fail("has a line that is no patient", path);
        patients[treated]++;
        sum[treated] += reduction;
        sum_of_squares[treated] += reduction * reduction;
        sum_of_ages += age;
        sum_of_squared_ages += (double)age * age;
        sum_of_products += age * reduction;
    }
}

static double variance(int treated) {
    return (sum_of_squares[treated] - sum[treated] * sum[treated] / patients[treated]) / (patients[treated] - 1);
}

static double correlation_with_age(void) {
    double all = patients[0] + patients[1], both = sum[0] + sum[1], squares = sum_of_squares[0] + sum_of_squares[1];
    return (all * sum_of_products - sum_of_ages * both) /
           sqrt((all * sum_of_squared_ages - sum_of_ages * sum_of_ages) * (all * squares - both * both));
}

int main(int argc, char **argv) {
    if (argc != 5)
        return 2;
    add_table(decrypted(argv[1], argv[2]), argv[2]);
    add_table(decrypted(argv[3], argv[4]), argv[4]);
    if (patients[0] < FEWEST || patients[1] < FEWEST)
        fail("too few patients: a statistic of few gives them away", "both tables");
    double error = sqrt(variance(0) / patients[0] + variance(1) / patients[1]);
    double difference = sum[1] / patients[1] - sum[0] / patients[0];
    printf("patients, both hospitals            %4.0f\n", patients[0] + patients[1]);
    printf("treated                             %4.0f\n", patients[1]);
    printf("mean reduction, treated             %7.2f mmHg\n", sum[1] / patients[1]);
    printf("mean reduction, not treated         %7.2f mmHg\n", sum[0] / patients[0]);
    printf("difference                          %7.2f mmHg, Welch's t %.2f\n", difference, difference / error);
    printf("correlation of reduction with age   %7.2f\n", correlation_with_age());
    return 0;
}
