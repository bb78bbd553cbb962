/* Whether large tables of the program's file are in memory as they should be (large_file.S), and data can be written. */
#include <stdio.h>

extern const unsigned constants[], constants_end[];
extern unsigned data[], data_end[];

static unsigned long wrong(const unsigned *from, const unsigned *to, unsigned long each) {
    unsigned long count = 0;
    for (const unsigned *at = from; at < to; at++) count += *at != (unsigned long)(at - from) / each;
    return count;
}

int main(void) {
    printf("constants %lu, wrong %lu\n", (unsigned long)(constants_end - constants), wrong(constants, constants_end, 10240));
    printf("data %lu, wrong %lu\n", (unsigned long)(data_end - data), wrong(data, data_end, 1024));
    for (unsigned *at = data; at < data_end; at++) *at = 0;
    return 0;
}
