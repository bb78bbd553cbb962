#include "der.h"

enum { LENGTH_BYTES_MAX = 3 };

/* X.690, section 10.1: the shortest form. */
static bool take_length(struct der *der, size_t *length) {
    if (der_at_end(der)) return false;
    const u32 first = *der->at++;
    *length = first;
    if (first < 0x80) return true;
    const u32 count = first & 0x7f;
    if (!count || count > LENGTH_BYTES_MAX || der_size(der) < count || !*der->at) return false;
    *length = 0;
    for (u32 i = 0; i < count; i++) *length = *length << 8 | *der->at++;
    return *length >= 0x80;
}

bool der_take(struct der *der, u32 tag, struct der *inside) {
    struct der rest = *der;
    size_t length;
    if (!der_next_is(der, tag)) return false;
    rest.at++;
    if (!take_length(&rest, &length) || length > der_size(&rest)) return false;
    *inside = der_of(rest.at, length);
    der->at = rest.at + length;
    return true;
}

bool der_take_number(struct der *der, struct der *bytes) {
    struct der rest = *der, inside;
    if (!der_take(&rest, DER_INTEGER, &inside) || der_at_end(&inside) || *inside.at & 0x80) return false;
    if (!*inside.at && der_size(&inside) > 1) {
        inside.at++;
        if (!(*inside.at & 0x80)) return false; /* not the shortest */
    }
    *bytes = inside;
    *der = rest;
    return true;
}

bool der_take_small(struct der *der, u32 value) {
    struct der rest = *der, bytes;
    if (!der_take_number(&rest, &bytes) || der_size(&bytes) != 1 || *bytes.at != value) return false;
    *der = rest;
    return true;
}

bool der_take_bits(struct der *der, struct der *bytes) {
    struct der rest = *der, inside;
    if (!der_take(&rest, DER_BITS, &inside) || der_at_end(&inside) || *inside.at) return false;
    inside.at++;
    *bytes = inside;
    *der = rest;
    return true;
}

bool der_take_oid(struct der *der, const u8 *oid) {
    const size_t size = 2u + oid[1];
    if (der_size(der) < size || memcmp(der->at, oid, size) != 0) return false;
    der->at += size;
    return true;
}

static bool two_digits(struct der *text, u32 *value) {
    if (der_size(text) < 2 || text->at[0] < '0' || text->at[0] > '9' || text->at[1] < '0' || text->at[1] > '9') return false;
    *value = (u32)(text->at[0] - '0') * 10 + (u32)(text->at[1] - '0');
    text->at += 2;
    return true;
}

static bool is_leap_year(u32 year) { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); }

/* Days since 1970-01-01; years from 1900 on, whose leap years before them are counted from 1 on. */
static int64_t days_before(u32 year, u32 month, u32 day) {
    static const u16 before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    const u32 past = year - 1;
    const int64_t leap_days = (int64_t)(past / 4 - past / 100 + past / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
    const u32 leap_day = month > 2 && is_leap_year(year);
    return ((int64_t)year - 1970) * 365 + leap_days + before[month - 1] + leap_day + day - 1;
}

static u32 days_in(u32 year, u32 month) {
    if (month == 2) return is_leap_year(year) ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

bool der_take_time(struct der *der, int64_t *seconds) {
    struct der rest = *der, text;
    u32 century, year, month, day, hour, minute, second;
    const bool is_long = der_next_is(der, DER_TIME);
    if (!der_take(&rest, is_long ? DER_TIME : DER_UTC_TIME, &text)) return false;
    if (is_long && !two_digits(&text, &century)) return false;
    if (!two_digits(&text, &year) || !two_digits(&text, &month) || !two_digits(&text, &day)) return false;
    if (!two_digits(&text, &hour) || !two_digits(&text, &minute) || !two_digits(&text, &second)) return false;
    if (der_size(&text) != 1 || *text.at != 'Z') return false;
    if (!is_long) century = year < 50 ? 20 : 19;
    year += 100 * century;
    if (year < 1900 || month < 1 || month > 12 || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 59) return false;
    *seconds = days_before(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
    *der = rest;
    return true;
}
