/*
 * Does random things to one file and to a copy of it in memory, and compares: every byte read, the size, and at the
 * end all of it. What it did stands in its log, so that a failure can be done again: exerciser FILE SEED OPERATIONS.
 *
 * Ways to the data: read and write at an offset, in pieces, appending, past the cache (O_DIRECT), through a shared
 * mapping; truncating, holes (punched and jumped over), zeroed ranges, room made beforehand, copies inside the kernel,
 * closing and opening again, syncing, and all of that by a child process.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LARGEST = 1 << 20, PIECE = 70000, LINES = 16, BLOCK = 4096 };

static unsigned char *model;
static long size_now;
static const char *path;
static int file = -1;
static uint64_t random_state;
static long operation;
static char lines[LINES][160];

static void log_line(const char *format, ...) {
	va_list arguments;
	va_start(arguments, format);
	char *line = lines[operation % LINES];
	int used = snprintf(line, 160, "%ld: ", operation);
	vsnprintf(line + used, 160 - (size_t)used, format, arguments);
	va_end(arguments);
}

static _Noreturn void give_up(const char *what, long place) {
	printf("FAIL %s at byte %ld, size %ld, errno %s\n", what, place, size_now, strerrorname_np(errno));
	for (long number = operation < LINES ? 0 : operation - LINES + 1; number <= operation; number++)
		printf("  %s\n", lines[number % LINES]);
	exit(1);
}

static uint64_t next_random(void) {
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static long below(long limit) {
	return limit > 0 ? (long)(next_random() % (uint64_t)limit) : 0;
}

static void fill(unsigned char *data, long count) {
	unsigned char first = (unsigned char)next_random();
	for (long i = 0; i < count; i++) data[i] = (unsigned char)(first + i * 7 + (i >> 8));
}

static void open_file(int flags) {
	if (file >= 0) close(file);
	file = open(path, O_RDWR | O_CREAT | flags, 0600);
	if (file < 0) give_up("open", 0);
}

/* The model has what was written; what lies between is zero already. */
static void wrote(long place, const unsigned char *data, long count) {
	memcpy(model + place, data, (size_t)count);
	if (place + count > size_now) size_now = place + count;
}

static void cut(long size) {
	if (size < size_now) memset(model + size, 0, (size_t)(size_now - size));
	size_now = size;
}

static void compare(const unsigned char *data, long place, long count, const char *what) {
	for (long i = 0; i < count; i++)
		if (data[i] != model[place + i]) {
			printf("  has %#x instead of %#x\n", data[i], model[place + i]);
			give_up(what, place + i);
		}
}

static void check_size(void) {
	struct stat status;
	if (fstat(file, &status) || status.st_size != size_now) give_up("fstat tells another size", status.st_size);
	if (lseek(file, 0, SEEK_END) != size_now) give_up("lseek tells another end", 0);
}

static void do_read(unsigned char *buffer) {
	long place = below(size_now + 5000), count = 1 + below(PIECE);
	long expected = place >= size_now ? 0 : size_now - place < count ? size_now - place : count;
	log_line("read %ld at %ld", count, place);
	long got = pread(file, buffer, (size_t)count, place);
	if (got != expected) give_up("a read gave another number of bytes", got);
	compare(buffer, place, got, "read");
}

static void do_read_pieces(unsigned char *buffer) {
	long place = below(size_now + 1), expected = size_now - place < 9001 ? size_now - place : 9001;
	log_line("readv 1+4000+5000 at %ld", place);
	struct iovec pieces[3] = {{buffer, 1}, {buffer + 1, 4000}, {buffer + 4001, 5000}};
	long got = preadv(file, pieces, 3, place);
	if (got != expected) give_up("a read in pieces gave another number of bytes", got);
	compare(buffer, place, got, "readv");
}

static void do_write(unsigned char *buffer) {
	long place = below(4) ? below(size_now + 1) : below(LARGEST - PIECE), count = 1 + below(PIECE);
	if (place + count > LARGEST) place = LARGEST - count;
	fill(buffer, count);
	log_line("write %ld at %ld", count, place);
	if (pwrite(file, buffer, (size_t)count, place) != count) give_up("write", place);
	wrote(place, buffer, count);
}

static void do_append(unsigned char *buffer) {
	long count = 1 + below(9000);
	if (size_now + count > LARGEST) return;
	fill(buffer, count);
	log_line("append %ld", count);
	int other = open(path, O_WRONLY | O_APPEND);
	if (other < 0 || write(other, buffer, (size_t)count) != count) give_up("append", size_now);
	close(other);
	wrote(size_now, buffer, count);
}

static void do_truncate(void) {
	long size = below(8) ? below(LARGEST) : 0;
	log_line("truncate to %ld", size);
	if (below(2) ? ftruncate(file, size) : truncate(path, size)) give_up("truncate", size);
	cut(size);
}

static void do_map_read(unsigned char *buffer) {
	(void)buffer;
	if (size_now == 0) return;
	long place = below(size_now) / BLOCK * BLOCK, count = size_now - place < PIECE ? size_now - place : PIECE;
	log_line("map %ld at %ld and read", count, place);
	unsigned char *memory = mmap(NULL, (size_t)count, PROT_READ, below(2) ? MAP_SHARED : MAP_PRIVATE, file, place);
	if (memory == MAP_FAILED) give_up("mmap", place);
	compare(memory, place, count, "a mapping");
	long end = (count + BLOCK - 1) / BLOCK * BLOCK;
	for (long i = count; i < end && place + count == size_now; i++)
		if (memory[i]) give_up("a mapping has something behind the end", place + i);
	munmap(memory, (size_t)count);
}

static void do_map_write(unsigned char *buffer) {
	if (size_now == 0) return;
	long base = below(size_now) / BLOCK * BLOCK, room = size_now - base < PIECE ? size_now - base : PIECE;
	long place = below(room), count = 1 + below(room - place);
	fill(buffer, count);
	log_line("map %ld at %ld and write %ld at %ld", room, base, count, base + place);
	unsigned char *memory = mmap(NULL, (size_t)room, PROT_READ | PROT_WRITE, MAP_SHARED, file, base);
	if (memory == MAP_FAILED) give_up("mmap", base);
	memcpy(memory + place, buffer, (size_t)count);
	if (below(2) && msync(memory, (size_t)room, MS_SYNC)) give_up("msync", base);
	munmap(memory, (size_t)room);
	wrote(base + place, buffer, count);
}

/* What a file system may lack: the model is changed only if it has it. */
static void do_allocate(void) {
	static const int modes[] = {0, FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE};
	int mode = modes[below(4)];
	long place = below(LARGEST - PIECE), count = 1 + below(PIECE);
	log_line("fallocate mode %d, %ld at %ld", mode, count, place);
	if (fallocate(file, mode, place, count)) {
		if (errno != EOPNOTSUPP) give_up("fallocate", place);
		return;
	}
	if (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) {
		long end = place + count < size_now || !(mode & FALLOC_FL_KEEP_SIZE) ? place + count : size_now;
		if (end > place) memset(model + place, 0, (size_t)(end - place));
	}
	if (!(mode & FALLOC_FL_KEEP_SIZE) && place + count > size_now) size_now = place + count;
}

static void do_copy(void) {
	long source = below(size_now + 1), target = below(LARGEST - PIECE), count = 1 + below(PIECE);
	if (source + count > size_now) count = size_now - source;
	if (count <= 0 || (source < target + count && target < source + count)) return;
	log_line("copy %ld from %ld to %ld", count, source, target);
	loff_t from = source, to = target;
	for (long left = count; left > 0;) {
		long got = copy_file_range(file, &from, file, &to, (size_t)left, 0);
		if (got < 0 && (errno == EXDEV || errno == EOPNOTSUPP || errno == ENOSYS)) return;
		if (got <= 0) give_up("copy_file_range", source);
		wrote(target + count - left, model + source + count - left, got);
		left -= got;
	}
}

static void do_direct(void) {
	static _Alignas(BLOCK) unsigned char blocks[BLOCK * 8];
	long count = (1 + below(8)) * BLOCK, place = below((LARGEST - count) / BLOCK) * BLOCK;
	int other = open(path, O_RDWR | O_DIRECT);
	if (other < 0) return;
	fill(blocks, count);
	log_line("past the cache %ld at %ld", count, place);
	if (pwrite(other, blocks, (size_t)count, place) != count) give_up("write with O_DIRECT", place);
	wrote(place, blocks, count);
	memset(blocks, 0, sizeof blocks);
	long expected = size_now - place < count ? size_now - place : count;
	if (pread(other, blocks, (size_t)count, place) != expected) give_up("read with O_DIRECT", place);
	compare(blocks, place, expected, "read with O_DIRECT");
	close(other);
}

static void do_holes(void) {
	log_line("look for data and holes");
	for (long place = 0; place < size_now;) {
		long data = lseek(file, place, SEEK_DATA);
		if (data < 0 && errno != ENXIO) return;
		long end = data < 0 ? size_now : data;
		for (long i = place; i < end; i++)
			if (model[i]) give_up("what is called a hole has data", i);
		if (data < 0) return;
		place = lseek(file, data, SEEK_HOLE);
		if (place <= data) give_up("SEEK_HOLE", data);
	}
}

static void do_reopen(void) {
	log_line("close and open again");
	if (below(3) == 0 && fsync(file)) give_up("fsync", 0);
	open_file(0);
}

static void do_sync(void) {
	log_line("sync");
	if (below(2) ? fsync(file) : fdatasync(file)) give_up("sync", 0);
}

/* A child writes; what it did is done to the model too. */
static void do_in_child(unsigned char *buffer) {
	long place = below(LARGEST - PIECE), count = 1 + below(5000);
	fill(buffer, count);
	log_line("a child writes %ld at %ld", count, place);
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) _exit(pwrite(file, buffer, (size_t)count, place) == count ? 0 : 1);
	int status = 0;
	if (child < 0 || waitpid(child, &status, 0) != child || status) give_up("a child's write", place);
	wrote(place, buffer, count);
}

static void check_all(unsigned char *buffer) {
	check_size();
	for (long place = 0; place < size_now; place += PIECE) {
		long count = size_now - place < PIECE ? size_now - place : PIECE;
		if (pread(file, buffer, (size_t)count, place) != count) give_up("a read at the end", place);
		compare(buffer, place, count, "at the end");
	}
}

static void one(unsigned char *buffer) {
	switch (below(32)) {
	case 0: case 1: case 2: case 3: case 4: case 5: do_read(buffer); break;
	case 6: do_read_pieces(buffer); break;
	case 7: case 8: case 9: case 10: case 11: case 12: do_write(buffer); break;
	case 13: case 14: do_append(buffer); break;
	case 15: case 16: do_truncate(); break;
	case 17: case 18: case 19: do_map_read(buffer); break;
	case 20: case 21: case 22: do_map_write(buffer); break;
	case 23: case 24: case 25: do_allocate(); break;
	case 26: do_copy(); break;
	case 27: do_direct(); break;
	case 28: do_holes(); break;
	case 29: do_reopen(); break;
	case 30: do_sync(); break;
	default: do_in_child(buffer);
	}
}

int main(int count, char **words) {
	if (count != 4) return 2;
	path = words[1];
	random_state = strtoull(words[2], NULL, 10) * 0x9e3779b97f4a7c15U + 1;
	long operations = atol(words[3]);
	model = calloc(1, LARGEST + PIECE);
	unsigned char *buffer = malloc(PIECE + 9001);
	if (!model || !buffer) return 2;
	open_file(O_TRUNC);
	for (operation = 0; operation < operations; operation++) {
		log_line("nothing");
		one(buffer);
		check_size();
		if (operation % 500 == 499) check_all(buffer);
	}
	operation--;
	open_file(0);
	check_all(buffer);
	printf("ok %ld operations, %ld bytes at the end\n", operations, size_now);
	return 0;
}
