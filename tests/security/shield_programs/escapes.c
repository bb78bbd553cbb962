/* An honest program whose calls would lead past the shields: each argument is one way; what came of it is printed, 0 or the error. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <mqueue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <utime.h>

static const char secret[] = "FUNFOO-secret";
static int inherited; /* a descriptor of it */
static const char *outside; /* a directory of the host that no region holds; a file "given" is in it */
static char text[2][4200];

static const char *in(int which, const char *format, const char *name) {
    snprintf(text[which], sizeof text[which], format, outside, name);
    return text[which];
}

static const char *path(const char *name) { return in(0, "%s/%s", name); }

static long write_to(long fd) {
    if (fd < 0) return -errno;
    if (write((int)fd, secret, sizeof secret) < 0) return -errno;
    return 0;
}

static long number(long result) { return result < 0 ? -errno : 0; }

static long by_unix(int connects) {
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "%s/socket", outside);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0) return -errno;
    return number(connects ? connect(fd, (void *)&to, sizeof to) : bind(fd, (void *)&to, sizeof to));
}

static long by_handle(void) {
    struct {
        struct file_handle head;
        unsigned char bytes[MAX_HANDLE_SZ];
    } handle = {.head.handle_bytes = MAX_HANDLE_SZ};
    int mount;
    if (name_to_handle_at(AT_FDCWD, getenv("PLAIN"), &handle.head, &mount, 0)) return -errno;
    int at = open(getenv("PLAIN"), O_RDONLY);
    if (at < 0) return -errno;
    return write_to(open_by_handle_at(at, &handle.head, O_RDONLY)) == -EBADF ? 0 : -errno; /* opened, for reading */
}

static long by_queue(void) {
    struct mq_attr form = {.mq_maxmsg = 1, .mq_msgsize = 64};
    mqd_t queue = mq_open("/cloister-escape", O_CREAT | O_RDWR, 0600, &form);
    if (queue < 0) return -errno;
    long result = number(mq_send(queue, secret, sizeof secret, 0));
    mq_unlink("/cloister-escape");
    return result;
}

static long by_message(void) {
    int queue = msgget(IPC_PRIVATE, 0600);
    if (queue < 0) return -errno;
    msgctl(queue, IPC_RMID, NULL);
    return 0;
}

static long by_memory_file(void) {
    int fd = (int)syscall(SYS_memfd_create, "cloister-escape", 0);
    return fd < 0 ? -errno : number(write(fd, secret, sizeof secret));
}

static long by_key(void) { return number(syscall(SYS_add_key, "user", "cloister-escape", secret, sizeof secret, -2 /* process keyring */)); }

static long by_read_only(void) {
    char link[64];
    int fd = open(getenv("PLAIN_FILE"), O_RDONLY);
    if (fd < 0) return -errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return write_to(open(link, O_WRONLY | O_APPEND));
}

static long by_at(const char *form, int directory) {
    char link[4200];
    snprintf(link, sizeof link, form, directory);
    return write_to(open(link, O_CREAT | O_WRONLY, 0600));
}

static long execute(int way) {
    char *words[] = {"given", NULL}, *none[] = {NULL};
    if (way == 0) execve(path("program"), words, none);
    if (way == 1) syscall(SYS_execveat, AT_FDCWD, path("program"), words, none, 0);
    if (way == 2) syscall(SYS_execveat, inherited, "program", words, none, 0);
    if (way == 3) syscall(SYS_execveat, AT_FDCWD, path("program"), words, none, AT_SYMLINK_NOFOLLOW);
    return -errno;
}

static long perform(const char *way) {
    struct utimbuf times = {0};
    struct stat info;
    struct open_how how = {.flags = O_CREAT | O_WRONLY, .mode = 0600, .resolve = RESOLVE_IN_ROOT};
#define WAY(name) if (!strcmp(way, #name))
    WAY(open_write) return write_to(open(path("x"), O_CREAT | O_WRONLY, 0600));
    WAY(open_read) return number(open(path("given"), O_RDONLY));
    WAY(open_path) return number(open(path("given"), O_PATH));
    WAY(creat) return write_to(creat(path("x"), 0600));
    WAY(openat2) return write_to(syscall(SYS_openat2, AT_FDCWD, path("x"), &how, sizeof how));
    WAY(openat_inherited) return write_to(openat(inherited, "x", O_CREAT | O_WRONLY, 0600));
    WAY(openat_working) return write_to(open("x", O_CREAT | O_WRONLY, 0600));
    WAY(dots) return write_to(open(in(0, "/data/../%s/%s", "x"), O_CREAT | O_WRONLY, 0600));
    WAY(tmpfile) return write_to(open(outside, O_TMPFILE | O_WRONLY, 0600));
    WAY(proc_root) return write_to(open(in(0, "/proc/self/root%s/%s", "x"), O_CREAT | O_WRONLY, 0600));
    WAY(proc_cwd) return write_to(open("/proc/self/cwd/x", O_CREAT | O_WRONLY, 0600));
    WAY(proc_task_root) return by_at("/proc/self/task/%d/cwd/x", getpid());
    WAY(proc_thread_root) return write_to(open(in(0, "/proc/thread-self/root%s/%s", "x"), O_CREAT | O_WRONLY, 0600));
    WAY(proc_number_root) return by_at("/proc/%d/cwd/x", getpid());
    WAY(proc_descriptor) return by_at("/proc/self/fd/%d/x", inherited);
    WAY(proc_task_descriptor) return by_at("/proc/self/task/../fd/%d/x", inherited);
    WAY(dev_descriptor) return by_at("/dev/fd/%d/x", inherited);
    WAY(proc_map_files) return number(open("/proc/self/map_files", O_RDONLY | O_DIRECTORY));
    WAY(read_only) return by_read_only();
    WAY(read_only_write) return write_to(open(getenv("PLAIN_FILE"), O_WRONLY | O_APPEND));
    WAY(stat) return number(stat(path("given"), &info));
    WAY(access) return number(access(path("given"), F_OK));
    WAY(readlink) return number(readlink(path("link"), text[1], sizeof text[1]));
    WAY(mkdir) return number(mkdir(path(secret), 0700));
    WAY(mkfifo) return number(mkfifo(path(secret), 0700));
    WAY(symlink) return number(symlink(secret, path("x")));
    WAY(link) return number(link(path("given"), in(1, "%s/%s", secret)));
    WAY(rename) return number(rename(path("given"), in(1, "%s/%s", secret)));
    WAY(unlink) return number(unlink(path("given")));
    WAY(truncate) return number(truncate(path("given"), 1));
    WAY(chmod) return number(chmod(path("given"), 0777));
    WAY(chown) return number(chown(path("given"), 1, 1));
    WAY(utime) return number(utime(path("given"), &times));
    WAY(chdir) return number(chdir(outside));
    WAY(chroot) return number(chroot(outside));
    WAY(setxattr) return number(setxattr(path("given"), "user.x", secret, sizeof secret, 0));
    WAY(setxattrat) return number(syscall(463, AT_FDCWD, path("given"), 0, "user.x", (unsigned long[]){0, 0}, 16));
    WAY(getxattrat) return number(syscall(464, AT_FDCWD, path("given"), 0, "user.given", (unsigned long[]){(unsigned long)text[1], 64}, 16));
    WAY(listxattrat) return number(syscall(465, AT_FDCWD, path("given"), 0, NULL, 0));
    WAY(removexattrat) return number(syscall(466, AT_FDCWD, path("given"), 0, "user.given"));
    WAY(file_getattr) return number(syscall(468, AT_FDCWD, path("given"), text[1], 24, 0));
    WAY(file_setattr) return number(syscall(469, AT_FDCWD, path("given"), (char[24]){0}, 24, 0));
    WAY(unix_bind) return by_unix(0);
    WAY(unix_connect) return by_unix(1);
    WAY(handle) return by_handle();
    WAY(name_to_handle) {
        struct file_handle *handle = calloc(1, sizeof *handle + MAX_HANDLE_SZ);
        int mount;
        handle->handle_bytes = MAX_HANDLE_SZ;
        return number(name_to_handle_at(AT_FDCWD, path("given"), handle, &mount, 0));
    }
    WAY(inotify) return number(inotify_add_watch(inotify_init(), outside, IN_ALL_EVENTS));
    WAY(fanotify) return number(fanotify_init(FAN_CLASS_NOTIF, O_RDWR));
    WAY(mount) return number(mount(outside, "/data", NULL, MS_BIND, NULL));
    WAY(umount) return number(umount2(outside, 0));
    WAY(pivot_root) return number(syscall(SYS_pivot_root, outside, outside));
    WAY(open_tree) return number(syscall(SYS_open_tree, AT_FDCWD, outside, 0));
    WAY(move_mount) return number(syscall(SYS_move_mount, AT_FDCWD, outside, AT_FDCWD, outside, 0));
    WAY(fsopen) return number(syscall(SYS_fsopen, "tmpfs", 0));
    WAY(fspick) return number(syscall(SYS_fspick, AT_FDCWD, outside, 0));
    WAY(mount_setattr) return number(syscall(SYS_mount_setattr, AT_FDCWD, outside, 0, (char[32]){0}, 32));
    WAY(swapon) return number(swapon(path("given"), 0));
    WAY(acct) return number(acct(path("missing"))); /* ENOENT where it is let through: nothing is switched on */
    WAY(quotactl) return number(syscall(SYS_quotactl, 0x80000700 /* Q_GETFMT */, path("given"), 0, text[1]));
    WAY(queue) return by_queue();
    WAY(message) return by_message();
    WAY(key) return by_key();
    WAY(memory_file) return by_memory_file();
    WAY(execve) return execute(0);
    WAY(execveat) return execute(1);
    WAY(execveat_inherited) return execute(2);
    WAY(execveat_no_follow) return execute(3);
    return -ENOSYS - 1000;
}

int main(int count, char **words) {
    outside = getenv("OUTSIDE");
    inherited = atoi(getenv("INHERITED"));
    for (int i = 1; i < count; i++) printf("%s %ld\n", words[i], perform(words[i]));
    return 0;
}
