#include "mount_trouble.h"

#include "say.h"

enum { LINE = 512 };

struct trouble mount_trouble(long error) {
    switch (error) {
    case -EBUSY: return (struct trouble){"another program has the volume of this region open", "end that one, or give each its own volume"};
    case -ENOENT:
        return (struct trouble){"the volume of this region does not exist", "cloister volume create makes one; so does `create` in the policy"};
    case -EACCES:
    case -EPERM:
    case -EROFS:
        return (struct trouble){"the volume of this region may not be opened by who runs this",
                                "change its mode or its owner; read_only in the policy needs less"};
    case -ENOMEM:
        return (struct trouble){"the locked-memory limit leaves no room for the volume of this region",
                                "a smaller `cache` in the policy, or a higher limit (ulimit -l)"};
    default:
        return (struct trouble){"the volume of this region cannot be used",
                                "cloister volume verify VOLUME --key KEY says what is wrong with it"};
    }
}

static struct trouble of_use(long error, bool is_older) {
    if (is_older)
        return (struct trouble){"its volume is older than the state that the policy asks for: it was put back, or another",
                                "put the newest in its place; who accepts an older one says so with its root"};
    switch (error) {
    case -EBADMSG:
        return (struct trouble){"its volume does not hold what was written with this key: it was changed or cut off, or is another's",
                                "cloister volume verify VOLUME --key KEY says what is wrong with it"};
    case -EINVAL:
        return (struct trouble){"its volume is not of the kind that the policy says (encrypted, authenticated)",
                                "change `kind` in the policy"};
    case -EREMOTEIO:
        return (struct trouble){"the broker does not confirm that its volume is the newest: it cannot be reached, or refuses",
                                "start the broker; the next use of the volume asks again"};
    case -EFBIG: return (struct trouble){"its volume is too large for the memory that it may have", "a larger `cache` in the policy"};
    default: return (struct trouble){"its volume cannot be used", "cloister volume verify VOLUME --key KEY says what is wrong with it"};
    }
}

void mount_say(const struct shield_files *entry, long error, bool is_older) {
    const struct trouble trouble = of_use(error, is_older);
    char line[LINE];
    size_t at = append(line, 0, sizeof line, "cloister: ");
    for (u32 i = 0; i < entry->path.size && at < LINE / 2; i++) line[at++] = (char)entry->path.bytes[i];
    at = append(line, at, sizeof line, ": ");
    at = append(line, at, sizeof line, trouble.what);
    at = append(line, at, sizeof line, "\n  fix: ");
    at = append(line, at, sizeof line, trouble.fix);
    append(line, at, sizeof line, "\n");
    shield_say(line);
}
