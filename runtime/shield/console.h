/* The console shield: what a program's processes read and print passes as records between this runtime and a person
 * (docs/formats/console.md); the kernel and the relay see ciphertext.
 *
 *                  the person has a terminal                     or has none
 *   descriptors    a terminal in raw mode: job control, size,    0: a socket that keeps records apart,
 *   0, 1, 2        SIGHUP and poll(2) are the kernel's           1, 2: another one
 *   input          from that terminal: a record is one byte,     from that socket: a record stays in it until all of it
 *                  so that a reader takes no more than it wants  was read (MSG_PEEK)
 *   output         to a socket of the runtime's own (reserved)   likewise
 *
 * All processes of the tree share both streams. What they must agree on stands in words of the guard: how many records of output there
 * are, how far input was read, which modes the terminal has. */
#ifndef CLOISTER_SHIELD_CONSOLE_H
#define CLOISTER_SHIELD_CONSOLE_H

#include "buffers.h"
#include "console_record.h"
#include "guard_console.h"
#include "shield.h"

/* What an entry's `object` says of a descriptor: what may be done with it. */
enum console_end { END_INPUT, END_STDOUT, END_STDERR, END_TERMINAL };

struct console {
    u8 input_key[AEAD_KEY], output_key[AEAD_KEY];
    int out;    /* where output goes, a reserved descriptor */
    u32 device; /* the terminal's number, as the kernel has it; 0 if the person has none */
    bool terminal;
    bool damaged; /* this process has told the person that input is not what was sent */
};
extern struct console console;

long console_write(const struct call *call, int fd, const struct buffers *from, u8 kind);
long console_read(const struct call *call, int fd, const struct buffers *to);
long console_read_terminal(const struct call *call, int fd, const struct buffers *to);
long console_ioctl(const struct call *call, int fd);

/* One record of the runtime's own: HELLO, MODE, ALERT. With the lock held. */
void console_tell(u8 kind, const void *text, u64 size);
/* Input is not what was sent: the person is told, once; returns -EIO. With the lock held. */
long console_damaged(void);
/* Input from `position` on, so many bytes, is this reader's: 0. Else -EAGAIN, and *now is how far it was read. With the lock held. */
NODISCARD long console_claim(u64 position, u64 size, u64 *now);
/* A moment's sleep. */
void console_nap(void);
bool console_is_nonblocking(int fd);

/* Input that is there and that nobody wants any more. */
void console_discard(int fd);
/* How many bytes can be read at once from a socket. */
long console_waiting(int fd);

/* The program's open(2) and its kind: what leads to the terminal, or to what stands for a standard stream, is the console. `result` is
 * what came of the call, or SHIELD_PASS if it was not made yet. */
long console_open(struct call *call, long result);
/* The number of the terminal that is open there, 0 if none is. */
u32 console_device_of(int fd);

/* carry.c: what a new image must know, in two numbers. */
void console_carried(u32 carried[2]);
void console_inherit(const u32 carried[2]);

#endif
