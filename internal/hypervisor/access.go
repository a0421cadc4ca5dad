package hypervisor

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// accessHint says how to get at the device at path, from its owner and mode.
func accessHint(path string) string {
	fi, err := os.Stat(path)
	if err != nil {
		return err.Error()
	}
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || fi.Mode().Perm()&0o060 != 0o060 {
		return fmt.Sprintf("its mode is %v, which lets only its owner in; as root, run `chgrp kvm %s && chmod 660 %s`", fi.Mode().Perm(), path, path)
	}
	group := strconv.Itoa(int(st.Gid))
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("join its group with `sudo usermod -aG %s $USER` and log in again", group)
}
