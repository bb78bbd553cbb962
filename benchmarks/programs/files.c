/*
 * How fast files are: files DIRECTORY MIB SECONDS prints lines of a name and MiB, or operations, a second.
 *
 * write: a new file of so many MiB in pieces of 64 KiB, fsync(2) included. random_write: blocks of 4 KiB at random
 * places of it, fsync included. cached_read, random_read: the same file again, in memory where there is a cache.
 * files DIRECTORY MIB 0 reads it once from the disk: cold_read, another process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "clock.h"

enum { PIECE = 65536, BLOCK = 4096 };

static unsigned char piece[PIECE];
static uint64_t state = 88172645463325252U;

static uint64_t next_random(void) {
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static void die(const char *what) {
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static double write_whole(int fd, long pieces) {
	double begin = now();
	for (long i = 0; i < pieces; i++) {
		memcpy(piece, &i, sizeof i);
		if (pwrite(fd, piece, PIECE, i * PIECE) != PIECE) die("write");
	}
	if (fsync(fd)) die("fsync");
	return (double)pieces / 16 / (now() - begin);
}

static double read_whole(int fd, long pieces) {
	double begin = now();
	for (long i = 0; i < pieces; i++) {
		long found;
		if (pread(fd, piece, PIECE, i * PIECE) != PIECE) die("read");
		memcpy(&found, piece, sizeof found);
		if (found != i) die("another piece was read");
	}
	return (double)pieces / 16 / (now() - begin);
}

static double again_and_again(double (*what)(int, long), int fd, long pieces, double limit) {
	double begin = now(), sum = 0;
	long rounds = 0;
	do {
		sum += 1 / what(fd, pieces);
		rounds++;
	} while (now() - begin < limit);
	return (double)rounds / sum;
}

static double random_blocks(int fd, long pieces, double limit, int writing) {
	double begin = now();
	long count = 0;
	do {
		for (int i = 0; i < 64; i++, count++) {
			/* The first block of a piece has its number: left alone. */
			long place = (long)(next_random() % (uint64_t)pieces) * PIECE + BLOCK * (1 + (long)(next_random() % 15));
			if ((writing ? pwrite(fd, piece, BLOCK, place) : pread(fd, piece, BLOCK, place)) != BLOCK) die("a block");
		}
	} while (now() - begin < limit);
	if (writing && fsync(fd)) die("fsync");
	return (double)count / (now() - begin);
}

int main(int count, char **words) {
	if (count != 4) return 2;
	char path[4096];
	snprintf(path, sizeof path, "%s/data", words[1]);
	long pieces = atol(words[2]) * 16;
	double limit = atof(words[3]);
	int fd = open(path, limit > 0 ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY, 0600);
	if (fd < 0) die(path);
	for (int i = 0; i < PIECE; i++) piece[i] = (unsigned char)next_random();
	if (limit <= 0) {
		printf("cold_read %.6f\n", read_whole(fd, pieces));
		return 0;
	}
	printf("write %.6f\n", write_whole(fd, pieces));
	read_whole(fd, pieces);
	printf("cached_read %.6f\n", again_and_again(read_whole, fd, pieces, limit));
	printf("random_read %.6f\n", random_blocks(fd, pieces, limit, 0));
	printf("random_write %.6f\n", random_blocks(fd, pieces, limit, 1));
	return 0;
}
