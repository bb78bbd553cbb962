#include "der.h"

enum { DAY = 86400 };
#define END_OF_9999 253402300800L

void der_put(struct der_writer *writer, const void *bytes, size_t size) {
    if (writer->full || (size_t)(writer->at - writer->start) < size) {
        writer->full = true;
        return;
    }
    writer->at -= size;
    memcpy(writer->at, bytes, size);
}

void der_put_byte(struct der_writer *writer, u32 byte) {
    const u8 one = (u8)byte;
    der_put(writer, &one, 1);
}

void der_wrap(struct der_writer *writer, u32 tag, const u8 *end) {
    size_t length = (size_t)(end - writer->at);
    if (length < 0x80) {
        der_put_byte(writer, (u32)length);
    } else {
        u32 count = 0;
        for (; length; length >>= 8, count++) der_put_byte(writer, length & 0xff);
        der_put_byte(writer, 0x80 | count);
    }
    der_put_byte(writer, tag);
}

void der_put_number(struct der_writer *writer, const u8 *bytes, size_t size) {
    const u8 *end = writer->at;
    for (; size > 1 && !*bytes; size--) bytes++;
    der_put(writer, bytes, size);
    if (*bytes & 0x80) der_put_byte(writer, 0);
    der_wrap(writer, DER_INTEGER, end);
}

static void put_digits(struct der_writer *writer, u64 value) {
    der_put_byte(writer, '0' + (u32)(value % 10));
    der_put_byte(writer, '0' + (u32)(value / 10 % 10));
}

static u64 days_in_year(u64 year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 366 : 365; }

static u64 days_in_month(u64 year, u64 month) {
    if (month == 2) return days_in_year(year) - 337;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

bool der_put_time(struct der_writer *writer, int64_t seconds) {
    if (seconds < 0 || seconds >= END_OF_9999) return false;
    const u8 *end = writer->at;
    u64 day = (u64)seconds / DAY, year = 1970, month = 1;
    const u64 time = (u64)seconds % DAY;
    for (; day >= days_in_year(year); year++) day -= days_in_year(year);
    for (; day >= days_in_month(year, month); month++) day -= days_in_month(year, month);
    der_put_byte(writer, 'Z');
    put_digits(writer, time % 60);
    put_digits(writer, time / 60 % 60);
    put_digits(writer, time / 3600);
    put_digits(writer, day + 1);
    put_digits(writer, month);
    put_digits(writer, year % 100);
    if (year >= 2050) put_digits(writer, year / 100);
    der_wrap(writer, year >= 2050 ? DER_TIME : DER_UTC_TIME, end);
    return true;
}
