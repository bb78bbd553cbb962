#include "socket_host.h"

struct cursor {
    const u8 *at, *end;
};

static bool is_next(struct cursor *c, u8 what) {
    if (c->at == c->end || *c->at != what) return false;
    c->at++;
    return true;
}

static int digit_of(u8 character) {
    if (character >= '0' && character <= '9') return character - '0';
    character |= 0x20;
    return character >= 'a' && character <= 'f' ? character - 'a' + 10 : 16;
}

static bool read_number(struct cursor *c, int base, u32 digits_most, u32 most, u32 *value) {
    u32 digits = 0;
    *value = 0;
    for (; c->at < c->end && digit_of(*c->at) < base; c->at++, digits++) *value = *value * (u32)base + (u32)digit_of(*c->at);
    return digits && digits <= digits_most && *value <= most;
}

static bool read_four(struct cursor *c, u8 *to) {
    for (int i = 0; i < 4; i++) {
        u32 value;
        if ((i && !is_next(c, '.')) || !read_number(c, 10, 3, 255, &value)) return false;
        to[i] = (u8)value;
    }
    return c->at == c->end;
}

/* What stands behind the gap of zeros goes to the end. */
static bool close_gap(u8 host[16], int used, int gap) {
    if (gap < 0) return used == 16;
    if (used > 14) return false;
    for (int i = used - 1; i >= gap; i--) {
        host[16 - used + i] = host[i];
        host[i] = 0;
    }
    return true;
}

/* Groups of 16 bits; "::" is a gap, and there is one at most. */
static bool read_groups(struct cursor *c, u8 host[16]) {
    int used = 0, gap = -1;
    u32 value;
    memset(host, 0, 16);
    if (is_next(c, ':')) {
        if (!is_next(c, ':')) return false;
        gap = 0;
    }
    while (c->at < c->end) {
        if (used == 16 || !read_number(c, 16, 4, 0xffff, &value)) return false;
        host[used++] = (u8)(value >> 8);
        host[used++] = (u8)value;
        if (c->at == c->end) break;
        if (!is_next(c, ':')) return false;
        if (is_next(c, ':')) {
            if (gap >= 0) return false;
            gap = used;
        } else if (c->at == c->end) {
            return false;
        }
    }
    return close_gap(host, used, gap);
}

bool host_read(const u8 *text, u32 size, u8 host[16]) {
    struct cursor c = {text, text + size}, four = c;
    memset(host, 0, 12);
    host[10] = host[11] = 0xff;
    return read_four(&four, host + 12) || read_groups(&c, host);
}
