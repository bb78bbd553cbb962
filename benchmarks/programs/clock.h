/* The one clock of these programs: seconds of CLOCK_MONOTONIC, clock_gettime(2). */
#pragma once
#include <time.h>

static inline double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}
