"""Evidence about the confidential guest that this program runs in: an SNP or TDX virtual machine, or a CCA realm.

report         what was asked and answered, as the JSON that verifiers read
tsm            asking by configfs-tsm, the kernel's one interface for all of them (Linux 6.7)
sev_guest      asking by /dev/sev-guest, for older kernels
sev_guest_unsafe   its ioctl
tdx_guest      asking by /dev/tdx_guest and the host's quoting service, for older kernels
tdx_guest_unsafe   its ioctl
tpm            asking this machine's TPM; on Azure what the paravisor keeps in it comes along
tpm_commands   the few commands of a TPM that this takes
event_log      what firmware and loader measured (CCEL)
asking         which of them this machine has, and what is missing if it has none
"""
