/* How the shields begin, fork and end. */
#include "file_lock.h"
#include "file_map.h"
#include "file_pool.h"
#include "ledger.h"
#include "location.h"
#include "pipe.h"
#include "reserved.h"
#include "socket.h"
#include "table.h"
#include "working.h"

static void count_copies(void) {
    table_count_copies();
    working_count_copy();
}

void shield_begin(void) {
    if (!shield_is_on()) return;
    bool carried = ledger_number() >= 0;
    policy_begin();
    if (!carried) {
        ledger_begin(-1);
        working_begin();
    }
    location_begin();
    file_pool_begin();
    table_adopt();
    if (carried) count_copies();
    mount_settle();
    if (policy.console.key) console_begin();
    socket_require_attester();
}

/* In a child that has not counted its parent's descriptors as its own yet. */
static bool uncounted;

static bool has_counted(void) { return !uncounted && !table_is_borrowed(); }

void shield_before_fork(void) {
    if (shield_is_on()) mount_before_fork();
}

bool shield_may_defer(void) { return !shield_is_on() || !socket_is_any(); }

void shield_forked(void) {
    if (!shield_is_on()) return;
    uncounted = true;
    table_adopt();
    file_lock_forked();
}

void shield_child_complete(void) {
    if (!shield_is_on()) return;
    count_copies();
    uncounted = false;
    file_map_forked();
}

long shield_before_exec(void) {
    struct lock_guard lock;
    if (!shield_is_on()) return 0;
    lock_take(&lock, false);
    long error = location_store_mapped();
    lock_give(&lock);
    if (!failed(error)) error = mount_before_exec(has_counted());
    if (!failed(error)) socket_before_exec();
    return error;
}

void shield_exec_failed(void) {
    if (!shield_is_on()) return;
    mount_exec_failed(has_counted());
    socket_exec_failed();
}

void shield_before_exit(void) {
    struct lock_guard lock;
    if (!shield_is_on()) return;
    lock_take(&lock, false);
    (void)!location_store_mapped();
    if (!table_is_borrowed()) pipe_before_exit();
    lock_give(&lock);
    socket_before_exit();
    mount_before_exit(has_counted());
}

bool shield_recalled(void) { return !shield_is_on() || mount_recalled(); }

/* It may live on (the first process of a pid namespace does), so it keeps what it holds. */
void shield_before_death(void) {
    struct lock_guard lock;
    if (!shield_is_on()) return;
    lock_take(&lock, true);
    (void)!location_store_mapped();
    lock_give(&lock);
    mount_before_exit(false);
}
