/* How the shields begin, fork and end. */
#include "fail.h"
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
    if (policy.network) fail(CLOISTER_EXIT_CANNOT_PROTECT, "this runtime cannot shield the network", 0, NULL);
}

void shield_forked(void) {
    if (!shield_is_on()) return;
    table_adopt();
    file_lock_forked();
}

void shield_child_complete(void) {
    if (shield_is_on()) table_count_copies();
}

long shield_before_exec(void) { return shield_is_on() ? mount_before_exec() : 0; }

void shield_exec_failed(void) {
    if (shield_is_on()) mount_exec_failed();
}

void shield_before_exit(void) {
    if (shield_is_on()) mount_before_exit();
}
