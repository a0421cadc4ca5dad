package vmtest

import "os"

// OuterVM is the begin of the `holt` arguments that run a command in an outer VM: a
// guest of the qemu backend with KVM of its own, and with memory as `holt run -m`
// takes it. It finds this host's files at their places, and what it writes stays in
// its memory. Directories that may be below one that is the guest's own, such as
// /tmp, are named. HOLT_OUTER_KERNEL is the kernel that it boots, which brings KVM; it
// is Debian's by default.
func OuterVM(memory string, dirs ...string) []string {
	args := []string{"run", "--backend", "qemu", "--nested", "-m", memory, "--rootfs", "/", "--overlay", "--network", "none"}
	if kernel := os.Getenv("HOLT_OUTER_KERNEL"); kernel != "" {
		args = append(args, "--kernel", kernel)
	}
	for _, dir := range dirs {
		args = append(args, "-v", dir+":"+dir+":ro")
	}
	return args
}
