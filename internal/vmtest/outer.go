package vmtest

// OuterVM is the begin of the `holt` arguments that run a command in an outer VM: a
// guest of the qemu backend with KVM of its own, and with memory as `holt run -m`
// takes it. It finds this host's files at their places, and what it writes stays in
// its memory. Directories that may be below one that is the guest's own, such as
// /tmp, are named.
func OuterVM(memory string, dirs ...string) []string {
	args := []string{"run", "--backend", "qemu", "--nested", "-m", memory, "--rootfs", "/", "--overlay", "--network", "none"}
	for _, dir := range dirs {
		args = append(args, "-v", dir+":"+dir+":ro")
	}
	return args
}
