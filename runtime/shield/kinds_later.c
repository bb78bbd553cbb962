#include "fail.h"
#include "shield.h"
long console_call(struct call *call, int fd, const struct shielded *entry) { (void)call; (void)fd; (void)entry; return SHIELD_PASS; }
long socket_call(struct call *call, int fd, const struct shielded *entry) { (void)call; (void)fd; (void)entry; return SHIELD_PASS; }
long socket_new_call(struct call *call) { (void)call; return SHIELD_PASS; }
void console_begin(void) { fail(CLOISTER_EXIT_CANNOT_PROTECT, "this runtime cannot shield the console", 0, NULL); }
void socket_closed(int fd, const struct shielded *entry) { (void)fd; (void)entry; }
