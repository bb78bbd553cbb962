#include "program.h"

#include <linux/elf.h>

#include "elf_file.h"

static char *skip_blanks(char *at) {
    while (*at == ' ' || *at == '\t') at++;
    return at;
}

static char *word_end(char *at) {
    while (*at && *at != ' ' && *at != '\t') at++;
    return at;
}

/* Cuts the line as fs/binfmt_script.c does: an interpreter and at most one argument, which may contain blanks. */
static long cut_line(struct script_line *line, bool cut_off) {
    char *at = skip_blanks(line->text + 2), *end = at + strlen(at);
    while (end > at && (end[-1] == ' ' || end[-1] == '\t')) *--end = 0;
    if (!*at) return -ENOEXEC;
    line->interpreter = at;
    at = word_end(at);
    if (!*at && cut_off) return -ENOEXEC; /* the name may go on: another program would be run */
    if (*at) *at++ = 0;
    at = skip_blanks(at);
    line->argument = *at ? at : NULL;
    return 1;
}

long program_script(int fd, struct script_line *line) {
    long n = read_available(fd, addr_of(line->text), SCRIPT_LINE, 0);
    if (failed(n)) return n;
    line->text[n] = 0;
    if (n < 2 || line->text[0] != '#' || line->text[1] != '!') return 0;
    size_t end = 0;
    while (line->text[end] && line->text[end] != '\n') end++;
    bool cut_off = end == SCRIPT_LINE;
    line->text[cut_off ? end - 1 : end] = 0; /* the kernel gives up the last byte it read (load_script) */
    return cut_line(line, cut_off);
}

bool program_is_elf64(int fd) {
    u8 ident[EI_NIDENT + 4];
    if (failed(read_exactly(fd, ident, sizeof ident, 0))) return false;
    return memcmp(ident, ELFMAG, SELFMAG) == 0 && ident[EI_CLASS] == ELFCLASS64 && ident[EI_NIDENT + 2] == EM_X86_64;
}
