"""Evidence about the confidential guest that this program runs in: an SNP or TDX virtual machine, or a CCA realm.

report         what was asked and answered, as the JSON that verifiers read
tsm            asking by configfs-tsm, the kernel's one interface for all of them (Linux 6.7)
sev_guest      asking by /dev/sev-guest, for older kernels
sev_guest_unsafe   its ioctl
event_log      what firmware and loader measured (CCEL)
asking         which of them this machine has, and what is missing if it has none
"""
