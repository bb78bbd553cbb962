/* How the shields begin, fork and end. */
#include "file_lock.h"
#include "ledger.h"
#include "location.h"
#include "reserved.h"
#include "table.h"
#include "working.h"

void shield_begin(void) {
    if (!shield_is_on()) return;
    bool carried = ledger_number() >= 0;
    policy_begin();
    if (!carried) {
        ledger_begin(-1);
        working_begin();
    }
    location_begin();
    table_adopt();
    if (carried) table_count_copies();
    if (policy.console.key) console_begin();
}

void shield_forked(void) {
    if (!shield_is_on()) return;
    table_adopt();
    file_lock_forked();
}

void shield_child_complete(void) {
    if (shield_is_on()) table_count_copies();
}

long shield_before_exec(void) {
    long error = shield_is_on() ? mount_before_exec() : 0;
    if (shield_is_on() && !failed(error)) socket_before_exec();
    return error;
}

void shield_exec_failed(void) {
    if (!shield_is_on()) return;
    mount_exec_failed();
    socket_exec_failed();
}

void shield_before_exit(void) {
    if (!shield_is_on()) return;
    socket_before_exit();
    mount_before_exit();
}
