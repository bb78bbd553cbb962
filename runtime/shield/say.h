/* A line for a person, on the program's standard error, whatever that is. With the lock held. */
#ifndef CLOISTER_SHIELD_SAY_H
#define CLOISTER_SHIELD_SAY_H

void shield_say(const char *text);

#endif
