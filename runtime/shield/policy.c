#include "policy.h"

#include "fail.h"
#include "state.h"

enum { VERSION = 1, STRICT = 1, NETWORK = 2, CONSOLE = 4, ALL_FLAGS = 7 };
enum entry_type { FILES = 1, LISTEN, CONNECT, CONSOLE_ENTRY };

struct policy policy BEHIND;

static __attribute__((noreturn)) void damaged(const char *what) { fail(CLOISTER_EXIT_INTERNAL, what, 0, NULL); }

static struct text read_piece(struct reader *reader) {
    struct text text;
    text.bytes = (const u8 *)read_text(reader, &text.size);
    return text;
}

static u64 read_u64(struct reader *reader) {
    u64 low = read_u32(reader);
    return low | (u64)read_u32(reader) << 32;
}

static void require_range(struct reader *reader, u32 value, u32 least, u32 most) {
    if (value < least || value > most) reader->bad = true;
}

static void require_pins(struct reader *reader, const struct text *pins) {
    if (pins->size % PIN_SIZE) reader->bad = true;
}

static bool ends_component(const struct text *path, u32 at) { return at == path->size || path->bytes[at] == '/'; }

/* Absolute, and no component is empty, "." or "..": what a path that was made plain can be compared with. */
static bool is_plain(const struct text *path) {
    if (!path->size || path->bytes[0] != '/' || path->size >= PATH_SIZE) return false;
    for (u32 at = 0; at < path->size; at++) {
        const u8 *name = path->bytes + at + 1;
        if (!path->bytes[at]) return false;
        if (path->bytes[at] != '/' || path->size == 1) continue;
        if (ends_component(path, at + 1) || (name[0] == '.' && ends_component(path, at + 2))) return false;
        if (name[0] == '.' && at + 2 < path->size && name[1] == '.' && ends_component(path, at + 3)) return false;
    }
    return true;
}

static void read_files(struct reader *reader) {
    if (policy.files_count == POLICY_FILES_MOST) damaged("the shield block names more than 32 regions of files");
    struct shield_files *files = &policy.files[policy.files_count];
    *files = (struct shield_files){.kind = read_u32(reader), .index = policy.files_count++};
    files->flags = read_u32(reader);
    files->path = read_piece(reader);
    files->container = read_piece(reader);
    files->key = read_bytes(reader, KEY_SIZE);
    files->generation = read_u64(reader);
    files->digest = read_bytes(reader, 32);
    files->writer = read_bytes(reader, WRITER_SIZE);
    files->cache = read_u64(reader);
    files->name = read_piece(reader);
    require_range(reader, files->kind, FILES_ENCRYPTED, FILES_PLAIN);
    require_range(reader, files->flags, 0, 7);
    bool on_disk = files->kind == FILES_ENCRYPTED || files->kind == FILES_AUTHENTICATED;
    if (!is_plain(&files->path) || on_disk != text_is_set(&files->container) || files->container.size >= PATH_SIZE) reader->bad = true;
}

static void read_listen(struct reader *reader) {
    if (policy.listen_count == POLICY_PORTS_MOST) damaged("the shield block names more than 64 ports to listen at");
    struct shield_listen *listen = &policy.listen[policy.listen_count++];
    listen->protocol = read_u32(reader);
    listen->flags = read_u32(reader);
    listen->port = read_u32(reader);
    listen->certificates = read_piece(reader);
    listen->key = read_piece(reader);
    listen->clients = read_piece(reader);
    listen->name = read_piece(reader);
    require_range(reader, listen->protocol, PROTOCOL_TLS, PROTOCOL_PLAIN);
    require_range(reader, listen->flags, 0, LISTEN_CLIENTS_NAMED);
    require_range(reader, listen->port, 1, 65535);
    require_pins(reader, &listen->clients);
}

static void read_connect(struct reader *reader) {
    if (policy.connect_count == POLICY_PORTS_MOST) damaged("the shield block names more than 64 destinations");
    struct shield_connect *connect = &policy.connect[policy.connect_count++];
    connect->protocol = read_u32(reader);
    connect->flags = read_u32(reader);
    connect->host = read_piece(reader);
    connect->port = read_u32(reader);
    connect->server_name = read_piece(reader);
    connect->pins = read_piece(reader);
    connect->certificates = read_piece(reader);
    connect->key = read_piece(reader);
    connect->name = read_piece(reader);
    require_range(reader, connect->protocol, PROTOCOL_TLS, PROTOCOL_PLAIN);
    require_range(reader, connect->flags, 0, 0);
    require_range(reader, connect->port, 1, 65535);
    require_pins(reader, &connect->pins);
}

static void read_console(struct reader *reader) {
    if (policy.console.key) damaged("the shield block has two consoles");
    policy.console.flags = read_u32(reader);
    policy.console.key = read_bytes(reader, KEY_SIZE);
    policy.console.rows = read_u32(reader);
    policy.console.columns = read_u32(reader);
    require_range(reader, policy.console.flags, 0, CONSOLE_TERMINAL);
}

static void read_entry(struct reader *reader) {
    u32 type = read_u32(reader), size = read_u32(reader);
    const u8 *body = read_bytes(reader, size);
    if (!body && size) return;
    struct reader inner = {.at = body, .end = body + size};
    switch ((enum entry_type)type) {
    case FILES: read_files(&inner); break;
    case LISTEN: read_listen(&inner); break;
    case CONNECT: read_connect(&inner); break;
    case CONSOLE_ENTRY: read_console(&inner); break;
    default: damaged("the shield block has an entry of a kind that this runtime does not know");
    }
    if (inner.bad || inner.at != inner.end) damaged("an entry of the shield block is damaged, or of another version");
}

static bool is_same_path(const struct text *a, const struct text *b) { return a->size == b->size && memcmp(a->bytes, b->bytes, a->size) == 0; }

static void require_different_paths(void) {
    for (u32 i = 0; i < policy.files_count; i++)
        for (u32 j = 0; j < i; j++)
            if (is_same_path(&policy.files[i].path, &policy.files[j].path)) damaged("two regions of the shield block have one path");
}

void policy_begin(void) {
    if (!state.shield.size) return;
    if (state.unsafe_no_guard)
        fail(CLOISTER_EXIT_USAGE, "shields need the guard, which keeps their counters", 0, "leave out --unsafe-no-guard");
    struct reader reader = region_read(&state.shield);
    u32 version = read_u32(&reader), flags = read_u32(&reader), count = read_u32(&reader);
    if (version != VERSION || flags & ~(u32)ALL_FLAGS) damaged("the shield block is of a version that this runtime does not know");
    policy = (struct policy){.strict = flags & STRICT, .network = flags & NETWORK};
    while (count-- && !reader.bad) read_entry(&reader);
    if (reader.bad || reader.at != reader.end) damaged("the shield block is damaged");
    if ((flags & CONSOLE) && !policy.console.key) damaged("the shield block says that the console is shielded, but has no key for it");
    require_different_paths();
}
