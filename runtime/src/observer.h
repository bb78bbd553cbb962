/* What a run tells whoever watches it on purpose: checkpoints (--checkpoint) and the closing report (--report). */
#ifndef CLOISTER_OBSERVER_H
#define CLOISTER_OBSERVER_H

/* Connects to the observer's socket, says where this process is and waits for one byte. Goes on at once if nobody listens. */
void observer_checkpoint(const char *at);
/* The `exit` checkpoint and the report line. */
void observer_exit(void);

#endif
