package vmtest

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// Unique is the memory that a VM's monitor has for itself, in bytes, by kind: guest
// pages, the monitor's own, and of its program file.
type Unique struct{ Guest, Monitor, Program int64 }

// UniqueMemory reads what a VM's monitor has for itself.
func UniqueMemory(pid int) (Unique, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps", pid))
	if err != nil {
		return Unique{}, err
	}
	defer f.Close()
	return sumUnique(f)
}

// sumUnique adds up what no other process has. Of guest memory that are the copies of its
// file's pages; what is mapped of the file itself is the file's, also while only one
// process has looked at it.
func sumUnique(smaps io.Reader) (u Unique, err error) {
	mappings, err := ReadSmaps(smaps)
	for _, m := range mappings {
		private := m.Bytes["Private_Clean"] + m.Bytes["Private_Dirty"]
		switch {
		case strings.Contains(m.Name, "guest-memory"):
			u.Guest += m.Bytes["Anonymous"]
		case strings.HasPrefix(m.Name, "/"):
			u.Program += private
		default:
			u.Monitor += private
		}
	}
	return u, err
}
